"""What every layout promises: the same cases, found by themselves, with the same pixels."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.config import DataConfig, load_config
from crosslinknet.datasets import LAYOUTS, Orphans, find_cases, survey
from crosslinknet.datasets.twins import TWINS
from crosslinknet.errors import DataError, UsageError
from crosslinknet.experiments.init import init
from crosslinknet.readers import read_case
from crosslinknet.readers.coco_writer import coco_document

# The same two cases everywhere: a bright box, columns 5 to 14 and rows 8 to 11, on a grey ramp.
IDS = ("p1", "p2")
MASK = np.zeros((32, 40), np.uint8)
MASK[8:12, 5:15] = 1
IMAGES = [np.where(MASK, 200, np.arange(40)[None] + k).astype(np.uint8) for k in range(2)]


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def volume(path, pixels):
    """One axial slice: rows front to back, columns right to left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(pixels.T[::-1, ::-1, None], np.eye(4)), path)


def pairs(root, image, mask, save=picture):
    for name, pixels in zip(IDS, IMAGES, strict=True):
        save(root / image.format(name), pixels)
        save(root / mask.format(name), MASK)


def folders(root):
    pairs(root, "images/{}.png", "masks/{}.png")


def side_by_side(root):
    pairs(root, "{}.png", "{}_mask.png")


def nnunet(root):
    pairs(root, "imagesTr/{}_0000.png", "labelsTr/{}.png")
    about = {"channel_names": {"0": "x"}, "labels": {"lesion": 1}, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(about))


def decathlon(root):
    pairs(root, "imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz", volume)
    about = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "lesion"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in IDS
        ],
    }
    (root / "dataset.json").write_text(json.dumps(about))


def csv(root):
    pairs(root, "x/{}.png", "y/{}.png")
    rows = ["image,mask", *(f"x/{name}.png,y/{name}.png" for name in IDS)]
    (root / "cases.csv").write_text("\n".join(rows))


def coco(root):
    for name, pixels in zip(IDS, IMAGES, strict=True):
        picture(root / "images" / f"{name}.png", pixels)
    content = coco_document([(f"{name}.png", MASK) for name in IDS], {"lesion": 1})
    (root / "annotations").mkdir()
    (root / "annotations" / "all.json").write_text(json.dumps(content))


def labelme(root):
    for name, pixels in zip(IDS, IMAGES, strict=True):
        picture(root / f"{name}.png", pixels)
        shape = {"label": "lesion", "shape_type": "rectangle", "points": [[5, 8], [15, 12]]}
        content = {"shapes": [shape], "imageHeight": 32, "imageWidth": 40}
        (root / f"{name}.json").write_text(json.dumps(content))


def bids(root):
    for name, pixels in zip(IDS, IMAGES, strict=True):
        volume(root / f"sub-{name}/anat/sub-{name}_T1w.nii.gz", pixels)
        volume(root / f"derivatives/hand/sub-{name}/anat/sub-{name}_mask.nii.gz", MASK)


TREES = {
    "folders": (folders, IDS, "foreground"),
    "side-by-side": (side_by_side, IDS, "foreground"),
    "nnunet": (nnunet, IDS, "lesion"),
    "decathlon": (decathlon, IDS, "lesion"),
    "csv": (csv, IDS, "foreground"),
    "coco": (coco, IDS, "lesion"),
    "labelme": (labelme, IDS, "lesion"),
    "bids": (bids, ("sub-p1_T1w", "sub-p2_T1w"), "foreground"),
}


def test_every_layout_is_tried_here_or_has_a_twin():
    assert set(LAYOUTS) - set(TREES) - {"dicom"} <= set(TWINS)  # dicom: test_dicom.py


@pytest.mark.parametrize("layout", TREES)
def test_a_set_is_found_by_itself_and_its_first_config_reads_the_right_pixels(tmp_path, layout):
    make, ids, name = TREES[layout]
    make(tmp_path)
    found = find_cases(DataConfig(root=tmp_path))
    assert found.layout == layout
    assert tuple(case.id for case in found.cases) == ids
    init(tmp_path, tmp_path / "exp.yaml")
    config = load_config(tmp_path / "exp.yaml")
    assert config.data.layout == layout
    assert list(config.data.label_map) == [name]
    for files, pixels in zip(find_cases(config.data).cases, IMAGES, strict=True):
        case = read_case(files, config.data, config.image)
        np.testing.assert_array_equal(case.image[0, 0], pixels)
        np.testing.assert_array_equal(case.mask[0], MASK)


def test_a_folder_of_something_else_says_what_was_looked_for_and_what_is_there(tmp_path):
    for name in ("notes.txt", "thesis.pdf", ".hidden"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError) as caught:
        find_cases(DataConfig(root=tmp_path))
    text = str(caught.value)
    assert f"{tmp_path} is no known data set" in text
    for wanted in ("images/ + masks/", "x_mask.png", "columns image and mask", "nnunet, decathlon"):
        assert wanted in text
    assert "It holds: notes.txt, thesis.pdf." in text
    assert "data.images and data.masks" in text


