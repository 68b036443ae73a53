"""Random changes of training slices: the numbers are drawn first, then a pure function is applied.

A ``Change`` holds every number, so what happened to a slice can be printed, stored and repeated.
Image and mask go through one and the same affine map in a single resampling, the image bilinear,
the mask nearest; what the map fetches from outside the slice is 0 (the lower window bound).

Sources: paper, Section IV-B, for ``covid-paper`` and ``cardiac-paper``; what it leaves open
(distributions, probabilities, the place of the crop) is chosen here and said where it is drawn.
Order: Change, apply, the parts of a map, one draw function per preset, AUGMENTATIONS, augment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosslinknet.errors import ShapeError, UsageError, suggest
from crosslinknet.labels import shown_in

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]
Shown = NDArray[np.bool_]
Size = tuple[int, int]  # (H, W)
Rng = np.random.Generator
Affine = NDArray[np.float64]  # (3, 3), maps (y, x, 1) of the result to (y, x, 1) of the source

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Change:
    """What happens to one slice. The default is: nothing.

    Attributes:
        source: (a, b, c, d, e, f); a point (y, x) of the result shows what lies in the source
            at (a y + b x + c, d y + e x + f). Pixel edges: the first centre is (0.5, 0.5).
        gamma: exponent of the intensities, which lie in [0, 1].
        contrast: factor on the distance to the slice's mean.
        brightness: added afterwards.
        noise: standard deviation of white Gaussian noise.
        noise_seed: seed of that noise.
    """

    source: tuple[float, ...] = IDENTITY
    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0


def apply(change: Change, image: Floats, labels: Codes) -> tuple[Floats, Codes]:
    """Change a slice and its mask; the same change gives the same arrays.

    Args:
        change: what to do.
        image: (C, H, W) in [0, 1].
        labels: (H, W) class codes, or (K, H, W) soft labels.

    Returns:
        New arrays of the same shapes, the image in [0, 1]. Intensities change before the
        map, so that the filling outside the source stays exactly 0.
    """
    image = _intensities(change, image)  # (C, H, W)
    if change.source == IDENTITY:
        return image.copy(), labels.copy()
    maps = [_resample(channel, change.source, Image.Resampling.BILINEAR) for channel in image]
    planes = labels.reshape(-1, *labels.shape[-2:])  # (1 or K, H, W)
    moved = [_resample(plane, change.source, Image.Resampling.NEAREST) for plane in planes]
    return np.stack(maps), np.stack(moved).reshape(labels.shape)


def _intensities(change: Change, image: Floats) -> Floats:
    """Gamma, contrast, brightness and noise, cut to [0, 1]; untouched if there is none of them."""
    start = image
    if change.gamma != 1:
        image = np.clip(image, 0, 1) ** np.float32(change.gamma)
    if change.contrast != 1 or change.brightness != 0:
        mean = image.mean(dtype=np.float64)
        image = image * np.float32(change.contrast) + np.float32(
            mean * (1 - change.contrast) + change.brightness
        )
    if change.noise > 0:
        rng = np.random.default_rng(change.noise_seed)
        image = image + np.float32(change.noise) * rng.standard_normal(image.shape, np.float32)
    return image if image is start else np.clip(image, 0, 1)


def _resample(
    plane: NDArray[Any], source: tuple[float, ...], method: Image.Resampling
) -> NDArray[Any]:
    """Fetch each pixel of the result from its place in the source; (H, W) float32 or uint8."""
    a, b, c, d, e, f = source
    picture = Image.fromarray(np.ascontiguousarray(plane))
    columns_first = (e, d, f, b, a, c)  # Pillow says x before y
    return np.array(picture.transform(picture.size, Image.Transform.AFFINE, columns_first, method))


# The parts of a map. They are chained from the result back to the source: the first factor of a
# product is what happens to the slice first. Turning, mirroring: about the centre of the slice.


def _about(centre: tuple[float, float], linear: NDArray[np.float64]) -> Affine:
    """A linear map (2, 2) that leaves the point ``centre`` (y, x) where it is."""
    affine = np.eye(3)
    affine[:2, :2] = linear
    affine[:2, 2] = np.array(centre) - linear @ np.array(centre)
    return affine


def _rotation(degrees: float, size: Size) -> Affine:
    """Turn the slice anticlockwise, as seen on the screen."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _about((size[0] / 2, size[1] / 2), np.array([[cos, sin], [-sin, cos]]))


def _mirror(flip: bool, size: Size) -> Affine:
    """Swap left and right, or leave the slice as it is."""
    return _about((size[0] / 2, size[1] / 2), np.diag([1.0, -1.0 if flip else 1.0]))


def _window(zoom: float, centre: tuple[float, float], size: Size) -> Affine:
    """Fill the result with the part of the slice around ``centre`` (y, x), ``zoom`` times larger.

    A part that would reach over the slice's edge is moved inside. When the slice becomes smaller
    than the result (zoom < 1), it lies in the middle.
    """
    affine = np.diag([1 / zoom, 1 / zoom, 1.0])
    for axis, (point, length) in enumerate(zip(centre, size, strict=True)):
        room = length - length / zoom  # how far the part can move; negative: padding
        affine[axis, 2] = min(max(point - length / zoom / 2, 0), room) if room > 0 else room / 2
    return affine


def _flat(affine: Affine) -> tuple[float, ...]:
    """The six numbers of ``Change.source``."""
    return tuple(affine[:2].ravel().tolist())


def _perhaps(rng: Rng, probability: float, low: float, high: float, otherwise: float) -> float:
    """A uniform number with ``probability``, else ``otherwise``; always consumes two numbers."""
    value = rng.uniform(low, high)
    return value if rng.random() < probability else otherwise


