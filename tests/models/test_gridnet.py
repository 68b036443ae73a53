"""GridNet-core: as large as the reconstruction says, every cell of the grid in use."""

import pytest
import torch

from crosslinknet.models import count_macs, count_parameters
from crosslinknet.models.gridnet import GridNet


@pytest.mark.parametrize(
    ("options", "parameters", "macs_256", "macs_512"),
    [
        ({}, 10_907_105, 15_053_357_056, 60_213_428_224),
        ({"num_classes": 2}, 10_907_138, 15_055_454_208, 60_221_816_832),
        ({"num_classes": 3}, 10_907_171, 15_057_551_360, 60_230_205_440),
        ({"num_classes": 4}, 10_907_204, 15_059_648_512, 60_238_594_048),
        ({"base_channels": 64}, 43_611_073, 60_171_485_184, 240_685_940_736),
        ({"across_convs": 2}, 14_051_745, 18_073_255_936, 72_293_023_744),
        ({"across_convs": 0}, 7_762_465, 12_033_458_176, 48_133_832_704),
    ],
)
def test_the_network_is_as_large_and_as_costly_as_stated(options, parameters, macs_256, macs_512):
    with torch.device("meta"):
        model = GridNet(**options)
    assert count_parameters(model) == parameters
    assert count_macs(model, (256, 256)) == macs_256
    assert count_macs(model, (512, 512)) == macs_512


def test_the_deepest_row_is_across_too():
    model = GridNet(base_channels=2, rows=3).eval()
    calls = []
    model.across[2].register_forward_hook(lambda _, given, output: calls.append(output.shape))
    model(torch.randn(1, 1, 16, 16))
    assert calls == [(1, 8, 4, 4)]


def test_the_contour_has_logits_for_the_loss_alone():
    model = GridNet(base_channels=2, contour=True).eval()
    image = torch.randn(1, 1, 33, 47)
    outputs = model.forward_for_loss(image)
    assert outputs.edge.shape == outputs.logits.shape == (1, 1, 33, 47)
    assert GridNet(base_channels=2).forward_for_loss(image).edge is None
