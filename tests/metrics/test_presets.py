"""Presets give what the tools give: worked by hand, by their published rules, by running them."""

import math
import warnings

import numpy as np
import pytest
import torch
from monai.metrics import (
    DiceMetric,
    HausdorffDistanceMetric,
    MeanIoU,
    SurfaceDiceMetric,
    SurfaceDistanceMetric,
)

from crosslinknet.config import EvaluateConfig
from crosslinknet.metrics import METRICS, POLICIES, PRESETS, evaluate
from crosslinknet.metrics.registry import STATES
from crosslinknet.metrics.score import score_pairs, states_of
from crosslinknet.metrics.table import Row, aggregate

OUT = math.nan


def mask(*pixels, shape=(6, 6)):
    """A slice with the given pixels set, (row, column) or slices of them."""
    made = np.zeros(shape, dtype=bool)
    for pixel in pixels:
        made[pixel] = True
    return made


EMPTY, FULL = mask(), ~mask()
SQUARE = mask(np.s_[1:3, 1:3])  # 4 pixels
WIDER = mask(np.s_[1:3, 1:4])  # 6 pixels, the square in it


def table(preset, cases, classes=("lesion",)):
    """Means of a preset: {class: {heading: mean}}; cases of {class: (pred, target)}."""
    chosen = PRESETS[preset]
    config = EvaluateConfig(**chosen.settings)
    rows = []
    for i, case in enumerate(cases):
        for name in classes:
            pred, target = (np.asarray(m)[None] for m in case[name])
            counts, values = score_pairs(pred, target, (1.0, 1.0), config)
            own = {metric: float(value[0]) for metric, value in values.items()}
            state = STATES[states_of(counts)[0]]
            four = counts.to_array()[0].tolist()
            rows.append(Row(f"c{i}", f"c{i}", None, 0, name, *four, state, own))
    levels = {level: aggregate(rows, classes, config, level) for level in config.levels}
    names = [*classes, *(["average"] if len(classes) > 1 else [])]
    return {
        name: {
            heading: levels[level][name]["metrics"][metric]["mean"]
            for heading, metric, level in chosen.columns
        }
        for name in names
    }


def cases(*pairs):
    return [{"lesion": pair} for pair in pairs]


@pytest.mark.parametrize("name", PRESETS)
def test_settings_and_columns_of_a_preset_exist(name):
    preset = PRESETS[name]
    config = EvaluateConfig(**preset.settings)
    assert config.policy in POLICIES
    assert {metric for _, metric, _ in preset.columns} == set(config.metrics) <= set(METRICS)
    assert {level for _, _, level in preset.columns} == set(config.levels)


# nnU-Net 2: Dice and IoU are nan where TP + FP + FN = 0, means over cases leave nan out, and the
# foreground mean is the plain mean of the class means (nan if one is).


def test_nnunet_leaves_two_empty_masks_out_and_counts_false_alarms_and_misses_as_0():
    found = table(
        "nnunet", cases((WIDER, SQUARE), (EMPTY, EMPTY), (SQUARE, EMPTY), (EMPTY, SQUARE))
    )
    assert found["lesion"] == pytest.approx({"Dice": 0.8 / 3, "IoU": (4 / 6) / 3})


def test_nnunet_averages_class_means_and_has_none_where_a_class_never_occurs():
    some = [
        {"a": (WIDER, SQUARE), "b": (SQUARE, SQUARE)},
        {"a": (SQUARE, SQUARE), "b": (EMPTY, EMPTY)},
    ]
    assert table("nnunet", some, ("a", "b"))["average"]["Dice"] == pytest.approx((0.9 + 1) / 2)
    never = [{"a": (WIDER, SQUARE), "b": (EMPTY, EMPTY)}]
    assert table("nnunet", never, ("a", "b"))["average"]["Dice"] is None


def volumes(case):
    """Prediction and reference (7, 6, 5) of a case, labels 0 to 3, by arithmetic."""
    x, y, z = np.indices((7, 6, 5))
    pred = (x * y + z * (case + 2) + case) % 5 % 4
    target = (x * y + z * (case + 2) + (x > 4)) % 5 % 4
    pred[pred == 3] *= case % 2  # label 3: none predicted in cases 0 and 2
    target[target == 3] *= case // 2  # and none to be found in cases 0 and 1
    return pred, target


# nnunetv2 2.8.1, compute_metrics_on_folder on these volumes as NIfTI, labels [1, 2, 3, (1, 2)].
# It does not install beside ours (its dependencies ask for torchvision), so it ran apart.
NNUNET = {
    "both": (0.4107142857142857, 0.32515182186234814),
    "one": (0.25, 0.18055555555555555),
    "two": (0.25, 0.18055555555555555),
    "three": (0.0, 0.0),
    "average": (0.22767857142857142, 0.17156573324336483),
}


