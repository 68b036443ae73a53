"""Noise that compression left in masks, and labels that must not be taken for it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from crosslinknet.curation.check import check_data
from crosslinknet.curation.noise import find_colour_noise, find_noise, solidity
from tests.curation.conftest import write


def discs(values: tuple[int, ...], size: int = 96) -> np.ndarray:
    """A mask (size, size) of one disc per value, side by side, radius 12."""
    mask = np.zeros((size, size), np.uint8)
    rows, columns = np.mgrid[:size, :size]
    for k, value in enumerate(values):
        y, x = divmod(k, 3)
        mask[(rows - 16 - 30 * y) ** 2 + (columns - 16 - 30 * x) ** 2 < 145] = value
    return mask


def through_jpg(mask: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def counted(values: np.ndarray) -> dict[int, int]:
    numbers, pixels = np.unique(values, return_counts=True)
    return dict(zip(numbers.tolist(), pixels.tolist(), strict=True))


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("values", [(255,), (200,), (128, 255)])
def test_jpg_noise_of_every_quality_is_found(values, quality):
    mask = through_jpg(discs(values), quality)[None]
    noise = find_noise(mask, counted(mask))
    assert noise is not None
    assert noise.values == len(np.unique(mask))
    assert len(noise.peaks) == len(values) + 1
    for peak, value in zip(noise.peaks, (0, *values), strict=True):
        assert abs(peak - value) <= 4


def test_the_best_quality_leaves_few_values_and_two_peaks():
    mask = through_jpg(discs((255,)), 100)[None]
    assert set(counted(mask)) == {0, 1, 254, 255}
    assert find_noise(mask, counted(mask)).threshold == 127


def test_a_set_of_such_masks_is_clean_with_the_cure_that_is_told(clean):
    for k, path in enumerate(sorted((clean / "masks").iterdir())):
        write(path, np.roll(through_jpg(discs((255,))[:64, :80], 100), 9 * k, axis=1))
    (finding,) = check_data(clean).findings
    assert (finding.kind, len(finding.places)) == ("noise", 4)
    assert finding.places[0].detail == "4 values around 0 and 255"
    assert "-s data.threshold=127 (pixels above it are foreground)" in finding.cure
    cured = check_data(clean, ("data.threshold=127",))
    assert cured.findings == []
    assert [label.value for label in cured.labels] == [0, 1]


def test_jpg_masks_in_few_colours_have_no_threshold_either(clean):
    for path in sorted((clean / "masks").iterdir()):
        red = np.zeros((64, 80, 3), np.uint8)
        red[:, 16 * (1 + len(path.stem) % 3) :, 0] = 255
        Image.fromarray(red).save(path.with_suffix(".jpg"), quality=100, subsampling=0)
        path.unlink()
    finding = next(one for one in check_data(clean).findings if one.kind == "noise")
    assert finding.places[0].detail == "JPG"
    assert finding.cure.startswith("no threshold")


@pytest.mark.parametrize(
    "values",
    [(1,), (1, 2, 3), (127, 255), (1, 255), (1, 2, 254, 255), (1, 100, 101), (2, 3, 41, 42, 43)],
)
def test_label_maps_are_no_noise(values):
    mask = discs(values)[None]
    assert set(counted(mask)) == {0, *values}
    assert find_noise(mask, counted(mask)) is None


@given(st.sets(st.integers(1, 255), min_size=3, max_size=9))
def test_areas_are_never_noise_whatever_their_numbers(values):
    mask = discs(tuple(sorted(values)))[None]
    assert find_noise(mask, counted(mask)) is None


def test_32_labels_in_areas_are_no_noise_and_no_grey_picture(clean):
    labels = np.kron(np.arange(32).reshape(4, 8), np.ones((16, 10))).astype(np.uint8)
    for k, path in enumerate(sorted((clean / "masks").iterdir())):
        write(path, np.roll(labels, 10 * k, axis=1))
    assert [finding.kind for finding in check_data(clean).findings] == ["inverted-all"]


@pytest.mark.parametrize("quality", [50, 90, 100])
def test_colours_that_jpg_scattered_are_noise_that_no_threshold_cures(clean, quality):
    for k, path in enumerate(sorted((clean / "masks").iterdir())):
        red = discs((255,))[:64, :80] > 0
        colour = np.stack([np.roll(red, 9 * k, axis=1) * np.uint8(255), red * 0, red * 0], axis=-1)
        write(path, through_jpg(colour.astype(np.uint8), quality))
    check = check_data(clean)
    (finding,) = (one for one in check.findings if one.severity == "error")
    assert finding.kind == "noise"
    assert len(finding.places) == 4
    assert "values around #000000" in finding.places[0].detail
    assert finding.cure.startswith("no threshold tells these values apart: save the masks anew")
    assert "many-values" not in {one.kind for one in check.findings}


def test_many_colours_in_areas_are_labels():
    shades = np.arange(1, 31).reshape(5, 6) * 0x010204
    values = np.kron(shades, np.ones((8, 8), int))[None]
    assert find_colour_noise(values, counted(values)) is None
    assert find_colour_noise(values[:, :8, :16], counted(values[:, :8, :16])) is None


def test_a_photograph_is_no_noise_around_colours():
    pixels = np.random.default_rng(0).integers(0, 2**24, (1, 64, 64))
    assert find_colour_noise(pixels, counted(pixels)) is None


def test_solidity_counts_pixels_whose_four_neighbours_are_equal():
    mask = np.zeros((2, 7, 7), int)
    mask[0, 1:5, 1:6] = 3  # 4 x 5, of which 2 x 3 lie inside
    mask[1, 3, :] = 4  # a line
    assert solidity(mask, [3]) == 6 / 20
    assert solidity(mask, [4]) == 0
    assert solidity(mask, [3, 4]) == 6 / 27
    assert solidity(mask, [9]) == 0


@given(st.integers(0, 2**16))
def test_solidity_is_what_erosion_leaves_of_one_value(seed):
    mask = (np.random.default_rng(seed).random((1, 9, 11)) < 0.8).astype(int)
    cross = ndimage.generate_binary_structure(2, 1)
    inside = ndimage.binary_erosion(mask[0], cross, border_value=1).sum()
    assert solidity(mask, [1]) == inside / mask.sum()
