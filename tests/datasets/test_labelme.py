import json

import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError


def touch(root, *names):
    """Files with these names; JSON files are labelme's."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps({"version": "5.4.1", "shapes": []}))
    return root


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def test_images_with_a_file_beside_them_are_found(tmp_path):
    touch(tmp_path, "b.jpg", "b.json", "a.png", "a.json", ".c.json")
    result = found(tmp_path)
    assert result.layout == "labelme"
    assert [case.id for case in result.cases] == ["a", "b"]
    assert result.cases[1].images == (tmp_path / "b.jpg",)
    assert result.cases[1].mask == tmp_path / "b.json"
    assert result.notes == ("masks are the outlines of labelme files",)


def test_folders_inside_are_followed(tmp_path):
    touch(tmp_path, "anna/1.png", "anna/1.json", "bert/1.png", "bert/1.json")
    result = found(tmp_path, subject="^([^/]+)/")
    assert [(c.id, c.subject) for c in result.cases] == [("anna__1", "anna"), ("bert__1", "bert")]
    assert [case.id for case in found(tmp_path, images="bert").cases] == ["1"]


def test_a_file_that_begins_with_its_picture_is_known(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "a.json").write_text('{"imageData": "' + "A" * 100_000 + '", "shapes": []}')
    assert found(tmp_path).layout == "labelme"


def test_masks_that_are_pixels_come_first(tmp_path):
    touch(tmp_path, "images/a.png", "images/a.json", "masks/a.png")
    assert found(tmp_path).layout == "folders"
    (case,) = found(tmp_path, layout="labelme", images="images").cases
    assert case.mask == tmp_path / "images" / "a.json"


def test_images_without_file_are_an_error_or_left_out(tmp_path):
    touch(tmp_path, "a.png", "a.json", "b.png")
    with pytest.raises(DataError, match=r"1 of 2 images have no mask in labelme files.*: b\.png"):
        found(tmp_path)
    assert [case.id for case in found(tmp_path, unlabelled="skip").cases] == ["a"]


def test_files_without_image_are_an_error(tmp_path):
    touch(tmp_path, "a.png", "a.json", "b.json")
    with pytest.raises(DataError, match=r"1 of 2 masks have no image in .*: b\.json"):
        found(tmp_path)


def test_other_json_files_beside_images_do_not_count(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "a.json").write_text('{"scanner": "x"}')
    with pytest.raises(DataError, match="is no known data set"):
        found(tmp_path)
    with pytest.raises(DataError, match="holds no labelme file"):
        found(tmp_path, layout="labelme")
    with pytest.raises(DataError, match="none is no folder"):
        found(tmp_path, layout="labelme", images="none")