def test_nnunet_gives_the_numbers_that_nnunet_itself_gave():
    labels = {"one": [1], "two": [2], "three": [3], "both": [1, 2]}
    some = [
        {name: tuple(np.isin(side, own) for side in volumes(case)) for name, own in labels.items()}
        for case in range(4)
    ]
    found = table("nnunet", some, tuple(labels))
    for name, (dice, iou) in NNUNET.items():
        assert found[name] == pytest.approx({"Dice": dice, "IoU": iou}, abs=1e-12)


# KiTS19: label > 0 is kidney, label > 1 tumour; Dice per case, means over cases, their mean.


def test_kits19_scores_kidney_with_tumour_and_averages_both():
    assert PRESETS["kits19"].label_map == {"kidney": [1, 2], "tumour": [2]}
    some = [
        {"kidney": (WIDER, SQUARE), "tumour": (EMPTY, mask((1, 1)))},
        {"kidney": (SQUARE, SQUARE), "tumour": (mask((1, 1)), mask((1, 1)))},
    ]
    found = table("kits19", some, ("kidney", "tumour"))
    assert found["kidney"]["Dice"] == pytest.approx(0.9)
    assert found["tumour"]["Dice"] == pytest.approx(0.5)
    assert found["average"]["Dice"] == pytest.approx(0.7)


# The released code: 2 (I + 1) / (|P| + |T| + 1).


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ((EMPTY, EMPTY), 2.0),
        ((mask((0, 0)), mask((0, 0))), 4 / 3),
        ((mask(np.s_[:], shape=(10, 10)),) * 2, 202 / 201),
        ((WIDER, SQUARE), 10 / 11),
        ((EMPTY, SQUARE), 2 / 5),
    ],
)
def test_the_released_dice_is_smoothed_upwards(pair, value):
    assert table("released", cases(pair))["lesion"]["Dice"] == pytest.approx(value)


def test_the_mean_of_the_released_dice_can_pass_one():
    found = table("released", cases((EMPTY, EMPTY), (SQUARE, SQUARE)))
    assert found["lesion"]["Dice"] == pytest.approx((2 + 10 / 9) / 2)


# The paper, as its tables fit best.


def test_the_guess_of_the_paper_on_three_images_by_hand():
    images = cases((WIDER, SQUARE), (SQUARE, WIDER), (mask((5, 5)), SQUARE))
    found = table("paper-guess", images)["lesion"]
    # TP 4, 4, 0; FP 2, 0, 1; FN 0, 2, 4; |T| 4, 6, 4
    assert found["DSC"] == pytest.approx((0.8 + 0.8 + 0) / 3)
    assert found["OR/truth"] == pytest.approx((2 / 4 + 0 + 1 / 4) / 3)
    assert found["UR/truth"] == pytest.approx((0 + 2 / 6 + 1) / 3)
    assert found["Sen. (pooled)"] == pytest.approx(8 / 14)
    assert found["Spe.* (pooled precision)"] == pytest.approx(8 / 11)
    assert found["HD"] == pytest.approx((1 + 1 + math.hypot(4, 4)) / 3)


# Inf-Net: 256 thresholds of the stretched map, a pixel counts at or above the threshold; where
# nothing is hit, Dice, recall and specificity are 0.


def by_the_rules_of_inf_net(probs, target):
    grey = np.rint(probs * 255)
    if grey.min() < grey.max():
        stretched = (grey - grey.min()) / (grey.max() - grey.min())
    else:
        stretched = grey / 255
    dices, recalls, specificities = [], [], []
    for k in range(256):
        pred = stretched * 255 >= k - 1e-9  # free of the rounding of k / 255
        hit = np.sum(pred & target)
        background = np.sum(~target)
        dices.append(2 * hit / (pred.sum() + target.sum()) if hit else 0)
        recalls.append(hit / target.sum() if hit else 0)
        specificities.append(np.sum(~pred & ~target) / background if hit else 0)
    error = np.mean(np.abs(target - stretched))
    return [np.mean(dices), np.mean(recalls), np.mean(specificities), error]


SWEEPS = ["dice_sweep", "sensitivity_sweep", "specificity_sweep", "mae"]


def of_map(probs, target):
    config = EvaluateConfig(metrics=SWEEPS, policy="drop")
    _, values = score_pairs((probs >= 0.5)[None], target[None], None, config, probs[None])
    return [float(values[name][0]) for name in SWEEPS]


