"""per_image.csv and per_case.csv: one line per image, or case, and class.

Order: COLUMNS, write_rows, read_rows.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import DataError
from crosslinknet.evaluate.scores import Unit
from crosslinknet.files import write_text
from crosslinknet.metrics.registry import METRICS
from crosslinknet.metrics.table import Row

COLUMNS = (  # before one column per metric
    *("case", "subject", "fold", "slice", "class", "n_pixels", "target_fraction"),
    *("tp", "fp", "fn", "tn", "state"),
)


def write_rows(path: Path, rows: Sequence[Row], unit: Unit, config: EvaluateConfig) -> None:
    """Write rows as CSV; what does not exist stays empty.

    Raises:
        SystemProblem: the disk refuses.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    tail = {"distance_unit": unit, "policy": config.policy, "or_ur_norm": config.or_ur_norm}
    writer.writerow([*COLUMNS, *config.metrics, *tail])
    for row in rows:
        place = (row.case, row.subject, row.fold, row.slice, row.class_name)
        counts = (row.n_pixels, row.target_fraction, row.tp, row.fp, row.fn, row.tn, row.state)
        values = [None if np.isnan(row.values[m]) else row.values[m] for m in config.metrics]
        writer.writerow([*place, *counts, *values, *tail.values()])
    write_text(path, text.getvalue())


def read_rows(path: Path, metrics: Sequence[str] = ()) -> tuple[list[Row], Unit]:
    """Rows as ``write_rows`` wrote them, and the unit of their distances.

    Args:
        path: the table.
        metrics: those that must be there; without any, all that are there.

    Raises:
        DataError: no such file, or a damaged one.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; it holds the scores. Evaluate anew.")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        names = metrics or [name for name in METRICS if lines and name in lines[0]]
        units = {line["distance_unit"] for line in lines}
        if not units <= {"mm", "px"} or len(units) > 1:
            raise ValueError(f"distance_unit {sorted(units)}")
        rows = [_row(line, names) for line in lines]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path} is damaged or from another version ({error!r}); expected the columns "
            f"{', '.join(COLUMNS)} and metrics. Evaluate anew."
        ) from error
    return rows, "mm" if units == {"mm"} else "px"


def _row(line: dict[str, str], metrics: Sequence[str]) -> Row:
    return Row(
        case=line["case"],
        subject=line["subject"],
        fold=int(line["fold"]) if line["fold"] else None,
        slice=int(line["slice"]) if line["slice"] else None,
        class_name=line["class"],
        tp=int(line["tp"]),
        fp=int(line["fp"]),
        fn=int(line["fn"]),
        tn=int(line["tn"]),
        state=line["state"],  # type: ignore[arg-type]
        values={name: float(line[name] or "nan") for name in metrics},
    )
