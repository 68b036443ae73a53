"""Files of tensors that other programs wrote: safetensors, or torch's, of which nothing runs.

Order: read_tensors, misfits.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from crosslinknet.errors import DataError

LISTED = 5  # names in a message
WRAPPERS = ("state_dict", "model", "model_state_dict")  # under which trainers keep the tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; ``module.`` of DataParallel and wrappers are taken off.

    Args:
        path: .safetensors, or a state dict written by ``torch.save``, which is read weights-only: a
            pickle that would run code is refused.

    Raises:
        DataError: no such file, or it holds no plain tensors.
    """
    if not Path(path).is_file():
        raise DataError(f"{path} does not exist or is no file; give a file of weights.")
    if Path(path).suffix == ".safetensors":
        try:
            return dict(load(Path(path).read_bytes()))
        except (SafetensorError, OSError, ValueError) as error:
            raise DataError(f"{path} is not a readable safetensors file ({error}).") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad file
        raise DataError(
            f"{path} is no plain state dict of tensors ({type(error).__name__}), or it holds "
            "objects that would run code when opened. Save model.state_dict() alone."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"{path} holds no state dict of tensors. Save model.state_dict() alone.")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def misfits(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], optional: Collection[str] = ()
) -> str:
    """What of a file does not fit a network, for a message; empty where all fits.

    Args:
        wanted: the network's tensors by name.
        given: the file's.
        optional: names that the file need not have; num_batches_tracked, which old files lack and
            batch norm needs only without momentum, is one of them always.
    """
    missing = [
        name
        for name in wanted
        if name not in given and name not in optional and not name.endswith("num_batches_tracked")
    ]
    differing = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    found = {
        "missing": missing,
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": differing,
    }
    return "; ".join(f"{what}: {_some(names)}" for what, names in found.items() if names)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