def _draw_map(
    rng: Rng, size: Size, probability: float, degrees: float, zoom: tuple[float, float]
) -> tuple[float, ...]:
    """Flip, rotation, zoom with a crop at a random place, each with ``probability``."""
    flip = rng.random() < probability
    angle = _perhaps(rng, probability, -degrees, degrees, otherwise=0.0)
    factor = _perhaps(rng, probability, *zoom, otherwise=1.0)
    half, at = (size[0] / factor / 2, size[1] / factor / 2), rng.random(2)
    y, x = (h + a * (n - 2 * h) for h, a, n in zip(half, at, size, strict=True))
    return _flat(_mirror(flip, size) @ _rotation(angle, size) @ _window(factor, (y, x), size))


# The presets: (rng, (H, W), where a label is shown (H, W), probability of each kind of
# change) -> Change.


def draw_none(rng: Rng, size: Size, shown: Shown, probability: float) -> Change:
    """Leave the slice as it is."""
    return Change()


def draw_light(rng: Rng, size: Size, shown: Shown, probability: float) -> Change:
    """Small changes of place and grey value; all of it chosen here, a good first choice.

    Rotation U[-15, 15] degrees, zoom U[0.85, 1.2], horizontal flip, gamma U[0.8, 1.25],
    contrast U[0.85, 1.15], brightness U[-0.1, 0.1], noise U[0, 0.03]; each with ``probability``.
    The flip is wrong anatomy for organs that lie on one side (heart, liver). It stays, since
    it helps where a target is told by its texture; choose ``none`` where the side matters.
    """
    return Change(
        source=_draw_map(rng, size, probability, degrees=15, zoom=(0.85, 1.2)),
        gamma=_perhaps(rng, probability, 0.8, 1.25, otherwise=1.0),
        contrast=_perhaps(rng, probability, 0.85, 1.15, otherwise=1.0),
        brightness=_perhaps(rng, probability, -0.1, 0.1, otherwise=0.0),
        noise=_perhaps(rng, probability, 0.0, 0.03, otherwise=0.0),
        noise_seed=int(rng.integers(2**32)),
    )


def draw_covid_paper(rng: Rng, size: Size, shown: Shown, probability: float) -> Change:
    """Zoom [0.5, 1.75], rotation [-30, 30] degrees, horizontal flip. Paper, Section IV-B.

    A smaller slice is padded with zeros all around, a larger one cropped at a random place.
    Uniform and on the fly, each with ``probability``. [choice]
    """
    return Change(source=_draw_map(rng, size, probability, degrees=30, zoom=(0.5, 1.75)))


def draw_cardiac_paper(rng: Rng, size: Size, shown: Shown, probability: float) -> Change:
    """One of four views: original, enlarged twice, turned by +8, by -8 degrees. Section IV-B.

    The four are equally likely, as the authors' copies on disk are, so ``probability`` plays no
    part. The enlarged view is cut around the middle of the label box (of the slice, where
    nothing is labelled), moved by up to 32 of its own pixels and kept inside the slice. [choice]
    """
    view = rng.integers(4)
    jitter = rng.integers(-32, 33, size=2) / 2  # whole pixels of the enlarged view
    if view == 1:
        y, x = (m + j for m, j in zip(_middle(shown), jitter, strict=True))
        return Change(source=_flat(_window(2.0, (y, x), size)))
    return Change(source=_flat(_rotation((0, 0, 8, -8)[view], size)))


def _middle(shown: Shown) -> tuple[float, float]:
    """Middle (y, x) of the box around all labels, in pixel edges."""
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return shown.shape[0] / 2, shown.shape[1] / 2
    return (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2


Draw = Callable[[Rng, Size, Shown, float], Change]

AUGMENTATIONS: dict[str, Draw] = {
    "none": draw_none,
    "light": draw_light,
    "covid-paper": draw_covid_paper,
    "cardiac-paper": draw_cardiac_paper,
}


def augment(
    image: Floats, labels: Codes, preset: str, probability: float, seed: tuple[int, ...]
) -> tuple[Floats, Codes]:
    """Draw a change from ``preset`` and apply it to one training slice.

    Args:
        image: (C, H, W) in [0, 1].
        labels: (H, W) class codes, 0 is background; or (K, H, W) soft labels, 255 is certainty.
        preset: a key of AUGMENTATIONS.
        probability: of each kind of change, in [0, 1].
        seed: numbers >= 0, such as (seed, epoch, index); nothing else decides the result, so
            it does not depend on the number of workers or on the order of the slices.

    Returns:
        Image and labels of the same shapes and dtypes; new arrays, the inputs stay as they are.

    Raises:
        UsageError: the preset is unknown.
        ShapeError: image and labels differ in height or width.

    >>> image, codes = np.ones((1, 4, 4), np.float32), np.zeros((4, 4), np.uint8)
    >>> augment(image, codes, "cardiac-paper", 0.5, seed=(0, 0, 7))[0].shape
    (1, 4, 4)
    """
    if preset not in AUGMENTATIONS:
        raise UsageError(f"augment.preset {preset!r} is unknown{suggest(preset, AUGMENTATIONS)}")
    if image.shape[1:] != labels.shape[-2:]:
        raise ShapeError(
            f"the image is {image.shape} (channels, height, width), its mask {labels.shape}. Both "
            "must have one height and width; fit image and mask with the same placement."
        )
    height, width = labels.shape[-2:]
    rng = np.random.default_rng(seed)
    change = AUGMENTATIONS[preset](rng, (height, width), shown_in(labels), probability)
    return apply(change, image, labels)
