"""Trained models applied to a case: slices in, masks on the input's own grid out.

Folds of a run are averaged as probabilities, then brought back to the source's grid, then cut at
the threshold: a resized mask is never rounded twice. Decision D17.
Order: probabilities of a batch, a whole case, the Predictor, how it is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosslinknet.case import Case, CaseFiles
from crosslinknet.checkpoint import MODEL_FORMAT, part, read_checkpoint
from crosslinknet.config import Config, parse_config
from crosslinknet.errors import DataError, ShapeError, SystemProblem
from crosslinknet.geometry import Grid, place
from crosslinknet.labels import LabelTable, decode, label_table, to_values
from crosslinknet.models import build_model
from crosslinknet.models.contract import probabilities
from crosslinknet.preprocess import fit_image, normalise, unfit
from crosslinknet.readers import (
    read_case,
)


@torch.inference_mode()
def predict_batch(models: Sequence[nn.Module], images: Tensor, config: Config) -> Tensor:
    """Mean probabilities over models, and over the mirror image where asked.

    Args:
        models: in eval mode, on the images' device.
        images: (B, C, H, W), float32 in [0, 1]; any size with fit ``crop``.
        config: of the training.

    Returns:
        (B, K, H, W), float32.
    """

    def forward(x: Tensor) -> Tensor:
        each = [probabilities(model(x), config.loss.classes) for model in models]
        return torch.stack(each).mean(dim=0)

    def tiled(x: Tensor) -> Tensor:
        if config.image.fit != "crop":
            return forward(x)
        from monai.inferers.utils import sliding_window_inference

        size, batch = config.image.size, config.predict.batch_size
        tiles = sliding_window_inference(x, size, batch, forward, overlap=0.5, mode="gaussian")
        assert isinstance(tiles, Tensor)
        return tiles

    probs = tiled(images)
    if config.predict.flip:
        probs = (probs + tiled(images.flip(-1)).flip(-1)) / 2
    probs = probs.float()
    if config.predict.stretch:
        low, high = probs.amin(dim=(2, 3), keepdim=True), probs.amax(dim=(2, 3), keepdim=True)
        probs = (probs - low) / (high - low + 1e-8)
    return probs


def probability_scores(probs: NDArray[np.float32], config: Config) -> NDArray[np.float32]:
    """Probabilities (K, ...) to scores whose sign says whether the class is present.

    Sigmoid classes: logit(p). Exclusive classes: log-odds against the background. Either is
    shifted so that ``predict.threshold`` becomes 0.
    """
    p = np.clip(probs, 1e-7, 1 - 1e-7)
    rest = 1 - p
    if config.loss.exclusive:
        rest = np.clip(1 - probs.sum(axis=0, keepdims=True), 1e-7, 1)
    t = config.predict.threshold
    scores: NDArray[np.float32] = np.log(p / rest) - np.float32(np.log(t / (1 - t)))
    return scores


@dataclass(frozen=True)
class Prediction:
    """What a model says about a case.

    Attributes:
        codes: (D, H, W) uint8, see labels.LabelTable.
        probs: (K, D, H, W) float32, on the same grid; None unless asked for.
    """

    codes: NDArray[np.uint8]
    probs: NDArray[np.float32] | None


def predict_case(
    models: Sequence[nn.Module],
    case: Case,
    config: Config,
    table: LabelTable,
    keep_probabilities: bool = False,
) -> Prediction:
    """Segment every slice of a case, on the case's own grid.

    Args:
        models: in eval mode, all on one device.
        case: as read, in the file's own intensities.
        config: of the training: window, size and fit are applied here.
        table: of the config's label_map.
        keep_probabilities: also return the probabilities.
    """
    device = next(models[0].parameters()).device
    image = normalise(case, config.image).image  # (D, C, H, W)
    depth, _, height, width = image.shape
    codes = np.empty((depth, height, width), np.uint8)
    kept = (
        np.empty((len(table.classes), depth, height, width), np.float32)
        if keep_probabilities
        else None
    )
    tiles = config.image.fit == "crop"
    placement = None if tiles else place((height, width), config.image.size, config.image.fit)
    step = 1 if tiles else config.predict.batch_size
    for start in range(0, depth, step):
        chunk = slice(start, start + step)
        fitted = fit_image(image[chunk], placement) if placement else image[chunk]
        x = torch.from_numpy(np.ascontiguousarray(fitted)).to(device)
        probs = predict_batch(models, x, config).movedim(1, 0).cpu().numpy()  # (K, B, H', W')
        if placement:
            probs = unfit(probs, placement, fill=0.0)  # (K, B, H, W)
        codes[chunk] = decode(probability_scores(probs, config), table)
        if kept is not None:
            kept[:, chunk] = probs
    return Prediction(codes, kept)


class Predictor:
    """Trained models that belong together, ready for arrays and files.

    Args:
        models: one per fold, in eval mode.
        config: of the training.
    """

    def __init__(self, models: Sequence[nn.Module], config: Config) -> None:
        self.models = list(models)
        self.config = config
        self.table = label_table(config.data.label_map)

    def predict(
        self, array: NDArray[Any], spacing: tuple[float, ...] | None = None
    ) -> NDArray[Any]:
        """Segment a slice or a volume.

        Args:
            array: (H, W) or (D, H, W), and for a model of C > 1 channels (H, W, C) or
                (D, H, W, C); intensities as in the training files (HU for a model trained on
                HU, 0..255 for 8-bit pictures).
            spacing: mm per pixel in the array's axis order; the network does not resample, so it
                only has to have the right length.

        Returns:
            Mask of the same height and width (and depth), with the mask values of label_map.

        Raises:
            ShapeError: another number of axes or channels; ``spacing`` of the wrong length.
            DataError: NaN or infinity; intensities that the window is not made for.
        """
        case = self._case(array, spacing)
        codes = predict_case(self.models, case, self.config, self.table).codes
        return to_values(codes if self._is_volume(array) else codes[0], self.table)

    def predict_probabilities(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """As ``predict``, giving (K, H, W) or (K, D, H, W) probabilities of the classes."""
        case = self._case(array, None)
        probs = predict_case(self.models, case, self.config, self.table, True).probs
        assert probs is not None
        return probs if self._is_volume(array) else probs[:, 0]

    def predict_files(self, files: CaseFiles) -> tuple[Prediction, Grid]:
        """Segment a case on disk; its own orientation comes back with the grid."""
        keep = self.config.predict.probabilities
        named = replace(files, id=str(files.images[0]), mask=None)  # for messages
        case = read_case(named, self.config.data, self.config.image)
        return predict_case(self.models, case, self.config, self.table, keep), case.grid

    def _is_volume(self, array: NDArray[Any]) -> bool:
        return array.ndim - self._has_channels(array) == 3

    def _has_channels(self, array: NDArray[Any]) -> bool:
        channels = self.config.image.channels
        return channels > 1 and array.ndim > 2 and array.shape[-1] == channels

    def _case(self, array: NDArray[Any], spacing: tuple[float, ...] | None) -> Case:
        array = np.asarray(array)
        planes = array if self._has_channels(array) else array[..., None]  # (..., H, W, C)
        if planes.ndim not in (3, 4) or array.size == 0 or array.dtype.kind not in "uif":
            channels = self.config.image.channels
            last = f", with the channels on a last axis of {channels}" if channels > 1 else ""
            raise ShapeError(
                f"predict got an array of shape {array.shape} and type {array.dtype}; this model "
                f"takes numbers (H, W) or (D, H, W){last}."
            )
        if array.ndim == 3 and array.shape[-1] in (3, 4) and not self._has_channels(array):
            raise ShapeError(
                f"predict got an array of shape {array.shape}, which looks like a colour picture; "
                f"this model takes {self.config.image.channels} channel(s). Give one of them, or "
                "the slices first: (D, H, W)."
            )
        if not np.isfinite(array).all():
            raise DataError("predict got an array with NaN or infinite pixels. Replace them first.")
        image = np.moveaxis(planes.reshape(-1, *planes.shape[-3:]), -1, 1)  # (D, C, H, W)
        axes = 3 if self._is_volume(array) else 2
        if spacing is not None and len(spacing) != axes:
            raise ShapeError(f"spacing {spacing} has {len(spacing)} numbers for {axes} axes.")
        mm = None if spacing is None else (*(1.0,) * (3 - axes), *map(float, spacing))
        depth, _, height, width = image.shape
        grid = Grid((depth, height, width), mm)  # type: ignore[arg-type]
        return Case("array", "array", image, None, grid)


def load(path: str | Path, device: str = "auto") -> Predictor:
    """Load a run (all finished folds), one fold, or one model file.

    Args:
        path: ``runs/NAME``, ``runs/NAME/fold_K`` or a ``model.safetensors``.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.

    Raises:
        DataError: no trained model there, or a damaged file.
        SystemProblem: the device is not there.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        patterns = ("checkpoints/model.safetensors", "fold_*/checkpoints/model.safetensors")
        files = sorted(f for pattern in patterns for f in path.glob(pattern))
    if not files or not files[0].is_file():
        raise DataError(
            f"{path} holds no trained model (no model.safetensors). Give a run folder such as "
            "runs/NAME, one of its fold_K folders, or the file itself; train with: xln run exp.yaml"
        )
    place_on = pick_device(device)
    models, config = [], None
    for file in files:
        tensors, info = read_checkpoint(file, MODEL_FORMAT)
        config = config or parse_config(info["config"], source=str(file))
        model = build_model(**info["model"])
        try:
            model.load_state_dict(part("model", tensors))
        except RuntimeError as error:
            raise DataError(f"{file}: the weights do not fit its own model ({error}).") from error
        models.append(model.eval().to(place_on))
    assert config is not None
    return Predictor(models, config)


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU."""
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there.get(name.partition(":")[0], False):
        ready = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise SystemProblem(f"device {name!r} does not answer here; ready are {ready}.")
    return torch.device(name)
