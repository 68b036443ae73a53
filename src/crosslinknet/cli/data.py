"""``xln data``: look at data, mend it, change its layout, make small twins of known sets."""

import json
from pathlib import Path
from typing import Annotated

import typer

from crosslinknet.cli.common import Settings, bars_shown, print_table, track_on

app = typer.Typer(
    name="data",
    help="Look at data, mend it, change its layout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder with the data, or a CSV manifest.")
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder to write.")]
KEPT = "Finished files are kept; the same command goes on."


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


@app.command(epilog="Example: xln data fix data/ -o clean --labels 255=1")
def fix(
    data: Data,
    out: Out,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW", help="Mask value to another, as 255=1 or '#ff0000=2'; repeatable."
        ),
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option(metavar="GREY", help="Grey or JPG masks: pixels above it are 1, others 0."),
    ] = None,
    resample_labels: Annotated[
        bool,
        typer.Option("--resample-labels", help="Label volumes onto the grid of their image."),
    ] = False,
    copy_header: Annotated[
        bool,
        typer.Option("--copy-header", help="Label volumes get the place in space of their image."),
    ] = False,
    drop_duplicates: Annotated[
        bool,
        typer.Option("--drop-duplicates", help="Leave out images with the pixels of another."),
    ] = False,
    settings: Settings = None,
) -> None:
    """Write a mended copy of a data set, and a log of every file changed. The source stays."""
    from crosslinknet.curation.asked import Asked, parse_labels
    from crosslinknet.curation.fix import fix as mend

    asked = Asked(
        parse_labels(labels or []), threshold, resample_labels, copy_header, drop_duplicates
    )
    with bars_shown(KEPT) as bars:
        told = mend(data, out, asked, tuple(settings or ()), track_on(bars))
    for line in told:
        print(line)
    print(f"Wrote {out}, every change in {out / 'fix_log.csv'}")


@app.command(epilog="Example: xln data convert data/ -o Dataset501_lung --to nnunet")
def convert(
    data: Data,
    out: Out,
    to: Annotated[
        str, typer.Option("--to", metavar="LAYOUT", help="nnunet, folders, coco, csv or nifti.")
    ],
    settings: Settings = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="CONFIG", help="Take data, image and split from it."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="nnunet: name of a channel, as CT; repeatable."),
    ] = None,
) -> None:
    """Write a data set in another layout; pixels, masks, subjects and folds stay what they are."""
    from crosslinknet.curation.convert import convert as write

    with bars_shown(KEPT) as bars:
        told = write(
            data, out, to, tuple(settings or ()), config, tuple(channel or ()), track_on(bars)
        )
    for line in told:
        print(line)
    print(f"Wrote {out}")


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
