"""Outlines of COCO and labelme: which pixels, which labels, what is refused."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.errors import DataError, LabelError, ShapeError, UsageError
from crosslinknet.geometry import Grid
from crosslinknet.labels import label_table
from crosslinknet.readers import count_values, polygons, read_case_mask
from crosslinknet.readers.polygons import count, draw
from crosslinknet.readers.shapes import circle, polygon, rectangle

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]  # columns 1 to 3, rows 1 and 2
GRID = Grid((1, 6, 8))
NAMES = label_table({"all": ["polyp", "adenoma"]})  # adenoma 1, polyp 2
IDS = label_table({"polyp": [3], "adenoma": [7]})


def coco(*annotations, images=("a.png",)):
    """A document with images of 6x8; annotations are (category, segmentation[, image])."""
    return {
        "images": [
            {"id": i, "file_name": name, "height": 6, "width": 8} for i, name in enumerate(images)
        ],
        "annotations": [
            {"id": i, "image_id": (*rest, 0)[0], "category_id": category, "segmentation": drawn}
            for i, (category, drawn, *rest) in enumerate(annotations)
        ],
        "categories": [{"id": 3, "name": "polyp"}, {"id": 7, "name": "adenoma"}],
    }


def labelme(*shapes, size=(6, 8)):
    """A document of shapes (label, kind, points)."""
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": [
            {"label": label, "shape_type": kind, "points": points} for label, kind, points in shapes
        ],
        "imagePath": "elsewhere.png",
        "imageData": "iVBORw0KGgo=",
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


@pytest.fixture
def drawn(tmp_path):
    """Write a document and draw an image of 6x8 from it: values (H, W)."""

    def values(content, table=NAMES, image="a.png", overlap="error", grid=GRID):
        path = tmp_path / "drawn.json"
        path.write_text(json.dumps(content))
        return draw(path, tmp_path / image, grid, table, overlap)[0].tolist()

    return values


def expected(*boxes, shape=(6, 8)):
    """Values of boxes (value, rows, columns)."""
    values = np.zeros(shape, int)
    for value, rows, columns in boxes:
        values[rows, columns] = value
    return values.tolist()


def test_coordinates_count_from_pixel_edges():
    square = polygon([[0, 0], [2, 0], [2, 2], [0, 2]], (3, 4))
    assert square.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    # the centre of pixel (1, 2) is the point (2.5, 1.5)
    inside, outside = (
        polygon([[x0, 1.4], [3, 1.4], [3, 1.6], [x0, 1.6]], (3, 4)) for x0 in (2.4, 2.6)
    )
    assert np.argwhere(inside).tolist() == [[1, 2]]
    assert not outside.any()


def test_the_whole_image_is_drawn_by_its_corners():
    assert polygon([[0, 0], [8, 0], [8, 6], [0, 6]], (6, 8)).all()
    assert rectangle([[8, 6], [0, 0]], (6, 8)).all()


def test_a_circle_holds_the_pixels_whose_centres_it_holds():
    # around the corner of four pixels: their centres are 0.71 away, the next ones 1.58
    assert circle([[2, 2], [2, 3]], (4, 4)).tolist() == expected(
        (1, slice(1, 3), slice(1, 3)), shape=(4, 4)
    )
    # around a centre: the four neighbours are 1 away
    assert circle([[1.5, 1.5], [1.5, 2.6]], (3, 3)).astype(int).tolist() == [
        [0, 1, 0],
        [1, 1, 1],
        [0, 1, 0],
    ]


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        {"size": [6, 8], "counts": [7, 2, 4, 2, 4, 2, 27]},
        {"size": [6, 8], "counts": "724000g0"},  # 27 - 4 = 23: 10111 with the sign bit, then 0
    ],
    ids=["polygon", "counts", "text"],
)
def test_the_three_forms_of_coco_say_the_same(drawn, segmentation):
    box = (slice(1, 3), slice(1, 4))
    assert drawn(coco((3, segmentation))) == expected((2, *box))
    assert drawn(coco((3, segmentation)), IDS) == expected((3, *box))


def test_polygons_of_one_annotation_are_joined(drawn):
    apart = [SQUARE, [2, 2, 6, 2, 6, 5, 2, 5]]  # they share row 2, columns 2 and 3
    assert drawn(coco((3, apart))) == expected(
        (2, slice(1, 3), slice(1, 4)), (2, slice(2, 5), slice(2, 6))
    )


def test_a_crowd_is_as_much_its_category_as_an_object(drawn):
    content = coco((3, {"size": [6, 8], "counts": [7, 2, 39]}))
    content["annotations"][0]["iscrowd"] = 1
    assert drawn(content) == expected((2, slice(1, 3), slice(1, 2)))


def test_an_image_without_annotations_has_an_empty_mask(drawn):
    content = coco((3, [SQUARE]), images=("a.png", "b.png"))
    assert drawn(content, image="b.png") == expected()


def test_the_kinds_of_labelme_are_drawn(drawn):
    content = labelme(
        ("polyp", "polygon", [[1, 1], [4, 1], [4, 3], [1, 3]]),
        ("adenoma", "rectangle", [[7, 6], [5, 4]]),
        ("polyp", "circle", [[0.5, 5.5], [0.5, 5.6]]),
        ("polyp", None, [[6, 0], [8, 0], [8, 1], [6, 1]]),  # as old versions wrote polygons
    )
    assert drawn(content) == expected(
        (2, slice(1, 3), slice(1, 4)),
        (1, slice(4, 6), slice(5, 7)),
        (2, 5, 0),
        (2, 0, slice(6, 8)),
    )


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points", "mask", ["polygon"]])
def test_other_kinds_of_labelme_are_refused_with_a_reason(drawn, kind):
    with pytest.raises(DataError, match=r"drawn\.json, shape 1 \(polyp\) of a\.png: it is of the"):
        drawn(labelme(("polyp", kind, [[1, 1], [2, 2]])))


def test_pixels_of_two_labels_are_an_error_or_the_last_ones(drawn):
    content = coco((7, [SQUARE]), (3, [[3, 2, 8, 2, 8, 6, 3, 6]]))  # they share (2, 3)
    with pytest.raises(DataError, match=r"a\.png labels overlap: adenoma and polyp \(1 px\)"):
        drawn(content)
    assert drawn(content, overlap="last") == expected(
        (1, slice(1, 3), slice(1, 4)), (2, slice(2, 6), slice(3, 8))
    )
    content["annotations"].reverse()
    assert drawn(content, overlap="last")[2][3] == 1


def test_two_objects_of_one_label_may_overlap(drawn):
    content = coco((3, [SQUARE]), (3, [SQUARE]))
    assert drawn(content) == expected((2, slice(1, 3), slice(1, 4)))


def test_labels_that_nobody_named_are_listed_with_the_nearest_name(drawn):
    table = label_table({"polyp": ["polyps"]})
    content = labelme(*[("polyp", "rectangle", [[1, 1], [2, 2]])] * 2, ("ruler", "line", []))
    with pytest.raises(LabelError) as caught:
        drawn(content, table)
    text = str(caught.value)
    assert "(a.png) holds 'polyp' (2 outlines), 'ruler' (1 outlines), which" in text
    assert "did you mean 'polyps'?" in text
    assert "as in {lesion: ['polyp']}" in text


def test_numbers_that_nobody_named_are_listed_with_their_names(drawn):
    with pytest.raises(LabelError, match=r"'adenoma' \(category 7, 1 outlines\).*it names 1, 3"):
        drawn(coco((7, [SQUARE])), label_table({"a": [1], "b": [3]}))
    with pytest.raises(LabelError, match=r"it names #000003"):
        drawn(coco((3, [SQUARE])), label_table({"a": ["#000003"]}))
    with pytest.raises(LabelError, match=r"'polyp' \(1 outlines\).*it names 1\. Add"):
        drawn(labelme(("polyp", "circle", [])), label_table({"a": [1]}))


def test_many_unknown_labels_are_cut(drawn):
    shapes = [(f"label {i:02}", "circle", []) for i in range(12)]
    with pytest.raises(LabelError, match=r"'label 09' \(1 outlines\) and 2 more labels"):
        drawn(labelme(*shapes))


def test_pixels_are_counted_by_name_background_included(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco((3, [SQUARE]), (3, [SQUARE]), (7, [[0, 0, 8, 0, 8, 1, 0, 1]]))))
    assert count(path, tmp_path / "a.png", GRID) == {0: 34, "adenoma": 8, "polyp": 6}
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "a.png")
    files = CaseFiles("a", "a", (tmp_path / "a.png",), path)
    assert count_values(files) == {0: 34, "adenoma": 8, "polyp": 6}


@pytest.mark.parametrize("content", [coco((3, [SQUARE])), labelme(("polyp", "circle", []))])
def test_another_size_and_a_volume_are_refused(drawn, content):
    with pytest.raises(ShapeError, match=r"drawn on an image of 6x8.*a\.png is 8x6"):
        drawn(content, grid=Grid((1, 8, 6)))
    with pytest.raises(ShapeError, match=r"a\.png has 2 slices"):
        drawn(content, grid=Grid((2, 6, 8)))


def test_a_file_that_states_no_size_is_taken_as_it_is(drawn):
    content = coco((3, [SQUARE]))
    del content["images"][0]["height"], content["images"][0]["width"]
    assert drawn(content) == expected((2, slice(1, 3), slice(1, 4)))
    content = labelme(("polyp", "rectangle", [[1, 1], [4, 3]]), size=(None, None))
    assert drawn(content) == expected((2, slice(1, 3), slice(1, 4)))


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("x/a.png", "x/a.png"),
        ("./a.png", "a.png"),
        ("C:\\work\\a.png", "a.png"),
        ("/home/anna/images/a.png", "elsewhere/a.png"),
    ],
)
def test_images_are_known_by_the_end_of_their_path(drawn, name, image):
    content = coco((3, [SQUARE]), images=(name,))
    assert drawn(content, image=image) == expected((2, slice(1, 3), slice(1, 4)))


def test_equal_names_in_different_folders_are_kept_apart(drawn):
    content = coco((3, [SQUARE], 1), images=("x/a.png", "y/a.png"))
    assert drawn(content, image="x/a.png") == expected()
    assert drawn(content, image="y/a.png") != expected()
    with pytest.raises(
        DataError, match=r"lists 2 images that could be .*it has x/a\.png, y/a\.png"
    ):
        drawn(content, image="z/a.png")
    with pytest.raises(DataError, match=r"lists no images that could be .*b\.png; it has x/a"):
        drawn(content, image="b.png")


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "no segmentation; a bounding box alone"),
        ([], "no segmentation; a bounding box alone"),
        ("text", "no segmentation"),
        ([[1, 1, 4, 1]], "it has 2 points, 3 or more are needed"),
        ([[1, 1, 4, 1, 4]], "no list of x, y, x, y"),
        ([5], "no list of x, y, x, y"),
        ([[1, 1, 4, 1, 4, "x"]], "no list of pairs of numbers"),
        ([[1, 1, 4, 1, 4, float("nan")]], "no list of pairs of numbers"),
        ([[1, 1, 4, 1, 4, 10**400]], "no list of pairs of numbers"),
        ([[1, 1, 4, 1, 4, 1e300]], "no list of pairs of numbers"),
        ({"size": [8, 6], "counts": [48]}, r"the size \[8, 6\], the image is \[6, 8\]"),
        ({"size": [6, 8]}, "no 'counts'"),
        ({"size": [6, 8], "counts": [47]}, "add up to 47 pixels"),
        ({"size": [6, 8], "counts": "{"}, "no text of COCO's kind"),
    ],
)
def test_a_segmentation_that_cannot_be_drawn_is_named(drawn, segmentation, reason):
    with pytest.raises(DataError, match=rf"drawn\.json, annotation 0 of a\.png: .*{reason}"):
        drawn(coco((3, segmentation)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": None}, "'annotations' is no list of records"),
        ({"images": [3]}, "'images' is no list of records"),
        ({"categories": {}}, "'categories' is no list of records"),
        ({"categories": []}, "category_id 3, which 'categories' does not list"),
        ({"categories": [{"id": "3", "name": "x"}]}, "category '3' has the name 'x'"),
        ({"categories": [{"id": 3}]}, "category 3 has the name None"),
        ({"categories": [{"id": i, "name": "x"} for i in (3, 4)]}, "several categories named 'x'"),
        ({"categories": [{"id": 3, "name": n} for n in "ab"]}, "has the id 3, which is none or is"),
        ({"images": [{"id": [0], "file_name": "a.png"}]}, r"has the id \[0\]"),
        ({"images": [{"id": i, "file_name": "a.png"} for i in (0, 1)]}, r"lists the image a\.png"),
        ({"images": [{"id": 0}]}, "None is no file_name"),
        ({"images": [{"id": 0, "file_name": "../a.png"}]}, r"'\.\./a\.png' is no file_name"),
        ({"images": [{"id": 0, "file_name": "a" * 256}]}, "is no file_name"),
        ({"images": [{"id": 0, "file_name": "a.png", "height": 6}]}, r"the size \(6, None\)"),
    ],
)
def test_a_damaged_coco_file_is_refused(drawn, change, reason):
    with pytest.raises(DataError, match=rf"drawn\.json.*{reason}"):
        drawn(coco((3, [SQUARE])) | change)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "holds no outlines that we read"),
        ({"a": 1}, "holds no outlines that we read"),
        ({"shapes": 3}, "a shape has no label"),
        ({"shapes": [{"label": ""}]}, "a shape has no label"),
        ({"shapes": [], "imageHeight": 5}, r"imageHeight and imageWidth are \(5, None\)"),
        (labelme(("polyp", "circle", [[1, 1]])), "it has 1 points, 2 are needed"),
        (labelme(("polyp", "rectangle", [[1, 1]] * 3)), "it has 3 points, 2 are needed"),
        (labelme(("polyp", "polygon", None)), "no list of pairs of numbers"),
    ],
)
def test_a_damaged_labelme_file_is_refused(drawn, content, reason):
    with pytest.raises(DataError, match=rf"drawn\.json.*{reason}"):
        drawn(content)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"shapes": ', "\ufffe", "NaN"])
def test_a_file_that_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        draw(tmp_path / "a.json", tmp_path / "a.png", GRID, NAMES, "error")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.json cannot be read \(No such file"):
        draw(tmp_path / "a.json", tmp_path / "a.png", GRID, NAMES, "error")


@pytest.mark.parametrize(
    "content",
    [
        coco((3, [SQUARE]), (7, {"size": [6, 8], "counts": [40, 8]})),
        coco((3, {"size": [6, 8], "counts": "724000g0"})),
        labelme(
            ("polyp", "polygon", [[1, 1], [4, 1], [4, 3]]), ("adenoma", "circle", [[5, 5]] * 2)
        ),
    ],
)
def test_a_file_with_damaged_bytes_is_drawn_or_refused(tmp_path, content):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(json.dumps(content).encode(), np.uint8)
    path = tmp_path / "a.json"
    for _ in range(150):
        damaged = whole.copy()
        places = rng.integers(0, len(whole), rng.integers(1, 4))
        damaged[places] = rng.choice(
            np.frombuffer(b'0123456789-[]{}",:. e\x00\xff', np.uint8), len(places)
        )
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1) if rng.random() < 0.1 else None])
        polygons._parsed.cache_clear()
        try:
            values = draw(path, tmp_path / "a.png", GRID, NAMES, "last")
        except DataError as error:
            refused = str(error)
        else:
            assert values.shape == (1, 6, 8)
            continue
        assert "a.json" in refused


def test_a_file_is_parsed_once_until_it_changes(tmp_path, drawn, monkeypatch):
    reads = []
    read = polygons.read_json
    monkeypatch.setattr(polygons, "read_json", lambda path: reads.append(path) or read(path))
    path = tmp_path / "many.json"
    path.write_text(json.dumps(coco((3, [SQUARE], 5), images=[f"{i}.png" for i in range(100)])))
    sums = [draw(path, tmp_path / f"{i}.png", GRID, NAMES, "error").sum() for i in range(100)]
    assert reads == [path]
    assert sums == [12 if i == 5 else 0 for i in range(100)]
    path.write_text(json.dumps(coco((3, [SQUARE], 6), images=[f"{i}.png" for i in range(100)])))
    os.utime(path, ns=(1, 1))
    assert draw(path, tmp_path / "6.png", GRID, NAMES, "error").sum() == 12
    assert len(reads) == 2


def test_a_case_reads_its_outlines_as_codes_on_the_grid_of_its_image(tmp_path):
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(coco((7, [SQUARE]))))
    files = CaseFiles("a", "a", (tmp_path / "a.png",), tmp_path / "a.json")
    data = DataConfig(root=tmp_path, label_map={"polyp": [3], "adenoma": [7]})
    codes, grid = read_case_mask(files, data, "axial")
    assert codes[0].tolist() == expected((2, slice(1, 3), slice(1, 4)))
    assert codes.dtype == np.uint8
    assert grid.shape == (1, 6, 8)
    with pytest.raises(UsageError, match=r"data\.threshold is 127, but .*a\.json holds outlines"):
        read_case_mask(files, data.model_copy(update={"threshold": 127}), "axial")
