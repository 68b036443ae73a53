import math

import numpy as np
import pytest

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import UsageError
from crosslinknet.metrics import METRICS, POLICIES
from crosslinknet.metrics.overlap import count
from crosslinknet.metrics.registry import STATES, Metric, check_metrics
from crosslinknet.metrics.score import score_counts, score_pairs, states_of
from crosslinknet.metrics.table import Row, aggregate
from crosslinknet.statistics.bootstrap import bca_interval, left_out_sums, resampled_sums

OUT = math.nan
SPACING = (3.0, 4.0)
DIAGONAL = 50.0  # of a 10 x 10 image at SPACING
EMPTY = np.zeros((10, 10), dtype=bool)
MASK = EMPTY.copy()
MASK[2:6, 3:8] = True  # 20 of 100 pixels


def scores(pred, target, **settings):
    config = EvaluateConfig(**settings)
    _, values = score_pairs(pred[None], target[None], SPACING, config)
    return {name: float(value[0]) for name, value in values.items()}


def row(
    subject="a", name="lesion", case=None, fold=None, state="ok", counts=(1, 0, 0, 1), **values
):
    return Row(case or subject, subject, fold, 0, name, *counts, state, values)


# Spec table: T empty and P empty; T empty, P not (false alarm); T not, P empty (miss).
POLICY_WORST = {
    "dice": (OUT, 0.0, 0.0),
    "iou": (OUT, 0.0, 0.0),
    "sensitivity": (OUT, OUT, 0.0),
    "precision": (OUT, 0.0, 0.0),
    "specificity": (1.0, 0.8, 1.0),  # false alarm: the true negative rate, 80 of 100
    "over_rate": (OUT, 1.0, 0.0),
    "under_rate": (OUT, OUT, 1.0),
    "hd": (OUT, DIAGONAL, DIAGONAL),
    "hd95": (OUT, DIAGONAL, DIAGONAL),
    "volume_error": (OUT, 1.0, 1.0),
    "assd": (OUT, DIAGONAL, DIAGONAL),
    "nsd": (OUT, 0.0, 0.0),
    "centroid_distance": (OUT, DIAGONAL, DIAGONAL),
    "lesion_precision": (OUT, 0.0, 0.0),
    "lesion_recall": (OUT, OUT, 0.0),
    "lesion_f1": (OUT, 0.0, 0.0),
    "lesion_dice": (OUT, 0.0, 0.0),
}
OWN = [name for name, metric in METRICS.items() if not metric.tool]


@pytest.mark.parametrize("norm", ["truth", "union", "pred"])
@pytest.mark.parametrize("metric", OWN)
def test_every_cell_of_the_policy_table_is_kept(metric, norm):
    both_empty, false_alarm, miss = POLICY_WORST[metric]
    for pred, target, expected in [
        (EMPTY, EMPTY, both_empty),
        (MASK, EMPTY, false_alarm),
        (EMPTY, MASK, miss),
    ]:
        found = scores(pred, target, metrics=[metric], or_ur_norm=norm)[metric]
        assert found == pytest.approx(expected, nan_ok=True)


def test_a_miss_of_a_target_that_fills_the_image_keeps_the_policy_table():
    full = np.ones((10, 10), dtype=bool)
    missed = scores(EMPTY, full, metrics=OWN)
    assert missed == {name: cells[2] for name, cells in POLICY_WORST.items()}


def test_a_false_alarm_is_never_better_than_a_pair_that_touches():
    shifted = np.roll(MASK, 1, axis=1)
    touching, alarm = scores(shifted, MASK), scores(MASK, EMPTY)
    assert alarm["dice"] < touching["dice"]
    assert alarm["hd"] > touching["hd"]


