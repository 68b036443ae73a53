"""Checkpoints of the released code: a stand-in for it, its state dict, and our loader."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from crosslinknet.errors import DataError, UsageError
from crosslinknet.models import build_model
from crosslinknet.models.crosslink_net import PRESETS, CrosslinkNet
from crosslinknet.models.released import fill_released, load_released

FULL = (32, 64, 128, 256, 512)
NARROW = (4, 8, 8, 12, 16)

# The stand-in: a dict of tensors under the names of the released code, and one function that
# runs it. Written from the description of that network, not from ours.


def published_state(widths=NARROW, seed=0):
    """A state dict as the released code saves it, with random weights and statistics."""
    draw = torch.Generator().manual_seed(seed)
    state = {}

    def unit(name, cin, cout, rows, columns):
        fan_in = cin * rows * columns
        weight = torch.randn(cout, cin, rows, columns, generator=draw) * (2 / fan_in) ** 0.5
        state[f"{name}.conv.weight"] = weight
        state[f"{name}.bn.weight"] = 0.5 + torch.rand(cout, generator=draw)
        state[f"{name}.bn.bias"] = 0.3 * torch.randn(cout, generator=draw)
        state[f"{name}.bn.running_mean"] = 0.3 * torch.randn(cout, generator=draw)
        state[f"{name}.bn.running_var"] = 0.5 + torch.rand(cout, generator=draw)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(1000 + len(state))

    def triple(name, word, cin, cout, middle, rows, columns):
        unit(f"{name}.{word}1", cin, cout, rows, columns)
        unit(f"{name}.{word}.0", cout, middle, rows, columns)
        unit(f"{name}.{word}.1", middle, cout, rows, columns)

    cin = 1
    for b, cout in enumerate(widths, start=1):
        for path, rows, columns in ((1, 5, 3), (2, 3, 1), (4, 3, 3)):
            triple(f"v_down{b}_{path}", "encode", cin, cout, cout // 2, rows, columns)
        for path, rows, columns in ((1, 3, 5), (2, 1, 3)):
            triple(f"h_down{b}_{path}", "encode", cin, cout, cout // 2, rows, columns)
        unit(f"h_down{b}_3", cin, cout, 1, 1)
        unit(f"v_down{b}_3", 3 * cout, cout, 1, 1)
        unit(f"v_down{b}_res", cin, cout, 1, 1)
        cin = cout
    unit("for_atten3_1", widths[2], widths[2] // 2, 3, 3)
    unit("for_atten3_2", widths[2] // 2, 1, 3, 3)
    unit("center", 2 * cin, cin, 1, 1)
    for b in (5, 4, 3, 2, 1):
        cout = widths[b - 1] // 2
        triple(f"up{b}", "decode", 2 * widths[b - 1] + cin, cout, cout, 3, 3)
        cin = cout
    state["classify.weight"] = torch.randn(1, cin, 1, 1, generator=draw)
    state["classify.bias"] = torch.randn(1, generator=draw)
    return state


def run_published(state, image, training=False):
    """Logits and the two maps of scores; in training the statistics in ``state`` move on."""

    def unit(name, x, relu=True):
        weight = state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, padding=(weight.shape[2] // 2, weight.shape[3] // 2))
        if training:
            state[f"{name}.bn.num_batches_tracked"] += 1
        mean, var, scale, shift = (
            state[f"{name}.bn.{entry}"]
            for entry in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x, mean, var, scale, shift, training, momentum=0.1, eps=1e-4)
        return F.relu(x) if relu else x

    def triple(name, word, x):
        x = unit(f"{name}.{word}1", x)
        return x + unit(f"{name}.{word}.1", unit(f"{name}.{word}.0", x))

    v = h = image
    skips = []
    for b in range(1, 6):
        columns = [triple(f"v_down{b}_{path}", "encode", v) for path in (1, 2, 4)]
        fused = unit(f"v_down{b}_3", torch.cat(columns, 1), relu=False)
        v_out = F.relu(fused + unit(f"v_down{b}_res", v, relu=False))
        rows = [triple(f"h_down{b}_{path}", "encode", h) for path in (1, 2)]
        rows.append(unit(f"h_down{b}_3", h, relu=False))
        fused = unit(f"v_down{b}_3", torch.cat(rows, 1), relu=False)
        h_out = F.relu(fused + unit(f"v_down{b}_res", h, relu=False))
        skips.append((v_out, h_out))
        v, h = F.max_pool2d(v_out, 2, 2), F.max_pool2d(h_out, 2, 2)
    scores = [unit("for_atten3_2", unit("for_atten3_1", x), relu=False) for x in skips[2]]
    x = unit("center", torch.cat([v, h], 1))
    for b in (5, 4, 3, 2, 1):
        v_skip, h_skip = skips[b - 1]
        x = F.interpolate(x, v_skip.shape[2:], mode="bilinear", align_corners=False)
        x = triple(f"up{b}", "decode", torch.cat([v_skip, x, h_skip], 1))
    return F.conv2d(x, state["classify.weight"], state["classify.bias"]), scores


def saved(state, folder, **options):
    path = folder / "CP12.pth"
    torch.save(state, path, **options)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint file of narrow width."""
    return saved(published_state(), tmp_path_factory.mktemp("released"))


