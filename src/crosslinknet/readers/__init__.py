"""File formats: a path in, arrays with their grid out, and back.

A format is a module with ``claim``, ``read_image``, ``read_values``, ``write_values`` and
``write_probabilities``; the dict READERS names it by suffix. What a file claims is weighed by
``readers.guard`` before any reader is called. Masks that are no pixels but outlines are drawn on
the grid of their image, by a module of DRAWN. What holds for all formats stands here:
empty files, pixels that are not numbers, mask values, images and masks that belong together.
Order: what is remembered, the formats, images, masks, cases, writing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import Case, CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.errors import DataError, LabelError, ShapeError, UsageError
from crosslinknet.geometry import Grid, SliceAxis, is_apart, shift_of
from crosslinknet.labels import LabelTable, encode, label_table, to_values
from crosslinknet.readers import dicom, dicom_seg, guard, itk, matlab, nifti, polygons
from crosslinknet.readers import image as pictures
from crosslinknet.readers.guard import Claim

T = TypeVar("T")

SMALLEST = 32  # five poolings need 32 rows and columns
ROUNDING = 1e-3  # of whole numbers that were stored as scaled floats


class Format(Protocol):
    """What a module of this folder offers; see ``readers.image`` for the meaning of each."""

    def claim(self, path: Path) -> Claim: ...

    def read_image(self, path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]: ...

    def read_values(
        self, path: Path, slice_axis: SliceAxis, *, colour: bool, lossy: bool
    ) -> tuple[NDArray[Any], Grid]: ...

    def write_values(
        self,
        path: Path,
        values: NDArray[np.integer],
        grid: Grid,
        like: Path | None,
        *,
        colour: bool,
    ) -> None: ...

    def write_probabilities(
        self,
        path: Path,
        probs: NDArray[np.float32],
        grid: Grid,
        like: Path | None,
        classes: Sequence[str],
    ) -> tuple[Path, ...]: ...


class Remembered(Generic[T]):
    """The last thing that was read: a stack that is asked for case by case is read once.

    Files that were changed meanwhile, by size or time, are read again.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, T] | None = None

    def get(self, paths: Sequence[Path], settings: Any, read: Callable[[], T]) -> T:
        """What ``read`` gives for these files and settings, now or the last time."""
        key = None
        if all(path.is_file() for path in paths):
            key = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        last = self._last
        if key is not None and last is not None and last[0] == (key, settings):
            return last[1]
        self._last = last = None  # its memory is free before the next one is read
        value = read()
        self._last = (key, settings), value
        return value


class Drawing(Protocol):
    """What a module offers whose masks are drawn on the grid of an image."""

    def draw(
        self, path: Path, image: Path, grid: Grid, table: LabelTable, overlap: str
    ) -> NDArray[np.integer]:
        """Mask values (D, H, W) on ``grid``, as ``table`` counts them.

        Args:
            path: the mask file, which may describe many images.
            image: the image whose mask is wanted.
            grid: where the image's pixels lie.
            table: what the values mean; with ``names``, value v is the label ``names[v - 1]``.
            overlap: ``error`` refuses pixels of two different labels, ``last`` gives them to the
                label that comes last in the file.

        Raises:
            DataError: not readable, says nothing of the image, another size, labels overlap.
            LabelError: labels of names that the table does not hold.
        """
        ...

    def count(self, path: Path, image: Path, grid: Grid) -> dict[int | str, int]:
        """Pixels of each label, 0 included; serves to propose a label map."""
        ...


READERS: dict[str, Format] = {
    ".png": pictures,
    ".jpg": pictures,
    ".jpeg": pictures,
    ".bmp": pictures,
    ".tif": pictures,
    ".tiff": pictures,
    ".nii": nifti,
    ".nii.gz": nifti,
    ".mat": matlab,
    ".dcm": dicom,  # the path of one file stands for its series
    ".dicom": dicom,
    ".ima": dicom,
    ".mha": itk,
    ".mhd": itk,
    ".nrrd": itk,
    ".nhdr": itk,
}

