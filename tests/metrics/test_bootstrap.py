import time

import numpy as np
import pytest

from crosslinknet.metrics import bootstrap
from crosslinknet.metrics.bootstrap import percentile_interval, resampled_sums


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


def test_the_interval_leaves_the_same_share_out_on_both_sides():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert percentile_interval(np.arange(1001.0), confidence=0.5) == pytest.approx((250, 750))


def test_values_that_do_not_exist_are_left_out_of_the_interval():
    values = np.array([np.nan, 1.0, 1.0, np.nan])
    assert percentile_interval(values) == (1.0, 1.0)
    assert percentile_interval(np.full(3, np.nan)) is None


def test_two_thousand_resamples_of_five_hundred_subjects_take_well_under_a_second():
    totals = np.random.default_rng(0).random((500, 36))
    start = time.process_time()
    resampled_sums(totals, 2000)
    assert time.process_time() - start < 0.5