def test_disjoint_masks_are_scored_by_the_formulas():
    other = np.zeros_like(MASK)
    other[8:, :2] = True
    found = scores(other, MASK)
    assert (found["dice"], found["over_rate"], found["under_rate"]) == (0, 4 / 20, 1)
    # From the mask's upper right corner (2, 7) to the nearest corner (8, 1).
    assert found["hd"] == math.hypot(6 * 3.0, 6 * 4.0)


def test_specificity_does_not_exist_where_the_target_fills_the_image():
    full = np.ones((10, 10), dtype=bool)
    assert math.isnan(scores(full, full)["specificity"])
    assert scores(full, full)["dice"] == 1


def test_states_name_the_side_that_is_empty():
    counts = count(np.stack([MASK, EMPTY, MASK, EMPTY]), np.stack([MASK, EMPTY, EMPTY, MASK]))
    assert [STATES[i] for i in states_of(counts)] == ["ok", "both_empty", "false_alarm", "missed"]


def test_pairs_scored_together_get_what_each_gets_alone():
    rng = np.random.default_rng(0)
    masks = rng.random((2, 12, 6, 7)) < 0.3
    masks[0, :3] = masks[1, 2:5] = False
    config = EvaluateConfig(metrics=list(METRICS))
    _, together = score_pairs(*masks, (1.0, 2.0), config)
    for i in range(12):
        _, alone = score_pairs(masks[0, i : i + 1], masks[1, i : i + 1], (1.0, 2.0), config)
        for name in METRICS:
            assert np.array_equal(together[name][i : i + 1], alone[name], equal_nan=True)


def test_only_the_metrics_asked_for_come_back_in_their_order():
    assert list(scores(MASK, MASK, metrics=["hd", "dice"])) == ["hd", "dice"]


def test_distances_without_a_spacing_are_in_pixels():
    config = EvaluateConfig(metrics=["hd"])
    moved = np.roll(MASK, 2, axis=0)
    assert score_pairs(moved[None], MASK[None], None, config)[1]["hd"].tolist() == [2.0]
    assert score_pairs(EMPTY[None], MASK[None], None, config)[1]["hd"].tolist() == [
        pytest.approx(math.hypot(10, 10))
    ]


def test_counts_of_any_shape_are_scored_elementwise():
    counts = count(np.stack([MASK, EMPTY, MASK]), np.stack([MASK, EMPTY, EMPTY]))
    config = EvaluateConfig()
    flat = score_counts(counts, config)
    column = score_counts(type(counts).from_array(counts.to_array()[:, None]), config)
    assert "hd" not in flat
    for name, values in flat.items():
        assert np.array_equal(column[name][:, 0], values, equal_nan=True)


def test_a_metric_of_the_user_is_one_more_entry_of_the_dict(monkeypatch):
    def half(counts):
        return counts.tp / 2

    mine = Metric(half, "counts", "Mine", "fraction", True, (OUT, 0.0, 0.0))
    monkeypatch.setitem(METRICS, "mine", mine)
    check_metrics(["dice", "mine"])
    assert scores(MASK, MASK, metrics=["mine"]) == {"mine": 10.0}
    assert scores(EMPTY, MASK, metrics=["mine"]) == {"mine": 0.0}


def test_a_policy_of_the_user_is_one_more_entry_of_the_dict(monkeypatch):
    def mine(name, state):
        return "formula" if state == "ok" else OUT

    monkeypatch.setitem(POLICIES, "mine", mine)
    config = EvaluateConfig().model_copy(update={"policy": "mine"})
    _, values = score_pairs(EMPTY[None], MASK[None], SPACING, config)
    assert all(math.isnan(value[0]) for value in values.values())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dise"], "unknown metric 'dise'; did you mean 'dice'"),
        (["dice", "hd", "dice"], "'dice' is listed twice"),
        ([], "evaluate.metrics is empty"),
    ],
)
def test_metrics_that_make_no_sense_are_refused(names, message):
    with pytest.raises(UsageError, match=message):
        check_metrics(names)


DICE = EvaluateConfig(metrics=["dice"])


