"""What ``xln data fix`` is asked to do. Order: Asked, its form on the command line, refusals."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crosslinknet.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """What is to be mended.

    Attributes:
        labels: new mask value of each old one; old colours are texts, ``#ff0000``.
        threshold: pixels of grey masks above it become 1, all others 0.
        resample_labels: label volumes on another grid come onto that of their image.
        copy_header: label volumes of their image's shape get its place in space.
        drop_duplicates: of images with the same pixels the first by name is kept.
    """

    labels: Mapping[int | str, int]
    threshold: int | None = None
    resample_labels: bool = False
    copy_header: bool = False
    drop_duplicates: bool = False

    @property
    def colour(self) -> bool:
        """The old values are colours."""
        return any(isinstance(old, str) for old in self.labels)

    @property
    def values(self) -> bool:
        """Values of masks are to change."""
        return bool(self.labels) or self.threshold is not None

    @property
    def masks(self) -> bool:
        """Masks are to change."""
        return self.values or self.resample_labels or self.copy_header

    def as_json(self) -> dict[str, Any]:
        """What is asked, for the record."""
        return asdict(self) | {"labels": {str(old): new for old, new in self.labels.items()}}

    @property
    def numbers(self) -> dict[int, int]:
        """The labels with colours as 0xRRGGBB."""
        return {int(o[1:], 16) if isinstance(o, str) else o: n for o, n in self.labels.items()}


def parse_labels(texts: Sequence[str]) -> dict[int | str, int]:
    """Read ``255=1`` and ``#ff0000=2``.

    Raises:
        UsageError: another form, an old value twice, numbers mixed with colours.

    >>> parse_labels(["255=1", "128=2"])
    {255: 1, 128: 2}
    """
    labels: dict[int | str, int] = {}
    for text in texts:
        match = re.fullmatch(r"\s*(-?\d+|#[0-9a-fA-F]{6})\s*=\s*(\d+)\s*", text, re.ASCII)
        if match is None:
            raise UsageError(f"--labels {text!r} is not of the form OLD=NEW, as 255=1.")
        old: int | str = match[1].lower() if match[1].startswith("#") else int(match[1])
        if old in labels:
            raise UsageError(f"--labels says twice what {old} becomes.")
        labels[old] = int(match[2])
    if len({type(old) for old in labels}) > 1:
        raise UsageError("--labels mixes numbers and colours; a mask holds one of them.")
    return labels


def check_asked(asked: Asked) -> None:
    """Refuse calls that ask for nothing, or for two things at once.

    Raises:
        UsageError: see there.
    """
    if not asked.masks and not asked.drop_duplicates:
        raise UsageError(
            "nothing is asked. Choose what to mend: --labels OLD=NEW, --threshold GREY, "
            "--resample-labels, --copy-header, --drop-duplicates."
        )
    if asked.resample_labels and asked.copy_header:
        raise UsageError(
            "--resample-labels believes the headers of the labels and --copy-header replaces "
            "them. Choose one."
        )
    if asked.threshold is not None and asked.colour:
        raise UsageError("--threshold is for grey masks and --labels names colours. Choose one.")
