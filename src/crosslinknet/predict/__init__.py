"""Applying trained models, and the files around it.

Read in this order: predictor (models and a case), inputs (what is segmented), folder (what is
written).
"""

from crosslinknet.predict.folder import mask_path, predict_to_folder
from crosslinknet.predict.inputs import find_inputs
from crosslinknet.predict.predictor import (
    Prediction,
    Predictor,
    load,
    pick_device,
    predict_batch,
    predict_case,
    probability_scores,
)

__all__ = [
    "Prediction",
    "Predictor",
    "find_inputs",
    "load",
    "mask_path",
    "pick_device",
    "predict_batch",
    "predict_case",
    "predict_to_folder",
    "probability_scores",
]