DRAWN: dict[str, Drawing] = {
    ".json": polygons,
    ".mat": matlab,
    ".dcm": dicom_seg,
    ".dicom": dicom_seg,
    ".ima": dicom_seg,
}


def suffix_of(path: Path) -> str:
    """The suffix that names the format, in lower case; ``.nii.gz`` is one suffix.

    A file without suffix that begins as DICOM files do counts as ``.dcm``.

    >>> suffix_of(Path("case.0001.NII.GZ")), suffix_of(Path("slice.png"))
    ('.nii.gz', '.png')
    """
    if path.name.lower().endswith(".nii.gz"):
        return ".nii.gz"
    suffix = path.suffix.lower()
    return ".dcm" if suffix not in READERS and dicom.is_dicom(path) else suffix


def stem_of(path: Path) -> str:
    """The file name without that suffix.

    >>> stem_of(Path("data/case.0001.nii.gz"))
    'case.0001'
    """
    suffix = suffix_of(path)
    has_it = path.name.lower().endswith(suffix)
    return path.name[: len(path.name) - len(suffix)] if has_it else path.name


def is_image(path: Path) -> bool:
    """Whether the name is that of a file we read; hidden files are not."""
    return suffix_of(path) in READERS and not path.name.startswith(".")


def files_of(path: Path) -> tuple[Path, ...]:
    """All files whose bytes make up what a path stands for.

    One file of a DICOM series stands for the series; MHD and NHDR name a second file for their
    voxels; else it is the file itself.

    Raises:
        DataError: a header that cannot be read, or that of a file beside it.
    """
    reader = READERS.get(suffix_of(path))
    if reader is dicom:
        return dicom.files_of(path)
    return itk.data_files(path) if reader is itk else (path,)