def test_an_empty_folder_and_a_missing_one_say_so(tmp_path):
    with pytest.raises(DataError, match="It holds: nothing"):
        find_cases(DataConfig(root=tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        find_cases(DataConfig(root=tmp_path / "none"))


def test_data_sets_one_folder_below_are_pointed_at(make_pairs):
    root = make_pairs(["a"], images="train/data", masks="train/bon")
    with pytest.raises(DataError, match=r"Data sets lie inside it: train\. Set data\.root"):
        find_cases(DataConfig(root=root))
    assert len(find_cases(DataConfig(root=root / "train")).cases) == 1


def test_a_file_that_is_no_manifest_is_no_data_set(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError):
        find_cases(DataConfig(root=tmp_path / "a.png"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_stated_layout_that_is_not_there_is_an_error_with_its_needs(tmp_path, layout):
    with pytest.raises(DataError, match="ooked for"):
        find_cases(DataConfig(root=tmp_path, layout=layout))


def incomplete(folder: Path, layout: str) -> Path:
    """A set of the layout with the pairs a and b, an image c and, where that can be, a mask d."""
    if layout == "csv":
        rows = [f"i/{name}.png,m/{name}.png" for name in "ab"] + ["i/c.png,"]
        (folder / "manifest.csv").write_text("\n".join(["image,mask", *rows]))
    if layout == "nnunet":
        about = {"channel_names": {"0": "CT"}, "labels": {"x": 1}, "file_ending": ".png"}
        (folder / "dataset.json").write_text(json.dumps(about))
    images, masks, tail = {
        "folders": ("images", "masks", ""),
        "nnunet": ("imagesTr", "labelsTr", "_0000"),
        "csv": ("i", "m", ""),
    }[layout]
    names = [f"{images}/{name}{tail}" for name in "abc"] + [f"{masks}/{name}" for name in "abd"]
    for name in names:
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return folder


@pytest.mark.parametrize("layout", ["folders", "nnunet", "csv"])
def test_a_survey_tells_of_files_without_partner_and_goes_on(tmp_path, layout):
    found = survey(DataConfig(root=incomplete(tmp_path, layout)))
    assert [case.id for case in found.cases] == ["a", "b"]
    assert ([path.name[0] for path in found.unmasked.files], found.unmasked.total) == (["c"], 3)
    if layout == "csv":
        assert found.unused == Orphans()
    else:
        assert ([path.name for path in found.unused.files], found.unused.total) == (["d.png"], 3)


@pytest.mark.parametrize("layout", ["folders", "nnunet", "csv"])
def test_a_survey_of_images_without_any_mask_has_no_case(tmp_path, layout):
    root = incomplete(tmp_path, layout)
    for path in [*root.glob("[ml]*/a.png"), *root.glob("[ml]*/b.png")]:
        path.unlink()
    if layout == "csv":
        (root / "manifest.csv").write_text("image,mask\ni/a.png,\ni/b.png,\ni/c.png,")
    found = survey(DataConfig(root=root))
    assert found.cases == ()
    assert len(found.unmasked.files) == found.unmasked.total == 3


def test_every_layout_of_the_config_is_known():
    kinds = DataConfig.model_json_schema()["properties"]["layout"]["enum"]
    assert {"auto", *LAYOUTS} == set(kinds)


def test_a_real_folder_of_data_sets_is_none_itself(real_data):
    with pytest.raises(DataError, match=r"is no known data set.*Data sets lie inside it"):
        find_cases(DataConfig(root=real_data))


def test_a_mask_folder_and_a_layout_with_its_own_contradict(make_pairs):
    with pytest.raises(UsageError, match=r"data\.masks is masks, but data\.layout 'csv'"):
        find_cases(DataConfig(root=make_pairs(["a"]), layout="csv", masks="masks"))


def test_names_that_would_become_one_are_an_error(make_pairs):
    with pytest.raises(DataError, match=r"names of cases are not unique, 1 in all: x__a"):
        find_cases(DataConfig(root=make_pairs(["x__a", "x/a", "y/a"])))


def test_cases_can_be_left_out_by_name(make_pairs):
    root = make_pairs(["a", "b", "c"])
    result = find_cases(DataConfig(root=root, exclude=["b"]))
    assert [case.id for case in result.cases] == ["a", "c"]
    assert result.notes[-1] == "1 of 3 cases are left out (data.exclude): b"


def test_folds_that_are_given_lose_the_cases_that_are_left_out(tmp_path):
    about = {"channel_names": {"0": "CT"}, "labels": {"a": 1}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    folds = [{"train": ["a", "b"], "val": ["c", "d"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    for name in "abcd":
        for path in (
            tmp_path / "imagesTr" / f"{name}_0000.png",
            tmp_path / "labelsTr" / f"{name}.png",
        ):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
    result = find_cases(DataConfig(root=tmp_path, exclude=["b", "c"]))
    assert result.splits == ((("a",), ("d",)),)


def test_leaving_out_unknown_cases_or_all_is_refused(make_pairs):
    root = make_pairs(["a", "b"])
    with pytest.raises(
        DataError, match=r"names cases that .* does not have, 1 in all: c\. Its cases .* a, b"
    ):
        find_cases(DataConfig(root=root, exclude=["a", "c"]))
    with pytest.raises(DataError, match="leaves none of the 2 cases"):
        find_cases(DataConfig(root=root, exclude=["a", "b"]))
