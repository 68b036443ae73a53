"""The ``xln`` command: one function per command, errors as one paragraph, exit codes.

0 ok, 1 findings, 2 usage, 3 data, 4 environment, 130 stopped by the user. Heavy imports happen
inside the functions, so that ``--help`` answers at once.
Order: main, the commands, how their texts become values; common.py for what they share.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crosslinknet import __version__
from crosslinknet.cli import data as data_commands
from crosslinknet.cli.common import (
    ConfigFile,
    Out,
    Resume,
    Settings,
    bars_shown,
    console_shown,
    fail,
    print_scores,
    print_table,
    show_table,
)
from crosslinknet.errors import CrosslinkError, LabelError, UsageError, suggest

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
def run(config: ConfigFile, settings: Settings = None, resume: Resume = False) -> None:
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


@app.command(epilog="Example: xln evaluate masks/ reference/ -o scores --label tumour=2")
def evaluate(
    pred: Annotated[Path, typer.Argument(metavar="PRED", help="Folder of predicted masks.")],
    ref: Annotated[Path, typer.Argument(metavar="REF", help="Folder of reference masks.")],
    out: Out,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=VALUES",
            help="Class and its mask values, as tumour=2 or infection=1,2; repeatable. "
            "Default: foreground=1.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG",
            help="Take label_map, subject, threshold, slice_axis and evaluate from this config.",
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Subject: the one (group) of this expression in the file name."
        ),
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option(metavar="GREY", help="Grey references: pixels above it count as 1."),
    ] = None,
    pred_threshold: Annotated[
        int | None,
        typer.Option(metavar="GREY", help="Grey predictions: pixels above it count as 1."),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            metavar="MM", help="mm per pixel: dy,dx or dz,dy,dx; default: the files' own."
        ),
    ] = None,
    slice_axis: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS", help="Volumes: axial, coronal, sagittal, or 0, 1, 2; default: axial."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Score as another tool does: nnunet, monai, kits19, infnet, released, "
            "paper-guess.",
        ),
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Predicted probabilities, named as the masks: adds their calibration.",
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Table with a column subject and others: scores by their groups."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s", "--set", metavar="KEY=VALUE", help="Change a key, as evaluate.or_ur_norm=union."
        ),
    ] = None,
) -> None:
    """Score masks against references: tables per image and case, a summary, a page."""
    from crosslinknet.config import load_config, override, parse_config, to_dict
    from crosslinknet.evaluate import evaluate_folders
    from crosslinknet.metrics import PRESETS
    from crosslinknet.report import write_scores

    if preset is not None and preset not in PRESETS:
        raise UsageError(f"--preset {preset!r} is unknown{suggest(preset, PRESETS)}")
    given: dict[str, Any] = {"data": {"root": str(ref)}, "image": {}}
    if config is not None:
        given = to_dict(load_config(config))
    if preset is not None:
        label_map = PRESETS[preset].label_map
        _refuse_bent(preset, settings or (), label if label_map else None)
        given["evaluate"] = dict(PRESETS[preset].settings)
        given["data"] |= {"label_map": dict(label_map)} if label_map else {}
    options = {"label_map": _labels(label), "subject": subject, "threshold": threshold}
    given["data"] |= {key: value for key, value in options.items() if value is not None}
    if slice_axis is not None:
        given["image"] |= {"slice_axis": int(slice_axis) if slice_axis.isdecimal() else slice_axis}
    chosen = parse_config(override(given, tuple(settings or ())), "xln evaluate")
    with bars_shown("Nothing was written.") as bars:
        bar = bars.add_task("scoring", total=None)
        try:
            evaluate_folders(
                pred, ref, out, data=chosen.data, config=chosen.evaluate, spacing=_spacing(spacing),
                slice_axis=chosen.image.slice_axis, pred_threshold=pred_threshold,
                probabilities=probabilities, groups=groups, preset=preset,
                done=lambda total: bars.update(bar, total=total, advance=1),
            )  # fmt: skip
        except LabelError as error:
            raise LabelError(
                f"{error} On the command line: --label CLASS=VALUES says what values mean, "
                "--threshold and --pred-threshold are for grey masks."
            ) from error
    page = write_scores(out)
    print_scores(out)
    print(f"Tables: {out / 'summary.md'}, {out / 'summary.tex'}, {out / 'per_image.csv'}")
    print(f"Report: {page.resolve()}")


@app.command(epilog="Example: xln compare runs/a runs/b -o a-against-b --metric dice")
def compare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of runs or of xln evaluate, or summary.json files of nnU-Net.",
        ),
    ],
    out: Out,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name of a method, one per source in order; repeatable."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="What to compare; repeatable. Default: dice, hd95."),
    ] = None,
    level: Annotated[
        Literal["image", "case"] | None,
        typer.Option(help="What is averaged to a subject; nnU-Net scores cases."),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="nnU-Net: the one (group) of this expression in the case's name."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=KEY", help="nnU-Net: name of a label, as kidney=1; repeatable."
        ),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare the images that all methods have.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=0, help="Of the subjects, for intervals.")] = 2000,
) -> None:
    """Compare methods on the same subjects: differences with intervals, tests, ranks, figures."""
    from crosslinknet.compare import compare_methods
    from crosslinknet.compare.page import methods_table, pairs_table, sentence

    with bars_shown("Nothing was written.") as bars:
        bars.add_task("comparing", total=None)
        result = compare_methods(
            sources, out, names=name or (), metrics=metric or (), level=level, subject=subject,
            labels=_keys(label), common=common, resamples=resamples,
        )  # fmt: skip
    for panel in result.panels:
        show_table(methods_table(panel), texts=1)
        show_table(pairs_table(panel), texts=1)
        print(sentence(panel))
    for warning in result.warnings:
        print(f"note: {warning}")
    print(f"Table for a paper: {out / 'comparison.tex'}; figures: {out / 'figures'}")
    print(f"Report: {(out / 'comparison.html').resolve()}")


@app.command(epilog="Example: xln report runs/exp")
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
) -> None:
    """Write a run's report.html anew."""
    from crosslinknet.report import write_report

    print(f"Report: {write_report(folder).resolve()}")


