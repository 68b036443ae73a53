"""The whole road on made-up data: phantoms, config, two folds, scores, report. Minutes, no data."""

from pathlib import Path

from crosslinknet.config import Config, parse_config, to_yaml
from crosslinknet.errors import DataError, UsageError, suggest
from crosslinknet.experiments.crossval import run
from crosslinknet.files import write_text
from crosslinknet.phantoms import PHANTOMS, write_phantoms
from crosslinknet.train import Console

SIZE, SUBJECTS, SLICES = (96, 96), 12, 4

# What is segmented; the lung task merges both kinds of infection, as the paper does.
TASKS: dict[str, dict[str, list[int]]] = {
    kind: {"infection": [1, 2]} if kind == "lung" else phantom.label_map
    for kind, phantom in PHANTOMS.items()
}


def demo(out: str | Path, kind: str = "lung", console: Console | None = None) -> Path:
    """Train a narrow Crosslink-Net on phantoms, in under three minutes on two cores.

    Args:
        out: folder for data, config and run; an earlier demo there is continued.
        kind: ``lung``, ``heart`` or ``kidney``.
        console: hears what happens.

    Returns:
        Path of report.html.

    Raises:
        UsageError: unknown kind.
    """
    if kind not in PHANTOMS:
        raise UsageError(f"phantom {kind!r} is unknown{suggest(kind, PHANTOMS)}")
    console = console or Console()
    console.say(
        f"Drawing {SUBJECTS} made-up subjects with {SLICES} slices each ({kind}). The scores of "
        "this demo say that the program works, nothing about real images."
    )
    out = Path(out)
    data = out / f"{kind}-data"
    write_phantoms(data, kind, SUBJECTS, SLICES, SIZE)
    config = demo_config(kind, data, out)
    write_text(out / f"{kind}.yaml", to_yaml(config))
    try:
        return run(config, resume=True, console=console)
    except (UsageError, DataError) as error:
        raise type(error)(
            f"the demo cannot go on in {out}: {error} For a fresh one choose another folder, as "
            "xln demo -o NAME, or remove this one."
        ) from error


def demo_config(kind: str, data: Path, out: Path) -> Config:
    """What the demo trains; the same keys as any other experiment."""
    return parse_config(
        {
            "data": {
                "root": str(data.resolve()),
                "label_map": TASKS[kind],
                "subject": r"(subject_\d+)",
            },
            "image": {"size": list(SIZE)},
            "split": {"folds": 2},
            "model": {"options": {"widths": [8, 16, 32, 64, 128]}},
            "train": {"epochs": 20, "batch_size": 2, "lr": 3e-3, "validate_every": 2},
            "output": {"dir": str(out / "runs"), "name": f"demo-{kind}"},
        }
    )
