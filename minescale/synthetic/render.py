"""From surface reflectance to digital numbers: blur, atmosphere, noise, offset, scene classes."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from minescale.synthetic.geometry import TileFrame
from minescale.synthetic.noise import hash3, mix, unit
from minescale.synthetic.reflectance import TileGround, day_factor, reflect
from minescale.synthetic.spectra import ALL_BANDS, CLOUD, CORE_BANDS, HAZE, SHADE
from minescale.synthetic.weather import SKY_STEP, Look, Sky, edge_line

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint16]

STRIPE = 64
_CLOUD, _SHADE, _HAZE = (np.array(v, np.float32) for v in (CLOUD, SHADE, HAZE))
_CORE = len(CORE_BANDS)
_FINE = tuple(ALL_BANDS.index(b) for b in ("blue", "green", "red", "nir"))
_NO_EDGE = (0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Files' contents of one tile and date: digital numbers by band name, (y, x); scene classes at 20 m."""

    bands: dict[str, Words]
    classes: Bytes


def render(ground: TileGround, look: Look, view: Sky, tile: TileFrame, bands: tuple[str, ...]) -> Rendered:
    """Digital numbers of one tile on one date; ``bands`` at their native resolution, plus the scene classes."""
    ny, nx = tile.shape
    wanted = [ALL_BANDS.index(b) for b in dict.fromkeys((*CORE_BANDS, *bands))]
    count = _CORE if max(wanted) < _CORE else len(ALL_BANDS)
    fine = {b: np.empty((ny, nx), np.uint16) for b in wanted if b in _FINE}
    coarse = {b: np.empty((ny // 2, nx // 2), np.uint16) for b in wanted if b not in _FINE}
    factor = day_factor(np.array(look.jitter, np.float32))
    edge = np.array(edge_line(look, tile) or _NO_EDGE, np.float64)
    _, gx = tile.ground(np.array([ny / 2.0, ny / 2.0]), np.array([0.0, float(nx)]))
    # Slant runs over the whole region: both tiles share it at the same ground column.
    tilt = (look.gain * (1 + look.slant * (gx[0] / 4000 - 0.5)), look.gain * look.slant * (gx[1] - gx[0]) / 4000 / nx)
    for y0 in range(0, ny, STRIPE):
        y1 = min(y0 + STRIPE, ny)
        a, b = max(y0 - 1, 0), min(y1 + 1, ny)
        surface = np.empty((count, b - a, nx), np.float32)
        reflect(
            ground,
            slice(a, b),
            date=look.index,
            season=look.season,
            level=look.level,
            factor=factor,
            gain=tilt,
            out=surface,
        )
        air = np.empty((3, y1 - y0, nx), np.float32)
        _air(view.opacity, view.shade, view.haze, y0, edge, air)
        for band, out in fine.items():
            _observe(surface[band], y0 - a, air, band, look.offset, look.seed, y0, out[y0:y1])
        for band, out in coarse.items():
            _observe_half(surface[band], y0 - a, air, band, look.offset, look.seed, y0 // 2, out[y0 // 2 : y1 // 2])
    classes = np.empty((ny // 2, nx // 2), np.uint8)
    _scene_classes(fine[1], fine[2], fine[3], coarse[4], view.opacity, view.shade, look.offset, look.seed, classes)
    every = {**fine, **coarse}
    return Rendered(bands={b: every[ALL_BANDS.index(b)] for b in bands}, classes=classes)


@numba.njit(inline="always", cache=True)
def _lookup(field: Floats, y: float, x: float) -> float:
    """Bilinear value of a sky field at a 10 m position."""
    v, u = y / SKY_STEP + 1.0, x / SKY_STEP + 1.0
    a, b = int(v), int(u)
    fv, fu = v - a, u - b
    top = field[a, b] + (field[a, b + 1] - field[a, b]) * fu
    low = field[a + 1, b] + (field[a + 1, b + 1] - field[a + 1, b]) * fu
    return float(top + (low - top) * fv)


@numba.njit(cache=True, nogil=True)
def _air(opacity: Floats, shade: Floats, haze: Floats, y0: int, edge: NDArray, out: Floats) -> None:
    """Opacity, shade and haze per 10 m pixel of a few rows, (3, y, x); opacity is -1 outside the swath."""
    _, ny, nx = out.shape
    row = np.empty((3, opacity.shape[1]), np.float32)
    for i in range(ny):
        v = (y0 + i) / SKY_STEP + 1.0
        a = int(v)
        f = np.float32(v - a)
        for b in range(opacity.shape[1]):
            row[0, b] = opacity[a, b] + (opacity[a + 1, b] - opacity[a, b]) * f
            row[1, b] = shade[a, b] + (shade[a + 1, b] - shade[a, b]) * f
            row[2, b] = haze[a, b] + (haze[a + 1, b] - haze[a, b]) * f
        for j in range(nx):
            b = j // SKY_STEP + 1
            f = np.float32(j % SKY_STEP) / np.float32(SKY_STEP)
            for k in range(3):
                out[k, i, j] = row[k, b] + (row[k, b + 1] - row[k, b]) * f
            if edge[0] * (y0 + i) + edge[1] * j >= edge[2]:
                out[0, i, j] = -1.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _digitise(value: Floats, air: Floats, band: int, offset: int, seed: int, y: int, out: Words) -> None:
    """One row through the air into the sensor. Noise is the same law for every surface.

    Free of branches and in 32 bits, so that the compiler can use vector registers. The hash is the 32-bit
    finaliser with multipliers 0x7feb352d and 0x846ca68b (C. Wellons, 2018).
    """
    low32 = np.uint64(0xFFFFFFFF)
    base = (mix(np.uint64(seed * 16 + band) + (np.uint64(y) << np.uint64(20)))) & np.uint64(0x7FFFFFFF)
    shade, haze, cloud = np.float32(1.0) - _SHADE[band], _HAZE[band], _CLOUD[band]
    one, half = np.float32(1.0), np.float32(0.5)
    top = np.float32(65535 - offset)
    for j in range(out.size):
        h = base + np.uint64(j)
        h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low32
        h = ((h ^ (h >> np.uint64(15))) * np.uint64(0x846CA68B)) & low32
        h = h ^ (h >> np.uint64(16))
        e = np.float32(np.int32(h & np.uint64(0xFFFF)) + np.int32(h >> np.uint64(16)))
        e = e * np.float32(2.45 / 65536.0) - np.float32(2.45)
        a, s, z = air[0, j], air[1, j], air[2, j]
        v = value[j] * (one - s * shade) * (one - np.float32(0.03) * z) + z * haze
        # An opacity of -1 marks ground outside the swath.
        c = max(a, np.float32(0.0))
        v = v + c * (cloud * (np.float32(0.35) + np.float32(0.65) * c) - v)
        v = v + e * (np.float32(5.0) + np.float32(0.004) * v)
        v = min(max(v + half, np.float32(1 - offset)), top)
        out[j] = np.uint16(np.int32(v) + np.int32(offset)) if a >= np.float32(0.0) else np.uint16(0)


@numba.njit(cache=True, nogil=True)
def _observe(surface: Floats, first: int, air: Floats, band: int, offset: int, seed: int, y0: int, out: Words) -> None:
    """10 m band of rows y0 ...: a 3 x 3 point spread (1 4 1), atmosphere, noise, quantisation."""
    ny, nx = out.shape
    last = surface.shape[0] - 1
    column, value = np.empty(nx + 2, np.float32), np.empty(nx, np.float32)
    four, part = np.float32(4.0), np.float32(1.0 / 36.0)
    for i in range(ny):
        c = i + first
        above, here, below = surface[max(c - 1, 0)], surface[c], surface[min(c + 1, last)]
        for j in range(nx):
            column[j + 1] = above[j] + four * here[j] + below[j]
        column[0], column[nx + 1] = column[1], column[nx]
        for j in range(nx):
            value[j] = (column[j] + four * column[j + 1] + column[j + 2]) * part
        _digitise(value, air[:, i], band, offset, seed, y0 + i, out[i])


@numba.njit(cache=True, nogil=True)
def _observe_half(
    surface: Floats, first: int, air: Floats, band: int, offset: int, seed: int, y0: int, out: Words
) -> None:
    """20 m band: a 4 x 4 point spread (1 4 4 1) round each 2 x 2 block, then as ``_observe``."""
    ny, nx = out.shape
    width, last = surface.shape[1], surface.shape[0] - 1
    column, value = np.empty(width + 2, np.float32), np.empty(nx, np.float32)
    over = np.empty((3, nx), np.float32)
    four, part, quarter = np.float32(4.0), np.float32(1.0 / 100.0), np.float32(0.25)
    for i in range(ny):
        c = 2 * i + first
        above, here, next_, below = surface[max(c - 1, 0)], surface[c], surface[c + 1], surface[min(c + 2, last)]
        for j in range(width):
            column[j + 1] = above[j] + four * (here[j] + next_[j]) + below[j]
        column[0], column[width + 1] = column[1], column[width]
        for j in range(nx):
            x = 2 * j
            value[j] = (column[x] + four * (column[x + 1] + column[x + 2]) + column[x + 3]) * part
            for k in range(3):
                over[k, j] = quarter * (
                    air[k, 2 * i, x] + air[k, 2 * i, x + 1] + air[k, 2 * i + 1, x] + air[k, 2 * i + 1, x + 1]
                )
            # A 20 m pixel is empty where any of its four parts is.
            low = min(air[0, 2 * i, x], air[0, 2 * i, x + 1])
            low = min(low, min(air[0, 2 * i + 1, x], air[0, 2 * i + 1, x + 1]))  # noqa: PLW3301 - numba
            if low < 0:
                over[0, j] = np.float32(-1.0)
        _digitise(value, over, band, offset, seed, y0 + i, out[i])


@numba.njit(cache=True, nogil=True)
def _scene_classes(  # noqa: PLR0912 - a chain of tests
    green: Words,
    red: Words,
    nir: Words,
    swir: Words,
    opacity: Floats,
    shade: Floats,
    offset: int,
    seed: int,
    out: Bytes,
) -> None:
    """A scene classification as fallible as Sen2Cor's: thin edges are missed, some bright ground becomes cloud."""
    ny, nx = out.shape
    for i in range(ny):
        for j in range(nx):
            s = float(swir[i, j])
            g, r, n, empty = 0.0, 0.0, 0.0, s == 0.0
            for di in range(2):
                for dj in range(2):
                    y, x = 2 * i + di, 2 * j + dj
                    empty = empty or red[y, x] == 0
                    g, r, n = g + green[y, x] / 4.0, r + red[y, x] / 4.0, n + nir[y, x] / 4.0
            if empty:
                out[i, j] = 0
                continue
            g, r, n, s = max(g - offset, 1.0), max(r - offset, 1.0), max(n - offset, 1.0), max(s - offset, 1.0)
            h = hash3(seed + 77, i, j)
            wobble = (unit(h) - 0.5) * 0.06
            a = _lookup(opacity, 2 * i + 0.5, 2 * j + 0.5) + wobble
            # The predicted shadow lies a pixel or two off the real one.
            dark = _lookup(shade, max(2 * i - 2.0, 0.0), 2 * j + 1.0) + 2 * wobble
            ndvi = (n - r) / (n + r)
            blob = unit(hash3(seed + 78, (i + int(3 * wobble / 0.03)) // 5, (j + int(3 * wobble / 0.03)) // 5))
            if a > 0.60:
                value = 9
            elif a > 0.24:
                value = 8
            elif a > 0.10:
                value = 10
            elif dark > 0.40:
                value = 3
            elif (g + r) / 2 > 2300.0 and blob < 0.22 * min((g + r) / 2 / 2300.0 - 0.9, 1.0) * 2.0:
                value = 8
            elif (g - s) / (g + s) > 0.05 and n < 2200.0 and ndvi < 0.25:
                value = 6
            elif n < 900.0 and ndvi < 0.4:
                value = 2
            elif ndvi > 0.5:
                value = 4
            elif a > 0.05:
                value = 7
            else:
                value = 5
            out[i, j] = value
