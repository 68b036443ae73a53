"""``xln data``: look at data, mend it, change its layout, make small twins of known sets."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="data",
    help="Look at data, mend it, change its layout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog="Example: xln data twin kits19 -o twin")
def twin(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="covid19-i, covid19-i-infnet, covid19-volumes, kits19 or york-cardiac.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="A new folder.")],
    subjects: Annotated[int, typer.Option(help="Number of made-up persons, 3 or more.")] = 6,
    seed: Annotated[int, typer.Option(help="Another one gives other persons.")] = 0,
) -> None:
    """Write a small made-up set with the very files of one of the paper's data sets."""
    from crosslinknet.datasets.twins import make_twin

    make_twin(name, out, subjects, seed)
    print(f"Wrote {out}, made up. Next: xln init {out} -o exp.yaml")
