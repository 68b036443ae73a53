"""Two folders side by side: images and masks under the same names, as ``images/`` + ``masks/``.

The authors' ``data/`` + ``bon/`` are of this kind, the Decathlon's ``imagesTr/`` + ``labelsTr/``
too. Folders inside the two are followed; a mask may add ``_mask`` or the like to the name.
Order: matches, find, then the folders and the pairs.
"""

from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
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
from crosslinknet.readers import is_image

IMAGES = ("images", "image", "imgs", "img", "imagestr")
IMAGES_TOO = ("data",)  # the authors' name; counts where none of the above is there
MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentations"),
    *("segmentation", "gt", "groundtruth", "ground_truth", "bon", "labelstr"),
)
MASK_SETS = ("masks_", "mask_", "labels_", "label_")  # masks_endo, masks_epi: beginnings
ENDINGS = ("_mask", "_masks", "_segmentation", "_seg", "_label", "_labels", "_gt")  # img_1_mask

LOOKED_FOR = f"two folders, one of {', '.join(IMAGES + IMAGES_TOO)} and one of {', '.join(MASKS)}"


def matches(data: DataConfig) -> bool:
    """Whether an image folder and at least one mask folder are there or stated."""
    images = _image_folders(data.root) if data.images is None else [data.root / data.images]
    masks = _mask_folders(data.root) if data.masks is None else [data.root / data.masks]
    return bool(images and masks) and all(folder.is_dir() for folder in images + masks)


def find(data: DataConfig) -> Found:
    """Pair the files of an image folder with those of a mask folder.

    Raises:
        DataError: no such folders, or several; two files of one name.
    """
    images, masks = _folders(data)
    image_of = keys_of(images_in(images, leave_out=masks), images)
    mask_of = _named_as(image_of, keys_of(images_in(masks, leave_out=images), masks))
    unmasked = tuple(path for key, path in image_of.items() if key not in mask_of)
    unused = tuple(path for key, path in mask_of.items() if key not in image_of)
    keys = [key for key in image_of if key in mask_of]
    cases = [
        _case(name, image_of[key], mask_of[key], images, data)
        for name, key in zip(case_ids(keys), keys, strict=True)
    ]
    return Found(
        layout="folders",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=subject_rule(data.subject),
        notes=(f"images in {images.name}/, masks in {masks.name}/", *folder_hint(keys, data)),
        unmasked=Orphans(unmasked, len(image_of), str(masks)),
        unused=Orphans(unused, len(mask_of), str(images)),
    )


def holds_masks(root: Path) -> bool:
    """Whether a folder of masks with pixels is there, beside which outlines come second."""
    return any(is_image(path) for folder in _mask_folders(root) for path in folder.iterdir())


def _folders(data: DataConfig) -> tuple[Path, Path]:
    """The image folder and the mask folder, stated or the only ones with a known name."""
    images = _one(data, data.images, _image_folders(data.root), "images")
    masks = _one(data, data.masks, _mask_folders(data.root), "masks")
    if images.resolve() == masks.resolve():
        raise DataError(f"{images} is stated as image and as mask folder; they must be two.")
    return images, masks


def _one(data: DataConfig, stated: Path | None, known: list[Path], key: str) -> Path:
    if stated is not None:
        return data.root / stated
    if not known:
        raise DataError(f"{data.root} has no folder for {key}. Looked for {LOOKED_FOR}.")
    if len(known) > 1:
        names = ", ".join(f"{folder.name}/" for folder in known)
        raise DataError(
            f"{data.root} has several folders for {key}: {names}. Choose one with "
            f"data.{key}: {known[0].name}"
        )
    return known[0]


def _image_folders(root: Path) -> list[Path]:
    return _children(root, IMAGES) or _children(root, IMAGES_TOO)


def _mask_folders(root: Path) -> list[Path]:
    """Folders with exactly a known name, else those that begin like a set of masks."""
    sets = [path for path in _children(root) if path.name.lower().startswith(MASK_SETS)]
    return _children(root, MASKS) or sets


def _children(root: Path, names: tuple[str, ...] = ()) -> list[Path]:
    if not root.is_dir():
        return []
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return [path for path in folders if not names or path.name.lower() in names]


def _named_as(image_of: dict[str, Path], masks: dict[str, Path]) -> dict[str, Path]:
    """Masks under the keys of their images: the same, or with an ending such as ``_mask``."""
    named: dict[str, Path] = {}
    for key, path in masks.items():
        short = [key.removesuffix(end) for end in ENDINGS if key.removesuffix(end) in image_of]
        name = key if key in image_of or not short else short[0]
        if name in named:
            raise DataError(f"{named[name]} and {path} are both masks of {name}. Keep one of them.")
        named[name] = path
    return named


def _case(name: str, image: Path, mask: Path, folder: Path, data: DataConfig) -> CaseFiles:
    subject = name
    if data.subject is not None:
        subject = subject_of(image.relative_to(folder).as_posix(), data.subject, image)
    return CaseFiles(name, subject, (image,), mask)
