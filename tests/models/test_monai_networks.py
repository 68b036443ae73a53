"""MONAI's networks under the contract: the same function as MONAI's own, at any size."""

import pytest
import torch
from monai.networks.nets.attentionunet import AttentionUnet
from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus
from monai.networks.nets.dynunet import DynUNet as MonaiDynUNet
from monai.networks.nets.swin_unetr import SwinUNETR

from crosslinknet.models import build_model


def same(name, theirs, size, **options):
    """Whether our network with MONAI's weights gives MONAI's logits."""
    ours = build_model(name, 2, 3, **options).eval()
    own = theirs.state_dict()
    ours.net.load_state_dict({key: own[key] for key in ours.net.state_dict()})
    image = torch.randn(1, 2, *size)
    logits = theirs.eval()(image)
    logits = logits[-1] if isinstance(logits, list) else logits
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), logits)


def test_attention_unet_is_monais():
    widths = (4, 8, 8, 8, 8)
    same("attention-unet", AttentionUnet(2, 2, 3, widths, (2,) * 4), (64, 48), widths=widths)


def test_unet_plus_plus_is_monais():
    widths = (4, 4, 8, 8, 8, 4)
    same("unet++", BasicUNetPlusPlus(2, 2, 3, widths), (64, 48), widths=widths)


def test_swin_unetr_is_monais():
    same("swin-unetr", SwinUNETR(2, 3, feature_size=12, spatial_dims=2), (64, 96), feature_size=12)


def test_dynunet_is_monais():
    stages = [1, 2, 2, 2, 2]
    filters = [4, 8, 16, 32, 64]
    theirs = MonaiDynUNet(2, 2, 3, [3] * 5, stages, stages[1:], filters)
    same("dynunet", theirs, (64, 96), stages=5, base_channels=4)


def test_dynunet_has_the_channels_that_nnunet_plans():
    with torch.device("meta"):
        model = build_model("dynunet", stages=8)
    widths = [block.conv1.conv.out_channels for block in (model.net.input_block,)]
    widths += [block.conv1.conv.out_channels for block in model.net.downsamples]
    assert [*widths, model.net.bottleneck.conv1.conv.out_channels] == [
        32, 64, 128, 256, 512, 512, 512, 512,
    ]  # fmt: skip


def test_deep_supervision_gives_the_lesser_outputs_at_full_size_with_halved_weights():
    image = torch.randn(1, 1, 128, 128)
    outputs = build_model("dynunet", base_channels=2, deep_supervision=True).forward_for_loss(image)
    assert outputs.side_weights == (0.5, 0.25, 0.125, 0.0625)
    assert {side.shape for side in outputs.sides} == {outputs.logits.shape}
    options = {"widths": (2, 2, 2, 2, 2, 2), "deep_supervision": True}
    outputs = build_model("unet++", **options).forward_for_loss(image)
    assert len(outputs.sides) == 3
    assert {side.shape for side in outputs.sides} == {outputs.logits.shape}
    plain = build_model("dynunet", base_channels=2).forward_for_loss(image)
    assert plain.sides == ()


@pytest.mark.parametrize("name", ["attention-unet", "unet++", "swin-unetr", "dynunet"])
def test_an_option_that_does_not_exist_is_named(name):
    with pytest.raises(Exception, match="wdth is unknown"):
        build_model(name, wdth=3)
