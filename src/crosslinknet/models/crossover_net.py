"""Crossover-Net: each pixel from a tall and a wide patch around it, one small network for both.

Source: Yu et al., "Crossover-Net", Pattern Recognition 2021, and its released code for the
layers; which pixels are drawn for training is reconstructed from the predecessor, Crossbar-Net.
The source classifies patch by patch. Nothing is padded inside and nothing is normalised, so one
pass over the padded image gives the same numbers for all pixels: pooling moves by one pixel
instead of two, and all later kernels are spread by two.
Order: the tables, the border, DensePool, Side, which pixels are drawn, CrossoverNet.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.errors import ShapeError, UsageError, suggest
from crosslinknet.models.contract import Outputs, check_image, mirrored

Kernel = tuple[int, int]  # (rows, columns)
Layer = tuple[int, Kernel] | None  # channels out and kernel of a convolution; None: max pooling

POOL = None


@dataclass(frozen=True)
class Table:
    """The layers of one side as data. A change of architecture is a change of this table.

    Attributes:
        patch: rows and columns of the tall patch; the wide one is its transpose.
        layers: in order; ReLU follows each convolution but the last.
        tap: number of the convolution, from 1, whose output the crossover loss compares.
    """

    patch: tuple[int, int]
    layers: tuple[Layer, ...]
    tap: int


VARIANTS = {
    "small": Table(  # HV: kidney, heart, lung
        patch=(100, 20),
        layers=(
            (16, (5, 3)),
            (36, (5, 3)),
            POOL,
            (64, (5, 3)),
            POOL,
            (64, (3, 3)),  # the tap, 19 rows
            (64, (7, 1)),
            (64, (7, 1)),
            (500, (7, 1)),
        ),
        tap=4,
    ),
    "breast": Table(
        patch=(340, 68),  # of which the floor of the second pooling leaves out two rows and columns
        layers=(
            (16, (5, 5)),
            (36, (5, 5)),
            POOL,
            (64, (5, 5)),
            (64, (6, 6)),
            POOL,
            *((64, (3, 3)),) * 3,
            POOL,
            (64, (2, 2)),  # the tap, 35 rows
            *((64, (8, 1)),) * 4,
            (500, (7, 1)),
        ),
        tap=8,
    ),
    "breast-small": Table(
        patch=(340, 68),
        layers=(
            (16, (5, 5)),
            (36, (5, 5)),
            POOL,
            (64, (5, 5)),
            POOL,
            (64, (6, 6)),
            POOL,
            (64, (3, 3)),
            (64, (3, 2)),  # the tap, 34 rows
            (64, (7, 1)),
            *((64, (8, 1)),) * 3,
            (500, (7, 1)),
        ),
        tap=6,
    ),
}


def bordered(x: Tensor, patch: tuple[int, int], padding: str) -> Tensor:
    """Surround an image so that the patch of pixel (r, c) begins at row r and column c.

    A pixel is number h/2 of its patch, from 0: h/2 rows are added above, h/2 - 1 below.

    Args:
        x: (B, C, H, W).
        patch: its rows and columns, (h, w), both even.
        padding: ``zero``; or ``reflect``, mirrored again and again where the image is smaller
            than the border. Where torch's own reflection works, this is the same.

    Returns:
        (B, C, H + h - 1, W + w - 1).
    """
    (top, left), (bottom, right) = ((n // 2 for n in patch), (n // 2 - 1 for n in patch))
    if padding == "zero":
        return F.pad(x, (left, right, top, bottom))
    return mirrored(x, (top, bottom), (left, right))


class DensePool(nn.Module):
    """2x2 max pooling that moves by one pixel; two maxima are several times faster than torch's."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H - d, W - d), d the dilation."""
        d = self.dilation
        x = torch.maximum(x[:, :, :-d], x[:, :, d:])
        return torch.maximum(x[..., :-d], x[..., d:])


