"""Files of tensors that other programs wrote: safetensors, or torch's, of which nothing runs."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from crosslinknet.errors import DataError

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
