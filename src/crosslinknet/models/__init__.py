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

from crosslinknet.errors import UsageError, suggest
from crosslinknet.models.crosslink_net import ablation, crosslink_net
from crosslinknet.models.unet5 import UNet5


@dataclass(frozen=True)
class Model:
    """A row of the registry: how to build it, 2D or 3D, and where it comes from."""

    build: Callable[..., nn.Module]
    dimensions: int
    source: str


MODELS: dict[str, Model] = {
    "crosslink-net": Model(crosslink_net, 2, "Yu et al., Fig. 3, Table I"),
    "ver-crosslink": Model(partial(ablation, "ver-crosslink"), 2, "Yu et al., Table III"),
    "hor-crosslink": Model(partial(ablation, "hor-crosslink"), 2, "Yu et al., Table III"),
    "square-crosslink": Model(partial(ablation, "square-crosslink"), 2, "Yu et al., Table III"),
    "double2single": Model(partial(ablation, "double2single"), 2, "Yu et al., Table III"),
    "unet5": Model(UNet5, 2, "Yu et al., Section IV-C2 and Table III, reconstruction"),
}

# What ``xln models`` lists for a model: the choices that change its parameters.
_FAMILIES = [{"family": "table3"}, {"family": "text"}]
VARIANTS: dict[str, list[dict[str, str]]] = {
    "crosslink-net": [{"preset": "released"}, {"preset": "paper"}, {"preset": "table1"}],
    "ver-crosslink": _FAMILIES,
    "hor-crosslink": _FAMILIES,
    "square-crosslink": _FAMILIES,
    "double2single": _FAMILIES,
    "unet5": _FAMILIES,
}


def build_model(name: str, in_channels: int = 1, num_classes: int = 1, **options: Any) -> nn.Module:
    """Build a network by name.

    Args:
        name: a key of ``MODELS``.
        in_channels: channels of the image.
        num_classes: number of logit maps.
        options: of the model: ``preset`` (crosslink-net), ``family`` (the ablations), ``widths``,
            ``attention_blocks``.

    Returns:
        Module whose call takes (B, in_channels, H, W) and gives logits (B, num_classes, H, W).

    Raises:
        UsageError: unknown name or option, or no channel or class at all.

    >>> model = build_model("crosslink-net", preset="released")
    >>> sum(p.numel() for p in model.parameters())
    31862899
    """
    if name not in MODELS:
        raise UsageError(f"model {name!r} is unknown{suggest(name, MODELS)} See: xln models")
    if min(in_channels, num_classes) < 1:
        raise UsageError(
            f"model {name!r} was asked for {in_channels} channels in and {num_classes} classes; "
            "it needs at least one of each."
        )
    build = MODELS[name].build
    try:
        return build(in_channels=in_channels, num_classes=num_classes, **options)
    except TypeError as error:
        known = inspect.signature(build).parameters
        unknown = [f"{key} is unknown{suggest(key, known)}" for key in options if key not in known]
        raise UsageError(
            f"model {name!r} cannot be built with {options}: {' '.join(unknown) or error}"
        ) from error


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values; a shared tensor counts once."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, size: tuple[int, int], maps: bool = False) -> int:
    """Multiply-accumulates of all convolutions for one image; shapes flow, nothing is computed.

    Args:
        model: a network of ``build_model``; it is left unchanged.
        size: (H, W) of the image.
        maps: also count the attention heads, which only training evaluates.
    """
    total = 0

    def add(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() * output.shape[2] * output.shape[3]

    shell = _on_meta(model)
    for module in shell.modules():
        module.register_forward_hook(add)
    image = torch.empty(1, int(model.in_channels), *size, device="meta")  # type: ignore[arg-type]
    with torch.no_grad():
        shell.forward_with_maps(image) if maps else shell(image)  # type: ignore[operator]
    return total


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
