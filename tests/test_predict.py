"""predict: masks on the input's own grid, whatever was fitted, tiled, averaged or turned between.

Most tests use a network that says where the image is bright, so that the right mask is known.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config, override, parse_config
from crosslinknet.errors import DataError, ShapeError, SystemProblem, UsageError
from crosslinknet.models import build_model
from crosslinknet.predict import (
    Predictor,
    find_inputs,
    load,
    mask_path,
    pick_device,
    predict_to_folder,
)
from crosslinknet.train.state import write_model
from tests.readers.dicoms import PHOTO, dataset, write_series
from tests.readers.dicoms import save as save_dicom

FITS = ("pad", "crop", "resize", "letterbox")
WAYS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1)}
WAYS["I"] = (0, 0, -1)
SPEC: dict[str, Any] = {"name": "unet5", "widths": [4, 4, 8, 8, 16], "attention_blocks": []}


class Bright(nn.Module):
    """Class k is where the mean of the channels is above (k + 1) / (K + 1)."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.arange(1, classes + 1) / (classes + 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 200 * (x.mean(dim=1, keepdim=True) - self.levels[:, None, None])  # (B, K, H, W)


def make_config(*settings: str) -> Config:
    content = {"data": {"root": "data"}, "image": {"size": [64, 64]}}
    return parse_config(override(content, settings))


def bright(*settings: str) -> Predictor:
    config = make_config(*settings)
    return Predictor([Bright(len(config.classes)).eval()], config)


def picture(height: int, width: int) -> np.ndarray:
    """A dark slice with a bright box off its centre."""
    image = np.full((height, width), 20, np.uint8)
    image[height // 4 : height // 2, width // 2 : width - 5] = 230
    return image


def write_network(path: Path, seed: int, config: Config | None = None, **spec: Any) -> Path:
    """A small network with weights at random, and a threshold near its middle answer."""
    torch.manual_seed(seed)
    spec = SPEC | {"in_channels": 1, "num_classes": 1} | spec
    model = build_model(**spec).eval()
    write_model(path, model, spec, config or make_config(), seed)
    return path


def agreement(pred: np.ndarray, target: np.ndarray) -> float:
    return float(2 * (pred & target).sum() / (pred.sum() + target.sum()))


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("size", [(64, 64), (40, 57), (33, 64)])
def test_masks_of_slices_that_are_not_scaled_are_exact(fit, size):
    image = picture(*size)
    mask = bright(f"image.fit={fit}").predict(image)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, image > 128)


@pytest.mark.parametrize("size", [(150, 97), (64, 200), (65, 64), (100, 40)])
def test_crop_slides_over_slices_that_are_larger_than_the_input(size):
    image = picture(*size)
    assert np.array_equal(bright("image.fit=crop").predict(image), image > 128)


@pytest.mark.parametrize("fit", ["resize", "letterbox"])
@pytest.mark.parametrize("size", [(64, 64), (40, 57), (150, 97), (20, 300), (31, 7)])
def test_scaled_slices_come_back_in_their_own_size(fit, size):
    image = picture(*size)
    mask = bright(f"image.fit={fit}").predict(image)
    assert mask.shape == size
    if min(size) > 32:
        assert agreement(mask > 0, image > 128) > 0.93


def test_pad_refuses_a_slice_that_is_larger_than_the_input():
    with pytest.raises(ShapeError, match=r"65x64.*64x64.*'pad'"):
        bright("image.fit=pad").predict(picture(65, 64))


def test_a_volume_is_segmented_slice_by_slice():
    volume = np.stack([picture(40, 50), np.zeros((40, 50), np.uint8), picture(40, 50)[::-1]])
    segment = bright("image.fit=pad", "predict.batch_size=2")
    mask = segment.predict(volume, spacing=(5.0, 0.8, 0.8))
    assert np.array_equal(mask, volume > 128)
    probs = segment.predict_probabilities(volume)
    assert probs.shape == (1, 3, 40, 50)
    assert np.array_equal(probs[0] > 0.5, volume > 128)
    assert segment.predict_probabilities(volume[0]).shape == (1, 40, 50)


