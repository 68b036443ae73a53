"""Inf-Net: a coarse map from deep features, refined from where it is not, with edges as a guide.

Source: Fan et al., Inf-Net, TMI 2020; compared with in Tables V and VI. Its units are a convolution
and a batch norm without activation: a ReLU stands only where it is written. Resizing has aligned
corners in the partial decoder and nowhere else.
``multi_class``, for num_classes above 1, is an extension of ours: every map has num_classes
channels, and what a level looks away from is where any class in front is probable.
Order: the table, ReceptiveField, PartialDecoder, Reverse, InfNet.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.config import EXCLUSIVE
from crosslinknet.errors import UsageError, suggest
from crosslinknet.models.backbones import Backbone, res2net50, resnet50, vgg16
from crosslinknet.models.contract import Outputs, check_image, padded, probabilities
from crosslinknet.models.layers import MIN_SIZE, Kernel, check_input

BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "res2net50": res2net50,
    "resnet50": resnet50,
    "vgg16": vgg16,
}
GUIDE = 64  # channels of the edge branch


def unit(cin: int, cout: int, kernel: Kernel, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size, and batch norm; no activation."""
    padding = (kernel[0] // 2 * dilation, kernel[1] // 2 * dilation)
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(cout),
    )


def resized(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear, corners not aligned."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def doubled(x: Tensor) -> Tensor:
    """Bilinear, twice the size, corners aligned."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ReceptiveField(nn.Module):
    """RFB: four paths with ever larger kernels and dilations, joined, beside a 1x1 shortcut."""

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList([unit(cin, width, (1, 1))])
        for k in (3, 5, 7):
            self.paths.append(
                nn.Sequential(
                    unit(cin, width, (1, 1)),
                    unit(width, width, (1, k)),
                    unit(width, width, (k, 1)),
                    unit(width, width, (3, 3), dilation=k),
                )
            )
        self.join = unit(len(self.paths) * width, width, (3, 3))
        self.shortcut = unit(cin, width, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        joined = self.join(torch.cat([path(x) for path in self.paths], dim=1))
        return F.relu(joined + self.shortcut(x))  # (B, width, H, W)


class PartialDecoder(nn.Module):
    """PPD: deeper features multiply finer ones; a coarse map at 1/8 of the image (VGG: 1/4)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        square = (3, 3)
        self.r4_on_r3 = unit(width, width, square)
        self.r4_on_r2 = unit(width, width, square)
        self.r3_on_r2 = unit(width, width, square)
        self.r4_beside = unit(width, width, square)
        self.c3_beside = unit(2 * width, 2 * width, square)
        self.join3 = unit(2 * width, 2 * width, square)
        self.join2 = unit(3 * width, 3 * width, square)
        self.last = unit(3 * width, 3 * width, square)
        self.score = nn.Conv2d(3 * width, num_classes, 1)

    def forward(self, r2: Tensor, r3: Tensor, r4: Tensor) -> Tensor:
        up4, up3 = doubled(r4), doubled(r3)  # sizes of r3 and of r2
        u3 = self.r4_on_r3(up4) * r3
        u2 = self.r4_on_r2(doubled(up4)) * self.r3_on_r2(up3) * r2
        c3 = self.join3(torch.cat([u3, self.r4_beside(up4)], dim=1))  # (B, 2 width, h3, w3)
        c2 = self.join2(torch.cat([u2, self.c3_beside(doubled(c3))], dim=1))  # (B, 3 width, h2, w2)
        return self.score(self.last(c2))  # type: ignore[no-any-return]  # (B, K, h2, w2)


class Reverse(nn.Module):
    """Reverse attention: features where the deeper map is not, with the edge guide, to a change.

    Args:
        cin: channels of the features.
        width: channels within.
        num_classes: channels of the map.
        kernels: of the units after the guide has joined; the last gives the change.
    """

    def __init__(self, cin: int, width: int, num_classes: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.reduce = unit(cin, width, (1, 1))
        channels = [width + GUIDE, *(width for _ in kernels[1:]), num_classes]
        self.units = nn.ModuleList(
            unit(channels[i], channels[i + 1], (k, k)) for i, k in enumerate(kernels)
        )

    def forward(self, x: Tensor, away: Tensor, guide: Tensor) -> Tensor:
        guide = resized(guide, x.shape[2:])  # (B, 64, h, w)
        y = torch.cat([self.reduce(x * away), guide], dim=1)  # (B, width + 64, h, w)
        *inner, last = self.units
        for step in inner:
            y = F.relu(step(y), inplace=True)
        return last(y)  # type: ignore[no-any-return]  # (B, K, h, w)


class InfNet(nn.Module):
    """Backbone, partial decoder, edge branch and three levels of reverse attention.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps; above 1 it is ``multi_class``, our extension.
        backbone: ``res2net50``, ``resnet50`` or ``vgg16``.
        width: channels of the receptive field blocks and of the partial decoder.
        classes: what the maps stand for, as ``loss.classes``; of exclusive classes the first map is
            the background.

    Attributes:
        backbone_own: parts of tensor names of the backbone that no public file of weights has.

    Raises:
        UsageError: an unknown backbone; exclusive classes without a second map.
    """

    backbone_own: tuple[str, ...] = ()

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        backbone: str = "res2net50",
        width: int = 32,
        classes: str = "sigmoid",
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise UsageError(f"backbone {backbone!r} is unknown{suggest(backbone, BACKBONES)}")
        if classes in EXCLUSIVE and num_classes < 2:
            raise UsageError("exclusive classes need two maps or more, the first the background.")
        self.in_channels = in_channels
        self.classes = classes
        self.backbone = BACKBONES[backbone](in_channels)
        c1, c2, c3, c4 = self.backbone.channels
        self.fields = nn.ModuleList(ReceptiveField(c, width) for c in (c2, c3, c4))
        self.decoder = PartialDecoder(width, num_classes)
        self.guide = nn.Sequential(
            unit(c1, GUIDE, (1, 1)), unit(GUIDE, GUIDE, (3, 3)), unit(GUIDE, GUIDE, (3, 3))
        )
        self.edge = unit(GUIDE, num_classes, (3, 3))
        self.reverse4 = Reverse(c4, 256, num_classes, (5, 5, 5, 1))
        self.reverse3 = Reverse(c3, 64, num_classes, (3, 3, 3))
        self.reverse2 = Reverse(c2, 64, num_classes, (3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W): the finest map, s2."""
        whole = self._whole(x)
        s2, *_ = self._decode(self.backbone(whole))
        return _cropped(s2, whole, x)

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Logits s2, further ones s3, s4 and S_g as sides, and those of the edge."""
        whole = self._whole(x)
        s2, s3, s4, s_g, guide = self._decode(self.backbone(whole))
        s2, s3, s4, s_g, edge = (
            _cropped(s, whole, x) for s in (s2, s3, s4, s_g, self.edge(guide))
        )  # (B, K, H, W)
        return Outputs(s2, sides=(s3, s4, s_g), edge=edge)

    def _whole(self, x: Tensor) -> Tensor:
        """The image with sides that the backbone halves without remainder."""
        check_image(x, self.in_channels)
        x = padded(x, self.backbone.stride, least=MIN_SIZE)
        check_input(x, self.in_channels, self.training and self.backbone.stride == MIN_SIZE)
        return x

    def _decode(
        self, features: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """s2, s3, s4 and S_g, (B, K, h, w) each, and the edge guide (B, 64, h, w)."""
        x1, x2, x3, x4 = features  # 1/4 to 1/32 of the image; VGG 1/2 to 1/16
        r2, r3, r4 = (field(x) for field, x in zip(self.fields, (x2, x3, x4), strict=True))
        s_g = self.decoder(r2, r3, r4)  # (B, K, h2, w2)
        guide = self.guide(x1)  # (B, 64, h1, w1)
        g4 = resized(s_g, x4.shape[2:])
        s4 = self.reverse4(x4, self._away(g4), guide) + g4  # (B, K, h4, w4)
        g3 = resized(s4, x3.shape[2:])
        s3 = self.reverse3(x3, self._away(g3), guide) + g3  # (B, K, h3, w3)
        g2 = resized(s3, x2.shape[2:])
        s2 = self.reverse2(x2, self._away(g2), guide) + g2  # (B, K, h2, w2)
        return s2, s3, s4, s_g, guide

    def _away(self, logits: Tensor) -> Tensor:
        """One minus the probability of what is in front: (B, K, h, w) to (B, 1, h, w)."""
        return 1.0 - probabilities(logits, self.classes).amax(dim=1, keepdim=True)


def _cropped(logits: Tensor, whole: Tensor, x: Tensor) -> Tensor:
    """Logits at the size of the image, without what was padded."""
    h, w = x.shape[2:]
    return resized(logits, whole.shape[2:])[..., :h, :w]
