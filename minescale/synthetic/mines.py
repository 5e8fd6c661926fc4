"""Mines, which grow through the year, and their doubles: clearings that have nothing to do with mining."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as label_parts

from minescale.synthetic.noise import fbm_grid
from minescale.synthetic.rivers import Line
from minescale.synthetic.spec import RegionSpec
from minescale.synthetic.spectra import Cover, Surface

PIXEL_HA = 0.01
SMALLEST_HA, LARGEST_HA = 0.5, 100.0
MEDIAN_HA, SPREAD = 5.0, 1.25
"""Median and log-deviation of mine sizes."""

ALLUVIAL = 0.75
"""Share of the mines that lie along rivers."""

CLEARINGS = 0.6
"""Area of new clearings per area of mines."""

_FIXED = (Cover.RIVER, Cover.TOWN, Cover.ROAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One mine or clearing on the ground lattice."""

    row: float
    col: float
    area_ha: float
    first: int
    """Index of the first date on which it is there."""
    alluvial: bool


def plant(
    records: NDArray[np.uint8],
    spec: RegionSpec,
    aoi: tuple[slice, slice],
    lines: list[Line],
    towns: NDArray[np.float64],
    n_dates: int,
    seed: int,
) -> list[Patch]:
    """Write mines, then clearings, into the ground's records; returns the mines."""
    rng = np.random.default_rng([spec.seed, 2])
    banks = np.concatenate([line.points[5:-5] for line in lines if len(line.points) > 40])
    ways = np.concatenate([np.gradient(line.points, axis=0)[5:-5] for line in lines if len(line.points) > 40])
    widths = np.concatenate([line.half_width[5:-5] for line in lines if len(line.points) > 40])
    window = records[aoi]
    origin = np.array([aoi[0].start, aoi[1].start], float)
    budget = spec.mine_share * spec.area_ha
    mines = _scatter(window, budget, rng, n_dates, seed, (banks - origin, ways, widths), towns - [*origin, 0], True)
    _scatter(window, budget * CLEARINGS, rng, n_dates, seed + 500, None, towns - [*origin, 0], False)
    return mines