def is_drawn(path: Path) -> bool:
    """Whether a mask file holds outlines or segments, drawn on the grid of their image."""
    return suffix_of(path) in DRAWN


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read an image as (D, C, H, W), in the file's own number type.

    Args:
        path: a file with a suffix of READERS.
        slice_axis: which axis of a volume counts the slices; pictures ignore it.

    Raises:
        DataError: missing, empty, unreadable, or with pixels that are NaN or infinite.
    """
    image, grid = _format(path).read_image(path, slice_axis)
    if image.dtype.kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(image)))
        if bad:
            raise DataError(
                f"{path}: {bad} of {image.size} pixels are NaN or infinite. Replace them, by the "
                "lowest value of the image for example."
            )
    return image, grid


def read_mask(
    path: Path, slice_axis: SliceAxis, table: LabelTable, threshold: int | None
) -> tuple[NDArray[np.uint8], Grid]:
    """Read a mask as codes (D, H, W).

    Args:
        path: a file with a suffix of READERS.
        slice_axis: as for the image.
        table: what the mask values mean.
        threshold: pixels above it count as value 1, all others as 0; None takes the values.

    Raises:
        DataError: as for an image; a JPG without threshold; values that are no whole numbers.
        LabelError: values that the label map does not name.
        UsageError: a threshold with a label map that is not made for it.
    """
    if threshold is not None and (table.colour or table.values != (1,)):
        raise UsageError(
            f"data.threshold is {threshold}, which leaves the mask values 0 and 1, but "
            "data.label_map names others. Write it as {NAME: [1]}, or remove the threshold."
        )
    values, grid = read_values(path, slice_axis, colour=table.colour, threshold=threshold)
    return encode(values, table, str(path)), grid


def read_values(
    path: Path, slice_axis: SliceAxis, *, colour: bool = False, threshold: int | None = None
) -> tuple[NDArray[np.integer], Grid]:
    """Read the values of a mask file (D, H, W), whatever they mean, and its grid.

    Args:
        path: a file with a suffix of READERS.
        slice_axis: as for the image.
        colour: values are colours, 0xRRGGBB.
        threshold: pixels above it count as value 1, all others as 0; None takes the values.

    Raises:
        DataError: as for an image; a JPG without threshold; values that are no whole numbers.
    """
    values, grid = _format(path).read_values(
        path, slice_axis, colour=colour, lossy=threshold is not None
    )
    if threshold is not None:
        values = (values > threshold).astype(np.uint8)
    return _whole(values, path), grid


@dataclass(frozen=True)
class RawMask:
    """A mask as it stands in its file, whatever its values mean.

    Attributes:
        values: (D, H, W) integers.
        grid: where they lie.
        colour: the values are colours, 0xRRGGBB.
        names: of outlines: value v is the label ``names[v - 1]``; else empty.
    """

    values: NDArray[np.integer]
    grid: Grid
    colour: bool = False
    names: tuple[str, ...] = ()

    def name(self, value: int) -> int | str:
        """A value as ``data.label_map`` writes it."""
        if self.names and value:
            return self.names[value - 1]
        return f"#{value:06x}" if self.colour else value


def read_raw_mask(
    files: CaseFiles,
    slice_axis: SliceAxis,
    *,
    colour: bool | None = None,
    threshold: int | None = None,
    overlap: str = "error",
) -> RawMask:
    """Read the values of a case's mask, whatever they mean; serves to look at unknown data.

    Args:
        files: the case.
        slice_axis: as for the image.
        colour: pictures: read colours, or grey values; None reads colours where no grey is.
        threshold: pixels above it become 1, all others 0; None takes the values.
        overlap: of outlines, see ``data.overlap``.

    Raises:
        DataError: as ``read_mask``, but a JPG is read without threshold; a case without a mask.
    """
    path = _mask_of(files)
    if is_drawn(path):
        _, grid = read_image(files.images[0], slice_axis)
        drawing = DRAWN[suffix_of(path)]
        counts = drawing.count(path, files.images[0], grid)
        names = tuple(sorted(name for name in counts if isinstance(name, str)))
        table = label_table({str(value): [name] for value, name in enumerate(names, start=1)})
        values = drawing.draw(path, files.images[0], grid, table, overlap)
        return RawMask(_kept(values, files), _kept_grid(grid, files), names=names)
    joined: NDArray[Any] | None = None
    for path in files.masks:
        stored, grid, colour = _stored_values(path, slice_axis, colour)
        values = _whole(stored if threshold is None else stored > threshold, path)
        if joined is None:
            joined, first = values, grid
        else:
            joined = _joined(joined, first, values, grid, path, files, overlap)
    assert joined is not None  # there is a mask
    return RawMask(_kept(joined, files), _kept_grid(first, files), bool(colour))


def count_values(files: CaseFiles, slice_axis: SliceAxis = 0) -> dict[int | str, int]:
    """Count the pixels of each value of a case's mask, whatever it means; background included.

    RGB masks give colours, outlines the names of their labels. Serves to propose a label map.

    Raises:
        DataError: as ``read_mask``; a case without a mask.
    """
    path = _mask_of(files)
    if is_drawn(path):
        _, grid = read_image(files.images[0], slice_axis)
        return DRAWN[suffix_of(path)].count(path, files.images[0], grid)
    mask = read_raw_mask(files, slice_axis)
    numbers, counts = np.unique(mask.values, return_counts=True)
    names = [mask.name(int(number)) for number in numbers]
    return dict(Counter(dict(zip(names, counts.tolist(), strict=True))).most_common())


def read_case_image(files: CaseFiles, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read the images of a case, stacked as channels: (D, C, H, W) and their grid.

    Raises:
        ShapeError: they differ in size, or do not have the slices that are wanted.
        DataError: they lie elsewhere in space; and everything of ``read_image``.
    """
    pixels, grid = _whole_image(files, slice_axis)
    return _kept(pixels, files), _kept_grid(grid, files)


