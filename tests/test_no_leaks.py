"""No leaks, proven: no subject and no near-duplicate on both sides, whoever made the folds.

The oracle is a search of its own through a graph of cases; it knows nothing of ``groups_of``.
"""

import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from crosslinknet import duplicates
from crosslinknet.case import CaseFiles
from crosslinknet.config import SplitConfig, parse_config
from crosslinknet.datasets import Found
from crosslinknet.errors import DataError
from crosslinknet.lookalikes import compare_cases
from crosslinknet.runs import plan_run
from crosslinknet.splits import make_splits

LAYOUTS = 2000
FOUND = (100, 300)  # layouts of pixels whose links the finder itself must find; the second is slow
TREES = 12  # layouts that go from picture files through the whole plan
PARTS = ("train", "validation", "test")

Link = tuple[str, str]


def reachable(subject_of: dict[str, str], links: list[Link]) -> dict[str, frozenset[str]]:
    """Case: all cases that one comes to by steps to the same subject or over a link."""
    neighbours = defaultdict(set)
    for a, b in itertools.combinations(subject_of, 2):
        if subject_of[a] == subject_of[b] or (a, b) in links or (b, a) in links:
            neighbours[a].add(b)
            neighbours[b].add(a)
    whole: dict[str, frozenset[str]] = {}
    for case in subject_of:
        if case not in whole:
            seen, todo = {case}, [case]
            while todo:
                new = neighbours[todo.pop()] - seen
                seen |= new
                todo += new
            whole |= dict.fromkeys(seen, frozenset(seen))
    return whole


def leaks(fold, whole: dict[str, frozenset[str]]) -> list[Link]:
    """Pairs of cases in two parts of a fold that must not be divided."""
    return [
        (a, b)
        for one, other in itertools.combinations(PARTS, 2)
        for a in getattr(fold, one)
        for b in getattr(fold, other)
        if b in whole[a]
    ]


