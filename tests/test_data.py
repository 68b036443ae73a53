import multiprocessing
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosslinknet.cache import open_case
from crosslinknet.config import parse_config
from crosslinknet.data import (
    Draw,
    EpochBatches,
    SliceDataset,
    _begin_worker,
    collate,
    epoch_order,
    make_loader,
    random_crop,
    size_at,
    to_target,
)
from crosslinknet.datasets import find_cases
from crosslinknet.errors import UsageError
from crosslinknet.labels import label_table

NAMES = [f"case_{i:02d}" for i in range(11)]


@pytest.fixture
def make_dataset(make_pairs, tmp_path):
    """Eleven cases of one 32x32 slice; sections of the config as keywords."""
    root = make_pairs(NAMES)

    def make(**sections) -> SliceDataset:
        content = {"data": {"root": str(root)}, "image": {"size": [32, 32]}} | sections
        config = parse_config(content)
        found = find_cases(config.data)
        cases = [open_case(c, config.data, config.image, tmp_path / "cache") for c in found.cases]
        return SliceDataset(cases, label_table(config.data.label_map), config)

    return make


def draws_of(batches: EpochBatches) -> list[Draw]:
    return [draw for batch in batches for draw in batch]


# What an epoch draws.

foregrounds = st.lists(st.booleans(), min_size=1, max_size=60).map(lambda f: np.array(f, bool))
shares = st.floats(0, 1)
seeds = st.integers(0, 2**32)


@given(foregrounds, shares, seeds, st.integers(0, 200))
def test_an_epoch_draws_as_many_slices_as_there_are(foreground, share, seed, epoch):
    order = epoch_order(foreground, share, seed, epoch)
    assert order.shape == foreground.shape
    assert set(order.tolist()) <= set(range(len(foreground)))


@given(foregrounds, shares, seeds)
def test_every_slice_is_drawn_once_where_the_data_have_the_share(foreground, share, seed):
    if foreground.mean() >= share:
        order = epoch_order(foreground, share, seed, epoch=0)
        assert sorted(order.tolist()) == list(range(len(foreground)))


@given(foregrounds, shares, seeds)
def test_the_least_share_is_kept_where_the_data_lack_it(foreground, share, seed):
    order = epoch_order(foreground, share, seed, epoch=0)
    if foreground.any():
        assert foreground[order].mean() >= min(share, 1) - 1e-9
        counts = np.bincount(order, minlength=len(foreground))
        shown, empty = counts[foreground], counts[~foreground]
        assert shown.max() - shown.min() <= 1  # repeats are spread evenly
        assert empty.size == 0 or empty.max() <= 1
        wanted = max(np.ceil(share * len(foreground)), foreground.sum())
        assert foreground[order].sum() == wanted  # and not more than asked for


def test_epochs_differ_and_repeat_with_their_seed():
    foreground = np.ones(30, bool)
    first = epoch_order(foreground, 0.33, seed=1, epoch=0)
    np.testing.assert_array_equal(first, epoch_order(foreground, 0.33, seed=1, epoch=0))
    assert first.tolist() != epoch_order(foreground, 0.33, seed=1, epoch=1).tolist()
    assert first.tolist() != epoch_order(foreground, 0.33, seed=2, epoch=0).tolist()


def test_slices_grow_by_the_stages_of_progressive(tmp_path):
    config = parse_config(
        {
            "data": {"root": str(tmp_path)},
            "image": {"size": [256, 384]},
            "train": {"epochs": 10, "progressive": [[0.3, 0.5], [0.2, 0.75], [0.5, 1]]},
        }
    )
    sizes = [size_at(config, epoch) for epoch in range(10)]
    assert sizes == 3 * [(128, 192)] + 2 * [(192, 288)] + 5 * [(256, 384)]


def test_small_stages_are_multiples_of_32_and_the_last_one_is_exact(tmp_path):
    config = parse_config(
        {
            "data": {"root": str(tmp_path)},
            "image": {"size": [250, 40]},
            "train": {"epochs": 4, "progressive": [[0.5, 0.5], [0.5, 1]]},
        }
    )
    assert [size_at(config, epoch) for epoch in range(4)] == 2 * [(128, 32)] + 2 * [(250, 40)]


# One slice.


