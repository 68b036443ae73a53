"""Write the table of docs/dicom.md: what becomes of the DICOM files that pydicom is tested with.

    python scripts/write_dicom_table.py

The files come with the packages pydicom and pydicom-data. Each is read alone, as if it were the
only one in its folder; the series of ``dicomdirtests`` are read as series.
"""

import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from crosslinknet.errors import DataError
from crosslinknet.files import write_text
from crosslinknet.geometry import Grid
from crosslinknet.readers import read_image
from crosslinknet.readers.dicom import first_files, is_dicom

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "dicom.md"
BEGIN, END = "<!-- files: begin -->", "<!-- files: end -->"
PACKAGES = {"pydicom": "data/test_files", "data_store": "data"}  # package: its folder of files


def main() -> None:
    """Replace what stands between the markers of the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    write_text(PAGE, f"{before}{BEGIN}\n{table()}\n{END}{after}")


def table() -> str:
    """A row per file: what is read of it, or why nothing is."""
    rows = [row(name, path) for package in PACKAGES for name, path in files(package)]
    refused = sum("| refused |" in line for line in rows)
    head = [
        f"{len(rows)} files and series: {len(rows) - refused} read, {refused} refused.",
        "",
        "| file | slices x channels x height x width | spacing in mm (slice, row, column) |",
        "| --- | --- | --- |",
    ]
    return "\n".join(head + rows)


def files(package: str) -> Iterator[tuple[str, Path]]:
    """Name and path of each file of a package; of a folder of slices one file per series."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / PACKAGES[package]
    for path in sorted(folder.iterdir()):
        if path.suffix == ".dcm":
            yield path.name, path
    found = (path for path in sorted(folder.rglob("*/*/*")) if path.is_file() and is_dicom(path))
    for path in first_files(list(found)):
        yield path.relative_to(folder).as_posix(), path


def row(name: str, path: Path) -> str:
    """A line of the table."""
    try:
        shape, kind, grid = result(path, alone="/" not in name)
    except DataError as error:
        reason = str(error).partition(f"{path.name} ")[2].replace("|", "/")
        return f"| `{name}` | refused | {reason} |"
    size = " x ".join(str(length) for length in shape)
    mm = "none" if grid.spacing is None else " x ".join(f"{length:.4g}" for length in grid.spacing)
    return f"| `{name}` | {size}, {kind} | {mm}{'' if grid.affine is not None else ', picture'} |"


def result(path: Path, alone: bool) -> tuple[tuple[int, ...], str, Grid]:
    """Shape, number type and grid of a file that is read alone or with its series."""
    if not alone:
        image, grid = read_image(path, "axial")
        return image.shape, str(image.dtype), grid
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        image, grid = read_image(copy, "axial")
        return image.shape, str(image.dtype), grid


if __name__ == "__main__":
    main()
