"""VGG16's convolutions, with average in place of max pooling.

Source: Simonyan and Zisserman, ICLR 2015; average pooling and taps as in Fan et al., Inf-Net, TMI
2020. Tensor names of torchvision's ``vgg16``. Order: the table, VGG16, vgg16.
"""

from torch import Tensor, nn

from crosslinknet.models.backbones.base import Backbone, draw_weights

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: a pooling
TAPS = (8, 15, 22, 29)  # places of the ReLUs whose outputs a call gives


class VGG16(Backbone):
    """Thirteen convolutions with bias; a call gives relu2_2, relu3_3, relu4_3 and relu5_3."""

    channels = (128, 256, 512, 512)
    stride = 16
    fits = "torchvision's VGG16 without batch norm, such as vgg16-397923af.pth"

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in WIDTHS:
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            else:
                layers.append(nn.AvgPool2d(2))
        self.features = nn.Sequential(*layers)
        draw_weights(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        taps = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in TAPS:
                taps.append(x)  # (B, 128 .. 512, H / 2 .. H / 16, W / 2 .. W / 16)
        x1, x2, x3, x4 = taps
        return x1, x2, x3, x4


def vgg16(in_channels: int = 3) -> VGG16:
    """The features of VGG16, strides 2, 4, 8 and 16."""
    return VGG16(in_channels)