def test_a_slice_comes_with_one_map_per_class_and_its_file(make_dataset):
    dataset = make_dataset(augment={"preset": "none"})
    item = dataset[Draw(index=3, epoch=0, place=0, size=(32, 32))]
    assert item["image"].shape == (1, 32, 32)
    assert item["image"].dtype == torch.float32
    np.testing.assert_array_equal(item["image"], dataset.cases[3].image[0])
    np.testing.assert_array_equal(item["target"][0], dataset.cases[3].codes[0])
    assert item["name"] == f"{dataset.cases[3].files.images[0]}, slice 0"
    assert item["name"].endswith("case_03.png, slice 0")


def test_every_slice_of_every_case_is_counted(make_dataset):
    dataset = make_dataset()
    assert len(dataset) == 11
    assert dataset.foreground.tolist() == [True] * 11
    assert dataset.slices == [(i, 0) for i in range(11)]


def test_augmentation_follows_from_seed_epoch_and_place(make_dataset):
    dataset = make_dataset(augment={"preset": "light", "probability": 1})

    def image(epoch: int, place: int):
        return dataset[Draw(0, epoch, place, (32, 32))]["image"]

    assert torch.equal(image(0, 0), image(0, 0))
    assert not torch.equal(image(0, 0), image(1, 0))
    assert not torch.equal(image(0, 0), image(0, 1))
    other = make_dataset(augment={"preset": "light", "probability": 1}, train={"seed": 1})
    assert not torch.equal(image(0, 0), other[Draw(0, 0, 0, (32, 32))]["image"])


def test_smaller_slices_show_the_same_picture(make_dataset):
    dataset = make_dataset(image={"size": [64, 64]}, augment={"preset": "none"})
    full, small = (dataset[Draw(0, 0, 0, (n, n))] for n in (64, 32))
    assert small["image"].shape == small["target"].shape == (1, 32, 32)
    assert float(small["image"].mean()) == pytest.approx(float(full["image"].mean()), abs=0.01)
    assert small["target"].unique().tolist() == [0, 1]
    assert float(small["target"].mean()) == pytest.approx(float(full["target"].mean()), rel=0.3)


def test_classes_may_overlap_in_the_target():
    table = label_table({"infection": [1, 2], "glass": [1]})
    codes = np.array([[0, 1], [2, 0]], np.uint8)
    target = to_target(codes, table)
    assert target.tolist() == [[[0, 1], [1, 0]], [[0, 1], [0, 0]]]
    assert to_target(codes[None], table).shape == (1, 2, 2, 2)


def test_soft_labels_are_the_target_and_move_with_the_image(make_dataset, tmp_path):
    """The map shows what the image shows, so that both must stay alike under every change."""
    plain = {"size": [64, 64]}, {"preset": "none"}
    dataset = make_dataset(image=plain[0], augment=plain[1])
    source = dataset.cases[0]
    image = np.array(source.image)  # (D, 1, H, W)
    maps = np.round(255 * image).astype(np.uint8)
    np.save(tmp_path / "maps.npy", maps)
    for preset in ("none", "covid-paper", "cardiac-paper"):
        soft = make_dataset(image=plain[0], augment={"preset": preset, "probability": 1.0})
        soft.cases = [source.with_maps(tmp_path / "maps.npy")]
        for place in range(4):
            item = soft[Draw(0, 0, place, (64, 64))]
            apart = (item["image"] - item["target"]).abs()
            assert float(apart.mean()) < (0.002 if preset == "none" else 0.05)
            assert item["target"].shape == (1, 64, 64)
            assert 0 <= float(item["target"].min()) <= float(item["target"].max()) <= 1
    shown = [maps_of.max() > 127 for maps_of in maps]
    assert source.with_maps(tmp_path / "maps.npy").foreground.tolist() == shown


# Crops.

sides = st.integers(8, 40)


@given(sides, sides, sides, sides, st.integers(0, 2**32), st.data())
def test_a_crop_around_the_foreground_shows_some_of_it(height, width, h, w, seed, data):
    codes = np.zeros((height, width), np.uint8)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    codes[y, x] = 2
    image = np.arange(1, height * width + 1, dtype=np.float32).reshape(1, height, width)
    crop, mask = random_crop(image, codes, (h, w), 1.0, np.random.default_rng(seed))
    assert crop.shape == (1, h, w)
    assert mask.shape == (h, w)
    assert crop[0][mask == 2].tolist() == [image[0, y, x]]  # image and mask lie on each other


