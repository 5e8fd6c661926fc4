"""Noise as a pure function of place and seed, so that neither threads nor tiling can change a pixel."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xBF58476D1CE4E5B9)
_C = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S40 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(40)


@numba.njit(inline="always", cache=True)
def mix(h: np.uint64) -> np.uint64:
    """SplitMix64 finaliser (Steele, Lea and Flood 2014)."""
    h = (h ^ (h >> _S30)) * _B
    h = (h ^ (h >> _S27)) * _C
    return h ^ (h >> _S31)


@numba.njit(inline="always", cache=True)
def hash3(seed: int, y: int, x: int) -> np.uint64:
    return mix(np.uint64(seed) * _A + np.uint64(y) * _B + np.uint64(x) * _C + _A)


@numba.njit(inline="always", cache=True)
def unit(h: np.uint64) -> float:
    """The top 24 bits as a number in [0, 1)."""
    return float(h >> _S40) * 5.9604644775390625e-08


@numba.njit(cache=True, nogil=True)
def fbm(y: float, x: float, period: float, octaves: int, gain: float, seed: int) -> float:
    """Sum of ``octaves`` of value noise, each rotated against the last, scaled to a deviation of about 1."""
    total, norm, amp = 0.0, 0.0, 1.0
    cos, sin = 0.86, 0.5102940328869231
    for k in range(octaves):
        v = (cos * y - sin * x) / period + 1024.5
        u = (sin * y + cos * x) / period + 1024.5
        iv, iu = math.floor(v), math.floor(u)
        fv, fu = v - iv, u - iu
        fv = fv * fv * fv * (fv * (fv * 6 - 15) + 10)
        fu = fu * fu * fu * (fu * (fu * 6 - 15) + 10)
        jv, ju = int(iv), int(iu)
        s = seed * 64 + k
        a, b = unit(hash3(s, jv, ju)), unit(hash3(s, jv, ju + 1))
        c, d = unit(hash3(s, jv + 1, ju)), unit(hash3(s, jv + 1, ju + 1))
        top, low = a + (b - a) * fu, c + (d - c) * fu
        total += amp * (top + (low - top) * fv - 0.5)
        norm += amp * amp
        amp *= gain
        period *= 0.5
        # 37 degrees more per octave hides the lattice.
        cos, sin = cos * 0.79863551 - sin * 0.60181502, sin * 0.79863551 + cos * 0.60181502
    # Value noise with this interpolant has a deviation of about 0.2.
    return total / (0.2 * math.sqrt(norm))


@numba.njit(cache=True, nogil=True)
def fbm_grid(
    y0: float, x0: float, step: float, shape: tuple[int, int], period: float, octaves: int, gain: float, seed: int
) -> Floats:
    """``fbm`` on a regular lattice of ``shape`` (y, x) points ``step`` apart from (y0, x0)."""
    out = np.empty(shape, np.float32)
    for i in range(shape[0]):
        for j in range(shape[1]):
            out[i, j] = fbm(y0 + i * step, x0 + j * step, period, octaves, gain, seed)
    return out


@numba.njit(cache=True, nogil=True)
def fbm_at(ys: Floats, xs: Floats, period: float, octaves: int, gain: float, seed: int) -> Floats:
    """``fbm`` at the points (ys, xs), both (y, x)."""
    out = np.empty(ys.shape, np.float32)
    for i in range(ys.shape[0]):
        for j in range(ys.shape[1]):
            out[i, j] = fbm(ys[i, j], xs[i, j], period, octaves, gain, seed)
    return out