def test_colour_has_its_channels_last():
    image = np.repeat(picture(40, 50)[..., None], 3, axis=-1)
    image[:5, :5] = (255, 255, 0)
    segment = bright("image.fit=pad", "image.channels=3")
    mask = segment.predict(image, spacing=(1.0, 1.0))
    assert np.array_equal(mask, image.mean(axis=-1) > 128)
    assert np.array_equal(segment.predict(image[None])[0], mask)
    grey = picture(40, 50)
    assert np.array_equal(segment.predict(grey), grey > 128)


def test_any_number_of_channels_has_them_last():
    image = np.stack([picture(40, 50), picture(40, 50)], axis=-1)
    segment = bright("image.fit=pad", "image.channels=2")
    assert np.array_equal(segment.predict(image), image[..., 0] > 128)
    with pytest.raises(DataError, match="number of channels is 1 in the image, 2 in"):
        segment.predict(image[..., 0])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 40, 50), np.uint8), "this model takes numbers (H, W) or (D, H, W)"),
        (np.zeros(40, np.uint8), "shape (40,)"),
        (np.zeros((40, 0), np.uint8), "shape (40, 0)"),
        (np.zeros((40, 50), bool), "type bool"),
        (np.zeros((40, 50, 3), np.uint8), "looks like a colour picture"),
    ],
)
def test_arrays_of_other_shapes_are_refused(array, said):
    with pytest.raises(ShapeError) as caught:
        bright().predict(array)
    assert said in str(caught.value)


def test_an_array_with_nan_is_refused():
    with pytest.raises(DataError, match="NaN"):
        bright("image.window=[0, 1]").predict(np.full((40, 50), np.nan, np.float32))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0)])
def test_spacing_must_have_a_number_per_axis(spacing):
    with pytest.raises(ShapeError, match="for 2 axes"):
        bright().predict(picture(40, 50), spacing=spacing)


def test_masks_hold_the_values_of_the_label_map():
    image = np.zeros((40, 50), np.uint8)
    image[10:20], image[20:30] = 128, 255  # classes from 1/3 and from 2/3 on
    grey = bright("image.fit=pad", "data.label_map={all: [7, 300], core: [300]}")
    mask = grey.predict(image)
    assert mask.dtype == np.uint16
    assert [np.unique(mask[rows]).tolist() for rows in (slice(10, 20), slice(20, 30))] == [
        [7],
        [300],
    ]
    assert mask[:10].max() == mask[30:].max() == 0
    colour = bright("image.fit=pad", "data.label_map={polyp: ['#ff0080']}")
    assert np.unique(colour.predict(image)).tolist() == [0, 0xFF0080]


def test_the_threshold_is_a_probability():
    image = np.full((64, 64), 128, np.uint8)  # 0.502: logit 0.39, probability 0.597
    assert bright("predict.threshold=0.59").predict(image).all()
    assert not bright("predict.threshold=0.61").predict(image).any()


