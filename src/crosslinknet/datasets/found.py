"""What a search for cases gives, and the rules that all layouts share.

Order: Orphans, Found, then files and their names, subjects, images without masks, lists in
messages.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.errors import DataError
from crosslinknet.readers import READERS, files_of, is_drawn, is_image, stem_of

# What may name the person in a name: BIDS, its first part, all but its last part.
SUBJECT_PATTERNS = (r"(sub-[a-zA-Z0-9]+)", r"^([^_-]+)[_-]", r"^(.+)[_-]")


@dataclass(frozen=True)
class Orphans:
    """Files that lack their partner: images without a mask, or masks without an image.

    Attributes:
        files: the first file of each.
        total: number of all files of their kind, those with a partner included.
        where: the place where the partner was looked for, for people.
    """

    files: tuple[Path, ...] = ()
    total: int = 0
    where: str = ""


@dataclass(frozen=True)
class Found:
    """Cases on disk, and what the files around them say.

    Attributes:
        layout: name of the layout, a key of LAYOUTS.
        cases: sorted by id; every one has a mask.
        subject_rule: how subjects were told apart, for people.
        label_values: class: mask values or names of outlines, where a file states them; else empty.
        channels: names of the image channels, where a file states them; else empty.
        splits: (train ids, test ids) of each fold, where a file states them; else None.
        splits_file: the file that states them, or None.
        notes: things a user should know, one sentence each.
        unmasked: images without a mask; none of them is a case.
        unused: masks without an image.
        suggestions: what a recipe of a known set proposes for a config, by section and key, as in
            ``{"image": {"window": "lung"}}``; the notes give the reasons.
    """

    layout: str
    cases: tuple[CaseFiles, ...]
    subject_rule: str
    label_values: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    splits: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] | None = None
    splits_file: Path | None = None
    notes: tuple[str, ...] = ()
    unmasked: Orphans = Orphans()
    unused: Orphans = Orphans()
    suggestions: dict[str, dict[str, Any]] = field(default_factory=dict)


def images_in(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """All files below a folder that we read, sorted.

    Args:
        folder: searched with its folders; hidden files and folders are left out.
        leave_out: a folder whose files belong to something else, if it lies below.

    Raises:
        DataError: no such folder, or no file that we read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Check data.root and the folder names.")
    files = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder)]
    if leave_out is not None and folder in leave_out.parents:
        files = [path for path in files if leave_out not in path.parents]
    images = sorted(path for path in files if is_image(path))
    if not images:
        kinds = Counter(path.suffix or "no suffix" for path in files)
        held = ", ".join(f"{count} with {kind}" for kind, count in kinds.most_common(4))
        raise DataError(
            f"{folder} holds no image ({held or 'it is empty'}). Expected files with "
            f"{', '.join(READERS)}."
        )
    return images


def below(folder: Path, name: object, stated_in: Path) -> Path:
    """A path that a file states, which must stay below a folder.

    Raises:
        DataError: no text, an absolute path, or one that leaves the folder.
    """
    text = name.replace("\\", "/") if isinstance(name, str) else ""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    absolute = re.match(r"/|[A-Za-z]:", text)
    if not parts or absolute or ".." in parts or "\0" in text or max(map(len, parts)) > 255:
        raise DataError(
            f"{stated_in} names the file {name!r}; expected a path below {folder}, such as "
            "'./imagesTr/case_1.nii.gz'. Correct it."
        )
    return folder.joinpath(*parts)


