"""U-Net++, MONAI's: nested skips, and logits of four depths for deep supervision.

Source: Zhou et al., UNet++: a nested U-Net architecture, DLMIA 2018; MONAI's
``BasicUNetPlusPlus``, which this file only brings under the contract.
"""

from collections.abc import Sequence

from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus
from torch import Tensor, nn

from crosslinknet.models.contract import Outputs, check_image, padded

MULTIPLE = 16  # four poolings


class UNetPlusPlus(nn.Module):
    """MONAI's network, for any size.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        widths: channels of the five levels and of the last features.
        deep_supervision: logits of all four depths, of which the last is the prediction.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        widths: Sequence[int] = (32, 32, 64, 128, 256, 32),
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.net = BasicUNetPlusPlus(
            2, in_channels, num_classes, tuple(widths), deep_supervision=deep_supervision
        )
        if not deep_supervision:  # MONAI builds the heads of the lesser depths all the same
            for depth in (1, 2, 3):
                self.net.get_submodule(f"final_conv_0_{depth}").requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W)."""
        return self._outputs(x)[-1]

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Logits, and those of the three lesser depths where there is deep supervision."""
        *sides, logits = self._outputs(x)
        return Outputs(logits, sides=tuple(sides))

    def _outputs(self, x: Tensor) -> list[Tensor]:
        h, w = check_image(x, self.in_channels)
        return [y[..., :h, :w] for y in self.net(padded(x, MULTIPLE, 2 * MULTIPLE))]
