"""Values and grids, by hand, and against other programs' resampling."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to

from crosslinknet.curation.mend import map_values, resample_nearest
from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid


def grid(shape, affine):
    affine = np.asarray(affine, dtype=float)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return Grid(shape, tuple(sizes.tolist()), affine)


def test_values_are_mapped_all_at_once_and_others_stay():
    values = np.array([[[0, 1, 2, 7]]], np.int16)
    swapped = map_values(values, {1: 2, 2: 1}, False, "m.png")
    assert swapped.tolist() == [[[0, 2, 1, 7]]]
    assert swapped.dtype == np.uint8
    assert map_values(values, {7: 300}, False, "m.png").dtype == np.uint16
    assert map_values(np.array([-1, 4]), {-1: 0}, False, "m.png").tolist() == [0, 4]


def test_values_that_no_mask_holds_are_refused():
    with pytest.raises(DataError, match=r"m\.nii holds the values -1; masks hold 0 to 65535.*-1=0"):
        map_values(np.array([-1, 4]), {4: 1}, False, "m.nii")


def test_every_colour_must_be_named():
    colours = np.array([0, 0xFF0000, 0x0000FF])
    mapped = map_values(colours, {0xFF0000: 1, 0x0000FF: 2}, True, "m.png")
    assert mapped.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"m\.png holds the colours #0000ff, of which --labels"):
        map_values(colours, {0xFF0000: 1}, True, "m.png")


def test_half_the_spacing_gives_every_voxel_twice():
    values = np.arange(1, 4, dtype=np.uint8).reshape(1, 1, 3)
    onto = grid((1, 1, 6), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    result, facts = resample_nearest(values, grid((1, 1, 3), np.eye(4)), onto, "m.nii")
    assert result.ravel().tolist() == [1, 1, 2, 2, 3, 3]
    assert facts["ml_before"] == pytest.approx(0.003)
    assert facts["ml_after"] == pytest.approx(0.003)
    assert facts["centres_mm"] == pytest.approx(0)
    assert facts["outside"] == 0


def test_labels_outside_the_image_are_counted():
    shifted = np.eye(4)
    shifted[2, 3] = 2
    values = np.ones((1, 1, 4), np.uint8)
    result, facts = resample_nearest(
        values, grid((1, 1, 4), np.eye(4)), grid((1, 1, 4), shifted), "m.nii"
    )
    assert result.ravel().tolist() == [1, 1, 0, 0]
    assert facts["outside"] == 0.5
    assert facts["centres_mm"] == 2


def test_grids_that_do_not_overlap_are_refused_with_the_space_they_fill():
    far = np.eye(4)
    far[0, 3] = 100
    said = r"m\.nii covers x -0\.5 to 1\.5 mm, .*its image x 99\.5 to 101\.5 mm.*--copy-header"
    with pytest.raises(DataError, match=said):
        resample_nearest(
            np.ones((2, 2, 2)).astype(np.uint8), grid((2, 2, 2), np.eye(4)),
            grid((2, 2, 2), far), "m.nii",
        )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_resampling_agrees_with_nibabel(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, rng.integers(2, 7, 3)).astype(np.uint8)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one, other = np.eye(4), np.eye(4)
    one[:3, :3] = turn * rng.uniform(0.5, 3, 3)
    other[:3, :3] = turn[:, rng.permutation(3)] * rng.uniform(0.5, 3, 3)
    other[:3, 3] = rng.uniform(-1, 1, 3)
    shape = tuple(rng.integers(2, 7, 3).tolist())
    expected = resample_from_to(
        nib.Nifti1Image(values, one), (shape, other), order=0, mode="constant"
    )
    try:
        result, _ = resample_nearest(values, grid(values.shape, one), grid(shape, other), "m")
    except DataError:
        assert not np.asarray(expected.dataobj).any()
        return
    wanted = np.asarray(expected.dataobj)
    index = np.indices(shape).reshape(3, -1)
    back = (np.linalg.inv(one) @ other)[:3] @ np.vstack([index, np.ones(index.shape[1])])
    limits = np.array(values.shape)[:, None]
    clear = ((back > 0) & (back < limits - 1)).all(axis=0)  # nibabel cuts half a voxel of the rim
    rim = result.ravel()[~clear]
    np.testing.assert_array_equal(result.ravel()[clear], wanted.ravel()[clear])
    assert set(rim.tolist()) <= {0, *np.unique(values).tolist()}
