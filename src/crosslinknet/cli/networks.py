"""``xln models``: the networks, and what they cost on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from crosslinknet.cli.common import bars_shown, show_table
from crosslinknet.errors import UsageError, suggest


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Networks to list; default: all."),
    ] = None,
    size: Annotated[int, typer.Option(help="Height and width of a slice.")] = 256,
    cost: Annotated[
        bool, typer.Option("--cost", help="Also measure memory and time, predicting and training.")
    ] = False,
    limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Most time for the measurement of a network.")
    ] = 120.0,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Also write cost.csv and cost.tex."),
    ] = None,
) -> None:
    """List the networks with parameters, file size and multiply-accumulates."""
    from crosslinknet.experiments.cost import costs, rows_of, table_of, write_tables
    from crosslinknet.models import MODELS

    if size < 32:
        raise UsageError(f"--size is {size}; five poolings need at least 32.")
    for name in names or ():
        if name not in MODELS:
            raise UsageError(f"model {name!r} is unknown{suggest(name, MODELS)}")
    chosen, rows = list(names or MODELS), []
    with bars_shown("Nothing was written.") as bars:
        bar = bars.add_task("measuring" if cost else "counting", total=rows_of(chosen))
        for row in costs(chosen, size, limit if cost else None):
            rows.append(row)
            bars.advance(bar)
    show_table(table_of(rows, size, cost), texts=2)
    if out is not None:
        files = write_tables(rows, size, cost, out)
        print(f"Tables: {', '.join(map(str, files))}")
