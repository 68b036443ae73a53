import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslinknet.readers.volumes import stored_affine, turn_back, turn_volume

SIGNED = [  # the 48 orders of axes: signed permutation matrices
    np.diag(signs)[:, list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@settings(max_examples=60, deadline=None)
@given(
    which=st.integers(0, 47),
    spacing=st.tuples(*[st.floats(0.3, 9)] * 3),
    angles=st.tuples(*[st.floats(-25, 25)] * 2),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    plane=st.sampled_from(["axial", "coronal", "sagittal", 0, 1, 2]),
    channels=st.sampled_from([(), (2,)]),
)
def test_what_was_turned_turns_back_and_every_voxel_keeps_its_place(
    which, spacing, angles, shape, plane, channels
):
    (c, s), (k, t) = ((np.cos(a), np.sin(a)) for a in np.deg2rad(angles))
    oblique = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, k, -t], [0, t, k]]
    affine = np.eye(4)
    affine[:3, :3] = oblique @ SIGNED[which] * spacing
    affine[:3, 3] = (1, -2, 3)
    voxels = np.arange(np.prod(shape + channels)).reshape(shape + channels)
    turned, grid = turn_volume(voxels, affine, plane)
    assert turned.shape == grid.shape + channels
    np.testing.assert_array_equal(turn_back(turned, grid), voxels)
    np.testing.assert_allclose(stored_affine(grid, shape), affine, atol=1e-9)
    for place in ((0, 0, 0), tuple(n - 1 for n in grid.shape)):
        value = int(turned[(*place, *[0] * len(channels))])
        stored = np.unravel_index(value, shape + channels)[:3]
        np.testing.assert_allclose(grid.affine @ (*place, 1), affine @ (*stored, 1), atol=1e-9)


def test_there_are_48_orders_of_axes():
    assert len({matrix.tobytes() for matrix in SIGNED}) == 48


@pytest.mark.parametrize(("plane", "ends"), [("axial", "SPL"), ("sagittal", "LIP")])
def test_a_plane_looks_the_same_from_every_order_of_axes(plane, ends):
    way = {"S": (2, 1), "I": (2, -1), "P": (1, -1), "L": (0, -1)}
    for matrix in SIGNED:
        affine = np.eye(4)
        affine[:3, :3] = matrix
        _, grid = turn_volume(np.zeros((2, 3, 4)), affine, plane)
        for axis, end in enumerate(ends):
            world, sign = way[end]
            assert grid.affine[world, axis] == sign
