"""Writing without half-written files, and hashing: temp file, fsync, rename.

A reader of a final name sees the old content or the new one, never a mixture, also after
a power cut. Order: ``atomic_path``, the writers on top of it, the hashes.
"""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crosslinknet.errors import DataError, SystemProblem

MOST_JSON = 2**28  # bytes; read as a whole, it takes several times as much memory


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside ``path``; on success it is synced and takes that name.

    The temporary name keeps the suffix, so that writers which choose a format by suffix
    work. On any error the temporary file is removed and an older ``path`` stays as it was.

    Raises:
        SystemProblem: the disk is full or not writable.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes[-2:])
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _disk_problem(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files; these are results
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _disk_problem(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or what it held before."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused (they are not JSON)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing, not readable, not JSON, or larger than 256 MiB.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_JSON + 1)
        if len(content) > MOST_JSON:
            raise DataError(
                f"{path} is a JSON file of more than {MOST_JSON >> 20} MiB, which is not read. "
                "Cut it into several."
            )
        return json.loads(content.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a readable JSON file ({error}).") from error


def sha256_of_file(path: Path) -> str:
    """Hash a file's bytes in chunks; hexadecimal digest."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: Any) -> str:
    """Hash a JSON-able object; the order of dictionary keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; some file systems cannot, and that is no error."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _disk_problem(path: Path, error: OSError) -> SystemProblem:
    reason = error.strerror or str(error)
    kept = " The file that was there before is untouched." if path.is_file() else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cure = "Free some space" if full else "Look at the folder and the rights to it,"
    return SystemProblem(
        f"{path} could not be written ({reason}). {cure} or choose another folder, then "
        f"run the same command again.{kept}"
    )
