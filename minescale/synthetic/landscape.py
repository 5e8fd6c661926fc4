"""The ground: one record of twelve bytes per 10 m pixel, from which every date and tile is rendered.

Order of a record: cover and surface before, cover and surface after, date from which "after" holds (index + 1;
0 = never), phase (bar height or crop calendar), three slow and three fast texture factors (128 + 32 z).
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from minescale.synthetic.mines import Patch, plant
from minescale.synthetic.noise import fbm, fbm_grid, hash3, unit
from minescale.synthetic.rivers import Line, network, road, stamp
from minescale.synthetic.spec import RegionSpec
from minescale.synthetic.spectra import Cover, Surface

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

RECORD = 12
COVER0, SURFACE0, COVER1, SURFACE1, START, PHASE, SLOW, FAST = 0, 1, 2, 3, 4, 5, 6, 9
REACH = 2.6
"""Half widths round a river that its bars and banks may take."""

_BLOCK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    records: Bytes
    """(y, x, 12) on the ground lattice."""
    mines: tuple[Patch, ...]


def build_ground(
    spec: RegionSpec, shape: tuple[int, int], aoi: tuple[slice, slice], pool: Executor, n_dates: int
) -> Ground:
    """The landscape of a region; the same for any number of threads."""
    rng = np.random.default_rng([spec.seed, 1])
    lines = network(shape, rng)
    towns = _towns(shape, rng)
    roads = [road(a[:2], b[:2], rng) for a, b in pairwise(towns)]
    edges = rng.uniform([0, 0], shape, (len(towns), 2))
    edges[np.arange(len(edges)), rng.integers(0, 2, len(edges))] *= 0
    roads += [road(town[:2], edge, rng) for town, edge in zip(towns, edges, strict=True)]
    far = np.float32(99)
    u, inner, u_road = np.full(shape, far), np.zeros(shape, np.float32), np.full(shape, far)
    size = np.full(shape, far)

    def draw(group: list[Line], into: Floats, sides: Floats, reach: float) -> None:
        for line in group:
            stamp(line.points, line.half_width, line.bend, reach, into, sides)

    main = [line for line in lines if line.main]
    side = [line for line in lines if not line.main]
    scratch, scratch2 = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    jobs = [
        pool.submit(draw, main, u, inner, REACH),
        pool.submit(draw, side, size, scratch, REACH),
        pool.submit(draw, roads, u_road, scratch2, 1.0),
    ]
    for job in jobs:
        job.result()
    records = np.zeros((*shape, RECORD), np.uint8)
    lakes = _oxbows(main, rng)
    seed = int(rng.integers(1, 1 << 40))

    def fill(y0: int) -> None:
        y1 = min(y0 + _BLOCK, shape[0])
        coarse = [
            fbm_grid(y0 / 8.0, 0.0, 1.0, ((y1 - y0 + 7) // 8 + 1, (shape[1] + 7) // 8 + 1), p / 8, o, 0.55, seed + k)
            for k, (p, o) in enumerate(((620, 5), (330, 3), (1100, 3), (150, 3)))
        ]
        block = (slice(y0, y1),)
        _classify(
            records[block],
            u[block],
            inner[block],
            size[block],
            u_road[block],
            towns,
            lakes,
            np.stack(coarse),
            y0,
            seed + 64,
        )

    list(pool.map(fill, range(0, shape[0], _BLOCK)))
    list(pool.map(lambda k: _texture(records, k, spec.seed), range(3)))
    mines = plant(records, spec, aoi, lines, towns, n_dates, seed)
    return Ground(records=records, mines=tuple(mines))


def _texture(records: Bytes, k: int, seed: int) -> None:
    """Write fast factor ``k``: white noise at three sharpnesses, mixed to the correlation that spectra reports."""
    white = np.random.default_rng([seed, 4, k]).standard_normal(records.shape[:2], np.float32)
    total = np.float32(0.25) * white
    for sigma, weight in ((2.2, 0.72), (1.0, 0.58)):
        soft = gaussian_filter(white[:: (-1 if sigma > 2 else 1)], sigma, mode="wrap", truncate=2.5)
        total += soft * np.float32(weight * sigma * 2 * math.sqrt(math.pi))
    records[..., FAST + k] = (total * np.float32(32) + np.float32(128.5)).clip(0, 255)


def _towns(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 3) row, column, radius in pixels."""
    n = max(2, round(shape[0] * shape[1] / 1.6e6))
    radius = np.exp(rng.normal(3.5, 0.45, n)).clip(16, 110)
    return np.column_stack([rng.uniform([60, 60], [shape[0] - 60, shape[1] - 60], (n, 2)), radius])