def _scatter(
    window: NDArray[np.uint8],
    budget: float,
    rng: np.random.Generator,
    n_dates: int,
    seed: int,
    rivers: tuple[NDArray, NDArray, NDArray] | None,
    towns: NDArray[np.float64],
    mining: bool,
) -> list[Patch]:
    """Add patches until ``budget`` hectares are covered."""
    planted: list[Patch] = []
    done = 0.0
    hubs: list[NDArray[np.float64]] = []
    largest = min(LARGEST_HA, max(budget * 0.3, SMALLEST_HA * 4))
    for attempt in range(4000):
        if done >= budget:
            break
        wish = float(np.clip(np.exp(rng.normal(math.log(MEDIAN_HA), SPREAD)), SMALLEST_HA, largest))
        wish = min(wish, max(budget - done, SMALLEST_HA))
        alluvial = rivers is not None and rng.random() < ALLUVIAL
        at, angle = _place(window.shape[:2], rng, rivers if alluvial else None, hubs)
        if (np.hypot(towns[:, 0] - at[0], towns[:, 1] - at[1]) < towns[:, 2] * 1.3).any():
            continue
        first = 0 if rng.random() < 0.6 else int(rng.integers(0, max(n_dates * 3 // 4, 1)))
        area = _dig(window, at, angle, wish / PIXEL_HA, first, n_dates, seed + attempt, rng, mining)
        if area > 0:
            planted.append(Patch(row=at[0], col=at[1], area_ha=area * PIXEL_HA, first=first, alluvial=alluvial))
            done += area * PIXEL_HA
            if rng.random() < 0.5:
                hubs.append(at)
    return planted


def _place(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    rivers: tuple[NDArray, NDArray, NDArray] | None,
    hubs: list[NDArray],
) -> tuple[NDArray[np.float64], float]:
    """A centre and an orientation: along a river, or anywhere; often near an earlier one, as mines come in swarms."""
    if rivers is None:
        if hubs and rng.random() < 0.4:
            return hubs[rng.integers(len(hubs))] + rng.normal(0, 60, 2), rng.uniform(0, math.pi)
        return rng.uniform([20, 20], [shape[0] - 20, shape[1] - 20]), rng.uniform(0, math.pi)
    points, ways, widths = rivers
    inside = np.flatnonzero((points > 20).all(1) & (points < np.array(shape[:2]) - 20).all(1))
    if hubs and rng.random() < 0.55:
        hub = hubs[rng.integers(len(hubs))]
        near = inside[np.abs(points[inside] - hub).max(1) < 150]
        inside = near if len(near) else inside
    k = int(rng.choice(inside))
    way = ways[k] / max(float(np.hypot(*ways[k])), 1e-9)
    across = np.array([-way[1], way[0]]) * rng.choice([-1.0, 1.0])
    return points[k] + across * (widths[k] * 1.2 + abs(rng.normal(0, 6))), math.atan2(way[0], way[1])


def _dig(
    window: NDArray[np.uint8],
    at: NDArray[np.float64],
    angle: float,
    pixels: float,
    first: int,
    n_dates: int,
    seed: int,
    rng: np.random.Generator,
    mining: bool,
) -> int:
    """Write one patch of about ``pixels`` pixels; returns how many it took."""
    aspect = rng.uniform(1.3, 3.8) if mining else rng.uniform(1.0, 1.6)
    a = math.sqrt(pixels * aspect / math.pi)
    b = a / aspect
    r = int(a * 1.9) + 4
    y0, x0 = max(int(at[0]) - r, 2), max(int(at[1]) - r, 2)
    y1, x1 = min(int(at[0]) + r, window.shape[0] - 2), min(int(at[1]) + r, window.shape[1] - 2)
    if y1 - y0 < 4 or x1 - x0 < 4:
        return 0
    part = window[y0:y1, x0:x1]
    shape = part.shape[:2]
    rows, cols = np.meshgrid(np.arange(y0, y1) - at[0], np.arange(x0, x1) - at[1], indexing="ij")
    along, over = cols * math.cos(angle) + rows * math.sin(angle), rows * math.cos(angle) - cols * math.sin(angle)
    wide = fbm_grid(float(y0), float(x0), 1.0, shape, max(a / 1.5, 6.0), 3, 0.6, seed * 3 + 1)
    rough = fbm_grid(float(y0), float(x0), 1.0, shape, 5.0, 2, 0.7, seed * 3 + 2)
    if mining:
        rho = np.hypot(along / a, over / b) + 0.30 * wide + 0.14 * rough
    else:
        # Fields are cut with straight edges.
        rho = np.maximum(np.abs(along) / a, np.abs(over) / b) * 1.12 + 0.05 * wide + 0.03 * rough
    free = ~np.isin(part[..., 0], _FIXED) if mining else np.isin(part[..., 0], (Cover.FOREST, Cover.REGROWTH))
    allowed = free & (part[..., 4] == 0)
    order = np.where(allowed, rho + 0.35 * along / a * (1 if mining else 0), np.inf)
    flat = np.argsort(order, axis=None, kind="stable")
    count = min(round(pixels), int((allowed & (rho < 1.9)).sum()))
    if count < SMALLEST_HA / PIXEL_HA * 0.5:
        return 0
    taken = _without_specks(flat[:count], shape)
    count = len(taken)
    if count == 0:
        return 0
    start = _growth(count, first, n_dates, rng, mining)
    surface, cover = _inside(shape, wide, rough, taken, seed, rng, mining)
    iy, ix = np.unravel_index(taken, shape)
    part[iy, ix, 2], part[iy, ix, 3], part[iy, ix, 4] = cover, surface, start
    return count


def _without_specks(taken: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Drop islands of less than half the smallest mine, keeping the order."""
    mask = np.zeros(shape, bool)
    mask.ravel()[taken] = True
    parts, _ = label_parts(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    return np.asarray(taken[sizes[parts.ravel()[taken]] >= SMALLEST_HA / PIXEL_HA / 2])


def _growth(count: int, first: int, n_dates: int, rng: np.random.Generator, mining: bool) -> NDArray[np.uint8]:
    """Date index + 1 per pixel in the order of digging."""
    if not mining:
        return np.full(count, first + 1, np.uint8)
    begin = rng.uniform(0.45, 0.95) if first == 0 else rng.uniform(0.15, 0.5)
    steps = np.sort(rng.uniform(0, 1, n_dates - first)) if n_dates > first + 1 else np.zeros(1)
    shares = begin + (1 - begin) * (steps - steps[0]) / max(float(steps[-1] - steps[0]), 1e-9)
    if n_dates == first + 1:
        shares[:] = 1.0
    rank = (np.arange(count) + 0.5) / count
    return (first + 1 + np.searchsorted(shares, rank)).clip(1, n_dates).astype(np.uint8)


def _inside(
    shape: tuple[int, ...],
    wide: NDArray[np.float32],
    rough: NDArray[np.float32],
    taken: NDArray[np.intp],
    seed: int,
    rng: np.random.Generator,
    mining: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Surface and cover per taken pixel: bare sediment, ponds and leftover plants in patches of 10 - 60 m."""
    if not mining:
        return np.full(len(taken), Surface.CLEARING, np.uint8), np.full(len(taken), Cover.CLEARING, np.uint8)
    pools = fbm_grid(0.0, 0.0, 1.0, (shape[0], shape[1]), rng.uniform(4.0, 9.0), 2, 0.6, seed * 3 + 3)
    green = 0.7 * rough + 0.7 * fbm_grid(7.0, 3.0, 1.0, (shape[0], shape[1]), 8.0, 2, 0.6, seed * 3 + 4)
    wet = (pools + 0.25 * wide).ravel()[taken]
    green = green.ravel()[taken]
    # Shares of ponds and plants differ from mine to mine; the measured mean is about 0.16 and 0.14.
    pond = wet > np.quantile(wet, 1 - rng.beta(2.0, 9.0))
    plants = ~pond & (green > np.quantile(green, 1 - rng.beta(2.0, 10.0)))
    surface = np.where(pond, Surface.POND, np.where(plants, Surface.REGROWTH, Surface.PIT))
    cover = np.where(pond, Cover.MINE_POND, np.where(plants, Cover.MINE_VEGETATION, Cover.MINE_PIT))
    return surface.astype(np.uint8), cover.astype(np.uint8)
