"""Masks to COCO and back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from crosslinknet.errors import LabelError
from crosslinknet.geometry import Grid
from crosslinknet.labels import label_table
from crosslinknet.readers.coco_writer import coco_annotation, coco_document
from crosslinknet.readers.polygons import draw

CATEGORIES = {"kidney": 1, "tumour": 200}


def test_a_document_worked_out_by_hand():
    codes = np.zeros((4, 5), np.uint8)
    codes[1:3, 2:5] = 1
    codes[0, 0] = codes[3, 1] = 200
    assert coco_document([("x/a.png", codes), ("b.png", codes * 0)], CATEGORIES) == {
        "images": [
            {"id": 1, "file_name": "x/a.png", "width": 5, "height": 4},
            {"id": 2, "file_name": "b.png", "width": 5, "height": 4},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "segmentation": {"size": [4, 5], "counts": "922000O"},  # 9 2 2 2 2 2 1
                "area": 6,
                "bbox": [2, 1, 3, 2],
                "iscrowd": 0,
            },
            {
                "id": 2,
                "image_id": 1,
                "category_id": 200,
                "segmentation": {"size": [4, 5], "counts": "01606"},  # 0 1 6 1 12
                "area": 2,
                "bbox": [0, 0, 2, 4],
                "iscrowd": 0,
            },
        ],
        "categories": [{"id": 1, "name": "kidney"}, {"id": 200, "name": "tumour"}],
    }


def test_a_value_that_no_category_means_is_refused():
    with pytest.raises(LabelError, match=r"mask of a\.png holds 3, which no category means"):
        coco_document([("a.png", np.full((2, 2), 3))], CATEGORIES)


@given(
    st.lists(
        arrays.arrays(
            np.uint8,
            st.tuples(st.integers(1, 9), st.integers(1, 9)),
            elements=st.sampled_from([0, 1, 200]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_masks_come_back_from_their_document(tmp_path_factory, masks):
    folder = tmp_path_factory.mktemp("there")
    cases = [(f"{i}/a.png", mask) for i, mask in enumerate(masks)]
    (folder / "c.json").write_text(json.dumps(coco_document(cases, CATEGORIES)))
    by_name = label_table({"tumour": ["tumour"], "kidney": ["kidney"]})  # kidney 1, tumour 2
    for name, mask in cases:
        grid = Grid((1, *mask.shape))
        back = draw(folder / "c.json", folder / name, grid, label_table({"all": [1, 200]}), "error")
        np.testing.assert_array_equal(back[0], mask)
        named = draw(folder / "c.json", folder / name, grid, by_name, "error")[0]
        np.testing.assert_array_equal(named, np.minimum(mask, 2))


def test_one_mask_alone_is_its_size_and_its_text():
    assert coco_annotation(np.eye(2, dtype=bool)) == {"size": [2, 2], "counts": "0120"}
