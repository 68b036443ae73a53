"""The units that several networks share: ConvBN, the residual RConv, DecoderBlock, AttentionHead.

Source: Yu et al., Section III-A and Fig. 4; the released code for what the paper leaves open.
Decisions D3, D5, D10. Kernels are (rows, columns): (5, 3) is vertical, 5 rows by 3 columns.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.errors import ShapeError, UsageError

Kernel = tuple[int, int]

MIN_SIZE = 32  # five poolings: 32 pixels become one


class ConvBN(nn.Sequential):
    """Convolution that keeps the size, batch norm, and ReLU where asked."""

    def __init__(self, cin: int, cout: int, kernel: Kernel, relu: bool = True) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2)
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=1e-4)
        if relu:
            self.relu = nn.ReLU(inplace=True)


class RConv(nn.Module):
    """Three ConvBN with one kernel; the identity skip starts after the first one.

    There is no ReLU after the sum: Fig. 4 and the released code agree.
    """

    def __init__(self, cin: int, cout: int, kernel: Kernel, mid: int) -> None:
        super().__init__()
        self.first = ConvBN(cin, cout, kernel)
        self.second = ConvBN(cout, mid, kernel)
        self.third = ConvBN(mid, cout, kernel)

    def forward(self, x: Tensor) -> Tensor:
        u = self.first(x)  # (B, Cout, H, W)
        y: Tensor = u + self.third(self.second(u))  # (B, Cout, H, W)
        return y


class DecoderBlock(nn.Module):
    """UCRB: upsample to the skips' size, concatenate, one RConv.

    Args:
        cskip: channels of each skip, one number per encoder.
        cin: channels of the deeper map.
        cout: channels out.
        kernel: of the RConv.
        mid: channels between its second and third convolution.
    """

    def __init__(
        self, cskip: tuple[int, ...], cin: int, cout: int, kernel: Kernel, mid: int
    ) -> None:
        super().__init__()
        self.conv = RConv(sum(cskip) + cin, cout, kernel, mid)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        x = F.interpolate(x, size=skips[0].shape[2:], mode="bilinear", align_corners=False)
        first, *rest = skips  # order of the released code: vertical skip, x, horizontal skip
        x = torch.cat([first, x, *rest], dim=1)  # (B, sum(Cskip) + Cin, H, W)
        return self.conv(x)  # type: ignore[no-any-return]


class AttentionHead(nn.Sequential):
    """Features of one block to one map of scores; its sigmoid is the attention map (D7)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            ConvBN(channels, channels // 2, (3, 3)), ConvBN(channels // 2, 1, (3, 3), relu=False)
        )


def check_blocks(blocks: Sequence[int]) -> tuple[int, ...]:
    """The blocks that get an attention head, in ascending order.

    Raises:
        UsageError: not different numbers of 1..5.
    """
    if len(set(blocks)) < len(blocks) or not set(blocks) <= set(range(1, 6)):
        raise UsageError(f"attention_blocks {list(blocks)} must be different numbers of 1..5.")
    return tuple(sorted(blocks))


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Channels out of the five encoder blocks; the decoder halves them.

    Raises:
        UsageError: not five even numbers.
    """
    good = isinstance(widths, Sequence) and len(widths) == 5
    if not good or any(not isinstance(w, int) or w < 2 or w % 2 for w in widths):
        raise UsageError(
            f"widths {widths} must be five even numbers, such as [8, 16, 32, 64, 128]."
        )
    return tuple(widths)


def check_input(x: Tensor, in_channels: int, training: bool) -> None:
    """Refuse what five poolings and batch norm cannot take.

    Raises:
        ShapeError: not (B, in_channels, H >= 32, W >= 32), or a training batch that shrinks to
            one value per channel, which batch norm cannot normalise.
    """
    if x.ndim != 4 or x.shape[1] != in_channels or min(x.shape[2:]) < MIN_SIZE:
        raise ShapeError(
            f"the network got an input of shape {tuple(x.shape)}; it takes (batch, {in_channels}, "
            f"height, width) with height and width of at least {MIN_SIZE}. Pad or resize the "
            "image (image.size), or build the model with other in_channels."
        )
    if training and x.shape[0] * (x.shape[2] // MIN_SIZE) * (x.shape[3] // MIN_SIZE) == 1:
        raise ShapeError(
            f"a training batch of shape {tuple(x.shape)} shrinks to a single value per channel at "
            "the centre, where batch norm has nothing to normalise. Use a batch of two or more "
            "slices, or slices of at least 64 pixels in one direction."
        )


def init_gaussian(model: nn.Module, std: float | None = None) -> None:
    """Draw convolutions and linear layers from a normal distribution (Section IV-B; D10).

    Args:
        model: changed in place; biases become 0, batch norm 1 and 0.
        std: standard deviation; None takes sqrt(2 / fan_in) of each layer, since the paper
            names no variance.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose2d):  # (in, out, h, w)
                fan_in = module.in_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, 0.0, std or math.sqrt(2.0 / fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
