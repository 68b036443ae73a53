"""Swin UNETR in 2D, MONAI's: a Swin transformer as the encoder, convolutions as the decoder.

Source: Hatamizadeh et al., Swin UNETR, BrainLes 2021; MONAI's ``SwinUNETR``, which this file only
brings under the contract.
"""

import torch
from monai.networks.nets.swin_unetr import SwinUNETR
from torch import Tensor, nn

from crosslinknet.models.contract import check_image, padded

MULTIPLE = 32  # patches of 2, then four mergings
SMALLEST = 64  # instance norm of the deepest map needs more than one value


class SwinUNETR2D(nn.Module):
    """MONAI's network, for any size.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        feature_size: channels of the first map; a multiple of 12.
        checkpointing: less memory in training for more time.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        feature_size: int = 24,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        with torch.device("cpu"):  # MONAI reads values while it builds, which meta has not
            self.net = SwinUNETR(
                in_channels,
                num_classes,
                feature_size=feature_size,
                spatial_dims=2,
                use_checkpoint=checkpointing,
            )

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W)."""
        h, w = check_image(x, self.in_channels)
        return self.net(padded(x, MULTIPLE, SMALLEST))[..., :h, :w]  # type: ignore[no-any-return]
