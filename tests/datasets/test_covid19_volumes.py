"""CT volumes of COVID-19: folders of subjects, on the twin, and the two public sets."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError
from crosslinknet.phantoms import make_phantom
from crosslinknet.readers import READERS, nifti, read_case

PAPER = {"infection": [1, 2], "ground_glass": [1], "consolidation": [2]}


@pytest.fixture
def copy(twin, tmp_path):
    return shutil.copytree(twin("covid19-volumes"), tmp_path / "volumes")


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def public(copy, images, masks, names):
    """The subjects' files in two folders under given names."""
    root = copy.parent / "public"
    for folder in (images, masks):
        (root / folder).mkdir(parents=True)
    for name, subject in zip(names, sorted(copy.iterdir()), strict=False):
        shutil.copy(subject / "ct.nii.gz", root / images / f"{name}.nii.gz")
        shutil.copy(subject / "infection.nii.gz", root / masks / f"{name}.nii.gz")
    return root


def test_a_folder_is_a_subject(twin):
    result = found(twin("covid19-volumes"))
    assert result.layout == "covid19-volumes"
    assert [case.id for case in result.cases] == [f"subject_{n:03d}" for n in range(1, 7)]
    assert [case.subject for case in result.cases] == [case.id for case in result.cases]
    assert result.suggestions == {
        "data": {"label_map": PAPER},
        "image": {"slice_axis": "axial", "window": "lung"},
        "augment": {"preset": "covid-paper"},
    }


def test_volumes_and_masks_are_those_that_were_drawn(twin):
    for number, case in enumerate(found(twin("covid19-volumes")).cases):
        read = read_case(case, DataConfig(root=".", label_map=PAPER), ImageConfig(window="lung"))
        assert read.image.dtype == np.int16
        assert read.grid.spacing == (5, 5, 5)
        assert len(read.mask) == 2 + number % 4
        for index in range(len(read.mask)):
            phantom = make_phantom("lung", (64, 64), number, index)
            np.testing.assert_array_equal(read.mask[index], phantom.mask[0])
            np.testing.assert_array_equal(read.image[index], np.rint(phantom.image[0]))


def test_other_names_of_label_files_need_the_layout_stated(copy):
    for folder in copy.iterdir():
        (folder / "infection.nii.gz").rename(folder / "my_label.nii.gz")
    with pytest.raises(DataError, match="is no known data set"):
        found(copy)
    assert len(found(copy, layout="covid19-volumes").cases) == 6


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("ct2.nii.gz", r"2 CTs \(ct\.nii\.gz, ct2\.nii\.gz\) and 1 label file"),
        ("lesion.nii.gz", r"1 CT \(ct\.nii\.gz\) and 2 label files"),
    ],
)
def test_several_files_of_one_kind_are_refused(copy, extra, reason):
    shutil.copy(copy / "subject_001" / "ct.nii.gz", copy / "subject_001" / extra)
    with pytest.raises(DataError, match=rf"subject_001 holds {reason}"):
        found(copy)


def test_a_subject_without_ct_or_without_labels(copy):
    (copy / "subject_002" / "infection.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 of 6 images have no mask .*: subject_002"):
        found(copy, layout="covid19-volumes")
    assert len(found(copy, layout="covid19-volumes", unlabelled="skip").cases) == 5
    (copy / "subject_001" / "ct.nii.gz").unlink()
    with pytest.raises(DataError, match="holds no CT and 1 label file"):
        found(copy, layout="covid19-volumes")


def test_labels_of_one_kind_are_infection_and_unknown_ones_are_left_to_be_named(copy):
    for folder in sorted(copy.iterdir()):
        mask, grid = nifti.read_values(folder / "infection.nii.gz", 0, colour=False, lossy=False)
        path = folder / "infection.nii.gz"
        nifti.write_values(path, (mask > 0).astype(np.uint8), grid, path, colour=False)
    assert found(copy).suggestions["data"] == {"label_map": {"infection": [1]}}
    for folder in sorted(copy.iterdir()):
        mask, grid = nifti.read_values(folder / "infection.nii.gz", 0, colour=False, lossy=False)
        path = folder / "infection.nii.gz"
        nifti.write_values(path, (mask * 7).astype(np.uint8), grid, path, colour=False)
    assert found(copy).suggestions["data"] == {}


def test_the_set_of_zenodo_is_found_and_its_scaled_half_is_proposed_to_be_left_out(copy):
    names = ["coronacases_001", "coronacases_002", "coronacases_003", "radiopaedia_10_85902_1"]
    root = public(copy, "COVID-19-CT-Seg_20cases", "Infection_Mask", names)
    (root / "Lung_Mask").mkdir()
    result = found(root)
    assert [case.id for case in result.cases] == names
    assert result.suggestions["data"]["exclude"] == ["radiopaedia_10_85902_1"]
    assert any("hold 0 to 255, not HU" in note for note in result.notes)
    assert len(found(root, exclude=["radiopaedia_10_85902_1"]).cases) == 3


def test_the_volumes_of_medseg_are_found(copy):
    root = public(copy, "rp_im", "rp_msk", ["1", "2", "3"])
    result = found(root, subject=r"(\d)")
    assert [case.subject for case in result.cases] == ["1", "2", "3"]
    (root / "rp_im" / "2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 of 3 masks have no image in .*rp_im: rp_msk.2"):
        found(root)
    (root / "rp_msk" / "2.nii.gz").unlink()
    (root / "rp_msk" / "3.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images have no mask"):
        found(root)


def test_one_file_stands_for_a_series(copy, monkeypatch):
    monkeypatch.setitem(READERS, ".dcm", nifti)
    for folder in copy.iterdir():
        (folder / "ct.nii.gz").unlink()
        (folder / "seg series").mkdir()
        for number in range(3):
            (folder / "seg series" / f"{number}.dcm").write_bytes(b"x")
    result = found(copy)
    first = copy / "subject_001"
    assert result.cases[0].images == (first / "seg series" / "0.dcm",)
    assert result.cases[0].mask == first / "infection.nii.gz"
    (first / "other").mkdir()
    (first / "other" / "0.dcm").write_bytes(b"x")
    with pytest.raises(DataError, match="subject_001 holds 2 CTs"):
        found(copy)


def test_nothing_of_that_kind_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"holds no CT volumes of subjects\. Looked for"):
        found(tmp_path, layout="covid19-volumes")
    assert not list(Path(tmp_path).iterdir())