def keys_of(paths: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Name files by their path in a folder without suffix, such as ``anna/slice_01``.

    Raises:
        DataError: two files that differ by their suffix only.
    """
    keys: dict[str, Path] = {}
    for path in paths:
        key = (path.parent / stem_of(path)).relative_to(folder).as_posix()
        if key in keys:
            raise DataError(
                f"{keys[key]} and {path} have one name, so it is not known which one counts. "
                "Keep one of them."
            )
        keys[key] = path
    return keys


def case_ids(keys: Sequence[str]) -> list[str]:
    """Ids that can be file names: the last part where that is enough, else all, joined by ``__``.

    >>> case_ids(["a/1", "a/2"]), case_ids(["a/1", "b/1"])
    (['1', '2'], ['a__1', 'b__1'])
    """
    names = [key.rsplit("/", 1)[-1] for key in keys]
    if len(set(names)) == len(names):
        return names
    return [key.strip("/").replace("/", "__") for key in keys]


def subject_of(name: str, pattern: str, path: Path) -> str:
    """What the one group of a regular expression catches in a name.

    Raises:
        DataError: the pattern does not match, or its group is empty.

    >>> subject_of("SC-HF-I-01-IM-0001-0048.png", "^(.+)-IM-", Path())
    'SC-HF-I-01'
    """
    match = re.search(pattern, name)
    if match is None or not match[1]:
        raise DataError(
            f"data.subject '{pattern}' finds no subject for {path} (searched in {name!r}). "
            "Change the pattern so that its (group) catches the subject in every name."
        )
    return match[1]


def subject_rule(pattern: str | None) -> str:
    """How subjects are told apart without a subject column, for people."""
    if pattern is None:
        return "file name: every image counts as a subject of its own"
    return f"regular expression '{pattern}' on the file name"


def folder_hint(keys: Sequence[str], data: DataConfig) -> list[str]:
    """A note where images lie in folders of folders, which may be persons."""
    parents = {key.rpartition("/")[0] for key in keys} - {""}
    if not parents or data.subject is not None:
        return []
    return [
        f"the images lie in {len(parents)} folders; if each is a person, state "
        "data.subject: '^([^/]+)/'"
    ]


def likely_subjects(names: Sequence[str]) -> tuple[str, set[str]] | None:
    """A regular expression by which all names fall into fewer groups, perhaps persons.

    The coarsest way that leaves three groups is taken, or else two: what is one person must not
    be called two, as by an ending of augmentation.

    Returns:
        The expression and the groups; None where no way of naming fits all names.

    >>> pattern, groups = likely_subjects(["p1_a", "p1_a_flip", "p2_a", "p3_a"])
    >>> pattern, sorted(groups)
    ('^([^_-]+)[_-]', ['p1', 'p2', 'p3'])
    """
    for least in (3, 2):
        for pattern in SUBJECT_PATTERNS:
            matches = [re.search(pattern, name) for name in names]
            groups = {match[1] for match in matches if match}
            if all(matches) and least <= len(groups) < len(names):
                return pattern, groups
    return None


def names_by_number(content: dict[str, Any], key: str, path: Path, example: str) -> tuple[str, ...]:
    """Names that a dataset.json gives to the numbers from 0 on, as those of the channels.

    Raises:
        DataError: another form, which ``example`` shows.
    """
    names = content.get(key)
    if (
        not isinstance(names, dict)
        or set(names) != {str(i) for i in range(len(names))}
        or not names
    ):
        raise DataError(f"{path}: {key!r} is {names!r}; expected names by number, as in {example}.")
    return tuple(str(names[str(i)]) for i in range(len(names)))


def without_mask(missing: Sequence[str], total: int, where: str, data: DataConfig) -> list[str]:
    """Notes about images that have no mask.

    Args:
        missing: their names.
        total: number of all images.
        where: the place where a mask was looked for.
        data: ``unlabelled`` decides what happens.

    Raises:
        DataError: there are some and they are not to be skipped, or none would be left.
    """
    if not missing:
        return []
    text = f"{len(missing)} of {total} images have no mask in {where}: {listed(missing)}"
    if data.unlabelled == "error" or len(missing) == total:
        raise DataError(
            f"{text}. Add the masks under the same names, remove these images, or leave them "
            "out with data.unlabelled: skip."
        )
    return [f"{text}; they are left out (data.unlabelled: skip)"]


def check_files(cases: Sequence[CaseFiles], path: Path) -> None:
    """Look whether the files that a list names are there.

    Args:
        cases: the cases of the list.
        path: the list; paths in it start at its folder.

    Raises:
        DataError: files that do not exist or are of kinds we do not read; an image in two cases.
    """
    files = [file for case in cases for file in (*case.images, *case.masks)]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{path} names files that do not exist, {len(missing)} in all: {listed(missing, 3)}. "
            f"Paths start at {path.parent}."
        )
    outlines = {file for case in cases for file in case.masks if is_drawn(file)}
    strange = [file for file in files if not is_image(file) and file not in outlines]
    if strange:
        raise DataError(
            f"{path} names files of kinds that are not read, {len(strange)} in all: "
            f"{listed(strange, 3)}. "
            f"Known are {', '.join(READERS)}."
        )
    uses = Counter(files_of(image)[0].resolve() for case in cases for image in case.images)
    double = [image for image, count in uses.items() if count > 1]
    if double:
        raise DataError(
            f"{path} uses images in several cases, {len(double)} in all: {listed(double, 3)}. "
            "An image in two cases could be trained on and tested; keep one."
        )


def listed(names: Iterable[object], most: int = 5) -> str:
    """A few names, and how many more there are.

    >>> listed("abc", most=2)
    'a, b and 1 more'
    """
    texts = [str(name) for name in names]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
