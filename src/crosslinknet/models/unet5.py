"""The five-block residual U-Net that the paper compares with in Tables III, V and VI.

Source: Section IV-C2 names five blocks of three convolutions with a residual connection; the
widths are a reconstruction that meets the printed file size of 135 MiB. Decision D6.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.errors import UsageError, suggest
from crosslinknet.models.contract import Outputs
from crosslinknet.models.layers import (
    AttentionHead,
    ConvBN,
    DecoderBlock,
    RConv,
    check_blocks,
    check_input,
    check_widths,
)

FAMILIES = {"table3": 2, "text": 1}  # decoder: middle width is the output width divided by this


class UNet5(nn.Module):
    """One encoder of RConv 3x3, a 1x1 centre, one decoder of RConv 3x3."""

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        family: str = "table3",
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        attention_blocks: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if family not in FAMILIES:
            raise UsageError(f"family {family!r} is unknown{suggest(family, FAMILIES)}")
        self.in_channels = in_channels
        self.attention_blocks = check_blocks(attention_blocks)
        widths = check_widths(widths)

        self.stages = nn.ModuleList()
        channels = in_channels
        for width in widths:
            self.stages.append(RConv(channels, width, (3, 3), width // 2))
            channels = width
        self.centre = ConvBN(channels, channels, (1, 1))

        self.decoder = nn.ModuleList()  # deepest first
        for width in reversed(widths):
            cout, mid = width // 2, max(1, width // 2 // FAMILIES[family])
            self.decoder.append(DecoderBlock((width,), channels, cout, (3, 3), mid))
            channels = cout
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.heads = nn.ModuleList(AttentionHead(widths[b - 1]) for b in self.attention_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) to logits (B, num_classes, H, W); H and W of at least 32."""
        return self._decode(self._encode(x))

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Logits, and for each attention block the scores of the one encoder (B, 1, h, w)."""
        skips = self._encode(x)
        maps = [
            [head(skips[block - 1])]
            for head, block in zip(self.heads, self.attention_blocks, strict=True)
        ]
        return Outputs(self._decode(skips), maps=maps)

    def _encode(self, x: Tensor) -> list[Tensor]:
        check_input(x, self.in_channels, self.training)
        skips: list[Tensor] = []
        for stage in self.stages:
            skips.append(stage(F.max_pool2d(skips[-1], 2) if skips else x))
        return skips

    def _decode(self, skips: list[Tensor]) -> Tensor:
        y = self.centre(F.max_pool2d(skips[-1], 2))  # (B, 1024, H / 32, W / 32)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            y = block(y, [skip])
        return self.classifier(y)  # type: ignore[no-any-return]
