"""First weights of a network from a local file of another program; nothing is downloaded.

What a file may be: the backbone of a network that has one, under the names of timm and torchvision;
the authors' released Crosslink-Net; weights published with a network (``published_names``); or the
network's own state dict. Order: load_weights, load_trained.
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
        return _fill(model, tensors, path, _last_layer(own, tensors))
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, Backbone):
        load_backbone(backbone, tensors, path, getattr(model, "backbone_own", ()))
        return []
    if isinstance(model, CrosslinkNet):
        fill_released(model, tensors, str(path))
        return []
    names: dict[str, str] = getattr(model, "published_names", dict)()
    renamed = {names.get(name, name): tensor for name, tensor in tensors.items()}
    return _fill(model, renamed, path, _last_layer(own, renamed))


def load_trained(
    model: nn.Module, tensors: dict[str, Tensor], classes: tuple[int, int], path: Path
) -> list[str]:
    """Fill a network from one that this program trained.

    Args:
        model: the network.
        tensors: of the other one.
        classes: of the model and of the other one; their heads differ by as many rows.
        path: the file, for messages.

    Returns:
        Names of tensors that stay as they were drawn: heads that differ in the number of classes,
        and heads for the training alone that the other one has not.

    Raises:
        DataError: anything else differs; the message names the keys.
    """
    wanted = model.state_dict()
    given = {k: v for k, v in tensors.items() if k in wanted or not k.startswith("heads.")}

    def stays(name: str) -> bool:
        if name not in given:
            return name.startswith("heads.")
        ours, theirs = wanted[name].shape, given[name].shape
        rows = int(ours[0]) - int(theirs[0]) if ours != theirs else 0
        return rows != 0 and rows == classes[0] - classes[1] and bool(ours[1:] == theirs[1:])

    return _fill(model, given, path, [name for name in wanted if stays(name)])


def _last_layer(wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[str]:
    """Tensors of the last layer, where the file is made for another number of classes."""
    return [
        name
        for name, tensor in tensors.items()
        if name.startswith("classifier.") and name in wanted and wanted[name].shape != tensor.shape
    ]


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path, drawn: list[str]) -> list[str]:
    """Every tensor of the network but ``drawn``, which stay as they are."""
    wanted = model.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name not in drawn}
    if wrong := misfits(wanted, fitting, optional=drawn):
        raise DataError(f"{path} is of another network than this one ({wrong}).")
    model.load_state_dict(wanted | fitting)
    return drawn
