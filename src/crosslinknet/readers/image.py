"""Pictures: PNG, JPG, BMP and TIFF, 8- and 16-bit grey or 8-bit RGB; a multi-page TIFF is a volume.

Pixels are taken as stored and never converted in a way that loses something: what Pillow would
reduce (16-bit colour), drop (transparency) or turn (EXIF) is an error that says what to do.
Order: what a header claims, images, masks, writing, then how a page becomes an array.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from crosslinknet.errors import DataError, ShapeError
from crosslinknet.files import atomic_path
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.readers.failures import errors_named
from crosslinknet.readers.guard import Claim
from crosslinknet.readers.picture_claims import claim_of_picture

WRITTEN = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}  # suffix: format
READ = ("PNG", "JPEG", "BMP", "TIFF")
KINDS = "PNG, JPG, BMP or TIFF"  # the same for people
LOSSY = ("JPEG", "MPO")  # MPO: what Pillow calls a JPG with a second view behind the first
EXIF_ORIENTATION = 0x0112


def claim(path: Path) -> Claim:
    """What the header claims, for ``readers.guard``; the checksums of a PNG are verified."""
    return claim_of_picture(path)


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read a picture as (D, C, H, W), C = 1 or 3, D pages; ``slice_axis`` has no meaning here.

    Bilevel pictures give 0 and 255, palettes their colours (one channel where all are grey).

    Raises:
        DataError: not readable, transparent, 16-bit colour, turned by EXIF, too large.
    """
    image = _read(path, _image_page)  # (D, H, W) or (D, H, W, 3)
    image = image[:, None] if image.ndim == 3 else image.transpose(0, 3, 1, 2)
    image = np.ascontiguousarray(image)  # (D, C, H, W)
    return image, Grid((image.shape[0], image.shape[2], image.shape[3]))


def read_values(
    path: Path, slice_axis: SliceAxis, *, colour: bool, lossy: bool
) -> tuple[NDArray[Any], Grid]:
    """Read the values of a mask as (D, H, W).

    Args:
        path: the picture.
        slice_axis: without meaning for pictures.
        colour: give colours as 0xRRGGBB. Else grey values, as a viewer shows them: a bilevel
            mask holds 0 and 255; of a palette picture the indices; RGB only where it is grey.
        lossy: JPG is allowed, since a threshold follows.

    Raises:
        DataError: as in ``read_image``; a JPG mask; an RGB mask where grey values are expected.
    """

    def page(picture: ImageFile.ImageFile, path: Path) -> NDArray[Any]:
        if picture.format in LOSSY and not lossy:
            raise DataError(
                f"{path} is a JPG, whose compression changes mask values near every edge. Save "
                "the mask as PNG, or state data.threshold (127, say): pixels above it count as 1."
            )
        return _colours(picture, path) if colour else _greys(picture, path)

    values = _read(path, page)  # (D, H, W)
    return values, Grid((values.shape[0], values.shape[1], values.shape[2]))


def mask_suffix(path: Path) -> str:
    """PNG and TIFF keep theirs; JPG would blur labels, BMP cannot hold all of them: PNG."""
    return path.suffix.lower() if path.suffix.lower() in (".png", ".tif", ".tiff") else ".png"


def write_values(
    path: Path, values: NDArray[np.integer], grid: Grid, like: Path | None, *, colour: bool
) -> None:
    """Write mask values (D, H, W) as PNG, BMP or TIFF (one page per slice), atomically.

    Args:
        path: its suffix chooses the format.
        values: uint8 or uint16 grey values, or colours 0xRRGGBB.
        grid: without meaning for pictures, as ``like``.
        like: see ``grid``.
        colour: ``values`` are colours.
    """
    if colour:
        channels = [(values >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
        values = np.stack(channels, axis=-1)  # (D, H, W, 3)
    _write(path, values)


def suffix_for(image: NDArray[Any]) -> str | None:
    """The suffix of a picture that keeps an image (D, C, H, W) exactly, None where there is none.

    PNG holds a slice of 8- or 16-bit grey or 8-bit RGB; TIFF several, and 32-bit grey too.

    >>> suffix_for(np.zeros((1, 3, 4, 4), np.uint8)), suffix_for(np.zeros((2, 1, 4, 4), np.float32))
    ('.png', '.tif')
    """
    slices, channels = image.shape[:2]
    kinds = {1: ("uint8", "uint16", "int32", "float32"), 3: ("uint8",)}.get(channels, ())
    if image.dtype.name not in kinds:
        return None
    return ".png" if slices == 1 and image.dtype.kind == "u" else ".tif"


def write_image(path: Path, image: NDArray[Any], grid: Grid, like: Path | None) -> None:
    """Write an image (D, C, H, W) as a picture of ``suffix_for``, atomically.

    ``grid`` and ``like`` have no meaning for pictures.
    """
    _write(path, image[:, 0] if image.shape[1] == 1 else image.transpose(0, 2, 3, 1))


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str],
) -> tuple[Path, ...]:
    """Write probabilities (K, D, H, W) as 16-bit grey, 65535 = 1; a file per class if K > 1.

    Returns:
        The files: ``path``, or ``NAME.CLASS.png`` beside it for each class.
    """
    paths: tuple[Path, ...] = (path,)
    if len(probs) > 1:
        paths = tuple(path.with_name(f"{path.stem}.{name}{path.suffix}") for name in classes)
    for file, values in zip(paths, probs, strict=True):
        _write(file, np.rint(values * 65535).astype(np.uint16))
    return paths