def read_case_mask(
    files: CaseFiles, data: DataConfig, slice_axis: SliceAxis
) -> tuple[NDArray[np.uint8], Grid]:
    """Read the mask of a case as codes (D, H, W), with the grid it is stored on.

    Raises:
        LabelError: values or names that ``data.label_map`` does not hold.
        DataError: there is no mask, and everything of ``read_mask`` and of ``Drawing.draw``.
    """
    codes, grid = _whole_mask(files, data, slice_axis)
    return _kept(codes, files), _kept_grid(grid, files)


def read_case(files: CaseFiles, data: DataConfig, image: ImageConfig) -> Case:
    """Read a case: its images, stacked as channels, and its mask, on one grid.

    Small slices are welcome where ``image.fit`` brings them to the network's size; with ``crop``
    they keep their own, and must have 32 rows and columns.

    Raises:
        ShapeError: images or mask differ in size; smaller than 32x32 with fit crop.
        DataError: they lie elsewhere in space; and everything of ``read_image``, ``read_mask``.
    """
    pixels, grid = _whole_image(files, image.slice_axis)
    if image.fit == "crop" and min(grid.shape[1:]) < SMALLEST:
        raise ShapeError(
            f"{files.images[0]} has slices of {grid.shape[1]}x{grid.shape[2]} pixels; "
            f"image.fit 'crop' keeps that size, and the network needs {SMALLEST}x{SMALLEST}. "
            "Choose fit: letterbox, resize or pad, which take any size."
        )
    codes = None
    if files.mask is not None:
        codes, mask_grid = _whole_mask(files, data, image.slice_axis)
        _check_same_grid(files.images[0], grid, files.mask, mask_grid)
        codes = _kept(codes, files)
    if files.spacing is not None:
        grid = replace(grid, spacing=files.spacing)
    return Case(files.id, files.subject, _kept(pixels, files), codes, _kept_grid(grid, files))


def write_image(path: Path, image: NDArray[Any], grid: Grid, like: Path | None = None) -> None:
    """Write an image (D, C, H, W) so that reading it gives the same array.

    Args:
        path: NIfTI, or a picture with the suffix that ``image.suffix_for`` names.
        image: in the number type in which it is to be stored.
        grid: where the pixels lie; pictures keep nothing of it.
        like: a file whose header and axes a NIfTI result gets.

    Raises:
        DataError: a format that cannot hold the image.
        SystemProblem: the disk refuses.
    """
    if suffix_of(path) in (".nii", ".nii.gz"):
        nifti.write_image(path, image, grid, like)
        return
    suits = pictures.suffix_for(image)
    if suits is None or (suffix_of(path) != suits and suffix_of(path) not in (".tif", ".tiff")):
        depth, channels = image.shape[:2]
        raise DataError(
            f"{path.name} cannot hold {depth} slices of {channels} channels of type {image.dtype}; "
            f"write {suits or '.nii.gz'}."
        )
    pictures.write_image(path, image, grid, like)


def write_mask(
    path: Path, codes: NDArray[np.integer], table: LabelTable, grid: Grid, like: Path | None
) -> None:
    """Write codes (D, H, W) as mask values, on the grid and with the header of ``like``.

    Args:
        path: its suffix chooses the format: PNG, BMP, TIFF, NIfTI, MHA, NRRD.
        codes: 0..n.
        table: what the codes mean.
        grid: of the image, as it was read.
        like: the image file; a volume gets its axes and header.

    Raises:
        DataError: a format that cannot hold the values.
        SystemProblem: the disk refuses.
    """
    write_values(path, to_values(codes, table), grid, like, colour=table.colour)