def network(shared=True, widths=NARROW, **options):
    torch.manual_seed(1)
    return CrosslinkNet(replace(PRESETS["released"], shared=shared, widths=widths), **options)


def assert_same(found, expected):
    logits, _, [scores], *_ = found
    expected_logits, expected_scores = expected
    assert torch.equal(logits, expected_logits)
    for a, b in zip(scores, expected_scores, strict=True):
        assert torch.equal(a, b)


@torch.inference_mode()
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "unshared"])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (70, 53)])
def test_logits_and_maps_are_bit_identical_to_the_published_network(shared, size, published):
    state = published_state()
    model = network(shared)
    load_released(model, published)
    image = torch.randn(2, 1, *size)
    assert_same(model.eval().forward_for_loss(image), run_published(state, image))
    assert torch.equal(model(image), run_published(state, image)[0])


@torch.inference_mode()
def test_a_checkpoint_of_full_width_loads_bit_identically(tmp_path):
    state = published_state(FULL)
    assert len(state) == 650
    model = build_model("crosslink-net", preset="released")
    load_released(model, saved(state, tmp_path))
    image = torch.randn(1, 1, 64, 64)
    assert_same(model.eval().forward_for_loss(image), run_published(state, image))


@torch.no_grad()
def test_in_training_mode_logits_and_updated_statistics_are_identical_too(published):
    state = published_state()
    model = network()
    load_released(model, published)
    model.train()
    for _ in range(2):
        image = torch.randn(2, 1, 64, 64)
        assert_same(model.forward_for_loss(image), run_published(state, image, training=True))
    after = network()
    fill_released(after, state, "the stand-in after two steps")
    expected = after.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_shared_weights_arrive_twice_where_the_network_keeps_them_apart(published):
    state = published_state()
    model = network(shared=False)
    load_released(model, published)
    for b, stage in enumerate(model.stages, start=1):
        for part, units in (("3", stage.fuse), ("res", stage.skip)):
            for unit in units:
                for entry, value in unit.state_dict().items():
                    assert torch.equal(value, state[f"v_down{b}_{part}.{entry}"])
        point = stage.branches[1][2]
        assert torch.equal(point.conv.weight, state[f"h_down{b}_3.conv.weight"])


def test_the_prefix_of_parallel_training_is_dropped(tmp_path):
    state = published_state()
    model = network()
    load_released(model, saved({f"module.{k}": v for k, v in state.items()}, tmp_path))
    assert torch.equal(model.centre.conv.weight, state["center.conv.weight"])


