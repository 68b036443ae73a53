"""Crossover-Net: each pixel from a tall and a wide patch around it, one small network for both.

Source: Yu et al., "Crossover-Net", Pattern Recognition 2021, and its released code for the
layers; which pixels are drawn for training stands in crossover_pixels.py.
The source classifies patch by patch. Nothing is padded inside and nothing is normalised, so one
pass over the padded image gives the same numbers for all pixels: pooling moves by one pixel
instead of two, and all later kernels are spread by two.
Order: the tables, the border, DensePool, Side, CrossoverNet.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.errors import ShapeError, UsageError, suggest
from crosslinknet.models.contract import Outputs, check_image, mirrored
from crosslinknet.models.crossover_pixels import draw_pixels

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
