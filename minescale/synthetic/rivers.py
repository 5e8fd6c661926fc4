"""Lines on the ground: meandering rivers, their tributaries and roads, drawn as capsules round polylines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    points: NDArray[np.float64]
    """(n, 2) rows and columns on the ground lattice."""
    half_width: NDArray[np.float64]
    """(n,) pixels."""
    bend: NDArray[np.float64]
    """(n,) curvature scaled to about ±1; positive where the inner side is on the right of the way."""
    main: bool


@numba.njit(cache=True, nogil=True)
def stamp(points: NDArray, half_width: NDArray, bend: NDArray, reach: float, u: Floats, inner: Floats) -> None:
    """Lower ``u`` to the distance from the polyline in half widths, out to ``reach`` half widths.

    ``inner`` gets the bend towards the pixel's side at the nearest point: positive inside a bend.
    """
    ny, nx = u.shape
    for k in range(points.shape[0] - 1):
        ay, ax, by, bx = points[k, 0], points[k, 1], points[k + 1, 0], points[k + 1, 1]
        w = max(half_width[k], 0.5)
        r = w * reach + 1.0
        y0, y1 = max(int(min(ay, by) - r), 0), min(int(max(ay, by) + r) + 1, ny - 1)
        x0, x1 = max(int(min(ax, bx) - r), 0), min(int(max(ax, bx) + r) + 1, nx - 1)
        dy, dx = by - ay, bx - ax
        length2 = max(dy * dy + dx * dx, 1e-9)
        for i in range(y0, y1 + 1):
            for j in range(x0, x1 + 1):
                t = min(max(((i - ay) * dy + (j - ax) * dx) / length2, 0.0), 1.0)
                ey, ex = i - (ay + t * dy), j - (ax + t * dx)
                d = math.sqrt(ey * ey + ex * ex) / w
                if d <= reach and d < u[i, j]:
                    u[i, j] = d
                    side = 1.0 if dx * ey - dy * ex > 0 else -1.0
                    inner[i, j] = side * bend[k]


def network(shape: tuple[int, int], rng: np.random.Generator) -> list[Line]:
    """One or two main rivers through the region and tributaries that run into them."""
    ny, nx = shape
    size = max(ny, nx)
    lines = [_main(shape, rng, width=float(np.clip(size / 190, 7, 22)), row=rng.uniform(0.3, 0.7))]
    if size > 3000:
        lines.append(_main(shape, rng, width=9.0, row=rng.choice([0.12, 0.88])))
    stems = np.concatenate([line.points for line in lines])
    for _ in range(round(ny * nx / 300_000) + 3):
        start = rng.uniform([0, 0], [ny, nx])
        nearest = stems[np.argmin(((stems - start) ** 2).sum(1))]
        distance = float(np.hypot(*(nearest - start)))
        if distance > 120:
            lines.append(_tributary(start, nearest, distance, rng))
    return lines


def _main(shape: tuple[int, int], rng: np.random.Generator, width: float, row: float) -> Line:
    """A sine-generated meander (Langbein and Leopold 1966) with wandering amplitude, entering from the west."""
    ny, nx = shape
    step = 3.0
    n = int(nx * 2.6 / step)
    s = np.arange(n) * step
    wavelength = width * 24
    phase = 2 * np.pi * s / wavelength + _wander(n, wavelength / step * 1.6, 2.6, rng)
    swing = 1.05 + _wander(n, wavelength / step * 1.5, 0.40, rng)
    heading = rng.uniform(-0.25, 0.25) + _wander(n, wavelength / step * 6, 0.35, rng)
    angle = heading + swing * np.sin(phase)
    points = np.column_stack([row * ny + np.cumsum(np.sin(angle)) * step, -60 + np.cumsum(np.cos(angle)) * step])
    keep = (np.abs(points[:, 1] - nx / 2) < nx / 2 + 80) & (np.abs(points[:, 0] - ny / 2) < ny / 2 + 80)
    last = int(np.flatnonzero(keep).max()) + 1
    bend = np.gradient(angle)
    widths = width * np.exp(_wander(n, 60, 0.16, rng))
    scale = float(np.percentile(np.abs(bend), 90))
    return Line(points=points[:last], half_width=widths[:last], bend=bend[:last] / scale, main=True)


def _tributary(start: NDArray, mouth: NDArray, distance: float, rng: np.random.Generator) -> Line:
    step = 2.0
    position, points, angles = start.astype(float), [], []
    n = int(distance * 2.2 / step)
    swing = _wander(n, 14, 0.75, rng) + _wander(n, 70, 0.55, rng)
    for k in range(n):
        to = mouth - position
        if np.hypot(*to) < 6:
            break
        angle = math.atan2(to[0], to[1]) + swing[k] * min(1.0, np.hypot(*to) / 60)
        position = position + step * np.array([math.sin(angle), math.cos(angle)])
        points.append(position)
        angles.append(angle)
    path = np.array(points)
    # Springs are narrow, mouths are wide.
    widths = np.linspace(0.35, rng.uniform(1.1, 2.6), len(path)) * np.exp(_wander(len(path), 40, 0.2, rng))
    bend = np.gradient(np.unwrap(np.array(angles)))
    return Line(points=path, half_width=widths, bend=bend / (np.abs(bend).mean() * 2 + 1e-6), main=False)


def road(a: NDArray, b: NDArray, rng: np.random.Generator) -> Line:
    """A winding track from ``a`` to ``b``."""
    n = max(int(np.hypot(*(b - a)) / 4), 2)
    t = np.linspace(0, 1, n)
    across = np.array([-(b - a)[1], (b - a)[0]]) / max(np.hypot(*(b - a)), 1)
    offset = (_wander(n, n / 3, 40, rng) + _wander(n, 18, 5, rng)) * np.sin(np.pi * t)
    points = a + t[:, None] * (b - a) + offset[:, None] * across
    widths = np.full(n, rng.uniform(0.5, 1.0))
    return Line(points=points, half_width=widths, bend=np.zeros(n), main=False)


def _wander(n: int, length: float, deviation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth random series: white knots ``length`` steps apart, joined by cosine interpolation."""
    knots = rng.normal(0, deviation, int(n / max(length, 1)) + 3)
    at = np.arange(n) / max(length, 1)
    i = at.astype(int)
    f = (1 - np.cos(np.pi * (at - i))) / 2
    return np.asarray(knots[i] * (1 - f) + knots[i + 1] * f)
