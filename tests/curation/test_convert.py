"""There and back: what a target can hold comes back equal, what it cannot hold is refused."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crosslinknet.config import DataConfig
from crosslinknet.curation import convert as module
from crosslinknet.curation.convert import TARGETS, convert
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import read_json
from tests.curation.nnunet_rules import check_nnunet
from tests.curation.sets import cases_of, manifest, pictures, save, tree, voxels

KINDS = {  # name -> number type and axes of an image, which targets hold it
    "grey": (np.uint8, (9, 8), set(TARGETS)),
    "colour": (np.uint8, (9, 8, 3), set(TARGETS)),
    "grey16": (np.uint16, (9, 8), set(TARGETS)),
    "real": (np.float32, (9, 8), set(TARGETS)),
    "stack": (np.uint16, (3, 9, 8), set(TARGETS) - {"coco"}),
    "volume": (np.int16, (5, 6, 7), set(TARGETS) - {"coco"}),
    "real volume": (np.float32, (5, 6, 7), set(TARGETS) - {"coco"}),
    "two channels": (np.int16, (5, 6, 7), set(TARGETS) - {"coco"}),
}
LABELS = {
    "one": ((1,), "{lesion: [1]}"),
    "far": ((7, 200), "{a: [200], b: [7]}"),
    "merged": ((1, 2, 3), "{organ: [1, 3], cyst: [2]}"),
    "nested": ((1, 2), "{infection: [1, 2], glass: [1]}"),
}


def random_set(root: Path, kind: str, labels: str, rng: np.random.Generator) -> str:
    """A manifest with two or three subjects of one to three cases; gives the label map."""
    number_type, shape, _ = KINDS[kind]
    values, label_map = LABELS[labels]
    is_volume = "volume" in kind or kind == "two channels"
    suffix = ".nii.gz" if is_volume else ".tif" if kind in ("real", "stack") else ".png"
    if is_volume and rng.random() < 0.5:
        suffix = ".nii"
    spacing, folds = bool(rng.integers(2)) and not is_volume, bool(rng.integers(2))
    turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)  # one of the 48
    oblique = np.linalg.qr(rng.normal(size=(3, 3)))[0] if rng.random() < 0.5 else np.eye(3)
    affine = np.eye(4)
    affine[:3, :3] = oblique @ turn * rng.uniform(0.5, 3, 3)
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    rows = []
    for subject in range(rng.integers(2, 4)):
        for case in range(rng.integers(1, 4)):
            name = f"s{subject}_{case}"
            images = []
            for channel in range(2 if kind == "two channels" else 1):
                if number_type is np.float32:
                    image = rng.normal(size=shape).astype(np.float32)
                else:
                    low, high = np.iinfo(number_type).min, np.iinfo(number_type).max
                    image = rng.integers(low, high, shape, number_type, endpoint=True)
                images.append(f"i/{name}_{channel}{suffix}")
                save(root / images[-1], image, affine)
            plane = shape if shape[-1] != 3 else shape[:2]
            mask = rng.choice(np.array((0, *values), np.uint8), plane)
            mask.ravel()[: len(values)] = values
            save(root / f"m/{name}{suffix}", mask, affine)
            row = {"id": name, "image": "|".join(images), "mask": f"m/{name}{suffix}"}
            row["subject"] = f"person {subject}"
            rows.append(row)
    for number, row in enumerate(rows):
        row |= {"spacing": f"{number + 1} 0.7 0.6"} if spacing else {}
        row |= {"fold": min(int(row["subject"][-1]), 1)} if folds else {}
    manifest(root, rows)
    return label_map


def assert_same(before: list[dict], after: list[dict]) -> None:
    assert [case["id"] for case in after] == [case["id"] for case in before]
    for one, other in zip(before, after, strict=True):
        assert (other["subject"], other["names"]) == (one["subject"], one["names"])
        assert one["fold"] is None or other["fold"] == one["fold"]
        assert other["image"].dtype == one["image"].dtype
        np.testing.assert_array_equal(other["image"], one["image"])
        np.testing.assert_array_equal(other["classes"], one["classes"])
        if one["spacing"] is not None:
            np.testing.assert_allclose(other["spacing"], one["spacing"], rtol=1e-6)
        if one["affine"] is not None:
            np.testing.assert_allclose(other["affine"], one["affine"], rtol=1e-6, atol=1e-4)


def sorted_classes(cases: list[dict], names: tuple[str, ...]) -> list[dict]:
    """The classes in one order: nnU-Net puts the regions that hold others first."""
    return [
        case | {"names": names, "classes": case["classes"][[case["names"].index(n) for n in names]]}
        for case in cases
    ]


def there_and_back(to: str, kind: str, labels: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, there = Path(folder) / "source", Path(folder) / "Dataset501_there"
        label_map = random_set(source, kind, labels, np.random.default_rng(seed))
        setting = f"data.label_map={label_map}"
        if to not in KINDS[kind][2]:
            with pytest.raises(DataError, match="COCO describes single pictures"):
                convert(source, there, to, (setting,))
            return
        before = list(cases_of(source, label_map=yaml.safe_load(label_map)))
        untouched = tree(source)
        convert(source, there, to, (setting,))
        assert tree(source) == untouched
        if to == "nnunet":
            check_nnunet(there)
        names = before[0]["names"]
        assert_same(before, sorted_classes(list(cases_of(there)), names))
        back = Path(folder) / "back"
        again = read_json(there / "conversion.json")["label_map"]
        way_back = "nifti" if kind in ("two channels", "stack") else "folders"
        convert(there, back, way_back, (f"data.label_map={again}",))
        assert_same(before, sorted_classes(list(cases_of(back)), names))


KIND, LABEL = st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(LABELS))
SEED = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("to", TARGETS)
@settings(max_examples=8, deadline=None)
@given(kind=KIND, labels=LABEL, seed=SEED)
def test_there_and_back_is_equal(to: str, kind: str, labels: str, seed: int) -> None:
    there_and_back(to, kind, labels, seed)


@pytest.mark.slow
@pytest.mark.parametrize("to", TARGETS)
@settings(max_examples=150, deadline=None)
@given(kind=KIND, labels=LABEL, seed=SEED)
def test_there_and_back_is_equal_for_many_sets(to: str, kind: str, labels: str, seed: int) -> None:
    there_and_back(to, kind, labels, seed)


def test_nifti_images_are_copied_byte_for_byte(tmp_path):
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    save(tmp_path / "d" / "images" / "v.nii.gz", np.ones((4, 5, 6), np.int16), affine)
    save(tmp_path / "d" / "labels" / "v.nii.gz", np.ones((4, 5, 6), np.uint8), affine)
    convert(tmp_path / "d", tmp_path / "out", "folders")
    image = "images/v.nii.gz"
    assert (tmp_path / "out" / image).read_bytes() == (tmp_path / "d" / image).read_bytes()


def test_a_csv_points_at_the_files_where_they_are(tmp_path):
    pictures(tmp_path / "data", "a", values=(0, 255))
    told = convert(tmp_path / "data", tmp_path / "out", "csv", ("data.threshold=127",))
    assert (tmp_path / "out" / "manifest.csv").read_text() == (
        "id,image,mask,subject\na,../data/images/a.png,../data/masks/a.png,a\n"
    )
    assert "the masks stay as they are: keep data.threshold=127" in told
    assert not (tmp_path / "out" / "images").exists()


def test_outlines_become_masks_that_a_csv_can_name(tmp_path):
    pictures(tmp_path / "data", "ab", values=(0, 1, 2))
    label_map = "data.label_map={polyp: [1], vessel: [2]}"
    convert(tmp_path / "data", tmp_path / "coco", "coco", (label_map,))
    told = convert(tmp_path / "coco", tmp_path / "out", "csv")
    lines = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert lines[1] == "a,../coco/images/a.png,masks/a.png,a"
    assert told[-1] == "read it with data.label_map: {polyp: [1], vessel: [2]}"
    np.testing.assert_array_equal(
        voxels(tmp_path / "out" / "masks" / "a.png"), voxels(tmp_path / "data" / "masks" / "a.png")
    )


def test_masks_of_colours_keep_them_as_pictures_and_become_numbers_in_nifti(tmp_path):
    data = pictures(tmp_path / "data", "a")
    mask = np.zeros((12, 10, 3), np.uint8)
    mask[2:5, 2:5], mask[7:9, 7:9] = (255, 0, 0), (0, 0, 255)
    save(data / "masks" / "a.png", mask)
    label_map = "data.label_map={red: ['#ff0000'], blue: ['#0000ff']}"
    convert(data, tmp_path / "f", "folders", (label_map,))
    np.testing.assert_array_equal(voxels(tmp_path / "f" / "masks" / "a.png"), mask)
    told = convert(data, tmp_path / "n", "nifti", (label_map,))
    assert told[-1] == "read it with data.label_map: {red: [2], blue: [1]}"
    numbers = voxels(tmp_path / "n" / "labels" / "a.nii.gz")[:, :, 0].T
    np.testing.assert_array_equal(numbers, 2 * (mask[..., 0] > 0) + (mask[..., 2] > 0))


def test_jpg_masks_are_thresholded_on_the_way(tmp_path):
    data = pictures(tmp_path / "data", "a")
    mask = np.zeros((12, 10), np.uint8)
    mask[4:8, 4:8] = 255
    (data / "masks" / "a.png").unlink()
    Image.fromarray(mask).save(data / "masks" / "a.jpg", quality=90)
    with pytest.raises(DataError, match=r"-s data\.threshold=127"):
        convert(data, tmp_path / "out", "folders")
    convert(data, tmp_path / "out", "folders", ("data.threshold=127",))
    np.testing.assert_array_equal(voxels(tmp_path / "out" / "masks" / "a.png"), mask // 255)


def test_what_pictures_cannot_hold_is_refused_in_folders_and_kept_in_nifti(tmp_path):
    pictures(tmp_path, "ab")
    data = tmp_path / "data"
    data.mkdir()
    files = [f"../images/{name}.png" for name in "abab"]
    row = {"id": "p", "image": "|".join(files[:2]), "mask": "../masks/a.png"}
    manifest(data, [row])
    with pytest.raises(DataError, match=r"p has 2 channels of type uint8.*--to nifti"):
        convert(data, tmp_path / "f", "folders")
    with pytest.raises(DataError, match="p has 2 channels of type uint8"):
        convert(data, tmp_path / "c", "coco")
    convert(data, tmp_path / "n", "nifti")
    assert voxels(tmp_path / "n" / "images" / "p.nii.gz").shape == (10, 12, 1, 2)


def test_folds_that_no_column_can_say_become_a_file(tmp_path):
    pictures(tmp_path / "data", "abc", values=(0, 1))
    folds = '[{"train": ["a"], "val": ["b"]}, {"train": ["c"], "val": ["a"]}]'
    (tmp_path / "given.json").write_text(folds)
    told = convert(
        tmp_path / "data", tmp_path / "out", "folders", (f"split.file={tmp_path / 'given.json'}",)
    )
    assert "fold" not in (tmp_path / "out" / "manifest.csv").read_text().splitlines()[0]
    assert read_json(tmp_path / "out" / "splits_final.json")[0] == {"train": ["a"], "val": ["b"]}
    assert any("state split.file: splits_final.json" in line for line in told)


def test_a_config_says_what_the_data_mean(tmp_path):
    pictures(tmp_path / "data", "ab", values=(0, 9))
    config = tmp_path / "exp.yaml"
    config.write_text("data: {root: data, label_map: {tumour: [9]}, subject: '^(.)'}\n")
    told = convert(tmp_path / "data", tmp_path / "out", "folders", config=config)
    assert told[-1] == "read it with data.label_map: {tumour: [9]}"
    assert (tmp_path / "out" / "images" / "a.png").is_file()


def test_folders_that_a_config_names_count_for_its_own_place_alone(tmp_path):
    pictures(tmp_path / "data", "a", values=(0, 9))
    shutil.copytree(tmp_path / "data", tmp_path / "odd")
    (tmp_path / "odd" / "images").rename(tmp_path / "odd" / "strange")
    config = tmp_path / "exp.yaml"
    config.write_text(
        "data: {root: odd, layout: folders, images: strange, masks: masks, label_map: {a: [9]}}\n"
    )
    convert(tmp_path / "odd", tmp_path / "one", "folders", config=config)
    convert(tmp_path / "data", tmp_path / "two", "folders", config=config)
    pair = [tree(tmp_path / name)["masks/a.png"] for name in ("one", "two")]
    assert pair[0] == pair[1]


def test_spacing_that_is_known_for_a_part_only_is_refused(tmp_path, monkeypatch):
    pictures(tmp_path / "data", "ab", values=(0, 1))
    found = find_cases(DataConfig(root=tmp_path / "data"))
    first = replace(found.cases[0], spacing=(1.0, 2.0, 2.0))
    partly = replace(found, cases=(first, found.cases[1]))
    monkeypatch.setattr(module, "find_cases", lambda data: partly)
    with pytest.raises(DataError, match=r"spacing is known for 1 of 2 cases.*: b have none"):
        convert(tmp_path / "data", tmp_path / "out", "folders")


def test_slices_of_a_stack_become_cases_with_files_of_their_own(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 99, (4, 5, 3)).astype(np.int16)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    data = tmp_path / "data"
    save(data / "images" / "v.nii.gz", image, affine)
    save(data / "labels" / "v.nii.gz", (image > 50).astype(np.uint8), affine)
    found = find_cases(DataConfig(root=data))
    cases = tuple(
        replace(found.cases[0], id=f"v_{i}", subject=f"p{i}", slices=(i,)) for i in range(4)
    )
    monkeypatch.setattr(module, "find_cases", lambda data: replace(found, cases=cases))
    axis = "image.slice_axis=0"
    convert(data, tmp_path / "csv", "csv", (axis, "data.label_map={a: [1]}"))
    monkeypatch.undo()
    read = list(cases_of(tmp_path / "csv"))
    assert [case["subject"] for case in read] == ["p0", "p1", "p2", "p3"]
    for i, case in enumerate(read):
        np.testing.assert_array_equal(case["image"][0, 0], image[i])
        np.testing.assert_array_equal(case["classes"][0, 0], image[i] > 50)
        np.testing.assert_allclose(case["spacing"], (2, 3, 4))
    monkeypatch.setattr(module, "find_cases", lambda data: replace(found, cases=cases))
    with pytest.raises(DataError, match="v_0 is of type int16, which no picture holds"):
        convert(data, tmp_path / "coco", "coco", (axis, "data.label_map={a: [1]}"))


def test_names_that_a_manifest_or_a_folder_cannot_hold_are_refused(tmp_path):
    pictures(tmp_path / "data", "ab", values=(0, 1))
    for part in ("images", "masks"):
        (tmp_path / "data" / part / "a.png").rename(tmp_path / "data" / part / "a|b.png")
    with pytest.raises(DataError, match=r"'images/a\|b\.png' cannot stand in a manifest"):
        convert(tmp_path / "data", tmp_path / "out", "folders")
    rows = [{"id": ".a", "image": "images/b.png", "mask": "masks/b.png"}]
    manifest(tmp_path / "data", rows)
    with pytest.raises(DataError, match=r"'\.a' begins with a dot"):
        convert(tmp_path / "data", tmp_path / "out2", "folders")


def test_wrong_calls_are_refused(tmp_path):
    pictures(tmp_path / "data", "a", values=(0, 1))
    with pytest.raises(
        UsageError, match="--to 'nnunett' is no known layout; did you mean 'nnunet'"
    ):
        convert(tmp_path / "data", tmp_path / "out", "nnunett")
    with pytest.raises(UsageError, match="--channel names channels for nnU-Net; --to coco keeps"):
        convert(tmp_path / "data", tmp_path / "out", "coco", channels=("CT",))
    with pytest.raises(UsageError, match="lie one in the other"):
        convert(tmp_path / "data", tmp_path / "data" / "out", "folders")


def test_a_case_that_is_gone_from_the_source_goes_from_the_result(tmp_path):
    data = pictures(tmp_path / "data", "abc", values=(0, 1))
    convert(data, tmp_path / "out", "folders")
    for part in ("images", "masks"):
        (data / part / "b.png").unlink()
    told = convert(data, tmp_path / "out", "folders")
    assert "2 of 2 cases were there already, verified by checksum" in told
    convert(data, tmp_path / "fresh", "folders")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.real
@pytest.mark.parametrize("name", ["msd_hippocampus", "kvasir_seg_100", "covid19_i_ct"])
@pytest.mark.parametrize("to", TARGETS)
def test_real_cases_go_there_and_back(real_data, tmp_path, name, to):
    source, there = tmp_path / name, tmp_path / "Dataset501_there"
    for part in ("images", "labels", "masks"):
        folder = real_data / name / part
        if folder.is_dir():
            (source / part).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:3]:
                (source / part / file.name).symlink_to(file)
    if to == "coco" and name == "msd_hippocampus":
        with pytest.raises(DataError, match="COCO describes single pictures"):
            convert(source, there, to)
        return
    convert(source, there, to)
    labels = {1: {"foreground": [1]}, 2: {"class_1": [1], "class_2": [2]}}
    label_map = labels[1 if name == "kvasir_seg_100" else 2]
    before = list(cases_of(source, label_map=label_map))
    assert_same(before, list(cases_of(there)))
    if to == "nnunet":
        check_nnunet(there)