def test_a_level_reports_mean_spread_and_counts_worked_by_hand():
    rows = [
        row("a", dice=0.9),
        row("a", dice=0.7),
        row("b", dice=0.2),
        row("c", dice=OUT, state="both_empty"),
        row("c", dice=0.0, state="missed"),
        row("d", dice=0.0, state="false_alarm"),
    ]
    entry = aggregate(rows, ["lesion"], DICE, "image")["lesion"]
    assert entry["counts"] == {"n": 6, "n_both_empty": 1, "n_false_alarm": 1, "n_missed": 1}
    cell = entry["metrics"]["dice"]
    assert (cell["mean"], cell["median"], cell["n"]) == (pytest.approx(0.36), 0.2, 5)
    assert cell["std"] == pytest.approx(math.sqrt((0.54**2 + 0.34**2 + 0.16**2 + 2 * 0.36**2) / 4))
    assert cell["interval"][0] < 0.36 < cell["interval"][1]


def test_the_interval_weighs_subjects_by_their_images():
    values = {"a": [0.9, 0.7, 0.8], "b": [0.2], "c": [OUT, 0.4]}
    rows = [row(s, dice=v) for s, several in values.items() for v in several]
    cell = aggregate(rows, ["lesion"], DICE, "image")["lesion"]["metrics"]["dice"]
    drawn = np.random.default_rng(0).integers(3, size=(2000, 3))
    means = [np.nanmean(np.concatenate([values["abc"[i]] for i in draw])) for draw in drawn]
    left_out = [np.nanmean(np.concatenate([values[s] for s in two])) for two in ("bc", "ac", "ab")]
    mean = np.nanmean(np.concatenate(list(values.values())))
    expected = bca_interval(mean, np.array(means), np.array(left_out))
    assert cell["interval"] == pytest.approx(expected)


def test_the_pooled_level_counts_every_pixel_once():
    rows = [row("a", counts=(8, 2, 0, 90), dice=8 / 9), row("b", counts=(0, 0, 10, 90), dice=0.0)]
    entry = aggregate(rows, ["lesion"], EvaluateConfig(), "pooled")["lesion"]
    assert entry["metrics"]["dice"]["mean"] == 16 / 28
    assert entry["metrics"]["over_rate"]["mean"] == 2 / 18
    assert entry["metrics"]["dice"]["std"] is entry["metrics"]["dice"]["median"] is None
    assert not {"hd", "hd95", "assd", "nsd"} & entry["metrics"].keys()
    # Two subjects: a resample is a twice, b twice or both.
    assert entry["metrics"]["dice"]["interval"] == [0, 16 / 18]


def test_the_pooled_interval_pools_the_drawn_subjects():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 50, size=(12, 4))
    subjects = [f"s{i // 2}" for i in range(12)]
    rows = [row(s, counts=c, dice=0.5) for s, c in zip(subjects, counts.tolist(), strict=True)]
    cell = aggregate(rows, ["lesion"], DICE, "pooled")["lesion"]["metrics"]["dice"]
    totals = counts.reshape(6, 2, 4).sum(axis=1).astype(float)

    def pooled(sums):
        tp, fp, fn, _ = sums.T
        return 2 * tp / (2 * tp + fp + fn)

    expected = bca_interval(
        pooled(totals.sum(axis=0)),
        pooled(resampled_sums(totals, 2000)),
        pooled(left_out_sums(totals)),
    )
    assert cell["interval"] == pytest.approx(expected)


def test_the_average_is_the_mean_of_the_printed_columns():
    rows = [
        *(row(s, "big", dice=v) for s, v in zip("abc", (0.9, 0.8, 0.7), strict=True)),
        *(row(s, "small", dice=v) for s, v in zip("abc", (0.5, OUT, 0.1), strict=True)),
    ]
    result = aggregate(rows, ["big", "small"], DICE, "image")
    assert list(result) == ["big", "small", "average"]
    cell = result["average"]["metrics"]["dice"]
    assert cell["mean"] == pytest.approx((0.8 + 0.3) / 2)
    assert (cell["n"], cell["std"], cell["median"]) == (2, None, None)
    assert cell["interval"][0] < cell["mean"] < cell["interval"][1]


