"""The ``xln`` command: one function per command, errors as one paragraph, exit codes.

0 ok, 1 findings, 2 usage, 3 data, 4 environment, 130 stopped by the user. Heavy imports happen
inside the functions, so that ``--help`` answers at once.
Order: main, the commands; data.py and scores.py hold some of them, common.py what they share.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crosslinknet import __version__
from crosslinknet.cli import data as data_commands
from crosslinknet.cli import networks, scores
from crosslinknet.cli.common import (
    AllowCode,
    ConfigFile,
    Out,
    Resume,
    Settings,
    bars_shown,
    console_shown,
    fail,
    print_scores,
    print_table,
)
from crosslinknet.errors import CrosslinkError, UsageError

if TYPE_CHECKING:
    from crosslinknet.config import Config

app = typer.Typer(
    name="xln",
    help="Medical image segmentation, slice by slice: from a folder of images and masks to a "
    "cross-validated report and a model that predicts.\n\n"
    "First steps: xln demo; then xln init DATA -o exp.yaml and xln run exp.yaml",
    epilog="Example: xln init DATA -o exp.yaml",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app)


def main() -> None:
    """Run the command line; deliberate errors become one paragraph and their exit code."""
    try:
        app()
    except CrosslinkError as error:
        fail(str(error), error.exit_code)
    except ImportError as error:
        if (error.name or "").startswith("crosslinknet"):
            raise
        fail(f"a package cannot be loaded ({error}). Install it anew: pip install crosslinknet", 4)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        fail(f"{what}. Check the path, the rights to it and the disk it lies on.", 4)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, on a GPU
            raise
        fail(f"{error} Lower image.size, train.batch_size or predict.batch_size.", 4)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"crosslinknet {__version__}")
        raise typer.Exit


@app.command(epilog="Example: xln doctor")
def doctor() -> None:
    """Look at this machine: versions, devices, memory, disk. Exit code 4 if something is amiss."""
    from rich.table import Table

    from crosslinknet.experiments.doctor import doctor as examine

    findings = examine()
    table = Table(box=None, show_header=False)
    for finding in findings:
        table.add_row("ok" if finding.ok else "!!", finding.name, finding.value)
    print_table(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(4)


@app.command(epilog="Example: xln demo -o demo")
def demo(
    out: Out = Path("xln-demo"),
    kind: Annotated[str, typer.Option(help="lung, heart or kidney.")] = "lung",
) -> None:
    """Train two folds on made-up data and write a report; under three minutes."""
    from crosslinknet.experiments.demo import demo as show

    with console_shown("xln demo goes on where it was stopped.") as console:
        report = show(out, kind, console)
    print_scores(report.parent)
    print(f"Report: {report.resolve()}")


@app.command(epilog="Example: xln init data/ -o exp.yaml")
def init(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder with the data, or a CSV manifest.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="CONFIG", help="Config file to write.")
    ] = Path("exp.yaml"),
    settings: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Look at a data set and write a config that fits it, every key explained."""
    from crosslinknet.experiments.init import init as begin

    for line in begin(data, out, tuple(settings or ()), force):
        print(line)
    print(f"Wrote {out}. Read it, change what you know better, then: xln run {out}")


@app.command(epilog="Example: xln run exp.yaml -s train.epochs=40")
def run(
    config: ConfigFile,
    settings: Settings = None,
    resume: Resume = False,
    allow_code: AllowCode = False,
) -> None:
    """Train and score all folds, and write the report."""
    from crosslinknet.experiments.crossval import run as run_all

    with console_shown("What was done is kept; continue with --resume.") as console:
        report = run_all(_config(config, settings), resume, console)
    print_scores(report.parent)
    print(f"Report: {report.resolve()}")


@app.command(epilog="Example: xln train exp.yaml --fold 0 --resume")
def train(
    config: ConfigFile,
    fold: Annotated[int, typer.Option(help="Which fold to train, from 0.")],
    settings: Settings = None,
    resume: Resume = False,
    allow_code: AllowCode = False,
) -> None:
    """Train and score one fold. The report covers the folds that are finished."""
    from crosslinknet.experiments.crossval import run_fold

    with console_shown("What was done is kept; continue with --resume.") as console:
        report = run_fold(_config(config, settings), fold, resume, console)
    print_scores(report.parent)
    print(f"Report: {report.resolve()}")


@app.command(epilog="Example: xln predict runs/exp 'scans/*.nii.gz' -o masks --probabilities")
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder, fold folder or model.safetensors.")
    ],
    images: Annotated[
        str, typer.Argument(metavar="INPUT", help="File, folder, or pattern in quotes.")
    ],
    out: Out,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write probabilities.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of predict, as predict.flip=true.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace masks that are there.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep masks that are there, and make the others.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    allow_code: AllowCode = False,
) -> None:
    """Segment new images; masks come out on each input's own grid."""
    from crosslinknet.config import override, parse_config, to_dict
    from crosslinknet.predict import find_inputs, load, predict_to_folder

    wanted = [*(settings or ()), *(["predict.probabilities=true"] if probabilities else [])]
    for setting in wanted:
        if not setting.startswith("predict."):
            raise UsageError(
                f"-s {setting!r}: a trained model takes keys of predict only, as -s "
                "predict.threshold=0.4; everything else was fixed by its training."
            )
    if force and resume:
        raise UsageError("--force replaces the masks that are there, --resume keeps them: choose.")
    existing: Literal["error", "keep", "replace"] = (
        "replace" if force else "keep" if resume else "error"
    )
    predictor = load(model, device)
    changed = parse_config(override(to_dict(predictor.config), tuple(wanted)), "xln predict")
    predictor.config = changed
    cases = find_inputs(images, changed.image.channels)
    with bars_shown("Masks that were finished are kept; go on with --resume.") as bars:
        bar = bars.add_task("segmenting", total=len(cases))
        predict_to_folder(predictor, cases, out, lambda _: bars.advance(bar), existing)
    count = len(predictor.models)
    models = "one model" if count == 1 else f"mean of {count} models"
    print(f"{len(cases)} mask{'s' if len(cases) > 1 else ''} in {out} ({models})")


app.command(epilog="Example: xln evaluate masks/ reference/ -o scores --label tumour=2")(
    scores.evaluate
)
app.command(epilog="Example: xln compare runs/a runs/b -o a-against-b --metric dice")(
    scores.compare
)


@app.command(epilog="Example: xln report runs/exp")
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
) -> None:
    """Write a run's report.html anew."""
    from crosslinknet.report import write_report

    print(f"Report: {write_report(folder).resolve()}")


app.command(epilog="Example: xln models --cost --size 512 -o cost")(networks.models)


def _config(path: Path, settings: list[str] | None) -> "Config":
    from crosslinknet.config import load_config

    return load_config(path, tuple(settings or ()))
