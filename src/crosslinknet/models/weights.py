"""First weights of a network from a local file of another program; nothing is downloaded.

What a file may be: the backbone of a network that has one, under the names of timm and torchvision;
the authors' released Crosslink-Net; weights published with a network (``published_names``); or the
network's own state dict. Order: load_weights, its kinds.
"""

from pathlib import Path

from torch import Tensor, nn

from crosslinknet.errors import DataError
from crosslinknet.models.backbones import Backbone, load_backbone
from crosslinknet.models.crosslink_net import CrosslinkNet
from crosslinknet.models.released import fill_released
from crosslinknet.models.tensors import read_tensors

LISTED = 5  # names in a message


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Fill a network, or its backbone, from a file; all or nothing of what the file stands for.

    Returns:
        Names of the network's tensors that stay as they were drawn, because the file is made for
        another number of classes; heads behind a backbone are not among them.

    Raises:
        DataError: no such file, or it is of another network; the message names the keys.
        UsageError: a released file and a Crosslink-Net of another preset.
    """
    tensors, own = read_tensors(path), model.state_dict()
    if set(tensors) <= set(own) and 2 * len(tensors) > len(own):
        return _fill(model, tensors, path)
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, Backbone):
        load_backbone(backbone, tensors, path, getattr(model, "backbone_own", ()))
        return []
    if isinstance(model, CrosslinkNet):
        fill_released(model, tensors, str(path))
        return []
    names: dict[str, str] = getattr(model, "published_names", dict)()
    renamed = {names.get(name, name): tensor for name, tensor in tensors.items()}
    return _fill(model, renamed, path)


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> list[str]:
    """Every tensor of the network but those of its last layer, if they differ in classes."""
    wanted = model.state_dict()
    other = [n for n, t in tensors.items() if n in wanted and wanted[n].shape != t.shape]
    last = [name for name in other if name.startswith("classifier.")]
    missing = [n for n in wanted if n not in tensors and not n.endswith("num_batches_tracked")]
    strange = [name for name in tensors if name not in wanted]
    wrong = {
        "missing": missing,
        "unexpected": strange,
        "of another shape": [name for name in other if name not in last],
    }
    if any(wrong.values()):
        found = "; ".join(f"{what}: {_some(names)}" for what, names in wrong.items() if names)
        raise DataError(f"{path} is of another network than this one ({found}).")
    fitting = {name: t for name, t in tensors.items() if name not in last}
    model.load_state_dict(wanted | fitting)
    return last


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