def test_a_class_without_any_value_is_left_out_of_the_average_and_seen_in_n():
    rows = [row(s, "big", dice=0.8) for s in "ab"] + [row(s, "none", dice=OUT) for s in "ab"]
    result = aggregate(rows, ["big", "none"], DICE, "image")
    missing = {"mean": None, "std": None, "median": None, "n": 0, "interval": None}
    assert result["none"]["metrics"]["dice"] == missing
    assert (result["average"]["metrics"]["dice"]["mean"]) == 0.8
    assert (result["average"]["metrics"]["dice"]["n"]) == 1


@pytest.mark.parametrize("level", ["image", "case", "pooled"])
def test_one_subject_or_no_resamples_give_no_interval(level):
    one = [row("a", dice=0.5), row("a", dice=0.6)]
    two = [row("a", dice=0.5), row("b", dice=0.6)]
    none = EvaluateConfig(metrics=["dice"], bootstrap=0)
    for rows, config in ((one, DICE), (two, none)):
        cell = aggregate(rows, ["lesion"], config, level)["lesion"]["metrics"]["dice"]
        assert cell["interval"] is None
        assert cell["mean"] is not None


def test_a_single_value_has_no_standard_deviation():
    cell = aggregate([row("a", dice=0.5)], ["lesion"], DICE, "image")["lesion"]["metrics"]["dice"]
    assert (cell["mean"], cell["std"], cell["median"]) == (0.5, None, 0.5)


def test_distances_alone_leave_the_pooled_level_with_counts_only():
    config = EvaluateConfig(metrics=["hd"])
    result = aggregate([row("a", hd=1.0), row("b", hd=2.0)], ["lesion"], config, "pooled")
    assert result["lesion"] == {
        "counts": {"n": 2, "n_both_empty": 0, "n_false_alarm": 0, "n_missed": 0},
        "metrics": {},
    }


TWO = [
    row("a", "big", dice=0.9),
    row("a", "small", dice=OUT),
    row("b", "big", dice=0.5),
    row("b", "small", dice=0.1),
]


@pytest.mark.parametrize(
    ("rule", "mean", "n"),
    [
        ("classes", (0.7 + 0.1) / 2, 2),  # mean of the printed columns
        ("cases", (0.9 + 0.3) / 2, 2),  # of each case over the classes it has
    ],
)
def test_averages_over_classes_follow_the_stated_rule(rule, mean, n):
    config = EvaluateConfig(metrics=["dice"], average=rule)
    found = aggregate(TWO, ["big", "small"], config, "image")["average"]
    assert found["metrics"]["dice"]["mean"] == pytest.approx(mean)
    assert found["metrics"]["dice"]["n"] == n
    assert found["counts"]["n"] == 4


def test_a_strict_average_has_no_value_where_a_class_has_none():
    rows = [row(s, "big", dice=0.8) for s in "ab"] + [row(s, "none", dice=OUT) for s in "ab"]
    config = EvaluateConfig(metrics=["dice"], average="strict")
    found = aggregate(rows, ["big", "none"], config, "image")["average"]["metrics"]["dice"]
    assert (found["mean"], found["interval"]) == (None, None)


def test_an_infinite_distance_makes_the_mean_infinite_and_has_no_interval():
    rows = [row("a", hd=3.0), row("b", hd=math.inf), row("c", hd=1.0)]
    cell = aggregate(rows, ["lesion"], EvaluateConfig(metrics=["hd"]), "image")["lesion"]
    cell = cell["metrics"]["hd"]
    assert cell == {"mean": "inf", "std": None, "median": 3.0, "n": 3, "interval": None}
