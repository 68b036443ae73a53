"""Findings about images: values, number types, channels, spacing; named in IMAGES."""

from collections import Counter

import numpy as np

from crosslinknet.curation.findings import Facts, Kind, Seen, says

UNEVEN = 1.5  # spacings that differ by more


def constant(facts: Facts) -> Seen | None:
    """Images of one grey value."""
    flat = [case for case, image in facts.images if image.low == image.high]
    if not flat:
        return None
    text = f"{says(len(flat), 'image', 'hold')} one grey value everywhere: there is nothing to see."
    return Seen(text, facts.at_images(flat), "export these images again, or leave the cases out")


def channels(facts: Facts) -> Seen | None:
    """Numbers of channels that do not go together."""
    numbers = Counter(image.channels for _, image in facts.images)
    if len(numbers) < 2 or set(numbers) == {1, 3}:  # grey beside colour is repeated
        return None
    usual = numbers.most_common(1)[0][0]
    text = ", ".join(f"{number} in {cases}" for number, cases in numbers.most_common())
    return Seen(
        f"The images have different numbers of channels: {text}.",
        facts.at_images(case for case, image in facts.images if image.channels != usual),
        "convert them to one kind",
    )


def kinds(facts: Facts) -> Seen | None:
    """Number types that do not go together."""
    types = Counter(image.kind for _, image in facts.images)
    if len(types) < 2:
        return None
    text = ", ".join(f"{kind} in {cases}" for kind, cases in types.most_common())
    usual = types.most_common(1)[0][0]
    return Seen(
        f"The images have different number types: {text}.",
        facts.at_images(case for case, image in facts.images if image.kind != usual),
        "a window that fits all of them: -s image.window=percentile, or [low, high]",
    )


def dark(facts: Facts) -> Seen | None:
    """16-bit images that use little of their range."""
    deep = [image for _, image in facts.images if image.kind == "uint16"]
    if not deep or len(deep) < len(facts.images) or facts.config.image.window != "dtype":
        return None
    high = max(image.high for image in deep)
    if high >= 2**13:
        return None
    return Seen(
        f"The images are 16-bit files whose largest value is {high:g}: with image.window dtype, "
        "which makes 65535 white, they would be nearly black.",
        cure=f"xln init chooses percentile; or -s 'image.window=[0, {high:g}]'",
    )


def spacings(facts: Facts) -> Seen | None:
    """Pixels of very different sizes."""
    steps = [image.spacing[1:] for _, image in facts.images if image.spacing is not None]
    if not steps or not (np.max(steps, axis=0) > UNEVEN * np.min(steps, axis=0)).any():
        return None
    low, high = np.min(steps), np.max(steps)
    return Seen(
        f"Pixels measure {low:.3g} to {high:.3g} mm. Slices are not resampled: the network sees "
        "the same organ at different sizes.",
        cure="resample first, or let augmentation cover the range",
    )


IMAGES: dict[str, Kind] = {
    "channels": Kind("error", channels),
    "constant": Kind("warning", constant),
    "kinds": Kind("hint", kinds),
    "dark": Kind("hint", dark),
    "spacing": Kind("hint", spacings),
}