@app.command(epilog="Example: xln models --size 512")
def models(
    size: Annotated[int, typer.Option(help="Height and width for the multiply-accumulates.")] = 256,
) -> None:
    """List the networks with parameters, cost and file size; attention heads included."""
    import torch
    from rich.table import Table

    from crosslinknet.models import MODELS, VARIANTS, count_macs, count_parameters

    if size < 32:
        raise UsageError(f"--size is {size}; five poolings need at least 32.")
    table = Table(
        "model", "options", "parameters", f"GMACs at {size}x{size}", "MiB", "source", box=None
    )
    for name, model in MODELS.items():
        for options in VARIANTS.get(name, [{}]):
            with torch.device("meta"):
                network = model.build(**options)
            bytes_ = sum(t.numel() * t.element_size() for t in network.state_dict().values())
            table.add_row(
                name,
                ", ".join(f"{k}={v}" for k, v in options.items()),
                f"{count_parameters(network):,}",
                f"{count_macs(network, (size, size), maps=True) / 1e9:.2f}",
                f"{bytes_ / 2**20:.1f}",
                model.source,
            )
    print_table(table)


def _config(path: Path, settings: list[str] | None) -> "Config":
    from crosslinknet.config import load_config

    return load_config(path, tuple(settings or ()))


def _labels(texts: list[str] | None) -> dict[str, list[int | str]] | None:
    """infection=1,2 to a name and its values."""
    labels: dict[str, list[int | str]] = {}
    for text in texts or ():
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise UsageError(f"--label {text!r} is not of the form class=values, as tumour=2.")
        parts = [part.strip() for part in values.split(",")]
        labels[name] = [int(part) if part.isdecimal() else part for part in parts]
    return labels or None


def _refuse_bent(preset: str, settings: Sequence[str], label: list[str] | None) -> None:
    """A preset under its name is the tool's; what would change it is refused."""
    free = ("evaluate.nsd_tolerance=", "evaluate.bootstrap=", "data.", "image.")
    bent = [text for text in settings if not text.startswith(free)]
    bent += [f"--label {text}" for text in label or ()]
    if bent:
        raise UsageError(
            f"--preset {preset} scores as that tool does, which {bent[0]} would change. Leave one of "
            "them out."
        )


def _keys(texts: list[str] | None) -> dict[str, str]:
    """kidney=1 to nnU-Net's label and our name."""
    pairs = [text.partition("=") for text in texts or ()]
    wrong = [name for name, equals, key in pairs if not (name and equals and key)]
    if wrong:
        raise UsageError(f"--label {wrong[0]!r} is not of the form CLASS=KEY, as kidney=1.")
    return {key.strip(): name.strip() for name, _, key in pairs}


def _spacing(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--spacing {text!r} is not a list of mm such as 1.2,0.8,0.8.") from error