def random_layout(rng: np.random.Generator) -> tuple[Found, list[Link]]:
    """Subjects with slices, and planted duplicates: few, many, in chains, within subjects."""
    sizes = rng.integers(1, 5, rng.integers(2, 9))
    cases = [
        CaseFiles(f"p{rng.integers(10**6)}_{subject}_{number}", f"person {subject}", ())
        for subject, size in enumerate(sizes)
        for number in range(size)
    ]
    cases = [cases[place] for place in rng.permutation(len(cases))]
    links = []
    for _ in range(rng.integers(0, 1 + len(sizes) // int(rng.integers(1, 4)))):
        a, b = rng.choice(len(cases), 2, replace=len(cases) < 2)
        if a != b:
            links.append((cases[a].id, cases[b].id))
    return Found("folders", tuple(cases), "file name"), links


def test_no_random_layout_has_a_subject_or_a_near_duplicate_on_both_sides():
    rng = np.random.default_rng(2026)
    seen = Counter()
    for _ in range(LAYOUTS):
        found, links = random_layout(rng)
        subject_of = {case.id: case.subject for case in found.cases}
        whole = reachable(subject_of, links)
        groups, subjects = set(whole.values()), set(subject_of.values())
        config = SplitConfig(
            folds=int(rng.integers(2, 5)),
            seed=int(rng.integers(1000)),
            validation=float(rng.choice([0.0, 0.1, 0.4])),
        )
        seen["joined"] += len(groups) < len(subjects)
        if len(groups) < config.folds:
            seen["too few"] += 1
            with pytest.raises(DataError, match="a subject is never divided"):
                make_splits(found, config, links)
            continue
        splits = make_splits(found, config, links)
        for fold in splits.folds:
            assert leaks(fold, whole) == []
            assert sorted(n for p in PARTS for n in getattr(fold, p)) == sorted(subject_of)
        tested = Counter(name for fold in splits.folds for name in fold.test)
        assert tested == Counter(subject_of.keys())
        without = make_splits(found, config)
        if len(groups) == len(subjects):
            assert splits == without
        elif any(leaks(fold, whole) for fold in without.folds):
            seen["would leak"] += 1
    assert seen["joined"] > LAYOUTS / 4
    assert seen["would leak"] > LAYOUTS / 10
    assert seen["too few"] > LAYOUTS / 50


def test_of_random_given_folds_exactly_those_that_leak_are_refused_with_the_names():
    rng = np.random.default_rng(7)
    seen = Counter()
    for _ in range(LAYOUTS):
        found, links = random_layout(rng)
        subject_of = {case.id: case.subject for case in found.cases}
        whole = reachable(subject_of, links)
        if rng.random() < 0.5:  # at random
            sides = rng.integers(0, 3, len(subject_of))  # train, test, in no fold
        else:  # whole groups, one case moved now and then
            side = {group: rng.integers(0, 2) for group in set(whole.values())}
            sides = np.array([side[whole[name]] for name in subject_of])
            if rng.random() < 0.3:
                sides[rng.integers(len(sides))] ^= 1
        train, test = (
            [n for n, s in zip(subject_of, sides, strict=True) if s == k] for k in (0, 1)
        )
        if not train or not test:
            continue
        given = ((tuple(train), tuple(test)),)
        found = replace(found, splits=given, splits_file=Path("splits_final.json"))
        config = SplitConfig(validation=float(rng.choice([0.0, 0.3])))
        crossing = [(a, b) for a in train for b in test if b in whole[a]]
        if not crossing:
            seen["taken"] += 1
            (fold,) = make_splits(found, config, links).folds
            assert leaks(fold, whole) == []
            assert set(fold.test) == set(test)
            continue
        seen["refused"] += 1
        with pytest.raises(DataError, match=r"stands? in|share near-duplicates") as caught:
            make_splits(found, config, links)
        names = {name for pair in crossing for name in (*pair, *map(subject_of.get, pair))}
        names |= {name for a, _ in crossing for name in whole[a]}
        assert any(f" {name}" in str(caught.value) for name in names)
    assert min(seen.values()) > LAYOUTS / 5


def scene(rng: np.random.Generator) -> np.ndarray:
    """A made-up slice (72, 64) of shapes of two sizes."""
    fine, coarse = (gaussian_filter(rng.normal(size=(72, 64)), s) * s for s in (2, 6))
    return np.clip(128 + 130 * fine + 75 * coarse, 0, 255).astype(np.uint8)


def mapped(
    pixels: np.ndarray, angle: float = 0.0, zoom: float = 1.0, shift: tuple[float, ...] = (0, 0)
) -> np.ndarray:
    """Rotated, zoomed, and shifted by shares of its size; black comes in."""
    middle = (np.array(pixels.shape) - 1) / 2
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    back = np.array([[cosine, sine], [-sine, cosine]]) / zoom
    place = middle - back @ (middle + np.array(shift) * pixels.shape)
    return affine_transform(pixels, back, place, order=1)


def curve(pixels: np.ndarray, gamma: float) -> np.ndarray:
    return np.rint(255 * (pixels / 255) ** gamma).astype(np.uint8)


def equalised(pixels: np.ndarray) -> np.ndarray:
    shares = np.cumsum(np.bincount(pixels.ravel(), minlength=256)) / pixels.size
    return np.rint(255 * shares).astype(np.uint8)[pixels]


def cut(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return pixels[rows : len(pixels) - rows, columns : pixels.shape[1] - columns]


def resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


CHANGES = {
    "none": lambda p, rng: p,
    "size": lambda p, rng: resized(p, rng.uniform(0.6, 2)),
    "contrast": lambda p, rng: np.rint(p * rng.uniform(0.6, 1) + rng.uniform(0, 50)),
    "gamma": lambda p, rng: curve(p, rng.uniform(0.5, 2)),
    "equalised": lambda p, rng: equalised(p),
    "inverted": lambda p, rng: 255 - p,
    "noise": lambda p, rng: np.clip(p + rng.normal(0, 4, p.shape), 0, 255),
    "rotation": lambda p, rng: mapped(p, angle=rng.uniform(-30, 30)),
    "zoom": lambda p, rng: mapped(p, zoom=rng.uniform(0.8, 1.25)),
    "shift": lambda p, rng: mapped(p, shift=rng.uniform(-0.1, 0.1, 2)),
    "cut": lambda p, rng: cut(p, *rng.integers(0, 6, 2)),
    "all": lambda p, rng: curve(
        mapped(p, rng.uniform(-15, 15), rng.uniform(0.9, 1.15), rng.uniform(-0.05, 0.05, 2)),
        rng.uniform(0.7, 1.5),
    ),
}


def changed(pixels: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A copy changed in one way, then mirrored or turned in one of eight."""
    copy = CHANGES[kind](pixels, rng)
    return duplicates.turned(np.rint(copy).astype(np.uint8), int(rng.integers(8)))


def make_layout(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[Link, str]]:
    """Slices of 4 to 7 subjects, some of them changed copies; links and the kind of each."""
    slices: dict[str, np.ndarray] = {}
    originals, links = [], {}
    for subject in range(rng.integers(4, 8)):
        for number in range(rng.integers(1, 3)):
            name = f"s{subject}_{number}"
            if originals and rng.random() < 0.3:
                source, kind = str(rng.choice(originals)), str(rng.choice(list(CHANGES)))
                slices[name] = changed(slices[source], kind, rng)
                links[source, name] = kind
            else:
                slices[name] = scene(rng)
                originals.append(name)
    return slices, links


@pytest.mark.parametrize("layouts", [FOUND[0], pytest.param(FOUND[1], marks=pytest.mark.slow)])
def test_the_finder_lets_no_changed_copy_leak_in_hundreds_of_layouts(layouts):
    """Pixels in, folds out: nothing is told to the finder but the slices and their subjects."""
    rng = np.random.default_rng(11)
    kinds, seen = Counter(), Counter()
    for _ in range(layouts):
        slices, planted = make_layout(rng)
        cases = tuple(CaseFiles(name, name.split("_")[0], ()) for name in slices)
        subject_of = {case.id: case.subject for case in cases}
        links = [link for link in planted if subject_of[link[0]] != subject_of[link[1]]]
        whole = reachable(subject_of, links)
        prints = (duplicates.fingerprints(pixels[None, None]) for pixels in slices.values())
        found = compare_cases(cases, prints).links
        assert all(b in whole[a] for a, b in found), "strangers are called the same"
        for a, b in links:
            assert b in reachable(subject_of, list(found))[a], planted[a, b]
            kinds[planted[a, b]] += 1
        config = SplitConfig(folds=2, seed=int(rng.integers(1000)), validation=0.2)
        data = Found("folders", cases, "file name")
        if len(set(whole.values())) < 2:
            continue
        for fold in make_splits(data, config, found).folds:
            assert leaks(fold, whole) == []
        seen["would leak"] += any(leaks(f, whole) for f in make_splits(data, config).folds)
    assert min(kinds[kind] for kind in CHANGES) > layouts / 30
    assert seen["would leak"] > layouts / 3


def write_layout(root: Path, rng: np.random.Generator) -> tuple[dict[str, str], list[Link]]:
    """Pictures and masks of a layout."""
    slices, links = make_layout(rng)
    for name, pixels in slices.items():
        for folder, values in (("images", pixels), ("masks", pixels > 128)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(np.ascontiguousarray(values).astype(np.uint8))
            picture.save(root / folder / f"{name}.png")
    return {name: name.split("_")[0] for name in slices}, list(links)


@pytest.mark.parametrize("seed", range(TREES))
def test_copies_on_disk_are_found_and_never_divided(tmp_path, seed):
    subject_of, links = write_layout(tmp_path / "data", np.random.default_rng(seed))
    whole = reachable(subject_of, links)
    config = parse_config(
        {
            "data": {"root": str(tmp_path / "data"), "subject": "(s\\d+)_"},
            "split": {"folds": 2, "validation": 0.3, "seed": seed},
            "output": {"dir": str(tmp_path / "runs"), "name": "one"},
        }
    )
    if len(set(whole.values())) < 2:
        with pytest.raises(DataError, match="near-duplicates are kept together"):
            plan_run(config)
        return
    run = plan_run(config)
    for fold in run.splits.folds:
        assert leaks(fold, whole) == []
    between = sum(subject_of[a] != subject_of[b] for a, b in links)
    assert any("alike" in note for note in run.found.notes) == (between > 0)
