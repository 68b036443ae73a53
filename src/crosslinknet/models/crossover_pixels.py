"""Which pixels Crossover-Net learns from: inside, on and around the boundary of a target, balanced.

Source: reconstructed from the predecessor, Yu et al., "Crossbar-Net", whose shares are kept as
weights of single pixels; Decision D40. Order: the shares, depth, draw_weights, draw_pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# How often the source draws a pixel, in expectation: (rows, columns) away from a pixel of the
# boundary, and the share of the boundary that is taken there. Six steps in eight directions;
# across, the steps of the source add up: 1, 3, 6, 10, 15, 21 columns.
STEPS = {(0, 0): 0.40} | {
    (down * j, right * (j * (j + 1) // 2)): 0.15 - 0.015 * (j - 1)
    for j in range(1, 7)
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
    if down or right
}
GRID = 6  # inside a target, one pixel of every 6x6
INNER = 0.6  # of the way from the deepest pixel to the edge


def depth(mask: Tensor) -> Tensor:
    """Steps along rows and columns to the nearest pixel outside; H + W where there is none.

    Args:
        mask: (B, K, H, W), 0 or 1.

    >>> depth(torch.tensor([[[[0, 1, 1, 1, 0], [1, 1, 1, 1, 1]]]]))[0, 0].int().tolist()
    [[0, 1, 2, 1, 0], [1, 2, 3, 2, 1]]
    """
    d = mask.float() * (mask.shape[2] + mask.shape[3])
    for axis in (2, 3):
        i = torch.arange(mask.shape[axis], device=mask.device)
        i = i[:, None] if axis == 2 else i
        below = (d - i).cummin(axis).values + i
        above = (d + i).flip(axis).cummin(axis).values.flip(axis) - i
        d = torch.minimum(below, above)
    return d


def draw_weights(target: Tensor) -> Tensor:
    """How often each pixel should be drawn, for the background and for each class.

    The source draws 40 % of a target's boundary, shares of it up to six steps around, and a grid
    of step 6 in the middle of the target. Here these shares are weights of single pixels.

    Args:
        target: (B, K, H, W) in [0, 1]; a pixel belongs to the classes of at least 0.5.

    Returns:
        (B, 1 + K, H, W), the background first; 0 outside of the class. Where a background has no
        boundary, as in an image without target, all of it counts the same.
    """
    mask = (target >= 0.5).float()
    groups = torch.cat([1 - mask.amax(dim=1, keepdim=True), mask], dim=1)  # (B, 1 + K, H, W)
    boundary = mask * F.max_pool2d(1 - mask, 3, stride=1, padding=1)  # touches what is outside
    above, left = (max(step[axis] for step in STEPS) for axis in (0, 1))
    wide = F.pad(boundary.sum(dim=1, keepdim=True), (left, left, above, above))
    near = torch.zeros_like(groups[:, :1])  # (B, 1, H, W)
    height, width = mask.shape[2:]
    for (down, right), share in STEPS.items():
        top, start = above + down, left + right  # either sign: the steps go all ways alike
        near += share * wide[:, :, top : top + height, start : start + width]
    inside = depth(mask)
    deep = mask * (inside >= (1 - INNER) * inside.amax(dim=(2, 3), keepdim=True))
    weights = near * groups
    weights[:, 1:] += deep / GRID**2
    return torch.where(weights.sum(dim=(2, 3), keepdim=True) > 0, weights, groups)


def draw_pixels(target: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Pixels to learn from: as many of each class as of the background, by torch's generator.

    Args:
        target: (B, K, H, W) in [0, 1].
        pixels: how many per image. What an image does not hold leaves its share to the rest;
            where fewer pixels than asked for have a weight, they are drawn again.

    Returns:
        Rows and columns, (B, pixels) each; the classes first, the background last.
    """
    weights = draw_weights(target).flatten(2)  # (B, 1 + K, H W)
    drawn = []
    for image in weights:
        present = [group for group in [*image[1:], image[0]] if group.any()]
        for number, group in enumerate(present):
            share = pixels // len(present) + (number < pixels % len(present))
            if share:
                few = int(group.count_nonzero()) < share
                drawn.append(torch.multinomial(group, share, replacement=few))
    index = torch.cat(drawn).view(len(target), pixels)
    width = target.shape[3]
    return index.div(width, rounding_mode="floor"), index % width
