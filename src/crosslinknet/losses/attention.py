"""The attention loss: maps of all branches should agree with the mask. Eq. (1), Decision D8.

Two forms. ``triple`` is Eq. (1): the mean product of the centred, normalised maps and mask. Its
optimum is not the mask (a sign is free, and its range shrinks like one over the root of the
target's area). ``pairwise`` averages the Pearson correlations of all pairs instead: range
[-1, 1], optimum where every map equals the mask.
Order: pool_mask, centred, the two forms, attention_loss.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslinknet.errors import ShapeError

TAU = 1e-3  # standard deviation below which a map counts as flat and fades out


def pool_mask(target: Tensor, block: int) -> Tensor:
    """The mask at the resolution of a block's maps: block - 1 average poolings, not re-binarised.

    Args:
        target: (B, 1, H, W) in [0, 1].
        block: 1..5.

    Returns:
        (B, 1, h, w), h = H / 2^(block - 1), rounded down at every step.
    """
    for _ in range(block - 1):
        target = F.avg_pool2d(target, 2)
    return target


def centred(maps: Tensor, least: float) -> Tensor:
    """Subtract each image's mean and divide by the norm; flat maps fade to 0 instead of NaN.

    Args:
        maps: (B, 1, h, w).
        least: smallest norm that is divided by.

    Returns:
        (B, P), P = h w; norm 1 wherever the norm was at least ``least``.
    """
    x = maps.flatten(1)
    x = x - x.mean(dim=1, keepdim=True)
    # Clamp before the root: the root's own gradient at 0 is infinite.
    norm = x.square().sum(dim=1, keepdim=True).clamp_min(least**2).sqrt()
    return x / norm


def triple(vectors: Sequence[Tensor]) -> Tensor:
    """Eq. (1) without its sign: sum of the product of all vectors, (B, P) each, giving (B,)."""
    product = vectors[0]
    for vector in vectors[1:]:
        product = product * vector
    return product.sum(dim=1)


def pairwise(vectors: Sequence[Tensor]) -> Tensor:
    """Mean Pearson correlation of all pairs; (B, P) each, giving (B,) in [-1, 1]."""
    pairs = [(a * b).sum(dim=1) for a, b in combinations(vectors, 2)]
    return torch.stack(pairs).mean(dim=0)


FORMS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "eq1": triple,
    "pairwise": pairwise,
    "released": triple,  # the same value; the caller detaches it
}


def attention_loss(scores: Sequence[Tensor], mask: Tensor, form: str = "eq1") -> tuple[Tensor, int]:
    """Attention loss of one block.

    Args:
        scores: one (B, 1, h, w) per branch, before the sigmoid, float32.
        mask: (B, 1, h, w) in [0, 1], see ``pool_mask``.
        form: ``eq1``, ``pairwise`` or ``released``.

    Returns:
        The loss, -1/B times the sum over the images with a usable mask, and how many those
        are. Empty, full and constant masks count 0, with zero gradient. Dividing by B keeps an
        empty slice from doubling its neighbour's weight.

    Raises:
        ShapeError: scores and mask differ in size.

    >>> mask = torch.zeros(1, 1, 64, 64)
    >>> mask.view(-1)[:10] = 1
    >>> perfect = 1000 * (mask - 0.5)
    >>> loss, _ = attention_loss([perfect, perfect], mask)
    >>> round(loss.item(), 5)  # (2 q - 1) / sqrt(P q (1 - q))
    -0.31507
    """
    for score in scores:
        if score.shape != mask.shape:
            raise ShapeError(
                f"an attention map is {tuple(score.shape)}, the pooled mask {tuple(mask.shape)}; "
                "pool the mask with pool_mask(target, block) of the block the map comes from."
            )
    pixels = mask[0].numel()
    m = mask.flatten(1) - mask.flatten(1).mean(dim=1, keepdim=True)
    valid = m.square().sum(dim=1).sqrt() > TAU  # (B,)
    # A safe mask before the division, so that not even an unused branch makes a NaN gradient.
    ramp = torch.linspace(0.0, 1.0, pixels, device=mask.device, dtype=mask.dtype)
    safe = torch.where(valid[:, None, None, None], mask, ramp.view(1, *mask.shape[1:]))
    least = TAU * pixels**0.5
    vectors = [centred(torch.sigmoid(score), least) for score in scores]
    rho = FORMS[form]([*vectors, centred(safe, TAU)])
    return -(rho * valid).sum() / len(mask), int(valid.sum())
