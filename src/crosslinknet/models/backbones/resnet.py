"""ResNet in two forms: torchvision's, and the dilated one with a deep stem that SPNet builds on.

Source: He et al., CVPR 2016; the dilated form as in Hou et al., CVPR 2020 (SPNet). Tensor names of
torchvision's ``resnet50`` and of timm's ``resnet50s``.
Order: the tables, Bottleneck, ResNet, the builders.
"""

import math
from collections.abc import Callable, Container, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.models.backbones.base import Backbone, deep_stem, draw_weights

WIDTHS = (64, 128, 256, 512)  # of the 3x3 convolutions; a block gives four times as many channels
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

Gate = Callable[[int], nn.Module]  # channels to a module whose output multiplies its input


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the 3x3 carries stride and dilation."""

    def __init__(
        self, cin: int, width: int, stride: int, dilation: int, gate: Gate | None = None
    ) -> None:
        super().__init__()
        cout = 4 * width
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.gate = gate(width) if gate else None
        self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride > 1 or cin != cout:
            self.downsample = nn.Sequential(
                nn.Conv2d(cin, cout, 1, stride=stride, bias=False), nn.BatchNorm2d(cout)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (B, width, H, W)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)  # (B, width, H / stride, W / stride)
        if self.gate is not None:
            y = y * self.gate(y)
        y = self.bn3(self.conv3(y))  # (B, 4 width, H / stride, W / stride)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut, inplace=True)


class ResNet(Backbone):
    """Stem, pooling, four layers of bottlenecks; a call gives the outputs of the four layers.

    Args:
        stem: what comes before the first batch norm, with stride 2.
        cstem: its channels out.
        dilations: per layer, those of its blocks.
        strides: per layer, that of its first block.
        fits: which file of weights fits.
        gate: builds a module that weighs a block between its 3x3 and its last convolution.
        gated: names of the blocks that have one, such as ``layer1.2``.
    """

    channels = (256, 512, 1024, 2048)

    def __init__(
        self,
        stem: nn.Module,
        cstem: int,
        dilations: Sequence[Sequence[int]],
        strides: Sequence[int],
        fits: str,
        gate: Gate | None = None,
        gated: Container[str] = (),
    ) -> None:
        super().__init__()
        self.stride = 4 * math.prod(strides)
        self.fits = fits
        self.conv1 = stem
        self.bn1 = nn.BatchNorm2d(cstem)

        def layer(number: int, cin: int) -> nn.Sequential:
            width = WIDTHS[number - 1]
            blocks = []
            for i, dilation in enumerate(dilations[number - 1]):
                own = gate if f"layer{number}.{i}" in gated else None
                stride = 1 if i else strides[number - 1]
                blocks.append(Bottleneck(4 * width if i else cin, width, stride, dilation, own))
            return nn.Sequential(*blocks)

        self.layer1 = layer(1, cstem)
        self.layer2 = layer(2, 256)
        self.layer3 = layer(3, 512)
        self.layer4 = layer(4, 1024)
        draw_weights(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (B, cstem, H / 2, W / 2)
        y = F.max_pool2d(y, 3, stride=2, padding=1)
        x1 = self.layer1(y)  # (B, 256, H / 4, W / 4)
        x2 = self.layer2(x1)  # (B, 512, H / 8, W / 8)
        x3 = self.layer3(x2)  # (B, 1024, H / 16, W / 16); dilated: H / 8
        x4 = self.layer4(x3)  # (B, 2048, H / 32, W / 32); dilated: H / 8
        return x1, x2, x3, x4


def resnet50(in_channels: int = 3) -> ResNet:
    """ResNet-50 as in torchvision: one 7x7 convolution as stem, strides 4, 8, 16 and 32."""
    return ResNet(
        nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False),
        64,
        dilations=[[1] * blocks for blocks in BLOCKS[50]],
        strides=(1, 2, 2, 2),
        fits="torchvision's ResNet-50, such as resnet50-19c8e357.pth; a deep stem does not fit",
    )


def resnet50s(in_channels: int = 3, gate: Gate | None = None, gated: Container[str] = ()) -> ResNet:
    """ResNet-50 with a deep stem and dilations in place of the last two strides: 4, 8, 8, 8."""
    return _dilated(50, in_channels, gate, gated)


def resnet101s(
    in_channels: int = 3, gate: Gate | None = None, gated: Container[str] = ()
) -> ResNet:
    """``resnet50s`` with 23 blocks in layer3."""
    return _dilated(101, in_channels, gate, gated)


def _dilated(depth: int, in_channels: int, gate: Gate | None, gated: Container[str]) -> ResNet:
    one, two, three, _ = BLOCKS[depth]
    return ResNet(
        deep_stem(in_channels, (64, 64, 128)),
        128,
        dilations=([1] * one, [1] * two, [1] + [2] * (three - 1), (4, 8, 16)),
        strides=(1, 2, 1, 1),
        fits=f"a ResNet-{depth} with a deep stem of 64, 64 and 128 channels, such as timm's "
        f"resnet{depth}s or PyTorch-Encoding's resnet{depth}; torchvision's 7x7 stem does not fit",
        gate=gate,
        gated=gated,
    )
