import io
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.duplicates import (
    ALIKE,
    NEAR,
    TURNS,
    Fingerprints,
    augmentation_names,
    fingerprints,
    groups_of,
    join,
    near_pairs,
    turned,
)
from crosslinknet.duplicates import hashes as hashing
from crosslinknet.duplicates import prints as printing
from crosslinknet.duplicates.hashes import same_pixels
from crosslinknet.phantoms import make_phantom
from crosslinknet.readers import read_case_image


def shapes(seed, size=(96, 80)):
    """A made-up slice of smooth shapes, uint8."""
    rough = np.random.default_rng(seed).integers(0, 256, (8, 7), dtype=np.uint8)
    return np.array(Image.fromarray(rough).resize(size[::-1], Image.Resampling.BICUBIC))


def prints_of(*images):
    return join([fingerprints(np.asarray(image)[None, None]) for image in images])


# Thumbnails and hashes.


def test_a_thumbnail_is_the_mean_of_areas_stretched_to_all_greys():
    image = np.kron(np.arange(32 * 32).reshape(32, 32) % 251, np.ones((3, 2)))  # (96, 64)
    image += np.tile([[1.0, -1.0]], (96, 32))  # averages out in every area of 3x2
    thumb = fingerprints(image[None, None]).thumbs[0].astype(float)
    low, high = np.percentile(image[:: 96 // 128 or 1], printing.CLIPPED)
    clipped = np.clip(image, low, high).reshape(32, 3, 32, 2).mean(axis=(1, 3))
    expected = 255 * (clipped - clipped.min()) / np.ptp(clipped)
    np.testing.assert_allclose(thumb, expected, atol=0.51)


@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 2**32))
def test_areas_of_any_size_count_every_pixel_by_its_share(rows, columns, seed):
    image = np.random.default_rng(seed).integers(-1000, 3000, (rows, columns)).astype(np.int16)
    low, high = np.float32(-900), np.float32(2500)
    means = printing._areas(image, low, high)
    parts = np.repeat(np.clip(image, low, high), 64, axis=0)  # each row as 64 slices of it
    np.testing.assert_allclose(means, parts.reshape(64, rows, columns).mean(axis=1), atol=0.01)


def test_a_row_between_two_areas_counts_for_both_by_hand():
    image = np.arange(96.0)[:, None]  # 1.5 rows an area: 0 and half of 1, half of 1 and 2, ...
    means = printing._areas(image, np.float32(0), np.float32(95))[:4, 0]
    np.testing.assert_allclose(means, [0.5 / 1.5, 2.5 / 1.5, (3 + 2) / 1.5, (2 + 5) / 1.5])


def test_ranks_are_shares_of_darker_pixels():
    values = np.zeros((64, 64), np.float32)
    values[:16] = 7  # a quarter
    ranks = printing._ranks(values)
    assert np.unique(ranks[:16]).tolist() == [223]  # (0.75 + 0.125) * 255
    assert np.unique(ranks[16:]).tolist() == [96]  # 0.375 * 255
    rising = np.random.default_rng(0).permutation(4096).reshape(64, 64).astype(np.float32)
    np.testing.assert_array_equal(printing._ranks(rising), np.rint((rising + 0.5) / 4096 * 255))


def test_slices_fingerprinted_in_threads_are_the_same():
    images = [shapes(seed, (256, 256))[None, None] for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        threads = join(list(pool.map(fingerprints, images)))
    alone = join([fingerprints(image) for image in images])
    for name in ("hashes", "thumbs", "ranks", "flat"):
        np.testing.assert_array_equal(getattr(threads, name), getattr(alone, name))


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 31), (600, 100)])
def test_every_size_has_a_thumbnail(size):
    prints = fingerprints(np.random.default_rng(0).random((2, 3, *size)))
    assert prints.thumbs.shape == (2, 32, 32)
    assert prints.ranks.shape == (2, 64, 64)
    assert prints.hashes.shape == (2, 8)
    assert prints.flat.all() == (size == (1, 1))


