"""What every format of READERS promises, and what holds for a case whatever its format."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.errors import DataError, ShapeError, SystemProblem
from crosslinknet.geometry import Grid
from crosslinknet.labels import label_table
from crosslinknet.readers import (
    DRAWN,
    READERS,
    is_image,
    read_case,
    read_image,
    read_mask,
    stem_of,
    suffix_of,
    write_mask,
    write_probabilities,
)

DATA = DataConfig(root=Path(), label_map={"lesion": [1]})
NO_MASKS = (".jpg", ".jpeg", ".mhd", ".nhdr", *DRAWN)  # lossy, two files, or drawn
KEEPS_VALUES = [suffix for suffix in READERS if suffix not in NO_MASKS]


def png(path, pixels):
    Image.fromarray(np.asarray(pixels)).save(path)
    return path


def nifti(path, voxels, affine=None):
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("suffix", KEEPS_VALUES)
def test_a_mask_written_is_the_mask_read(tmp_path, suffix):
    table = label_table({"a": [1, 200], "b": [200]})
    codes = np.random.default_rng(0).integers(0, 3, (1, 5, 7)).astype(np.uint8)
    path = tmp_path / f"case.0001{suffix}"
    write_mask(path, codes, table, Grid((1, 5, 7)), None)
    back, grid = read_mask(path, 0, table, None)
    np.testing.assert_array_equal(back, codes)
    assert grid.shape == (1, 5, 7)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".tif", ".nii", ".nii.gz", ".mha", ".nrrd"])
def test_formats_of_volumes_keep_all_slices(tmp_path, suffix):
    table = label_table({"a": [1000]})
    codes = np.random.default_rng(0).integers(0, 2, (4, 5, 7)).astype(np.uint8)
    write_mask(tmp_path / f"a{suffix}", codes, table, Grid((4, 5, 7)), None)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}", 0, table, None)[0], codes)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii.gz", ".mha", ".nrrd"])
def test_probabilities_come_back_to_16_bits(tmp_path, suffix):
    probs = np.random.default_rng(0).random((1, 1, 5, 7), dtype=np.float32)
    (path,) = write_probabilities(tmp_path / f"a{suffix}", probs, Grid((1, 5, 7)), None)
    back, _ = read_image(path, 0)
    scale = 65535.0 if back.dtype == np.uint16 else 1.0
    np.testing.assert_allclose(back[:, 0] / scale, probs[0], atol=0.5 / 65535 + 1e-9)


def test_probabilities_of_several_classes_are_pictures_of_their_own(tmp_path):
    probs = np.stack([np.zeros((1, 4, 4)), np.ones((1, 4, 4))]).astype(np.float32)
    grid = Grid((1, 4, 4))
    named = write_probabilities(tmp_path / "a.png", probs, grid, None, classes=["endo", "epi"])
    assert [path.name for path in named] == ["a.endo.png", "a.epi.png"]
    assert [read_image(path, 0)[0].max() for path in named] == [0, 65535]
    numbered = write_probabilities(tmp_path / "a.tif", probs, grid, None)
    assert [path.name for path in numbered] == ["a.1.tif", "a.2.tif"]


def test_a_full_disk_leaves_the_old_mask(tmp_path, monkeypatch):
    table, grid = label_table({"a": [1]}), Grid((1, 4, 4))
    write_mask(tmp_path / "a.png", np.ones((1, 4, 4), np.uint8), table, grid, None)
    before = (tmp_path / "a.png").read_bytes()

    def full(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(SystemProblem, match=r"a\.png could not be written \(No space left"):
        write_mask(tmp_path / "a.png", np.zeros((1, 4, 4), np.uint8), table, grid, None)
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_names_are_split_at_the_suffix_that_names_the_format():
    assert suffix_of(Path("A.Nii.GZ")) == ".nii.gz"
    assert stem_of(Path("x/case.01.tif")) == "case.01"
    assert is_image(Path("a.JPEG"))
    assert not is_image(Path("._a.png"))
    assert not is_image(Path("a.gz"))


def test_a_case_holds_image_mask_and_the_spacing_of_the_file(tmp_path):
    image = nifti(tmp_path / "i.nii", np.zeros((40, 50, 3), np.int16), np.diag([2, 1, 5, 1]))
    mask = nifti(tmp_path / "m.nii", np.ones((40, 50, 3), np.uint8), np.diag([2, 1, 5, 1]))
    case = read_case(CaseFiles("a", "anna", (image,), mask), DATA, ImageConfig())
    assert (case.id, case.subject) == ("a", "anna")
    assert case.image.shape == (3, 1, 50, 40)
    assert case.mask.shape == (3, 50, 40)
    assert case.grid.spacing == (5, 1, 2)


def test_stated_spacing_wins_over_the_file(tmp_path):
    image = nifti(tmp_path / "i.nii", np.zeros((40, 40, 2), np.int16))
    files = CaseFiles("a", "a", (image,), spacing=(7.0, 0.5, 0.5))
    case = read_case(files, DATA, ImageConfig())
    assert case.grid.spacing == (7.0, 0.5, 0.5)
    assert case.mask is None


def test_several_files_become_channels(tmp_path):
    files = [png(tmp_path / f"{i}.png", np.full((40, 40), i, np.uint8)) for i in (1, 2)]
    case = read_case(CaseFiles("a", "a", tuple(files)), DATA, ImageConfig())
    assert case.image[0, :, 0, 0].tolist() == [1, 2]
    files[1] = png(tmp_path / "3.png", np.zeros((40, 41), np.uint8))
    with pytest.raises(ShapeError, match=r"3\.png is 1x40x41.*1\.png is 1x40x40"):
        read_case(CaseFiles("a", "a", tuple(files)), DATA, ImageConfig())


def test_a_mask_of_another_size_names_both_files_and_sizes(tmp_path):
    image = png(tmp_path / "i.png", np.zeros((40, 40), np.uint8))
    mask = png(tmp_path / "m.png", np.zeros((40, 80), np.uint8))
    with pytest.raises(ShapeError, match=r"m\.png is 1x40x80, but .*i\.png is 1x40x40"):
        read_case(CaseFiles("a", "a", (image,), mask), DATA, ImageConfig())


def test_a_mask_elsewhere_in_space_is_refused_and_rounding_is_not(tmp_path):
    image = nifti(tmp_path / "i.nii", np.zeros((40, 40, 2), np.int16))
    shifted = np.eye(4)
    for shift, good in ((0.01, True), (3.0, False)):
        shifted[0, 3] = shift
        mask = nifti(tmp_path / "m.nii", np.zeros((40, 40, 2), np.uint8), shifted)
        files = CaseFiles("a", "a", (image,), mask)
        if good:
            read_case(files, DATA, ImageConfig())
        else:
            with pytest.raises(DataError, match=r"m\.nii have one shape but lie up to 3\.00 mm"):
                read_case(files, DATA, ImageConfig())


def test_a_mask_stored_in_another_orientation_is_turned_to_its_image(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 2, (40, 41, 3)).astype(np.uint8)
    image = nifti(tmp_path / "i.nii", voxels)
    mask = nifti(tmp_path / "m.nii", voxels[::-1], np.array(
        [[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float
    ))  # fmt: skip
    case = read_case(CaseFiles("a", "a", (image,), mask), DATA, ImageConfig())
    np.testing.assert_array_equal(case.image[:, 0], case.mask)


def test_a_picture_and_a_volume_do_not_mix(tmp_path):
    image = nifti(tmp_path / "i.nii", np.zeros((40, 40, 1), np.int16))
    mask = png(tmp_path / "m.png", np.zeros((40, 40), np.uint8))
    with pytest.raises(DataError, match="a picture and a volume with a place"):
        read_case(CaseFiles("a", "a", (image,), mask), DATA, ImageConfig())


def test_floats_of_masks_are_rounded_where_they_are_whole_but_for_rounding(tmp_path):
    table = label_table({"a": [1, 3]})
    voxels = np.array([[[0.0, 0.9999, 1.0004, 3.0]]], np.float32)
    codes, _ = read_mask(nifti(tmp_path / "m.nii", voxels), 0, table, None)
    assert codes.ravel().tolist() == [0, 1, 1, 2]
    for wrong in (0.998, np.nan, np.inf, -np.inf, 2.0**40):
        voxels[0, 0, 1] = wrong
        with pytest.raises(DataError, match=r"m\.nii is a mask with 1 pixels that are no whole"):
            read_mask(nifti(tmp_path / "m.nii", voxels), 0, table, None)


def test_what_is_remembered_of_a_stack_depends_on_everything_that_changes_it(tmp_path):
    voxels = np.arange(2 * 40 * 40).reshape(2, 40, 40) % 3
    image = nifti(tmp_path / "i.nii", voxels.astype(np.int16))
    mask = nifti(tmp_path / "m.nii", voxels.astype(np.uint8))
    first, second = (CaseFiles("a", "a", (image,), mask, slices=(i,)) for i in (0, 1))
    config = ImageConfig(slice_axis=0)
    both, one = {"a": [1], "b": [2]}, {"b": [2]}
    for files, index in ((first, 0), (second, 1)):
        case = read_case(files, DataConfig(root=tmp_path, label_map=both), config)
        np.testing.assert_array_equal(case.image[0, 0], voxels[index])
        np.testing.assert_array_equal(case.mask[0], voxels[index])
        case.mask[:] = 7  # a case is the caller's own
    nifti(mask, (voxels == 2).astype(np.uint8) * 2)
    for labels, code in ((both, 2), (one, 1)):
        case = read_case(first, DataConfig(root=tmp_path, label_map=labels), config)
        np.testing.assert_array_equal(case.mask[0], (voxels[0] == 2) * code)
    mask.unlink()
    with pytest.raises(DataError, match=r"m\.nii is no file"):
        read_case(first, DataConfig(root=tmp_path, label_map=one), config)


@pytest.mark.parametrize("fit", ["letterbox", "resize", "pad", "crop"])
def test_small_images_are_welcome_where_they_are_brought_to_size(tmp_path, fit):
    image = png(tmp_path / "small.png", np.zeros((31, 200), np.uint8))
    files, config = CaseFiles("a", "a", (image,)), ImageConfig(fit=fit)
    if fit == "crop":
        with pytest.raises(ShapeError, match=r"small\.png has slices of 31x200 pixels"):
            read_case(files, DATA, config)
    else:
        assert read_case(files, DATA, config).grid.shape == (1, 31, 200)


def test_real_volumes_and_pictures_are_read_as_cases(real_data):
    folder = real_data / "msd_hippocampus"
    name = "hippocampus_001.nii.gz"
    files = CaseFiles("a", "a", (folder / "images" / name,), folder / "labels" / name)
    data = DataConfig(root=folder, label_map={"anterior": [1], "posterior": [2]})
    case = read_case(files, data, ImageConfig(window="percentile"))
    assert case.image.shape == (35, 1, 51, 35)
    assert [(case.mask == code).sum() for code in (1, 2)] == [1324, 1624]  # manifest.csv
    folder = real_data / "kvasir_seg_100"
    image = sorted((folder / "images").iterdir())[0]
    files = CaseFiles("a", "a", (image,), folder / "masks" / f"{image.stem}.png")
    case = read_case(files, DataConfig(root=folder), ImageConfig(channels=3))
    assert case.image.shape == (1, 3, 529, 622)
    assert case.mask.sum() == 93043  # manifest.csv
