"""Soft Dice, Eq. (4), and the thresholded one of the released code. Decision D9."""

from torch import Tensor


def soft_dice(
    probs: Tensor, target: Tensor, eps: float = 1.0, smooth: str = "denominator"
) -> Tensor:
    """One minus the soft Dice coefficient of each image and class, averaged.

    Args:
        probs: (B, K, H, W) in [0, 1], float32.
        target: (B, K, H, W) in [0, 1].
        eps: smoothing; the paper names no number, the released code uses 1.
        smooth: ``denominator`` as printed; ``both`` also above the line, which gives empty
            masks a gradient.

    Returns:
        Scalar in [0, 1]. An empty mask gives 1 and, under ``denominator``, no gradient.

    Source: Eq. (4).

    >>> import torch
    >>> g = torch.ones(1, 1, 2, 2)
    >>> round(soft_dice(g, g).item(), 4)  # 1 - 8 / 9
    0.1111
    """
    intersection = (probs * target).sum(dim=(2, 3))  # (B, K)
    area = probs.sum(dim=(2, 3)) + target.sum(dim=(2, 3))  # (B, K)
    above = eps if smooth == "both" else 0.0
    return (1.0 - (2.0 * intersection + above) / (area + eps)).mean()


def released_dice(probs: Tensor, target: Tensor) -> Tensor:
    """Dice term of the released code: thresholded at 0.4, "+1" counted twice, no gradient.

    Args:
        probs: (B, K, H, W) in [0, 1].
        target: (B, K, H, W) in [0, 1].

    Returns:
        Scalar in [-1, 1]; a perfect prediction is negative, two empty masks give -1.
    """
    pred = (probs.detach() > 0.4).to(target.dtype)
    intersection = (pred * target).sum(dim=(2, 3))
    area = pred.sum(dim=(2, 3)) + target.sum(dim=(2, 3))
    return (1.0 - 2.0 * (intersection + 1.0) / (area + 1.0)).mean()
