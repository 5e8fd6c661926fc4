"""Digital numbers to harmonised reflectance: uint16, reflectance x 1e4, 0 = no data, valid floor 1.

A band has at most 65536 digital numbers, so the conversion is a table that is computed once, exactly, and looked up.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, output
from minescale.kernels._jit import kernel

SCALE = 10_000
"""Harmonised digital numbers per unit of reflectance."""
FLOOR, CEILING = 1, 65_534
"""Smallest and largest harmonised value of a valid pixel: dark ground must not turn into no data."""


def reflectance_table(scale: float, offset: float, nodata: int | None) -> NDArray[np.uint16]:
    """uint16 (65536,) table from digital number to harmonised reflectance.

    ``clip(round_half_up((DN * scale + offset) * 1e4), 1, 65534)``, and 0 where ``DN == nodata``. With
    ``nodata=None`` every number is valid, 0 included. ``scale`` and ``offset`` count as the decimal numbers
    they are printed as, and the sum is exact: scale 1e-4 with offset -0.1 gives DN - 1000 to the last digit,
    where floating point would have to be lucky.

    Raises
    ------
    UsageError
        for a scale that is not positive, or a scale or offset that is not finite.
    """
    if not (np.isfinite(scale) and np.isfinite(offset) and scale > 0):
        raise UsageError(
            "radiometry is not usable", got=f"scale {scale}, offset {offset}", expected="finite, scale > 0"
        )
    table: NDArray[np.uint16] = _valid_table(repr(float(scale)), repr(float(offset))).copy()
    if nodata is not None and 0 <= nodata <= 0xFFFF:
        table[nodata] = 0
    return table


@lru_cache(maxsize=32)
def _valid_table(scale: str, offset: str) -> NDArray[np.uint16]:
    slope, shift = Fraction(scale) * SCALE, Fraction(offset) * SCALE
    below = slope.denominator * shift.denominator
    slope_n, shift_n = slope.numerator * shift.denominator, shift.numerator * slope.denominator
    # Python integers where 64 bits might overflow: scales such as 1/3 have long decimals.
    largest = 2 * (0xFFFF * slope_n + abs(shift_n) + below)
    numbers = np.arange(65536, dtype=np.int64 if largest < 2**62 else object)
    rounded = (2 * (numbers * slope_n + shift_n) + below) // (2 * below)
    table: NDArray[np.uint16] = np.clip(rounded, FLOOR, CEILING).astype(np.uint16)
    return table


def apply_table(
    dn: NDArray[np.uint16], table: NDArray[np.uint16], out: NDArray[np.uint16] | None = None
) -> NDArray[np.uint16]:
    """Look every digital number up.

    Parameters
    ----------
    dn : uint16, any shape.
    table : uint16 (65536,), see `reflectance_table`.
    out : uint16 of the shape of ``dn``; may be ``dn`` itself.
    """
    numbers = given(dn, "digital numbers", (np.uint16,), None)
    lookup = given(table, "reflectance table", (np.uint16,), 1)
    if lookup.size != 65536:
        raise UsageError("reflectance table has the wrong size", got=lookup.size, expected=65536)
    harmonised = output(out, numbers.shape, np.uint16)
    _apply(numbers.reshape(-1), lookup, harmonised.reshape(-1))
    return harmonised


@kernel
def _apply(numbers: NDArray, table: NDArray, out: NDArray) -> None:
    for i in range(numbers.size):
        out[i] = table[numbers[i]]
