"""DenseUnet of DARTS: dense by summation, one width everywhere.

Source: Kaku et al., DARTS: DenseUnet-based automatic rapid tool for brain segmentation, 2019,
known to us as facts about its layout (its code, under GPL, was not used). Compared with in Table
IV, which does not state the width; 64 is what DARTS trains by default. Order: DenseBlock, Up,
DenseUNet.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.models.contract import check_image, padded

POOLINGS = 4


class DenseBlock(nn.Module):
    """o[i + 1] = ReLU(BN(conv(o[i]) + o[0] + ... + o[i - 1])): all earlier maps but o[i] itself."""

    def __init__(self, width: int, convs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(convs))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(convs))

    def forward(self, x: Tensor) -> Tensor:
        earlier: Tensor | None = None  # the sum of o[0] .. o[i - 1]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            z = conv(x) if earlier is None else conv(x) + earlier
            earlier = x if earlier is None else earlier + x
            x = F.relu(norm(z))
        return x


class Up(nn.Module):
    """Twice the size by a transposed convolution, the skip beside it, and a dense block."""

    def __init__(self, width: int, convs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.conv = nn.Conv2d(2 * width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.block = DenseBlock(width, convs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        joined = torch.cat([self.up(x), skip], dim=1)  # (B, 2 width, h, w)
        y: Tensor = self.block(F.relu(self.norm(self.conv(joined))))
        return y


class DenseUNet(nn.Module):
    """Four poolings, nine dense blocks.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        width: channels everywhere; 64, or 256 as in the weights that DARTS published.
        convs: convolutions of a dense block.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 1, width: int = 64, convs: int = 4
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem = nn.Conv2d(in_channels, width, 1)
        self.down = nn.ModuleList(DenseBlock(width, convs) for _ in range(POOLINGS))
        self.bottom = DenseBlock(width, convs)
        self.up = nn.ModuleList(Up(width, convs) for _ in range(POOLINGS))  # deepest first
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W)."""
        h, w = check_image(x, self.in_channels)
        y, skips = self.stem(padded(x, 2**POOLINGS)), []
        for block in self.down:
            y = block(y)
            skips.append(y)
            y = F.max_pool2d(y, 2)
        y = self.bottom(y)  # (B, width, H / 16, W / 16)
        for up in self.up:
            y = up(y, skips.pop())
        return self.classifier(y)[..., :h, :w]  # type: ignore[no-any-return]

    def published_names(self) -> dict[str, str]:
        """Names in the weights that DARTS published (width 256, 113 classes), and ours."""
        inside = {"conv_list": "convs", "bn_list": "norms"}
        parts = {"conv1": "stem", "bottom": "bottom", "outconv": "classifier"}
        for n in range(POOLINGS):
            deep = POOLINGS - 1 - n
            parts |= {f"d{n + 1}": f"down.{n}", f"u{n + 1}": f"up.{deep}.block"}
            parts |= {
                f"up{n + 1}.upsample_layer": f"up.{deep}.up",
                f"up{n + 1}.conv": f"up.{deep}.conv",
                f"up{n + 1}.bn": f"up.{deep}.norm",
            }
        names: dict[str, str] = {}
        for theirs, ours in parts.items():
            for name in self.state_dict():
                if name.startswith(f"{ours}."):
                    rest = name.removeprefix(f"{ours}.")
                    for their_part, our_part in inside.items():
                        rest = rest.replace(f"{our_part}.", f"{their_part}.")
                    names.setdefault(f"{theirs}.{rest}", name)
        return names
