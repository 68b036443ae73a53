"""Losses: functions on tensors, and Eq. (2) that joins them."""

from crosslinknet.losses.attention import attention_loss
from crosslinknet.losses.combined import Parts, SegmentationLoss
from crosslinknet.losses.cross_entropy import bce
from crosslinknet.losses.overlap import soft_dice

__all__ = ["Parts", "SegmentationLoss", "attention_loss", "bce", "soft_dice"]