@pytest.mark.parametrize("seed", range(20))
def test_sweeps_of_random_maps_follow_the_rules_of_inf_net(seed):
    rng = np.random.default_rng(seed)
    target = rng.random((9, 11)) < rng.choice([0.0, 0.2, 0.5])
    probs = np.clip(rng.normal(0.3 + 0.3 * target, 0.2), 0, 1) * rng.uniform(0.2, 1)
    assert of_map(probs, target) == pytest.approx(by_the_rules_of_inf_net(probs, target))


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("target", [EMPTY, SQUARE, FULL])
def test_a_constant_map_is_not_stretched(value, target):
    probs = np.full((6, 6), value)
    if target.all():
        assert of_map(probs, target)[0] == pytest.approx((1 + round(value * 255)) / 256)
    else:
        assert of_map(probs, target) == pytest.approx(by_the_rules_of_inf_net(probs, target))


def test_a_perfect_mask_scores_less_than_1_since_the_lowest_threshold_takes_all():
    found = table("infnet", cases((SQUARE, SQUARE)))["lesion"]
    assert found["meanDic"] == pytest.approx((255 + 8 / 40) / 256)
    assert found["meanSen"] == 1
    assert found["meanSpe"] == pytest.approx(255 / 256)
    assert found["MAE"] == 0


def test_two_empty_masks_score_0_there():
    found = table("infnet", cases((EMPTY, EMPTY)))["lesion"]
    assert (found["meanDic"], found["meanSpe"]) == (0, 0)


# MONAI, run.


def random_cases(seed, number=12):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        case = {}
        for name in ("a", "b"):
            pred, target = rng.random((2, 7, 8)) < 0.3
            case[name] = (pred & (rng.random() < 0.8), target & (rng.random() < 0.7))
        made.append(case)
    return made


MONAI = {
    "Dice": lambda **options: DiceMetric(**options),
    "IoU": lambda **options: MeanIoU(**options),
    "HD": lambda **options: HausdorffDistanceMetric(include_background=True, **options),
    "HD95": lambda **options: HausdorffDistanceMetric(
        include_background=True, percentile=95, **options
    ),
    "ASD": lambda **options: SurfaceDistanceMetric(include_background=True, **options),
    "NSD": lambda **options: SurfaceDiceMetric([2.0, 2.0], include_background=True, **options),
}


@pytest.mark.parametrize("heading", MONAI)
@pytest.mark.parametrize("seed", range(4))
def test_tables_are_those_of_monai(heading, seed):
    some = random_cases(seed)
    pred, target = (
        torch.from_numpy(np.array([[case[n][side] for n in "ab"] for case in some])).float()
        for side in (0, 1)
    )
    found = table("monai", some, ("a", "b"))
    expected = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every empty mask
        for reduction in ("mean_batch", "mean"):
            metric = MONAI[heading](reduction=reduction)
            metric(y_pred=pred, y=target)
            expected[reduction] = metric.aggregate()
    ours = [float(found[name][heading]) for name in ("a", "b", "average")]
    theirs = [*expected["mean_batch"].tolist(), expected["mean"].item()]
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_the_same_masks_score_differently_in_every_tool():
    """Why a convention must be named: one miss, one false alarm, one empty pair, one hit."""
    same = cases((WIDER, SQUARE), (EMPTY, EMPTY), (SQUARE, EMPTY), (EMPTY, SQUARE))
    first = {name: next(iter(table(name, same)["lesion"].values())) for name in PRESETS}
    assert first["nnunet"] == pytest.approx(0.8 / 3)
    assert first["monai"] == pytest.approx(0.8 / 2)
    assert first["released"] == pytest.approx((10 / 11 + 2 + 2 / 5 + 2 / 5) / 4)
    assert len({round(value, 6) for value in first.values()}) >= 4


@pytest.mark.parametrize(
    ("policy", "dice", "hd", "specificity"),
    [
        ("worst", (OUT, 0, 0), (OUT, math.hypot(6, 6), math.hypot(6, 6)), (1, 32 / 36, 1)),
        ("drop", (OUT, 0, 0), (OUT, OUT, OUT), (1, 32 / 36, 1)),
        ("one", (1, 0, 0), (0, math.hypot(6, 6), math.hypot(6, 6)), (1, 32 / 36, 1)),
        ("monai", (OUT, OUT, 0), (OUT, math.inf, math.inf), (1, 32 / 36, 1)),
    ],
)
def test_policies_on_empty_masks(policy, dice, hd, specificity):
    pairs = [(EMPTY, EMPTY), (SQUARE, EMPTY), (EMPTY, SQUARE)]
    found = [
        evaluate(*pair, metrics=["dice", "hd", "specificity"], policy=policy) for pair in pairs
    ]
    for name, expected in (("dice", dice), ("hd", hd), ("specificity", specificity)):
        assert [f[name] for f in found] == pytest.approx(list(expected), nan_ok=True)
