"""GridNet-core: a grid of three columns, encoder, across, decoder. A reconstruction.

Source: Zotti et al., STACOM 2017 and IEEE JBHI 2019, of which only the abstracts could be read:
the layout here is ours, and its scores say nothing of theirs. "-core" is the grid alone, without
shape prior and centre of mass; compared with in Table IV. Order: unit, GridNet.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.models.contract import Outputs, check_image, padded


def unit(cin: int, cout: int) -> nn.Sequential:
    """3x3 convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)
    )


class GridNet(nn.Module):
    """Rows are resolutions, columns are down, across and up.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        base_channels: channels of the first row; each row below has twice as many.
        rows: number of resolutions.
        across_convs: units of the middle column, per row; with 0 it is a plain U-Net.
        contour: a second head that predicts the contour, for the loss alone.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        base_channels: int = 32,
        rows: int = 5,
        across_convs: int = 1,
        contour: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.multiple = 2 ** (rows - 1)
        widths = [base_channels * 2**row for row in range(rows)]
        self.down = nn.ModuleList(
            nn.Sequential(unit(cin, cout), unit(cout, cout))
            for cin, cout in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.across = nn.ModuleList(
            nn.Sequential(*(unit(width, width) for _ in range(across_convs))) for width in widths
        )
        above = widths[-2::-1]  # rows of the third column, deepest first
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, stride=2) for c in above)
        self.merge = nn.ModuleList(nn.Sequential(unit(2 * c, c), unit(c, c)) for c in above)
        self.classifier = nn.Conv2d(base_channels, num_classes, 1)
        self.contour = nn.Conv2d(base_channels, num_classes, 1) if contour else None

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W)."""
        h, w = check_image(x, self.in_channels)
        return self.classifier(self._features(x))[..., :h, :w]  # type: ignore[no-any-return]

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Logits, and those of the contour where the network has that head."""
        h, w = check_image(x, self.in_channels)
        y = self._features(x)
        edge = None if self.contour is None else self.contour(y)[..., :h, :w]
        return Outputs(self.classifier(y)[..., :h, :w], edge=edge)

    def _features(self, x: Tensor) -> Tensor:
        """(B, base_channels, H', W'), sides being multiples."""
        y = padded(x, self.multiple)
        skips: list[Tensor] = []
        for row, (down, across) in enumerate(zip(self.down, self.across, strict=True)):
            y = down(F.max_pool2d(y, 2) if row else y)
            skips.append(across(y))
        y = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            y = merge(torch.cat([skips.pop(), up(y)], dim=1))
        return y
