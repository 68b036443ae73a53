"""COVID19-I in both packages, on their twins."""

import io
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError, LabelError, ShapeError
from crosslinknet.phantoms import make_phantom
from crosslinknet.readers import read_case

VALUES = {"ground_glass": [1], "consolidation": [2], "effusion": [3]}
STACK = ImageConfig(slice_axis=2, window="lung")


@pytest.fixture
def stack(twin, tmp_path):
    return shutil.copytree(twin("covid19-i"), tmp_path / "stack")


@pytest.fixture
def pictures(twin, tmp_path):
    return shutil.copytree(twin("covid19-i-infnet"), tmp_path / "pictures")


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def read(case, image=STACK):
    return read_case(case, DataConfig(root=".", label_map=VALUES), image)


def save(path, change):
    """Change the voxels of a file."""
    file = nib.load(path)
    nib.save(nib.Nifti1Image(change(file.get_fdata(dtype=np.float32)), file.affine), path)


def test_every_slice_of_the_stack_is_a_case(twin):
    result = found(twin("covid19-i"))
    assert result.layout == "covid19-i"
    assert [case.id for case in result.cases] == [f"slice_{index:03d}" for index in range(30)]
    assert [case.slices for case in result.cases] == [(index,) for index in range(30)]
    assert result.suggestions == {
        "data": {"label_map": {"infection": [1, 2, 3]}, "subject_is": "group"},
        "image": {"slice_axis": 2, "window": "lung"},
        "augment": {"preset": "covid-paper"},
    }


def test_image_and_mask_are_those_that_were_drawn_transposed_alike(twin):
    for index, case in enumerate(found(twin("covid19-i")).cases):
        phantom, got = make_phantom("lung", (64, 64), *divmod(index, 5)), read(case)
        expected = np.zeros((64, 64)) if index == 15 else phantom.mask[0].T
        np.testing.assert_array_equal(got.mask[0], expected)
        np.testing.assert_array_equal(got.image[0, 0], np.rint(phantom.image[0, 0]).T)
        assert got.grid.affine is None  # slices of many people have no place in one patient


def test_the_files_are_as_the_originals(twin):
    image, mask = (nib.load(twin("covid19-i") / f"tr_{part}.nii.gz") for part in ("im", "mask"))
    assert image.shape == mask.shape == (64, 64, 30)
    assert mask.get_data_dtype().kind == "f"
    assert np.unique(mask.get_fdata()).tolist() == [0, 1, 2]


def test_the_slice_without_labels_is_named_and_kept(twin):
    result = found(twin("covid19-i"))
    assert any("1 of 30 slices have no label: slice_015; kept" in note for note in result.notes)
    assert len(found(twin("covid19-i"), exclude=["slice_015"]).cases) == 29


def test_floats_that_are_nearly_whole_are_rounded_and_others_refused(stack):
    save(stack / "tr_mask.nii.gz", lambda voxels: voxels + np.float32(3e-4) * (voxels > 0))
    case = found(stack).cases[0]
    np.testing.assert_array_equal(
        read(case).mask[0], make_phantom("lung", (64, 64), 0, 0).mask[0].T
    )
    save(stack / "tr_mask.nii.gz", lambda voxels: voxels * np.float32(0.9))
    with pytest.raises(DataError, match=r"tr_mask\.nii\.gz is a mask with \d+ pixels that are no"):
        read(found(stack).cases[0])


def test_values_beyond_three_are_refused(stack):
    save(stack / "tr_mask.nii.gz", lambda voxels: voxels * 2)
    with pytest.raises(LabelError, match=r"tr_mask\.nii\.gz holds 4"):
        read(found(stack).cases[0])


