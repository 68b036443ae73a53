import numpy as np
import pytest
from PIL import Image

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.datasets.folders import ENDINGS
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.readers import count_values, read_case_mask


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def save(root, **masks):
    """Masks of 4x6, each given by its name and the columns that it marks."""
    for name, columns in masks.items():
        pixels = np.zeros((4, 6), np.uint8)
        pixels[1, columns] = 255
        Image.fromarray(pixels).save(root / f"{name}.png")


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_mask_adds_an_ending_to_the_name_of_its_image(tmp_path, ending):
    touch(tmp_path, "b.png", f"b{ending}.png", "a.png", f"a{ending}.png", "notes.txt")
    result = found(tmp_path)
    assert result.layout == "side-by-side"
    assert [case.id for case in result.cases] == ["a", "b"]
    assert result.cases[0].images == (tmp_path / "a.png",)
    assert result.cases[0].mask == tmp_path / f"a{ending}.png"
    assert result.notes == ("masks lie beside their images",)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a_mask.png"),
        ("a.nii.gz", "a_seg.nii.gz"),
        ("a_image.png", "a_mask.png"),
        ("a_img.tif", "a_gt.tif"),
        ("a.png", "a_mask_1.png"),
    ],
)
def test_suffixes_may_differ_and_images_may_have_an_ending(tmp_path, image, mask):
    (case,) = found(touch(tmp_path, image, mask)).cases
    assert (case.id, case.images[0].name, case.mask.name) == ("a", image, mask)
    assert case.more_masks == ()


def test_folders_inside_are_followed_each_for_itself(tmp_path):
    touch(tmp_path, "anna/1.tif", "anna/1_mask.tif", "bert/1.tif", "bert/1_mask.tif")
    result = found(tmp_path)
    assert [case.id for case in result.cases] == ["anna__1", "bert__1"]
    assert "data.subject: '^([^/]+)/'" in result.notes[-1]
    assert [c.subject for c in found(tmp_path, subject="^([^/]+)/").cases] == ["anna", "bert"]
    assert [c.id for c in found(tmp_path, images="anna", layout="side-by-side").cases] == ["1"]


def test_two_known_folders_come_first(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png", "x.png", "x_mask.png")
    assert found(tmp_path).layout == "folders"


def test_masks_of_several_objects_are_joined_as_busi_names_them(tmp_path):
    names = ("benign (1)", "benign (1)_mask", "benign (1)_mask_1", "benign (1)_mask_10")
    touch(tmp_path, *(f"benign/{name}.png" for name in (*names, "benign (1)_mask_2")))
    touch(tmp_path, "normal/normal (1).png", "normal/normal (1)_mask.png")
    result = found(tmp_path)
    assert [case.id for case in result.cases] == ["benign (1)", "normal (1)"]
    assert [path.stem for path in result.cases[0].masks] == [
        "benign (1)_mask",
        "benign (1)_mask_1",
        "benign (1)_mask_2",
        "benign (1)_mask_10",
    ]
    assert (
        "several numbered masks of an image are joined, in 1 of 2 cases: benign (1).png"
        in result.notes
    )


def test_joined_masks_are_a_union_and_share_no_pixel(tmp_path):
    save(tmp_path, a=[], a_mask=[0], a_mask_1=[2, 3])
    (case,) = found(tmp_path).cases
    data = DataConfig(root=tmp_path, label_map={"lesion": [255]})
    codes, _ = read_case_mask(case, data, 0)
    assert codes[0, 1].tolist() == [1, 0, 1, 1, 0, 0]
    assert codes.sum() == 3
    assert count_values(case) == {0: 21, 255: 3}
    save(tmp_path, a_mask_1=[0, 3])
    with pytest.raises(
        DataError, match=r"a_mask_1\.png marks 1 pixels that another mask of a\.png"
    ):
        read_case_mask(case, data, 0)
    last = data.model_copy(update={"overlap": "last"})
    assert read_case_mask(case, last, 0)[0].sum() == 2
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(tmp_path / "a_mask_1.png")
    with pytest.raises(ShapeError, match=r"a_mask_1\.png is 1x4x7, but .*a_mask\.png is 1x4x6"):
        read_case_mask(case, last, 0)


def test_numbered_masks_alone_may_be_readers_and_are_refused(tmp_path):
    touch(tmp_path, "a.png", "a_mask_1.png", "a_mask_2.png")
    with pytest.raises(DataError, match=r"2 masks that are all numbered: a_mask_1\.png, a_mask_2"):
        found(tmp_path)


def test_two_masks_or_two_images_of_one_name_are_errors(tmp_path):
    touch(tmp_path, "a.png", "a_mask.png", "a_seg.png")
    with pytest.raises(DataError, match=r"a_mask\.png, .*a_seg\.png are all masks of a\.png"):
        found(tmp_path)
    (tmp_path / "a_seg.png").unlink()
    touch(tmp_path, "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg, .*a\.png have one name"):
        found(tmp_path)


def test_masks_without_image_and_images_without_mask_are_errors(tmp_path):
    touch(tmp_path, "a.png", "a_mask.png", "b.png")
    with pytest.raises(DataError, match=r"1 of 2 images have no mask in their folder: b\.png"):
        found(tmp_path)
    assert [case.id for case in found(tmp_path, unlabelled="skip").cases] == ["a"]
    touch(tmp_path, "x/c_mask.png")
    with pytest.raises(
        DataError, match=r"1 of 2 masks have no image in their folder: x.c_mask\.png"
    ):
        found(tmp_path)


def test_images_alone_are_no_such_set(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    with pytest.raises(DataError, match="is no known data set"):
        found(tmp_path)
    with pytest.raises(DataError, match="no image with a mask beside it"):
        found(tmp_path, layout="side-by-side")