def _read(path: Path, page: Callable[[ImageFile.ImageFile, Path], NDArray[Any]]) -> NDArray[Any]:
    """Open a picture, turn each page into an array and stack them."""
    with errors_named(path, KINDS), _bombs_named(path), Image.open(path, formats=READ) as picture:
        frames = int(getattr(picture, "n_frames", 1))
        if frames > 1 and picture.format == "PNG":
            raise DataError(f"{path} is an animation of {frames} pictures. Save a single one.")
        frames = frames if picture.format == "TIFF" else 1
        size = picture.size
        if min(size) == 0:
            raise DataError(f"{path} has no pixels: it is {size[1]}x{size[0]}. Write it anew.")
        arrays = []
        for index in range(frames):
            picture.seek(index)
            if picture.size != size:
                raise ShapeError(
                    f"{path}: page {index + 1} is {picture.size[1]}x{picture.size[0]}, page 1 is "
                    f"{size[1]}x{size[0]}. Slices of one volume must have one size; save a "
                    "thumbnail or other picture as a file of its own."
                )
            _check_page(picture, path)
            arrays.append(page(picture, path))
        if len({array.shape for array in arrays}) > 1:
            raise DataError(f"{path} mixes grey and colour pages. Save all pages as one kind.")
        return np.stack(arrays)  # (D, H, W) or (D, H, W, 3)


@contextmanager
def _bombs_named(path: Path) -> Iterator[None]:
    """Say how to read a picture that is larger than Pillow expects."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path} claims more pixels than pictures have ({error}). Cut it into tiles; if the "
            "size is right, raise PIL.Image.MAX_IMAGE_PIXELS in a Python script."
        ) from error


def _check_page(picture: ImageFile.ImageFile, path: Path) -> None:
    """Refuse what would be changed in silence."""
    if "16" in _raw_mode(picture) and not picture.mode.startswith("I"):
        raise DataError(
            f"{path} has 16 bits per colour channel, of which only 8 would be read. Save it as "
            "8-bit RGB or as 16-bit grey."
        )
    turned = picture.getexif().get(EXIF_ORIENTATION, 1)
    if picture.format != "TIFF" and turned not in (0, 1):  # Pillow turns TIFF itself
        raise DataError(
            f"{path} is stored turned (EXIF orientation {turned}), so its mask could lie either "
            "way. Save it upright, without that tag."
        )


def _raw_mode(picture: ImageFile.ImageFile) -> str:
    """How the pixels are stored, such as ``RGB;16B``; empty where the format does not say."""
    if not picture.tile:
        return ""
    args = picture.tile[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _image_page(picture: Image.Image, path: Path) -> NDArray[Any]:
    """Pixels (H, W) of a grey picture, (H, W, 3) of a colour picture."""
    mode = picture.mode
    if mode == "P":
        transparent = "transparency" in picture.info
        pixels = _image_page(picture.convert("RGBA" if transparent else "RGB"), path)
        return pixels[..., 0] if pixels.ndim == 3 and _is_grey(pixels) else pixels
    pixels = np.asarray(picture)
    if mode == "1":
        return pixels.astype(np.uint8) * np.uint8(255)
    if mode in ("L", "RGB", "I", "F") or mode.startswith("I;16"):
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if mode in ("LA", "RGBA"):
        if (pixels[..., -1] != 255).any():
            raise DataError(
                f"{path} has transparent pixels, whose colour is undefined. Save it without an "
                "alpha channel."
            )
        return pixels[..., 0] if mode == "LA" else pixels[..., :3]
    raise DataError(f"{path} is a picture of kind {mode!r}; save it as 8- or 16-bit grey or RGB.")


def _greys(picture: Image.Image, path: Path) -> NDArray[Any]:
    """Grey values or palette indices (H, W) of a mask."""
    if picture.mode == "P":
        return np.asarray(picture)
    pixels = _image_page(picture, path)
    if pixels.ndim == 2:
        return pixels
    if _is_grey(pixels):
        return pixels[..., 0]
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:8]
    shown = [f"#{bytes(colours[i].tolist()).hex()} ({counts[i]} px)" for i in order]
    raise DataError(
        f"{path} is an RGB mask with {len(colours)} colours ({', '.join(shown)}"
        f"{', ...' if len(colours) > 8 else ''}), but data.label_map names grey values. Name the "
        "colours there, as in {lesion: ['#ff0000']}."
    )


def _colours(picture: Image.Image, path: Path) -> NDArray[np.int32]:
    """Colours 0xRRGGBB (H, W) of a mask; a grey value v is the colour (v, v, v)."""
    pixels = _image_page(picture, path)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{path} is a grey mask of type {pixels.dtype}, but data.label_map names colours. "
            "State its grey values there, as in {lesion: [1]}."
        )
    rgb = pixels.astype(np.int32)
    if rgb.ndim == 2:
        return rgb * 0x010101
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


def _is_grey(pixels: NDArray[Any]) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _write(path: Path, values: NDArray[Any]) -> None:
    """Save (D, H, W) or (D, H, W, 3) in the format of the suffix."""
    kind = WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"{path.name} cannot be written: masks and probabilities are saved as "
            f"{', '.join(WRITTEN)}, formats that keep every value."
        )
    if kind != "TIFF" and len(values) > 1:
        raise DataError(f"{path.name}: {kind} holds one slice, not {len(values)}. Use .tif.")
    if kind == "BMP" and values.dtype != np.uint8:
        raise DataError(f"{path.name}: BMP holds 8 bits, the values need 16. Use .png or .tif.")
    first, *others = [Image.fromarray(np.ascontiguousarray(page)) for page in values]
    options: dict[str, Any] = {}
    if kind == "TIFF":
        options = {"save_all": True, "append_images": others, "compression": "tiff_deflate"}
    with atomic_path(path) as temporary:
        first.save(temporary, format=kind, **options)
