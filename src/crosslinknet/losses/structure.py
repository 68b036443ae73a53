"""Inf-Net's structure loss: pixels count more the more their neighbourhood differs from them.

Source: Fan et al., Inf-Net, IEEE TMI 2020, Eq. (2) to (4); Wei et al., F3Net, AAAI 2020. The
released code takes the plain mean of the cross-entropy, since ``reduce="none"`` means true there:
its weights cancel (``weighted=False``). Decision D38. Order: structure_loss, contour.
"""

from torch import Tensor
from torch.nn import functional as F

WINDOW = 31  # pixels of the neighbourhood


def structure_loss(logits: Tensor, target: Tensor, *, weighted: bool = True) -> Tensor:
    """Weighted cross-entropy plus weighted IoU loss, mean over images and maps.

    Args:
        logits: (B, K, H, W), float32.
        target: same shape, in [0, 1].
        weighted: as the paper; False takes the plain cross-entropy, as the released code.

    >>> import torch
    >>> zero = torch.zeros(1, 1, 4, 4)  # an empty mask has no contour: all weights are 1
    >>> round(structure_loss(zero, zero).item(), 4)  # log 2 + 1 - 1 / (8 + 1)
    1.582
    """
    around = F.avg_pool2d(target, WINDOW, stride=1, padding=WINDOW // 2)  # zeros beyond the border
    weight = 1 + 5 * (around - target).abs()  # (B, K, H, W), 1 .. 6
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    mean = cross.mean(dim=(2, 3))
    if weighted:
        mean = (weight * cross).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))  # (B, K)
    probs = logits.sigmoid()
    inside = (weight * probs * target).sum(dim=(2, 3))
    both = (weight * (probs + target)).sum(dim=(2, 3))
    return (mean + 1 - (inside + 1) / (both - inside + 1)).mean()


def contour(target: Tensor) -> Tensor:
    """Pixels of a mask with one of another value among their eight neighbours inside the image.

    The released code takes Canny edges of the mask instead, one pixel wide as well.

    Args:
        target: (B, K, H, W) in [0, 1].

    >>> import torch
    >>> contour(torch.ones(1, 1, 3, 3)).sum().item()
    0.0
    """
    return target + F.max_pool2d(-target, 3, stride=1, padding=1)