@torch.inference_mode()
def test_a_file_without_batch_counters_loads_and_counts_from_zero(tmp_path):
    state = {
        k: v for k, v in published_state(FULL).items() if not k.endswith("num_batches_tracked")
    }
    assert len(state) == 542
    model = build_model("crosslink-net").train()
    model(torch.randn(2, 1, 32, 32))
    load_released(model, saved(state, tmp_path))
    counters = [v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")]
    assert len(counters) == 108
    assert not torch.stack(counters).any()


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch says that its old format is old
def test_a_file_in_the_old_format_of_torch_loads(tmp_path):
    state = published_state()
    model = network()
    load_released(model, saved(state, tmp_path, _use_new_zipfile_serialization=False))
    assert torch.equal(model.centre.conv.weight, state["center.conv.weight"])


# Refusals. Each names the file and says what to do, and leaves the network as it was.


def refusal(model, path, kind):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(kind) as error:
        load_released(model, path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("crosslink-net", {"preset": "paper"}),
        ("crosslink-net", {"preset": "table1"}),
        ("hor-crosslink", {}),
        ("square-crosslink", {}),
        ("unet5", {}),
    ],
)
def test_another_network_is_refused_naming_the_preset_to_use(name, options, published):
    message = refusal(build_model(name, widths=NARROW, **options), published, UsageError)
    assert "crosslink-net with preset: released" in message


@pytest.mark.parametrize("blocks", [(), (2,), (3, 5), (1, 2, 3, 4, 5)])
def test_heads_on_other_blocks_are_refused(blocks, published):
    message = refusal(network(attention_blocks=blocks), published, UsageError)
    assert "attention_blocks=[3]" in message


def test_a_checkpoint_without_batch_norm_is_refused(tmp_path):
    state = {k: v for k, v in published_state().items() if ".bn." not in k}
    message = refusal(network(), saved(state, tmp_path), DataError)
    assert "is_bn=False" in message


def test_a_missing_entry_is_named(tmp_path):
    state = published_state()
    del state["up3.decode.1.bn.running_var"]
    message = refusal(network(), saved(state, tmp_path), DataError)
    assert "0 entries are unknown (none), 1 are missing (decoder.2.conv.third" in message


@pytest.mark.parametrize(
    "name", ["h_down1_4.conv.weight", "h_down1_res.conv.weight", "v_down6_3.bn.bias", "fc.weight"]
)
def test_an_entry_that_nothing_takes_is_named(name, tmp_path):
    state = published_state() | {name: torch.zeros(1)}
    message = refusal(network(), saved(state, tmp_path), DataError)
    assert f"1 entries are unknown ({name}), 0 are missing" in message


@pytest.mark.parametrize(
    "options", [{"in_channels": 3}, {"num_classes": 2}, {"widths": (6, 8, 8, 12, 16)}]
)
def test_other_shapes_are_refused_with_both_shapes(options, published):
    message = refusal(network(**options), published, DataError)
    assert "has shape" in message
    assert "Check in_channels, num_classes and widths" in message


class Trap:
    """An object whose unpickling would write a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(write, tmp_path):
    marker, path = tmp_path / "it ran", tmp_path / "CP12.pth"
    write({**published_state(), "extra": Trap(marker)}, path)
    message = refusal(network(), path, DataError)
    assert "would run code" in message
    assert not marker.exists()


def test_a_whole_module_is_refused(tmp_path):
    message = refusal(network(), saved(nn.Conv2d(1, 1, 1), tmp_path), DataError)
    assert "Save model.state_dict() alone" in message


def test_a_list_of_tensors_is_refused(tmp_path):
    message = refusal(network(), saved(list(published_state().values()), tmp_path), DataError)
    assert "Save model.state_dict() alone" in message


def test_a_trainers_wrapper_around_the_state_dict_is_taken_off(published, tmp_path):
    plain, wrapped = network(), network()
    load_released(plain, published)
    load_released(wrapped, saved({"epoch": 3, "state_dict": published_state()}, tmp_path))
    for a, b in zip(plain.state_dict().values(), wrapped.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_file_that_is_no_checkpoint_is_refused(content, published, tmp_path):
    path = tmp_path / "CP12.pth"
    path.write_bytes(published.read_bytes()[:5000] if content is None else content)
    assert "no plain state dict" in refusal(network(), path, DataError)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    assert "does not exist" in refusal(network(), tmp_path / "CP99.pth", DataError)


def test_an_empty_or_foreign_state_dict_is_refused(tmp_path):
    assert "0 entries are unknown" in refusal(network(), saved({}, tmp_path), DataError)
    foreign = {"layer1.0.conv1.weight": torch.zeros(1)}
    assert "1 entries are unknown" in refusal(network(), saved(foreign, tmp_path), DataError)
