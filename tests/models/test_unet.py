"""The classical U-Net: as large and as costly as stated, padded or not."""

import pytest
import torch

from crosslinknet.errors import UsageError
from crosslinknet.models import count_macs, count_parameters
from crosslinknet.models.unet import UNet


def on_paper(**options):
    with torch.device("meta"):
        return UNet(**options)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"norm": False, "padding": "valid", "num_classes": 2}, 31_030_658),
        ({"norm": False, "padding": "valid"}, 31_030_593),
        ({"norm": False}, 31_030_593),
        ({}, 31_036_481),
        ({"num_classes": 2}, 31_036_546),
    ],
)
def test_the_network_has_the_stated_number_of_parameters(options, parameters):
    assert count_parameters(on_paper(**options)) == parameters


def test_the_network_costs_what_is_stated():
    assert count_macs(on_paper(), (256, 256)) == 48_091_889_664
    assert count_macs(on_paper(), (512, 512)) == 192_367_558_656
    assert count_macs(on_paper(num_classes=2), (512, 512)) == 192_384_335_872
    valid = on_paper(norm=False, padding="valid", num_classes=2)  # 388 become 572 by mirroring
    assert count_macs(valid, (388, 388)) == 150_428_424_448


@pytest.mark.parametrize(("side", "left"), [(572, 388), (188, 4), (187, 0), (140, 0), (204, 20)])
def test_unpadded_convolutions_leave_what_was_published(side, left):
    assert UNet(padding="valid", widths=(2, 2, 2, 2, 2)).left_over(side) == left


def test_unpadded_logits_are_those_of_the_mirrored_image():
    model = UNet(padding="valid", norm=False, widths=(2, 3, 4)).eval()
    image = torch.randn(1, 1, 20, 28)
    larger = model._enlarged(image)
    top = (larger.shape[2] - model.left_over(larger.shape[2])) // 2
    left = (larger.shape[3] - model.left_over(larger.shape[3])) // 2
    assert torch.equal(larger[..., top : top + 20, left : left + 28], image)
    assert torch.equal(model(image), model._logits(larger)[..., :20, :28])


@pytest.mark.parametrize(
    ("options", "said"),
    [({"padding": "sme"}, "did you mean 'same'"), ({"widths": [4]}, "two or more")],
)
def test_impossible_options_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        UNet(**options)