class Side(nn.Module):
    """The network of one patch; the layers hold the dilation that the dense pass needs."""

    def __init__(self, in_channels: int, table: Table) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.tap = [n for n, layer in enumerate(table.layers) if layer][table.tap - 1]
        reach = [1, 1]
        dilation = 1
        for layer in table.layers:
            kernel = layer[1] if layer else (2, 2)
            reach = [r + dilation * (k - 1) for r, k in zip(reach, kernel, strict=True)]
            if layer:
                self.layers.append(nn.Conv2d(in_channels, layer[0], kernel, dilation=dilation))
                in_channels = layer[0]
            else:
                self.layers.append(DensePool(dilation))
                dilation *= 2
        self.features = in_channels
        self.reach = (reach[0], reach[1])  # rows and columns that an output depends on

    def forward(self, x: Tensor, dense: bool) -> tuple[Tensor, Tensor]:
        """The tap (after its ReLU) and the features (before theirs).

        Args:
            x: patches (N, C, h, w) or, dense, images (B, C, H + reach - 1, W + reach - 1).
            dense: every pixel of an image instead of one per patch.

        Returns:
            Of patches (N, 64, L, 1) and (N, 500, 1, 1). Dense, (B, 64, H', W) and (B, 500, H, W):
            the tap of pixel (r, c) is rows r, r + d, r + 2 d, ... of column c, d the dilation.
        """
        for number, layer in enumerate(self.layers):
            if isinstance(layer, nn.Conv2d):
                x = layer(x) if dense else F.conv2d(x, layer.weight, layer.bias)
                if number < len(self.layers) - 1:
                    x = F.relu(x, inplace=True)
            else:
                x = layer(x) if dense else F.max_pool2d(x, 2)
            if number == self.tap:
                tap = x
        return tap, x


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


