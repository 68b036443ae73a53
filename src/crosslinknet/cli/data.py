"""``xln data``: look at data, mend it, change its layout, make small twins of known sets."""

import json
from pathlib import Path
from typing import Annotated

import typer

from crosslinknet.cli.common import Settings, bars_shown, print_table

app = typer.Typer(
    name="data",
    help="Look at data, mend it, change its layout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _top() -> None:
    """Keeps ``data`` a group of commands, however few there are."""


@app.command(epilog="Example: xln data check data/ --report check.html")
def check(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder, CSV manifest, or a config (YAML).")
    ],
    settings: Settings = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON (docs/check.schema.json).")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="HTML", help="Also write a page with pictures of the cases."),
    ] = None,
) -> None:
    """Look at every file before training: what is there, what is wrong, how to cure it.

    Exit code 0: clean, hints at most; 1: errors or warnings were found.
    """
    from crosslinknet.curation.check import check_data
    from crosslinknet.curation.screen import summary, tables

    with bars_shown("Nothing was changed.") as bars:
        bar = bars.add_task("looking", total=None)
        found = check_data(
            data,
            tuple(settings or ()),
            report=report,
            done=lambda cases, total: bars.update(bar, completed=cases, total=total),
        )
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        for table in tables(found):
            print_table(table)
        print(summary(found) + (f". Report: {report.resolve()}" if report else ""))
    if not found.clean:
        raise typer.Exit(1)
