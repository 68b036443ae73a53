"""``xln evaluate`` and ``xln compare``: scores of masks, and methods against each other.

Order: evaluate, compare, how their texts become values.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crosslinknet.cli.common import Out, bars_shown, print_scores, show_table
from crosslinknet.errors import LabelError, UsageError, suggest


def evaluate(
    pred: Annotated[Path, typer.Argument(metavar="PRED", help="Folder of predicted masks.")],
    ref: Annotated[Path, typer.Argument(metavar="REF", help="Folder of reference masks.")],
    out: Out,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=VALUES",
            help="Class and its mask values, as tumour=2 or infection=1,2, or a name of labelme or "
            "SEG, with the number it has elsewhere, as tumour=Tumour,2; repeatable. "
            "Default: foreground=1, or 255 in its place.",
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
    from crosslinknet.labels import numbers_of_names
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
    labels, numbers = _labels(label)
    options = {"label_map": labels, "subject": subject, "threshold": threshold}
    given["data"] |= {key: value for key, value in options.items() if value is not None}
    if slice_axis is not None:
        given["image"] |= {"slice_axis": int(slice_axis) if slice_axis.isdecimal() else slice_axis}
    chosen = parse_config(override(given, tuple(settings or ())), "xln evaluate")
    if config is not None and label is None:  # predictions are those of a run of this config
        numbers = numbers_of_names(chosen.data.label_map)
    with bars_shown("Nothing was written.") as bars:
        bar = bars.add_task("scoring", total=None)
        try:
            evaluate_folders(
                pred, ref, out, data=chosen.data, config=chosen.evaluate, spacing=_spacing(spacing),
                slice_axis=chosen.image.slice_axis, pred_threshold=pred_threshold,
                probabilities=probabilities, groups=groups, preset=preset, numbers=numbers,
                done=lambda total: bars.update(bar, total=total, advance=1),
            )  # fmt: skip
        except LabelError as error:
            if "label_map" not in str(error):
                raise
            raise LabelError(
                f"{error} On the command line: --label CLASS=VALUES says what values or names "
                "mean, --threshold and --pred-threshold are for grey masks."
            ) from error
    page = write_scores(out)
    print_scores(out)
    print(f"Tables: {out / 'summary.md'}, {out / 'summary.tex'}, {out / 'per_image.csv'}")
    print(f"Report: {page.resolve()}")


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


def _labels(
    texts: list[str] | None,
) -> tuple[dict[str, list[int | str]] | None, dict[str, list[int]]]:
    """infection=1,2 to a class and its values; lesion=polyp,1 to its names, and its numbers."""
    labels: dict[str, list[int | str]] = {}
    numbers: dict[str, list[int]] = {}
    for text in texts or ():
        name, equals, values = text.partition("=")
        parts = [part.strip() for part in values.split(",")]
        if not equals or not all(parts):
            raise UsageError(f"--label {text!r} is not of the form class=values, as tumour=2.")
        if name in labels:
            raise UsageError(f"--label {name} is given twice; list its values: {name}=1,2")
        names: list[int | str] = [part for part in parts if not part.isdecimal()]
        numbers[name] = [int(part) for part in parts if part.isdecimal()]
        labels[name] = names or [*numbers[name]]
    return labels or None, numbers


def _refuse_bent(preset: str, settings: Sequence[str], label: list[str] | None) -> None:
    """A preset under its name is the tool's; what would change it is refused."""
    free = ("evaluate.nsd_tolerance=", "evaluate.bootstrap=", "data.", "image.")
    bent = [text for text in settings if not text.startswith(free)]
    bent += [f"--label {text}" for text in label or ()]
    if bent:
        raise UsageError(
            f"--preset {preset} scores as that tool does, which {bent[0]} would change. Leave one "
            "of them out."
        )


def _keys(texts: list[str] | None) -> dict[str, str]:
    """kidney=1 to nnU-Net's label and our name."""
    pairs = [text.partition("=") for text in texts or ()]
    wrong = [name for name, equals, key in pairs if not (name and equals and key)]
    if wrong:
        raise UsageError(f"--label {wrong[0]!r} is not of the form CLASS=KEY, as kidney=1.")
    keys = {key.strip(): name.strip() for name, _, key in pairs}
    if len(set(keys.values())) < len(pairs):
        raise UsageError("--label names a class or a label twice; a class is one label of nnU-Net.")
    return keys


def _spacing(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--spacing {text!r} is not a list of mm such as 1.2,0.8,0.8.") from error
