"""What trainings are made of: the common recipe, the paper's, and each network's published one.

A recipe is data: per section of the config, the values of keys that the user does not write. What a
publication leaves open keeps the common value; where it cannot be followed to the letter,
docs/models.md says so. Order: networks with attention heads, RECIPES, PUBLISHED, defaults_of.
"""

from typing import Any

Values = dict[str, dict[str, Any]]  # section: key: value

ATTENTIVE = (
    *("crosslink-net", "ver-crosslink", "hor-crosslink", "square-crosslink", "double2single"),
    "unet5",
)  # whose blocks can feed the attention loss of Eq. (1)

DEEP = ("unet++", "dynunet")  # have auxiliary outputs with the option deep_supervision

GIVES = {  # term of the loss: networks that give what it looks at
    "sides": ("spnet", "inf-net", *DEEP),
    "edge": ("inf-net",),
    "crossover": ("crossover-net",),
}

SECOND_STAGES = ("inf-net-stage",)  # nothing without ``model.first``

NO_ATTENTION: Values = {"loss": {"bce": 0.8, "dice": 0.2, "attention": 0.0}}  # 0.4 to 0.1, as ever

PAPER: dict[str, Any] = {  # Section IV-B; epochs from the released code. Decision D12
    "optimizer": "adam",
    "init": "gaussian",
    "epochs": 15,
    "draws": 0,
    "batch_size": 2,
    "lr": 5e-6,
    "weight_decay": 0.005,
    "schedule": "constant",
    "clip": None,
    "foreground": 0.0,
    "progressive": [],
    "precision": "32",
}

# By name; what it changes against the defaults of the sections, for every network.
RECIPES: dict[str, Values] = {"practical": {}, "paper": {"train": PAPER}, "published": {}}

_PLAIN: dict[str, Any] = {  # what older publications have in common: no clipping, a constant rate
    "schedule": "constant", "clip": None, "weight_decay": 0.0, "foreground": 0.0, "progressive": [],
}  # fmt: skip

# By network, what ``train.recipe: published`` takes.
PUBLISHED: dict[str, Values] = {
    **{name: {"train": PAPER, "loss": {"form": "eq1"}} for name in ATTENTIVE},  # Yu et al.
    "unet5": {  # Yu et al., Table III: cross-entropy alone
        "train": PAPER,
        "loss": {"bce": 1.0, "dice": 0.0, "attention": 0.0},
    },
    "gridnet": {"train": PAPER},  # its own is not known; that of the paper's comparison
    "unet": {  # Ronneberger et al., 2015; no rate is printed
        "train": _PLAIN
        | {"optimizer": "sgd", "momentum": 0.99, "nesterov": False, "lr": 1e-3, "batch_size": 1}
        | {"init": "gaussian"},
        "loss": {"bce": 1.0, "dice": 0.0},
    },
    "dense-unet": {  # Kaku et al., 2019: 10 Dice + 0.05 cross-entropy, summed over 256x256 pixels
        "train": _PLAIN
        | {"optimizer": "adam", "lr": 1e-4, "batch_size": 12, "epochs": 50, "init": "xavier"}
        | {"foreground": 0.9},
        "loss": {"bce": 0.997, "dice": 0.003},
    },
    "spnet": {  # Hou et al., 2020, ADE20K
        "train": _PLAIN
        | {"optimizer": "sgd", "nesterov": False, "lr": 0.01, "head_lr": 10.0, "batch_size": 16}
        | {"weight_decay": 1e-4, "schedule": "poly", "warmup": 0.0, "epochs": 120},
        "loss": {"bce": 1.0, "dice": 0.0},
    },
    "inf-net": {  # Fan et al., 2020: 99 epochs, each batch at three scales
        "train": _PLAIN
        | {"optimizer": "adam", "lr": 1e-4, "batch_size": 24, "epochs": 297}
        | {"schedule": "step", "clip_value": 0.5, "scales": [0.75, 1.0, 1.25]},
        "loss": {"structure": 1.0, "bce": 0.0, "dice": 0.0},
        "augment": {"preset": "none"},
        "semi": {"epochs": 27, "batch_size": 16},  # 9 epochs, each batch at three scales
    },
    "inf-net-stage": {  # Fan et al., 2020
        "train": _PLAIN
        | {"optimizer": "sgd", "momentum": 0.7, "nesterov": False, "lr": 0.01}
        | {"batch_size": 16, "epochs": 200},
        "loss": {"bce": 1.0, "dice": 0.0, "classes": "one-vs-rest"},
        "model": {"first_map": "probability"},
        "augment": {"preset": "none"},
    },
    "crossover-net": {  # Yu et al., 2021: 200 patches a step, 454,000 patches an epoch
        "train": _PLAIN
        | {"optimizer": "adam", "lr": 1e-4, "batch_size": 4, "epochs": 16, "draws": 9080},
        "loss": {"bce": 1.0, "dice": 0.0},
        "model": {"options": {"pixels": 50}},
        "augment": {"preset": "none"},
    },
    "attention-unet": {  # Oktay et al., 2018: Adam and the Dice loss; no rate is printed
        "train": _PLAIN | {"optimizer": "adam", "lr": 1e-4, "batch_size": 4},
        "loss": {"bce": 0.0, "dice": 1.0},
    },
    "unet++": {  # Zhou et al., 2018: half the cross-entropy beside Dice, at every depth
        "train": _PLAIN | {"optimizer": "adam", "lr": 3e-4},
        "loss": {"bce": 1 / 3, "dice": 2 / 3},
        "model": {"options": {"deep_supervision": True}},
    },
    "swin-unetr": {  # Hatamizadeh et al., 2021
        "train": _PLAIN
        | {"optimizer": "adamw", "lr": 8e-4, "weight_decay": 1e-5, "schedule": "cosine"}
        | {"batch_size": 1, "epochs": 800},
        "loss": {"bce": 0.0, "dice": 1.0},
    },
    "dynunet": {  # Isensee et al., 2021: 1,000 epochs of 250 batches
        "train": {"optimizer": "sgd", "momentum": 0.99, "nesterov": True, "lr": 0.01}
        | {"weight_decay": 3e-5, "schedule": "poly", "warmup": 0.0, "clip": 12.0}
        | {"batch_size": 12, "epochs": 1000, "draws": 3000, "foreground": 0.33, "progressive": []},
        "loss": {"bce": 0.5, "dice": 0.5},
        "model": {"options": {"deep_supervision": True}},
    },
}


def defaults_of(network: str, recipe: str) -> Values:
    """What a recipe sets for a network, by section; nothing for a recipe that does not exist.

    >>> defaults_of("unet", "practical")
    {'loss': {'bce': 0.8, 'dice': 0.2, 'attention': 0.0}}
    """
    own = {} if network in ATTENTIVE else NO_ATTENTION
    chosen = recipe_of(network, recipe)
    return {section: own.get(section, {}) | chosen.get(section, {}) for section in own | chosen}


def recipe_of(network: str, recipe: str) -> Values:
    """What a recipe alone sets for a network."""
    if recipe == "published":
        return PUBLISHED.get(network, {})
    return RECIPES.get(recipe, {})


def decided_keys() -> dict[str, list[str]]:
    """Section: keys that some recipe decides, in the order of the recipes."""
    keys: dict[str, dict[str, None]] = {}
    for values in (*RECIPES.values(), *PUBLISHED.values(), NO_ATTENTION):
        for section, own in values.items():
            keys.setdefault(section, {}).update(dict.fromkeys(own))
    return {section: list(own) for section, own in keys.items()}
