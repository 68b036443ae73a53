"""The topology that nnU-Net plans for 2D, through MONAI's DynUNet.

Source: Isensee et al., nnU-Net, Nature Methods 2021; MONAI's ``DynUNet``, which this file only
brings under the contract: 3x3 convolutions, instance norm, leaky ReLU, 32 channels doubled at each
stage up to 512, stages until the deepest map has 4x4 pixels, deep supervision with halved weights.
"""

from monai.networks.nets.dynunet import DynUNet as MonaiDynUNet
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.models.contract import Outputs, check_image, padded

MOST_CHANNELS = 512  # nnU-Net's limit in 2D


class DynUNet(nn.Module):
    """MONAI's network, for any size.

    Args:
        in_channels: channels of the image.
        num_classes: number of logit maps.
        stages: of the encoder; 7 end at 4x4 for slices of 256x256, 8 for 512x512.
        base_channels: of the first stage.
        deep_supervision: further logits of all stages but the two deepest, as nnU-Net has them.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        stages: int = 7,
        base_channels: int = 32,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.multiple = 2 ** (stages - 1)
        strides = [1] + [2] * (stages - 1)
        widths = [min(MOST_CHANNELS, base_channels * 2**stage) for stage in range(stages)]
        self.net = MonaiDynUNet(
            2,
            in_channels,
            num_classes,
            kernel_size=[3] * stages,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=widths,
        )
        del self.net.skip_layers  # the same layers once more, by which MONAI's forward goes
        self.heads = nn.ModuleList(  # of stages 1, 2, ..., the image's own size being 0
            nn.Conv2d(width, num_classes, 1)
            for width in (widths[1 : stages - 2] if deep_supervision else ())
        )

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) of any size to logits (B, num_classes, H, W)."""
        h, w = check_image(x, self.in_channels)
        return self.net.output_block(self._features(x)[0])[..., :h, :w]  # type: ignore[no-any-return]

    def forward_for_loss(self, x: Tensor, target: Tensor | None = None) -> Outputs:
        """Logits, and those of lower stages, enlarged, where there is deep supervision."""
        h, w = check_image(x, self.in_channels)
        features = self._features(x)
        logits = self.net.output_block(features[0])
        sides = tuple(
            F.interpolate(head(own), size=logits.shape[2:], mode="bilinear")[..., :h, :w]
            for head, own in zip(self.heads, features[1:], strict=False)
        )
        weights = tuple(0.5**n for n in range(1, len(sides) + 1))
        return Outputs(logits[..., :h, :w], sides=sides, side_weights=weights)

    def _features(self, x: Tensor) -> list[Tensor]:
        """Maps of the decoder from the image's size to the deepest.

        MONAI's own forward keeps tensors in the network for its deep supervision, which an export
        must not meet.
        """
        y = padded(x, self.multiple, 2 * self.multiple)
        skips: list[Tensor] = []
        for down in (self.net.input_block, *self.net.downsamples):
            y = down(y)
            skips.append(y)
        y = self.net.bottleneck(y)
        features: list[Tensor] = []
        for up in self.net.upsamples:
            y = up(y, skips.pop())
            features.insert(0, y)
        return features
