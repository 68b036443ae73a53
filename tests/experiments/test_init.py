"""The first config: right for the data, explained, accepted by a run as it is."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from crosslinknet.config import Config, load_config
from crosslinknet.errors import DataError, UsageError
from crosslinknet.experiments import init as module
from crosslinknet.experiments.crossval import begin
from crosslinknet.experiments.init import init, some_cases
from crosslinknet.train import Console

REAL = {  # set -> what a person who knows it would choose
    "covid19_i_ct": ({}, "letterbox", (352, 384), 1, "dtype", [[1], [2]]),
    "sunnybrook_lv": ({"data.masks": "masks_endo"}, "pad", (256, 256), 1, "dtype", [[1]]),
    "kits19_slices": ({}, "pad", (512, 512), 1, "dtype", [[1], [2]]),
    "kvasir_seg_100": ({}, "letterbox", (448, 512), 3, "dtype", [[1]]),
    "msd_hippocampus": ({}, "pad", (64, 64), 1, "percentile", [[1], [2]]),
    "isbi2012_em": ({}, "pad", (512, 512), 1, "dtype", [[1]]),
    "msd_liver_256": ({}, "pad", (256, 256), 1, "dtype", [[1]]),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins writes to runs/ of the working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def pair(folder: Path, name: str, image: np.ndarray, mask: np.ndarray, suffix: str = "png") -> None:
    save(folder / "images" / f"{name}.png", image)
    save(folder / "masks" / f"{name}.{suffix}", mask)


def grey(height: int = 40, width: int = 50) -> np.ndarray:
    return np.arange(height * width, dtype=np.uint32).reshape(height, width).astype(np.uint8)


def noise(seed: int) -> np.ndarray:
    """A slice like no other: given folds may not divide near-duplicates."""
    return np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)


def labels(*values: int, height: int = 40, width: int = 50) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for i, value in enumerate(values):
        mask[2 * i : 2 * i + 2] = value
    return mask


def volume(folder: Path, name: str, shape: tuple[int, ...], zooms: tuple[float, ...]) -> None:
    """CT in RAS order with a labelled corner."""
    voxels = np.full(shape, -1000, np.int16)
    voxels[4:8, 4:8, 4:8] = 200
    mask = (voxels > 0).astype(np.uint8)
    for part, array in (("images", voxels), ("labels", mask)):
        (folder / part).mkdir(exist_ok=True)
        image = nib.Nifti1Image(array, np.diag([*zooms, 1.0]))
        nib.save(image, folder / part / f"{name}.nii.gz")


def proposed(folder: Path, *settings: str) -> tuple[Config, str]:
    """The config that is written, and what was told."""
    path = folder / "my exp.yaml"
    told = init(folder, path, settings, force=True)
    return load_config(path), "\n".join(told)


def test_slices_of_one_size_are_padded_to_multiples_of_32(tmp_path):
    pair(tmp_path, "a_1", grey(), labels(1))
    pair(tmp_path, "a_2", grey(), labels(1))
    config, told = proposed(tmp_path)
    assert (config.image.size, config.image.fit) == ((64, 64), "pad")
    assert (config.image.channels, config.image.window) == (1, "dtype")
    assert "slices of 40x50: image.size 64x64, image.fit pad" in told
    assert config.data.label_map == {"foreground": [1]}
    assert config.data.layout == "folders"
    assert config.data.root == tmp_path.resolve()
    assert config.output.name == "my_exp"
    assert "2 cases, layout folders, 2 of them opened" in told


def test_pictures_of_many_sizes_are_scaled_to_a_size_near_the_middle(tmp_path):
    for name, size in (("a", (100, 100)), ("b", (130, 200)), ("c", (700, 250))):
        pair(tmp_path, name, grey(*size), labels(1, height=size[0], width=size[1]))
    image = proposed(tmp_path)[0].image
    assert (image.size, image.fit) == ((160, 224), "letterbox")


def test_very_large_pictures_are_scaled_down(tmp_path):
    pair(tmp_path, "a", grey(700, 1400), labels(1, height=700, width=1400))
    pair(tmp_path, "b", grey(700, 1400), labels(1, height=700, width=1400))
    image = proposed(tmp_path)[0].image
    assert (image.size, image.fit) == ((256, 512), "letterbox")


def test_colour_is_colour_and_grey_stored_as_colour_is_grey(tmp_path):
    coloured = np.repeat(grey()[..., None], 3, axis=-1)
    pair(tmp_path, "a", coloured, labels(1))
    pair(tmp_path, "b", coloured, labels(1))
    assert proposed(tmp_path)[0].image.channels == 1
    coloured[0, 0] = (255, 0, 0)
    pair(tmp_path, "b", coloured, labels(1))
    assert proposed(tmp_path)[0].image.channels == 3


def test_deep_pictures_are_windowed_by_percentiles(tmp_path):
    for name in "ab":
        pair(tmp_path, name, grey().astype(np.uint16) * 16, labels(255))
    config, told = proposed(tmp_path)
    assert config.image.window == "percentile"
    assert "1 channel of uint16, 0 to 4080: image.window percentile" in told
    assert config.data.label_map == {"foreground": [255]}


def test_every_mask_value_becomes_a_class_and_is_counted(tmp_path):
    pair(tmp_path, "a", grey(), labels(1, 3))
    pair(tmp_path, "b", grey(), labels(1))
    config, told = proposed(tmp_path)
    assert config.data.label_map == {"class_1": [1], "class_3": [3]}
    assert "masks hold 0 (3700 px), 1 (200 px), 3 (100 px)" in told


def test_colours_of_masks_become_classes(tmp_path):
    mask = np.zeros((40, 50, 3), np.uint8)
    mask[:10] = (255, 0, 128)
    for name in "ab":
        pair(tmp_path, name, grey(), mask)
    assert proposed(tmp_path)[0].data.label_map == {"foreground": ["#ff0080"]}


def outlines(folder: Path, *shapes: str) -> None:
    """Two images of 40x50 with boxes of these labels, as labelme writes them."""
    for name in "ab":
        save(folder / f"{name}.png", grey())
        content = {
            "shapes": [
                {"label": s, "shape_type": "rectangle", "points": [[0, 2 * i], [50, 2 * i + 1]]}
                for i, s in enumerate(shapes)
            ]
        }
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_labels_of_outlines_become_classes_by_their_names(tmp_path):
    outlines(tmp_path, "polyp")
    config, told = proposed(tmp_path)
    assert config.data.label_map == {"polyp": ["polyp"]}
    assert "outlines hold 0 (3900 px), polyp (100 px)" in told
    outlines(tmp_path, "solid part", "solid/part", "Zyste")
    config, _ = proposed(tmp_path)
    assert config.data.label_map == {
        "Zyste": ["Zyste"],
        "solid_part": ["solid part"],
        "solid_part_": ["solid/part"],
    }
    alike = config.split.model_copy(update={"duplicates": "ignore"})  # both images are black
    begin(config.model_copy(update={"split": alike}), None, False, Console())


def test_outlines_may_have_many_labels(tmp_path):
    outlines(tmp_path, *(f"bone{i:02}" for i in range(15)))
    assert len(proposed(tmp_path)[0].data.label_map) == 15


def test_outlines_that_are_all_empty_are_asked_about(tmp_path):
    outlines(tmp_path)
    with pytest.raises(DataError, match="are all empty"):
        proposed(tmp_path)


def test_the_entity_of_bids_tells_persons_apart_in_any_layout(tmp_path):
    for name in ("sub-01_ses-1_x", "sub-01_ses-2_x", "sub-02_ses-1_x"):
        pair(tmp_path, name, grey(), labels(1))
    _, told = proposed(tmp_path)
    assert "The names have 2 beginnings such as sub-01" in told
    assert "-s 'data.subject=(sub-[a-zA-Z0-9]+)'" in told


def test_jpg_masks_need_a_threshold(tmp_path):
    for name in "ab":
        pair(tmp_path, name, grey(), labels(255), suffix="jpg")
    with pytest.raises(DataError) as caught:
        proposed(tmp_path)
    for part in ("2 of 2 masks are JPG", "a.jpg", "-s data.threshold=127"):
        assert part in str(caught.value)
    config, told = proposed(tmp_path, "data.threshold=127")
    assert config.data.threshold == 127
    assert config.data.label_map == {"foreground": [1]}
    assert "pixels above 127 of the masks are foreground" in told


def test_grey_pictures_in_place_of_masks_are_asked_about(tmp_path):
    pair(tmp_path, "a", grey(), grey())
    with pytest.raises(DataError, match=r"a\.png for one, hold 255 different values.*threshold"):
        proposed(tmp_path)
    config, _ = proposed(tmp_path, "data.label_map={all: [1]}")
    assert config.data.label_map == {"all": [1]}


def test_empty_masks_are_asked_about(tmp_path):
    pair(tmp_path, "a", grey(), labels())
    with pytest.raises(DataError, match=r"are all empty.*data\.masks=FOLDER"):
        proposed(tmp_path)


def test_volumes_of_one_spacing_keep_their_scale(tmp_path):
    volume(tmp_path, "a", (30, 40, 35), (1.0, 1.0, 1.0))
    volume(tmp_path, "b", (33, 50, 20), (1.0, 1.0, 1.0))
    config, told = proposed(tmp_path)
    assert (config.image.size, config.image.fit) == ((64, 64), "pad")
    assert config.image.slice_axis == "axial"
    assert "no side is much longer than the others: image.slice_axis axial" in told
    assert "look like Hounsfield units" in told
    assert config.image.window == "percentile"


@pytest.mark.parametrize(
    ("zooms", "plane", "size"),
    [
        ((0.8, 0.8, 5.0), "axial", (64, 64)),
        ((0.8, 5.0, 0.8), "coronal", (96, 64)),
        ((5.0, 0.8, 0.8), "sagittal", (96, 64)),
    ],
)
def test_thick_volumes_are_cut_across_the_thick_side(tmp_path, zooms, plane, size):
    volume(tmp_path, "a", (40, 50, 70), zooms)  # RAS: W, H, D of axial slices
    volume(tmp_path, "b", (40, 50, 70), zooms)
    config, told = proposed(tmp_path)
    assert config.image.slice_axis == plane
    assert config.image.size == size
    assert "their longest side lies across these slices" in told


def test_volumes_of_different_spacing_are_scaled(tmp_path):
    volume(tmp_path, "a", (40, 40, 20), (1.0, 1.0, 1.0))
    volume(tmp_path, "b", (60, 60, 20), (0.6, 0.6, 1.0))
    assert proposed(tmp_path)[0].image.fit == "letterbox"


def test_a_volume_without_orientation_is_read_as_stated(tmp_path):
    for part, kind in (("images", np.float32), ("masks", np.uint8)):
        (tmp_path / part).mkdir()
        array = np.zeros((40, 40, 5), kind)
        array[:9] = 1
        for name in "ab":
            nib.save(nib.Nifti1Image(array, None), tmp_path / part / f"{name}.nii")
    with pytest.raises(DataError, match=r"slice_axis: 0, 1 or 2"):
        proposed(tmp_path)
    config, _ = proposed(tmp_path, "image.slice_axis=2")
    assert config.image.slice_axis == 2
    assert config.image.size == (64, 64)


def test_names_that_may_tell_persons_apart_are_pointed_out(tmp_path):
    for name in ("anna_1", "anna_2", "bob-x_1"):
        pair(tmp_path, name, grey(), labels(1))
    config, told = proposed(tmp_path)
    assert config.data.subject is None
    assert "The names have 2 beginnings such as anna" in told
    assert "-s 'data.subject=^([^_-]+)[_-]'" in told
    config, told = proposed(tmp_path, "data.subject=^(.+)[_-]")
    assert config.split.folds == 2
    assert "2 subjects, by regular expression" in told
    assert "beginnings" not in told


def test_a_manifest_brings_subjects_and_folds(tmp_path):
    rows = [("image", "mask", "subject", "fold")]
    for index in range(4):
        pair(tmp_path, str(index), noise(index), labels(1))
        rows.append((f"images/{index}.png", f"masks/{index}.png", f"p{index // 2}", index // 2))
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    told = init(tmp_path / "cases.csv", tmp_path / "exp.yaml")
    config = load_config(tmp_path / "exp.yaml")
    assert (config.data.layout, config.data.images) == ("csv", Path("cases.csv"))
    assert config.split.folds == 2
    assert "folds are given by the manifest" in told
    assert begin(config, None, False, Console()).splits.subjects == 2


def test_an_nnunet_set_brings_names_channels_and_folds(tmp_path):
    about = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "whole tumour": [1, 2], "core": 2},
        "numTraining": 2,
        "file_ending": ".png",
    }
    folds = [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    for seed, name in enumerate("ab"):
        for channel in (0, 1):
            save(tmp_path / "imagesTr" / f"{name}_{channel:04}.png", noise(2 * seed + channel))
        save(tmp_path / "labelsTr" / f"{name}.png", labels(1, 2))
    config, told = proposed(tmp_path)
    assert config.data.label_map == {"whole_tumour": [1, 2], "core": [2]}
    assert (config.data.layout, config.image.channels, config.split.folds) == ("nnunet", 2, 2)
    assert "folds are given by" in told
    begin(config, None, False, Console())


def test_a_stated_key_wins(tmp_path):
    for name in "ab":
        pair(tmp_path, name, grey(), labels(1))
    settings = ("image.size=[96, 96]", "train.recipe=paper", "output.name=mine")
    config, _ = proposed(tmp_path, *settings)
    assert config.image.size == (96, 96)
    assert config.train.optimizer == "adam"
    assert config.output.name == "mine"


def test_an_existing_config_is_kept_unless_told_otherwise(tmp_path):
    for name in "ab":
        pair(tmp_path, name, grey(), labels(1))
    path = tmp_path / "exp.yaml"
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"exp\.yaml exists.*--force"):
        init(tmp_path, path)
    assert path.read_text() == "mine"
    init(str(tmp_path), str(path), force=True)
    assert load_config(path).data.root == tmp_path.resolve()


def test_a_wrong_setting_is_refused_before_the_data_are_read(tmp_path):
    with pytest.raises(UsageError, match=r"did you mean 'image\.size'"):
        init(tmp_path, tmp_path / "exp.yaml", ("image.siz=[64, 64]",))


def test_a_folder_of_something_else_is_a_data_error_and_writes_nothing(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match="is no known data set"):
        proposed(tmp_path)
    assert not list(tmp_path.glob("*.yaml"))


def test_of_a_large_set_a_part_is_opened_spread_over_all(finished_run, monkeypatch):
    from crosslinknet.config import DataConfig
    from crosslinknet.datasets import find_cases

    cases = find_cases(DataConfig(root=finished_run / "data")).cases
    assert some_cases(cases) == list(cases)
    one = [replace(case, mask=cases[0].images[0]) for case in cases]  # a file for all counts once
    size = sum(case.images[0].stat().st_size for case in cases)
    monkeypatch.setattr(module, "MOST_BYTES", size)
    monkeypatch.setattr(module, "LEAST_CASES", 1)
    assert some_cases(one) == one
    monkeypatch.setattr(module, "MOST_CASES", 3)
    assert [case.id for case in some_cases(cases)] == [cases[i].id for i in (0, 3, 7)]
    monkeypatch.setattr(module, "MOST_CASES", 1000)
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    monkeypatch.setattr(module, "LEAST_CASES", 2)
    assert [case.id for case in some_cases(cases)] == [cases[0].id, cases[-1].id]


def test_every_line_of_the_config_is_explained(tmp_path):
    for name in "ab":
        pair(tmp_path, name, grey(), labels(1))
    proposed(tmp_path)
    text = (tmp_path / "my exp.yaml").read_text()
    assert all("  # " in line for line in text.splitlines() if line.startswith("  "))
    assert yaml.safe_load(text)["train"]["recipe"] == "practical"


@pytest.mark.parametrize("name", REAL)
def test_a_real_set_gets_the_config_that_a_person_would_write(real_data, tmp_path, name):
    given, fit, size, channels, window, values = REAL[name]
    settings = tuple(f"{key}={value}" for key, value in given.items())
    init(real_data / name, tmp_path / "exp.yaml", settings)
    config = load_config(tmp_path / "exp.yaml")
    image = config.image
    assert (image.fit, image.size, image.channels, image.window) == (fit, size, channels, window)
    assert list(config.data.label_map.values()) == values


@pytest.mark.parametrize("name", ["covid19_i_ct", "kvasir_seg_100", "msd_hippocampus"])
def test_a_run_takes_the_config_of_a_real_set_as_it_is(real_data, tmp_path, name):
    """A few cases of the set, up to the moment where the training would begin."""
    parts = [path for path in sorted((real_data / name).iterdir()) if path.is_dir()]
    parts = [path for path in parts if path.name in ("images", "masks", "labels")]
    for part in parts:
        (tmp_path / "data" / part.name).mkdir(parents=True)
        for path in sorted(part.iterdir())[:6]:
            shutil.copy(path, tmp_path / "data" / part.name)
    init(tmp_path / "data", tmp_path / "exp.yaml")
    config = load_config(tmp_path / "exp.yaml", (f"output.dir={tmp_path / 'runs'}",))
    job = begin(config, None, False, Console())
    assert len(job.found.cases) == 6
    assert (config.run / "manifest.json").exists()
