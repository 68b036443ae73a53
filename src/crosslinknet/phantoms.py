"""Made-up cases with known answers, for tests, docs and a first try: lung, heart, kidney.

A subject is a handful of random numbers, a slice is its body cut at one height ``z``. Every
structure is a map of *depth*: positive inside, about the distance to the edge. The image mixes
a structure in over one pixel around depth 0 (a soft edge); the mask is where depth > 0 at the
pixel's centre, so it is exact. Blur and noise of the scanner come last.

Lengths are in half-widths: rows and columns run from -1 to 1 on the shorter side of the slice,
so a subject looks the same at every size. Phantoms look like CT and MR; they simulate neither.
Order: Canvas, shapes that organs share, lung, heart, kidney, PHANTOMS, make and write.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter  # type: ignore[attr-defined]  # scipy has no types

from crosslinknet.case import Case
from crosslinknet.config import WINDOWS
from crosslinknet.errors import UsageError, suggest
from crosslinknet.files import atomic_path
from crosslinknet.geometry import Grid

Rng = np.random.Generator
Map = NDArray[np.floating[Any]]  # (H, W)
Tubes = NDArray[np.float64]  # (n, 7): start (z, y, x), end (z, y, x), radius

STEP = 0.07  # between slices, in half-widths
THICKNESS = 0.03  # of a slice
REACH = 0.4  # slices lie between z = -REACH and z = REACH


class Canvas:
    """One slice of one subject while it is painted.

    Attributes:
        z: height of the slice.
        pixel: width of a pixel.
        rows, columns: (H,) and (W,) straight coordinates.
        y, x: (H, W) the same, bent a little, since no body is made of ellipses.
        image, mask: (H, W) what has been painted: HU or signal, label values.
    """

    def __init__(self, size: tuple[int, int], z: float, rng: Rng, empty: float) -> None:
        half = min(size) / 2
        self.z, self.pixel = z, 1 / half
        self.rows, self.columns = ((np.arange(n) + 0.5 - n / 2) / half for n in size)
        self.image = np.full(size, empty, np.float32)
        self.mask = np.zeros(size, np.uint8)
        self.y = self.rows[:, None].astype(np.float32) + 0.02 * self.noise(rng, 6)
        self.x = self.columns.astype(np.float32) + 0.02 * self.noise(rng, 6)

    def noise(self, rng: Rng, cells: int, octaves: int = 1) -> Map:
        """Smooth random map, mean 0, deviation about 1, ``cells`` bumps across; varies with z."""
        total = np.zeros(self.image.shape, np.float32)
        for octave in range(octaves):
            knots = cells * 2**octave
            here, there = rng.standard_normal((2, knots, knots))
            lattice = math.cos(1.5 * self.z) * here + math.sin(1.5 * self.z) * there
            y, wy = _spline(self.rows, knots)
            x, wx = _spline(self.columns, knots)
            lines = np.einsum("hk,hkn->hn", wy, lattice[y])  # (H, knots)
            total += 2 * 0.6**octave * np.einsum("wk,hwk->hw", wx, lines.astype(np.float32)[:, x])
        return total

    def blob(
        self, y: float, x: float, ry: float, rx: float, turn: float = 0.0, power: int = 2
    ) -> Map:
        """Depth of an ellipse (power 2) or of a rounded box (power 4), turned by radians."""
        v, u = self.y - y, self.x - x
        cos, sin = math.cos(turn), math.sin(turn)
        a, b = (v * cos - u * sin) / ry, (v * sin + u * cos) / rx
        radius = np.hypot(a, b) if power == 2 else np.sqrt(np.hypot(a * a, b * b))
        depth: Map = (1 - radius) * math.sqrt(ry * rx)
        return depth

    def cover(self, depth: Map, soft: float = 0.0) -> Map:
        """Share of each pixel, 0 to 1, where depth > 0; the edge is a pixel plus ``soft`` wide."""
        share: Map = np.clip(depth / (self.pixel + soft) + 0.5, 0, 1)
        return share

    def paint(self, depth: Map, value: Map | float, soft: float = 0.0) -> None:
        """Mix ``value`` in where depth > 0."""
        self.image += self.cover(depth, soft) * (value - self.image)

    def paint_tubes(self, tubes: Tubes, inside: Map, value: float) -> None:
        """Cut tubes with the slice and mix ``value`` in where they lie in ``inside``."""
        margin = 2 * tubes[:, 6:] + THICKNESS
        low = np.minimum(tubes[:, :3], tubes[:, 3:6]) - margin
        high = np.maximum(tubes[:, :3], tubes[:, 3:6]) + margin
        rows = np.searchsorted(self.rows, (low[:, 1], high[:, 1])).T
        columns = np.searchsorted(self.columns, (low[:, 2], high[:, 2])).T
        for i in np.flatnonzero((low[:, 0] < self.z) & (self.z < high[:, 0])):
            box = slice(*rows[i]), slice(*columns[i])
            start, way, radius = tubes[i, :3], tubes[i, 3:6] - tubes[i, :3], tubes[i, 6]
            z, y = self.z - start[0], self.rows[box[0], None] - start[1]
            x = self.columns[box[1]] - start[2]
            t = np.clip((z * way[0] + y * way[1] + x * way[2]) / (way @ way), 0, 1)
            above = np.maximum(np.abs(z - t * way[0]) - THICKNESS / 2, 0)
            gap = np.sqrt(above**2 + (y - t * way[1]) ** 2 + (x - t * way[2]) ** 2)
            cover = self.cover(np.minimum(radius - gap, inside[box]))
            self.image[box] += cover * (value - self.image[box])


def _spline(points: Map, knots: int) -> tuple[NDArray[np.intp], Map]:
    """The four knots (n, 4) near each point in -1 to 1, periodic, and their cubic weights."""
    t = (points + 1) / 2 * knots
    first = np.floor(t).astype(np.intp)
    f = (t - first)[:, None]
    near = (first[:, None] + np.arange(-1, 3)) % knots
    weights = [(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]
    return near, np.hstack(weights).astype(np.float32) / 6


def _join(*depths: Map) -> Map:
    """Depth of the union, with rounded inner corners."""
    total: Map = np.exp(40 * np.clip(depths, -2, 2)).sum(axis=0)
    return np.log(total) / 40


def _tree(
    rng: Rng, starts: Sequence[Sequence[float]], ways: Sequence[Sequence[float]], radius: float
) -> Tubes:
    """Vessels that start at points (z, y, x) in given directions and fork until they are thin."""
    here, way, r = np.array(starts), np.array(ways), np.full(len(starts), radius)
    tubes = []
    while len(here):
        way = way / np.linalg.norm(way, axis=1, keepdims=True)
        there = here + way * (rng.uniform(0.3, 0.6, len(r)) * r**0.35)[:, None]
        tubes.append(np.column_stack([here, there, r]))
        r = np.repeat(r, 2) * rng.uniform(0.5, 0.92, 2 * len(r))
        way = np.repeat(way, 2, axis=0) + rng.normal(0, 0.35, (len(r), 3))
        here, way, r = (array[r > 0.004] for array in (np.repeat(there, 2, axis=0), way, r))
    return np.concatenate(tubes)


def _trunk(c: Canvas, rng: Rng, height: float, width: float, fat: float) -> Map:
    """Paint table, skin, fat and muscle of a body in CT; returns the depth of the muscle."""
    body = c.blob(-0.02, 0, height, width) + 0.4 * c.blob(-0.02, 0, height, width, power=4)
    table = c.y - (height + 0.01 - 0.1 * c.x**2)
    for shell in (table, table - 0.12):
        c.paint(0.012 - np.abs(shell), -200.0)
    c.paint(body, 10.0)
    c.paint(body - 0.02, -105 + 8 * c.noise(rng, 24))
    muscle = body - fat - 0.015 * c.noise(rng, 8)
    c.paint(muscle, 55 + 6 * c.noise(rng, 32))
    c.paint(np.minimum(muscle - 0.01, 0.005 - 0.05 * np.abs(c.noise(rng, 8))), -70.0)
    return muscle


def _bones(c: Canvas, rng: Rng, y: float, ring: Map, share: float) -> None:
    """Paint a vertebra at (y, 0) and ribs where depth ``ring`` is near 0, on a share of it."""
    beat = np.cos(9 * np.arctan2(c.y, c.x) + rng.uniform(0, 6) + 4 * c.z) + share
    rib = np.minimum(0.026 - np.abs(ring), 0.1 * beat)
    parts = [c.blob(y + 0.14, 0, 0.08, 0.1), c.blob(y + 0.23, 0, 0.09, 0.022)]
    parts += [c.blob(y + 0.16, side * 0.14, 0.026, 0.12, -side * 0.5) for side in (-1, 1)]
    bone = np.maximum(_join(c.blob(y, 0, 0.1, 0.125), *parts), rib)
    c.paint(bone, 600.0)
    c.paint(bone - 0.016, 190 + 60 * c.noise(rng, 40), soft=0.01)
    c.paint(c.blob(y + 0.13, 0, 0.045, 0.055), 30.0)


def _scan_ct(c: Canvas, scan: Rng, deviation: float) -> None:
    """Blur and noise of CT: correlated over a pixel or two, without a slow part."""
    grain = scan.standard_normal(c.image.shape, np.float32)
    grain = gaussian_filter(grain, 0.6) - gaussian_filter(grain, 2.0)
    c.image = gaussian_filter(c.image, 0.55) + np.float32(deviation / grain.std()) * grain


def draw_lung(c: Canvas, rng: Rng, scan: Rng) -> None:
    """Axial chest CT in HU: 1 ground-glass with blurred edges, 2 the consolidation in it."""
    u, z = rng.uniform, c.z
    muscle = _trunk(c, rng, u(0.78, 0.86), u(1.02, 1.1), fat=u(0.03, 0.1))
    cavity = muscle - u(0.06, 0.09) + 0.06 * z

    size, back = u(0.26, 0.34) + 0.16 * z, u(0.4, 0.46)
    heart = c.blob(-0.2 + 0.1 * z, 0.12 + 0.12 * z, size, u(1.1, 1.25) * size, u(0.3, 0.9))
    great = c.blob(-0.24, -0.02, 0.3, u(0.16, 0.22))
    aorta = c.blob(back - 0.17, 0.12, 0.075, 0.07)
    parts = [c.blob(-0.72, 0.02, 0.34, u(0.03, 0.1)), c.blob(0.1, 0.01, 0.3, u(0.08, 0.12))]
    parts += [c.blob(back + 0.25, side * 0.2, 0.14, 0.24, -side * 0.2) for side in (-1, 1)]
    middle = _join(heart, great, aorta - 0.01, c.blob(back + 0.03, 0, 0.24, 0.19), *parts)
    middle = middle + 0.006 * c.noise(rng, 16)
    c.paint(np.minimum(middle, cavity), np.where(c.y < back, -80.0, 50.0) + 15 * c.noise(rng, 20))
    blood = u(50, 200)
    c.paint(heart - 0.02, 45.0)
    c.paint(heart - 0.05 - 0.02 * c.noise(rng, 8), blood, soft=0.02)
    for y, x, r in ((-0.3, -0.02, 0.1), (-0.22, -0.12, 0.06), (-0.16, 0.08, 0.08)):
        c.paint(c.blob(y, x, r, r * u(0.9, 1.2)), blood)
    c.paint(aorta, blood)
    _bones(c, rng, back, cavity + 0.05, share=0.0)

    lung = np.minimum(cavity, -middle)
    c.paint(lung, -890 + 60 * c.y + 18 * c.noise(rng, 12, octaves=3))
    glass, dense = _patches(c, rng)
    c.mask[np.minimum(glass, lung) > 0] = 1
    c.mask[np.minimum(dense, lung) > 0] = 2
    haze = np.maximum(u(-680, -500) + 110 * c.noise(rng, 20, octaves=3), -780)
    solid = -60 + 70 * c.noise(rng, 20, octaves=2)
    for depth, value, soft in ((glass, haze, 0.06), (dense, solid, 0.03)):
        c.image += c.cover(depth, soft) * c.cover(lung) * (value - c.image)
    for side in (-1, 1):
        ways = [(0.4, -0.7, side), (-0.4, 0.1, side), (0.4, 0.4, side), (0.2, 1, 0.4 * side)]
        ways = 3 * [*ways, (0.9, 0.3, 0.5 * side), (-0.9, 0, 0.4 * side)]
        starts = [(u(-REACH, REACH), u(-0.15, 0.1), side * 0.14) for _ in ways]
        c.paint_tubes(_tree(rng, starts, ways, 0.03), lung, 0.0)
        c.paint(c.blob(-0.02, side * (0.055 + 0.07 * z), 0.045, 0.05), -990.0)  # a bronchus
    _scan_ct(c, scan, u(20, 45))


def _patches(c: Canvas, rng: Rng) -> tuple[Map, Map]:
    """Depth of ground-glass and of the consolidation in it: patches at the back and the rim."""
    parts = []
    for i in range(rng.integers(2, 7)):
        angle = rng.choice((1, 1, -1)) * rng.uniform(0.1, 1.2)  # positive: towards the back
        y = -0.05 + rng.uniform(0.45, 0.6) * math.sin(angle)
        x = rng.choice((-1, 1)) * rng.uniform(0.6, 0.85) * math.cos(angle)
        centre, reach = (0.0, 1.0) if i == 0 else rng.uniform((-0.4, 0.2), (0.4, 0.8)).tolist()
        scale = math.sqrt(max(0.001, 1 - ((c.z - centre) / reach) ** 2))
        ry, rx = (scale * rng.uniform(0.12, 0.36, 2)).tolist()
        parts.append(c.blob(y, x, ry, rx, rng.uniform(0, 3)))
    glass = np.maximum.reduce(parts) + 0.045 * c.noise(rng, 8, octaves=4)
    dense = glass - rng.uniform(0.08, 0.2) + 0.05 * c.noise(rng, 12, octaves=3)
    return glass, np.minimum(dense, glass)


def draw_heart(c: Canvas, rng: Rng, scan: Rng) -> None:
    """Short-axis MR of the left ventricle: 1 ring of muscle, 2 cavity with papillary muscles."""
    u, z = rng.uniform, c.z
    lean = u(-0.6, -0.2)  # the chest wall falls to the left
    body = c.blob(0.32, 0.05, u(0.8, 0.95), u(1.0, 1.15), lean)
    c.paint(body, 700.0)
    c.paint(body - u(0.04, 0.1), 200 + 25 * c.noise(rng, 16, octaves=2))
    c.paint(np.minimum(0.006 - 0.03 * np.abs(c.noise(rng, 8)), body - 0.1), 450.0)
    lung = c.blob(0.05, 0.2, u(0.55, 0.65), u(0.6, 0.75), lean)
    c.paint(lung, 45 + 12 * c.noise(rng, 16, octaves=2))
    ways = [(0.2, y, 1.0) for y in (-1.0, -0.3, 0.3, 1.0)]
    c.paint_tubes(_tree(rng, [(u(-0.2, 0.2), 0, 0.25)] * 4, ways, 0.02), lung, 200.0)
    top = u(0.26, 0.32)
    liver = np.minimum(c.blob(top + 0.5, -0.25, 0.5, 0.75, u(-0.3, 0)), body - 0.1)
    c.paint(liver, 260 + 15 * c.noise(rng, 12, octaves=3))
    ways = 3 * [(0.1, -1.0, -1.0), (0.1, -0.5, 1.0), (-0.2, 1.0, -1.0)]
    starts = [(u(-REACH, REACH), top + 0.5, -0.2) for _ in ways]
    c.paint_tubes(_tree(rng, starts, ways, 0.025), liver, 420.0)
    stomach = np.minimum(c.blob(top + 0.4, 0.5, 0.25, 0.28, u(0, 1)), body - 0.1)
    c.paint(stomach + 0.02, 500.0)
    c.paint(stomach, 300 + 110 * c.noise(rng, 8, octaves=3))

    radius, y, x = u(0.19, 0.26) * (1 - 0.5 * z), u(-0.06, 0.06) + 0.1 * z, u(-0.04, 0.08) + 0.1 * z
    thick, blood = radius * u(0.28, 0.45), u(480, 620)
    outer = c.blob(y, x, radius, radius * u(0.9, 1.1), u(0, 3)) + 0.006 * c.noise(rng, 12)
    inner = outer - thick + 0.008 * c.noise(rng, 14)
    inner = np.minimum(inner, outer - 0.4 * thick)  # the ring is closed
    right = c.blob(y + 0.05, x - 0.85 * radius, 1.2 * radius, radius * u(0.8, 1.1), u(-0.5, 0.2))
    right = right + 0.015 * c.noise(rng, 14, octaves=2)
    both = _join(right, outer)
    c.paint(both + 0.02 + 0.02 * c.noise(rng, 10), 450.0, soft=0.02)  # fat around the heart
    c.paint(both + 0.012, 170.0)
    c.paint(right, blood + 50 * c.noise(rng, 24, octaves=2))
    c.paint(outer, 170.0)
    c.paint(inner, blood + 30 * c.noise(rng, 24))
    for angle in (u(0.3, 1.2), u(2.0, 3.0)):
        r = 0.6 * (radius - thick)
        muscle = c.blob(y + r * math.sin(angle), x + r * math.cos(angle), 0.25 * r, 0.2 * r, angle)
        c.paint(muscle + 0.01 * c.noise(rng, 24), 230.0)
    c.paint(c.blob(y + 0.42, x + u(0.2, 0.3), 0.06, 0.06), blood)  # aorta
    c.mask[outer > 0] = 1
    c.mask[inner > 0] = 2

    coil = np.exp(-((c.y + 0.7) ** 2 + (c.x + 0.45) ** 2) / u(0.8, 1.6))
    c.image *= 0.45 + u(0.9, 1.6) * coil + 0.05 * c.noise(rng, 3)  # sensitivity of the coil
    if rng.random() < 0.5:
        c.image *= np.hypot(c.rows[:, None], c.columns) < 0.98
    noise = u(8, 20) * scan.standard_normal((2, *c.image.shape), np.float32)
    c.image = np.hypot(gaussian_filter(c.image, 0.7) + noise[0], noise[1])  # Rician


def draw_kidney(c: Canvas, rng: Rng, scan: Rng) -> None:
    """Axial abdominal CT in HU, arterial phase: 1 kidneys, 2 a tumour on one of them."""
    u, z = rng.uniform, c.z
    muscle = _trunk(c, rng, u(0.62, 0.74), u(0.86, 0.96), fat=u(0.03, 0.12))
    cavity = np.minimum(muscle - u(0.07, 0.1), 0.42 + 0.1 * np.abs(c.x) - c.y)
    c.paint(cavity, -105 + 8 * c.noise(rng, 24), soft=0.01)
    back, blood = u(0.26, 0.32), u(200, 320)
    for side in (-1, 1):
        c.paint(c.blob(back + 0.02, side * 0.2, 0.13 + 0.05 * z, 0.09, side * 0.4), 60.0)
        c.paint(np.minimum(c.blob(back + 0.26, side * 0.17, 0.11, 0.15), muscle), 60.0)
    _bones(c, rng, back, np.where(c.y < -0.2, -1, cavity + 0.045), share=-0.5)
    _bowel(c, rng, cavity)
    starts, ways = [(u(-0.3, 0.3), 0.0, 0.0) for _ in range(8)], rng.normal(0, 1, (8, 3))
    c.paint_tubes(_tree(rng, starts, ways.tolist(), 0.02), cavity, blood - 60)
    c.paint(c.blob(back - 0.17, 0.03, 0.05, 0.05), blood)  # aorta
    c.paint(c.blob(back - 0.16, -0.11, 0.05, 0.065), u(60, 160))  # vena cava
    liver = np.minimum(c.blob(-0.18, -0.6, 0.45 - 0.4 * z, 0.36 - 0.3 * z, 0.2), cavity - 0.02)
    c.paint(liver + 0.012 * c.noise(rng, 8), u(85, 115) + 5 * c.noise(rng, 12, octaves=2))
    starts, ways = [(u(-0.3, 0.3), -0.1, -0.4) for _ in range(8)], rng.normal(0, 1, (8, 3))
    c.paint_tubes(_tree(rng, starts, ways.tolist(), 0.018), liver, u(120, 160))
    spleen = np.minimum(c.blob(0.02, 0.74, 0.25 - 0.35 * z, 0.14 - 0.1 * z, -0.3), cavity - 0.02)
    c.paint(spleen, u(100, 130))

    ill, cortex, medulla = rng.choice((-1, 1)), u(150, 220), u(90, 130)
    for side in (-1, 1):
        y, x, turn = back - u(0.0, 0.1), side * u(0.43, 0.5), -side * u(0.2, 0.7)
        r = u(0.17, 0.21) * math.sqrt(1 - (0.9 * z + u(-0.1, 0.1)) ** 2)
        hilum = c.blob(y - 0.04, x - side * 0.8 * r, 0.45 * r, 0.55 * r) + 0.008 * c.noise(rng, 16)
        kidney = np.minimum(c.blob(y, x, r, 0.78 * r, turn), -hilum) + 0.006 * c.noise(rng, 12)
        c.paint(np.minimum(kidney + 0.03, cavity), -105.0)  # fat around it
        c.paint(kidney, cortex)
        c.paint(np.minimum(kidney - 0.03, 0.03 * c.noise(rng, 14)), medulla, soft=0.02)
        renal = (z, back - 0.14, side * 0.08, z, y - 0.04, x - side * 0.5 * r, 0.011)
        c.paint_tubes(np.array([renal]), -kidney, blood - 120)
        c.mask[kidney > 0] = 1
        if side == ill:
            angle, size = u(-1.2, 1.2), u(0.08, 0.24) * math.sqrt(1 - 0.8 * z**2)
            y, x = y + r * math.sin(angle), x + side * 0.8 * r * math.cos(angle)
            tumour = c.blob(y, x, size, size * u(0.8, 1.1), u(0, 3))
    tumour = np.minimum(tumour + 0.012 * c.noise(rng, 8, octaves=2), cavity - 0.01)
    c.paint(tumour, u(60, 130) + 12 * c.noise(rng, 16, octaves=3))
    necrosis = tumour - u(0.3, 0.8) * size + 0.04 * c.noise(rng, 10, octaves=2)
    c.paint(necrosis, u(10, 50), soft=0.04)
    c.mask[tumour > 0] = 2
    _scan_ct(c, scan, u(12, 28))


def _bowel(c: Canvas, rng: Rng, cavity: Map) -> None:
    """Paint loops in the front of the belly, filled with gas, fluid or contrast."""
    wobble, content = 0.02 * c.noise(rng, 12), 15 * c.noise(rng, 24)
    for _ in range(rng.integers(14, 26)):
        y, x = rng.uniform((-0.45, -0.6), (0.08, 0.6)).tolist()
        ry, rx = rng.uniform(0.04, 0.11, 2).tolist()
        loop = c.blob(y + 0.1 * c.z, x, ry, rx, rng.uniform(0, 3)) + wobble
        loop = np.minimum(loop, cavity - 0.02)
        c.paint(loop, 80.0)
        filling = rng.choice((-850.0, 20.0, 45.0, 220.0), p=(0.2, 0.3, 0.4, 0.1))
        c.paint(loop - 0.015, float(filling) + content, soft=0.01)


@dataclass(frozen=True)
class Phantom:
    """One kind of phantom.

    Attributes:
        draw: paints a canvas from the random numbers of the subject and of the scan.
        number: part of every seed, so that kinds share no random numbers.
        label_map: class names and their mask values, as in ``data.label_map``.
        window: values that become black and white in an 8-bit picture.
        empty: value of the air around the body.
        width: mm, shorter side of a slice.
    """

    draw: Callable[[Canvas, Rng, Rng], None]
    number: int
    label_map: dict[str, list[int]]
    window: tuple[float, float]
    empty: float
    width: float


LUNG = {"ground_glass": [1], "consolidation": [2]}
HEART = {"myocardium": [1], "cavity": [2]}
KIDNEY = {"kidney": [1], "tumour": [2]}

PHANTOMS: dict[str, Phantom] = {
    "lung": Phantom(draw_lung, 1, LUNG, WINDOWS["lung"], empty=-1000, width=320),
    "heart": Phantom(draw_heart, 2, HEART, (0, 1000), empty=0, width=340),
    "kidney": Phantom(draw_kidney, 3, KIDNEY, WINDOWS["kidney"], empty=-1000, width=400),
}


def make_phantom(
    kind: str, size: tuple[int, int], subject: int, slice_index: int, seed: int = 0
) -> Case:
    """Draw one slice of one subject; the same arguments give the same case.

    Args:
        kind: a key of PHANTOMS.
        size: (H, W), at least 16 x 16.
        subject: number of the made-up person, from 0.
        slice_index: from 0; neighbours lie STEP apart and look alike, and at the end of the
            organ the walk turns round (after 12 slices at most).
        seed: of the whole set, from 0.

    Returns:
        A case with image (1, 1, H, W) float32, HU or signal; mask (1, H, W) uint8, values of
        the kind's label_map, exact and never empty; spacing in mm.

    Raises:
        UsageError: the kind is unknown, the size too small or a number negative.

    >>> case = make_phantom("heart", (64, 64), subject=3, slice_index=1)
    >>> case.id, case.image.shape, np.unique(case.mask).tolist()
    ('subject_003_slice_01', (1, 1, 64, 64), [0, 1, 2])
    """
    if kind not in PHANTOMS:
        raise UsageError(f"phantom {kind!r} is unknown{suggest(kind, PHANTOMS)}")
    if min(size) < 16 or min(subject, slice_index, seed) < 0:
        raise UsageError(
            f"a phantom of size {size}, subject {subject}, slice {slice_index}, seed {seed} cannot "
            "be drawn. Height and width must be 16 or more, the numbers 0 or more."
        )
    phantom = PHANTOMS[kind]
    rng = np.random.default_rng((seed, phantom.number, subject))
    scan = np.random.default_rng((seed, phantom.number, subject, slice_index + 1))
    walk = rng.uniform(0, 4 * REACH) + STEP * slice_index
    canvas = Canvas(size, abs(walk % (4 * REACH) - 2 * REACH) - REACH, rng, phantom.empty)
    phantom.draw(canvas, rng, scan)
    mm = phantom.width / 2  # per half-width
    grid = Grid((1, *size), spacing=(STEP * mm, canvas.pixel * mm, canvas.pixel * mm))
    person = f"subject_{subject:03d}"
    image = canvas.image.astype(np.float32)[None, None]  # (1, 1, H, W)
    return Case(f"{person}_slice_{slice_index:02d}", person, image, canvas.mask[None], grid)


def write_phantoms(
    folder: Path, kind: str, subjects: int, slices: int, size: tuple[int, int], seed: int = 0
) -> None:
    """Write ``images/`` and ``masks/``, 8-bit PNG named ``subject_003_slice_01.png``.

    Images are windowed as the kind says; masks hold the values 0, 1, 2. Each file is written
    atomically; files of the same name are replaced.

    Raises:
        UsageError: as make_phantom.
        SystemProblem: the folder cannot be written.
    """
    for subject in range(subjects):
        for slice_index in range(slices):
            case = make_phantom(kind, size, subject, slice_index, seed)
            low, high = PHANTOMS[kind].window
            grey = np.rint(np.clip((case.image[0, 0] - low) / (high - low), 0, 1) * 255)
            assert case.mask is not None
            for part, pixels in (("images", grey), ("masks", case.mask[0])):
                with atomic_path(Path(folder) / part / f"{case.id}.png") as path:
                    Image.fromarray(pixels.astype(np.uint8)).save(path)