class CrossoverNet(nn.Module):
    """Two patches per pixel, shared weights, 500 features each, one linear classifier.

    The source ends in a softmax over background and classes, K + 1 outputs; so does this, and
    the K logits are the outputs relative to the first: with one class, the sigmoid of the logit
    is the softmax of the two.

    Args:
        in_channels: of the image.
        num_classes: logit maps, K. For a softmax over background and classes this counts the
            background too, as in every network here.
        variant: ``small`` (patches of 100x20, the source's HV), ``breast`` or ``breast-small``
            (340x68).
        padding: what lies outside of the image, ``reflect`` or ``zero``.
        pixels: drawn per image in ``forward_for_loss``.
        strip: image rows that ``forward`` evaluates at a time. It bounds the memory: 500 maps of
            512x512 would take half a gigabyte. What strips share is computed for each: at 512x512,
            strips of 64 take a sixth more multiplications than none (breast: twice as many).

    Raises:
        UsageError: an unknown variant or padding, no pixel, no strip.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        variant: str = "small",
        padding: str = "reflect",
        pixels: int = 200,
        strip: int = 64,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise UsageError(f"variant {variant!r} is unknown{suggest(variant, VARIANTS)}")
        if padding not in ("reflect", "zero"):
            raise UsageError(
                f"padding {padding!r} is unknown{suggest(padding, ['reflect', 'zero'])}"
            )
        if min(pixels, strip) < 1:
            raise UsageError(f"pixels {pixels} and strip {strip} must be at least 1.")
        self.in_channels = in_channels
        self.patch = VARIANTS[variant].patch
        self.padding = padding
        self.pixels = pixels
        self.strip = strip
        self.side = Side(in_channels, VARIANTS[variant])
        self.classifier = nn.Linear(2 * self.side.features, num_classes + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) to logits (B, num_classes, H, W), of any size from one pixel on.

        Raises:
            ShapeError: not an image of ``in_channels``.
        """
        tall, wide = self._bordered(x)
        high, narrow = (n - 1 for n in self.side.reach)
        columns = x.shape[3]
        vertical, horizontal = self.classifier.weight[..., None, None].chunk(2, dim=1)
        strips = []
        for top in range(0, x.shape[2], self.strip):
            bottom = min(top + self.strip, x.shape[2])
            of_tall = tall[:, :, top : bottom + high, : columns + narrow]
            of_wide = wide[:, :, top : bottom + narrow, : columns + high].mT
            # (B, K + 1, rows, W); the 500 features of one side are gone before the other's come.
            scores = self._scores(of_tall, vertical) + self._scores(of_wide, horizontal).mT
            strips.append(scores)
        return self._logits(torch.cat(strips, dim=2) + self.classifier.bias[:, None, None])

    def patch_logits(
        self, x: Tensor, rows: Tensor, columns: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Some pixels, patch by patch as in the source; the same logits as ``forward``.

        Args:
            x: (B, C, H, W).
            rows: of n pixels per image, (B, n).
            columns: of the same pixels, (B, n).

        Returns:
            Logits (N, num_classes), N = B n, image by image; the taps of the vertical and of the
            horizontal patches, (N, 64, L) each.

        Raises:
            ShapeError: not an image of ``in_channels``.
        """
        tall, wide = self._bordered(x)
        h, w = self.patch
        taps, features = [], []
        for patches in (cut(tall, rows, columns, (h, w)), cut(wide, rows, columns, (w, h)).mT):
            tap, feature = self.side(patches, dense=False)  # (N, 64, L, 1), (N, 500, 1, 1)
            taps.append(tap.squeeze(3))
            features.append(feature.flatten(1))
        scores = self.classifier(torch.cat(features, dim=1).relu())  # (N, K + 1)
        return self._logits(scores), (taps[0], taps[1])

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Draw pixels by the target and evaluate their patches.

        Args:
            x: (B, C, H, W).
            target: (B, K, H, W) in [0, 1], one map per class without the background; None
                evaluates every pixel, as ``forward``.

        Returns:
            Logits (B, num_classes, n, 1) and target (B, K, n, 1) of n = ``pixels`` per image; the
            taps of both patches, (B n, 64, L) each.

        Raises:
            ShapeError: image and target differ in size, or not an image of ``in_channels``.
        """
        if target is None:
            return Outputs(self(x))
        if target.ndim != 4 or (len(x), *x.shape[2:]) != (len(target), *target.shape[2:]):
            raise ShapeError(
                f"the image is {tuple(x.shape)}, the target {tuple(target.shape)}; "
                "the network draws pixels of both, so they must be of one size."
            )
        rows, columns = draw_pixels(target, self.pixels)  # (B, n) each
        logits, taps = self.patch_logits(x, rows, columns)
        images = torch.arange(len(x), device=x.device)[:, None]
        return Outputs(
            logits.view(*rows.shape, -1).mT.unsqueeze(3),
            target[images, :, rows, columns].mT.unsqueeze(3),  # of (B, n, K)
            taps=taps,
        )

    def _bordered(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image with the border of the tall patches, and with that of the wide ones."""
        check_image(x, self.in_channels)
        h, w = self.patch
        return bordered(x, (h, w), self.padding), bordered(x, (w, h), self.padding)

    def _scores(self, x: Tensor, weight: Tensor) -> Tensor:
        """One side's part of the K + 1 outputs, for every pixel."""
        _, features = self.side(x, dense=True)  # (B, 500, H, W)
        return F.conv2d(F.relu(features, inplace=True), weight)

    @staticmethod
    def _logits(scores: Tensor) -> Tensor:
        """(B, K + 1, ...) to (B, K, ...): relative to the first."""
        return scores[:, 1:] - scores[:, :1]


def cut(x: Tensor, rows: Tensor, columns: Tensor, patch: tuple[int, int]) -> Tensor:
    """The patches that begin at the given pixels.

    Args:
        x: (B, C, H, W).
        rows: (B, n), first row of each patch.
        columns: (B, n), first column.
        patch: rows and columns of a patch, (h, w).

    Returns:
        (B n, C, h, w).
    """
    down, right = (torch.arange(n, device=x.device) for n in patch)
    images = torch.arange(len(x), device=x.device)[:, None, None, None]
    of_rows = rows[:, :, None, None] + down[:, None]  # (B, n, h, 1)
    of_columns = columns[:, :, None, None] + right  # (B, n, 1, w)
    patches = x.transpose(0, 1)[:, images, of_rows, of_columns]  # (C, B, n, h, w)
    return patches.flatten(1, 2).transpose(0, 1)
