"""The crossover loss: a pixel's two patches should agree where they overlap and differ elsewhere.

Source: Yu et al., "Crossover-Net", Pattern Recognition 2021, and its released code: the terms
C (consistency) and S (specificity). Order: common_rows, special_rows, crossover_loss.
"""

from typing import Literal

from torch import Tensor

from crosslinknet.errors import ShapeError

SQUARES = 5  # a patch is five squares long: 100x20, 340x68
LEAST = 6  # rows of a tap from which common and special rows are apart
TINY = 1e-6  # a distance that counts as none: keeps the root and the division finite


def common_rows(length: int, symmetric: bool = False) -> range:
    """The rows of a tap that look at the square which both patches share.

    ``L // 2 - n`` to ``L // 2 + n - 1`` with ``n = round(5 / 2) = 2``. Of an odd length these lie
    half a row above the centre.

    Args:
        length: rows of the tap, L.
        symmetric: one row more where the length is odd, so that they lie around the centre.

    >>> [list(common_rows(length)) for length in (19, 35, 34)]
    [[7, 8, 9, 10], [15, 16, 17, 18], [15, 16, 17, 18]]
    >>> list(common_rows(19, symmetric=True))
    [7, 8, 9, 10, 11]
    """
    centre, half = length // 2, round(SQUARES / 2)
    return range(centre - half, centre + half + (length % 2 if symmetric else 0))


def special_rows(length: int) -> list[int]:
    """The rows of a tap that look at the two ends of its patch: the first and last L // 5.

    >>> special_rows(19)
    [0, 1, 2, 16, 17, 18]
    >>> [len(special_rows(length)) for length in (35, 34)]
    [14, 12]
    """
    end = length // SQUARES
    return [*range(end), *range(length - end, length)]


def crossover_loss(
    vertical: Tensor,
    horizontal: Tensor,
    form: Literal["paper", "symmetric", "released"] = "paper",
    *,
    batch_mean: bool = True,
) -> Tensor:
    """C + S: the scaled distance of the taps, mean over common rows minus mean over special rows.

    The distance of one feature in one row is taken over the whole batch, then all distances are
    scaled to [0, 1] between the smallest and the largest of them.

    Args:
        vertical: features of the vertical patches, (N, C, L), float32.
        horizontal: of the horizontal patches of the same pixels, same shape.
        form: paper; symmetric, with common rows around the centre, see ``common_rows``; released,
            as the code, which reshapes a batch where it means to transpose it: a distance is then
            taken over N values that follow each other in memory, whatever their pixel, feature
            and row. With one pixel paper and released are the same.
        batch_mean: distance as root of the mean over the batch; False: of the sum, as published.
            The scaling takes the factor out again: the two differ only in the weight of ``TINY``.

    Returns:
        Scalar in [-1, 1]. Equal taps give 0 with zero gradient.

    Raises:
        ShapeError: the taps differ in shape, or have fewer than 6 rows.

    >>> import torch
    >>> vertical = torch.zeros(1, 1, 19)
    >>> vertical[..., special_rows(19)] = 1  # agree in the middle, differ at the ends
    >>> round(crossover_loss(vertical, torch.zeros(1, 1, 19)).item(), 4)
    -1.0
    """
    if vertical.shape != horizontal.shape or vertical.ndim != 3 or vertical.shape[2] < LEAST:
        raise ShapeError(
            f"the taps are {tuple(vertical.shape)} and {tuple(horizontal.shape)}; both must be "
            f"(pixels, features, rows) of one shape, with at least {LEAST} rows."
        )
    count, _, length = vertical.shape
    squared = (vertical - horizontal).square()  # (N, C, L)
    if form == "released":
        squared = squared.reshape(-1, count).T.reshape(squared.shape)
    summed = squared.mean(dim=0) if batch_mean else squared.sum(dim=0)  # (C, L)
    distance = (summed + TINY**2).sqrt()
    low, high = distance.amin(), distance.amax()
    scaled = (distance - low) / (high - low + TINY)
    consistency = scaled[:, list(common_rows(length, form == "symmetric"))].mean()
    specificity = -scaled[:, special_rows(length)].mean()
    return consistency + specificity
