"""Copies that were rotated, zoomed, cut, shifted, or given another curve of grey values."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.duplicates import ALIKE, NEAR, fingerprints, join, near_pairs, spectra, turned
from crosslinknet.duplicates import registration as laying
from crosslinknet.readers import read_case_image


def scene(seed, size=(96, 80)):
    """A made-up slice of shapes of two sizes, uint8."""
    rng = np.random.default_rng(seed)
    fine, coarse = (gaussian_filter(rng.normal(size=size), sigma) * sigma for sigma in (3, 8))
    return np.clip(128 + 120 * fine + 90 * coarse, 0, 255).astype(np.uint8)


def mapped(image, angle=0.0, zoom=1.0, shift=(0.0, 0.0)):
    """Rotated and zoomed about the middle, then shifted by shares of its size; black comes in."""
    middle = (np.array(image.shape) - 1) / 2
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    back = np.array([[cosine, sine], [-sine, cosine]]) / zoom
    place = middle - back @ (middle + np.array(shift) * image.shape)
    return affine_transform(image, back, place, order=1)


def curve(image, gamma):
    return np.rint(255 * (image / 255) ** gamma).astype(np.uint8)


def equalised(image):
    shares = np.cumsum(np.bincount(image.ravel(), minlength=256)) / image.size
    return np.rint(255 * shares).astype(np.uint8)[image]


def prints_of(*images):
    return join([fingerprints(np.asarray(image)[None, None]) for image in images])


# Kinds of change.

CHANGES = {
    "gamma 0.5": lambda image: curve(image, 0.5),
    "gamma 2": lambda image: curve(image, 2),
    "equalised": equalised,
    "inverted": lambda image: 255 - image,
    "window": lambda image: np.clip(image * 1.6 - 60, 0, 255).astype(np.uint8),
    "two degrees": lambda image: mapped(image, 2),
    "thirty degrees": lambda image: mapped(image, -30),
    "smaller": lambda image: mapped(image, zoom=0.8),
    "larger": lambda image: mapped(image, zoom=1.25),
    "cut": lambda image: image[5:-5, 4:-4],
    "cut at one side": lambda image: image[:, 8:],
    "shifted": lambda image: mapped(image, shift=(0.1, -0.1)),
    "rolled": lambda image: np.roll(image, 6, axis=1),
    "all of it": lambda image: curve(mapped(image, 12, 1.1, (-0.04, 0.05)), 1.5),
    "all, inverted": lambda image: 255 - curve(mapped(image, -20, 0.9, (0.03, 0.05)), 0.7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others_in_every_position(change):
    images = [scene(seed) for seed in range(12)]
    copies = [turned(CHANGES[change](images[seed]), seed % 8) for seed in range(8)]
    pairs = near_pairs(prints_of(*images, *copies), limit=ALIKE)
    assert [(pair.first, pair.second, pair.turn) for pair in pairs] == [
        (seed, 12 + seed, seed) for seed in range(8)
    ]
    assert all(0 <= pair.difference <= ALIKE for pair in pairs)


@pytest.mark.parametrize("turn", range(8))
def test_the_turn_leads_from_the_first_to_the_second_whoever_asked(turn):
    image = scene(3)
    other = 255 - turned(image, turn)
    back = {5: 6, 6: 5}.get(turn, turn)
    for pair, expected in (((image, other), turn), ((other, image), back)):
        (found,) = near_pairs(prints_of(*pair), limit=ALIKE)
        assert found.turn == expected


def test_of_three_hundred_strangers_none_are_near():
    prints = prints_of(*(scene(seed, (64, 64)) for seed in range(300)))
    assert near_pairs(prints, limit=ALIKE) == []


def test_copies_of_one_group_are_not_compared():
    image = scene(0)
    prints = prints_of(image, mapped(image, 10), mapped(image, -10), scene(1))
    pairs = near_pairs(prints, np.array([0, 0, 1, 2]), ALIKE)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 2), (1, 2)]


def test_a_neighbour_that_lies_in_the_same_place_is_not_the_same_slice():
    """Within a subject the limit is NEAR: a rotated copy is closer, a slightly other slice not."""
    image = scene(0)
    rough = np.random.default_rng(1).normal(size=image.shape)
    neighbour = np.clip(image + 25 * gaussian_filter(rough, 3), 0, 255).astype(np.uint8)
    prints = prints_of(image, mapped(image, 10), neighbour)
    by_pair = {(p.first, p.second): p.difference for p in near_pairs(prints, limit=1.0)}
    assert by_pair[0, 1] < NEAR < by_pair[0, 2] < ALIKE


def test_a_copy_that_is_known_already_is_not_looked_at_again():
    image = scene(0)
    ranks = prints_of(image, image, mapped(image, 9)).ranks
    found = list(laying.laid_pairs(ranks, None, {(0, 1)}))
    pairs = {(a, b) for laid in found for a, b in zip(laid.first, laid.second, strict=True)}
    assert pairs == {(0, 2), (1, 2)}


def test_flat_slices_are_left_out():
    dot = np.zeros((64, 64))
    dot[30:36, 30:36] = 200
    prints = prints_of(dot, mapped(dot, 10), mapped(dot, shift=(0.1, 0)))
    assert prints.flat.all()
    assert near_pairs(prints, limit=ALIKE) == []


# Candidates.


def ranks_of(*images):
    return prints_of(*images).ranks


def test_views_are_parts_of_a_slice():
    image = ranks_of(scene(0))
    assert spectra.VIEWS[4].tolist() == [1, -4, 4]
    moved, plain = spectra.details(image, 4)[0], spectra.details(image)[0]
    np.testing.assert_allclose(moved[20:50, 20:44], plain[16:46, 24:48], atol=1e-3)
    ramp = np.tile(np.arange(64), (1, 64, 1))
    lines = spectra._rows(2, 1e-3)[1]  # zoom 0.8 about 31.5, not blurred
    np.testing.assert_allclose(lines @ ramp[0, 0], (np.arange(64) - 31.5) * 0.8 + 31.5, rtol=1e-5)


def test_details_are_what_two_blurs_leave_between_them():
    image = ranks_of(scene(0))
    by_scipy = [gaussian_filter(image[0] / 255, s, truncate=8) for s in (0.8, 5)]
    expected = by_scipy[0] - by_scipy[1]
    middle = slice(24, 40)  # where no border matters
    np.testing.assert_allclose(
        spectra.details(image)[0][middle, middle], expected[middle, middle], atol=2e-3
    )


@pytest.mark.parametrize("turn", range(8))
def test_a_description_does_not_change_with_turns_or_signs(turn):
    images = spectra.details(ranks_of(scene(0, (64, 64)), scene(1, (64, 64))))
    plain = spectra._description(images)
    other = spectra._description(-np.ascontiguousarray(turned(images, turn)))
    assert np.abs(plain - other).max() < 0.02
    assert np.abs(plain[0] - plain[1]).max() > 0.2


def test_each_slice_asks_for_its_nearest_and_none_of_its_group(monkeypatch):
    monkeypatch.setattr(spectra, "NEAREST", 3)
    monkeypatch.setattr(spectra, "FEWEST", 3)
    monkeypatch.setattr(spectra, "BLOCK", 7)
    ranks = ranks_of(*(scene(seed, (64, 64)) for seed in range(20)))
    groups = np.arange(20) // 4
    asking, asked, view = spectra.candidates(ranks, groups)
    pairs = list(zip(asking.tolist(), asked.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) == 20 * 3
    assert all(groups[one] != groups[other] for one, other in pairs)
    assert np.bincount(asking, minlength=20).tolist() == [3] * 20
    images = [spectra._descriptions(ranks)[:, place] for place in range(20)]
    for one in range(20):
        apart = [
            np.inf
            if groups[one] == groups[other]
            else min(((v - images[other][0]) ** 2).sum() for v in images[one])
            for other in range(20)
        ]
        assert set(asked[asking == one]) == set(np.argsort(apart)[:3])
    assert set(view) <= set(range(len(spectra.VIEWS)))


def test_the_nearest_of_a_few_are_all_of_them():
    ranks = ranks_of(*(scene(seed) for seed in range(5)))
    asking, _, _ = spectra.candidates(ranks, None)
    assert len(asking) == 5 * 4
    assert all(len(part) == 0 for part in spectra.candidates(ranks[:1], None))
    assert all(len(part) == 0 for part in spectra.candidates(ranks, np.zeros(5, int)))


# Registration.


@pytest.mark.parametrize(
    ("angle", "zoom", "shift"),
    [(0, 1, (0, 0)), (12, 1.1, (3, -2)), (-25, 0.92, (-1, 4)), (160, 1, (0, 2))],
)
def test_a_known_map_comes_back_to_a_third_of_a_pixel(angle, zoom, shift):
    still = spectra.details(ranks_of(scene(2, (64, 64))))
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    maps = zoom * np.array([[[cosine, sine], [-sine, cosine]]], np.float32)
    (moving,), _ = laying._sampled([still], maps, np.array([shift], np.float32))
    pair, found, places, likeness = laying.register(-moving, still)
    assert pair.tolist() == [0]
    assert np.linalg.norm(found[0] - maps[0], 2) * spectra.RADIUS < 0.33
    np.testing.assert_allclose(places[0], shift, atol=0.33)
    assert likeness[0] > 0.98


def test_what_no_curve_explains_by_hand():
    x, y = np.array([0, 0, 255, 255], np.uint8), np.array([0, 2, 4, 6], np.uint8)
    # means 1 and 5 leave 4 of 20; from y to x all four fall into one step and leave everything
    assert laying._unexplained(x, y) == pytest.approx(np.sqrt(0.2))
    assert laying._unexplained(y, x) == pytest.approx(np.sqrt(0.2))
    assert laying._unexplained(x, 255 - x) == 0
    assert laying._unexplained(x, np.array([0, 255, 0, 255], np.uint8)) == 1


# Real sets: D33.


def real_slices(folder, **data):
    cases = find_cases(DataConfig(root=folder, **data)).cases
    slices = [read_case_image(case, "axial")[0][0].mean(axis=0) for case in cases]
    return [np.rint(one).astype(np.uint8) for one in slices]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("covid19_i_ct", {"masks": "masks"}),
        ("isbi2012_em", {}),
        ("kits19_slices", {}),
        ("kvasir_seg_100", {}),
        ("msd_liver_256", {}),
        ("sunnybrook_lv", {"masks": "masks_endo"}),
    ],
)
def test_changed_copies_of_real_slices_are_found(real_data, name, data):
    slices = real_slices(real_data / name, **data)
    slices = slices[:: max(1, len(slices) // 30)][:30]
    changes = [name for name in CHANGES if name not in ("gamma 2", "window", "smaller", "rolled")]
    kinds = [changes[place % len(changes)] for place in range(len(slices))]
    copies = [CHANGES[kind](image) for kind, image in zip(kinds, slices, strict=True)]
    pairs = near_pairs(prints_of(*slices, *copies), limit=ALIKE)
    own = sum(pair.second == pair.first + len(slices) for pair in pairs)
    assert own >= 0.9 * len(slices)


@pytest.mark.real
def test_a_picture_program_rotates_what_is_found(real_data):
    """Against another interpolation than the one of these tests."""
    path = real_data / "covid19_i_ct" / "images" / "slice_010.png"
    picture = Image.open(path).convert("L")
    other = picture.rotate(8, Image.Resampling.BICUBIC, fillcolor=255)
    (pair,) = near_pairs(prints_of(np.array(picture), np.array(other)), limit=ALIKE)
    assert pair.difference < NEAR


def test_slices_of_few_pixels_are_not_laid_upon_each_other_by_chance():
    rng = np.random.default_rng(0)
    for size in ((4, 5), (12, 10), (23, 60)):
        noise = rng.integers(0, 256, (30, 1, *size), dtype=np.uint8)
        assert near_pairs(fingerprints(noise), limit=ALIKE) == []
