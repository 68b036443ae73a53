"""KiTS19, on its twin and on small trees with what goes wrong."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.datasets import find_cases
from crosslinknet.datasets.kits19 import KITS19_LABEL_PROBLEMS, KITS19_SUSPECT_CASES
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.phantoms import make_phantom
from crosslinknet.readers import read_case

NESTED = {"kidney": [1, 2], "tumour": [2]}
IDS = [f"case_{number:05d}" for number in (0, 1, 2, 3, 15, 160)]


@pytest.fixture
def copy(twin, tmp_path):
    return shutil.copytree(twin("kits19"), tmp_path / "kits19")


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def test_labelled_cases_are_found_in_the_repository_and_in_its_data_folder(twin):
    for root in (twin("kits19"), twin("kits19") / "data"):
        result = found(root)
        assert result.layout == "kits19"
        assert [case.id for case in result.cases] == IDS
        assert [case.subject for case in result.cases] == IDS
        assert "1 test cases without labels are left out: case_00210" in result.notes


@pytest.mark.parametrize("axis", [0, "axial"])
def test_masks_and_images_are_those_that_were_drawn(twin, axis):
    for case in found(twin("kits19")).cases:
        number = int(case.subject.removeprefix("case_"))
        size = (64, 100) if number == 160 else (64, 64)
        read = read_case(case, DataConfig(root=".", label_map=NESTED), ImageConfig(slice_axis=axis))
        assert len(read.mask) == 3 + number % 3
        order = 1 if axis == 0 else -1  # stored from head to feet, axial from feet to head
        for index, (image, mask) in enumerate(
            list(zip(read.image, read.mask, strict=True))[::order]
        ):
            phantom = make_phantom("kidney", size, number, index)
            np.testing.assert_array_equal(mask, phantom.mask[0])
            np.testing.assert_array_equal(image, np.rint(phantom.image[0]))


def test_the_header_is_that_of_the_original(twin):
    case = twin("kits19") / "data" / "case_00160"
    image, mask = nib.load(case / "imaging.nii.gz"), nib.load(case / "segmentation.nii.gz")
    assert nib.aff2axcodes(image.affine) == nib.aff2axcodes(mask.affine) == ("I", "P", "L")
    assert [tuple(pair) for pair in np.argwhere(image.affine[:3, :3])] == [(0, 2), (1, 1), (2, 0)]
    assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.float32, np.uint8)
    assert image.shape == (4, 64, 100)


def test_what_the_protocol_chooses_is_proposed(twin):
    assert found(twin("kits19")).suggestions == {
        "data": {"label_map": NESTED},
        "image": {"slice_axis": 0, "window": "kidney", "fit": "letterbox"},
        "train": {"foreground": 0.5},
    }


def test_doubtful_labels_are_named_and_can_be_left_out(twin):
    notes = "\n".join(found(twin("kits19")).notes)
    assert "cases with doubtful labels are kept, 1 in all: case_00015" in notes
    assert "the labels of case_00015 are not those of December 2019" in notes
    result = found(twin("kits19"), exclude=["case_00015"])
    assert [case.id for case in result.cases] == [name for name in IDS if name != "case_00015"]
    assert "doubtful" not in "\n".join(result.notes)
    assert "1 of 6 cases are left out (data.exclude): case_00015" in result.notes


def test_labels_of_december_2019_are_recognised(twin, monkeypatch):
    from crosslinknet.files import sha256_of_file

    mask = twin("kits19") / "data" / "case_00015" / "segmentation.nii.gz"
    monkeypatch.setitem(KITS19_SUSPECT_CASES, 15, sha256_of_file(mask))
    assert "December" not in "\n".join(found(twin("kits19")).notes)


def test_the_suspects_are_a_row_of_the_table_of_problems():
    assert tuple(KITS19_SUSPECT_CASES) in [problem.cases for problem in KITS19_LABEL_PROBLEMS]
    assert all(0 <= n < 210 for problem in KITS19_LABEL_PROBLEMS for n in problem.cases)
    assert all(len(digest) == 64 for digest in KITS19_SUSPECT_CASES.values())


def test_slices_on_another_axis_are_read_by_the_patients_axes(copy):
    for name in ("imaging.nii.gz", "segmentation.nii.gz"):
        path = copy / "data" / "case_00001" / name
        turned = nib.as_closest_canonical(nib.load(path))
        nib.save(turned, path)
    result = found(copy)
    assert result.suggestions["image"]["slice_axis"] == "axial"
    assert "the slices of case_00001 do not lie on the first axis" in "\n".join(result.notes)
    case = read_case(
        result.cases[1], DataConfig(root=".", label_map=NESTED), ImageConfig(slice_axis="axial")
    )
    np.testing.assert_array_equal(case.mask[-1], make_phantom("kidney", (64, 64), 1, 0).mask[0])


def test_spacings_that_differ_from_kits_json_are_named(copy):
    path = copy / "data" / "kits.json"
    records = json.loads(path.read_text())
    assert not any("kits.json" in note for note in found(copy).notes)
    records[0]["voxel_spacing"]["z_spacing"] *= 1.1
    path.write_text(json.dumps(records))
    assert "kits.json states another spacing than the headers of case_00000; these count" in (
        found(copy).notes
    )
    path.write_text('[{"case_id": "case_00000"}]')
    with pytest.raises(DataError, match=r"kits\.json is not the kits\.json of KiTS19"):
        found(copy)
    path.unlink()
    assert len(found(copy).cases) == 6


def test_labels_without_images_and_images_without_labels_say_what_to_fetch(copy):
    for folder in (copy / "data").glob("case_*"):
        (folder / "segmentation.nii.gz").unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"none of the 7 cases .* has a segmentation\.nii\.gz"):
        found(copy)
    shutil.copy(copy / "data" / "kits.json", copy / "data" / "case_00000" / "segmentation.nii.gz")
    (copy / "data" / "case_00000" / "imaging.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 of 7 cases .*get_imaging"):
        found(copy)


def test_labels_of_another_size_are_refused(copy):
    folder = copy / "data"
    shutil.copy(folder / "case_00160" / "segmentation.nii.gz", folder / "case_00001")
    with pytest.raises(ShapeError, match=r"case_00001.*shape \(4, 64, 64\).*\(4, 64, 100\)"):
        found(copy)


def test_a_pattern_for_subjects_wins(twin):
    result = found(twin("kits19"), subject=r"case_\d{4}(\d)")
    assert {case.subject for case in result.cases} == {"0", "1", "2", "3", "5"}
    assert "regular expression" in result.subject_rule
