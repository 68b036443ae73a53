"""Res2Net-50 v1b, 26 wide, 4 scales: a bottleneck whose 3x3 convolution is a chain of three.

Source: Gao et al., Res2Net, TPAMI 2021; as the backbone of Fan et al., Inf-Net, TMI 2020. Tensor
names of timm's ``res2net50d``. Order: the tables, Block, Res2Net, res2net50.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.models.backbones.base import Backbone, deep_stem, draw_weights

SCALES = 4
WIDTHS = (26, 52, 104, 208)  # of one scale
BLOCKS = (3, 4, 6, 3)


class Block(nn.Module):
    """Channels in four scales: three convolved in a chain, the last as it is.

    In the first block of a layer the scales are convolved apart and the last is averaged over 3x3,
    since all of them change their size there.
    """

    def __init__(self, cin: int, width: int, cout: int, stride: int, first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, SCALES * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(SCALES * width)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            for _ in range(SCALES - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALES - 1))
        self.conv3 = nn.Conv2d(SCALES * width, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.pool = self.downsample = None
        if first:
            self.pool = nn.AvgPool2d(3, stride=stride, padding=1)
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(cin, cout, 1, bias=False),
                nn.BatchNorm2d(cout),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (B, 4 width, H, W)
        *scales, last = torch.chunk(y, SCALES, dim=1)
        outputs: list[Tensor] = []
        for conv, bn, scale in zip(self.convs, self.bns, scales, strict=True):
            z = scale + outputs[-1] if outputs and self.pool is None else scale
            outputs.append(F.relu(bn(conv(z)), inplace=True))  # (B, width, H / stride, W / stride)
        outputs.append(last if self.pool is None else self.pool(last))
        y = self.bn3(self.conv3(torch.cat(outputs, dim=1)))  # (B, Cout, H / stride, W / stride)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut, inplace=True)


class Res2Net(Backbone):
    """Deep stem, pooling, four layers; a call gives the outputs of the four layers."""

    channels = (256, 512, 1024, 2048)
    stride = 32
    fits = "Res2Net-50 v1b, 26w 4s, such as res2net50_v1b_26w_4s-3cf99910.pth or timm's res2net50d"

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = deep_stem(in_channels, (32, 32, 64))
        self.bn1 = nn.BatchNorm2d(64)

        def layer(number: int, cin: int) -> nn.Sequential:
            width, cout = WIDTHS[number - 1], self.channels[number - 1]
            first = Block(cin, width, cout, 1 if number == 1 else 2, first=True)
            more = (Block(cout, width, cout, 1, first=False) for _ in range(BLOCKS[number - 1] - 1))
            return nn.Sequential(first, *more)

        self.layer1 = layer(1, 64)
        self.layer2 = layer(2, 256)
        self.layer3 = layer(3, 512)
        self.layer4 = layer(4, 1024)
        draw_weights(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (B, 64, H / 2, W / 2)
        y = F.max_pool2d(y, 3, stride=2, padding=1)
        x1 = self.layer1(y)  # (B, 256, H / 4, W / 4)
        x2 = self.layer2(x1)  # (B, 512, H / 8, W / 8)
        x3 = self.layer3(x2)  # (B, 1024, H / 16, W / 16)
        x4 = self.layer4(x3)  # (B, 2048, H / 32, W / 32)
        return x1, x2, x3, x4


def res2net50(in_channels: int = 3) -> Res2Net:
    """Res2Net-50 v1b, strides 4, 8, 16 and 32."""
    return Res2Net(in_channels)
