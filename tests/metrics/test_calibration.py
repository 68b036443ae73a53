"""Calibration: counted by hand, against the definition pixel by pixel, and its limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crosslinknet.errors import LabelError
from crosslinknet.metrics.calibration import (
    EDGES,
    calibrate,
    calibration_errors,
    count_bins,
)
from tests.metrics.strategies import unhurried

PROBS = np.array([[0.0, 0.0, 0.0, 0.0], [0.9, 0.9, 0.9, 0.9]])
TARGET = np.array([[0, 0, 0, 0], [1, 1, 1, 0]], dtype=bool)


def test_two_bins_by_hand():
    counts = count_bins(PROBS, TARGET)
    assert counts[0].sum() == 8
    errors = calibration_errors(counts)
    assert errors[0] == pytest.approx(abs(0.9 - 0.75) * 4 / 8)
    assert errors[1] == pytest.approx(abs(0.9 - 0.75))  # zeros are ruled out
    assert errors[2] == pytest.approx((3 * 0.01 + 0.81) / 8)


def test_the_ruled_out_pixels_are_a_bin_of_their_own_that_the_usual_error_joins():
    probs = np.array([0.0, 0.005, 0.02, 0.06])  # all in the first fifteenth
    target = np.array([False, False, True, False])
    errors = calibration_errors(count_bins(probs, target))
    assert errors[0] == pytest.approx(abs(probs.mean() - 0.25))
    assert errors[1] == pytest.approx(abs(np.array([0.02, 0.06]).mean() - 0.5))


def by_definition(probs, target, bins=15):
    place = np.minimum((probs * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        here = place == b
        if here.any():
            error += here.mean() * abs(probs[here].mean() - target[here].mean())
    return error


@given(
    probs=arrays(float, 60, elements=st.floats(0, 1).map(lambda p: round(p, 3) + 1e-4 * (p < 0.9))),
    target=arrays(bool, 60),
)
@unhurried
def test_the_error_of_all_pixels_is_that_of_the_definition(probs, target):
    assert calibration_errors(count_bins(probs, target))[0] == pytest.approx(
        by_definition(probs, target), abs=1e-12
    )


def test_honest_probabilities_have_almost_no_error():
    rng = np.random.default_rng(0)
    probs = rng.random(400_000)
    errors = calibration_errors(count_bins(probs, rng.random(400_000) < probs))
    assert (errors[:2] < 0.005).all()


def test_cases_may_be_counted_apart_and_added():
    whole = count_bins(PROBS, TARGET)
    parts = [count_bins(p, t) for p, t in zip(PROBS, TARGET, strict=True)]
    np.testing.assert_allclose(sum(parts), whole)


def test_one_and_zero_have_a_place():
    counts = count_bins(np.array([0.0, 1.0, EDGES[1]]), np.ones(3, bool))
    assert [int(n) for n in counts[0][[0, 1, -1]]] == [1, 1, 1]


def test_the_summary_of_a_class_resamples_subjects():
    rng = np.random.default_rng(1)
    counts = {
        f"s{i}": count_bins(probs, rng.random(500) < probs**2)
        for i, probs in enumerate(rng.random((12, 500)))
    }
    found = calibrate(counts, 500)
    low, high = found["ece"]["interval"]
    assert low < found["ece"]["value"] < high
    assert found["pixels"] == 6000 == sum(one["pixels"] for one in found["bins"])
    assert all(one["low"] <= one["confidence"] <= one["high"] for one in found["bins"])
    assert calibrate({"s": counts["s0"]}, 500)["ece"]["interval"] is None


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.0001, np.inf])
def test_values_that_are_no_probabilities_are_refused(bad):
    with pytest.raises(LabelError, match="expected 0 to 1 and no NaN"):
        count_bins(np.array([0.5, bad]), np.zeros(2, bool))