class Softly(nn.Module):
    """Background, left and right class: logits 0, 2 - 4x, 4x - 2 for grey x."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0 * x, 2 - 4 * x, 4 * x - 2], dim=1) * self.one


def test_softmax_takes_the_largest_of_background_and_classes():
    config = make_config(
        "loss.classes=softmax", "data.label_map={dark: [1], light: [2]}", "image.window=[0, 1]"
    )
    segment = Predictor([Softly().eval()], config)
    image = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[:, None], 64, axis=1)
    mask = segment.predict(image)
    assert np.array_equal(mask, np.where(image < 0.5, 1, 2))
    probs = segment.predict_probabilities(image)  # (2, 64, 64)
    dark, light = (np.exp(2 - 4 * image), np.exp(4 * image - 2))
    expected = np.stack([dark, light]) / (1 + dark + light)
    np.testing.assert_allclose(probs, expected, atol=1e-6)


def test_several_models_are_averaged_as_probabilities():
    def constant(p: float) -> nn.Module:
        model = nn.Conv2d(1, 1, 1)
        nn.init.zeros_(model.weight)
        nn.init.constant_(model.bias, float(np.log(p / (1 - p))))
        return model.eval()

    segment = Predictor([constant(0.9), constant(0.3)], make_config())
    probs = segment.predict_probabilities(np.zeros((64, 64), np.uint8))
    np.testing.assert_allclose(probs, 0.6, atol=1e-6)


def test_flip_averages_with_the_mirrored_slice():
    class Leftish(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            ramp = torch.linspace(-3, 3, x.shape[-1]).expand(x.shape)
            return ramp * self.one

    plain, flipped = (
        Predictor([Leftish().eval()], make_config(f"predict.flip={flip}")).predict_probabilities(
            np.zeros((64, 64), np.uint8)
        )
        for flip in ("false", "true")
    )
    np.testing.assert_allclose(flipped, (plain + plain[..., ::-1]) / 2, atol=1e-6)
    np.testing.assert_allclose(flipped, 0.5, atol=1e-6)


@pytest.mark.parametrize("fit", FITS)
def test_a_slice_gets_the_same_mask_alone_and_in_a_volume(tmp_path, fit):
    segment = load(write_network(tmp_path / "m.safetensors", 0, make_config(f"image.fit={fit}")))
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 256, (11, 60, 50), dtype=np.uint8)
    together = segment.predict_probabilities(volume)
    cut = float(np.median(together))
    for d in (0, 5, 10):
        alone = segment.predict_probabilities(volume[d])
        np.testing.assert_allclose(alone, together[:, d], atol=1e-6)
        assert ((alone > cut) == (together[:, d] > cut)).mean() > 0.999


def test_loading_gives_the_network_that_was_saved(tmp_path):
    segment = load(write_network(tmp_path / "m.safetensors", 3))
    torch.manual_seed(3)
    model = build_model(**SPEC, in_channels=1, num_classes=1).eval()
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    with torch.inference_mode():
        expected = torch.sigmoid(model(torch.from_numpy(image / np.float32(255))[None, None]))
    np.testing.assert_allclose(segment.predict_probabilities(image), expected[0].numpy(), atol=1e-6)


def test_a_run_is_all_its_folds_and_a_fold_is_one_model(finished_run: Path):
    run = finished_run / "runs" / "exp"
    whole, folds = load(str(run)), [load(run / f"fold_{fold}") for fold in (0, 1)]
    assert [len(segment.models) for segment in (whole, *folds)] == [2, 1, 1]
    image = np.asarray(Image.open(next((finished_run / "data" / "images").iterdir())))
    mean = sum(segment.predict_probabilities(image) for segment in folds) / 2
    np.testing.assert_allclose(whole.predict_probabilities(image), mean, atol=1e-6)
    file = load(run / "fold_1" / "checkpoints" / "model.safetensors")
    assert np.array_equal(file.predict(image), folds[1].predict(image))


def test_what_holds_no_model_is_a_data_error(tmp_path, finished_run):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="holds no trained model"):
            load(path)
    (tmp_path / "cut.safetensors").write_bytes(
        write_network(tmp_path / "m.safetensors", 0).read_bytes()[:-100]
    )
    with pytest.raises(DataError, match=r"cut\.safetensors is not a readable checkpoint"):
        load(tmp_path / "cut.safetensors")
    state = finished_run / "runs" / "exp" / "fold_0" / "checkpoints" / "last.safetensors"
    with pytest.raises(DataError, match="expected 'crosslinknet/model/1'"):
        load(state)


def test_weights_of_another_shape_are_a_data_error(tmp_path):
    torch.manual_seed(0)
    model = build_model(**SPEC, in_channels=1, num_classes=2)
    spec = SPEC | {"in_channels": 1, "num_classes": 1}
    write_model(tmp_path / "m.safetensors", model, spec, make_config(), 0)
    with pytest.raises(DataError, match="do not fit"):
        load(tmp_path / "m.safetensors")


def test_a_device_that_is_not_there_is_a_problem_of_the_machine():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(SystemProblem, match=r"'tpu' does not answer here; ready are .*cpu"):
        pick_device("tpu")


# Files


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("a.png", "a.png"),
        ("a.b.c.png", "a.b.c.png"),
        ("a.tif", "a.tif"),
        ("a.bmp", "a.png"),
        ("A.PNG", "A.png"),
    ],
)
def test_pictures_get_masks_of_their_name_and_size(tmp_path, name, result):
    image = picture(40, 50)
    save(tmp_path / "in" / name, image)
    segment = bright("image.fit=pad", "predict.probabilities=true")
    (mask,) = predict_to_folder(segment, find_inputs(str(tmp_path / "in"), 1), tmp_path / "out")
    assert mask == tmp_path / "out" / result
    assert np.array_equal(np.asarray(Image.open(mask)), image > 128)
    probs = np.asarray(Image.open(tmp_path / "out" / "probabilities" / result))
    assert probs.dtype == np.uint16
    assert np.array_equal(probs > 32767, image > 128)


def test_a_jpg_gets_a_png_mask(tmp_path):
    image = picture(40, 50)
    save(tmp_path / "in" / "a.jpg", image)
    (mask,) = predict_to_folder(
        bright("image.fit=pad"), find_inputs(str(tmp_path / "in" / "a.jpg"), 1), tmp_path / "out"
    )
    assert mask.name == "a.png"
    assert agreement(np.asarray(Image.open(mask)) > 0, image > 128) > 0.98


def test_a_tiff_of_several_pages_is_a_volume(tmp_path):
    pages = [picture(40, 50), picture(40, 50)[::-1].copy()]
    first, second = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "scan.tif", save_all=True, append_images=[second])
    (mask,) = predict_to_folder(
        bright("image.fit=pad"), find_inputs(str(tmp_path / "scan.tif"), 1), tmp_path / "out"
    )
    with Image.open(mask) as result:
        assert result.n_frames == 2  # type: ignore[attr-defined]
        for index, page in enumerate(pages):
            result.seek(index)
            assert np.array_equal(np.asarray(result), page > 128)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal", 0, 1, 2])
@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR", "IRP"])
def test_a_volume_keeps_its_grid_orientation_and_header(tmp_path, plane, codes):
    rng = np.random.default_rng(1)
    voxels = (rng.random((34, 40, 36)) > 0.5).astype(np.float32)
    affine = np.eye(4)
    for axis, (code, mm) in enumerate(zip(codes, (0.7, 0.9, 5.0), strict=True)):
        affine[:3, axis] = np.multiply(WAYS[code], mm)
    affine[:3, 3] = (-12.0, 30.5, 7.25)
    image = nib.Nifti1Image(voxels, affine)
    image.header["descrip"] = b"scanner X"
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    nib.save(image, tmp_path / "scan.nii.gz")

    segment = bright("image.window=[0, 1]", "image.fit=pad", f"image.slice_axis={plane}")
    (path,) = predict_to_folder(
        segment, find_inputs(str(tmp_path / "scan.nii.gz"), 1), tmp_path / "out"
    )
    mask = nib.load(path)
    assert path.name == "scan.nii.gz"
    assert np.array_equal(np.asarray(mask.dataobj), voxels > 0.5)
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)
    assert nib.aff2axcodes(mask.affine) == tuple(codes)
    assert mask.header.get_zooms() == pytest.approx((0.7, 0.9, 5.0))
    assert bytes(mask.header["descrip"]).startswith(b"scanner X")
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (1, 1)
    assert mask.get_data_dtype() == np.uint8


def test_probabilities_of_a_volume_are_one_float_file_with_the_classes_last(tmp_path):
    voxels = np.random.default_rng(0).random((34, 40, 36)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1, -1, 2, 1])), tmp_path / "scan.nii")
    segment = bright(
        "image.window=[0, 1]", "image.fit=pad", "data.label_map={a: [1], b: [2]}",
        "predict.probabilities=true",
    )  # fmt: skip
    predict_to_folder(segment, find_inputs(str(tmp_path / "scan.nii"), 1), tmp_path / "out")
    probs = nib.load(tmp_path / "out" / "probabilities" / "scan.nii")
    assert probs.shape == (34, 40, 36, 2)
    assert probs.get_data_dtype() == np.float32
    expected = 1 / (1 + np.exp(-200 * (voxels[..., None] - np.array([1 / 3, 2 / 3]))))
    np.testing.assert_allclose(np.asarray(probs.dataobj), expected, atol=1e-3)


def test_probabilities_of_several_classes_are_pictures_named_by_class(tmp_path):
    save(tmp_path / "a.png", picture(40, 50))
    segment = bright("data.label_map={glass: [1], solid: [2]}", "predict.probabilities=true")
    predict_to_folder(segment, find_inputs(str(tmp_path / "a.png"), 1), tmp_path / "out")
    written = sorted(p.name for p in (tmp_path / "out" / "probabilities").iterdir())
    assert written == ["a.glass.png", "a.solid.png"]


def test_an_input_is_never_overwritten_and_nothing_is_written_before_that_is_known(tmp_path):
    before = {}
    for name in ("a.jpg", "b.png"):
        save(tmp_path / name, picture(40, 50))
        before[name] = (tmp_path / name).read_bytes()
    cases = find_inputs(str(tmp_path), 1)
    with pytest.raises(UsageError, match=r"b\.png is an input and would be overwritten"):
        predict_to_folder(bright("image.fit=pad"), cases, tmp_path, existing="replace")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_masks_that_are_there_are_replaced_only_when_asked(tmp_path):
    save(tmp_path / "in" / "a.png", picture(40, 50))
    reference = save(tmp_path / "masks" / "a.png", np.full((40, 50), 7, np.uint8))
    cases, segment = find_inputs(str(tmp_path / "in"), 1), bright("image.fit=pad")
    with pytest.raises(UsageError, match=r"masks.*a\.png exists.*--force"):
        predict_to_folder(segment, cases, tmp_path / "masks")
    assert (np.asarray(Image.open(reference)) == 7).all()
    predict_to_folder(segment, cases, tmp_path / "masks", existing="replace")
    assert np.unique(np.asarray(Image.open(reference))).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("settings", "name"),
    [((), "a.png"), (("data.label_map={glass: [1], solid: [2]}",), "a.glass.png")],
)
def test_probabilities_never_overwrite_an_input(tmp_path, settings, name):
    source = save(tmp_path / "probabilities" / name, picture(40, 50))
    before = source.read_bytes()
    segment = bright("image.fit=pad", "predict.probabilities=true", *settings)
    cases = [CaseFiles("a", "a", (source,))]
    with pytest.raises(UsageError, match=r"probabilities.*is an input and would be overwritten"):
        predict_to_folder(segment, cases, tmp_path, existing="replace")
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["probabilities"]


def test_a_prediction_that_met_a_damaged_file_goes_on_from_there(tmp_path):
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png", picture(40, 50))
    broken = tmp_path / "in" / "b.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    segment, out = bright("image.fit=pad"), tmp_path / "out"
    cases = find_inputs(str(tmp_path / "in"), 1)
    with pytest.raises(DataError, match=r"in.b\.png cannot be read"):
        predict_to_folder(segment, cases, out)
    broken.write_bytes(whole)
    first = (out / "a.png").stat().st_mtime_ns
    seen: list[Path] = []
    paths = predict_to_folder(segment, cases, out, seen.append, existing="keep")
    assert paths == seen == [out / f"{name}.png" for name in "abc"]
    assert (out / "a.png").stat().st_mtime_ns == first
    assert (np.asarray(Image.open(out / "c.png")) == np.asarray(Image.open(out / "a.png"))).all()


def test_errors_of_predictions_name_the_file_and_not_only_the_case(tmp_path):
    volume = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 3), np.int16), np.eye(4)), volume)
    with pytest.raises(DataError, match=r"scan\.nii: image\.window 'dtype'"):
        predict_to_folder(bright(), find_inputs(str(volume), 1), tmp_path / "out")


def test_a_file_a_folder_and_a_pattern_are_understood(tmp_path):
    for name in ("b.png", "a.png", "c.jpg", "notes.txt", ".hidden.png"):
        path = tmp_path / name
        path.write_bytes(b"x")
    everything = [case.id for case in find_inputs(str(tmp_path), 1)]
    assert everything == ["a", "b", "c"]
    assert [case.id for case in find_inputs(str(tmp_path / "b.png"), 1)] == ["b"]
    assert [case.id for case in find_inputs(str(tmp_path / "*.png"), 1)] == ["a", "b"]
    assert [case.id for case in find_inputs(str(tmp_path / "[ab].*"), 1)] == ["a", "b"]


@pytest.mark.parametrize("pattern", ["nowhere", "*.gif", "."])
def test_a_pattern_without_images_is_a_data_error(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"matches no image that can be read.*in quotes"):
        find_inputs(pattern, 1)


def test_two_inputs_that_would_get_one_mask_are_refused_with_their_paths(tmp_path):
    for folder in ("anna", "bob"):
        save(tmp_path / folder / "scan.png", picture(40, 50))
    with pytest.raises(DataError, match=r"anna.scan\.png, .*bob.scan\.png would all be written"):
        find_inputs(str(tmp_path / "*" / "scan.png"), 1)


def test_files_of_nnunet_are_the_channels_of_a_case(tmp_path):
    for case in ("liver_1", "liver_2"):
        for channel in (0, 1):
            save(tmp_path / f"{case}_{channel:04}.png", picture(40, 50))
    cases = find_inputs(str(tmp_path), 2)
    assert [case.id for case in cases] == ["liver_1", "liver_2"]
    assert [path.name for path in cases[0].images] == ["liver_1_0000.png", "liver_1_0001.png"]
    (mask, _) = predict_to_folder(
        bright("image.fit=pad", "image.channels=2"), cases, tmp_path / "out"
    )
    assert mask.name == "liver_1.png"
    assert np.array_equal(np.asarray(Image.open(mask)), picture(40, 50) > 128)


def test_a_missing_channel_is_named(tmp_path):
    for name in ("a_0000", "a_0001", "b_0000"):
        save(tmp_path / f"{name}.png", picture(40, 50))
    with pytest.raises(DataError, match=r"case b has 1 of 2 channels .*b_0000 to b_0001"):
        find_inputs(str(tmp_path), 2)


def test_one_channel_of_nnunet_names_the_case(tmp_path):
    for name in ("liver_1_0000", "liver_2_0000"):
        save(tmp_path / f"{name}.png", picture(40, 50))
    assert [case.id for case in find_inputs(str(tmp_path), 1)] == ["liver_1", "liver_2"]


def test_numbered_pictures_are_cases_of_their_own(tmp_path):
    colour = np.repeat(picture(40, 50)[..., None], 3, axis=-1)
    for index in range(3):
        save(tmp_path / "colour" / f"img_{index:04}.png", colour)
        save(tmp_path / "grey" / f"img_{index:04}.png", picture(40, 50))
    assert len(find_inputs(str(tmp_path / "colour"), 3)) == 3
    assert len(find_inputs(str(tmp_path / "grey"), 1)) == 3


def test_channels_that_differ_in_size_are_refused(tmp_path):
    save(tmp_path / "a_0000.png", picture(40, 50))
    save(tmp_path / "a_0001.png", picture(40, 51))
    cases = find_inputs(str(tmp_path), 2)
    with pytest.raises(ShapeError, match=r"a_0001\.png is 1x40x51.*a_0000\.png is 1x40x50"):
        predict_to_folder(bright("image.channels=2"), cases, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_colour_picture_for_a_grey_model_is_refused(tmp_path):
    colour = np.zeros((40, 50, 3), np.uint8)
    colour[..., 0] = 255
    save(tmp_path / "a.png", colour)
    with pytest.raises(DataError, match="in colour"):
        predict_to_folder(bright(), find_inputs(str(tmp_path), 1), tmp_path / "out")


def test_masks_are_named_by_the_case(tmp_path):
    files = CaseFiles("case.7", "case.7", (Path("x/image_0000.nii.gz"), Path("x/y_0001.nii.gz")))
    assert mask_path(files, tmp_path) == tmp_path / "case.7.nii.gz"


def test_a_real_volume_of_the_brain_keeps_its_header(real_data, tmp_path):
    source = real_data / "msd_hippocampus" / "images" / "hippocampus_001.nii.gz"
    segment = bright("image.window=percentile")
    (path,) = predict_to_folder(segment, find_inputs(str(source), 1), tmp_path / "out")
    image, mask = nib.load(source), nib.load(path)
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, image.affine)
    assert mask.header["pixdim"].tolist() == image.header["pixdim"].tolist()


def test_a_pattern_with_two_stars_looks_into_folders_of_folders(tmp_path: Path):
    for name in ("a/one.png", "b/c/two.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(40, 40).astype(np.uint8)).save(tmp_path / name)
    found = find_inputs(str(tmp_path / "**" / "*.png"), 1)
    assert [case.id for case in found] == ["one", "two"]
    with pytest.raises(DataError, match=r"\*\*"):
        find_inputs(str(tmp_path), 1)


def test_a_dicom_series_gets_its_mask_as_nifti_on_its_own_grid(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 2, (3, 34, 40)).astype(np.int16)
    paths = write_series(tmp_path / "in" / "scan", voxels, order=[2, 0, 1], origin=(1, 2, 3))
    segment = bright("image.window=[0, 1]", "image.fit=pad", "predict.probabilities=true")
    for i, given in enumerate((paths[1], tmp_path / "in" / "scan", tmp_path / "in")):
        out = tmp_path / f"out{i}"
        (path,) = predict_to_folder(segment, find_inputs(str(given), 1), out)
        assert path == out / "scan.nii.gz"
        mask = nib.load(path)
        assert np.array_equal(np.asarray(mask.dataobj), voxels.T)  # columns, rows, slices
        affine = [[-0.5, 0, 0, -1], [0, -0.7, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]]
        np.testing.assert_allclose(mask.affine, affine, atol=1e-6)
        assert nib.load(out / "probabilities" / "scan.nii.gz").shape == (40, 34, 3)


def test_series_below_a_folder_are_found_and_named_by_their_folders(tmp_path):
    voxels = np.zeros((2, 34, 40), np.int16)
    for name in ("ann/ct", "bob/ct", "bob/mr"):
        write_series(tmp_path / name, voxels)
    found = find_inputs(str(tmp_path), 1)
    assert [case.id for case in found] == ["ann__ct", "bob__ct", "bob__mr"]
    write_series(tmp_path / "ann" / "ct", voxels, series="1.2", names="IM_000{}")
    found = find_inputs(str(tmp_path), 1)  # two series of one folder are called by their files
    assert [case.id for case in found] == ["IM_0000", "ct", "mr", "slice_000"]
    assert [case.id for case in find_inputs(str(tmp_path / "bob"), 1)] == ["ct", "mr"]
    assert [case.id for case in find_inputs(str(tmp_path / "*" / "ct" / "IM*"), 1)] == ["IM_0000"]
    assert mask_path(found[0], tmp_path).name == "IM_0000.nii.gz"


def test_dicom_pictures_get_pictures(tmp_path):
    save_dicom(tmp_path / "in" / "a.dcm", dataset(picture(40, 50), kind=PHOTO))
    frames = np.stack([picture(40, 50)] * 2)
    save_dicom(tmp_path / "in" / "b.dcm", dataset(frames, kind=PHOTO, NumberOfFrames=2))
    paths = predict_to_folder(
        bright("image.fit=pad"), find_inputs(str(tmp_path / "in"), 1), tmp_path / "out"
    )
    assert [path.name for path in paths] == ["a.png", "b.tif"]
    assert np.array_equal(np.asarray(Image.open(paths[0])), picture(40, 50) > 128)


def test_a_real_dicom_series_gets_a_mask_on_the_grid_of_its_labels(real_data, tmp_path):
    folder = real_data / "io_volumes" / "dicom_ct_series"
    segment = bright("image.window=[-1000, 1000]")
    (path,) = predict_to_folder(segment, find_inputs(str(folder), 1), tmp_path / "out")
    mask, labels = nib.load(path), nib.load(folder / "labels.nii.gz")
    turned = nib.as_closest_canonical(mask), nib.as_closest_canonical(labels)
    assert turned[0].shape == turned[1].shape
    np.testing.assert_allclose(turned[0].affine, turned[1].affine, atol=1e-3)


def test_stretched_probabilities_reach_from_0_to_1_in_each_slice_and_class():
    """As Inf-Net was tested; a slice in which nothing is likely then shows something."""

    class Faint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linspace(-5, -3, x.shape[-1]).expand(x.shape) * self.one

    array = np.zeros((64, 64), np.uint8)
    for stretch, largest, marked in (("false", 0.0474, False), ("true", 1.0, True)):
        segment = Predictor([Faint().eval()], make_config(f"predict.stretch={stretch}"))
        probs = segment.predict_probabilities(array)
        assert float(probs.max()) == pytest.approx(largest, abs=1e-3)
        assert bool(segment.predict(array).any()) == marked
    assert float(probs.min()) == 0.0
