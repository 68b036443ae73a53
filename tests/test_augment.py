import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from crosslinknet.augment import AUGMENTATIONS, Change, apply, augment
from crosslinknet.config import AugmentConfig
from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.phantoms import make_phantom

PRESETS = sorted(AUGMENTATIONS)
SIZE = (96, 128)


def heart(size=SIZE):
    """A heart in [0, 1] with its mask: (1, H, W), (H, W)."""
    case = make_phantom("heart", size, subject=2, slice_index=0)
    return np.clip(case.image[0] / 1000, 0, 1).astype(np.float32), case.mask[0]


def draw(preset, number, size=SIZE, codes=None, probability=1.0):
    codes = np.zeros(size, np.uint8) if codes is None else codes
    rng = np.random.default_rng((0, number))
    return AUGMENTATIONS[preset](rng, size, codes, probability)


def linear_part(change):
    a, b, _, d, e, _ = change.source
    return np.array([[a, b], [d, e]])


def test_the_presets_are_those_of_the_config():
    choices = get_args(AugmentConfig.model_fields["preset"].annotation)
    assert set(AUGMENTATIONS) == set(choices)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_seed_decides_everything_and_the_inputs_stay_as_they_are(preset):
    image, codes = heart()
    before = image.copy(), codes.copy()
    first = augment(image, codes, preset, 0.5, seed=(3, 1, 4))
    augment(image, codes, preset, 0.5, seed=(3, 1, 5))  # other draws in between
    second = augment(image, codes, preset, 0.5, seed=(3, 1, 4))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(codes, before[1])
    assert not np.shares_memory(first[0], image)
    assert not np.shares_memory(first[1], codes)


@pytest.mark.parametrize("preset", ["light", "covid-paper", "cardiac-paper"])
def test_seeds_differ_in_what_they_draw(preset):
    changes = {draw(preset, number) for number in range(40)}
    assert len(changes) >= (3 if preset == "cardiac-paper" else 40)


@pytest.mark.parametrize("preset", PRESETS)
@settings(deadline=None, max_examples=50)
@given(number=st.integers(0, 10**6), probability=st.sampled_from([0.0, 0.5, 1.0]))
def test_shapes_dtypes_range_and_codes_survive(preset, number, probability):
    rng = np.random.default_rng(number)
    image = rng.random((2, 20, 33), np.float32)
    codes = rng.integers(0, 3, (20, 33)).astype(np.uint8)
    new_image, new_codes = augment(image, codes, preset, probability, seed=(number,))
    assert (new_image.shape, new_image.dtype) == (image.shape, np.float32)
    assert (new_codes.shape, new_codes.dtype) == (codes.shape, np.uint8)
    assert new_image.min() >= 0
    assert new_image.max() <= 1
    assert set(np.unique(new_codes)) <= {0, 1, 2}


@pytest.mark.parametrize("preset", ["none", "light", "covid-paper"])
def test_probability_zero_changes_nothing(preset):
    image, codes = heart()
    new_image, new_codes = augment(image, codes, preset, 0.0, seed=(1,))
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_codes, codes)


def test_a_quarter_turn_is_anticlockwise_and_exact():
    image = np.arange(25, dtype=np.float32).reshape(1, 5, 5) / 25
    codes = np.arange(25, dtype=np.uint8).reshape(5, 5)
    change = Change(source=(0.0, 1.0, 0.0, -1.0, 0.0, 5.0))  # result (y, x) shows (x, 5 - y)
    new_image, new_codes = apply(change, image, codes)
    np.testing.assert_array_equal(new_codes, np.rot90(codes))
    np.testing.assert_array_equal(new_image[0], np.rot90(image[0]))


def test_positive_angles_turn_anticlockwise():
    turned = [c for c in (draw("cardiac-paper", n) for n in range(20)) if c.source[1] > 0]
    codes = np.zeros(SIZE, np.uint8)
    codes[48, 110] = 1  # right of the middle
    _, moved = apply(turned[0], codes[None].astype(np.float32), codes)
    assert np.argwhere(moved)[0][0] < 48  # went up


