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
from crosslinknet.models.tensors import misfits, read_tensors


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
    last = [
        name
        for name, tensor in tensors.items()
        if name.startswith("classifier.") and name in wanted and wanted[name].shape != tensor.shape
    ]
    fitting = {name: tensor for name, tensor in tensors.items() if name not in last}
    if wrong := misfits(wanted, fitting, optional=last):
        raise DataError(f"{path} is of another network than this one ({wrong}).")
    model.load_state_dict(wanted | fitting)
    return last
