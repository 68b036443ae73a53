"""``xln models``: the networks, and what they cost on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from crosslinknet.cli.common import AllowCode, bars_shown, show_table
from crosslinknet.errors import UsageError


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
        float,
        typer.Option(metavar="SECONDS", help="Most time for a row, from when it is built."),
    ] = 120.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: all the machine has.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Also write cost.csv and cost.tex."),
    ] = None,
    allow_code: AllowCode = False,
) -> None:
    """List the networks with parameters, file size and multiply-accumulates."""
    import torch

    from crosslinknet.experiments.cost import How, costs, rows_of, table_of, write_tables
    from crosslinknet.models import MODELS, builder

    if size < 32:
        raise UsageError(f"--size is {size}; five poolings need at least 32.")
    for name in names or ():
        builder(name)  # is there
    chosen, rows = list(names or MODELS), []
    how = How(limit, threads or torch.get_num_threads()) if cost else None
    kept = f"The rows so far are in {out}." if out else "Nothing was written; -o FOLDER does."
    with bars_shown(kept) as bars:
        bar = bars.add_task("measuring" if cost else "counting", total=rows_of(chosen))
        for row in costs(chosen, size, how):
            rows.append(row)
            if out is not None:
                write_tables(rows, size, how, out)
            bars.update(bar, advance=1, description=f"{row.name} is done")
    show_table(table_of(rows, size, how), texts=2)
    if out is not None:
        print(f"Tables: {out / 'cost.csv'}, {out / 'cost.tex'}")
