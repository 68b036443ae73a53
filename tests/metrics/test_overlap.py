import numpy as np
import pytest
import torch
from hypothesis import given

from crosslinknet.errors import ShapeError
from crosslinknet.metrics import overlap
from crosslinknet.metrics.overlap import Counts, count

from .strategies import pairs, unhurried

# Worked by hand: |T| = 6, |P| = 5, 4 in common, 5 in neither.
TARGET = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
PRED = np.array([[0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)


def counts_of(pred, target):
    return count(pred[None], target[None])


def test_counts_of_a_small_pair_are_exact():
    assert counts_of(PRED, TARGET).to_array().tolist() == [[4, 1, 2, 5]]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (overlap.dice, 8 / 11),
        (overlap.iou, 4 / 7),
        (overlap.sensitivity, 4 / 6),
        (overlap.specificity, 5 / 6),
        (overlap.precision, 4 / 5),
        (overlap.over_rate, 1 / 6),
        (overlap.under_rate, 2 / 6),
    ],
)
def test_formulas_give_the_values_worked_by_hand(metric, value):
    assert metric(counts_of(PRED, TARGET)).tolist() == [value]


@pytest.mark.parametrize(
    ("norm", "over", "under"),
    [("truth", 1 / 6, 2 / 6), ("union", 1 / 7, 2 / 7), ("pred", 1 / 5, 2 / 6)],
)
def test_the_norm_changes_what_over_and_under_rate_are_divided_by(norm, over, under):
    counts = counts_of(PRED, TARGET)
    assert overlap.over_rate(counts, norm).tolist() == [over]
    assert overlap.under_rate(counts, norm).tolist() == [under]


def test_a_denominator_of_zero_gives_nan_and_no_warning():
    empty = counts_of(np.zeros((2, 2), bool), np.zeros((2, 2), bool))
    full = counts_of(np.ones((2, 2), bool), np.ones((2, 2), bool))
    assert np.isnan(overlap.dice(empty)).all()
    assert np.isnan(overlap.specificity(full)).all()


def test_over_rate_over_the_truth_has_no_upper_bound():
    target = np.zeros((3, 4), bool)
    target[0, 0] = True
    assert overlap.over_rate(counts_of(np.ones((3, 4), bool), target)).tolist() == [11.0]


def test_many_pairs_are_counted_one_by_one():
    rng = np.random.default_rng(0)
    pred, target = rng.random((2, 5, 7, 6)) < 0.5
    together = count(pred, target).to_array()
    single = [counts_of(p, t).to_array()[0] for p, t in zip(pred, target, strict=True)]
    assert np.array_equal(together, single)


def test_counts_survive_the_way_to_an_array_and_back():
    array = np.arange(24).reshape(2, 3, 4)
    counts = Counts.from_array(array)
    assert counts.tn[1, 2] == 23
    assert np.array_equal(counts.to_array(), array)
    assert np.array_equal(counts.pixels, array.sum(axis=-1))


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ShapeError, match=r"\(1, 3, 4\).*\(1, 4, 3\).*one grid"):
        count(np.zeros((1, 3, 4), bool), np.zeros((1, 4, 3), bool))


@unhurried
@given(pairs())
def test_counts_agree_with_bincount(pair):
    pred, target, _ = pair
    tn, fp, fn, tp = np.bincount((2 * target + pred).ravel(), minlength=4)
    assert counts_of(pred, target).to_array().tolist() == [[tp, fp, fn, tn]]


@unhurried
@given(pairs())
def test_over_and_under_rate_over_the_union_are_what_iou_lacks(pair):
    pred, target, _ = pair
    counts = counts_of(pred, target)
    if (pred | target).any():
        total = overlap.over_rate(counts, "union") + overlap.under_rate(counts, "union")
        assert total == pytest.approx(1 - overlap.iou(counts), abs=1e-12)


@unhurried
@given(pairs())
def test_shares_lie_between_0_and_1(pair):
    counts = counts_of(*pair[:2])
    shares = [
        *(overlap.dice, overlap.iou, overlap.sensitivity, overlap.specificity, overlap.precision),
        lambda c: overlap.over_rate(c, "union"),
        lambda c: overlap.over_rate(c, "pred"),
        overlap.under_rate,
    ]
    for metric in shares:
        value = metric(counts)[0]
        assert np.isnan(value) or 0 <= value <= 1


@unhurried
@given(pairs())
def test_swapping_pred_and_target_swaps_precision_and_sensitivity_and_keeps_dice(pair):
    pred, target, _ = pair
    there, back = counts_of(pred, target), counts_of(target, pred)
    for one, other in [
        (overlap.dice, overlap.dice),
        (overlap.iou, overlap.iou),
        (overlap.precision, overlap.sensitivity),
    ]:
        assert np.array_equal(one(there), other(back), equal_nan=True)


def test_formulas_agree_with_monai_on_random_masks():
    from monai.metrics import (
        compute_confusion_matrix_metric,
        compute_dice,
        compute_iou,
        get_confusion_matrix,
    )

    rng = np.random.default_rng(1)
    pred, target = (rng.random((20, 12, 9)) < rng.uniform(0.1, 0.9, (20, 1, 1)) for _ in range(2))
    counts = count(pred, target)
    p, t = (torch.from_numpy(m[:, None].astype(np.float32)) for m in (pred, target))
    matrix = get_confusion_matrix(p, t)  # (20, 1, 4)
    theirs = {
        overlap.dice: compute_dice(p, t),
        overlap.iou: compute_iou(p, t),
        overlap.sensitivity: compute_confusion_matrix_metric("sensitivity", matrix),
        overlap.specificity: compute_confusion_matrix_metric("specificity", matrix),
        overlap.precision: compute_confusion_matrix_metric("precision", matrix),
    }
    for metric, values in theirs.items():
        assert metric(counts) == pytest.approx(values[:, 0].numpy(), abs=1e-6)