def write_values(
    path: Path,
    values: NDArray[np.integer],
    grid: Grid,
    like: Path | None,
    *,
    colour: bool = False,
) -> None:
    """Write mask values (D, H, W), uint8 or uint16, or colours; the rest as ``write_mask``."""
    _writer(path).write_values(path, values, grid, like, colour=colour)


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str] | None = None,
) -> tuple[Path, ...]:
    """Write probabilities (K, D, H, W) in [0, 1]; gives the files written.

    Volumes: one float32 file, the classes last if K > 1. PNG and TIFF: 16-bit grey, 65535 = 1;
    several classes become files ``NAME.CLASS.png`` (numbers 1..K where no names are given).

    Raises:
        DataError: a format that cannot hold them.
        SystemProblem: the disk refuses.
    """
    names = [str(k + 1) for k in range(len(probs))] if classes is None else list(classes)
    return _writer(path).write_probabilities(path, probs, grid, like, names)


_image_stack: Remembered[tuple[NDArray[Any], Grid]] = Remembered()
_mask_stack: Remembered[tuple[NDArray[np.uint8], Grid]] = Remembered()


def _whole_image(files: CaseFiles, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """All slices of the images of a case (D, C, H, W), and their grid; stacks are remembered."""
    if files.slices is None:
        return _read_images(files, slice_axis)
    return _image_stack.get(files.images, slice_axis, lambda: _read_images(files, slice_axis))


def _read_images(files: CaseFiles, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    read = [read_image(path, slice_axis) for path in files.images]
    arrays, grids = [array for array, _ in read], [grid for _, grid in read]
    for path, grid in zip(files.images[1:], grids[1:], strict=True):
        _check_same_grid(files.images[0], grids[0], path, grid)
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1), grids[0]


def _whole_mask(
    files: CaseFiles, data: DataConfig, slice_axis: SliceAxis
) -> tuple[NDArray[np.uint8], Grid]:
    """All slices of the mask of a case as codes (D, H, W), and their grid; as for images."""
    path = _mask_of(files)
    if files.slices is None:
        return _read_codes(path, files, data, slice_axis)
    return _mask_stack.get(
        (path, *files.images),
        (data.label_map, data.threshold, data.overlap, slice_axis),
        lambda: _read_codes(path, files, data, slice_axis),
    )


def _read_codes(
    path: Path, files: CaseFiles, data: DataConfig, slice_axis: SliceAxis
) -> tuple[NDArray[np.uint8], Grid]:
    table = label_table(data.label_map)
    if is_drawn(path):
        if data.threshold is not None:
            raise UsageError(
                f"data.threshold is {data.threshold}, but {path} holds outlines, not grey values. "
                "Remove it, and name the labels in data.label_map."
            )
        _, grid = read_image(files.images[0], slice_axis)
        drawing = DRAWN[suffix_of(path)]
        values = drawing.draw(path, files.images[0], grid, table, data.overlap)
        return encode(values, table, f"{path} ({files.images[0].name})"), grid
    if table.names:
        raise LabelError(
            f"{path} holds numbers, but data.label_map names labels: {', '.join(table.names)}. "
            "Write the mask values that mean them, as in {lesion: [1]}."
        )
    codes, grid = read_mask(path, slice_axis, table, data.threshold)
    for further in files.more_masks:
        others, other_grid = read_mask(further, slice_axis, table, data.threshold)
        codes = _joined(codes, grid, others, other_grid, further, files, data.overlap)
    return codes, grid


def _joined(
    values: NDArray[Any],
    grid: Grid,
    others: NDArray[Any],
    other_grid: Grid,
    further: Path,
    files: CaseFiles,
    overlap: str,
) -> NDArray[Any]:
    """A mask of an image with a further one of it (D, H, W), which must not share pixels."""
    _check_same_grid(files.masks[0], grid, further, other_grid)
    shared = int(np.count_nonzero((values > 0) & (others > 0)))
    if shared and overlap == "error":
        raise DataError(
            f"{further} marks {shared} pixels that another mask of {files.images[0].name} marks "
            "too. If the masks are of several readers, keep one of them; if they are objects that "
            "touch, data.overlap: last joins them."
        )
    return np.where(others > 0, others, values)


def _stored_values(
    path: Path, slice_axis: SliceAxis, colour: bool | None
) -> tuple[NDArray[Any], Grid, bool]:
    """Values of a mask file (D, H, W), their grid, and whether they are colours."""
    reader = _format(path)
    try:
        values, grid = reader.read_values(path, slice_axis, colour=colour is True, lossy=True)
        return values, grid, colour is True
    except DataError:
        if colour is not None or reader is not pictures:
            raise
    values, grid = reader.read_values(path, slice_axis, colour=True, lossy=True)
    return values, grid, True


def _mask_of(files: CaseFiles) -> Path:
    if files.mask is None:
        raise DataError(f"{files.images[0]} has no mask. Add it, or leave the image out.")
    return files.mask


def _kept(array: NDArray[Any], files: CaseFiles) -> NDArray[Any]:
    """The slices of an array (D, ...) that are this case."""
    if files.slices is None:
        return array
    if max(files.slices) >= len(array):
        raise ShapeError(
            f"{files.images[0]} has {len(array)} slices, but slice {max(files.slices)} is wanted "
            f"for {files.id} (the first is 0). The file was replaced, or it is cut along another "
            "axis: see image.slice_axis."
        )
    return np.take(array, files.slices, axis=0)


def _kept_grid(grid: Grid, files: CaseFiles) -> Grid:
    """The grid of those slices: of pictures with a spacing, without a place in space."""
    if files.slices is None:
        return grid
    return Grid((len(files.slices), *grid.shape[1:]), grid.spacing)


def _format(path: Path) -> Format:
    """The module that reads a file, after what can be told without decoding it."""
    if not path.is_file():
        raise DataError(f"{path} is no file. Check the path, and that the disk is connected.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes). Copy it again or leave it out.")
    reader = _writer(path)
    guard.check(path, reader.claim(path))
    return reader


def _writer(path: Path) -> Format:
    suffix = suffix_of(path)
    if suffix not in READERS:
        raise DataError(
            f"{path} has the suffix {suffix!r}, of which no reader is known; known are "
            f"{', '.join(READERS)}."
        )
    return READERS[suffix]


def _whole(values: NDArray[Any], path: Path) -> NDArray[np.integer]:
    """Mask values as integers; floats are accepted where they are whole, but for rounding."""
    if values.dtype.kind in "iu":
        return values
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        whole = (np.abs(values - np.rint(values)) <= ROUNDING) & (np.abs(values) < 2**31)
    if not whole.all():
        examples = ", ".join(f"{value:g}" for value in np.unique(values[~whole])[:5])
        raise DataError(
            f"{path} is a mask with {np.count_nonzero(~whole)} pixels that are no whole numbers "
            f"({examples}). Write labels, not probabilities, or state data.threshold."
        )
    rounded: NDArray[np.int64] = np.rint(values).astype(np.int64)
    return rounded


def _check_same_grid(first: Path, one: Grid, second: Path, other: Grid) -> None:
    """Two files of a case must show the same pixels of the patient."""
    if one.shape != other.shape:
        raise ShapeError(
            f"{second} is {_size(other)}, but {first} is {_size(one)} (slices, height, width). "
            "Files of one case must lie on one grid; resample the mask, or pair the right files."
        )
    if (one.affine is None) != (other.affine is None):
        raise DataError(
            f"{first} and {second} are a picture and a volume with a place in space, so it is not "
            "known how one lies on the other. Save both in one format."
        )
    if is_apart(one, other):
        raise DataError(
            f"{first} and {second} have one shape but lie up to {shift_of(one, other):.2f} mm "
            "apart in space (affine). Resample one to the other's grid, or repair the header "
            "that is wrong."
        )


def _size(grid: Grid) -> str:
    return "x".join(str(length) for length in grid.shape)
