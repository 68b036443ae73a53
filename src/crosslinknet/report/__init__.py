"""report.html: everything a run found, in one file that needs no network and runs no script.

Only the run's folder is read, and the source images where they still are. Whatever is missing
(a fold, a summary, the images) is said on the page and stops nothing. Structure and prose:
frame.html and page.html; looks: page.css. Order of reading: this file, material (what is read),
sections (head and tables), charts, record (the fine print), warnings, pictures (which cases are
shown), words, markup. The page of an evaluation alone: scores.
"""

from pathlib import Path

from crosslinknet.files import write_text
from crosslinknet.report import charts, record, sections
from crosslinknet.report.markup import framed
from crosslinknet.report.material import read_material
from crosslinknet.report.pictures import attention_pictures, case_pictures
from crosslinknet.report.reporting import write_reporting
from crosslinknet.report.scores import write_scores
from crosslinknet.report.warnings import warnings

__all__ = ["write_report", "write_reporting", "write_scores"]


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run's folder, ``reporting.md`` beside it, and return its path.

    The same run gives the same bytes. Source images that are gone leave their place on the
    page empty, with the reason.

    Args:
        run: folder with config.yaml and as much of the rest as there is.

    Raises:
        DataError: the folder holds no run, or a file of it is damaged.
        SystemProblem: the page cannot be written.
    """
    material = read_material(Path(run))
    page = framed(
        __name__,
        "page.html",
        [],
        **sections.header(material),
        **warnings(material),
        folds=sections.folds(material),
        **sections.scores(material),
        size=charts.size(material),
        **charts.cases(material, case_pictures(material)),
        **charts.attention(material, attention_pictures(material)),
        **charts.training(material),
        meaning=record.meaning(material),
        facts=record.facts(material),
        config=record.config(material),
    )
    path = material.folder / "report.html"
    write_text(path, page)
    write_reporting(material.folder)
    return path
