"""The exception tree: one base class, one subclass per exit code of the command line.

Every message is one paragraph that says what came, what was expected and what to do, and
names the file. ``cli.main`` prints the text alone and exits with ``exit_code``; any other
exception is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class CrosslinkError(Exception):
    """Base of every deliberate error. Exit code 1: the work ended with a finding."""

    exit_code = 1


class TrainingError(CrosslinkError):
    """Training cannot go on (a NaN loss, say); what was saved before is untouched."""


class UsageError(CrosslinkError):
    """The call or the configuration is wrong: unknown key, wrong type, impossible choice."""

    exit_code = 2


class DataError(CrosslinkError):
    """A file or a folder does not hold what was stated: unreadable, mismatched, leaking."""

    exit_code = 3


class LabelError(DataError):
    """A mask holds values that the label map does not name."""


class ShapeError(DataError):
    """Arrays or images that belong together differ in size, or a size is not usable."""


class SystemProblem(CrosslinkError):
    """The machine says no: full disk, missing package, device that does not answer."""

    exit_code = 4


class Stopped(CrosslinkError):
    """Ctrl-C, after which the command line says what was kept."""

    exit_code = 130


def suggest(name: str, known: Iterable[str]) -> str:
    """Say what was probably meant, as the tail of a message; what begins alike comes first.

    >>> suggest("crosslink", ["crosslink-net", "unet5"])
    "; did you mean 'crosslink-net'?"
    >>> suggest("crosslink", ["crosslink-net", "ver-crosslink"])
    "; did you mean 'crosslink-net'?"
    >>> suggest("zzz", ["lr", "seed"])
    '; known are lr, seed'
    """
    names = sorted(known)
    begun = [known for known in names if name and known.startswith(name)]
    close = difflib.get_close_matches(name, begun or names, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(names)}"
