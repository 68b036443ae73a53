"""Networks by name. One model, one file; ``MODELS`` is an ordinary dict, add yours to it.

>>> MODELS["mine"] = Model(lambda in_channels, num_classes: ..., 2, "my thesis")
>>> del MODELS["mine"]
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crosslinknet.errors import UsageError, suggest
from crosslinknet.models.contract import Outputs
from crosslinknet.models.crosslink_net import ablation, crosslink_net
from crosslinknet.models.crossover_net import CrossoverNet
from crosslinknet.models.dense_unet import DenseUNet
from crosslinknet.models.gridnet import GridNet
from crosslinknet.models.inf_net import InfNet
from crosslinknet.models.inf_net_stage import MultiClassStage
from crosslinknet.models.own import (
    allow_code,
    check_contract,
    load_class,
    own_class,
    said_by,
)
from crosslinknet.models.spnet import SPNet
from crosslinknet.models.staged import Staged
from crosslinknet.models.unet import UNet
from crosslinknet.models.unet5 import UNet5

__all__ = [
    "MODELS",
    "VARIANTS",
    "Model",
    "Outputs",
    "Staged",
    "allow_code",
    "build_model",
    "builder",
    "check_contract",
    "count_macs",
    "count_parameters",
    "takes",
]


@dataclass(frozen=True)
class Model:
    """A row of the registry: how to build it, 2D or 3D, and where it comes from.

    Attributes:
        build: a class or function, or where to find one, "package.module:name", which is loaded
            when it is needed (MONAI takes seconds).
        dimensions: of the image, 2 or 3.
        source: publication or table.
    """

    build: Callable[..., nn.Module] | str
    dimensions: int
    source: str


_HERE = "crosslinknet.models"

MODELS: dict[str, Model] = {
    "crosslink-net": Model(crosslink_net, 2, "Yu et al., Fig. 3, Table I"),
    "ver-crosslink": Model(partial(ablation, "ver-crosslink"), 2, "Yu et al., Table III"),
    "hor-crosslink": Model(partial(ablation, "hor-crosslink"), 2, "Yu et al., Table III"),
    "square-crosslink": Model(partial(ablation, "square-crosslink"), 2, "Yu et al., Table III"),
    "double2single": Model(partial(ablation, "double2single"), 2, "Yu et al., Table III"),
    "unet5": Model(UNet5, 2, "Yu et al., Section IV-C2 and Table III, reconstruction"),
    "unet": Model(UNet, 2, "Ronneberger et al., 2015"),
    "dense-unet": Model(DenseUNet, 2, "Kaku et al., 2019 (DARTS)"),
    "spnet": Model(SPNet, 2, "Hou et al., 2020"),
    "gridnet": Model(GridNet, 2, "after Zotti et al., 2017, a reconstruction"),
    "inf-net": Model(InfNet, 2, "Fan et al., 2020"),
    "inf-net-stage": Model(MultiClassStage, 2, "Fan et al., 2020, second stage for classes"),
    "crossover-net": Model(CrossoverNet, 2, "Yu et al., 2021"),
    "attention-unet": Model(f"{_HERE}.attention_unet:AttentionUNet", 2, "Oktay et al., 2018"),
    "unet++": Model(f"{_HERE}.unet_plus_plus:UNetPlusPlus", 2, "Zhou et al., 2018"),
    "swin-unetr": Model(f"{_HERE}.swin_unetr:SwinUNETR2D", 2, "Hatamizadeh et al., 2021"),
    "dynunet": Model(f"{_HERE}.dynunet:DynUNet", 2, "Isensee et al., 2021 (nnU-Net, 2D)"),
}

_OURS = frozenset(MODELS)  # what comes later is held to the contract when it is built

# What ``xln models`` lists for a model: the choices that change its parameters.
_FAMILIES = [{"family": "table3"}, {"family": "text"}]
VARIANTS: dict[str, list[dict[str, str]]] = {
    "crosslink-net": [{"preset": "released"}, {"preset": "paper"}, {"preset": "table1"}],
    "ver-crosslink": _FAMILIES,
    "hor-crosslink": _FAMILIES,
    "square-crosslink": _FAMILIES,
    "double2single": _FAMILIES,
    "unet5": _FAMILIES,
    "spnet": [{"backbone": "resnet50"}, {"backbone": "resnet101"}],
    "inf-net": [{"backbone": "res2net50"}, {"backbone": "resnet50"}, {"backbone": "vgg16"}],
    "crossover-net": [{"variant": "small"}, {"variant": "breast"}, {"variant": "breast-small"}],
}


def build_model(
    name: str,
    in_channels: int = 1,
    num_classes: int = 1,
    first: dict[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Build a network by name.

    Args:
        name: a key of ``MODELS``, or "package.module:Class" of your own after ``allow_code()``.
        in_channels: channels of the image.
        num_classes: number of logit maps.
        first: of a network that looks first (``Staged``): ``model``, arguments of this function,
            ``classes``, as ``loss.classes`` of its training, and whether its map is ``soft``.
        options: of the model: ``preset`` (crosslink-net), ``family`` (the ablations), ``widths``,
            ``backbone`` (spnet, inf-net), ...

    Returns:
        Module whose call takes (B, in_channels, H, W) and gives logits (B, num_classes, H, W).

    Raises:
        UsageError: unknown name or option, no channel or class at all, or a class of your own that
            may not be loaded or breaks the contract.

    >>> model = build_model("crosslink-net", preset="released")
    >>> sum(p.numel() for p in model.parameters())
    31862899
    """
    if min(in_channels, num_classes) < 1:
        raise UsageError(
            f"model {name!r} was asked for {in_channels} channels in and {num_classes} classes; "
            "it needs at least one of each."
        )
    if first is not None:
        second = build_model(name, 2 * in_channels, num_classes, **options)
        earlier = build_model(**first["model"])
        return Staged(earlier, second, in_channels, first["classes"], first.get("soft", False))
    build = builder(name)
    try:
        model = build(in_channels=in_channels, num_classes=num_classes, **options)
    except TypeError as error:
        known = inspect.signature(build).parameters
        unknown = [f"{key} is unknown{suggest(key, known)}" for key in options if key not in known]
        raise UsageError(
            f"model {name!r} cannot be built with {options}: {' '.join(unknown) or said_by(error)}"
        ) from error
    except Exception as error:
        if name in _OURS:
            raise
        raise UsageError(f"model {name!r} cannot be built: {said_by(error)}") from error
    if name not in _OURS:
        check_contract(model, name, in_channels, num_classes)
    return model


