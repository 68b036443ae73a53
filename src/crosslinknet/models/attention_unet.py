"""Attention U-Net, MONAI's: skips are weighed by gates that look at the level below.

Source: Oktay et al., Attention U-Net: learning where to look for the pancreas, MIDL 2018; MONAI's
``AttentionUnet``, which this file only brings under the contract.
"""

from collections.abc import Sequence

from monai.networks.nets.attentionunet import AttentionUnet
from torch import Tensor, nn

from crosslinknet.models.contract import check_image, padded


class AttentionUNet(nn.Module):
    """MONAI's network, for any size.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        widths: channels of each level.
        dropout: inside its units.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.multiple = 2 ** (len(widths) - 1)
        self.net = AttentionUnet(
            2, in_channels, num_classes, widths, (2,) * (len(widths) - 1), dropout=dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W)."""
        h, w = check_image(x, self.in_channels)
        return self.net(padded(x, self.multiple, 2 * self.multiple))[..., :h, :w]  # type: ignore[no-any-return]