def _oxbows(main: list[Line], rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 5) crescents beside the main rivers: row, column, ring radius, half width, open direction."""
    found = []
    for line in main:
        for k in np.flatnonzero(rng.random(len(line.points)) < 0.012):
            w = line.half_width[k]
            centre = line.points[k] + rng.normal(0, 5 * w, 2)
            found.append([*centre, w * rng.uniform(1.8, 3.2), w * rng.uniform(0.25, 0.6), rng.uniform(-np.pi, np.pi)])
    return np.array(found).reshape(-1, 5)


@numba.njit(cache=True, nogil=True)
def _parcel(y: float, x: float, seed: int) -> tuple[float, float, float, int]:
    """The field a point lies in: three uniform draws of the field and its hash. Fields line up inside a district."""
    cell = 170.0
    gy, gx = math.floor(y / cell), math.floor(x / cell)
    best, by, bx = 1e18, 0, 0
    for i in range(-1, 2):
        for j in range(-1, 2):
            h = hash3(seed, int(gy) + i + 4096, int(gx) + j + 4096)
            py = (gy + i + unit(h)) * cell
            px = (gx + j + unit(hash3(seed + 1, int(gy) + i + 4096, int(gx) + j + 4096))) * cell
            d = (py - y) ** 2 + (px - x) ** 2
            if d < best:
                best, by, bx = d, int(gy) + i + 4096, int(gx) + j + 4096
    a = unit(hash3(seed + 2, by, bx)) * math.pi
    long = 12.0 + 40.0 * unit(hash3(seed + 3, by, bx)) ** 2
    short = 6.0 + 16.0 * unit(hash3(seed + 4, by, bx))
    v, w = math.cos(a) * y - math.sin(a) * x, math.sin(a) * y + math.cos(a) * x
    strip = math.floor(v / short) + 100_000
    shift = unit(hash3(seed + 5, strip, by)) * long
    piece = math.floor((w + shift) / long) + 100_000
    key = int(hash3(seed + 6, strip * 131 + by, piece * 131 + bx) >> np.uint64(24))
    return unit(hash3(key, 1, 0)), unit(hash3(key, 2, 0)), unit(hash3(key, 3, 0)), key


@numba.njit(inline="always", cache=True)
def _byte(z: float) -> int:
    return int(min(max(128.5 + 32.0 * z, 0.0), 255.0))


@numba.njit(inline="always", cache=True)
def _sample(coarse: Floats, i: int, j: int) -> float:
    """Bilinear look-up in a field on every eighth pixel."""
    y, x = i / 8.0, j / 8.0
    a, b = int(y), int(x)
    fy, fx = y - a, x - b
    top = coarse[a, b] + (coarse[a, b + 1] - coarse[a, b]) * fx
    low = coarse[a + 1, b] + (coarse[a + 1, b + 1] - coarse[a + 1, b]) * fx
    return float(top + (low - top) * fy)


@numba.njit(cache=True, nogil=True)
def _classify(  # noqa: PLR0912, PLR0915 - one pass over the pixels, in order of who covers whom
    out: Bytes,
    u: Floats,
    inner: Floats,
    brook: Floats,
    track: Floats,
    towns: NDArray,
    lakes: NDArray,
    fields: Floats,
    y0: int,
    seed: int,
) -> None:
    """Fill the records of rows y0 ... of the ground.

    ``u``, ``brook``, ``track``: distance from main rivers, tributaries and roads in half widths; ``inner``: bend
    towards the pixel; ``fields``: farming, patchiness, dryness and tint on every eighth pixel, (4, y, x).
    """
    ny, nx = u.shape
    for i in range(ny):
        y = float(y0 + i)
        for j in range(nx):
            x = float(j)
            ragged = fbm(y, x, 14.0, 2, 0.6, seed + 1)
            fine = fbm(y, x, 6.0, 2, 0.8, seed + 2)
            farmness, patchy, dryness = _sample(fields[0], i, j), _sample(fields[1], i, j), _sample(fields[2], i, j)
            cover, surface, phase = Cover.FOREST, Surface.FOREST, 128
            s0, s1, s2 = _sample(fields[3], i, j), patchy * 0.8, dryness * 0.8
            town_pull = 0.0
            in_town = False
            for k in range(towns.shape[0]):
                d = math.sqrt((y - towns[k, 0]) ** 2 + (x - towns[k, 1]) ** 2) / towns[k, 2]
                if d < 9.0:
                    town_pull = max(town_pull, math.exp(-d / 3.0))
                    if d + 0.22 * ragged + 0.35 * patchy < 0.75:
                        in_town = True
            if dryness + 0.12 * ragged > 1.5:
                cover, surface = Cover.SAVANNA, Surface.GRASS
                phase = _byte(patchy)
                if ragged > 1.1:
                    cover, surface = Cover.REGROWTH, Surface.REGROWTH
            elif patchy + 0.15 * ragged > 1.75:
                cover, surface = Cover.REGROWTH, Surface.REGROWTH
            pull = farmness + 1.6 * town_pull + 0.05 * ragged
            if pull > 0.95:
                a, b, c, key = _parcel(y + 1.2 * fine, x + 1.2 * ragged, seed + 7)
                s0, s1 = 2.6 * (a - 0.5) + 0.4 * s0, 3.0 * (unit(hash3(key, 4, 0)) - 0.5)
                s2 = 3.0 * (unit(hash3(key, 5, 0)) - 0.5)
                phase = int(255.0 * c)
                if b < 0.34:
                    cover, surface = Cover.CROPLAND, Surface.CROP
                elif b < 0.44:
                    cover, surface = Cover.BARE_FIELD, Surface.BARE
                elif b < 0.80:
                    cover, surface = Cover.PASTURE, Surface.GRASS
                elif b < 0.90:
                    cover, surface = Cover.REGROWTH, Surface.REGROWTH
            if in_town:
                cover = Cover.TOWN
                a, b, c, key = _parcel(y * 6.0, x * 6.0, seed + 31)
                s0 = 3.0 * (a - 0.5)
                surface = Surface.BUILT if b < 0.55 else (Surface.REGROWTH if b < 0.85 else Surface.BARE)
            if track[i, j] < 1.0:
                cover, surface, phase = Cover.ROAD, Surface.BARE, 128
                s0 = 0.5 * s0 + 0.4
            # Water last: it cuts through everything.
            wet = u[i, j] + 0.10 * ragged
            bar = inner[i, j]
            if wet < 1.0 or (wet < 1.45 and bar > 0.25):
                low = 1.05 - 0.75 * min(max(bar, 0.0), 1.2)
                height = (wet - low) * 1.3 + 0.12 * fine + 0.10 * patchy
                isle = patchy + 0.35 * ragged > 1.7 and wet < 0.75
                if height > 0.0 or isle:
                    cover, surface = Cover.SANDBAR, Surface.SANDBAR
                    phase = int(min(max(0.15 + max(height, 0.25 if isle else 0.0), 0.0), 1.0) * 255.0)
                    s0 = 0.8 * ragged + 0.5 * s0
                elif wet < 1.0:
                    cover, surface = Cover.RIVER, Surface.RIVER
                    s0, s1, s2 = 0.5 + 0.3 * s0, 0.4 + 0.2 * s1, 0.2 * s2
            elif brook[i, j] + 0.15 * ragged < 1.0:
                cover, surface = Cover.RIVER, Surface.RIVER
                s0, s1, s2 = -0.7 + 0.4 * s0, 0.3 * s1, 0.3 * s2
            elif brook[i, j] < 2.2 and fine + 0.8 * patchy > 1.7:
                cover, surface, phase = Cover.SANDBAR, Surface.SANDBAR, 200
            for k in range(lakes.shape[0]):
                dy, dx = y - lakes[k, 0], x - lakes[k, 1]
                if abs(dy) < 90 and abs(dx) < 90 and wet > 1.5:
                    d = math.sqrt(dy * dy + dx * dx) - lakes[k, 2]
                    turn = math.acos(math.cos(math.atan2(dy, dx) - lakes[k, 4]))
                    if abs(d) < lakes[k, 3] * (1.0 + 0.15 * ragged) and turn < 1.35 + 0.2 * fine:
                        cover, surface = Cover.LAKE, Surface.BLACKWATER
            if surface == Surface.FOREST:
                # The measured spread of forest between places is half haze, which the sky adds.
                s0 *= 0.5
            record = out[i, j]
            record[0], record[1], record[2], record[3] = cover, surface, cover, surface
            record[5] = phase
            record[6], record[7], record[8] = _byte(s0), _byte(s1), _byte(s2)
