"""A first config, filled from the data: what the files say goes in, what they cannot say is asked.

Nothing is guessed in silence: every choice is printed with its reason, and the config can be
read and changed before anything is trained.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from crosslinknet.config import DataConfig, override, parse_config, to_yaml
from crosslinknet.datasets import Found, find_cases
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import write_text
from crosslinknet.readers import count_values, read_image

LOOKED_AT = 40  # cases that are opened; evenly spread over the set
VOLUME_AXIS = "axial"
LARGEST_SIDE = 512  # larger slices are proposed to be scaled down


def init(data: Path, out: Path, settings: tuple[str, ...] = (), force: bool = False) -> list[str]:
    """Look at a data set and write a commented config.

    Args:
        data: folder, or CSV manifest.
        out: config file to write.
        settings: ``key=value`` texts that win over what is proposed.
        force: replace an existing file.

    Returns:
        What was found and chosen, a sentence each.

    Raises:
        UsageError: ``out`` exists and ``force`` is off.
        DataError: nothing there that can be read as a data set.
    """
    if out.exists() and not force:
        raise UsageError(f"{out} exists. Choose another -o, or replace it with --force.")
    root: dict[str, Any] = {"root": str(data.resolve())}
    if data.is_file():
        root = {"root": str(data.parent.resolve()), "images": data.name, "layout": "csv"}
    content = override({"data": root}, tuple(s for s in settings if s.startswith("data.")))
    given = content["data"]
    found = find_cases(parse_config({"data": given}).data)
    files = spread(found)
    told = [
        f"{len(found.cases)} cases, layout {found.layout}, subjects by {found.subject_rule}",
        *found.notes,
    ]

    image, sentences = look_at_images(found, files)
    told += sentences
    if "label_map" not in given:
        given["label_map"], sentence = look_at_masks(
            found, files, parse_config({"data": given}).data
        )
        told.append(sentence)
    subjects = len({case.subject for case in found.cases})
    proposal: dict[str, Any] = {"data": given, "image": image}
    proposal["split"] = {"folds": min(3, max(2, subjects))}
    proposal["output"] = {"name": out.stem}
    config = parse_config(override(proposal, settings))
    write_text(out, to_yaml(config))
    return told


def spread(found: Found) -> list[int]:
    """Indices of the cases that are opened."""
    count = len(found.cases)
    return sorted(set(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int).tolist()))


def look_at_images(found: Found, indices: list[int]) -> tuple[dict[str, Any], list[str]]:
    """Size, channels and intensities: the ``image`` section and why."""
    sizes, channels, kinds = Counter[tuple[int, int]](), Counter[int](), Counter[str]()
    low, high = math.inf, -math.inf
    for index in indices:
        parts = [read_image(p, VOLUME_AXIS)[0] for p in found.cases[index].images]  # type: ignore[arg-type]
        sizes[parts[0].shape[2:]] += 1  # (D, C, H, W)
        channels[sum(p.shape[1] for p in parts)] += 1
        kinds[str(parts[0].dtype)] += 1
        low = min(low, *(float(p.min()) for p in parts))
        high = max(high, *(float(p.max()) for p in parts))
    if len(channels) > 1:
        raise DataError(
            f"the images have different numbers of channels ({dict(channels)}). Convert them to "
            "one kind, all grey or all colour."
        )
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    side = min(LARGEST_SIDE, max(32, 32 * math.ceil(max(height, width) / 32)))
    same = len(sizes) == 1 and max(height, width) <= LARGEST_SIDE
    size = [max(32, 32 * math.ceil(n / 32)) for n in (height, width)] if same else [side, side]
    fit = "pad" if same else "letterbox"
    picture = set(kinds) <= {"uint8"}
    window = "dtype" if picture else "percentile"
    told = [
        f"sizes {_listed(sizes)}: image.size {size[0]}x{size[1]}, image.fit {fit}",
        f"{', '.join(kinds)}, {low:g} to {high:g}, {next(iter(channels))} channel(s): "
        f"image.window {window}",
    ]
    if low < -500 and not picture:
        told.append(
            "These look like Hounsfield units: for CT set image.window to lung, kidney or [lo, hi]."
        )
    return {"size": size, "fit": fit, "channels": next(iter(channels)), "window": window}, told


def look_at_masks(
    found: Found, indices: list[int], data: DataConfig
) -> tuple[dict[str, list[int | str]], str]:
    """Values of the masks: the label_map and why."""
    if found.label_values:
        named = {name: list[int | str](values) for name, values in found.label_values.items()}
        return named, f"label_map {named}, as the data set states"
    counts: Counter[int | str] = Counter()
    for index in indices:
        mask = found.cases[index].mask
        if mask is not None and mask.suffix.lower() not in (".jpg", ".jpeg"):
            counts.update(count_values(mask))
    if not counts or data.threshold is not None:
        return {"foreground": [1]}, "label_map: what lies above data.threshold is the foreground"
    values = sorted((v for v in counts if v not in (0, "#000000")), key=str)
    if not values:
        raise DataError(
            f"the {len(indices)} masks that were opened are all empty (value 0 only). Check that "
            "these are the masks, and data.masks."
        )
    if len(values) > 12:
        raise DataError(
            f"the masks hold {len(values)} different values, so they are grey pictures rather than "
            "labels. State where the target begins, such as -s data.threshold=127, or write the "
            "label_map yourself."
        )
    names = ["foreground"] if len(values) == 1 else [f"class_{v}".replace("#", "") for v in values]
    label_map: dict[str, list[int | str]] = {n: [v] for n, v in zip(names, values, strict=True)}
    pixels = ", ".join(f"{v}: {n}" for v, n in counts.most_common())
    return (
        label_map,
        f"mask values and pixels in {len(indices)} masks: {pixels}; label_map {label_map}",
    )


def _listed(sizes: Counter[tuple[int, int]]) -> str:
    some = [f"{h}x{w}" for (h, w), _ in sizes.most_common(3)]
    return ", ".join(some) + (f" and {len(sizes) - 3} more" if len(sizes) > 3 else "")
