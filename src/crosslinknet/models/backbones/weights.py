"""Weights of a public file into a backbone: fitted to its input channels, and refused unless whole.

Order: the names that are dropped, load_backbone, its steps.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from crosslinknet.errors import DataError
from crosslinknet.models.backbones.base import Backbone
from crosslinknet.models.tensors import misfits

PREFIXES = ("module.", "model.", "backbone.", "encoder.")  # of wrappers around the network
CLASSIFIERS = ("fc.", "classifier.", "head.")


def load_backbone(
    backbone: Backbone, tensors: dict[str, Tensor], path: Path, own: Sequence[str] = ()
) -> None:
    """Copy the tensors of a file into a backbone, all or none.

    A classifier in the file is left out, a prefix that all its names share is cut off, and a first
    convolution over red, green and blue is summed to one over a grey channel where the backbone
    takes one: for an image that is the same in all three, the sum gives the same output.

    Args:
        backbone: changed in place.
        tensors: of the file, by name.
        path: of the file, for messages.
        own: parts of names that the file need not have, such as those of strip pooling gates.

    Raises:
        DataError: names are missing or left over, shapes differ, or the backbone takes neither
            one nor three channels; the backbone is unchanged.
    """
    wanted = backbone.state_dict()
    given = _for_channels(_bare(tensors), _stem(backbone), wanted, path)
    optional = [name for name in wanted if any(part in name for part in own)]
    if wrong := misfits(wanted, given, optional):
        raise DataError(
            f"{path} does not hold the weights of this backbone ({wrong}). A file that fits: "
            f"{backbone.fits}."
        )
    backbone.load_state_dict(wanted | given)  # what the file may lack stays as it is


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that all names share, and without the classifier."""
    while prefix := _shared_prefix(tensors):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {name: t for name, t in tensors.items() if not name.startswith(CLASSIFIERS)}


def _shared_prefix(names: Iterable[str]) -> str:
    names = list(names)
    shared = (p for p in PREFIXES if names and all(name.startswith(p) for name in names))
    return next(shared, "")


def _stem(backbone: nn.Module) -> str:
    """Name of the weight of the first convolution, which sees the image."""
    convs = (name for name, m in backbone.named_modules() if isinstance(m, nn.Conv2d))
    return f"{next(convs)}.weight"


def _for_channels(
    tensors: dict[str, Tensor], stem: str, wanted: dict[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Sum the stem's three input channels to one where the backbone takes one."""
    if stem not in tensors or tensors[stem].ndim != 4:
        return tensors
    given, channels = tensors[stem].shape[1], wanted[stem].shape[1]
    if given != 3 or channels == 3:
        return tensors
    if channels != 1:
        raise DataError(
            f"{path} holds weights for images of 3 channels, and the network takes {channels}. "
            "They can be used for 1 channel (their sum) or for 3; set image.channels to one of "
            "them, or train without a file of weights."
        )
    return tensors | {stem: tensors[stem].sum(dim=1, keepdim=True)}
