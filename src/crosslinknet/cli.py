"""The ``xln`` command: one function per command, errors as one paragraph, exit codes.

0 ok, 1 findings, 2 usage, 3 data, 4 environment, 130 stopped by the user. Heavy imports happen
inside the functions, so that ``--help`` answers at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from crosslinknet import __version__
from crosslinknet.errors import CrosslinkError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from crosslinknet.config import Config
    from crosslinknet.train import Console

app = typer.Typer(
    name="xln",
    help="Medical image segmentation, slice by slice: from a folder of images and masks to a "
    "cross-validated report and a model that predicts.\n\n"
    "First steps: xln demo; then xln init DATA -o exp.yaml and xln run exp.yaml",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-s", "--set", help="Change a key of the config, as -s train.epochs=40; repeatable."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue where the run was stopped.")]
ConfigFile = Annotated[Path, typer.Argument(help="Config file (YAML); xln init writes one.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]


def main() -> None:
    """Run the command line; deliberate errors become one paragraph and their exit code."""
    try:
        code = app(standalone_mode=False)
    except CrosslinkError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        saved = " Saved; continue with --resume." if type(error).__name__ == "Interrupted" else ""
        _fail(f"Stopped.{saved}", 130)
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"crosslinknet {__version__}")
        raise typer.Exit


@app.command(epilog="Example: xln doctor")
def doctor() -> int:
    """Look at this machine: versions, devices, memory, disk."""
    from rich.console import Console as Screen
    from rich.table import Table

    from crosslinknet.experiments.doctor import doctor as examine

    findings = examine()
    table = Table(box=None, show_header=False)
    for finding in findings:
        table.add_row("[green]ok[/]" if finding.ok else "[red]!![/]", finding.name, finding.value)
    Screen().print(table)
    return 0 if all(finding.ok for finding in findings) else 4


@app.command(epilog="Example: xln demo -o demo")
def demo(
    out: Out = Path("xln-demo"),
    kind: Annotated[str, typer.Option(help="lung, heart or kidney.")] = "lung",
) -> None:
    """Make a small data set, train two folds on it, write a report; under three minutes."""
    from crosslinknet.experiments.demo import demo as show

    with _screen() as screen:
        report = show(out, kind, screen.console)
    print(f"Report: {report.resolve()}")


@app.command(epilog="Example: xln init data/ -o exp.yaml")
def init(
    data: Annotated[Path, typer.Argument(help="Folder with the data, or a CSV manifest.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Config file to write.")] = Path(
        "exp.yaml"
    ),
    settings: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Look at a data set and write a config that fits it, every line explained."""
    from crosslinknet.experiments.init import init as begin

    for line in begin(data, out, tuple(settings or ()), force):
        print(line)
    print(f"Wrote {out}. Read it, change what you know better, then: xln run {out}")


@app.command(epilog="Example: xln run exp.yaml -s train.epochs=40")
def run(config: ConfigFile, settings: Settings = None, resume: Resume = False) -> None:
    """Train and score all folds, and write the report."""
    from crosslinknet.experiments.crossval import run as run_all

    with _screen() as screen:
        report = run_all(_config(config, settings), resume, screen.console)
    _print_scores(report.parent)
    print(f"Report: {report.resolve()}")


@app.command(epilog="Example: xln train exp.yaml --fold 0 --resume")
def train(
    config: ConfigFile,
    fold: Annotated[int, typer.Option(help="Which fold to train, from 0.")],
    settings: Settings = None,
    resume: Resume = False,
) -> None:
    """Train and score one fold."""
    from crosslinknet.experiments.crossval import train as train_one

    with _screen() as screen:
        report = train_one(_config(config, settings), fold, resume, screen.console)
    _print_scores(report.parent)
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Segment new images; masks come out on each input's own grid."""
    from crosslinknet.predict import find_inputs, load, predict_to_folder

    predictor = load(model, device)
    if probabilities:
        config = predictor.config
        wanted = config.predict.model_copy(update={"probabilities": True})
        predictor.config = config.model_copy(update={"predict": wanted})
    cases = find_inputs(images, predictor.config.image.channels)
    with _screen() as screen:
        bar = screen.bars.add_task("segmenting", total=len(cases))
        predict_to_folder(predictor, cases, out, lambda _: screen.bars.advance(bar))
    print(f"{len(cases)} masks in {out} ({len(predictor.models)} models averaged)")


