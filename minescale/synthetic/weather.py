"""One look at the region: its day, sun, season, river level, haze, clouds and shadows."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import LineString, Polygon
from shapely.ops import split

from minescale.synthetic.geometry import RES, Geometry, TileFrame
from minescale.synthetic.noise import fbm_at, fbm_grid
from minescale.synthetic.spec import RegionSpec

Floats = NDArray[np.float32]

SKY_STEP = 4
"""Clouds are made on every fourth 10 m pixel and interpolated."""

_CIRRUS = 0.09
"""Opacity from which a pixel counts as cloudy in ``eo:cloud_cover``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What all tiles of one pass share."""

    index: int
    moment: dt.datetime
    platform: str
    baseline: str
    offset: int
    """Added to reflectance x 1e4 in the files."""
    season: float
    """1 at the height of the rains, 0 in the dry season."""
    level: float
    """River level 0 - 1: sandbars below it are under water."""
    gain: float
    """Illumination of the day."""
    slant: float
    """Relative change of brightness across the region (view angle)."""
    haze: float
    cover: float
    """Wished share under cloud."""
    period: float
    """Size of the largest clouds, pixels."""
    threshold: float
    shadow: tuple[float, float]
    """Shift (rows, columns) from a cloud to its shadow, pixels."""
    swath: tuple[float, float, float] | None
    """(a, b, c): ground seen where a * row + b * col < c on the ground lattice; None where the swath covers all."""
    jitter: tuple[tuple[float, float, float], ...]
    """Per surface, a shift of the three texture factors on that day."""
    seed: int


def looks(spec: RegionSpec, geometry: Geometry, n_surfaces: int) -> tuple[Look, ...]:
    """The passes of a region, oldest first."""
    rng = np.random.default_rng([spec.seed, 3])
    n = spec.n_dates
    heavy = set(rng.permutation(n)[: max(round(n * 0.25), 1 if n > 2 else 0)].tolist())
    cut = set(rng.permutation(n)[: n // 5].tolist())
    older = max(n // 3, 1) if n > 1 else 0
    ny, nx = geometry.ground_shape
    found = []
    for k in range(n):
        day = spec.first + dt.timedelta(days=spec.step_days * k + 5 * int(rng.integers(0, 3)) * (spec.step_days > 10))
        angle = 2 * math.pi * (day.timetuple().tm_yday - 45) / 365.25
        season = 0.5 + 0.5 * math.cos(angle if spec.lat < 0 else angle + math.pi)
        cover = float(rng.uniform(0.6, 0.9) if k in heavy else spec.cloudiness * rng.choice([0.1, 0.6, 1.1, 1.7]))
        period = float(rng.choice([90.0, 220.0, 420.0]))
        seed = int(rng.integers(1, 1 << 40))
        zenith = math.radians(24 + 14 * abs(math.sin(angle / 2)))
        azimuth = math.radians(rng.uniform(40, 130))
        reach = rng.uniform(700, 1900) * math.tan(zenith) / RES
        swath = None
        if k in cut:
            # The swath's western or eastern edge, running about 12 degrees off north.
            tilt = math.tan(math.radians(-12))
            at = rng.uniform(0.12, 0.3) * nx
            swath = (tilt, -1.0, -at + tilt * ny / 2) if rng.random() < 0.5 else (-tilt, 1.0, nx - at - tilt * ny / 2)
        jitter = rng.normal(0, 0.12, (n_surfaces, 3))
        found.append(
            Look(
                index=k,
                moment=dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
                + dt.timedelta(hours=10.5 - spec.lon / 15, seconds=int(rng.integers(0, 600))),
                platform=f"sentinel-2{'ab'[day.toordinal() // 5 % 2]}",
                baseline=spec.baselines[0 if k < older else 1],
                offset=0 if float(spec.baselines[0 if k < older else 1]) < 4 else 1000,
                season=season,
                level=float(np.clip(0.15 + 0.65 * season + rng.normal(0, 0.08), 0.05, 0.95)),
                gain=float(1 + rng.normal(0, 0.035)),
                slant=float(rng.normal(0, 0.04)),
                haze=float(rng.gamma(1.5, 0.35)),
                cover=min(cover, 0.95),
                period=period,
                threshold=_threshold(geometry.ground_shape, period, min(cover, 0.95), seed),
                shadow=(-reach * -math.cos(azimuth), -reach * math.sin(azimuth)),
                swath=swath,
                jitter=tuple(tuple(float(v) for v in row) for row in jitter),  # type: ignore[misc]
                seed=seed,
            )
        )
    return tuple(found)


def _threshold(shape: tuple[int, int], period: float, cover: float, seed: int) -> float:
    """The level of the cloud noise above which ``cover`` of the region lies."""
    step = max(max(shape) // 128, 1)
    field = fbm_grid(0.0, 0.0, float(step), (shape[0] // step, shape[1] // step), period, 4, 0.62, seed)
    return float(np.quantile(field, 1 - cover))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """Coarse fields over one tile, every SKY_STEP pixels, with one row and column to spare."""

    opacity: Floats
    """0 clear - 1 opaque."""
    shade: Floats
    """0 lit - 1 full shadow."""
    haze: Floats


def sky(look: Look, tile: TileFrame) -> Sky:
    """Clouds, their shadows and haze over one tile; the same ground gets the same sky in both tiles."""
    rows, cols = np.meshgrid(
        np.arange(-1, tile.shape[0] // SKY_STEP + 3) * float(SKY_STEP),
        np.arange(-1, tile.shape[1] // SKY_STEP + 3) * float(SKY_STEP),
        indexing="ij",
    )
    gy, gx = (v.astype(np.float32) for v in tile.ground(rows, cols))
    opacity = _opacity(look, gy, gx)
    behind = _opacity(look, gy - np.float32(look.shadow[0]), gx - np.float32(look.shadow[1]))
    haze = look.haze * (1 + 0.3 * fbm_at(gy, gx, 900.0, 2, 0.5, look.seed + 9))
    return Sky(opacity=opacity, shade=behind * (1 - opacity), haze=haze.clip(0).astype(np.float32))


def _opacity(look: Look, gy: Floats, gx: Floats) -> Floats:
    field = fbm_at(gy, gx, look.period, 5, 0.62, look.seed) - np.float32(look.threshold)
    # Cumulus edges are steep, stratus edges are soft.
    depth = (field * np.float32(3.0 if look.period < 300 else 1.5) + np.float32(0.1)).clip(0)
    return np.asarray(1 - np.exp(-depth * np.sqrt(depth)), np.float32)


def cloudy_share(view: Sky, seen: NDArray[np.bool_]) -> float:
    """Per cent of the seen ground that is truly under cloud; ``seen`` at 20 m."""
    inside = seen[:: SKY_STEP // 2, :: SKY_STEP // 2]
    cloudy = view.opacity[1 : inside.shape[0] + 1, 1 : inside.shape[1] + 1] > _CIRRUS
    return round(float((cloudy & inside).sum()) / max(int(inside.sum()), 1) * 100, 2)


def seen_outline(look: Look, tile: TileFrame) -> Polygon | None:
    """The part of the tile inside the swath, in the tile's CRS; None where the swath misses the tile."""
    line = edge_line(look, tile)
    if line is None:
        return tile.outline
    a, b, c = line
    rows, cols = np.array([-1e5, 1e5]), (c - a * np.array([-1e5, 1e5])) / b
    x, y = tile.left + (cols + 0.5) * RES, tile.top - (rows + 0.5) * RES
    parts = split(tile.outline, LineString(np.column_stack([x, y]))).geoms
    for part in parts:
        point = part.representative_point()
        row, col = (tile.top - point.y) / RES - 0.5, (point.x - tile.left) / RES - 0.5
        if a * row + b * col < c:
            return Polygon(part)
    return None


def edge_line(look: Look, tile: TileFrame) -> tuple[float, float, float] | None:
    """The swath's edge as (a, b, c) in the tile's own pixels: seen where a * row + b * col < c."""
    if look.swath is None:
        return None
    a, b, c = look.swath
    corners = np.array([[0, 0], [tile.shape[0], 0], [0, tile.shape[1]]], float)
    gy, gx = tile.ground(corners[:, 0], corners[:, 1])
    value = a * gy + b * gx - c
    # Both lattices are nearly affine to each other, so three corners fix the line.
    return (
        float((value[1] - value[0]) / tile.shape[0]),
        float((value[2] - value[0]) / tile.shape[1]),
        float(-value[0]),
    )
