"""Eq. (2): the weighted sum that training minimises, from logits, maps and target to a scalar.

Source: Section III-B; Decisions D8, D9, D11, D14. Order: Parts, SegmentationLoss.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from crosslinknet.config import LossConfig
from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.losses.attention import attention_loss, pool_mask
from crosslinknet.losses.cross_entropy import bce, softmax_cross_entropy
from crosslinknet.losses.overlap import released_dice, soft_dice

Maps = list[list[Tensor]]  # per attention block, per branch: scores (B, 1, h, w)
# Of the authors' code. It takes BCE of probabilities; ours, from logits, differs only where a
# float32 sigmoid rounds to 0 or 1 (beyond a logit of 16), where theirs has no gradient left.
RELEASED_WEIGHTS = (0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Parts:
    """The loss and what it is made of; scalars, the parts unweighted."""

    total: Tensor
    bce: Tensor
    dice: Tensor
    attention: Tensor
    valid_images: int  # images whose mask the attention loss could use


class SegmentationLoss:
    """Eq. (2) for binary, multi-label and exclusive classes, always computed in float32.

    Args:
        config: weights and form.
        exclusive: softmax over background and classes; otherwise one sigmoid per class.
    """

    def __init__(self, config: LossConfig, exclusive: bool = False) -> None:
        self.config = config
        self.exclusive = exclusive
        self.weights = (config.bce, config.dice, config.attention)
        if config.form == "released":
            self.weights = RELEASED_WEIGHTS
        if self.needs_maps and not config.blocks:
            raise UsageError(
                f"the attention loss has weight {self.weights[2]:g}, but loss.blocks is empty. "
                "Name a block, such as 3, or set loss.attention to 0."
            )
        if abs(sum(self.weights) - 1) > 1e-6:
            warnings.warn(
                f"the loss weights bce, dice, attention = {self.weights} sum to "
                f"{sum(self.weights):g}; Eq. (2) of the paper asks for 1.",
                stacklevel=2,
            )

    @property
    def needs_maps(self) -> bool:
        """Whether the attention heads must be evaluated."""
        return self.weights[2] > 0

    def __call__(self, logits: Tensor, maps: Maps, target: Tensor) -> Parts:
        """The loss of a batch.

        Args:
            logits: (B, K, H, W); with softmax (B, 1 + K, H, W), map 0 being the background.
            maps: scores per attention block and branch; [] where the loss does not need them.
            target: (B, K, H, W) in [0, 1], one map per class without the background.

        Raises:
            ShapeError: logits, maps and target do not fit together.
        """
        expected = (target.shape[0], target.shape[1] + self.exclusive, *target.shape[2:])
        if logits.shape != expected:
            raise ShapeError(
                f"logits are {tuple(logits.shape)}, but the target {tuple(target.shape)} asks for "
                f"{tuple(expected)}. Build the model with num_classes={expected[1]}."
            )
        if self.needs_maps and len(maps) != len(self.config.blocks):
            raise ShapeError(
                f"the loss compares maps of blocks {self.config.blocks}, but maps of {len(maps)} "
                "blocks came. Build the model with attention_blocks equal to loss.blocks and call "
                "forward_with_maps, or set loss.attention to 0."
            )
        with torch.autocast(logits.device.type, enabled=False):
            return self._parts(
                logits.float(), [[s.float() for s in b] for b in maps], target.float()
            )

    def _parts(self, logits: Tensor, maps: Maps, target: Tensor) -> Parts:
        if self.exclusive:
            background = (1.0 - target.sum(dim=1, keepdim=True)).clamp(0.0, 1.0)
            cross = softmax_cross_entropy(logits, torch.cat([background, target], dim=1))
            probs = torch.softmax(logits, dim=1)[:, 1:]
        else:
            cross = bce(logits, target)
            probs = torch.sigmoid(logits)
        released = self.config.form == "released"
        dice = (
            released_dice(probs, target)
            if released
            else soft_dice(probs, target, smooth=self.config.dice_smooth)
        )

        attention, valid = logits.new_zeros(()), 0
        if self.needs_maps:
            union = target.amax(dim=1, keepdim=True)  # (B, 1, H, W): any class
            losses = []
            for block, scores in zip(self.config.blocks, maps, strict=True):
                if released:
                    scores = [score.detach() for score in scores]
                loss, valid = attention_loss(scores, pool_mask(union, block), self.config.form)
                losses.append(loss)
            attention = torch.stack(losses).mean()

        w_bce, w_dice, w_attention = self.weights
        total = w_bce * cross + w_dice * dice + w_attention * attention
        return Parts(total, cross.detach(), dice.detach(), attention.detach(), valid)