@pytest.mark.parametrize("turn", range(8))
def test_the_hash_of_a_position_is_the_plain_hash_of_the_turned_slice(turn):
    image = shapes(3)
    prints = prints_of(image, turned(image, turn))
    assert prints.hashes[0, turn] == prints.hashes[1, 0]
    assert len(set(prints.hashes[0].tolist())) == 8
    if turn < 4:
        names = ("as it is", "left-right", "up-down", "half turn")
        by_numpy = (image, np.fliplr(image), np.flipud(image), np.rot90(image, 2))
        assert TURNS[turn] == names[turn]
        np.testing.assert_array_equal(turned(image, turn), by_numpy[turn])
    if turn in (5, 6):
        np.testing.assert_array_equal(turned(image, turn), np.rot90(image, -1 if turn == 5 else 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_the_number_type_makes_no_difference(dtype):
    image = shapes(1) // 2
    one, other = fingerprints(image[None, None]), fingerprints(image.astype(dtype)[None, None])
    np.testing.assert_array_equal(one.thumbs, other.thumbs)


def test_slices_that_show_next_to_nothing_are_flat_and_never_a_pair():
    noise = np.random.default_rng(0).integers(0, 9, (64, 64))
    dot = np.zeros((64, 64))
    dot[30:36, 30:36] = 200  # less than 1 % of the slice
    blob = np.zeros((64, 64))
    blob[26:38, 26:38] = 200  # the top of a head, 3.5 % of the slice
    organ = np.zeros((64, 64))
    organ[20:50, 20:50] = 200
    prints = prints_of(dot * 0, dot, dot, blob, blob, organ, organ, noise)
    assert prints.flat.tolist() == [True, True, True, True, True, False, False, False]
    assert [(pair.first, pair.second) for pair in near_pairs(prints)] == [(5, 6)]


def test_nothing_has_no_pairs():
    assert near_pairs(join([])) == []
    assert near_pairs(prints_of(shapes(0))) == []
    assert len(join([prints_of(shapes(0)), prints_of(shapes(1), shapes(2))])) == 3


# Pairs.


def jpg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.array(Image.open(file))


def resized(image, factor):
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


CHANGES = {
    "nothing": lambda image: image,
    "jpg": jpg,
    "half": lambda image: resized(image, 0.5),
    "double": lambda image: resized(image, 2),
    "stretched": lambda image: np.array(Image.fromarray(image).resize((128, 50))),
    "brighter": lambda image: np.clip(image * 1.1 + 5, 0, 255).astype(np.uint8),
    "darker": lambda image: np.clip(image * 0.9 - 5, 0, 255).astype(np.uint8),
    "gamma": lambda image: np.rint(255 * (image / 255) ** 0.9).astype(np.uint8),
    "window": lambda image: np.rint(np.clip((image - 10.0) / 235, 0, 1) * 255).astype(np.uint8),
    "16 bit": lambda image: image.astype(np.uint16) * 257,
    "noise": lambda image: image + np.random.default_rng(0).normal(0, 3, image.shape),
}


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others_and_its_turn_is_named(change, turn):
    images = [shapes(seed) for seed in range(12)]
    copy = turned(CHANGES[change](images[4]), turn)
    (pair,) = near_pairs(prints_of(*images, copy), limit=ALIKE)
    assert (pair.first, pair.second, pair.turn) == (4, 12, turn)
    assert 0 <= pair.difference <= ALIKE
    assert pair.difference < 1e-3 or change != "nothing"


def test_a_symmetric_slice_is_as_it_is():
    image = shapes(5).astype(float)
    image += image[:, ::-1]
    (pair,) = near_pairs(prints_of(image, image))
    assert pair.turn == 0


def test_the_difference_is_what_no_cubic_curve_explains():
    one, other = shapes(0), CHANGES["noise"](shapes(0) ** 1.2)
    prints = prints_of(one, other)
    x, y = prints.thumbs.reshape(2, -1).astype(float)
    left = []
    for a, b in ((x, y), (y, x)):
        rest = b - np.polyval(np.polyfit(a / 255, b, 3), a / 255)
        left.append(rest.std() / b.std())
    (pair,) = near_pairs(prints, limit=0.5)
    assert pair.difference == pytest.approx(min(left), abs=1e-6)


def test_slices_of_one_group_are_not_compared():
    prints = prints_of(*[shapes(0)] * 4)
    pairs = near_pairs(prints, groups=np.array([7, 7, 3, 3]))
    assert [(p.first, p.second) for p in pairs] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert len(near_pairs(prints)) == 6


@given(
    st.integers(0, 2**32), st.integers(2, 40), st.integers(0, 9), st.sampled_from([1, 50, 2**18])
)
def test_hashes_propose_exactly_the_pairs_within_the_distance(seed, count, distance, block):
    """Against all pairs: crowded hashes, with neighbours planted at every distance."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, (count, 8), dtype=np.uint64) & np.uint64(0x3FF)
    for row in range(1, count):
        if rng.random() < 0.5:
            flips = rng.choice(64, rng.integers(0, 12), replace=False).astype(np.uint64)
            bits = np.bitwise_or.reduce(np.uint64(1) << flips, initial=np.uint64(0))
            hashes[row, 0] = hashes[rng.integers(row), rng.integers(8)] ^ bits
    expected = {
        (i, j, turn)
        for i in range(count)
        for j in range(i + 1, count)
        for turn in range(8)
        if (int(hashes[i, turn]) ^ int(hashes[j, 0])).bit_count() <= distance
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "BLOCK", block)
        proposed = [
            tuple(map(int, row))
            for part in hashing._candidates(hashes, None, distance)
            for row in zip(*part, strict=True)
        ]
    assert len(proposed) == len(set(proposed))
    assert set(proposed) == expected


def test_memory_does_not_grow_with_the_pairs_that_are_compared(monkeypatch):
    monkeypatch.setattr(hashing, "BLOCK", 2**14)
    monkeypatch.setattr(hashing, "PAIRS", 2**6)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (1500, 8), dtype=np.uint64) & np.uint64(0xFFFFF)
    thumbs = rng.integers(0, 256, (1500, 32, 32), dtype=np.uint8)  # nothing alike
    prints = Fingerprints(hashes, thumbs, np.zeros((1500, 64, 64), np.uint8), np.zeros(1500, bool))
    tracemalloc.start()
    try:
        assert same_pixels(prints, None, NEAR, distance=3) == {}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6  # all pairs of hashes alone: 1500 * 1500 * 8 * 8 B = 144 MB


@pytest.mark.parametrize("organ", ["lung", "heart", "kidney"])
def test_phantoms_of_different_subjects_are_not_near(organ):
    images = [make_phantom(organ, (96, 80), s, k).image for s in range(12) for k in (0, 3, 6)]
    prints = join([fingerprints(image) for image in images])
    assert near_pairs(prints, groups=np.repeat(np.arange(12), 3), limit=ALIKE) == []


# Names and groups.


def test_names_that_differ_by_endings_of_augmentation_are_one_group():
    names = [
        *("img_01", "img_01_1024to512", "img_01_1024to512_ro-20_fliplr", "img_01_aug3"),
        *("b-rot90", "b-rot180", "c_flip", "d_HFLIP", "d", "img_02", "slice_010", "slice_011"),
        *("e_zoom1.5", "e_mirror", "_flip", "f_1", "f_2"),
    ]
    assert augmentation_names(names) == [
        ("b-rot180", "b-rot90"),
        ("d", "d_HFLIP"),
        ("e_mirror", "e_zoom1.5"),
        ("img_01", "img_01_1024to512", "img_01_1024to512_ro-20_fliplr", "img_01_aug3"),
    ]
    assert augmentation_names([]) == []


def test_names_of_real_sets_hold_no_hint(real_data):
    for name, masks in (("covid19_i_ct", "masks"), ("sunnybrook_lv", "masks_endo")):
        cases = find_cases(DataConfig(root=real_data / name, masks=masks)).cases
        assert augmentation_names(case.id for case in cases) == []


def test_groups_are_the_subjects_where_nothing_is_linked():
    subject_of = {"a1": "anna", "a2": "anna", "b": "bert"}
    assert groups_of(subject_of, []) == subject_of
    assert groups_of(subject_of, [("a1", "a2")]) == subject_of


def test_groups_follow_chains_of_links_in_any_order():
    subject_of = {name: name.upper() for name in "abcdef"}
    links = [("f", "e"), ("c", "d"), ("e", "d"), ("a", "b")]
    for _ in range(3):
        links = links[1:] + links[:1]
        assert "".join(groups_of(subject_of, links).values()) == "AACCCC"


# Real sets: D33.


def real_prints(folder, axis="axial", **data):
    cases = find_cases(DataConfig(root=folder, **data)).cases
    prints = [fingerprints(read_case_image(case, axis)[0]) for case in cases]
    return cases, join(prints)


@pytest.mark.real
def test_slice_10_of_covid19_i_is_slice_43_at_another_zoom_and_nothing_else_is_near(real_data):
    cases, prints = real_prints(real_data / "covid19_i_ct", masks="masks")
    (pair,) = near_pairs(prints, limit=ALIKE)
    assert {cases[pair.first].id, cases[pair.second].id} == {"slice_010", "slice_043"}
    assert pair.turn == 0
    assert NEAR < pair.difference < ALIKE


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("kvasir_seg_100", {}),
        ("msd_liver_256", {"subject": r"(vol_\d+)_"}),
        ("sunnybrook_lv", {"subject": "^(.+)-IM-", "masks": "masks_endo"}),
    ],
)
def test_real_subjects_are_not_near_each_other(real_data, name, data):
    cases, prints = real_prints(real_data / name, **data)
    subjects = np.unique([case.subject for case in cases], return_inverse=True)[1]
    assert near_pairs(prints, subjects, ALIKE) == []
    assert not prints.flat.any()


@pytest.mark.real
def test_a_whole_frame_is_found_only_where_not_too_much_was_cut_from_it(real_data):
    """The frames that the authors carry are slices 90 and 34 before they were cut: D33."""
    folder = real_data / "covid19_i_ct"
    frames = [folder / "paper_samples" / "images" / name for name in ("img_01.png", "img_67.png")]
    cuts = [folder / "images" / f"slice_{number:03d}.png" for number in (90, 34)]
    prints = prints_of(*(np.array(Image.open(path).convert("L")) for path in (*frames, *cuts)))
    (pair,) = near_pairs(prints, limit=ALIKE)
    assert (pair.first, pair.second) == (1, 3)
