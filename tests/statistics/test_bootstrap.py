"""Intervals over subjects: against drawing one by one, and against SciPy's bootstrap."""

import numpy as np
import pytest
from scipy import stats

from crosslinknet.statistics import bootstrap
from crosslinknet.statistics.bootstrap import bca_interval, left_out_sums, resampled_sums


def test_every_resample_draws_as_many_subjects_as_there_are():
    assert (resampled_sums(np.ones((7, 1)), 50) == 7).all()


def test_resampled_sums_agree_with_drawing_one_by_one():
    totals = np.random.default_rng(0).normal(size=(6, 3))
    drawn = np.random.default_rng(5).integers(6, size=(40, 6))
    expected = [totals[subjects].sum(axis=0) for subjects in drawn]
    assert resampled_sums(totals, 40, seed=5) == pytest.approx(np.array(expected))


def test_equal_seeds_draw_equal_subjects_and_other_seeds_others():
    totals = np.arange(20.0).reshape(10, 2)
    assert np.array_equal(resampled_sums(totals, 30), resampled_sums(totals, 30))
    assert not np.array_equal(resampled_sums(totals, 30), resampled_sums(totals, 30, seed=1))


def test_columns_share_their_draws_so_that_metrics_stay_paired():
    column = np.arange(9.0)
    sums = resampled_sums(np.stack([column, 2 * column], axis=1), 100)
    assert np.array_equal(sums[:, 1], 2 * sums[:, 0])


def test_large_sets_are_drawn_in_blocks_with_the_same_result(monkeypatch):
    totals = np.random.default_rng(0).normal(size=(11, 2))
    at_once = resampled_sums(totals, 25)
    monkeypatch.setattr(bootstrap, "_BLOCK", 30)
    assert resampled_sums(totals, 25) == pytest.approx(at_once)


def test_no_resamples_give_no_sums():
    assert resampled_sums(np.ones((3, 2)), 0).shape == (0, 2)


def test_the_spread_of_resampled_means_is_the_standard_error():
    values = np.random.default_rng(2).normal(size=(400, 1))
    means = resampled_sums(values, 4000) / 400
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)


def bca(values, seed=0, resamples=4000, confidence=0.95):
    """The interval of the mean of values (S,)."""
    sums, n = values[:, None], len(values)
    drawn = resampled_sums(sums, resamples, seed)[:, 0] / n
    return bca_interval(values.mean(), drawn, left_out_sums(sums)[:, 0] / (n - 1), confidence)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("shape", ["even", "skewed", "heavy"])
def test_intervals_are_those_of_scipy_but_for_the_draws(shape, confidence):
    rng = np.random.default_rng(1)
    values = {
        "even": rng.normal(size=30),
        "skewed": rng.exponential(size=25),
        "heavy": rng.standard_t(3, size=40),
    }[shape]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, confidence_level=confidence, method="BCa", rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    ours = bca(values, resamples=20000, confidence=confidence)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


def test_given_the_same_draws_the_interval_is_that_of_scipy_to_the_last_digits():
    values = np.random.default_rng(3).exponential(size=12)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=999, method="BCa", rng=4)
    drawn = theirs.bootstrap_distribution
    left_out = (values.sum() - values) / 11
    ours = bca_interval(values.mean(), drawn, left_out)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), rel=1e-12)


def test_the_interval_of_symmetric_resamples_leaves_the_same_share_out_on_both_sides():
    even = np.zeros(5)
    assert bca_interval(500, np.arange(1001.0), even) == pytest.approx((25, 975))
    assert bca_interval(500, np.arange(1001.0), even, 0.5) == pytest.approx((250, 750))


def test_values_that_do_not_exist_are_left_out_of_the_interval():
    values = np.array([np.nan, 1.0, 1.0, np.nan])
    assert bca_interval(1.0, values, np.array([np.nan, 1.0])) == (1.0, 1.0)
    assert bca_interval(1.0, np.full(3, np.nan), np.ones(3)) is None
    assert bca_interval(np.nan, np.ones(3), np.ones(3)) is None


def test_an_estimate_that_no_resample_reaches_gets_the_plain_percentiles():
    assert bca_interval(-1.0, np.arange(1001.0), np.arange(4.0)) == pytest.approx((25, 975))


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        low, high = bca(rng.exponential(size=40), resamples=500, confidence=0.9)
        held += low <= 1.0 <= high
    assert 0.83 <= held / 300 <= 0.95
