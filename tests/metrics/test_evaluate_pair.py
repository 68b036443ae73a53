import math

import numpy as np
import pytest
import torch

from crosslinknet.errors import LabelError, ShapeError, UsageError
from crosslinknet.metrics import METRICS, evaluate

PRED, TARGET = np.zeros((2, 12, 12), dtype=bool)
TARGET[2:8, 2:8] = True
PRED[2:8, 2:11] = True


def test_a_pair_gets_every_metric_by_default_but_those_of_single_tools():
    found = evaluate(PRED, TARGET, spacing=(1.0, 0.5))
    assert list(found) == [name for name, metric in METRICS.items() if not metric.tool]
    assert found["dice"] == 72 / 90
    assert found["hd"] == 1.5


def test_booleans_integers_lists_and_tensors_are_the_same_masks():
    expected = evaluate(PRED, TARGET)
    for form in (np.uint8, np.int64):
        assert evaluate(PRED.astype(form), TARGET.astype(form)) == expected
    assert evaluate(PRED.astype(int).tolist(), TARGET.tolist()) == expected
    assert evaluate(torch.from_numpy(PRED), torch.from_numpy(TARGET)) == expected


def test_the_masks_are_not_changed():
    pred, target = PRED.copy(), TARGET.copy()
    evaluate(pred, target)
    assert np.array_equal(pred, PRED)
    assert np.array_equal(target, TARGET)


def test_a_volume_of_one_slice_is_scored_as_a_slice():
    flat = evaluate(PRED, TARGET, spacing=(2.0, 0.5))
    assert evaluate(PRED[None], TARGET[None], spacing=(9.0, 2.0, 0.5)) == flat


def test_a_volume_is_measured_across_its_slices():
    pred, target = np.zeros((2, 4, 6, 6), dtype=bool)
    target[0, 2, 2] = pred[3, 2, 2] = True
    assert evaluate(pred, target, spacing=(5.0, 1.0, 1.0), metrics=["hd"]) == {"hd": 15.0}


def test_the_worst_distance_of_a_volume_is_its_diagonal():
    pred, target = np.zeros((2, 2, 3, 6), dtype=bool)
    pred[0, 0, 0] = True
    found = evaluate(pred, target, spacing=(1.0, 1.0, 1.0), metrics=["hd95"])
    assert found == {"hd95": math.hypot(2, 3, 6)}


def test_two_empty_masks_say_nothing_but_that_the_background_was_left_alone():
    empty = np.zeros((4, 4), dtype=bool)
    found = evaluate(empty, empty)
    assert found.pop("specificity") == 1
    assert all(math.isnan(value) for value in found.values())


def test_the_norm_of_over_rate_can_be_chosen():
    found = evaluate(PRED, TARGET, metrics=["over_rate"], or_ur_norm="union")
    assert found == {"over_rate": 18 / 54}


@pytest.mark.parametrize("side", ["pred", "target"])
def test_probabilities_are_refused_even_where_they_are_0_and_1(side):
    masks = {"pred": PRED, "target": TARGET}
    masks[side] = masks[side].astype(np.float32)
    with pytest.raises(LabelError, match=rf"{side} holds float32 .* pred > 0.5"):
        evaluate(**masks)


@pytest.mark.parametrize("value", [2, -1, 255])
def test_labels_other_than_0_and_1_are_refused(value):
    with pytest.raises(LabelError, match=r"one class is scored at a time"):
        evaluate(PRED.astype(np.int16) * value, TARGET)


@pytest.mark.parametrize(
    ("pred", "target"),
    [
        (np.zeros((3, 4), bool), np.zeros((4, 3), bool)),
        (np.zeros((0, 4), bool), np.zeros((0, 4), bool)),
        (np.zeros(4, bool), np.zeros(4, bool)),
        (np.zeros((1, 2, 3, 4), bool), np.zeros((1, 2, 3, 4), bool)),
    ],
)
def test_masks_that_are_no_pair_of_slices_or_volumes_are_refused(pred, target):
    with pytest.raises(ShapeError, match=r"\(H, W\) or \(D, H, W\)"):
        evaluate(pred, target)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, math.nan)])
def test_a_spacing_that_does_not_fit_is_refused(spacing):
    with pytest.raises(ShapeError, match="one positive number per axis"):
        evaluate(PRED, TARGET, spacing=spacing)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["hausdorf"]}, "unknown metric 'hausdorf'"),
        ({"policy": "wurst"}, "unknown policy 'wurst'; did you mean 'worst'"),
        ({"or_ur_norm": "trut"}, "unknown or_ur_norm 'trut'; did you mean 'truth'"),
        ({"hd95_mode": "pool"}, "unknown hd95_mode 'pool'; did you mean 'pooled'"),
        ({"nsd_tolerance": -1.0}, "nsd_tolerance is -1.0"),
        ({"nsd_tolerance": math.nan}, "nsd_tolerance is nan"),
        ({"lesion_iou": 0.0}, "lesion_iou 0.0"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(settings, message):
    with pytest.raises(UsageError, match=message):
        evaluate(PRED, TARGET, **settings)
