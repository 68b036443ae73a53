"""Binary cross-entropy from logits, Eq. (3), and its softmax form for exclusive classes."""

from torch import Tensor
from torch.nn import functional as F


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy over all pixels and classes.

    Args:
        logits: (B, K, H, W), float32.
        target: (B, K, H, W) in [0, 1]; soft targets are allowed.

    Returns:
        Scalar >= 0.

    Source: Eq. (3), as softplus(z) - g z, which stays finite for large logits.

    >>> import torch
    >>> z = torch.zeros(1, 1, 2, 2)
    >>> round(bce(z, torch.ones(1, 1, 2, 2)).item(), 6)  # ln 2
    0.693147
    """
    return F.binary_cross_entropy_with_logits(logits, target)


def softmax_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy for exclusive classes.

    Args:
        logits: (B, 1 + K, H, W), float32; map 0 is the background.
        target: (B, 1 + K, H, W), one-hot or soft; sums to 1 over the classes.
    """
    return F.cross_entropy(logits, target)
