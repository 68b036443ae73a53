from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from crosslinknet.errors import ShapeError
from crosslinknet.outlines import fill_polygon

coordinate = st.floats(-4, 14, allow_nan=False).map(lambda v: round(v, 3) + 0.0005)
polygons = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9)


def even_odd(points, y, x):
    """One point against every edge, in exact fractions; None on an edge, where rounding decides."""
    inside = False
    exact = [(Fraction(a), Fraction(b)) for a, b in points]
    for (y0, x0), (y1, x1) in zip(exact, exact[1:] + exact[:1], strict=True):
        if (y0 > y) != (y1 > y):
            crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
            if abs(x - crossing) < 1e-9:
                return None
            inside ^= x < crossing
    return inside


@given(polygons)
@example([(0.0005, 0.0005), (0.0005, 0.0005), (5.5005, 5.5005)])  # runs through pixel centres
def test_every_pixel_agrees_with_the_even_odd_rule(points):
    mask = fill_polygon(np.array(points), (10, 11))
    for y, x in np.ndindex(10, 11):
        assert even_odd(points, y, x) in (None, mask[y, x]), (y, x)


@given(st.floats(0.6, 4.4), st.floats(4.6, 5.4), st.integers(3, 40))
def test_convex_outlines_agree_with_matplotlib(radius, centre, corners):
    angles = np.linspace(0.1, 0.1 + 2 * np.pi, corners, endpoint=False)
    points = centre + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    grid = np.stack(np.mgrid[:10, :10], axis=-1).reshape(-1, 2)
    inside = Outline(points).contains_points(grid).reshape(10, 10)
    assert (fill_polygon(points, (10, 10)) == inside).all()


def test_a_square_on_whole_pixels_keeps_its_area():
    square = np.array([[2, 3], [2, 7], [5, 7], [5, 3]])
    mask = fill_polygon(square, (10, 10))
    assert mask.sum() == 12
    assert mask[2:5, 3:7].all()


@given(st.integers(1, 8), st.integers(1, 8))
def test_outlines_that_touch_share_no_pixel_and_leave_no_gap(row, column):
    def box(y0, y1, x0, x1):
        return fill_polygon(np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]]), (9, 9)).astype(int)

    quarters = [
        box(y0, y1, x0, x1)
        for y0, y1 in ((0, row), (row, 9))
        for x0, x1 in ((0, column), (column, 9))
    ]
    assert (sum(quarters) == 1).all()


@pytest.mark.parametrize(("times", "inside"), [(255, True), (256, False), (257, True)])
def test_an_outline_that_goes_round_many_times_is_even_or_odd(times, inside):
    square = np.array([[2, 3], [2, 7], [5, 7], [5, 3]])
    mask = fill_polygon(np.tile(square, (times, 1)), (10, 10))
    assert mask.sum() == (12 if inside else 0)


def test_an_outline_beside_the_image_marks_nothing():
    square = np.array([[0, 0], [0, 4], [4, 4], [4, 0]])
    for shift in ((-9, 0), (20, 0), (0, -9), (0, 20)):
        assert not fill_polygon(square + shift, (10, 10)).any()


def test_direction_and_first_vertex_do_not_matter():
    points = np.array([[1.2, 1.7], [2.2, 7.1], [8.8, 6.3], [6.1, 2.4]])
    mask = fill_polygon(points, (10, 10))
    assert mask.any()
    assert (fill_polygon(points[::-1], (10, 10)) == mask).all()
    assert (fill_polygon(np.roll(points, 2, axis=0), (10, 10)) == mask).all()


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((2, 2)), "expected \\(N, 2\\) with N >= 3"),
        (np.zeros((4, 3)), "expected \\(N, 2\\)"),
        (np.array([[0, 0], [1, np.nan], [2, 2]]), "NaN or infinite"),
    ],
)
def test_what_is_no_outline_is_refused(points, reason):
    with pytest.raises(ShapeError, match=reason):
        fill_polygon(points, (4, 4))
