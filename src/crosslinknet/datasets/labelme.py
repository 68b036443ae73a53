"""labelme: ``x.json`` beside ``x.png``, with the outlines that were drawn on it.

Order: matches, find.
"""

from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.folders import holds_masks
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    case_ids,
    folder_hint,
    images_in,
    keys_of,
    subject_of,
    subject_rule,
)
from crosslinknet.errors import DataError
from crosslinknet.readers import READERS
from crosslinknet.readers.polygons import looks_like

LOOKED_FOR = "labelme: images with a JSON file of outlines of the same name beside them"


def matches(data: DataConfig) -> bool:
    """Whether an image with its labelme file lies in the folder, or in one in it.

    Folders of masks that are pixels come first: what was drawn there is what counts.
    """
    folder = data.root if data.images is None else data.root / data.images
    if data.masks is not None or not folder.is_dir() or holds_masks(data.root):
        return False
    near = (path for pattern in ("*.json", "*/*.json") for path in folder.glob(pattern))
    return any(_has_image(path) and _is_labelme(path) for path in near)


def find(data: DataConfig) -> Found:
    """Pair images with the JSON files beside them.

    Raises:
        DataError: no such file, two images of one name.
    """
    folder = data.root if data.images is None else data.root / data.images
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Looked for {LOOKED_FOR}.")
    drawn = {
        path.with_suffix("").relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*.json"))
        if _is_labelme(path)
    }
    if not drawn:
        raise DataError(f"{folder} holds no labelme file. Looked for {LOOKED_FOR}.")
    image_of = keys_of(images_in(folder), folder)
    unused = tuple(path for key, path in drawn.items() if key not in image_of)
    unmasked = tuple(path for key, path in image_of.items() if key not in drawn)
    keys = [key for key in image_of if key in drawn]
    cases = [
        CaseFiles(
            name,
            name if data.subject is None else subject_of(key, data.subject, image_of[key]),
            (image_of[key],),
            drawn[key],
        )
        for name, key in zip(case_ids(keys), keys, strict=True)
    ]
    return Found(
        layout="labelme",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=subject_rule(data.subject),
        notes=("masks are the outlines of labelme files", *folder_hint(keys, data)),
        unmasked=Orphans(unmasked, len(image_of), "labelme files beside them"),
        unused=Orphans(unused, len(drawn), str(folder)),
    )


def _is_labelme(path: Path) -> bool:
    return not path.name.startswith(".") and looks_like(path, "shapes", "imageData", "imagePath")


def _has_image(path: Path) -> bool:
    return any(path.with_suffix(suffix).is_file() for suffix in READERS)
