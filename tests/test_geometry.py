"""geometry: where a slice lies in the network's input, and that both sides agree on it."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslinknet.errors import ShapeError
from crosslinknet.geometry import PLANES, Fit, Placement, overlap, place

sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))
inputs = st.tuples(st.integers(32, 300), st.integers(32, 300))
FITS: tuple[Fit, ...] = ("pad", "crop", "resize", "letterbox")


def test_resize_stretches_to_the_size():
    assert place((10, 40), (32, 64), "resize") == Placement((10, 40), (32, 64), (32, 64), (0, 0))


def test_letterbox_keeps_the_shape_and_centres():
    assert place((100, 50), (64, 64), "letterbox").scaled == (64, 32)
    assert place((100, 50), (64, 64), "letterbox").offset == (0, 16)
    assert place((16, 8), (64, 64), "letterbox").scaled == (64, 32)


def test_pad_keeps_the_scale_and_centres_with_the_odd_pixel_at_the_end():
    assert place((33, 40), (64, 64), "pad") == Placement((33, 40), (64, 64), (33, 40), (15, 12))


def test_pad_never_cuts():
    with pytest.raises(ShapeError) as caught:
        place((65, 40), (64, 64), "pad")
    for part in ("65x40", "64x64", "'pad'", "crop, resize or letterbox"):
        assert part in str(caught.value)


def test_crop_cuts_what_is_larger_and_pads_what_is_smaller():
    placement = place((100, 40), (64, 64), "crop")
    assert placement.offset == (-18, 12)
    source, target = overlap(placement)
    assert source == (slice(18, 82), slice(0, 40))
    assert target == (slice(0, 64), slice(12, 52))


@given(sizes, inputs, st.sampled_from(FITS))
def test_both_windows_show_equally_many_pixels_inside_their_pictures(source, size, fit):
    if fit == "pad" and (source[0] > size[0] or source[1] > size[1]):
        return
    placement = place(source, size, fit)
    there, here = overlap(placement)
    for axis in (0, 1):
        assert there[axis].stop - there[axis].start == here[axis].stop - here[axis].start > 0
        assert 0 <= there[axis].start < there[axis].stop <= placement.scaled[axis]
        assert 0 <= here[axis].start < here[axis].stop <= size[axis]
        assert here[axis].start == there[axis].start + placement.offset[axis]


@given(sizes, inputs)
def test_letterbox_fills_one_side_and_never_leaves_the_input(source, size):
    scaled = place(source, size, "letterbox").scaled
    assert scaled[0] <= size[0]
    assert scaled[1] <= size[1]
    assert scaled[0] == size[0] or scaled[1] == size[1]
    factor = min(size[0] / source[0], size[1] / source[1])
    for new, old in zip(scaled, source, strict=True):
        assert abs(new - old * factor) <= 0.5 or new == 1


@given(sizes, inputs)
def test_crop_of_what_fits_is_pad(source, size):
    if source[0] <= size[0] and source[1] <= size[1]:
        assert place(source, size, "crop") == place(source, size, "pad")


@given(sizes, inputs)
def test_crop_shows_as_many_pixels_as_fit_each_once(source, size):
    picture = np.arange(source[0] * source[1]).reshape(source)
    there, here = overlap(place(source, size, "crop"))
    fitted = np.full(size, -1)
    fitted[here] = picture[there]
    shown = fitted[fitted >= 0]
    assert shown.size == np.unique(shown).size == np.minimum(source, size).prod()


def test_planes_name_three_axes_of_the_patient_each():
    pairs = ("RL", "AP", "SI")
    for codes in PLANES.values():
        assert sorted(next(i for i, pair in enumerate(pairs) if c in pair) for c in codes) == [
            0,
            1,
            2,
        ]
    first = {plane: codes[0] for plane, codes in PLANES.items()}
    assert first == {"axial": "S", "coronal": "P", "sagittal": "L"}


@pytest.mark.parametrize(("fit", "size"), list(product(FITS, [(32, 32), (64, 96)])))
def test_a_slice_of_the_input_size_lies_where_it_is(fit, size):
    placement = place(size, size, fit)
    assert placement == Placement(size, size, size, (0, 0))
