"""What mending and converting share: the data set as stated, where results may go, checksums.

Order: Track, the config, the folder, the sources.
"""

import os
import shutil
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config, data_at, load_config, override, parse_config, to_dict
from crosslinknet.errors import UsageError
from crosslinknet.files import atomic_path, sha256_of_file

T = TypeVar("T")


class Track(Protocol):
    """Goes through a sequence while a bar is drawn."""

    def __call__(self, items: Sequence[T], description: str) -> Iterable[T]: ...


def quietly(items: Sequence[T], description: str) -> Iterable[T]:
    """A Track without a bar."""
    return items


def stated_config(
    data: Path, settings: tuple[str, ...], config: Path | None = None
) -> tuple[Config, dict[str, Any]]:
    """The config that holds for a data set, and what was stated of it.

    Args:
        data: a folder or a CSV manifest.
        settings: ``key=value`` texts; they win over the config file.
        config: a config file whose data, image and split sections hold, but for the place.

    Raises:
        UsageError: an impossible setting, or a config that cannot be read.
    """
    given: dict[str, Any] = {} if config is None else to_dict(load_config(config))
    section, place = given.get("data", {}), data_at(data)
    if section.get("root") != place["root"]:  # folders inside that place mean nothing here
        section = section | {"layout": "auto", "images": None, "masks": None}
    stated = override(given | {"data": section | place}, settings)
    return parse_config(stated, "xln data"), stated


def refuse_place(root: Path, out: Path) -> None:
    """Results never go into the source.

    Raises:
        UsageError: one folder lies in the other, or both are one.
    """
    one, other = root.resolve(), out.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise UsageError(
            f"-o {out} and the data in {root} lie one in the other. The source is never touched: "
            "choose a folder beside it."
        )


class Checksums:
    """sha256 of source files; each file is read once in a run.

    Args:
        root: paths are named from here.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[Path, str] = {}

    def of(self, paths: Iterable[Path]) -> dict[str, str]:
        """Name and sha256 of files; of a folder (a series of slices), those of all its files."""
        files = [file for path in paths for file in (_files(path) if path.is_dir() else [path])]
        for file in files:
            if file not in self.known:
                self.known[file] = sha256_of_file(file)
        return {named(file, self.root): self.known[file] for file in files}


def files_of(case: CaseFiles) -> list[Path]:
    """Every file of a case: the images, then the masks."""
    return [*case.images, *case.masks]


def named(path: Path, root: Path) -> str:
    """A path as it is written from a folder, with slashes; links stay what they are."""
    return Path(os.path.relpath(path, root)).as_posix()


def relative(path: Path, folder: Path) -> str:
    """The way from a folder to a file, with slashes; the full path where there is none."""
    path = path.parent.resolve() / path.name
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


def copy_file(source: Path, path: Path) -> None:
    """Copy a file's bytes, atomically."""
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)


def remove_all(folder: Path, names: Iterable[str], keep: Container[str] = ()) -> None:
    """Remove files of a folder that are made anew at the end of a work."""
    for name in names:
        if name not in keep:
            (folder / name).unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
