"""The classical U-Net: five levels of two 3x3 convolutions, transposed convolutions on the way up.

Source: Ronneberger, Fischer and Brox, MICCAI 2015, Fig. 1. By default with what is usual today:
padded convolutions, batch norm, no biases. ``padding="valid", norm=False`` is the network as
published, whose logits are smaller than the image; mirrored borders, the paper's overlap tiles,
make them as large. Order: Level, UNet.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.errors import UsageError, suggest
from crosslinknet.models.contract import check_image, mirrored, padded

PADDINGS = ("same", "valid")


class Level(nn.Sequential):
    """Two 3x3 convolutions, each with batch norm where asked, and ReLU."""

    def __init__(self, cin: int, cout: int, padding: str, norm: bool) -> None:
        layers: list[nn.Module] = []
        for channels in (cin, cout):
            layers.append(nn.Conv2d(channels, cout, 3, padding=padding, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm2d(cout))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet(nn.Module):
    """U-Net of any depth.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        widths: channels of each level; a pooling lies between two of them.
        padding: ``same``, or ``valid`` as published.
        norm: batch norm after each 3x3 convolution, which then has no bias.
        dropout: of the two deepest levels of the contracting path (published: 0.5).

    Raises:
        UsageError: an unknown padding, fewer than two widths.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        padding: str = "same",
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise UsageError(f"padding {padding!r} is unknown{suggest(padding, PADDINGS)}")
        if len(widths) < 2:
            raise UsageError(f"widths {list(widths)} must be two or more, such as [32, 64, 128].")
        self.in_channels = in_channels
        self.padding = padding
        self.multiple = 2 ** (len(widths) - 1)
        inputs = (in_channels, *widths[:-1])
        self.down = nn.ModuleList(
            Level(cin, cout, padding, norm) for cin, cout in zip(inputs, widths, strict=True)
        )
        self.dropout = nn.Dropout2d(dropout)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # deepest first
        self.up = nn.ModuleList(nn.ConvTranspose2d(cin, cout, 2, stride=2) for cin, cout in pairs)
        self.merge = nn.ModuleList(Level(2 * cout, cout, padding, norm) for _, cout in pairs)
        self.classifier = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W)."""
        h, w = check_image(x, self.in_channels)
        if self.padding == "valid":
            return self._logits(self._enlarged(x))[..., :h, :w]
        return self._logits(padded(x, self.multiple))[..., :h, :w]

    def _logits(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for number, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if number else x)  # (B, width, H / 2^number, W / 2^number)
            if number >= len(self.down) - 2:
                x = self.dropout(x)
            skips.append(x)
        y = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            y = up(y)
            y = merge(torch.cat([_centre(skips.pop(), y), y], dim=1))
        return self.classifier(y)  # type: ignore[no-any-return]

    def _enlarged(self, x: Tensor) -> Tensor:
        """Mirrored borders, so that unpadded convolutions leave the image or a little more."""
        borders = []
        for side in x.shape[2:]:
            whole = side
            while self.left_over(whole) < side:
                whole += 1
            before = (whole - self.left_over(whole)) // 2
            borders.append((before, whole - side - before))
        return mirrored(x, *borders)

    def left_over(self, side: int) -> int:
        """Side of the logits of unpadded convolutions; 0 where there are none.

        >>> UNet(padding="valid").left_over(572)
        388
        """
        depth = len(self.down) - 1
        for _ in range(depth):
            side -= 4
            if side <= 0 or side % 2:  # an odd side would lose a row that no skip has lost
                return 0
            side //= 2
        side -= 4
        for _ in range(depth):
            side = 2 * side - 4
        return max(0, side)


def _centre(skip: Tensor, like: Tensor) -> Tensor:
    """The middle of a skip, as large as another map."""
    (h, w), (height, width) = like.shape[2:], skip.shape[2:]
    top, left = (height - h) // 2, (width - w) // 2
    return skip[..., top : top + h, left : left + w]
