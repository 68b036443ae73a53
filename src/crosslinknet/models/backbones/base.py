"""What every backbone has: its kind, the stem of three convolutions, the first weights."""

from collections.abc import Sequence

from torch import nn


class Backbone(nn.Module):
    """An image (B, in_channels, H, W) to a tuple of four maps, finest first.

    Attributes:
        channels: of the four maps.
        stride: of the last map; image sides need not be multiples of it, each halving rounds up
            (VGG: down).
        fits: which file of weights fits, for messages.
    """

    channels: tuple[int, int, int, int]
    stride: int
    fits: str


def deep_stem(in_channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Three 3x3 convolutions, the first with stride 2; batch norm and ReLU between them."""
    first, second, third = widths
    return nn.Sequential(
        nn.Conv2d(in_channels, first, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
        nn.Conv2d(first, second, 3, padding=1, bias=False),
        nn.BatchNorm2d(second),
        nn.ReLU(inplace=True),
        nn.Conv2d(second, third, 3, padding=1, bias=False),
    )


def draw_weights(backbone: nn.Module) -> None:
    """Convolutions from N(0, 2 / (kernel area * channels out)); batch norm keeps its 1 and 0."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
