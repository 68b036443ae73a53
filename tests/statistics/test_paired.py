"""Paired comparisons: worked by hand, against SciPy, against counting every pattern of signs."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crosslinknet.errors import ShapeError
from crosslinknet.statistics.paired import adjust_holm, compare_pair, warnings_for
from tests.metrics.strategies import unhurried

ZEROS = np.zeros(5)


def every_pattern(differences):
    """Two-sided p of the signed-rank test, by all 2^n patterns of signs (Pratt)."""
    ranks = stats.rankdata(np.abs(differences))[differences != 0]
    signs = np.sign(differences[differences != 0])
    observed = abs((signs * ranks).sum())
    sums = [abs(np.dot(s, ranks)) for s in itertools.product((-1, 1), repeat=len(ranks))]
    return np.mean(np.array(sums) >= observed - 1e-9)


def test_five_subjects_that_all_improve_by_hand():
    found = compare_pair(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), ZEROS, 0)
    assert found.p == pytest.approx(2 / 2**5)  # one pattern of signs in each tail
    assert (found.effect, found.larger, found.smaller, found.ties) == (1.0, 5, 0, 0)
    assert (found.mean, found.median, found.interval) == (3.0, 3.0, None)


def test_one_subject_against_four_by_hand():
    found = compare_pair(np.array([1.0, 2.0, 3.0, 4.0, -5.0]), ZEROS, 0)
    assert found.effect == pytest.approx((1 + 2 + 3 + 4 - 5) / 15)
    assert found.p == pytest.approx(every_pattern(np.array([1.0, 2.0, 3.0, 4.0, -5.0])))
    assert (found.larger, found.smaller) == (4, 1)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
@unhurried
def test_p_counts_every_pattern_of_signs_ties_and_zeros_included(numbers):
    differences = np.array(numbers, dtype=float)
    found = compare_pair(differences, np.zeros(len(differences)), 0)
    if differences.any():
        assert found.p == pytest.approx(every_pattern(differences))
    else:
        assert np.isnan(found.p)


@pytest.mark.parametrize("n", [8, 20, 50])
def test_p_is_that_of_scipy_where_nothing_is_tied(n):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    theirs = stats.wilcoxon(a + 0.3, b, method="exact").pvalue
    assert compare_pair(a + 0.3, b, 0).p == pytest.approx(theirs, rel=1e-9)


def test_p_is_that_of_scipy_for_many_subjects():
    rng = np.random.default_rng(5)
    a = rng.integers(0, 20, 300).astype(float)
    b = a + rng.integers(-3, 5, 300)
    theirs = stats.wilcoxon(a, b, zero_method="pratt", method="asymptotic", correction=False).pvalue
    assert compare_pair(a, b, 0).p == pytest.approx(theirs, rel=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
@unhurried
def test_swapping_the_methods_mirrors_everything(pairs):
    a, b = np.array(pairs).T
    ab, ba = compare_pair(a, b, 50), compare_pair(b, a, 50)
    assert (ab.mean, ab.effect, ab.larger) == pytest.approx((-ba.mean, -ba.effect, ba.smaller))
    assert ab.p == pytest.approx(ba.p, nan_ok=True)


def test_subjects_that_one_method_has_no_value_for_are_left_out():
    found = compare_pair(np.array([1.0, np.nan, 3.0]), np.array([0.0, 5.0, np.nan]), 0)
    assert (found.n, found.mean) == (1, 1.0)


def test_no_common_subject_and_other_lengths_are_refused():
    with pytest.raises(ShapeError, match="nothing to compare"):
        compare_pair(np.array([np.nan]), np.array([1.0]), 0)
    with pytest.raises(ShapeError, match="one per subject"):
        compare_pair(np.ones(2), np.ones(3), 0)


def test_differences_by_rounding_alone_are_ties():
    found = compare_pair(np.array([0.1 + 0.2, 0.5]), np.array([0.3, 0.5]), 0)
    assert found.ties == 2


def test_the_interval_of_the_mean_difference_is_paired():
    a = np.random.default_rng(0).normal(80, 15, size=30)  # subjects differ much more than methods
    found = compare_pair(a + np.linspace(0.5, 1.5, 30), a, 2000)
    assert 0.8 < found.interval[0] < found.mean < found.interval[1] < 1.2


def test_holm_by_hand():
    ps = [0.01, 0.04, 0.03, np.nan]
    found = adjust_holm([compare_of(p) for p in ps])
    assert [c.p_holm for c in found] == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)


def test_holm_agrees_with_statsmodels_rule_on_many():
    ps = np.random.default_rng(1).random(20) ** 3
    order = np.argsort(ps)
    stepped = np.maximum.accumulate((20 - np.arange(20)) * ps[order]).clip(max=1)
    found = np.array([c.p_holm for c in adjust_holm([compare_of(p) for p in ps])])
    np.testing.assert_allclose(found[order], stepped)


def compare_of(p):
    from crosslinknet.statistics.paired import Comparison

    return Comparison(9, 0.0, None, 0.0, p, np.nan, 0.0, 1, 1, 0)


@pytest.mark.parametrize(
    ("subjects", "words"), [(1, "no test"), (4, "0.125"), (12, "too narrow"), (40, "")]
)
def test_few_subjects_are_warned_of(subjects, words):
    found = warnings_for(subjects)
    assert bool(found) == bool(words)
    assert words in " ".join(found)
