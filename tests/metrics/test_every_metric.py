"""What holds for every entry of METRICS; a new metric needs no new test here."""

import math

import numpy as np
import pytest

from crosslinknet.config import EvaluateConfig
from crosslinknet.metrics import METRICS, evaluate

rng = np.random.default_rng(0)
TARGET = np.zeros((20, 20), dtype=bool)
TARGET[4:12, 6:15] = TARGET[0, 0] = True
WORSE = TARGET.copy()
WORSE[10:18, 3:15] = True  # too much
WORSE[4:8] = WORSE[0, 0] = False  # and too little
WORSE[19, 19] = True
OWN = [name for name, metric in METRICS.items() if not metric.tool]
TOOLS = [name for name in METRICS if name not in OWN]


@pytest.mark.parametrize("name", OWN)
def test_a_perfect_prediction_gets_the_best_value(name):
    best = 1 if METRICS[name].higher_is_better else 0
    assert evaluate(TARGET, TARGET, metrics=[name]) == {name: best}


@pytest.mark.parametrize("name", METRICS)
def test_a_wrong_prediction_gets_a_worse_one(name):
    perfect, worse = (evaluate(p, TARGET, metrics=[name])[name] for p in (TARGET, WORSE))
    assert worse < perfect if METRICS[name].higher_is_better else worse > perfect


@pytest.mark.parametrize("name", METRICS)
def test_a_pair_without_an_empty_side_has_a_value(name):
    for _ in range(20):
        pred, target = rng.random((2, 7, 9)) < 0.3
        pred[0, 0] = target[-1, -1] = True
        assert math.isfinite(evaluate(pred, target, metrics=[name])[name])


@pytest.mark.parametrize("name", METRICS)
def test_only_distances_depend_on_the_spacing(name):
    near, far = (evaluate(WORSE, TARGET, (s, s), [name])[name] for s in (1.0, 3.0))
    if name == "nsd":  # as the tolerance does
        near = evaluate(WORSE, TARGET, (1.0, 1.0), [name], nsd_tolerance=2 / 3)[name]
    assert far == pytest.approx(3 * near if METRICS[name].unit == "distance" else near)


@pytest.mark.parametrize("name", METRICS)
def test_the_place_in_the_image_and_mirrors_do_not_matter(name):
    base, other = (evaluate(p, t, (1.0, 2.0), [name]) for p, t in [(WORSE, TARGET), turned()])
    assert other == pytest.approx(base)


def turned():
    return np.flip(WORSE, (0, 1)), np.flip(TARGET, (0, 1))


def test_the_default_config_asks_for_no_metric_of_a_single_tool():
    assert set(EvaluateConfig().metrics) < set(OWN)
    assert TOOLS
