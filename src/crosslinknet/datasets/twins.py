"""Twins of the paper's sets: small, made up, with files, axes, types and traps of the originals.

Who has no right to a set, or no time for it, runs the very code that reads it. Pixels are phantoms
(``phantoms.py``), so the masks are exact; slices are smaller than the real ones and fewer.
Order: make_twin, a function per set, TWINS, then volumes, pictures and outlines.
"""
# mypy: disable-error-code="no-untyped-call"
# nibabel's functions carry no types.

import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates  # type: ignore[attr-defined]  # scipy has no types

from crosslinknet.config import WINDOWS
from crosslinknet.errors import SystemProblem, UsageError, suggest
from crosslinknet.files import atomic_path, write_bytes, write_json
from crosslinknet.phantoms import make_phantom

SIZE = (64, 64)
WIDE = (64, 100)  # as 512 x 796 of case 160
RUN = 5  # slices of one made-up person in the stack of COVID19-I
FRAMES, DEPTH = 3, 4  # of the heart
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]  # of the masks of COVID-SemiSeg: black, red, green


def make_twin(name: str, out: Path, subjects: int = 6, seed: int = 0) -> None:
    """Write the twin of a set into a new folder; all of it, or nothing.

    Args:
        name: a key of TWINS.
        out: folder, which must not exist or be empty.
        subjects: number of made-up persons, 3 or more.
        seed: another one gives other persons.

    Raises:
        UsageError: unknown name, too few subjects, or something is in the folder already.
        SystemProblem: the folder cannot be written.
    """
    if name not in TWINS:
        raise UsageError(f"there is no twin of {name!r}{suggest(name, TWINS)}")
    if subjects < 3 or seed < 0:
        raise UsageError(
            f"a twin of {subjects} subjects with seed {seed} cannot be made; three folds need 3 "
            "subjects or more, and a seed is 0 or more."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not empty. Choose another -o; nothing is replaced.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".tmp-", dir=out.parent))
    except OSError as error:
        raise SystemProblem(f"{out} cannot be made ({error.strerror}).") from error
    try:
        TWINS[name](unfinished, subjects, seed)
        unfinished.chmod(0o755)
        unfinished.replace(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def covid19_i(folder: Path, subjects: int, seed: int) -> None:
    """MedSeg's stack: floats, slices on the last axis, one slice without labels, no groups."""
    images, masks = _volume("lung", SIZE, range(subjects), RUN, seed)  # (D, H, W)
    masks[len(masks) // 2] = 0
    for name, voxels in (("tr_im", np.rint(images)), ("tr_mask", masks)):
        _save_lps(folder / f"{name}.nii.gz", voxels.astype(np.float32), (1.0, 1.0, 1.0))


def covid19_i_infnet(folder: Path, subjects: int, seed: int) -> None:
    """Inf-Net's COVID-SemiSeg: JPG slices of many sizes, palette masks, a binary copy, edges."""
    images, masks = _volume("lung", SIZE, range(subjects), RUN, seed)
    low, high = WINDOWS["lung"]
    grey = np.rint(np.clip((images - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    top = folder / "Dataset"
    for index, (image, mask) in enumerate(zip(grey, masks, strict=True)):
        test = index % 2 == 1  # the real set's parts are mixed along the stack, too
        cut = np.s_[index % 7 :, : SIZE[1] - index % 5]  # cropped to the lungs, each its own way
        image, mask = image[cut].T, mask[cut].T  # stored lying on the side
        several = top / ("TestingSet" if test else "TrainingSet")
        several = several / f"MultiClassInfection-{'Test' if test else 'Train'}"
        single = several.with_name(several.name.replace("MultiClass", "Lung"))
        if not test:
            single = single / "Doctor-label"
        binary = (mask > 0).astype(np.uint8) * np.uint8(255)
        inside = binary.astype(bool)
        inside[1:-1, 1:-1] &= inside[2:, 1:-1] & inside[:-2, 1:-1]
        for part in (several, single):
            _save_picture(part / "Imgs" / f"{index}.jpg", image)
        _save_picture(several / "GT" / f"{index}.png", mask, PALETTE)
        _save_picture(single / "GT" / f"{index}.png", binary)
        if test:
            for value in (1, 2):
                only = (mask == value).astype(np.uint8) * np.uint8(255)
                _save_picture(several / f"GT-{value}" / f"{index}.png", only)
        else:
            _save_picture(several / "Prior" / f"{index}.png", binary)
            edge = np.where(inside, 0, binary).astype(np.uint8)
            _save_picture(single / "Edge" / f"{index}.png", edge)


def covid19_volumes(folder: Path, subjects: int, seed: int) -> None:
    """A folder per subject: int16 CT in HU and labels, 2 to 5 slices of 5 mm."""
    for subject in range(subjects):
        images, masks = _volume("lung", SIZE, [subject], 2 + subject % 4, seed)
        place = folder / f"subject_{subject + 1:03d}"
        _save_lps(place / "ct.nii.gz", np.rint(images).astype(np.int16), (5.0, 5.0, 5.0))
        _save_lps(place / "infection.nii.gz", masks, (5.0, 5.0, 5.0))


def kits19(folder: Path, subjects: int, seed: int) -> None:
    """Slices on the first axis (I, P, L); one case is wider, one doubtful, one without labels."""
    numbers = [0, 15, 160, *(n for n in range(1, 160) if n != 15)][:subjects]
    records = []
    for number in [*numbers, 210]:
        size = WIDE if number == 160 else SIZE
        images, masks = _volume("kidney", size, [number], 3 + number % 3, seed)
        dz = (0.5, 3.0, 5.0)[number % 3]
        dy = dx = 3.6 if number == 160 else (5.5, 6.25, 7.5)[number % 3]
        affine = np.zeros((4, 4))
        affine[[0, 1, 2, 3], [2, 1, 0, 3]] = -dx, -dy, -dz, 1.0
        place = folder / "data" / f"case_{number:05d}"
        _save(place / "imaging.nii.gz", np.rint(images).astype(np.float32), affine)
        if number != 210:
            _save(place / "segmentation.nii.gz", masks, affine)
        spacing = {"x_spacing": dx, "y_spacing": dy, "z_spacing": dz}
        records.append({"case_id": place.name, "voxel_spacing": spacing})
    write_json(folder / "data" / "kits.json", records)


def york_cardiac(folder: Path, subjects: int, seed: int) -> None:
    """Images (y, x, z, t) and outlines {z, t}, some of them not drawn; no spacing.csv."""
    import scipy.io

    for subject in range(subjects):
        images, masks = _volume("heart", SIZE, [subject], FRAMES * DEPTH, seed)
        yxzt = np.rint(images).reshape(FRAMES, DEPTH, *SIZE).transpose(2, 3, 1, 0)
        cells = np.empty((DEPTH, FRAMES), dtype=object)
        for d, mask in enumerate(masks):
            t, z = divmod(d, DEPTH)
            drawn = not (z == DEPTH - 1 or (t == 1 and subject == 0))
            cells[z, t] = _outlines(mask) if drawn else np.array([[-99999.0]])
        files = {
            f"mrimages/sol_yxzt_pat{subject + 1}.mat": {"sol_yxzt": yxzt.astype(np.float64)},
            f"manual_seg/manual_seg_32points_pat{subject + 1}.mat": {"manual_seg_32points": cells},
        }
        for name, variables in files.items():
            with atomic_path(folder / name) as path:
                scipy.io.savemat(path, variables, do_compression=True)  # type: ignore[attr-defined]


TWINS: dict[str, Callable[[Path, int, int], None]] = {
    "covid19-i": covid19_i,
    "covid19-i-infnet": covid19_i_infnet,
    "covid19-volumes": covid19_volumes,
    "kits19": kits19,
    "york-cardiac": york_cardiac,
}


def _volume(
    kind: str, size: tuple[int, int], subjects: Sequence[int], slices: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Phantoms of some subjects, one behind the other: images and masks (D, H, W)."""
    cases = [make_phantom(kind, size, s, i, seed) for s in subjects for i in range(slices)]
    masks = np.concatenate([case.mask for case in cases if case.mask is not None])
    return np.concatenate([case.image[:, 0] for case in cases]), masks.astype(np.uint8)


def _save_lps(path: Path, volume: NDArray[Any], spacing: tuple[float, float, float]) -> None:
    """Write (D, H, W), axial as seen, with the axes x, y, z that point to left, back and head."""
    dz, dy, dx = spacing
    _save(path, volume.transpose(2, 1, 0), np.diag([-dx, -dy, dz, 1.0]))


def _save(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    with atomic_path(path) as temporary:
        nib.save(nib.Nifti1Image(voxels, affine), temporary)


def _save_picture(
    path: Path, pixels: NDArray[np.uint8], palette: Sequence[int] | None = None
) -> None:
    picture = Image.fromarray(pixels)
    if palette is not None:
        picture.putpalette(palette)
    buffer = io.BytesIO()
    if path.suffix == ".jpg":
        picture.save(buffer, "JPEG", quality=95)
    else:
        picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _outlines(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A cell of the set (65, 2): 32 points of cavity and heart, x and y from 1, zeros between."""
    rows = [_border(mask == 2), np.zeros((1, 2)), _border(mask > 0)]
    return np.concatenate(rows)


def _border(shape: NDArray[np.bool_]) -> NDArray[np.float64]:
    """32 points (x, y) from 1, where rays from the centre of a shape leave it."""
    angles = np.arange(32) / 32 * 2 * np.pi
    centre = np.argwhere(shape).mean(axis=0)[:, None, None]
    way = np.stack([np.sin(angles), np.cos(angles)])[:, :, None]  # (2, 32, 1)
    steps = np.arange(0, max(shape.shape), 0.05)
    points = centre + way * steps  # (2, 32, steps)
    inside = map_coordinates(shape.astype(np.float32), points, order=1, mode="constant") > 0.5
    last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    y, x = (centre + way * steps[last][None, :, None])[:, :, 0]
    return np.stack([x, y], axis=1) + 1
