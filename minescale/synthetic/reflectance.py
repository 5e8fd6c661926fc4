"""What the ground reflects on a date, before the air: measured spectra, seasons, diggings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from minescale.synthetic.geometry import TileFrame
from minescale.synthetic.noise import mix
from minescale.synthetic.spectra import Cover, Surface, derived_table, tables

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint16]

_MEAN, _AXES, _REST, _BETWEEN = tables()
_TABLE = np.concatenate([_MEAN[..., None], _REST[..., None], _AXES], axis=2)
_DERIVED = derived_table()
_SPREAD = np.stack([np.sqrt(_BETWEEN), np.sqrt(1 - _BETWEEN)], 1).astype(np.float32) / np.float32(32)
"""Weights of slow and fast texture per surface, for bytes."""
# exp() of 0 ... 10 in steps of 1/512: three times as fast, and its error of 0.1 % drowns in the noise.
_EXP = np.exp(np.arange(10 * 512 + 1) / 512).astype(np.float32)
# Numba does not unify enumeration members with numbers.
_RIVER, _GRASS, _BARE = int(Surface.RIVER), int(Surface.GRASS), int(Surface.BARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGround:
    """The ground as one tile sees it."""

    records: Bytes
    """(y, x, 12), see ``landscape``."""
    spectra: Words
    """(y, x, 12) reflectance x 1e4: six bands before, six bands after."""


def look_up(ground: Bytes, tile: TileFrame) -> TileGround:
    """The tile's own copy of the ground records, nearest neighbour, and their spectra."""
    rows, cols = np.meshgrid(
        np.arange(tile.shape[0], dtype=float), np.arange(tile.shape[1], dtype=float), indexing="ij", sparse=True
    )
    out = np.empty((*tile.shape, ground.shape[2]), np.uint8)
    for y0 in range(0, tile.shape[0], 256):
        gy, gx = tile.ground(rows[y0 : y0 + 256], cols)
        iy = np.rint(gy).astype(np.intp).clip(0, ground.shape[0] - 1)
        ix = np.rint(gx).astype(np.intp).clip(0, ground.shape[1] - 1)
        out[y0 : y0 + 256] = ground[iy, ix]
    spectra = np.zeros(out.shape, np.uint16)
    _spectra(out, _SPREAD, spectra)
    return TileGround(records=out, spectra=spectra)


@numba.njit(inline="always", cache=True)
def _exp(v: float) -> float:
    return float(_EXP[int(min(max(v, 0.0), 9.999) * 512.0 + 0.5)])


@numba.njit(inline="always", cache=True)
def _spectrum(record: Bytes, which: int, spread: Floats, out: NDArray) -> None:
    """Reflectance x 1e4 of one pixel, were its surface ``which``."""
    slow, fast = spread[which, 0], spread[which, 1]
    z0 = slow * (int(record[6]) - 128) + fast * (int(record[9]) - 128)
    z1 = slow * (int(record[7]) - 128) + fast * (int(record[10]) - 128)
    z2 = slow * (int(record[8]) - 128) + fast * (int(record[11]) - 128)
    # The pixel's own residual depends on its record, so that both tiles see the same ground.
    h = mix(_key(record))
    for b in range(6):
        e = float(np.int64(h & np.uint64(0x3FF))) * (2.4 / 1024.0) - 1.2
        h >>= np.uint64(10)
        t = _TABLE[which, b]
        out[b] = _exp(t[0] + t[1] * e + t[2] * z0 + t[3] * z1 + t[4] * z2)


@numba.njit(inline="always", cache=True)
def _key(record: Bytes) -> np.uint64:
    key = 0
    for k in range(6, 12):
        key = key << 8 | int(record[k])
    return np.uint64(key)


@numba.njit(inline="always", cache=True)
def _partner(cover: int) -> int:
    """The surface that a cover changes to with the seasons; -1 where it does not change."""
    if cover == Cover.SANDBAR:
        return _RIVER
    if cover == Cover.BARE_FIELD:
        return _GRASS
    if cover in (Cover.CROPLAND, Cover.PASTURE, Cover.SAVANNA):
        return _BARE
    return -1


