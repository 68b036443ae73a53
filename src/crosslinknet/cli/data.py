"""``xln data``: look at data, mend it, change its layout, make small twins of known sets."""

import typer

app = typer.Typer(
    name="data",
    help="Look at data, mend it, change its layout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
