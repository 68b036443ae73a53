"""Cases at the network's size, kept on disk and mapped into memory: RAM stays bounded.

An entry is named by the hash of the files' bytes and of the settings that change its pixels, so
it can never be stale. Which bytes a path holds is remembered by size and time of change; a file
is hashed again only when one of the two differs. Arrays are plain ``.npy`` files, never pickles.
Fingerprints of slices, by which near-duplicates are found, are kept in the same way.
Order: CachedCase, open_case, require_foreground, case_fingerprints, then names and files.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import Case, CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.duplicates import SIDE, TURNS, WIDE, Fingerprints, fingerprints
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.files import atomic_path, read_json, sha256_of_file, sha256_of_json, write_json
from crosslinknet.geometry import Grid, Placement, SliceAxis, place
from crosslinknet.labels import label_table, shown_in
from crosslinknet.preprocess import fit_image, fit_mask, normalise
from crosslinknet.readers import files_of, is_drawn, read_case, read_case_image

FORMAT = 2  # raise it when the pixels of an entry would come out otherwise
PRINTS_FORMAT = 3  # the same for fingerprints


@dataclass(frozen=True)
class CachedCase:
    """A case on disk, at the network's size.

    Holds paths only: the arrays are mapped when asked for and let go with the last reference, so
    that thousands of cases need no thousands of open files, and worker processes get no copies.

    Attributes:
        files: where it comes from.
        entry: path of the entry without its endings.
        labelled: there is a mask.
        foreground: (D,), which slices show a target.
        vanished: slices whose target is too small to be seen at the network's size.
        placement: how a source slice lies in the input.
        grid: of the source.
        maps: file of soft labels (D, K, H', W') uint8, what a network thinks of a case without a
            mask; 255 is certainty.
    """

    files: CaseFiles
    entry: Path
    labelled: bool
    foreground: NDArray[np.bool_]
    vanished: int
    placement: Placement
    grid: Grid
    maps: Path | None = None

    @property
    def image(self) -> NDArray[np.float32]:
        """(D, C, H', W') in [0, 1], a read-only memory map."""
        return _mapped(_image_path(self.entry))

    @property
    def codes(self) -> NDArray[np.uint8] | None:
        """(D, H', W') mask codes, a read-only memory map; None without a mask."""
        return _mapped(_codes_path(self.entry)) if self.labelled else None

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """What is learnt: codes (D, H', W'), or soft labels (D, K, H', W'); None without either."""
        return self.codes if self.maps is None else _mapped(self.maps)

    def with_maps(self, path: Path) -> "CachedCase":
        """The same case with the soft labels of a file, (D, K, H', W')."""
        shown = np.array([shown_in(maps).any() for maps in _mapped(path)])
        return replace(self, maps=path, foreground=shown)


def open_case(files: CaseFiles, data: DataConfig, image: ImageConfig, folder: Path) -> CachedCase:
    """Give a case from the cache; on the first call read, scale and store it.

    With ``image.fit`` crop slices keep their own size, else all have ``image.size``.

    Args:
        files: the case.
        data: what the mask values mean.
        image: how the image is read and scaled.
        folder: of the cache; several processes may use it at once.

    Raises:
        DataError: everything of ``readers.read_case`` and ``preprocess.normalise``.
        SystemProblem: the disk refuses.
    """
    entry = folder / _key(files, data, image, folder)
    described = entry.with_suffix(".json")
    if not _complete(entry, described):
        case = replace(read_case(files, data, image), id=str(files.images[0]))  # for messages
        _store(case, image, entry, described)
    about = read_json(described)
    return CachedCase(
        files=files,
        entry=entry,
        labelled=about["codes"] is not None,
        foreground=np.array(about["foreground"], dtype=bool),
        vanished=about["vanished"],
        placement=Placement(**{name: tuple(pair) for name, pair in about["placement"].items()}),
        grid=_grid(about["grid"]),
    )


def require_foreground(cases: list[CachedCase]) -> None:
    """Refuse a set in which no mask shows anything.

    Raises:
        DataError: every mask is empty.
    """
    if not any(case.foreground.any() for case in cases):
        masks = sorted({str(case.files.mask.parent) for case in cases if case.files.mask})
        raise DataError(
            f"all masks of {len(cases)} cases in {', '.join(masks[:3])} are empty, so there is "
            "nothing to learn. Check data.masks, data.label_map and data.threshold."
        )


def case_fingerprints(files: CaseFiles, slice_axis: SliceAxis, folder: Path) -> Fingerprints:
    """Fingerprints of the slices of a case, of the image as read, before any window.

    They are computed once for given bytes and kept as one array (D, 5185) of bytes: eight hashes,
    the thumbnail, the ranks, and whether the slice is flat.

    Args:
        files: the case; its mask is not looked at.
        slice_axis: as in ``readers.read_case_image``.
        folder: of the cache.

    Raises:
        DataError: everything of ``readers.read_case_image``.
        SystemProblem: the disk refuses.
    """
    path = folder / "fingerprints" / f"{fingerprints_key(files, slice_axis, folder)}.npy"
    hashes = 8 * len(TURNS)  # bytes
    thumbs = hashes + SIDE * SIDE
    if not path.is_file():
        image, _ = read_case_image(files, slice_axis)  # (D, C, H, W)
        prints = fingerprints(image)
        parts = [
            np.ascontiguousarray(prints.hashes.astype("<u8")).view(np.uint8),  # (D, 64)
            prints.thumbs.reshape(len(prints), SIDE * SIDE),
            prints.ranks.reshape(len(prints), WIDE * WIDE),
            prints.flat[:, None].astype(np.uint8),
        ]
        write_array(path, np.concatenate(parts, axis=1))
    kept = np.array(_mapped(path))
    return Fingerprints(
        np.ascontiguousarray(kept[:, :hashes]).view("<u8").astype(np.uint64),
        kept[:, hashes:thumbs].reshape(-1, SIDE, SIDE),
        kept[:, thumbs:-1].reshape(-1, WIDE, WIDE),
        kept[:, -1].astype(bool),
    )


def fingerprints_key(files: CaseFiles, slice_axis: SliceAxis, folder: Path) -> str:
    """What the fingerprints of a case depend on, as one hash."""
    images = [content_hash(path, folder) for path in files.images]
    return sha256_of_json([PRINTS_FORMAT, images, files.slices, slice_axis])[:40]


def _key(files: CaseFiles, data: DataConfig, image: ImageConfig, folder: Path) -> str:
    """Name of the entry: what is in the files and what is done with it."""
    table = label_table(data.label_map)
    drawn = files.mask is not None and is_drawn(files.mask)
    what = {
        "format": FORMAT,
        "images": [content_hash(path, folder) for path in files.images],
        "masks": [content_hash(path, folder) for path in files.masks],
        "values": [table.values, table.colour, table.names, data.threshold, data.overlap],
        "drawn": str(files.images[0].absolute()) if drawn else None,  # which of its images
        "slices": files.slices,
        "image": image.model_dump(mode="json", exclude={"size"} if image.fit == "crop" else None),
        "spacing": files.spacing,
    }
    return sha256_of_json(what)[:40]


def content_hash(path: Path, folder: Path) -> str:
    """Hash of the bytes a path stands for, remembered in ``folder`` while files stay as they are.

    Of a DICOM series the hashes of all its files count, whatever the files are called; where the
    voxels stand in a second file (MHD, NHDR), both count.

    Raises:
        DataError: a file cannot be read.
    """
    digests = sorted(_file_hash(file, folder) for file in files_of(path))
    return digests[0] if len(digests) == 1 else sha256_of_json(digests)


def _file_hash(path: Path, folder: Path) -> str:
    """Hash of a file, computed anew only if its size or time of change differ from before."""
    try:
        status = path.stat()
        path.open("rb").close()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}). Check the path and the rights to it."
        ) from error
    where = str(path.resolve())
    memory = folder / "files" / f"{sha256_of_json(where)[:40]}.json"
    known = read_json(memory) if memory.is_file() else {}
    seen = {"path": where, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    if {key: known.get(key) for key in seen} == seen:
        return str(known["sha256"])
    digest = sha256_of_file(path)
    write_json(memory, seen | {"sha256": digest})
    return digest


def _store(case: Case, image: ImageConfig, entry: Path, described: Path) -> None:
    """Scale a case and write its entry; the description comes last and makes it complete."""
    scaled = normalise(case, image)
    source = case.grid.shape[1:]
    try:
        placement = place(source, source if image.fit == "crop" else image.size, image.fit)
    except ShapeError as error:
        raise ShapeError(f"{case.id}: {error}") from error
    pixels = fit_image(scaled.image, placement)  # (D, C, H', W')
    codes = (
        None if case.mask is None else fit_mask(case.mask.astype(np.uint8), placement)
    )  # (D, H', W')
    foreground = np.zeros(len(pixels), bool) if codes is None else codes.any(axis=(1, 2))
    shown = np.zeros(len(pixels), bool) if case.mask is None else case.mask.any(axis=(1, 2))
    write_array(_image_path(entry), pixels)
    if codes is not None:
        write_array(_codes_path(entry), codes)
    grid = case.grid
    write_json(
        described,
        {
            "image": _image_path(entry).stat().st_size,
            "codes": None if codes is None else _codes_path(entry).stat().st_size,
            "foreground": foreground.tolist(),
            "vanished": int((shown & ~foreground).sum()),
            "placement": asdict(placement),
            "grid": {
                "shape": grid.shape,
                "spacing": grid.spacing,
                "affine": None if grid.affine is None else grid.affine.tolist(),
                "turn": None if grid.turn is None else grid.turn.tolist(),
            },
        },
    )


def _complete(entry: Path, described: Path) -> bool:
    """Whether an entry is there with all its bytes."""
    if not described.is_file():
        return False
    about = read_json(described)
    sizes = {_image_path(entry): about["image"], _codes_path(entry): about["codes"]}
    return all(
        path.is_file() and path.stat().st_size == size
        for path, size in sizes.items()
        if size is not None
    )


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} of the cache cannot be read ({error}). Delete the folder {path.parent}; it is "
            "made anew."
        ) from error


def _image_path(entry: Path) -> Path:
    return entry.with_suffix(".image.npy")


def _codes_path(entry: Path) -> Path:
    return entry.with_suffix(".codes.npy")


def _grid(about: dict[str, Any]) -> Grid:
    affine, turn = (
        None if about[name] is None else np.array(about[name], dtype=np.float64)
        for name in ("affine", "turn")
    )
    spacing = None if about["spacing"] is None else tuple(about["spacing"])
    return Grid(
        tuple(about["shape"]), cast("tuple[float, float, float] | None", spacing), affine, turn
    )
