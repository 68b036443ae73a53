"""Ranks of methods, worked by hand and against SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crosslinknet.errors import ShapeError
from crosslinknet.statistics.ranks import groups, kendall, rank_methods
from tests.metrics.strategies import unhurried

THREE = np.array([[0.9, 0.8, 0.7, 0.9], [0.8, 0.9, 0.6, 0.8], [0.1, 0.2, 0.3, 0.1]])


def test_mean_ranks_and_places_by_hand():
    found = rank_methods(THREE, True, 200)
    assert found.mean_ranks.tolist() == [1.25, 1.75, 3.0]
    assert found.places.tolist() == [1, 2, 3]
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*THREE).pvalue)


def test_smaller_is_better_turns_the_order():
    assert rank_methods(THREE, False, 0).places.tolist() == [3, 2, 1]


def test_a_method_that_always_loses_is_last_in_every_resample():
    found = rank_methods(THREE, True, 500)
    assert found.shares[2].tolist() == [0, 0, 1]
    assert 0.5 < found.shares[0, 0] < 1


def test_equal_methods_share_a_place():
    found = rank_methods(np.ones((2, 5)), True, 10)
    assert found.places.tolist() == found.mean_ranks.tolist() == [1.5, 1.5]
    assert found.shares.tolist() == [[0.5, 0.5], [0.5, 0.5]]


@given(st.integers(2, 5), st.integers(1, 8), st.integers(0, 99))
@unhurried
def test_places_and_methods_add_up(methods, subjects, seed):
    values = np.random.default_rng(seed).integers(0, 4, (methods, subjects)).astype(float)
    found = rank_methods(values, True, 30)
    assert found.mean_ranks.sum() == pytest.approx(methods * (methods + 1) / 2)
    assert (found.shares <= 1 + 1e-12).all()
    assert (found.shares.sum(axis=1) <= 1 + 1e-12).all()


def test_subjects_without_a_value_are_left_out():
    values = np.array([[0.9, np.nan, 0.1], [0.8, 0.9, np.nan]])
    assert rank_methods(values, True, 0).mean_ranks.tolist() == [1, 2]
    with pytest.raises(ShapeError, match="no subject"):
        rank_methods(values[:, 1:], True, 0)
    with pytest.raises(ShapeError, match="two methods"):
        rank_methods(values[:1], True, 0)


def test_a_clear_order_is_stable_and_an_even_one_is_not():
    rng = np.random.default_rng(0)
    clear = rank_methods(np.arange(3)[:, None] + 0.01 * rng.random((3, 20)), True, 200)
    even = rank_methods(rng.random((3, 20)), True, 200)
    assert clear.tau == 1
    assert even.tau < 0.9


def test_bars_join_neighbours_that_do_not_differ():
    p = {(0, 1): 0.5, (0, 2): 0.001, (0, 3): 0.001, (1, 2): 0.01, (1, 3): 0.02, (2, 3): np.nan}
    assert groups([1, 2, 3, 4], p) == [(0, 1), (2, 3)]
    assert groups([4, 3, 2, 1], p) == [(3, 2), (1, 0)]


def test_a_bar_inside_another_is_not_drawn():
    p = {(0, 1): 0.5, (0, 2): 0.5, (1, 2): 0.5}
    assert groups([1, 2, 3], p) == [(0, 1, 2)]


def test_many_correlations_are_those_of_scipy_ties_included():
    rng = np.random.default_rng(2)
    orders = stats.rankdata(rng.integers(0, 3, (200, 4)), axis=1)
    places = np.array([1.0, 2.5, 2.5, 4.0])
    theirs = [stats.kendalltau(order, places).statistic for order in orders]
    np.testing.assert_allclose(kendall(orders, places), theirs)
