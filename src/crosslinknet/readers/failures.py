"""What a library raises or warns of while it decodes a file becomes one DataError with its name.

Files are read from several threads at once, and the filters of ``warnings`` belong to the whole
process: whoever changes them for a moment may restore what another thread had set. So they are
changed by the first that comes in and restored by the last that leaves, and what a warning means
is decided by the thread it rises in. Order: Shared, warnings, errors_named.
"""

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

from crosslinknet.errors import CrosslinkError, DataError

Meaning = Literal["damage", "nothing"]
MOST_REASON = 300  # letters; ends of long messages say most


class Shared:
    """A change of the process that holds while any thread is inside.

    Args:
        make: gives a context manager that makes the change and takes it back.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make, self._lock, self._inside = make, threading.Lock(), 0
        self._change: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._change = self._make()
                self._change.__enter__()
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._change is not None:
                self._change.__exit__(None, None, None)
                self._change = None


_meaning = threading.local()  # .of_warnings: a Meaning, in a thread that decodes


@contextmanager
def _warnings_by_thread() -> Iterator[None]:
    """Hand every warning to the thread it rises in; threads that decode nothing show theirs."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def decide(message: Warning | str, category: type[Warning], *place: Any) -> None:
            meaning = getattr(_meaning, "of_warnings", None)
            if meaning == "damage":
                raise message if isinstance(message, Warning) else category(message)
            if meaning is None:
                shown(message, category, *place)

        warnings.simplefilter("always")
        warnings.showwarning = decide  # type: ignore[assignment]
        yield


_by_thread = Shared(_warnings_by_thread)


@contextmanager
def errors_named(path: Path, kind: str, warnings_mean: Meaning = "damage") -> Iterator[None]:
    """Make every exception of a library that decodes a file a DataError that names the file.

    Args:
        path: the file.
        kind: what it is read as, as ``NIfTI``.
        warnings_mean: that what is left may be wrong (``damage``, an error too), or ``nothing``.

    Raises:
        DataError: with the library's reason; errors of this package pass.
    """
    before = getattr(_meaning, "of_warnings", None)
    with _by_thread:
        _meaning.of_warnings = warnings_mean
        try:
            yield
        except CrosslinkError:
            raise
        except Exception as error:  # for broken files, libraries raise nearly every built-in type
            reason = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
            reason = reason if len(reason) <= MOST_REASON else f"... {reason[-MOST_REASON:]}"
            raise DataError(
                f"{path} cannot be read as {kind} ({reason}). It may be truncated or of another "
                "kind; copy it again or leave it out."
            ) from error
        finally:
            _meaning.of_warnings = before
