"""Masks back to COCO: a document with one annotation per image and class.

The form is that of COCO's stuff segmentation: all pixels of a class on an image are one annotation,
written as run lengths (which give the mask back exactly, as polygons would not), ``iscrowd`` 0.
Source: COCO, "Data format", object detection and stuff segmentation.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import LabelError
from crosslinknet.readers.rle import counts_to_text, mask_to_counts


def coco_annotation(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths: ``{"size": [H, W], "counts": text}``.

    >>> coco_annotation(np.array([[0, 1, 1], [0, 0, 1]], dtype=bool))
    {'size': [2, 3], 'counts': '2111'}
    """
    height, width = mask.shape
    return {"size": [height, width], "counts": counts_to_text(mask_to_counts(mask))}


def coco_document(
    cases: Iterable[tuple[str, NDArray[np.integer]]], categories: Mapping[str, int]
) -> dict[str, Any]:
    """A COCO file's content, ready for ``files.write_json``.

    Args:
        cases: file name of each image, as the document shall give it (below its folder, ``/``
            between the parts), and its mask (H, W); 0 is background.
        categories: name of each category and the mask value that means it, which becomes its id.

    Returns:
        A document with ``images``, ``annotations`` and ``categories``; images are numbered from 1
        in the order given. ``bbox`` is [x, y, width, height] and ``area`` the number of pixels.
        An image without a target has no annotation.

    Raises:
        LabelError: a mask value that no category means.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, values) in enumerate(cases, start=1):
        height, width = values.shape
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for value in np.unique(values[values != 0]).tolist():
            if value not in categories.values():
                raise LabelError(
                    f"the mask of {name} holds {value}, which no category means; they are "
                    f"{dict(categories)}. Add it."
                )
            mask = values == value
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            x, y = int(columns[0]), int(rows[0])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": value,
                    "segmentation": coco_annotation(mask),
                    "area": int(np.count_nonzero(mask)),
                    "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                    "iscrowd": 0,
                }
            )
    listed = [{"id": value, "name": name} for name, value in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed}
