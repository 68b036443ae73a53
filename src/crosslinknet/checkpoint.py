"""Checkpoints: one safetensors file that says what it is. Written atomically, read without pickle.

A file holds tensors under dotted names and one JSON text, ``info``, in the safetensors header.
Two kinds exist: the whole state of a training (``last.safetensors``) and the weights of a
trained model with all that is needed to apply it (``model.safetensors``).
Order: write and read, tensors of an optimizer.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from crosslinknet.errors import DataError, TrainingError
from crosslinknet.files import write_bytes

KEY = "crosslinknet"
MODEL_FORMAT = "crosslinknet/model/1"
STATE_FORMAT = "crosslinknet/state/1"


def write_checkpoint(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors and JSON-able info; a crash at any moment leaves the old file or the new.

    Raises:
        TrainingError: a tensor holds NaN or infinity; an older file is untouched.
        SystemProblem: the disk is full or not writable; an older file is untouched.
    """
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise TrainingError(
            f"{path} was not written: {len(bad)} of its tensors hold NaN or infinity, {bad[0]} "
            "among them. A file from before is untouched. Start anew with a lower train.lr or "
            "train.precision=32, under another name: -s output.name=NAME"
        )
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata={KEY: json.dumps(info)}))


def read_checkpoint(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``write_checkpoint`` wrote.

    Args:
        path: safetensors file.
        kind: ``MODEL_FORMAT`` or ``STATE_FORMAT``; the file must say that it is one.

    Raises:
        DataError: missing, cut short, or not of this kind.
    """
    try:
        content = Path(path).read_bytes()  # once: safe_open would mix two files during a rename
        tensors = dict(sorted(load(content).items()))
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        info = json.loads(header.get("__metadata__", {}).get(KEY, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{path} is not a readable checkpoint ({error}).") from error
    if info.get("format") != kind:
        raise DataError(
            f"{path} is {info.get('format', 'a safetensors file of another program')!r}, "
            f"expected {kind!r}. Give a run folder, a fold folder or a model.safetensors."
        )
    return tensors, info


def tensors_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes: equal for equal weights, whatever the file says.

    >>> tensors_hash({"a": torch.zeros(2)}) == tensors_hash({"a": torch.zeros(2, 1)})
    False
    """
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    return hashlib.sha256(save(plain)).hexdigest()


def is_checkpoint(path: Path) -> bool:
    """Whether a file says that it is ours; other programs write safetensors too."""
    try:
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return f'"{KEY}"'.encode() in file.read(min(length, 2**26))
    except OSError:
        return False


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before every name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def part(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, with the prefix taken off."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments as flat tensors ``index.name``; rates are functions of the step."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put moments back; the parameter groups stay as the config made them."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        if value.shape == like.shape:  # files hold no memory order; arithmetic depends on it
            value = torch.empty_like(like, dtype=value.dtype, device="cpu").copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