def builder(name: str) -> Callable[..., nn.Module]:
    """The class or function that builds a network.

    Raises:
        UsageError: no such network, or code of your own that may not be or cannot be loaded.
    """
    if name in MODELS:
        build = MODELS[name].build
        return load_class(build) if isinstance(build, str) else build
    if ":" in name:
        return own_class(name)
    raise UsageError(f"model {name!r} is unknown{suggest(name, MODELS)} See: xln models")


def takes(name: str, option: str) -> bool:
    """Whether a network has an option."""
    return option in inspect.signature(builder(name)).parameters


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values; a shared tensor counts once."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, size: tuple[int, int], maps: bool = False) -> int:
    """Multiply-accumulates of one image: convolutions, linear layers, products of matrices.

    Shapes flow, nothing is computed.

    Args:
        model: a network of ``build_model``; it is left unchanged.
        size: (H, W) of the image.
        maps: also count what only training evaluates: attention heads, auxiliary outputs.
    """
    shell = _on_meta(model)
    image = torch.empty(1, int(getattr(model, "in_channels", 1)), *size, device="meta")
    run = getattr(shell, "forward_for_loss", shell) if maps else shell
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(image)
    return int(counter.get_total_flops()) // 2


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy of the model that has shapes and no values; without batch norm, slow on shapes."""
    tensors = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {
        id(t): nn.Parameter(t.to("meta")) if isinstance(t, nn.Parameter) else t.to("meta")
        for t in tensors
    }
    shell = copy.deepcopy(model, memo).eval()
    for module in list(shell.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return shell
