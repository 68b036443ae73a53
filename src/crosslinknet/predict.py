"""Applying trained models: slices in, masks on the input's own grid out.

Folds of a run are averaged as probabilities, then brought back to the source's grid, then cut at
the threshold: a resized mask is never rounded twice. Decision D17.
Order: probabilities of a batch, a whole case, the Predictor, files.
"""

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosslinknet.case import Case, CaseFiles
from crosslinknet.checkpoint import MODEL_FORMAT, part, read_checkpoint
from crosslinknet.config import Config, parse_config
from crosslinknet.datasets.found import case_ids
from crosslinknet.errors import DataError, ShapeError, SystemProblem, UsageError
from crosslinknet.geometry import Grid, place
from crosslinknet.labels import LabelTable, decode, label_table, to_values
from crosslinknet.models import build_model
from crosslinknet.preprocess import fit_image, normalise, unfit
from crosslinknet.readers import (
    is_image,
    mask_suffix,
    read_case,
    read_image,
    stem_of,
    suffix_of,
    write_mask,
    write_probabilities,
)
from crosslinknet.readers.dicom import first_files, is_dicom, place_of

CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's names of images: CASE_0000, CASE_0001, ...


def class_probabilities(logits: Tensor, exclusive: bool) -> Tensor:
    """Logits to probabilities of the foreground classes (B, K, H, W)."""
    return torch.softmax(logits, dim=1)[:, 1:] if exclusive else torch.sigmoid(logits)


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
    exclusive = config.loss.classes == "softmax"

    def forward(x: Tensor) -> Tensor:
        return torch.stack([class_probabilities(m(x), exclusive) for m in models]).mean(dim=0)

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
    return probs.float()


def probability_scores(probs: NDArray[np.float32], config: Config) -> NDArray[np.float32]:
    """Probabilities (K, ...) to scores whose sign says whether the class is present.

    Sigmoid classes: logit(p). Exclusive classes: log-odds against the background. Either is
    shifted so that ``predict.threshold`` becomes 0.
    """
    p = np.clip(probs, 1e-7, 1 - 1e-7)
    rest = 1 - p
    if config.loss.classes == "softmax":
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


def find_inputs(pattern: str, channels: int) -> list[CaseFiles]:
    """Files meant by a file name, a folder or a glob pattern, one case each.

    Of a DICOM series one file is enough; a folder of folders is searched for series. Where all
    names are nnU-Net's, CASE_0000 to the last channel of the model, the files of one channel each
    are the channels of CASE.

    Args:
        pattern: as typed.
        channels: of the model.

    Raises:
        DataError: nothing there that can be read, two files would get one result, or a channel
            is missing.
    """
    groups: dict[str, list[Path]] = {}
    found = _files(pattern)
    numbered = _are_channels(found, channels)
    for file, name in zip(found, _names(found, Path(pattern)), strict=True):
        match = CHANNEL.fullmatch(name) if numbered else None
        groups.setdefault(match[1] if match else name, []).append(file)
    for name, files in groups.items():
        together = ", ".join(str(file) for file in files)
        if not numbered and len(files) > 1:
            raise DataError(
                f"{together} would all be written as {name}. Rename them, or segment one folder at "
                "a time."
            )
        if numbered and len(files) != channels:
            raise DataError(
                f"case {name} has {len(files)} of {channels} channels ({together}). Give all of "
                f"{name}_0000 to {name}_{channels - 1:04}, as a folder or a pattern."
            )
    return [CaseFiles(name, name, tuple(files)) for name, files in sorted(groups.items())]


