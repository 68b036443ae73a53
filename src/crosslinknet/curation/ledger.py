"""What is done of a long work on files: one line per finished job, with checksums.

A job turns source files into result files. Its line is written after the results have their
final names, so a stop at any moment loses the job that was under way and nothing else. A line
that was cut off counts as not written. No times stand in it: a work that was stopped and went
on leaves the same bytes as one that was not.
Order: Entry, Ledger, open_ledger, then how lines are read and leftovers removed.
"""

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from crosslinknet.errors import DataError, SystemProblem, UsageError
from crosslinknet.files import sha256_of_file, write_text

SCHEMA = "crosslinknet/ledger/1"
TEMPORARY = ".tmp-"  # how files.atomic_path begins the names of unfinished files


@dataclass(frozen=True)
class Entry:
    """A finished job.

    Attributes:
        job: its name, unique in the work.
        sources: path as the work names it, and sha256, of every file that was read.
        results: path below the folder and sha256 of every file that was written.
        about: whatever the work wants to know of it later, JSON.
    """

    job: str
    sources: dict[str, str]
    results: dict[str, str]
    about: Any


class Ledger:
    """The finished jobs of a folder; made by ``open_ledger``."""

    def __init__(self, folder: Path, entries: dict[str, Entry], file: BinaryIO) -> None:
        self.folder = folder
        self.entries = entries
        self.file = file

    def finished(self, job: str, sources: Mapping[str, str]) -> Entry | None:
        """The entry of a job whose sources and results are, by checksum, what they were."""
        entry = self.entries.get(job)
        if entry is None or entry.sources != dict(sources):
            return None
        if any(_sha256(self.folder / path) != known for path, known in entry.results.items()):
            return None
        return entry

    def record(
        self, job: str, sources: Mapping[str, str], results: Sequence[Path], about: Any
    ) -> Entry:
        """Write down a job whose results have their final names.

        Results of an earlier run of the job that it no longer has are removed.

        Raises:
            SystemProblem: the disk refuses.
        """
        hashes = {
            path.relative_to(self.folder).as_posix(): sha256_of_file(path) for path in results
        }
        if job in self.entries:
            _remove(self.folder, self.entries[job], keep=hashes)
        entry = Entry(job, dict(sources), hashes, about)
        try:
            line = _line(entry).encode()
            if self.file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self.file.fileno())
        except OSError as error:
            raise SystemProblem(
                f"{self.file.name} could not be written ({error.strerror}). Free some space, then "
                "run the same command again."
            ) from error
        self.entries[job] = entry
        return entry


@contextmanager
def open_ledger(
    path: Path, settings: Mapping[str, Any], jobs: Sequence[str], ended: bool
) -> Iterator[Ledger]:
    """Begin a work in a folder, or go on with it; only one process may work there.

    Unfinished files of a run that was killed are removed, and so are results of jobs that are
    not wanted any more (their sources are gone, or the work was stopped and is now to be another
    one), unless somebody changed them since.

    Args:
        path: of the ledger; the folder around it is that of the results.
        settings: JSON of everything that decides what the results are.
        jobs: names of all jobs, in the order in which the ledger lists them in the end.
        ended: the work that is there came to its end; its results are not replaced by others.

    Raises:
        UsageError: the folder holds something else, or results of other settings.
        DataError: the ledger cannot be read.
        SystemProblem: the disk refuses.
    """
    folder = path.parent
    entries: dict[str, Entry] = {}
    if path.is_file():
        there, entries = _read(path)
        differs = _differences(there, settings)
        if differs and ended:
            raise UsageError(
                f"{folder} holds results of other settings: {'; '.join(differs)}. Choose another "
                "-o, or remove that folder."
            )
        _clean(folder)
        for job in set(entries) - (set() if differs else set(jobs)):
            _remove(folder, entries.pop(job))
    elif folder.exists() and (not folder.is_dir() or any(map(_is_foreign, folder.iterdir()))):
        raise UsageError(
            f"{folder} exists and holds something else, which stays as it is. Choose another -o, "
            "a folder that is new or empty."
        )
    _write(path, settings, [entries[job] for job in jobs if job in entries])
    with path.open("ab", buffering=0) as file:
        ledger = Ledger(folder, entries, file)
        yield ledger
    _clean(folder)
    _write(path, settings, [ledger.entries[job] for job in jobs if job in ledger.entries])


def _line(content: Entry | dict[str, Any]) -> str:
    content = asdict(content) if isinstance(content, Entry) else content
    return json.dumps(content, sort_keys=True, allow_nan=False) + "\n"


def _write(path: Path, settings: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    first = _line({"schema": SCHEMA, "settings": dict(settings)})
    write_text(path, first + "".join(map(_line, entries)))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """The settings, and the entries by job; what is no whole line was cut off by a stop."""
    try:
        first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        header = json.loads(first)
        if header["schema"] != SCHEMA:
            raise ValueError(f"schema {header['schema']!r}")
        settings = dict(header["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no ledger that can be read ({error!r}). Choose another -o, or remove the "
            "folder and begin anew."
        ) from error
    entries = {}
    for line in lines:
        try:
            entry = Entry(**json.loads(line))
            inside = all(_is_below(path.parent, name) for name in entry.results)
        except (ValueError, TypeError, AttributeError):
            continue
        if inside:
            entries[entry.job] = entry
    return settings, entries


def _differences(there: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    wanted = json.loads(json.dumps(dict(settings)))
    return [
        f"{key} was {json.dumps(there.get(key))}, now {json.dumps(wanted.get(key))}"
        for key in sorted({*there, *wanted})
        if there.get(key) != wanted.get(key)
    ]


def _is_below(folder: Path, name: str) -> bool:
    """Whether a name from the ledger is that of a file in its folder, which may be removed."""
    return (folder / name).resolve().is_relative_to(folder.resolve())


def _is_foreign(path: Path) -> bool:
    return not path.name.startswith(TEMPORARY)


def _clean(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in list(folder.rglob(f"{TEMPORARY}*")):
        path.unlink(missing_ok=True)


def _remove(folder: Path, entry: Entry, keep: Mapping[str, str] | None = None) -> None:
    """Remove the results of an entry; a file that was changed since is not ours to remove."""
    for name, known in entry.results.items():
        if name not in (keep or {}) and _sha256(folder / name) == known:
            (folder / name).unlink()


def _sha256(path: Path) -> str | None:
    return sha256_of_file(path) if path.is_file() else None
