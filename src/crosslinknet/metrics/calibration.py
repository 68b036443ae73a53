"""Do predicted probabilities mean what they say: reliability, expected calibration error, Brier.

Pixels are counted in bins of their probability, so that cases add up and subjects can be resampled.
Most pixels of a medical image are background that every model is sure of; they make the error of
all pixels small, whatever happens at the target. The same error over the pixels that the model
does not rule out (1 % and more) therefore stands beside it.
Order: EDGES, count_bins, calibration_errors, calibrate.

Source: Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import LabelError
from crosslinknet.statistics.bootstrap import bca_interval, left_out_sums, resampled_sums

Floats = NDArray[np.float64]

BINS = 15  # of equal width
RULED_OUT = 0.01  # splits the first one
EDGES: Floats = np.concatenate([[0.0, RULED_OUT], np.arange(1, BINS + 1) / BINS])


def count_bins(probs: NDArray[np.floating[Any]], target: NDArray[np.bool_]) -> Floats:
    """Count the pixels of one class of a case.

    Args:
        probs: probabilities in [0, 1], any shape.
        target: reference mask, same shape.

    Returns:
        (4, B): pixels of each bin of EDGES, sum of their probabilities, target pixels among them,
        sum of squared errors. Counts of cases may be added.

    Raises:
        LabelError: values that are no probabilities.
    """
    values = np.asarray(probs, dtype=np.float64).ravel()
    if not ((values >= 0) & (values <= 1)).all():
        raise LabelError(
            f"probabilities from {values.min():.4g} to {values.max():.4g}, expected 0 to 1 and no "
            "NaN. Write them again, after the sigmoid."
        )
    hit = target.ravel()
    place = np.clip(np.searchsorted(EDGES, values, side="right") - 1, 0, len(EDGES) - 2)
    weights = (None, values, hit, (values - hit) ** 2)
    return np.stack([np.bincount(place, w, minlength=len(EDGES) - 1) for w in weights])


def calibration_errors(counts: Floats) -> Floats:
    """Three errors (..., 3) of counts (..., 4, B), nan where there is no pixel.

    Expected calibration error of all pixels, in bins of equal width; of those that are not ruled
    out; and the Brier score. All in [0, 1], 0 is best.

    >>> probs = np.array([0.0, 0.8, 0.8, 0.8, 0.8])
    >>> counts = count_bins(probs, np.array([False, True, True, True, False]))
    >>> calibration_errors(counts).round(3).tolist()
    [0.04, 0.05, 0.152]
    """
    equal = np.concatenate([counts[..., :2].sum(axis=-1, keepdims=True), counts[..., 2:]], axis=-1)
    parts = [_expected_error(equal), _expected_error(counts[..., 1:])]
    return np.stack([*parts, _ratio(counts[..., 3, :].sum(-1), counts[..., 0, :].sum(-1))], axis=-1)


def calibrate(counts: Mapping[str, Floats], resamples: int) -> dict[str, Any]:
    """What ``summary.json`` says of one class.

    Args:
        counts: subject: (4, B), as ``count_bins`` gives them, cases added up.
        resamples: of the subjects, for the intervals.
    """
    totals = np.stack(list(counts.values()))  # (S, 4, B)
    shape, flat = totals.shape[1:], totals.reshape(len(totals), -1)
    every = totals.sum(axis=0)
    errors = calibration_errors(every)
    drawn, left_out = (
        calibration_errors(sums.reshape(-1, *shape))
        for sums in (resampled_sums(flat, resamples if len(flat) > 1 else 0), left_out_sums(flat))
    )
    cells = {}
    for i, name in enumerate(("ece", "ece_possible", "brier")):
        interval = bca_interval(errors[i], drawn[:, i], left_out[:, i])
        cells[name] = {
            "value": None if np.isnan(errors[i]) else float(errors[i]),
            "interval": None if interval is None else list(interval),
        }
    pixels, confidence, hits, _ = every
    bins = [
        {
            "low": float(EDGES[b]),
            "high": float(EDGES[b + 1]),
            "pixels": int(pixels[b]),
            "confidence": float(confidence[b] / pixels[b]),
            "frequency": float(hits[b] / pixels[b]),
        }
        for b in np.flatnonzero(pixels)
    ]
    return {**cells, "pixels": int(pixels.sum()), "bins": bins}


def _expected_error(counts: Floats) -> Floats:
    gaps = np.abs(counts[..., 1, :] - counts[..., 2, :]).sum(axis=-1)
    return _ratio(gaps, counts[..., 0, :].sum(axis=-1))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    result: Floats = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
