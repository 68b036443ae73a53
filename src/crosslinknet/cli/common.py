"""What the commands share: options, the table of scores, bars and lines on the screen.

Order: options, tables, errors, bars, the console of a training.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from crosslinknet.errors import Stopped

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from crosslinknet.curation.work import Track
    from crosslinknet.evaluate import Table as Printed
    from crosslinknet.train import Console

T = TypeVar("T")

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the config, as -s train.epochs=40; repeatable.",
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        callback=lambda allowed: _allow(allowed),
        help="Let model.name run code of your own, as my_package.networks:Net.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue where the run was stopped.")]
ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="Config file (YAML); xln init writes one.")
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the results.")]


def _allow(allowed: bool) -> None:
    if allowed:
        from crosslinknet.models import allow_code

        allow_code()


def print_scores(folder: Path) -> None:
    """The tables of a run or of an evaluation: images, and cases where these are volumes.

    A preset prints its own columns instead.
    """
    from crosslinknet.evaluate import level_table, preset_table
    from crosslinknet.evaluate.documents import calibration_table
    from crosslinknet.files import read_json

    summary = read_json(folder / "summary.json")
    levels = list(summary["levels"])
    if len(levels) > 1:
        numbers = {name: _number_of(summary["levels"][name]) for name in levels}
        volumes = numbers.get("case", 0) < numbers.get("image", 0)
        levels = [name for name in levels if name == "image" or (name == "case" and volumes)]
    if summary["preset"]:
        show_table(preset_table(summary), texts=1)
    else:
        for level in levels:
            show_table(level_table(summary, level), texts=2)
    calibration = calibration_table(summary)
    if calibration is not None:
        show_table(calibration, texts=1)
    for warning in summary["warnings"]:
        print(f"note: {warning}")


def show_table(printed: "Printed", texts: int) -> None:
    """Print a table; its first ``texts`` columns are words, the others numbers."""
    from rich.table import Table

    table = Table(box=None, title=printed.caption, title_justify="left", title_style="bold")
    for i, heading in enumerate(printed.header):
        table.add_column(heading, justify="left" if i < texts else "right")
    for row in printed.rows:
        table.add_row(*row)
    print_table(table)


def _number_of(level: dict[str, Any]) -> int:
    counts: list[int] = [entry["counts"]["n"] for entry in level.values() if entry.get("counts")]
    return max(counts, default=0)


def print_table(table: Any) -> None:
    """Print a table as wide as it is where nobody reads it on a terminal."""
    from rich.console import Console as Screen

    width = None if sys.stdout.isatty() else 200
    Screen(width=width, markup=False, emoji=False, highlight=False).print(table)


def fail(text: str, code: int) -> None:
    """Say what went wrong, and leave with its exit code."""
    print(f"xln: {text}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def bars_shown(stopped: str) -> Iterator["Bars"]:
    """Progress bars with time left, on a terminal; Ctrl-C becomes exit code 130 and a sentence."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        disable=not sys.stdout.isatty(),
        transient=True,
    )
    try:
        with bars:
            yield bars
    except KeyboardInterrupt as error:
        raise Stopped(f"Stopped. {stopped}") from error


def track_on(bars: "Bars") -> "Track":
    """What draws a bar for each sequence it goes through."""

    def track(items: Sequence[T], description: str) -> Iterator[T]:
        bar = bars.add_task(description, total=len(items))
        for item in items:
            yield item
            bars.advance(bar)

    return track


@contextmanager
def console_shown(stopped: str) -> Iterator["Console"]:
    """What a training tells, as lines and a bar."""
    from crosslinknet.train import Console

    with bars_shown(stopped) as bars:

        class Drawn(Console):
            task: Any = None

            def say(self, text: str) -> None:
                bars.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

            def warn(self, text: str) -> None:
                text = f"WARNING: {text}"
                bars.console.print(
                    text, style="bold red", markup=False, emoji=False, soft_wrap=True
                )

            def step(self, progress: Any, steps: int, total: int, loss: float) -> None:
                done = progress.epoch * steps + progress.batch
                if self.task is None or done < bars.tasks[self.task].completed:
                    self.task = bars.add_task("training", total=total)
                bars.update(self.task, completed=done, description=f"training, loss {loss:.3f}")

            def row(self, row: dict[str, float | None], epochs: int) -> None:
                text = f"epoch {int(row['epoch'] or 0) + 1}/{epochs}: loss {row['loss']:.4f}"
                if row["val_dice"] is not None:
                    text += f", validation Dice {row['val_dice']:.4f}"
                self.say(f"{text}, {row['seconds']:.0f} s")

        console, told = Drawn(), set[str]()

        def warn_once(message: Warning | str, *_: object, **__: object) -> None:
            if str(message) not in told:
                told.add(str(message))
                console.warn(str(message))

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = warn_once
            yield console
