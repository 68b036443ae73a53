"""A finding: what is known of a set, what a function says of it, and how bad that is.

The functions stand in about_files, about_masks, about_targets, about_images and leaks, each named
in a dict there; a function gives ``Seen`` (a sentence, the files, the cure) or None.
Order: Facts, Seen and Kind, look_for, then words: numbers of things, the cure in an error's text.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosslinknet.config import Config
from crosslinknet.curation.alike import Twin
from crosslinknet.curation.facts import CaseFacts, ImageFacts, MaskFacts
from crosslinknet.curation.result import Finding, Place, Severity
from crosslinknet.datasets import Found
from crosslinknet.report.markup import count

BACKGROUND: frozenset[int | str] = frozenset((0, "#000000"))
LOSSY = (".jpg", ".jpeg")
OF_ONE = {"are": "is", "have": "has", "mix": "mixes", "do": "does"}  # others get an s


@dataclass(frozen=True)
class Facts:
    """All that is known of a set.

    Attributes:
        given: DATA as it was typed.
        found: cases and orphans.
        config: settings, or defaults.
        named: mask values that the label map names, background included; None: nobody stated it.
        cases: facts of each case.
        twins: pairs of cases that show the same.
        refused: why the cases cannot be told; empty where they can.
    """

    given: str
    found: Found
    config: Config
    named: frozenset[int | str] | None
    cases: Sequence[CaseFacts]
    twins: Sequence[Twin]
    refused: str = ""

    @property
    def masks(self) -> list[tuple[CaseFacts, MaskFacts]]:
        """Cases whose mask could be read."""
        return [(case, case.mask) for case in self.cases if case.mask is not None]

    @property
    def images(self) -> list[tuple[CaseFacts, ImageFacts]]:
        """Cases whose images could be read."""
        return [(case, case.image) for case in self.cases if case.image is not None]

    def name(self, path: Path | None) -> str:
        """A file below the root of the set, or its whole path."""
        root = self.config.data.root
        if path is None:
            return ""
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def at_masks(self, cases: Iterable[CaseFacts]) -> list[Place]:
        """The masks of cases."""
        return [Place(file=self.name(case.files.mask)) for case in cases]

    def at_images(self, cases: Iterable[CaseFacts]) -> list[Place]:
        """The first images of cases."""
        return [Place(file=self.name(case.files.images[0])) for case in cases]

    def fix(self, options: str) -> str:
        """The command that writes a mended copy."""
        return f"xln data fix {shlex.quote(self.given)} -o CLEAN {options}"


@dataclass(frozen=True)
class Seen:
    """A finding without its name and severity."""

    text: str
    places: Sequence[Place] = ()
    cure: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how bad it is, and the function that looks for it."""

    severity: Severity
    look: Callable[[Facts], Seen | None]


def look_for(kinds: dict[str, Kind], facts: Facts) -> list[Finding]:
    """What the kinds find, errors first."""
    order: list[Severity] = ["error", "warning", "hint"]
    findings = []
    for name, kind in kinds.items():
        seen = kind.look(facts)
        if seen is not None:
            findings.append(
                Finding(
                    kind=name,
                    severity=kind.severity,
                    text=seen.text,
                    places=list(seen.places),
                    cure=seen.cure,
                )
            )
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def says(amount: int, thing: str, verb: str, total: int | None = None) -> str:
    """A number of things, and what they do.

    Args:
        amount: of the things that do it.
        thing: one of them.
        verb: as several do it.
        total: of all things, those that do not do it included.

    >>> says(1, "mask", "hold"), says(2, "mask", "hold"), says(1, "image", "have", 5)
    ('1 mask holds', '2 masks hold', '1 of 5 images has')
    """
    things = count(amount, thing) if total is None else f"{amount:,} of {count(total, thing)}"
    return f"{things} {OF_ONE.get(verb, f'{verb}s') if amount == 1 else verb}"


def told_and_cure(message: str) -> tuple[str, str]:
    """The text of an error, whose last sentence says what to do, in these two parts.

    >>> told_and_cure("a.png and a.jpg have one name. Keep one of them.")
    ('a.png and a.jpg have one name.', 'Keep one of them.')
    """
    parts = re.fullmatch(r"(.+\.) ([A-Z].+)", message, re.DOTALL)
    return (parts[1], parts[2]) if parts else (message, "")
