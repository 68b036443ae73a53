import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslinknet.case import Case
from crosslinknet.config import ImageConfig
from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid, place
from crosslinknet.preprocess import fit_image, fit_mask, normalise, unfit

FITS = ["resize", "letterbox", "pad", "crop"]


def case(image):
    image = np.asarray(image)
    d, _, h, w = image.shape
    return Case("anna", "anna", image, None, Grid((d, h, w)))


def values(image, **config):
    return normalise(case(image), ImageConfig(**config)).image


@pytest.mark.parametrize(
    ("kind", "numbers", "expected"),
    [(np.uint8, [0, 51, 255], [0, 0.2, 1]), (np.uint16, [0, 13107, 65535], [0, 0.2, 1])],
)
def test_window_dtype_maps_the_range_of_the_pictures_bits(kind, numbers, expected):
    scaled = values(np.array([[[numbers]]], dtype=kind))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_window_dtype_has_no_meaning_for_other_numbers(kind):
    with pytest.raises(DataError, match=r"anna: image\.window 'dtype'.*from -5 to 7"):
        values(np.array([[[[-5, 7]]]], dtype=kind))


def test_the_lung_window_is_minus_1250_to_250():
    hu = np.array([[[[-2000, -1250, -500, 250, 3000]]]], dtype=np.int16)
    np.testing.assert_allclose(values(hu, window="lung")[0, 0, 0], [0, 0, 0.5, 1, 1], atol=1e-6)