def test_neighbouring_slices_stay_together_unless_something_better_is_known(stack):
    result = found(stack)
    assert [case.subject for case in result.cases[8:12]] == [
        *2 * ["slice_000_to_009"],
        *2 * ["slice_010_to_019"],
    ]
    assert "no key to the patients is public" in result.subject_rule
    rows = ["slice,group", *(f"{index},patient {index % 4}" for index in range(30))]
    (stack / "groups.csv").write_text("\n".join(rows))
    result = found(stack)
    assert [case.subject for case in result.cases[:5]] == [f"patient {i}" for i in (0, 1, 2, 3, 0)]
    assert result.subject_rule == "column 'group' of groups.csv"
    assert result.suggestions["data"]["subject_is"] == "person"
    result = found(stack, subject=r"slice_(\d+)")
    assert len({case.subject for case in result.cases}) == 30


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("slice,group\n0,a\n0,b", r"line 3: slice '0', group 'b'"),
        ("slice,group\nx,a", r"line 2: slice 'x'"),
        ("slice,group\n1,", r"line 2: slice '1', group ''"),
        ("slice;group\n1;a", r"line 2: slice ''"),
        ("slice,group\n1,a", "names no group for 29 of 30 slices: 0, 2, 3"),
        ("\udcff", "cannot be read as a UTF-8 CSV file"),
    ],
)
def test_groups_that_do_not_fit_are_refused(stack, text, reason):
    (stack / "groups.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"groups\.csv.*{reason}"):
        found(stack)


def test_half_a_package_and_other_shapes_are_refused(stack):
    shutil.copy(stack / "tr_im.nii.gz", stack / "kept")
    save(stack / "tr_im.nii.gz", lambda voxels: voxels[..., :-1])
    with pytest.raises(ShapeError, match=r"shape \(64, 64, 29\), .* \(64, 64, 30\)"):
        found(stack)
    (stack / "tr_mask.nii.gz").unlink()
    with pytest.raises(DataError, match=r"tr_im\.nii\.gz is there, but .*tr_mask\.nii\.gz is not"):
        found(stack)


def test_pictures_of_training_and_test_are_found_together(twin):
    for root in (twin("covid19-i-infnet"), twin("covid19-i-infnet") / "Dataset"):
        result = found(root)
        assert result.layout == "covid19-i"
        assert [case.id for case in result.cases] == [f"slice_{index:03d}" for index in range(30)]
        parts = [case.mask.parts[-4:-1] for case in result.cases[:2]]
        assert parts == [
            ("TrainingSet", "MultiClassInfection-Train", "GT"),
            ("TestingSet", "MultiClassInfection-Test", "GT"),
        ]
    assert result.suggestions == {
        "data": {"label_map": {"infection": [1, 2]}, "subject_is": "group"},
        "augment": {"preset": "covid-paper"},
    }
    assert "its own split is not used" in result.notes[0]
    assert len({case.subject for case in result.cases}) == 3


def test_masks_of_the_pictures_are_those_that_were_drawn(twin):
    for index, case in enumerate(found(twin("covid19-i-infnet")).cases):
        drawn = make_phantom("lung", (64, 64), *divmod(index, 5)).mask[0]
        got = read(case, ImageConfig())
        expected = drawn[index % 7 :, : 64 - index % 5].T
        np.testing.assert_array_equal(got.mask[0], expected)


def test_the_pictures_are_as_the_originals(twin):
    part = twin("covid19-i-infnet") / "Dataset" / "TrainingSet" / "MultiClassInfection-Train"
    with Image.open(part / "Imgs" / "0.jpg") as image, Image.open(part / "GT" / "0.png") as mask:
        assert (image.format, image.mode, mask.mode) == ("JPEG", "L", "P")
        assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        assert image.size == mask.size
    assert sorted(path.name for path in part.iterdir()) == ["GT", "Imgs", "Prior"]
    single = part.parent / "LungInfection-Train" / "Doctor-label"
    assert sorted(path.name for path in single.iterdir()) == ["Edge", "GT", "Imgs"]


def test_the_binary_part_alone_will_do(pictures):
    for part in (pictures / "Dataset").glob("*/MultiClassInfection-*"):
        shutil.rmtree(part)
    result = found(pictures)
    assert result.suggestions["data"]["label_map"] == {"infection": [255]}
    data = DataConfig(root=".", label_map={"infection": [255]})
    mask = read_case(result.cases[3], data, ImageConfig()).mask
    drawn = make_phantom("lung", (64, 64), 0, 3).mask[0][3:, :61].T
    np.testing.assert_array_equal(mask[0], drawn > 0)


def test_pictures_that_do_not_pair_or_have_other_names_are_refused(pictures):
    part = pictures / "Dataset" / "TestingSet" / "MultiClassInfection-Test"
    (part / "GT" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1 of 30 images have no mask in GT/ of .*Imgs.1\.jpg"):
        found(pictures)
    assert len(found(pictures, unlabelled="skip").cases) == 29
    (part / "Imgs" / "1.jpg").unlink()
    (part / "Imgs" / "3.jpg").unlink()
    with pytest.raises(DataError, match=r"masks have no image in Imgs.*3\.png"):
        found(pictures)
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    (part / "Imgs" / "new.jpg").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"new\.jpg is not named as COVID-SemiSeg names its files"):
        found(pictures)


def test_the_stack_is_read_once_and_again_when_it_changes(stack, monkeypatch):
    from crosslinknet.readers import nifti

    calls = []
    original = nifti.read_image
    monkeypatch.setattr(nifti, "read_image", lambda *a: calls.append(a) or original(*a))
    cases = found(stack).cases
    first = read(cases[0]).image.copy()
    for case in cases[1:5]:
        read(case)
    assert len(calls) == 1
    save(stack / "tr_im.nii.gz", lambda voxels: voxels + 1)
    np.testing.assert_array_equal(read(cases[0]).image, first + 1)
    assert len(calls) == 2
