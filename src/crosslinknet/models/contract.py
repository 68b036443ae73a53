"""What every network promises, in the form that training, prediction and export rely on.

``model(x)`` takes an image (B, in_channels, H, W) of any size and gives logits (B, num_classes, H,
W). What training needs beyond them comes from a second method, ``forward_for_loss(x, target)``; a
network without such needs leaves it out. Order: Outputs, what logits mean, then the image: its
shape, and sizes that a network cannot take as they are.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslinknet.errors import ShapeError

Maps = list[list[Tensor]]  # per attention block, per branch: scores before the sigmoid (B, 1, h, w)


class Outputs(NamedTuple):
    """What a network gives to the losses.

    Attributes:
        logits: (B, K, H, W); of n pixels that the network chose, (B, K, n, 1).
        target: of those pixels, (B, K, n, 1) in [0, 1]; None: the mask itself is the target.
        maps: scores of the attention blocks.
        sides: further logits of the mask, (B, K, H, W) each: auxiliary heads, deep supervision.
        side_weights: what each counts beside ``logits``, as published; () counts each once.
        edge: logits of the mask's contour, (B, K, H, W).
        taps: features (N, C, L) of N patches in their vertical and in their horizontal form.
    """

    logits: Tensor
    target: Tensor | None = None
    maps: Maps = []  # noqa: RUF012  (a tuple's default, never changed)
    sides: tuple[Tensor, ...] = ()
    side_weights: tuple[float, ...] = ()
    edge: Tensor | None = None
    taps: tuple[Tensor, Tensor] | None = None


def probabilities(logits: Tensor, classes: str) -> Tensor:
    """Logits to probabilities of the classes without the background, (B, K, H, W).

    Args:
        logits: (B, K, H, W); of exclusive classes (B, 1 + K, H, W), the background first.
        classes: as ``loss.classes``. ``one-vs-rest`` gives the sigmoids as shares of their sum, so
            that the largest of them is the class.

    >>> probabilities(torch.zeros(1, 3, 1, 1), "one-vs-rest").flatten().tolist()
    [0.3333333432674408, 0.3333333432674408]
    """
    if classes == "softmax":
        return torch.softmax(logits, dim=1)[:, 1:]
    if classes == "one-vs-rest":  # sigmoids over their sum, which may be too small for a float
        return torch.softmax(F.logsigmoid(logits.float()), dim=1)[:, 1:]
    return torch.sigmoid(logits)


def check_image(x: Tensor, in_channels: int) -> tuple[int, int]:
    """Height and width of an image (B, in_channels, H, W).

    Raises:
        ShapeError: another number of axes or channels, or nothing in it.
    """
    if x.ndim != 4 or x.shape[1] != in_channels or 0 in x.shape:
        raise ShapeError(
            f"the network got an input of shape {tuple(x.shape)}; it takes (batch, {in_channels}, "
            "height, width). Build it with other in_channels (image.channels), or stack the slices "
            "along the first axis."
        )
    return x.shape[2], x.shape[3]


def padded(x: Tensor, multiple: int, least: int = 0) -> Tensor:
    """Repeat the last row and column until both sides are multiples.

    What is added lies below and to the right, so that ``[..., :H, :W]`` takes it away again.

    Args:
        x: (B, C, H, W).
        multiple: of what both sides become multiples.
        least: smallest side, itself a multiple.

    >>> padded(Tensor(1, 1, 33, 64), 32).shape
    torch.Size([1, 1, 64, 64])
    """
    more = [max(least, -(-side // multiple) * multiple) - side for side in x.shape[2:]]
    return F.pad(x, (0, more[1], 0, more[0]), mode="replicate") if any(more) else x


def mirrored(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Mirror the borders, again and again where the image is smaller than they are.

    Args:
        x: (B, C, H, W).
        rows: how many to add above and below.
        columns: how many to add to the left and to the right.

    Where torch's own reflection works, this is the same.

    >>> mirrored(torch.tensor([[[[1.0, 2.0, 3.0]]]]), (0, 0), (3, 4))[0, 0, 0].tolist()
    [2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0]
    """
    for axis, (before, after) in ((2, rows), (3, columns)):
        side = x.shape[axis]
        period = max(1, 2 * (side - 1))
        places = torch.arange(-before, side + after, device=x.device) % period
        x = x.index_select(axis, torch.minimum(places, period - places))
    return x