def test_the_kidney_window_is_minus_160_to_240():
    hu = np.array([[[[-161, 40, 240]]]], dtype=np.int16)
    np.testing.assert_allclose(values(hu, window="kidney")[0, 0, 0], [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_window_in_hu_on_numbers_without_a_sign_is_refused(dtype):
    with pytest.raises(DataError, match=f"'lung' is in HU, .* the image is {np.dtype(dtype)}"):
        values(np.zeros((1, 1, 2, 2), dtype), window="lung")


def test_a_stated_window_applies_to_any_numbers():
    image = np.array([[[[0, 50, 75, 100, 255]]]], dtype=np.uint8)
    scaled = values(image, window=(50, 100))
    np.testing.assert_allclose(scaled[0, 0, 0], [0, 0, 0.5, 1, 1], atol=1e-6)


def test_minmax_looks_at_each_channel_of_the_whole_volume():
    image = np.zeros((2, 2, 1, 2), dtype=np.float32)
    image[:, 0, 0], image[:, 1, 0] = [[0, 1], [2, 4]], [[-100, 0], [100, 100]]
    scaled = values(image, window="minmax", channels=2)
    np.testing.assert_allclose(scaled[:, 0, 0], [[0, 0.25], [0.5, 1]])
    np.testing.assert_allclose(scaled[:, 1, 0], [[0, 0.5], [1, 1]])


def test_percentile_is_not_moved_by_a_few_bright_pixels():
    image = np.linspace(0, 1000, 1001, dtype=np.float32).reshape(1, 1, 7, 143)
    image[0, 0, -1, -1] = 1e6
    scaled = values(image, window="percentile")
    low, high = np.percentile(image, [0.5, 99.5])
    np.testing.assert_allclose(scaled, np.clip((image - low) / (high - low), 0, 1), atol=1e-5)
    assert high < 1000


@pytest.mark.parametrize("window", ["minmax", "percentile"])
def test_a_constant_image_becomes_zero_not_nan(window):
    assert (values(np.full((1, 1, 4, 4), 7, np.int16), window=window) == 0).all()


@given(
    st.sampled_from([np.uint8, np.int16, np.float32]),
    st.sampled_from(["minmax", "percentile", (-10.0, 60.0)]),
    st.integers(0, 99),
)
def test_every_window_gives_numbers_between_0_and_1(kind, window, seed):
    image = np.random.default_rng(seed).normal(20, 60, (2, 1, 5, 6)).clip(0).astype(kind)
    scaled = values(image, window=window)
    assert scaled.dtype == np.float32
    assert scaled.min() >= 0
    assert scaled.max() <= 1


def test_the_case_that_was_read_is_not_changed():
    image = np.full((1, 1, 2, 2), 0.5, np.float32)
    normalise(case(image), ImageConfig(window=(0, 2)))
    assert (image == 0.5).all()


def test_colour_for_a_grey_network_is_refused_with_the_cure():
    image = np.zeros((1, 3, 2, 2), np.uint8)
    image[0, 0] = 9
    with pytest.raises(DataError, match=r"anna: the image is in colour.*image\.channels: 3"):
        values(image)


def test_grey_stored_as_colour_is_grey():
    assert values(np.full((1, 3, 2, 2), 255, np.uint8)).shape == (1, 1, 2, 2)


def test_grey_for_a_colour_network_is_repeated():
    scaled = values(np.array([[[[0, 255]]]], dtype=np.uint8), channels=3)
    assert scaled[0, :, 0].tolist() == [[0, 1]] * 3


@pytest.mark.parametrize(("found", "wanted"), [(2, 1), (1, 2), (3, 2), (2, 3)])
def test_other_numbers_of_channels_are_refused(found, wanted):
    image = np.arange(found, dtype=np.uint8).reshape(1, found, 1, 1)
    with pytest.raises(DataError, match=f"{found} in the image, {wanted} in image.channels"):
        values(image, channels=wanted)


def test_padding_is_zero_and_pixels_keep_their_values():
    image = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    fitted = fit_image(image, place((2, 2), (4, 3), "pad"))
    assert fitted[0, 0].tolist() == [[0, 0, 0], [1, 2, 0], [3, 4, 0], [0, 0, 0]]


def test_shrinking_averages_instead_of_dropping_pixels():
    stripes = np.tile(np.array([0, 1], np.float32), 32)[None].repeat(64, axis=0)
    fitted = fit_image(stripes[None, None], place((64, 64), (32, 32), "resize"))
    np.testing.assert_allclose(fitted[0, 0, :, 1:-1], 0.5, atol=1e-6)


def test_a_ramp_stays_a_ramp_with_pixel_edges_in_place():
    ramp = np.arange(16, dtype=np.float32)[None].repeat(16, axis=0)
    fitted = fit_image(ramp[None, None], place((16, 16), (32, 32), "resize"))
    centres = (np.arange(32) + 0.5) / 2 - 0.5  # where the new pixels lie on the old ones
    np.testing.assert_allclose(fitted[0, 0, 0, 2:-2], centres[2:-2], atol=1e-5)


def test_a_mask_takes_the_nearest_pixel_and_no_new_values():
    codes = np.array([[[1, 7], [0, 3]]], dtype=np.uint8)
    fitted = fit_mask(codes, place((2, 2), (4, 4), "resize"))
    assert fitted.dtype == np.uint8
    np.testing.assert_array_equal(fitted[0], codes[0].repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("source", [(40, 50), (33, 64), (64, 64), (1, 7)])
def test_image_and_mask_are_fitted_to_the_same_place(source, fit):
    mask = np.zeros((2, *source), dtype=np.uint8)
    mask[:, source[0] // 4 : source[0] // 2 + 1, source[1] // 3 :] = 1
    placement = place(source, (64, 64), fit)
    image = fit_image(mask[:, None].astype(np.float32), placement)
    codes = fit_mask(mask, placement)
    assert image.shape == (2, 1, 64, 64)
    assert codes.shape == (2, 64, 64)
    assert (np.abs(image[:, 0] - codes) <= 0.5 + 1e-3).mean() > 0.99


@pytest.mark.parametrize("fit", FITS)
def test_the_way_back_is_the_identity_without_scaling(fit):
    maps = np.random.default_rng(0).random((3, 2, 48, 40), dtype=np.float32)
    placement = place((48, 40), (48, 40), fit)
    np.testing.assert_array_equal(unfit(maps, placement, -9.0), maps)


def test_pixels_that_the_input_did_not_show_get_the_fill():
    placement = place((4, 6), (2, 8), "crop")
    maps = np.ones((1, 1, 2, 8), dtype=np.float32)
    expected = np.full((4, 6), -5.0)
    expected[1:3] = 1
    np.testing.assert_array_equal(unfit(maps, placement, -5.0)[0, 0], expected)


def test_padding_does_not_bleed_into_the_way_back():
    placement = place((20, 40), (32, 32), "letterbox")  # scaled to 16x32
    maps = np.full((1, 1, 32, 32), 99.0, dtype=np.float32)
    maps[..., 8:24, :] = 1.0
    np.testing.assert_allclose(unfit(maps, placement, 0.0), 1.0, atol=1e-6)


@given(st.integers(8, 80), st.integers(8, 80), st.sampled_from(["resize", "letterbox"]))
def test_a_smooth_map_survives_there_and_back(height, width, fit):
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    smooth = (rows / height + columns / width)[None, None]
    placement = place((height, width), (128, 128), fit)
    back = unfit(fit_image(smooth, placement), placement, np.nan)
    assert back.shape == smooth.shape
    inner = (..., slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(back[inner], smooth[inner], atol=0.05)