def test_a_mirrored_slice_is_the_slice_read_backwards():
    image, codes = heart()
    change = Change(source=(1.0, 0.0, 0.0, 0.0, -1.0, 128.0))
    new_image, new_codes = apply(change, image, codes)
    np.testing.assert_array_equal(new_image, image[..., ::-1])
    np.testing.assert_array_equal(new_codes, codes[..., ::-1])


def test_twice_the_size_shows_every_pixel_four_times():
    codes = np.arange(16, dtype=np.uint8).reshape(4, 4)
    change = Change(source=(0.5, 0.0, 1.0, 0.0, 0.5, 1.0))  # the middle 2 x 2
    _, enlarged = apply(change, codes[None].astype(np.float32), codes)
    np.testing.assert_array_equal(enlarged, codes[1:3, 1:3].repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("number", range(5))
def test_resampling_agrees_with_scipy_away_from_the_border(number):
    image, codes = heart()
    change = draw("covid-paper", number)
    new_image, new_codes = apply(change, image, codes)
    matrix = linear_part(change)
    offset = np.array(change.source)[[2, 5]] + matrix @ (0.5, 0.5) - 0.5  # centres, not edges
    inside = ndimage.affine_transform(np.ones(SIZE), matrix, offset, order=1) > 0.999
    want = ndimage.affine_transform(image[0], matrix, offset, order=1)
    np.testing.assert_allclose(new_image[0][inside], want[inside], atol=1e-3)
    nearest = ndimage.affine_transform(codes, matrix, offset, order=0)
    assert (new_codes != nearest)[inside].mean() < 1e-3  # ties only


@pytest.mark.parametrize("preset", ["light", "covid-paper", "cardiac-paper"])
@pytest.mark.parametrize("number", range(8))
def test_image_and_mask_stay_aligned_to_the_half_pixel(preset, number):
    _, codes = heart()
    image = (codes > 0).astype(np.float32)[None]
    change = Change(source=draw(preset, number, codes=codes).source)
    new_image, new_codes = apply(change, image, codes)
    bright, labelled = new_image[0] > 0.5, new_codes > 0
    assert labelled.any()
    rim = ndimage.binary_dilation(labelled) & ~ndimage.binary_erosion(labelled)
    assert not (bright ^ labelled)[~rim].any()


@pytest.mark.parametrize("preset", ["light", "covid-paper", "cardiac-paper"])
def test_the_mask_does_not_drift_against_the_image(preset):
    _, codes = heart()
    image = (codes > 0).astype(np.float32)[None]
    apart = []
    for number in range(60):
        change = Change(source=draw(preset, number, codes=codes).source)
        new_image, new_codes = apply(change, image, codes)
        middles = (ndimage.center_of_mass(array) for array in (new_image[0], new_codes > 0))
        apart.append(np.subtract(*middles))
    assert np.abs(apart).max() < 0.5
    assert np.abs(np.mean(apart, axis=0)).max() < 0.05


def test_what_lies_outside_is_zero_even_when_the_slice_gets_brighter():
    image, codes = np.ones((1, 40, 40), np.float32), np.ones((40, 40), np.uint8)
    change = Change(source=(2.0, 0.0, -20.0, 0.0, 2.0, -20.0), brightness=0.1, gamma=0.8)
    new_image, new_codes = apply(change, image, codes)
    frame = np.pad(np.ones((20, 20)), 10)
    np.testing.assert_array_equal(new_image[0], frame)
    np.testing.assert_array_equal(new_codes, frame)


def test_covid_paper_draws_from_the_ranges_of_the_paper():
    changes = [linear_part(draw("covid-paper", number)) for number in range(500)]
    zooms = np.array([abs(np.linalg.det(m)) ** -0.5 for m in changes])
    flips = np.array([np.linalg.det(m) < 0 for m in changes])
    # a mirrored turn keeps its angle in the first row: (cos, sin) / zoom
    angles = np.array([math.degrees(math.atan2(m[0, 1], m[0, 0])) for m in changes])
    assert flips.all()  # probability 1
    assert zooms.min() < 0.55
    assert zooms.max() > 1.7
    assert 0.5 <= zooms.min() <= zooms.max() <= 1.75
    assert -30 <= angles.min() < -28
    assert 28 < angles.max() <= 30


def test_each_kind_of_change_happens_with_its_probability():
    changes = [linear_part(draw("covid-paper", n, probability=0.3)) for n in range(1000)]
    zoomed = [abs(abs(np.linalg.det(m)) - 1) > 1e-9 for m in changes]
    flipped = [np.linalg.det(m) < 0 for m in changes]
    turned = [abs(m[0, 1]) > 1e-9 for m in changes]
    for happened in (zoomed, flipped, turned):
        assert np.mean(happened) == pytest.approx(0.3, abs=0.05)


@settings(deadline=None, max_examples=50)
@given(number=st.integers(0, 10**6))
def test_an_enlarged_slice_shows_nothing_from_outside(number):
    rng = np.random.default_rng(number)
    codes = np.zeros(SIZE, np.uint8)
    codes[rng.integers(96), rng.integers(128)] = 1
    change = AUGMENTATIONS["cardiac-paper"](rng, SIZE, codes, 1.0)
    if change.source[0] == 0.5:
        corners = np.array([(0, 0), SIZE]) * 0.5 + np.array(change.source)[[2, 5]]
        assert (corners >= 0).all()
        assert (corners <= SIZE).all()


def test_cardiac_paper_draws_four_views_equally_often():
    codes = np.zeros(SIZE, np.uint8)
    codes[40:50, 60:70] = 1
    counts = {"original": 0, "enlarged": 0, "left": 0, "right": 0}
    for number in range(400):
        a, b, *_ = draw("cardiac-paper", number, codes=codes, probability=0.0).source
        if b == 0:
            counts["original" if a == 1 else "enlarged"] += 1
        else:
            assert abs(b) == pytest.approx(math.sin(math.radians(8)))
            counts["left" if b > 0 else "right"] += 1
    assert min(counts.values()) > 70


def test_the_enlarged_view_holds_the_label_within_its_jitter():
    codes = np.zeros((256, 256), np.uint8)
    codes[100:121, 140:161] = 1  # middle at (110.5, 150.5)
    middles = []
    for number in range(200):
        change = draw("cardiac-paper", number, (256, 256), codes)
        if change.source[0] == 0.5:
            middles.append((np.array(change.source)[[2, 5]] + 64) - (110.5, 150.5))
            _, view = apply(change, codes[None].astype(np.float32), codes)
            assert view.sum() == 4 * codes.sum()
    jitter = 2 * np.array(middles)  # in pixels of the enlarged slice
    assert 25 < np.abs(jitter).max() <= 32


def test_without_labels_the_enlarged_view_is_of_the_middle():
    views = [draw("cardiac-paper", number, (256, 256)) for number in range(30)]
    corners = [np.array(v.source)[[2, 5]] for v in views if v.source[0] == 0.5]
    assert np.abs(np.array(corners) - 64).max() <= 16


def test_noise_has_the_stated_deviation_and_comes_from_its_seed():
    image, codes = np.full((1, 200, 200), 0.5, np.float32), np.zeros((200, 200), np.uint8)
    noisy, _ = apply(Change(noise=0.02, noise_seed=5), image, codes)
    again, _ = apply(Change(noise=0.02, noise_seed=5), image, codes)
    assert noisy.std() == pytest.approx(0.02, rel=0.05)
    np.testing.assert_array_equal(noisy, again)


def test_gamma_contrast_and_brightness_by_hand():
    image = np.array([[[0.25, 0.5, 0.75]]], np.float32)
    codes = np.zeros((1, 3), np.uint8)
    squared, _ = apply(Change(gamma=2.0), image, codes)
    np.testing.assert_allclose(squared, [[[0.0625, 0.25, 0.5625]]])
    steeper, _ = apply(Change(contrast=2.0), image, codes)
    np.testing.assert_allclose(steeper, [[[0.0, 0.5, 1.0]]], atol=1e-6)
    brighter, _ = apply(Change(brightness=0.375), image, codes)
    np.testing.assert_allclose(brighter, [[[0.625, 0.875, 1.0]]])  # cut at 1


def test_an_unknown_preset_suggests_the_nearest():
    image, codes = heart()
    with pytest.raises(UsageError, match="'covid-paper'"):
        augment(image, codes, "covid_paper", 0.5, seed=(0,))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ShapeError, match=r"\(1, 8, 8\).*\(8, 9\)"):
        augment(np.zeros((1, 8, 8), np.float32), np.zeros((8, 9), np.uint8), "light", 0.5, (0,))