@given(sides, sides, st.floats(0, 1), st.integers(0, 2**32))
def test_a_crop_is_a_window_of_the_slice_padded_with_nothing(h, w, foreground, seed):
    image = np.random.default_rng(0).random((2, 20, 30), np.float32) + 1
    codes = (image[0] > 1.9).astype(np.uint8)
    crop, mask = random_crop(image, codes, (h, w), foreground, np.random.default_rng(seed))
    assert crop.shape == (2, h, w)
    assert (crop[0] > 0).sum() == min(h, 20) * min(w, 30)
    np.testing.assert_array_equal(mask, crop[0] > 1.9)


def test_every_corner_can_be_reached_by_a_crop():
    codes, image = np.zeros((4, 4), np.uint8), np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    rng = np.random.default_rng(0)
    seen = {random_crop(image, codes, (3, 3), 1.0, rng)[0][0, 0, 0].item() for _ in range(50)}
    assert seen == {0, 1, 4, 5}


def test_crops_of_a_slice_are_drawn_anew_and_repeat(make_dataset):
    dataset = make_dataset(image={"size": [32, 32], "fit": "crop"}, augment={"preset": "none"})
    images = [dataset[Draw(0, 0, place, (32, 32))]["image"] for place in (0, 1, 0)]
    assert images[0].shape == (1, 32, 32)
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


# Batches.


def test_batches_are_full_and_the_rest_is_left_out(make_dataset):
    batches = EpochBatches(make_dataset(train={"batch_size": 4}), epoch=0)
    assert len(batches) == 2
    assert [len(batch) for batch in batches] == [4, 4]
    assert len({draw.index for draw in draws_of(batches)}) == 8


def test_fewer_slices_than_a_batch_make_one_small_batch(make_dataset):
    batches = EpochBatches(make_dataset(train={"batch_size": 16}), epoch=0)
    assert [len(batch) for batch in batches] == [11]


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_see_different_slices_and_equally_many(make_dataset, world):
    dataset = make_dataset(train={"batch_size": 1})
    shares = [draws_of(EpochBatches(dataset, 4, rank=r, world=world)) for r in range(world)]
    assert {len(share) for share in shares} == {11 // world}
    places = [draw.place for share in shares for draw in share]
    assert len(set(places)) == len(places) == 11 // world * world
    assert len({draw.index for share in shares for draw in share}) == len(places)


def test_more_processes_than_slices_are_refused(make_dataset):
    with pytest.raises(UsageError, match=r"11 training slices .* 12 processes.*train\.devices"):
        EpochBatches(make_dataset(), 0, rank=0, world=12)


@pytest.mark.parametrize("start", [0, 1, 3, 5])
def test_skipping_batches_gives_the_tail_of_the_epoch(make_dataset, start):
    dataset = make_dataset(train={"batch_size": 2})
    whole = list(EpochBatches(dataset, epoch=7))
    assert list(EpochBatches(dataset, epoch=7, start=start)) == whole[start:]


def test_a_batch_stacks_slices_and_names():
    items = [
        {"image": torch.full((1, 2, 2), i), "target": torch.zeros(3, 2, 2), "name": f"n{i}"}
        for i in range(2)
    ]
    batch = collate(items)
    assert batch.image.shape == (2, 1, 2, 2)
    assert batch.target.shape == (2, 3, 2, 2)
    assert batch.names == ["n0", "n1"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_worker_processes_change_no_number(make_dataset):
    dataset = make_dataset(train={"batch_size": 3})
    alone, helped = (
        list(make_loader(EpochBatches(dataset, 0), dataset, workers)) for workers in (0, 2)
    )
    assert len(alone) == len(helped) == 3
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
        assert one.names == other.names


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_loading_draws_no_random_number_of_the_training(make_dataset, workers):
    dataset = make_dataset()
    before = torch.get_rng_state()
    list(make_loader(EpochBatches(dataset, 0), dataset, workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("main", "code"), [(os.getpid, 0), (lambda: 1, 1)])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_whose_main_process_is_gone_ends_itself(main, code):
    worker = multiprocessing.get_context("fork").Process(target=_begin_worker, args=(main(), 0))
    worker.start()
    worker.join()
    assert worker.exitcode == code


def test_a_small_set_is_gone_through_several_times_per_epoch(make_dataset):
    dataset = make_dataset(train={"draws": 20, "batch_size": 1})
    drawn = [draw.index for batch in EpochBatches(dataset, epoch=3) for draw in batch]
    passages = -(-20 // len(dataset))
    assert len(drawn) == passages * len(dataset)
    assert sorted(drawn) == sorted(list(range(len(dataset))) * passages)
    rounds = np.reshape(drawn, (passages, -1))
    assert any((rounds[0] != other).any() for other in rounds[1:])
