"""Weights trained with the authors' released code, put into our network.

Source: names and order of the released modules, described in our own words; Decision D16.
The file is read by weights-only loading: a pickle that would run code is refused.
"""

import re
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn

from crosslinknet.errors import DataError, UsageError
from crosslinknet.models.crosslink_net import CrosslinkNet
from crosslinknet.models.tensors import read_tensors

# Released name -> place in our module tree; {b} is the block 1..5, stages count from 0.
# "_3" is the fusion in the vertical names and the 1x1 path in the horizontal ones.
_VERTICAL = {"1": "branches.0.0", "2": "branches.0.1", "4": "branches.0.2"}
_HORIZONTAL = {"1": "branches.1.0", "2": "branches.1.1", "3": "branches.1.2"}
_SHARED = {"3": "fuse", "res": "skip"}  # one set of weights for both branches
_RCONV = {
    "encode1": "first",
    "encode.0": "second",
    "encode.1": "third",
    "decode1": "first",
    "decode.0": "second",
    "decode.1": "third",
}


def load_released(model: nn.Module, path: Path) -> None:
    """Fill a Crosslink-Net from a released checkpoint; logits are bit-identical to the source's.

    Args:
        model: ``crosslink-net`` with the paths of preset ``released``; its fuse, skip and head
            may be shared or separate (the weights are then copied to both).
        path: state dict written by ``torch.save``, with or without ``module.`` prefixes.

    Raises:
        DataError: no such file, not a plain state dict, or entries are missing or left over.
        UsageError: the model is another network; the message names the preset to use.
    """
    fill_released(model, read_tensors(path), str(path))


def fill_released(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """As ``load_released``, from a state dict in memory; ``source`` names it in errors."""
    if not _has_released_paths(model):
        raise UsageError(
            f"{source} was trained with the released code, whose horizontal branch has a plain 1x1 "
            "path where this network has another one, so the file cannot fill it. "
            "Use the model crosslink-net with preset: released."
        )
    if model.attention_blocks != (3,):
        raise UsageError(
            f"{source} holds one attention head, on block 3, and this network has heads on "
            f"{list(model.attention_blocks)}. Build it with attention_blocks=[3]; in a config: "
            "loss.blocks: [3] with a loss.attention above 0."
        )
    if "center.conv.weight" in state and not any(".bn." in name for name in state):
        raise DataError(
            f"{source} has no batch norm entries: it was trained with is_bn=False, which is "
            "another network. Train it again with batch norm."
        )
    target = model.state_dict()
    filled: dict[str, Tensor] = {}
    unknown = []
    for name, value in state.items():
        places = [place for place in _places(name) if place in target]
        unknown += [] if places else [name]
        for place in places:
            if target[place].shape != value.shape:
                raise DataError(
                    f"{source}: {name} has shape {tuple(value.shape)}, the network needs "
                    f"{tuple(target[place].shape)}. Check in_channels, num_classes and widths."
                )
            filled[place] = value
    missing = [
        name for name in target if name not in filled and not name.endswith("num_batches_tracked")
    ]
    if unknown or missing:
        raise DataError(
            f"{source} does not fit: {len(unknown)} entries are unknown "
            f"({', '.join(unknown[:3]) or 'none'}), {len(missing)} are missing "
            f"({', '.join(missing[:3]) or 'none'}). A file of the released network has 650 "
            "entries, or 542 from before PyTorch 0.4.1."
        )
    counters = {k: torch.zeros_like(v) for k, v in target.items() if k not in filled}
    model.load_state_dict(filled | counters)


def _has_released_paths(model: nn.Module) -> TypeGuard[CrosslinkNet]:
    if not isinstance(model, CrosslinkNet):
        return False
    state = model.state_dict()
    shapes = [
        state[name].shape[2:] if name in state else None
        for name in (
            "stages.0.branches.0.0.first.conv.weight",
            "stages.0.branches.0.1.first.conv.weight",
            "stages.0.branches.0.2.first.conv.weight",
            "stages.0.branches.1.0.first.conv.weight",
            "stages.0.branches.1.1.first.conv.weight",
            "stages.0.branches.1.2.conv.weight",
            "stages.0.fuse.0.conv.weight",
        )
    ]
    return shapes == [(5, 3), (3, 1), (3, 3), (3, 5), (1, 3), (1, 1), (1, 1)]


def _places(name: str) -> list[str]:
    """Where a released entry goes in our state dict; empty if the name is not one of theirs."""
    for inner, ours in _RCONV.items():
        name = name.replace(f".{inner}.", f".{ours}.")
    if match := re.fullmatch(r"([vh])_down([1-5])_(\w+?)\.(.+)", name):
        branch, block, part, rest = match.groups()
        stage = f"stages.{int(block) - 1}"
        if branch == "v" and part in _SHARED:
            return [f"{stage}.{_SHARED[part]}.{i}.{rest}" for i in (0, 1)]
        paths = _VERTICAL if branch == "v" else _HORIZONTAL
        return [f"{stage}.{paths[part]}.{rest}"] if part in paths else []
    if match := re.fullmatch(r"up([1-5])\.(.+)", name):
        return [f"decoder.{5 - int(match[1])}.conv.{match[2]}"]
    if match := re.fullmatch(r"for_atten3_([12])\.(.+)", name):
        return [f"heads.0.{int(match[1]) - 1}.{match[2]}"]
    if match := re.fullmatch(r"classify\.(weight|bias)", name):
        return [f"classifier.{match[1]}"]
    return ["centre." + name.removeprefix("center.")] if name.startswith("center.") else []
