"""DenseUNet: which maps are summed, how large it is, and published weights by their names."""

import pytest
import torch
from safetensors.torch import save_file

from crosslinknet.errors import DataError
from crosslinknet.models import build_model, count_macs, count_parameters
from crosslinknet.models.dense_unet import DenseBlock, DenseUNet
from crosslinknet.models.weights import load_weights


@pytest.mark.parametrize(
    ("width", "classes", "parameters", "macs_256", "macs_512"),
    [
        (64, 1, 1_892_289, 33_558_626_304, 134_234_505_216),
        (64, 2, 1_892_354, 33_562_820_608, 134_251_282_432),
        (64, 3, 1_892_419, 33_567_014_912, 134_268_059_648),
        (256, 1, 30_179_073, 536_837_357_568, 2_147_349_430_272),
        (256, 113, 30_207_857, 538_716_405_760, 2_154_865_623_040),
    ],
)
def test_the_network_is_as_large_and_as_costly_as_stated(
    width, classes, parameters, macs_256, macs_512
):
    with torch.device("meta"):
        model = DenseUNet(1, classes, width)
    assert count_parameters(model) == parameters
    assert count_macs(model, (256, 256)) == macs_256
    assert count_macs(model, (512, 512)) == macs_512


def test_a_block_sums_all_earlier_maps_but_the_one_it_convolves():
    """With convolutions of zero: o1 = 0, o2 = x, o3 = x, o4 = 2x."""
    block = DenseBlock(3, 4).eval()
    for conv in block.convs:
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    seen = []
    for norm in block.norms:
        norm.register_forward_hook(lambda _, given, output: seen.append(given[0]))
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(block(x), 2 * x, rtol=1e-4, atol=1e-4)
    for given, expected in zip(seen, (0 * x, x, x, 2 * x), strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def published(width=4, classes=3):
    """A state dict under the names that were published, built anew from their description."""
    inside = [f"{part}.{i}" for part in ("conv_list", "bn_list") for i in range(4)]
    modules = {f"{block}.{one}" for block in ("d1", "d2", "d3", "d4", "bottom") for one in inside}
    modules |= {f"u{n}.{one}" for n in range(1, 5) for one in inside}
    modules |= {f"up{n}.{one}" for n in range(1, 5) for one in ("upsample_layer", "conv", "bn")}
    modules |= {"conv1", "outconv"}
    torch.manual_seed(3)
    source = DenseUNet(1, classes, width)
    names = source.published_names()
    assert {theirs.rpartition(".")[0] for theirs in names} == modules
    return source, {theirs: source.state_dict()[ours].clone() for theirs, ours in names.items()}


def test_published_weights_fill_the_network(tmp_path):
    source, state = published()
    torch.save(state, tmp_path / "darts.pth")
    model = DenseUNet(1, 3, 4).eval()
    assert load_weights(model, tmp_path / "darts.pth") == []
    image = torch.randn(1, 1, 32, 48)
    assert torch.equal(model(image), source.eval()(image))


def test_of_published_weights_for_other_classes_all_but_the_last_layer_are_taken(tmp_path):
    _, state = published()
    torch.save({"state_dict": state}, tmp_path / "darts.pth")
    left = load_weights(DenseUNet(1, 1, 4), tmp_path / "darts.pth")
    assert left == ["classifier.weight", "classifier.bias"]


def test_weights_of_another_network_are_refused_with_the_keys(tmp_path):
    _, state = published()
    state["more.weight"] = state.pop("conv1.weight")
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"missing: stem\.weight; unexpected: more\.weight"):
        load_weights(DenseUNet(1, 3, 4), tmp_path / "other.pth")


@pytest.mark.parametrize("name", ["crosslink-net", "ver-crosslink", "unet"])
def test_a_state_dict_with_a_networks_own_names_fills_it(name, tmp_path):
    options = {"widths": (4, 8, 8, 12, 16)}
    source, model = build_model(name, **options), build_model(name, **options)
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    assert load_weights(model, tmp_path / "own.safetensors") == []
    for a, b in zip(source.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
