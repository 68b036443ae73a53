"""COCO: a JSON file that lists images and what is drawn on them, and the images' folder.

The file is in ``data.root`` or its ``annotations/``; of several, ``data.masks`` names one. Images
are found by ``file_name`` in the folder that holds the most of them, or in ``data.images``.
An image that the file lists without annotations shows nothing: its mask is empty.
Order: matches, find, then the file and the folder.
"""

from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.folders import IMAGES, IMAGES_TOO, holds_masks
from crosslinknet.datasets.found import Found, case_ids, listed, subject_of, subject_rule
from crosslinknet.errors import DataError
from crosslinknet.readers import is_image, stem_of
from crosslinknet.readers.coco import Coco, Parts
from crosslinknet.readers.polygons import document, looks_like

LOOKED_FOR = "COCO: a JSON file with images, annotations and categories, here or in annotations/"


def matches(data: DataConfig) -> bool:
    """Whether a JSON file looks like COCO's; folders of masks that are pixels come first."""
    if data.masks is not None:
        return data.masks.suffix.lower() == ".json" and (data.root / data.masks).is_file()
    return bool(_candidates(data.root)) and not holds_masks(data.root)


def find(data: DataConfig) -> Found:
    """Read the file and find its images.

    Raises:
        DataError: no such file or several, a file that is damaged, images that are missing.
    """
    path = _file(data)
    coco = document(path)
    if not isinstance(coco, Coco) or not coco.files:
        raise DataError(f"{path} lists no images. Looked for {LOOKED_FOR}.")
    folder, paths = _images(coco, data)
    keys = ["/".join((*parts[:-1], stem_of(Path(parts[-1])))) for parts in coco.files]
    cases = [
        CaseFiles(
            name,
            name if data.subject is None else subject_of("/".join(parts), data.subject, image),
            (image,),
            path,
        )
        for name, (parts, image) in zip(case_ids(keys), paths.items(), strict=True)
    ]
    notes = [f"outlines in {path.relative_to(data.root)}, images in {folder}/"]
    empty = [
        parts[-1] for parts, (_, number) in coco.files.items() if not coco.annotations.get(number)
    ]
    if empty:
        notes.append(
            f"{len(empty)} of {len(cases)} images have no annotation, which in COCO means that "
            f"nothing is on them (an empty mask): {listed(empty)}"
        )
    if coco.strays:
        notes.append(
            f"{coco.strays} annotations of images that the file does not list are left out"
        )
    labels = coco.used()
    return Found(
        layout="coco",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=subject_rule(data.subject),
        label_values={name: [name] for name in labels},
        notes=tuple(notes),
    )


def _candidates(root: Path) -> list[Path]:
    """JSON files that begin like COCO's."""
    files = [path for pattern in ("*.json", "annotations/*.json") for path in root.glob(pattern)]
    return [
        path
        for path in sorted(files)
        if looks_like(path, "images", "annotations", "categories")
        and looks_like(path, "file_name", "image_id", "category_id", "supercategory")
    ]


def _file(data: DataConfig) -> Path:
    if data.masks is not None:
        return data.root / data.masks
    candidates = _candidates(data.root)
    if not candidates:
        raise DataError(f"{data.root} holds no COCO file. Looked for {LOOKED_FOR}.")
    if len(candidates) > 1:
        names = [path.relative_to(data.root).as_posix() for path in candidates]
        raise DataError(
            f"{data.root} holds several COCO files: {listed(names)}. Choose one with "
            f"data.masks: {names[0]}"
        )
    return candidates[0]


def _images(coco: Coco, data: DataConfig) -> tuple[str, dict[Parts, Path]]:
    """The folder that holds the most images of the file, and all of them by their name there."""
    folders = [data.root / data.images] if data.images is not None else _folders(coco, data.root)
    placed = [{parts: _place(folder, parts, coco) for parts in coco.files} for folder in folders]
    counts = [sum(path is not None for path in some.values()) for some in placed]
    best = counts.index(max(counts))
    missing = ["/".join(parts) for parts, path in placed[best].items() if path is None]
    if missing:
        raise DataError(
            f"{coco.path}: {len(missing)} of its {len(coco.files)} images are not in "
            f"{folders[best]}: {listed(missing)}. Add them, or state their folder with data.images."
        )
    strange = [path for path in placed[best].values() if path is not None and not is_image(path)]
    if strange:
        raise DataError(
            f"{coco.path} lists files of kinds that are not read: {listed(strange, 3)}."
        )
    name = folders[best].relative_to(data.root).as_posix()
    return name, {parts: path for parts, path in placed[best].items() if path is not None}


def _folders(coco: Coco, root: Path) -> list[Path]:
    """Where images may lie: the root, its folders with a usual name, those named in the file."""
    usual = (*IMAGES, *IMAGES_TOO)
    inside = sorted(path for path in root.iterdir() if path.is_dir())
    named = [path for path in inside if path.name.lower() in usual or path.name in coco.path.stem]
    return [root, *named]


def _place(folder: Path, parts: Parts, coco: Coco) -> Path | None:
    """An image below a folder: under its whole name, else under the last part of it."""
    whole = folder.joinpath(*parts)
    if whole.is_file():
        return whole
    short = folder / parts[-1]
    return short if len(coco.by_name[parts[-1]]) == 1 and short.is_file() else None
