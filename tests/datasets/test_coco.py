import json

import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError

BOX = [[1, 1, 4, 1, 4, 3, 1, 3]]


def coco(names=("a.png", "b.png"), drawn=(0,), category=2):
    """Images of these names; those whose number is drawn have an annotation."""
    return {
        "info": {"description": "x" * 500},
        "images": [{"id": i, "file_name": n, "height": 6, "width": 8} for i, n in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": category, "segmentation": BOX} for i in drawn
        ],
        "categories": [{"id": i, "name": n} for i, n in ((1, "ruler"), (2, "polyp"))],
    }


def make(root, content=None, path="labels.json", images=("a.png", "b.png")):
    for name in (path, *images):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / path).write_text(json.dumps(coco() if content is None else content))
    return root


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


@pytest.mark.parametrize("path", ["labels.json", "annotations/labels.json"])
@pytest.mark.parametrize("folder", ["", "images/", "Data/"])
def test_a_coco_file_and_its_images_are_found(tmp_path, path, folder):
    result = found(make(tmp_path, path=path, images=[f"{folder}{n}.png" for n in "ab"]))
    assert result.layout == "coco"
    assert [case.id for case in result.cases] == ["a", "b"]
    assert result.cases[0].images == (tmp_path / f"{folder}a.png",)
    assert {case.mask for case in result.cases} == {tmp_path / path}
    assert result.label_values == {"polyp": ["polyp"]}
    assert result.notes == (
        f"outlines in {path}, images in {folder or './'}",
        "1 of 2 images have no annotation, which in COCO means that nothing is on them (an empty "
        "mask): b.png",
    )


def test_the_folder_may_be_named_in_the_file_or_stated(tmp_path):
    names = [f"train2017/{n}.png" for n in "ab"]
    make(tmp_path, path="annotations/instances_train2017.json", images=names)
    assert found(tmp_path).cases[0].images == (tmp_path / "train2017" / "a.png",)
    make(tmp_path, path="annotations/instances_train2017.json", images=["x/a.png", "x/b.png"])
    assert found(tmp_path, images="x").cases[0].images == (tmp_path / "x" / "a.png",)


def test_folders_in_names_are_followed_or_left_out(tmp_path):
    names = ("anna/1.png", "bert/2.png")
    make(tmp_path, coco(names), images=[f"images/{name}" for name in names])
    result = found(tmp_path, subject="^([^/]+)/")
    assert [(case.id, case.subject) for case in result.cases] == [("1", "anna"), ("2", "bert")]
    make(tmp_path, coco(("C:\\x\\a.png", "/y/b.png")))
    assert [case.images[0].name for case in found(tmp_path).cases] == ["a.png", "b.png"]


def test_equal_names_in_two_folders_must_be_found_there(tmp_path):
    names = ("anna/1.png", "bert/1.png")
    make(tmp_path, coco(names), images=names)
    assert [case.id for case in found(tmp_path).cases] == ["anna__1", "bert__1"]
    (tmp_path / names[1]).unlink()
    make(tmp_path, coco(names), images=["1.png"])
    with pytest.raises(DataError, match=r"1 of its 2 images are not in .*: bert/1\.png.*data\.im"):
        found(tmp_path)


def test_of_several_files_one_is_chosen(tmp_path):
    make(tmp_path, path="annotations/train.json")
    make(tmp_path, coco(("a.png",)), path="annotations/val.json")
    with pytest.raises(DataError, match=r"annotations/train\.json, annotations/val\.json\. Choose"):
        found(tmp_path)
    for layout in ("auto", "coco"):
        result = found(tmp_path, masks="annotations/val.json", layout=layout)
        assert [case.id for case in result.cases] == ["a"]


def test_other_json_files_do_not_count(tmp_path):
    make(tmp_path)
    (tmp_path / "info.json").write_text('{"images": 2}')
    (tmp_path / "names.json").write_text('{"file_name": 2}')
    assert len(found(tmp_path).cases) == 2


def test_masks_that_are_pixels_come_first_and_the_file_can_be_stated(tmp_path):
    make(tmp_path, images=["images/a.png", "images/b.png", "masks/a.png", "masks/b.png"])
    assert found(tmp_path).layout == "folders"
    assert found(tmp_path, masks="labels.json").layout == "coco"


def test_annotations_of_unknown_images_are_counted(tmp_path):
    result = found(make(tmp_path, coco(drawn=(0, 1, 7))))
    assert "1 annotations of images that the file does not list are left out" in result.notes


def test_images_that_are_missing_or_strange_are_errors(tmp_path):
    make(tmp_path, images=["b.png"])
    with pytest.raises(DataError, match=r"1 of its 2 images are not in .*: a\.png"):
        found(tmp_path)
    make(tmp_path, coco(("a.gif",)), images=["a.gif"])
    with pytest.raises(DataError, match=r"files of kinds that are not read: .*a\.gif"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (coco(()), "lists no images"),
        ({"shapes": [], "file_name": 1, "images": 1}, "lists no images"),
        (coco(category=9), "which 'categories' does not list"),
    ],
)
def test_a_file_without_images_or_damaged_is_an_error(tmp_path, content, reason):
    with pytest.raises(DataError, match=reason):
        found(make(tmp_path, content), layout="coco")


def test_a_stated_layout_without_file_says_so(tmp_path):
    with pytest.raises(DataError, match="holds no COCO file"):
        found(tmp_path, layout="coco")
    with pytest.raises(DataError, match=r"gone\.json cannot be read"):
        found(tmp_path, layout="coco", masks="gone.json")
