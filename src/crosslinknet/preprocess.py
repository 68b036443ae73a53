"""From a case as read to the network's input: grey values to [0, 1], slices to one size, and back.

Order: normalise (values), fit_image and fit_mask (size), unfit (the way back).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosslinknet.case import Case
from crosslinknet.config import WINDOWS, ImageConfig
from crosslinknet.errors import DataError
from crosslinknet.geometry import Placement, overlap

PERCENTILES = (0.5, 99.5)
LARGEST = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}  # window 'dtype'


def normalise(case: Case, config: ImageConfig) -> Case:
    """Bring channels and grey values to what the network expects.

    Args:
        case: as read.
        config: ``channels`` and ``window``. The windows ``percentile`` and ``minmax`` look at
            each channel of the whole case; a constant channel becomes 0.

    Returns:
        The case with image (D, C, H, W) float32 in [0, 1].

    Raises:
        DataError: another number of channels; a window that has no meaning for these values.
    """
    image = _channels(case.image, config.channels, case.id)  # (D, C, H, W)
    low, high = _window(image, config.window, case.id)  # float64, () or (C, 1, 1)
    width = np.where(high > low, high - low, np.inf)
    scaled = image.astype(np.float32)
    scaled -= low.astype(np.float32)
    scaled *= (1.0 / width).astype(np.float32)
    return replace(case, image=np.clip(scaled, 0.0, 1.0, out=scaled))


def fit_image(image: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Bring slices (D, C, H, W) to the input size (D, C, H', W').

    Scaling is bilinear, with a wider kernel where it shrinks (no aliasing); padding is 0.
    """
    return _fit(image, placement, Image.Resampling.BILINEAR)


def fit_mask(codes: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Bring codes (D, H, W) to the input size (D, H', W'): nearest pixel, padding is 0."""
    return _fit(codes, placement, Image.Resampling.NEAREST)


def unfit(maps: NDArray[np.float32], placement: Placement, fill: float) -> NDArray[np.float32]:
    """Bring maps (K, D, H', W') of the input back to the source grid (K, D, H, W).

    Scaling is bilinear. Padding is cut away before, so it never bleeds in; source pixels that
    the input did not show get ``fill``.
    """
    (top, left), (rows, columns) = overlap(placement)
    scaled = np.full((*maps.shape[:-2], *placement.scaled), fill, dtype=np.float32)
    scaled[..., top, left] = maps[..., rows, columns]  # (K, D, h, w)
    return _resize(scaled, placement.source, Image.Resampling.BILINEAR)


def _fit(planes: NDArray[Any], placement: Placement, how: Image.Resampling) -> NDArray[Any]:
    scaled = _resize(planes, placement.scaled, how)  # (..., h, w)
    (top, left), (rows, columns) = overlap(placement)
    fitted = np.zeros((*planes.shape[:-2], *placement.size), dtype=planes.dtype)
    fitted[..., rows, columns] = scaled[..., top, left]
    return fitted


def _resize(planes: NDArray[Any], size: tuple[int, int], how: Image.Resampling) -> NDArray[Any]:
    """Resize the last two axes; pixel edges, not centres, keep their place."""
    if planes.shape[-2:] == size:
        return planes
    resized = np.empty((*planes.shape[:-2], *size), dtype=planes.dtype)
    for index in np.ndindex(planes.shape[:-2]):
        plane = Image.fromarray(np.ascontiguousarray(planes[index]))  # modes F and L
        resized[index] = np.asarray(plane.resize((size[1], size[0]), how))
    return resized


def _channels(image: NDArray[Any], channels: int, name: str) -> NDArray[Any]:
    """(D, C, H, W) with the number of channels that the network takes."""
    found = image.shape[1]
    if found == channels:
        return image
    if found == 1 and channels == 3:
        return np.repeat(image, 3, axis=1)
    if channels == 1 and (image == image[:, :1]).all():
        return image[:, :1]  # grey, stored as colour
    if found == 3 and channels == 1:
        raise DataError(
            f"{name}: the image is in colour (3 channels), image.channels is 1. Set "
            "image.channels: 3, or convert the images to grey."
        )
    raise DataError(
        f"{name}: the number of channels is {found} in the image, {channels} in image.channels. "
        f"Set image.channels: {found}, or give one file per channel."
    )


def _window(
    image: NDArray[Any], window: str | tuple[float, float], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values that become 0 and 1, as numbers or (C, 1, 1) each."""
    if window == "dtype":
        if image.dtype not in LARGEST:
            raise DataError(
                f"{name}: image.window 'dtype' is made for 8- and 16-bit pictures, the image is "
                f"{image.dtype} from {image.min():g} to {image.max():g}. State what becomes 0 "
                "and 1: lung or kidney (CT in HU), percentile (MR), minmax, or [low, high]."
            )
        return np.array(0.0), np.array(LARGEST[image.dtype])
    if window in WINDOWS and np.issubdtype(image.dtype, np.unsignedinteger):
        raise DataError(
            f"{name}: image.window {window!r} is in HU, where air is -1000, but the image is "
            f"{image.dtype} and holds no negative number: a window or an offset was applied "
            "before. Use image.window: dtype, percentile, or [low, high] in the file's own values."
        )
    if window == "percentile":
        low, high = np.percentile(image, PERCENTILES, axis=(0, 2, 3), keepdims=True)  # (1, C, 1, 1)
        return low[0], high[0]
    if window == "minmax":
        limits = (f(image, axis=(0, 2, 3))[:, None, None] for f in (np.min, np.max))
        low, high = (limit.astype(np.float64) for limit in limits)  # (C, 1, 1)
        return low, high
    low, high = WINDOWS[window] if isinstance(window, str) else window
    return np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