@app.command(epilog="Example: xln evaluate masks/ reference/ -o scores --label tumour=2")
def evaluate(
    pred: Annotated[Path, typer.Argument(metavar="PRED", help="Folder of predicted masks.")],
    ref: Annotated[Path, typer.Argument(metavar="REF", help="Folder of reference masks.")],
    out: Out,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Class and its mask values, as tumour=2 or infection=1,2; repeatable. "
            "Default: foreground=1."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Take label_map, subject and evaluate from this config.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Regular expression with one group on the file name.")
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(help="Grey references: pixels above it count as 1.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(help="mm per pixel: dy,dx or dz,dy,dx; default: the files' own.")
    ] = None,
) -> None:
    """Score predicted masks against references: per_image.csv and summary.json."""
    from crosslinknet.config import DataConfig, EvaluateConfig, load_config, parse_config
    from crosslinknet.evaluate import evaluate_folders

    data, settings = DataConfig(root=ref), EvaluateConfig()
    if config is not None:
        loaded = load_config(config)
        data, settings = loaded.data, loaded.evaluate
    changes = {
        "label_map": dict(_label(text) for text in label) if label else None,
        "subject": subject,
        "threshold": threshold,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    data = parse_config({"data": data.model_dump(mode="json") | given}, "xln evaluate").data
    with _screen() as screen:
        bar = screen.bars.add_task("scoring", total=None)
        evaluate_folders(
            pred, ref, out, data=data, config=settings, spacing=_spacing(spacing),
            done=lambda _: screen.bars.advance(bar),
        )  # fmt: skip
    _print_scores(out)
    print(f"Scores: {out}")


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
    """List the networks with parameters, multiply-accumulates and file size."""
    import torch
    from rich.console import Console as Screen
    from rich.table import Table

    from crosslinknet.models import MODELS, VARIANTS, count_macs, count_parameters

    table = Table(
        "model", "options", "parameters", f"GMACs at {size}x{size}", "MiB", "source", box=None
    )
    for name, model in MODELS.items():
        for options in VARIANTS.get(name, [{}]):
            with torch.device("meta"):
                network = MODELS[name].build(**options)
            bytes_ = sum(t.numel() * t.element_size() for t in network.state_dict().values())
            table.add_row(
                name,
                ", ".join(f"{k}={v}" for k, v in options.items()),
                f"{count_parameters(network):,}",
                f"{count_macs(network, (size, size)) / 1e9:.2f}",
                f"{bytes_ / 2**20:.1f}",
                model.source,
            )
    Screen().print(table)


def _config(path: Path, settings: list[str] | None) -> "Config":
    from crosslinknet.config import load_config

    return load_config(path, tuple(settings or ()))


def _print_scores(folder: Path) -> None:
    """The headline table of a run."""
    from rich.console import Console as Screen
    from rich.table import Table

    from crosslinknet.files import read_json

    summary = read_json(folder / "summary.json")
    for name, level in summary["levels"].items():
        if name != "image":
            continue
        table = Table("class", "metric", "mean", "95 % interval", "median", "n", box=None)
        for label, entry in level.items():
            for metric, v in entry["metrics"].items():
                low, high = v["interval"] or (None, None)
                table.add_row(
                    label, metric, _number(v["mean"]), f"{_number(low)} .. {_number(high)}",
                    _number(v.get("median")), str(v.get("n", "")),
                )  # fmt: skip
        Screen().print(table)


def _label(text: str) -> tuple[str, list[int | str]]:
    """infection=1,2 to its name and values."""
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UsageError(f"--label {text!r} is not of the form class=value, as tumour=2.")
    return name, [int(v) if v.strip().isdigit() else v.strip() for v in values.split(",")]


def _spacing(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--spacing {text!r} is not a list of mm such as 1.2,0.8,0.8.") from error


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _fail(text: str, code: int) -> None:
    print(f"xln: {text}", file=sys.stderr)
    sys.exit(code)


class _screen:
    """Progress bars with time left on a terminal, plain lines elsewhere."""

    bars: "Bars"
    console: "Console"

    def __enter__(self) -> "_screen":
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        from crosslinknet.train import Console

        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
            transient=True,
        )

        class Drawn(Console):
            task: Any = None

            def say(self, text: str) -> None:
                bars.console.print(text, highlight=False, markup=False, soft_wrap=True)

            def warn(self, text: str) -> None:
                bars.console.print(
                    f"WARNING: {text}", style="bold red", markup=False, soft_wrap=True
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

        self.bars, self.console = bars, Drawn()
        bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()
