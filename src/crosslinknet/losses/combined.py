"""The weighted sum that training minimises, from what a network gives and the mask to a scalar.

Eq. (2) for every network: cross-entropy, Dice and, where there are attention heads, the attention
loss. What other networks give beyond logits is weighed beside it: auxiliary outputs as the logits
are, contours, pairs of patches. Source: Section III-B; Decisions D8, D9, D11, D14, D38.
Order: Parts, SegmentationLoss.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosslinknet.config import LossConfig
from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.losses.attention import attention_loss, pool_mask
from crosslinknet.losses.cross_entropy import bce, softmax_cross_entropy
from crosslinknet.losses.crossover import crossover_loss
from crosslinknet.losses.overlap import released_dice, soft_dice
from crosslinknet.losses.structure import contour, structure_loss

# Of the authors' code. It takes BCE of probabilities; ours, from logits, differs only where a
# float32 sigmoid rounds to 0 or 1 (beyond a logit of 16), where theirs has no gradient left.
RELEASED_WEIGHTS = (0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Parts:
    """The loss and what it is made of; scalars, the parts unweighted and of the logits alone."""

    total: Tensor
    bce: Tensor
    dice: Tensor
    attention: Tensor
    valid_images: int  # images whose mask the attention loss could use


class SegmentationLoss:
    """Eq. (2) for binary, multi-label and exclusive classes, always computed in float32.

    Args:
        config: weights and forms; ``classes`` says what a map of logits stands for.

    Attributes:
        exclusive: a map of the background stands before those of the classes.
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        self.exclusive = config.exclusive
        self.weights = (config.bce, config.dice, config.attention)
        if config.form == "released":
            self.weights = RELEASED_WEIGHTS
        if self.needs_maps and not config.blocks:
            raise UsageError(
                f"the attention loss has weight {self.weights[2]:g}, but loss.blocks is empty. "
                "Name a block, such as 3, or set loss.attention to 0."
            )
        if config.structure > 0 and config.classes == "softmax":
            raise UsageError(
                "loss.structure weighs pixels of single maps, loss.classes is softmax. Use "
                "loss.classes: sigmoid or one-vs-rest, or set loss.structure to 0."
            )
        if abs(sum(self.weights) + config.structure - 1) > 1e-6:
            warnings.warn(
                f"the loss weights bce, dice, attention = {self.weights} sum to "
                f"{sum(self.weights):g}; Eq. (2) of the paper asks for 1.",
                stacklevel=2,
            )

    @property
    def needs_maps(self) -> bool:
        """Whether the attention heads must be evaluated."""
        return self.weights[2] > 0

    def __call__(
        self,
        mask: Tensor,
        logits: Tensor,
        target: Tensor | None = None,
        maps: Sequence[Sequence[Tensor]] = (),
        sides: Sequence[Tensor] = (),
        side_weights: Sequence[float] = (),
        edge: Tensor | None = None,
        taps: tuple[Tensor, Tensor] | None = None,
    ) -> Parts:
        """The loss of a batch: the mask, then what the network gave (``models.Outputs``).

        Args:
            mask: (B, K, H, W) in [0, 1], one map per class without the background.
            logits: (B, K, H, W); of exclusive classes (B, 1 + K, H, W), the background first.
            target: what ``logits`` should be, where the network chose pixels; None: the mask.
            maps: scores per attention block and branch.
            sides: further logits of the mask.
            side_weights: what each counts; () counts each once.
            edge: logits of the contours, one map per map of ``logits``.
            taps: features (N, C, L) of patches, vertical and horizontal.

        Raises:
            ShapeError: logits, maps and target do not fit together.
        """
        if target is not None and self.config.structure > 0:
            raise UsageError(
                "loss.structure looks at the neighbourhood of pixels, and this network is trained "
                "on single ones. Set loss.structure to 0."
            )
        target = mask if target is None else target
        for one, aim in ((logits, target), *((side, mask) for side in sides)):
            self._check(one, aim)
        if self.needs_maps and len(maps) != len(self.config.blocks):
            raise ShapeError(
                f"the loss compares maps of blocks {self.config.blocks}, but maps of {len(maps)} "
                "blocks came. Build the model with attention_blocks equal to loss.blocks and call "
                "forward_for_loss, or set loss.attention to 0."
            )
        with torch.autocast(logits.device.type, enabled=False):
            total, cross, dice = self._of_logits(logits.float(), target.float())
            attention, valid = logits.new_zeros((), dtype=torch.float32), 0
            if self.needs_maps:
                attention, valid = self._of_maps(maps, mask.float())
                total = total + self.weights[2] * attention
            weights = side_weights or (1.0,) * len(sides)
            for side, weight in zip(sides, weights, strict=True):
                if self.config.sides > 0:
                    more, _, _ = self._of_logits(side.float(), mask.float())
                    total = total + self.config.sides * weight * more
            if edge is not None and self.config.edge > 0:
                total = total + self.config.edge * bce(edge.float(), contour(self._all(mask)))
            if taps is not None and self.config.crossover > 0:
                vertical, horizontal = (tap.float() for tap in taps)
                pairs = crossover_loss(vertical, horizontal, self.config.crossover_form)
                total = total + self.config.crossover * pairs
        return Parts(total, cross.detach(), dice.detach(), attention.detach(), valid)

    def _check(self, logits: Tensor, target: Tensor) -> None:
        expected = (target.shape[0], target.shape[1] + self.exclusive, *target.shape[2:])
        if logits.shape != expected:
            raise ShapeError(
                f"logits are {tuple(logits.shape)}, but the target {tuple(target.shape)} asks for "
                f"{tuple(expected)}. Build the model with num_classes={expected[1]}."
            )

    def _all(self, target: Tensor) -> Tensor:
        """One map per map of logits: with exclusive classes the background comes first."""
        target = target.float()
        if not self.exclusive:
            return target
        background = (1.0 - target.sum(dim=1, keepdim=True)).clamp(0.0, 1.0)
        return torch.cat([background, target], dim=1)

    def _of_logits(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted sum of the terms that look at logits; cross-entropy and Dice unweighted."""
        every = self._all(target)
        if self.config.classes == "softmax":
            cross = softmax_cross_entropy(logits, every)
            probs = torch.softmax(logits, dim=1)
        else:
            cross = bce(logits, every)
            probs = torch.sigmoid(logits)
        probs = probs[:, 1:] if self.exclusive else probs
        if self.config.form == "released":
            dice = released_dice(probs, target)
        else:
            dice = soft_dice(probs, target, smooth=self.config.dice_smooth)
        total = self.weights[0] * cross + self.weights[1] * dice
        if self.config.structure > 0:
            weighted = self.config.structure_form == "weighted"
            total = total + self.config.structure * structure_loss(logits, every, weighted=weighted)
        return total, cross, dice

    def _of_maps(self, maps: Sequence[Sequence[Tensor]], mask: Tensor) -> tuple[Tensor, int]:
        """The attention loss, and how many images have a mask it can use."""
        union, losses, valid = mask.amax(dim=1, keepdim=True), [], 0  # union: any class
        for block, scores in zip(self.config.blocks, maps, strict=True):
            own = [score.float() for score in scores]
            if self.config.form == "released":
                own = [score.detach() for score in own]
            loss, valid = attention_loss(own, pool_mask(union, block), self.config.form)
            losses.append(loss)
        return torch.stack(losses).mean(), valid
