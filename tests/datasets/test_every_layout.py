import json
from pathlib import Path

import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import LAYOUTS, Orphans, find_cases, survey
from crosslinknet.errors import DataError, UsageError


def test_a_folder_of_something_else_says_what_was_looked_for_and_what_is_there(tmp_path):
    for name in ("notes.txt", "thesis.pdf", ".hidden"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError) as caught:
        find_cases(DataConfig(root=tmp_path))
    text = str(caught.value)
    assert f"{tmp_path} is no known data set" in text
    for wanted in ("dataset.json", "imagesTr", "columns image and mask", "images", "bon"):
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_survey_tells_of_files_without_partner_and_goes_on(tmp_path, layout):
    found = survey(DataConfig(root=incomplete(tmp_path, layout)))
    assert [case.id for case in found.cases] == ["a", "b"]
    assert ([path.name[0] for path in found.unmasked.files], found.unmasked.total) == (["c"], 3)
    if layout == "csv":
        assert found.unused == Orphans()
    else:
        assert ([path.name for path in found.unused.files], found.unused.total) == (["d.png"], 3)


@pytest.mark.parametrize("layout", LAYOUTS)
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


@pytest.mark.parametrize("name", [".", "io_volumes"])
def test_real_folders_of_something_else_are_refused(real_data, name):
    with pytest.raises(DataError, match="is no known data set"):
        find_cases(DataConfig(root=real_data / name))


def test_a_mask_folder_and_a_layout_with_its_own_contradict(make_pairs):
    with pytest.raises(UsageError, match=r"data\.masks is masks, but data\.layout 'csv'"):
        find_cases(DataConfig(root=make_pairs(["a"]), layout="csv", masks="masks"))


def test_names_that_would_become_one_are_an_error(make_pairs):
    with pytest.raises(DataError, match=r"names of 1 cases are not unique: x__a"):
        find_cases(DataConfig(root=make_pairs(["x__a", "x/a", "y/a"])))
