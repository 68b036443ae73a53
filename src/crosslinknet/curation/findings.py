"""A finding: what is known of a set, what a function says of it, and how bad that is.

The functions stand in about_files, about_masks, about_images and leaks, each named in a dict there;
a function gives ``Seen`` (a sentence, the files, the cure) or None.
"""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosslinknet.config import Config
from crosslinknet.curation.alike import Twin
from crosslinknet.curation.facts import CaseFacts, ImageFacts, MaskFacts
from crosslinknet.curation.result import Finding, Place, Severity
from crosslinknet.datasets import Found

BACKGROUND: frozenset[int | str] = frozenset((0, "#000000"))
LOSSY = (".jpg", ".jpeg")


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
    """

    given: str
    found: Found
    config: Config
    named: frozenset[int | str] | None
    cases: Sequence[CaseFacts]
    twins: Sequence[Twin]

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