@numba.njit(inline="always", cache=True)
def _share(cover: int, phase: float, season: float, level: float) -> float:
    """How much of a pixel its own surface covers on a date; the rest is its partner's."""
    if cover == Cover.SANDBAR:
        return 0.0 if phase < level else 1.0
    if cover == Cover.CROPLAND:
        # Two crops a year, each field on its own calendar; stubble and bare soil between.
        t = (2.0 * (phase + 0.5 * season)) % 1.0
        return min(max(3.2 * math.sin(math.pi * t) - 1.3, 0.0), 1.0)
    if cover == Cover.BARE_FIELD:
        return 1.0 - 0.35 * season * phase
    return min(max(0.45 + 0.55 * season + 0.5 * (phase - 0.5), 0.15), 1.0)


@numba.njit(cache=True, nogil=True)
def _spectra(records: Bytes, spread: Floats, out: Words) -> None:
    """What does not change from date to date, (y, x, 12): six bands of the surface before, then six of the surface
    after or, where nothing is dug, of the seasonal partner."""
    ny, nx, _ = records.shape
    value = np.empty(6, np.float64)
    for i in range(ny):
        for j in range(nx):
            record = records[i, j]
            _spectrum(record, int(record[1]), spread, value)
            for b in range(6):
                out[i, j, b] = int(value[b] + 0.5)
            other = int(record[3]) if record[4] > 0 else _partner(int(record[0]))
            if other >= 0:
                _spectrum(record, other, spread, value)
                for b in range(6):
                    out[i, j, 6 + b] = int(value[b] + 0.5)


@numba.njit(cache=True, nogil=True)
def _reflect(  # noqa: PLR0912 - one pass over the pixels
    records: Bytes,
    spectra: Words,
    date: int,
    season: float,
    level: float,
    factor: Floats,
    spread: Floats,
    gain0: float,
    gain1: float,
    out: Floats,
) -> None:
    """Surface reflectance x 1e4 of a few rows, (band, y, x); ``factor`` (surface, 6) is the day's own tint."""
    count, ny, nx = out.shape
    value, other = np.empty(6, np.float64), np.empty(6, np.float64)
    for i in range(ny):
        for j in range(nx):
            gain = gain0 + gain1 * j
            start, cover = int(records[i, j, 4]), int(records[i, j, 0])
            if start > 0 and date >= start - 1:
                which = int(records[i, j, 3])
                for b in range(6):
                    value[b] = spectra[i, j, 6 + b] * factor[which, b]
            else:
                which, partner = int(records[i, j, 1]), _partner(cover)
                for b in range(6):
                    value[b] = spectra[i, j, b] * factor[which, b]
                if partner >= 0:
                    share = _share(cover, records[i, j, 5] / 255.0, season, level)
                    if start > 0:
                        _spectrum(records[i, j], partner, spread, other)
                    else:
                        for b in range(6):
                            other[b] = spectra[i, j, 6 + b]
                    for b in range(6):
                        value[b] = share * value[b] + (1.0 - share) * other[b] * factor[partner, b]
            for b in range(6):
                out[b, i, j] = value[b] * gain
            if count > 6:
                _derive(records[i, j], value, gain, out[:, i, j])


@numba.njit(inline="always", cache=True)
def _derive(record: Bytes, value: NDArray, gain: float, out: Floats) -> None:
    """The bands that follow from the six measured ones."""
    for b in range(6):
        value[b] = math.log(max(value[b], 1.0))
    h = mix(_key(record) + np.uint64(1))
    for d in range(4):
        v = float(_DERIVED[d, 6])
        for b in range(6):
            v += _DERIVED[d, b] * value[b]
        e = (float((h >> np.uint64(16 * d)) & np.uint64(0xFFFF)) / 65536.0 - 0.5) * 2.4
        out[6 + d] = _exp(v + 0.5 * _DERIVED[d, 7] * e) * gain


def day_factor(jitter: Floats) -> Floats:
    """The tint (surface, 6) that a day's shift of the texture factors (surface, 3) gives each surface."""
    return np.asarray(np.exp(np.einsum("sbk,sk->sb", _AXES, jitter)), np.float32)


def reflect(
    ground: TileGround,
    rows: slice,
    *,
    date: int,
    season: float,
    level: float,
    factor: Floats,
    gain: tuple[float, float],
    out: Floats,
) -> None:
    """Fill ``out`` (band, y, x; six bands or all ten) with surface reflectance x 1e4 of some rows.

    ``level``: river level 0 - 1; ``gain``: brightness at column 0 and its growth per column.
    """
    _reflect(ground.records[rows], ground.spectra[rows], date, season, level, factor, _SPREAD, *gain, out)
