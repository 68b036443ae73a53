"""SPNet: strip pooling as a gate inside a dilated ResNet, and mixed pooling as its head.

Source: Hou, Zhang, Cheng and Feng, Strip Pooling, CVPR 2020; compared with in Table IV. The paper
names no backbone; ResNet-50 is the default here. All resizing has corners aligned, as
in the release. Order: the table, StripPooling, MixedPooling, SPNet.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.errors import UsageError, suggest
from crosslinknet.models.backbones import Backbone, resnet50s, resnet101s
from crosslinknet.models.contract import Outputs
from crosslinknet.models.layers import Kernel, check_input

BACKBONES: dict[str, tuple[Callable[..., Backbone], tuple[str, ...]]] = {
    # how to build it; its blocks with strip pooling: the last of three layers, all of the fourth
    "resnet50": (
        resnet50s,
        ("layer1.2", "layer2.3", "layer3.5", "layer4.0", "layer4.1", "layer4.2"),
    ),
    "resnet101": (
        resnet101s,
        ("layer1.2", "layer2.3", "layer3.22", "layer4.0", "layer4.1", "layer4.2"),
    ),
}
AUXILIARY = 0.4  # what the auxiliary head counts beside the logits, in the released code


def resized(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear, corners aligned."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def unit(cin: int, cout: int, kernel: Kernel, relu: bool = False) -> nn.Sequential:
    """Convolution without bias that keeps the size, batch norm, ReLU where asked."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    layers = [nn.Conv2d(cin, cout, kernel, padding=padding, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def score(cin: int, mid: int, num_classes: int) -> nn.Sequential:
    """3x3 unit, dropout of whole channels, 1x1 convolution to logits."""
    return nn.Sequential(
        *unit(cin, mid, (3, 3), relu=True), nn.Dropout2d(0.1), nn.Conv2d(mid, num_classes, 1)
    )


class StripPooling(nn.Module):
    """SPM: one weight in (0, 1) per channel and pixel, from means over its row and its column."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.vertical = unit(channels, channels, (3, 1))
        self.horizontal = unit(channels, channels, (1, 3))
        self.fuse = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        column = self.vertical(x.mean(dim=3, keepdim=True))  # (B, C, H, 1)
        row = self.horizontal(x.mean(dim=2, keepdim=True))  # (B, C, 1, W)
        return torch.sigmoid(self.fuse(F.relu(column + row)))  # (B, C, H, W)


class MixedPooling(nn.Module):
    """MPM: pooled to squares (short range) and to strips (long range), added to the input."""

    def __init__(self, channels: int, squares: tuple[int, int] = (20, 12)) -> None:
        super().__init__()
        mid = channels // 4
        self.squares = squares
        self.short_in = unit(channels, mid, (1, 1), relu=True)
        self.short = nn.ModuleList(unit(mid, mid, (3, 3)) for _ in (1, *squares))
        self.short_out = unit(mid, mid, (3, 3), relu=True)
        self.long_in = unit(channels, mid, (1, 1), relu=True)
        self.horizontal = unit(mid, mid, (1, 3))
        self.vertical = unit(mid, mid, (3, 1))
        self.long_out = unit(mid, mid, (3, 3), relu=True)
        self.fuse = unit(2 * mid, channels, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.short_in(x)  # (B, C / 4, H, W)
        whole, *pooled = self.short
        short = whole(y)
        for side, conv in zip(self.squares, pooled, strict=True):
            square = conv(F.adaptive_avg_pool2d(y, side))  # (B, C / 4, side, side)
            short = short + resized(square, x.shape[2:])
        short = self.short_out(F.relu(short))

        y = self.long_in(x)  # (B, C / 4, H, W)
        row = self.horizontal(y.mean(dim=2, keepdim=True))  # (B, C / 4, 1, W)
        column = self.vertical(y.mean(dim=3, keepdim=True))  # (B, C / 4, H, 1)
        long = self.long_out(F.relu(row + column))  # their sum is what resizing both would give

        return F.relu(x + self.fuse(torch.cat([short, long], dim=1)))  # (B, C, H, W)


class SPNet(nn.Module):
    """Dilated ResNet with strip pooling, two mixed pooling modules, logits at 1/8 of the image.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        backbone: ``resnet50`` or ``resnet101``.
        strip_pooling: whether the backbone has its strip pooling modules.

    Attributes:
        backbone_heads: the parts that published training gives ten times the learning rate.
        backbone_own: parts of tensor names of the backbone that no public file of weights has.

    Raises:
        UsageError: an unknown backbone.
    """

    backbone_heads = ("head", "auxiliary")

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        backbone: str = "resnet50",
        strip_pooling: bool = True,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise UsageError(f"backbone {backbone!r} is unknown{suggest(backbone, BACKBONES)}")
        self.in_channels = in_channels
        build, gated = BACKBONES[backbone]
        self.backbone = build(in_channels, StripPooling, gated if strip_pooling else ())
        self.backbone_own: tuple[str, ...] = (".gate.",) if strip_pooling else ()
        self.head = nn.Sequential(
            *unit(2048, 1024, (1, 1), relu=True),
            MixedPooling(1024),
            MixedPooling(1024),
            *score(1024, 512, num_classes),
        )
        self.auxiliary = score(1024, 256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) to logits (B, num_classes, H, W); H and W of at least 32."""
        check_input(x, self.in_channels, training=False)
        *_, x4 = self.backbone(x)  # (B, 2048, H / 8, W / 8), rounded up
        return resized(self.head(x4), x.shape[2:])

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Logits, and those of the auxiliary head on layer3."""
        check_input(x, self.in_channels, training=False)
        features = self.backbone(x)
        size = x.shape[2:]
        return Outputs(
            resized(self.head(features[3]), size),
            sides=(resized(self.auxiliary(features[2]), size),),
            side_weights=(AUXILIARY,),
        )
