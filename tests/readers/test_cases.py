"""A case that is some slices of its files."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.cache import open_case
from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.errors import DataError, LabelError, ShapeError
from crosslinknet.predict import mask_path
from crosslinknet.readers import count_values, read_case, read_case_image, read_case_mask

DATA = DataConfig(root=Path(), label_map={"lesion": [1]})
STACK = np.arange(5, dtype=np.uint8)[:, None, None] + np.zeros((5, 32, 40), np.uint8)
MASK = (STACK % 2).astype(np.uint8)  # slices 1 and 3 are all lesion


@pytest.fixture
def stack(tmp_path):
    """Five slices of many people in one file, with their masks."""
    for name, array in (("i.tif", STACK), ("m.tif", MASK)):
        first, *others = [Image.fromarray(page) for page in array]
        first.save(tmp_path / name, save_all=True, append_images=others)
    return tmp_path


def files(folder, *slices, suffix=".tif"):
    image, mask = folder / f"i{suffix}", folder / f"m{suffix}"
    return CaseFiles("anna", "anna", (image,), mask, slices=slices or None)


@pytest.mark.parametrize("slices", [(0,), (3,), (1, 4), (4, 1)])
def test_a_case_holds_its_slices_in_their_order(stack, slices):
    case = read_case(files(stack, *slices), DATA, ImageConfig())
    assert case.image[:, 0, 0, 0].tolist() == list(slices)
    assert case.mask[:, 0, 0].tolist() == [index % 2 for index in slices]
    assert case.grid.shape == (len(slices), 32, 40)
    image, grid = read_case_image(files(stack, *slices), 0)
    np.testing.assert_array_equal(image, case.image)
    assert grid.shape == case.grid.shape
    codes, grid = read_case_mask(files(stack, *slices), DATA, 0)
    np.testing.assert_array_equal(codes, case.mask)
    assert grid.shape == case.grid.shape


def test_without_slices_a_case_is_the_whole_file(stack):
    assert read_case(files(stack), DATA, ImageConfig()).image[:, 0, 0, 0].tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_values_are_counted_in_the_slices_of_the_case_alone(stack):
    assert count_values(files(stack, 0, 1)) == {0: 1280, 1: 1280}
    assert count_values(files(stack, 3)) == {1: 1280}


def test_a_slice_that_is_not_there_is_named(stack):
    for read in (
        lambda: read_case(files(stack, 2, 5), DATA, ImageConfig()),
        lambda: read_case_image(files(stack, 5), 0),
        lambda: read_case_mask(files(stack, 5), DATA, 0),
    ):
        with pytest.raises(
            ShapeError, match=r"i\.tif has 5 slices, but slice 5 is wanted for anna"
        ):
            read()


def test_slices_of_a_volume_keep_its_spacing_and_have_no_place_in_space(tmp_path):
    for name, array in (("i.nii", STACK), ("m.nii", MASK)):
        nib.save(nib.Nifti1Image(array, np.diag([5.0, 2.0, 1.0, 1.0])), tmp_path / name)
    case = read_case(files(tmp_path, 1, suffix=".nii"), DATA, ImageConfig(slice_axis=0))
    assert case.image.shape == (1, 1, 32, 40)
    assert case.grid.spacing == (5, 2, 1)
    assert case.grid.affine is None
    assert case.grid.turn is None


def test_the_mask_of_slices_is_a_picture(tmp_path):
    assert mask_path(files(tmp_path, 3), tmp_path).name == "anna.png"
    assert mask_path(files(tmp_path, 3, 4), tmp_path).name == "anna.tif"
    assert mask_path(files(tmp_path, 3, suffix=".nii.gz"), tmp_path).name == "anna.png"
    assert mask_path(files(tmp_path, suffix=".nii.gz"), tmp_path).name == "anna.nii.gz"


def test_cases_of_one_file_have_entries_of_their_own(stack):
    config = ImageConfig(size=(32, 64), fit="pad")
    cases = [open_case(files(stack, index), DATA, config, stack / "cache") for index in (1, 2, 1)]
    assert [case.foreground.tolist() for case in cases] == [[True], [False], [True]]
    assert cases[0].entry == cases[2].entry != cases[1].entry
    assert [round(float(case.image.max() * 255)) for case in cases] == [1, 2, 1]


def test_further_masks_are_part_of_the_cache(tmp_path):
    columns = np.arange(40)[None] + np.zeros((32, 1), int)
    for name, pixels in (("i", columns), ("m", columns < 3), ("n", columns > 30)):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    one = CaseFiles("a", "a", (tmp_path / "i.png",), tmp_path / "m.png")
    two = CaseFiles("a", "a", one.images, one.mask, more_masks=(tmp_path / "n.png",))
    assert (CaseFiles("a", "a", one.images).masks, len(one.masks), len(two.masks)) == ((), 1, 2)
    config = ImageConfig(size=(32, 64), fit="pad")
    areas = [int(open_case(f, DATA, config, tmp_path).codes.sum()) for f in (one, two)]
    assert areas == [3 * 32, 12 * 32]


def test_a_case_without_mask_has_none_to_read(stack):
    bare = CaseFiles("anna", "anna", (stack / "i.tif",))
    with pytest.raises(DataError, match=r"i\.tif has no mask"):
        read_case_mask(bare, DATA, 0)
    with pytest.raises(DataError, match=r"i\.tif has no mask"):
        count_values(bare)


def test_names_do_not_fit_masks_of_numbers(stack):
    named = DataConfig(root=stack, label_map={"all": ["polyp", "adenoma"]})
    with pytest.raises(LabelError, match=r"m\.tif holds numbers, but .* names labels: adenoma, po"):
        read_case_mask(files(stack), named, 0)