def _files(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        here = first_files(sorted(p for p in path.iterdir() if is_image(p)))
        below = (p for p in path.rglob("*") if is_image(p) and is_dicom(p) and p.is_file())
        found = here or first_files(sorted(below))
    elif path.is_file():
        found = [path]
    else:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207
        found = first_files(sorted(Path(name) for name in names if is_image(Path(name))))
    if not found:
        raise DataError(
            f"{pattern} matches no image that can be read (PNG, JPG, BMP, TIFF, NIfTI, DICOM, MHA, "
            "NRRD). Give a file, a folder of files, or a pattern in quotes such as "
            "'scans/*.nii.gz'; folders in folders are searched with 'scans/**/*.nii.gz'."
        )
    return found


def _names(files: Sequence[Path], root: Path) -> list[str]:
    """Names of the results: the files' stems; of DICOM series their folders' names.

    Series that lie below a folder may have folders of one name; the folders above are added then.
    """
    if not root.is_dir() or not all(map(is_dicom, files)):
        return [
            place_of(file).resolve().name if is_dicom(file) else stem_of(file) for file in files
        ]
    places = [place_of(file).relative_to(root).as_posix() for file in files]
    return case_ids([root.resolve().name if place == "." else place for place in places])


def _are_channels(files: Sequence[Path], channels: int) -> bool:
    """Whether all names end in the number of a channel, and the files hold one channel each."""
    matches = [CHANNEL.fullmatch(stem_of(file)) for file in files]
    if any(map(is_dicom, files)) or not all(
        match and int(match[2]) < channels for match in matches
    ):
        return False
    return channels == 1 or read_image(files[0], 0)[0].shape[1] == 1  # (D, C, H, W)


def mask_path(files: CaseFiles, out: Path) -> Path:
    """Where the mask of a case is written.

    JPG and BMP images get PNG masks: JPG would blur the labels, BMP cannot hold all of them.
    DICOM series get NIfTI. Slices taken out of a stack, and DICOM pictures, get pictures: PNG, or
    TIFF where they are several.

    >>> mask_path(CaseFiles("a.1", "a", (Path("a.1.JPG"),)), Path("out")).as_posix()
    'out/a.1.png'
    """
    suffix = mask_suffix(files.images[0])
    if files.slices is not None:
        suffix = ".png" if len(files.slices) == 1 else ".tif"
    return out / f"{files.id}{suffix}"


def predict_to_folder(
    predictor: Predictor,
    cases: Sequence[CaseFiles],
    out: Path,
    done: Callable[[Path], None] = lambda path: None,
    existing: Literal["error", "keep", "replace"] = "error",
) -> list[Path]:
    """Segment cases and write each mask under the case's name, in its own format and grid.

    Args:
        predictor: the models.
        cases: what to segment.
        out: folder.
        done: called with every mask that is there in the end.
        existing: what happens to masks, and to their probabilities, that are there: an error
            before anything is computed, kept, so that a call that was stopped goes on, or
            written anew. An input is never overwritten.

    Returns:
        Paths of the masks.

    Raises:
        UsageError: a file would replace an input, or one that is there with ``existing`` error.
    """
    targets = [mask_path(files, out) for files in cases]
    classes = predictor.table.classes if predictor.config.predict.probabilities else ()
    _refuse_to_overwrite(cases, targets, classes, existing)
    for files, target in zip(cases, targets, strict=True):
        if existing != "keep" or not target.exists():
            prediction, grid = predictor.predict_files(files)
            like = files.images[0] if files.slices is None else None
            table = predictor.table
            if prediction.probs is not None:
                probs = _probabilities_of(target)
                write_probabilities(probs, prediction.probs, grid, like, table.classes)
            write_mask(target, prediction.codes, table, grid, like)  # last: all is there with it
        done(target)
    return targets


def _refuse_to_overwrite(
    cases: Sequence[CaseFiles], targets: Sequence[Path], classes: Sequence[str], existing: str
) -> None:
    """Look at every file that is going to be written, before anything is computed."""
    inputs = {image.resolve() for files in cases for image in files.images}
    for target in targets:
        written = [target]
        if classes:
            probs = _probabilities_of(target)
            own = [probs.with_name(f"{stem_of(probs)}.{k}{suffix_of(probs)}") for k in classes]
            written += [probs, *own]
        for path in written:
            if path.resolve() in inputs:
                raise UsageError(f"{path} is an input and would be overwritten; choose another -o.")
            if path.exists() and existing == "error":
                raise UsageError(
                    f"{path} exists. Choose another -o, go on with --resume, which keeps the masks "
                    "that are there, or replace them with --force."
                )


def _probabilities_of(mask: Path) -> Path:
    return mask.parent / "probabilities" / mask.name
