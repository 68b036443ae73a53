"""The second stage of Inf-Net for several classes: a U-Net over the image and the infection map.

Source: Fan et al., Inf-Net, TMI 2020, multi-class labelling. A bilinear U-Net; its channels are the
image three times and the map of the first stage three times, its logits ground-glass,
consolidation and background; ``Staged`` brings the two together. Order: Double, MultiClassStage.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.models.contract import check_image, padded
from crosslinknet.models.layers import MIN_SIZE

WIDTHS = (64, 128, 256, 512, 512)
UP = (256, 128, 64, 64)  # deepest first


class Double(nn.Sequential):
    """Two 3x3 convolutions with bias, each with batch norm and ReLU."""

    def __init__(self, cin: int, mid: int, cout: int) -> None:
        super().__init__(
            nn.Conv2d(cin, mid, 3, padding=1),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, cout, 3, padding=1),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
        )


class MultiClassStage(nn.Module):
    """Five levels; up by bilinear resizing with corners aligned.

    Args:
        in_channels: channels of the image and of the map of the first stage together.
        num_classes: number of logit maps, the background among them.
    """

    def __init__(self, in_channels: int = 6, num_classes: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        inputs = (in_channels, *WIDTHS[:-1])
        self.down = nn.ModuleList(
            Double(cin, cout, cout) for cin, cout in zip(inputs, WIDTHS, strict=True)
        )
        self.up = nn.ModuleList()
        channels = WIDTHS[-1]
        for skip, cout in zip(WIDTHS[-2::-1], UP, strict=True):
            self.up.append(Double(skip + channels, (skip + channels) // 2, cout))
            channels = cout
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Image and map (B, in_channels, H, W) of any size to logits (B, num_classes, H, W)."""
        h, w = check_image(x, self.in_channels)
        y, skips = padded(x, 16, least=MIN_SIZE), []
        for level, block in enumerate(self.down):
            y = block(F.max_pool2d(y, 2) if level else y)  # (B, width, H / 2^level, W / 2^level)
            skips.append(y)
        y = skips.pop()
        for block in self.up:
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
            y = block(torch.cat([skips.pop(), y], dim=1))
        return self.classifier(y)[..., :h, :w]  # type: ignore[no-any-return]
