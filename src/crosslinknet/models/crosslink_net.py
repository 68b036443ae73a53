"""Crosslink-Net: two encoders, tall and wide kernels, one decoder; and its ablations.

Source: Yu et al., Section III-A, Fig. 3 and 4, Table I; ablations Section IV-C2, Table III.
Decisions D1 to D7. Order: the tables, Stage, CrosslinkNet, the builders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.errors import UsageError, suggest
from crosslinknet.models.contract import Outputs
from crosslinknet.models.layers import (
    AttentionHead,
    ConvBN,
    DecoderBlock,
    Kernel,
    RConv,
    check_blocks,
    check_input,
    check_widths,
)


@dataclass(frozen=True)
class Path:
    """One way through a stage: an RConv, or a single 1x1 ConvBN without ReLU."""

    kernel: Kernel
    single: bool = False


TALL, COLUMN = Path((5, 3)), Path((3, 1))
WIDE, ROW = Path((3, 5)), Path((1, 3))
LARGE, SQUARE = Path((5, 5)), Path((3, 3))
POINT = Path((1, 1), single=True)


@dataclass(frozen=True)
class Table:
    """Table I as data: a change of architecture is a change of this table."""

    branches: tuple[tuple[Path, ...], ...]  # one encoder each; paths in concat order
    shared: bool = False  # fuse and skip are one set of weights for all branches (D4)
    fuse: str = "concat"  # concat + 1x1, or sum (D2)
    middle_divisor: int = 2  # encoder RConv: middle width is the output width divided by this (D5)
    decoder_kernel: Kernel = (3, 3)  # (D3)
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)  # VCRB1..5 and HCRB1..5: channels out


PRESETS = {  # D1
    "released": Table(((TALL, COLUMN, SQUARE), (WIDE, ROW, POINT)), shared=True),
    "paper": Table(((TALL, COLUMN, SQUARE), (WIDE, ROW, SQUARE))),
    "table1": Table(
        ((TALL, COLUMN, SQUARE), (WIDE, ROW, SQUARE)), fuse="sum", decoder_kernel=(1, 1)
    ),
}

_EVERY = (TALL, COLUMN, WIDE, ROW, SQUARE, POINT)

ABLATIONS = {  # the rows of Table III, in two readings (D6)
    "ver-crosslink": {
        "table3": Table(((TALL, COLUMN, POINT),)),
        "text": Table(((TALL, COLUMN, SQUARE),)),
    },
    "hor-crosslink": {
        "table3": Table(((WIDE, ROW, POINT),)),
        "text": Table(((WIDE, ROW, SQUARE),)),
    },
    "square-crosslink": {
        "table3": Table(((LARGE, SQUARE), (LARGE, SQUARE)), shared=True),
        "text": Table(((LARGE, SQUARE, POINT), (LARGE, SQUARE, POINT))),
    },
    "double2single": {
        "table3": Table((_EVERY,), middle_divisor=1),
        "text": Table((_EVERY,)),
    },
}


class Stage(nn.Module):
    """VCRB and HCRB of one depth: every branch's paths, fused, plus a 1x1 shortcut."""

    def __init__(self, cin: int, cout: int, table: Table) -> None:
        super().__init__()
        mid = max(1, cout // table.middle_divisor)
        self.branches = nn.ModuleList(
            nn.ModuleList(
                ConvBN(cin, cout, path.kernel, relu=False)
                if path.single
                else RConv(cin, cout, path.kernel, mid)
                for path in paths
            )
            for paths in table.branches
        )
        owners = table.branches[:1] if table.shared else table.branches
        self.fuse = nn.ModuleList(
            ConvBN(cout * len(paths), cout, (1, 1), relu=False)
            for paths in owners
            if table.fuse == "concat"
        )
        self.skip = nn.ModuleList(ConvBN(cin, cout, (1, 1), relu=False) for _ in owners)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        # Branch after branch, never stacked: shared batch norms must see vertical, then horizontal.
        outputs = []
        for i, (paths, x) in enumerate(zip(self.branches, inputs, strict=True)):
            features = [path(x) for path in paths]  # type: ignore[attr-defined]
            if self.fuse:
                fused = self.fuse[i % len(self.fuse)](torch.cat(features, dim=1))
            else:
                fused = torch.stack(features).sum(dim=0)
            outputs.append(F.relu(fused + self.skip[i % len(self.skip)](x)))  # (B, Cout, H, W)
        return outputs


class CrosslinkNet(nn.Module):
    """Any number of encoders over one image, one decoder; Fig. 3.

    Args:
        table: kernels, widths and sharing.
        in_channels: channels of the image.
        num_classes: number of logit maps.
        attention_blocks: blocks 1..5 that get an attention head; () for none.
    """

    def __init__(
        self,
        table: Table,
        in_channels: int = 1,
        num_classes: int = 1,
        attention_blocks: Sequence[int] = (3,),
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.attention_blocks = check_blocks(attention_blocks)
        branches, widths = len(table.branches), table.widths

        self.stages = nn.ModuleList()
        channels = in_channels
        for width in widths:
            self.stages.append(Stage(channels, width, table))
            channels = width
        self.centre = ConvBN(branches * channels, channels, (1, 1))

        self.decoder = nn.ModuleList()  # deepest first: UCRB5..1
        for width in reversed(widths):
            cout = width // 2
            skips = (width,) * branches
            self.decoder.append(DecoderBlock(skips, channels, cout, table.decoder_kernel, cout))
            channels = cout
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.heads = nn.ModuleList(AttentionHead(widths[b - 1]) for b in self.attention_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) to logits (B, num_classes, H, W); H and W of at least 32."""
        return self._decode(self._encode(x))

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Logits, and for each attention block the scores of every branch (B, 1, h, w).

        The attention map is the sigmoid of the scores; h = H / 2^(block - 1), rounded down.
        """
        skips = self._encode(x)
        maps = [
            [head(features) for features in skips[block - 1]]
            for head, block in zip(self.heads, self.attention_blocks, strict=True)
        ]
        return Outputs(self._decode(skips), maps=maps)

    def _encode(self, x: Tensor) -> list[list[Tensor]]:
        """Outputs of stage 1..5 before pooling: [stage][branch] (B, C, H / 2^i, W / 2^i)."""
        check_input(x, self.in_channels, self.training)
        skips, inputs = [], [x] * len(self.stages[0].branches)  # type: ignore[arg-type]
        for stage in self.stages:
            skips.append(stage(inputs))
            inputs = [F.max_pool2d(features, 2) for features in skips[-1]]
        return skips

    def _decode(self, skips: list[list[Tensor]]) -> Tensor:
        pooled = [F.max_pool2d(features, 2) for features in skips[-1]]
        y = self.centre(torch.cat(pooled, dim=1))  # (B, 512, H / 32, W / 32)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            y = block(y, skip)
        return self.classifier(y)  # type: ignore[no-any-return]  # (B, num_classes, H, W)


def crosslink_net(
    in_channels: int = 1,
    num_classes: int = 1,
    preset: str = "released",
    widths: Sequence[int] | None = None,
    attention_blocks: Sequence[int] = (3,),
) -> CrosslinkNet:
    """The double-branch network; preset ``released``, ``paper`` or ``table1`` (D1)."""
    table = _pick("preset", preset, PRESETS)
    return CrosslinkNet(_widen(table, widths), in_channels, num_classes, attention_blocks)


def ablation(
    name: str,
    in_channels: int = 1,
    num_classes: int = 1,
    family: str = "table3",
    widths: Sequence[int] | None = None,
    attention_blocks: Sequence[int] = (),
) -> CrosslinkNet:
    """A network of Table III; family ``table3`` (its sizes) or ``text`` (its words) (D6)."""
    table = _pick("family", family, ABLATIONS[name])
    return CrosslinkNet(_widen(table, widths), in_channels, num_classes, attention_blocks)


def _pick(option: str, name: str, tables: dict[str, Table]) -> Table:
    if name not in tables:
        raise UsageError(f"{option} {name!r} is unknown{suggest(name, tables)}")
    return tables[name]


def _widen(table: Table, widths: Sequence[int] | None) -> Table:
    return table if widths is None else replace(table, widths=check_widths(widths))
