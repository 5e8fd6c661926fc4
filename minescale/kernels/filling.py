"""Stored numbers decoded and put where they belong, in one pass over memory: as they lie, or gathered run by run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from minescale.kernels._jit import kernel
from minescale.kernels.lookup import Positions, Runs
from minescale.kernels.scaling import CEILING, FLOOR

_SHORT = 8
"""Runs below this many pixels are not worth the start of a vector loop."""
_CEILING, _FLOOR, _NOTHING = np.uint16(CEILING), np.uint16(FLOOR), np.uint16(0)


class Decoding(NamedTuple):
    """What stored numbers become."""

    table: NDArray
    """(65536,) uint8 or uint16: the value of every possible number."""
    minus: int
    """What the table subtracts, where it does nothing but that and clip to the valid range; else -1."""
    nodata: int
    """The one number that such a table turns into 0."""


def decoding(table: NDArray) -> Decoding:
    """A table for :func:`fill`; one that only subtracts is recognised, because arithmetic takes vectors."""
    empty = np.flatnonzero(table == 0)
    if table.dtype == np.uint16 and len(empty) == 1:
        nodata, somewhere = int(empty[0]), 40_000 if empty[0] != 40_000 else 40_001
        minus = somewhere - int(table[somewhere])
        expected = np.clip(np.arange(65536) - minus, FLOOR, CEILING)
        expected[nodata] = 0
        if minus >= 0 and np.array_equal(table, expected):
            return Decoding(table, minus, nodata)
    return Decoding(table, -1, 0)


def fill(stored: NDArray, decode: Decoding, out: NDArray, *, fresh: bool = False) -> None:
    """``out = decoded stored`` where ``out`` is 0: decode and fuse in one pass. ``fresh``: everywhere.

    ``stored`` and ``out`` are (y, x) of one shape, ``stored`` uint8 or uint16, ``out`` of the table's type; both may
    be windows of larger arrays.
    """
    source, across = _flat(stored)
    target, along = _flat(out)
    table, minus, nodata = decode
    arithmetic = minus >= 0 and stored.dtype == out.dtype == np.uint16
    if arithmetic:
        _fill_minus(
            source, across, np.uint16(minus), np.uint16(nodata), target, along, out.shape[0], out.shape[1], fresh
        )
    else:
        _fill(source, across, table, target, along, out.shape[0], out.shape[1], fresh)


def fill_gathered(
    stored: NDArray, corner: tuple[int, int], decode: Decoding, runs: Runs, out: NDArray, *, fresh: bool = False
) -> None:
    """``out`` = the decoded image pixels that ``runs`` name, where ``out`` is 0; ``fresh``: wherever there are runs.

    ``stored`` is a part of the image that holds them all, (y, x), from the (row, column) ``corner`` on; it may be a
    window of a larger array, ``out`` is C-contiguous. Types as for :func:`fill`.
    """
    table, minus, nodata = decode
    arithmetic = minus >= 0 and stored.dtype == out.dtype == np.uint16
    source, across = _flat(stored)
    _gather(
        source,
        across,
        corner[0] * across + corner[1],
        table,
        arithmetic,
        np.uint16(max(minus, 0)),
        np.uint16(nodata),
        *runs,
        out.reshape(-1),
        fresh,
    )


def clear_nowhere(positions: Positions, out: NDArray) -> None:
    """0 where a target pixel has no image."""
    first, length = positions.nowhere
    _clear(first, length, out.reshape(-1))


def _flat(array: NDArray) -> tuple[NDArray, int]:
    """A window as one row of memory, and the elements from one of its rows to the next.

    numba makes vectors only of what it knows to be contiguous.
    """
    rows, cols = array.shape
    if array.size == 0 or rows == 1:
        return array.reshape(-1), cols
    stride = array.strides[0] // array.itemsize
    return as_strided(array, ((rows - 1) * stride + cols,), (array.itemsize,)), stride


@kernel
def _row(source: NDArray, table: NDArray, target: NDArray, fresh: bool) -> None:  # pragma: no cover - compiled
    if fresh:
        for x in range(target.size):
            target[x] = table[source[x]]
    else:
        for x in range(target.size):
            if target[x] == 0:
                target[x] = table[source[x]]


@kernel
def _subtract(number: np.uint16, minus: np.uint16, nodata: np.uint16) -> np.uint16:  # pragma: no cover - compiled
    value = np.uint16(number - minus) if number > minus else _FLOOR
    value = min(value, _CEILING)
    return value if number != nodata else _NOTHING


@kernel
def _row_minus(
    source: NDArray, minus: np.uint16, nodata: np.uint16, target: NDArray, fresh: bool
) -> None:  # pragma: no cover - compiled
    if fresh:
        for x in range(target.size):
            target[x] = _subtract(source[x], minus, nodata)
    else:
        for x in range(target.size):
            before, value = target[x], _subtract(source[x], minus, nodata)
            target[x] = before if before != 0 else value


@kernel
def _fill(
    source: NDArray, across: int, table: NDArray, target: NDArray, along: int, ny: int, nx: int, fresh: bool
) -> None:  # pragma: no cover - compiled
    for y in range(ny):
        _row(source[y * across : y * across + nx], table, target[y * along : y * along + nx], fresh)


@kernel
def _fill_minus(
    source: NDArray,
    across: int,
    minus: np.uint16,
    nodata: np.uint16,
    target: NDArray,
    along: int,
    ny: int,
    nx: int,
    fresh: bool,
) -> None:  # pragma: no cover - compiled
    for y in range(ny):
        _row_minus(source[y * across : y * across + nx], minus, nodata, target[y * along : y * along + nx], fresh)


@kernel
def _clear(first: NDArray, length: NDArray, target: NDArray) -> None:  # pragma: no cover - compiled
    for n in range(first.size):
        target[first[n] : first[n] + length[n]] = 0


@kernel
def _gather(
    source: NDArray,
    across: int,
    corner: int,
    table: NDArray,
    arithmetic: bool,
    minus: np.uint16,
    nodata: np.uint16,
    first: NDArray,
    length: NDArray,
    row: NDArray,
    col: NDArray,
    repeat: int,
    target: NDArray,
    fresh: bool,
) -> None:  # pragma: no cover - compiled
    longest = 0
    for n in range(length.size):
        longest = max(longest, length[n])
    scratch, wide = np.empty(longest // repeat + 1, target.dtype), np.empty(longest, target.dtype)
    for n in range(first.size):
        a, b, s = first[n], first[n] + length[n], row[n] * across + col[n] - corner
        if b - a < _SHORT:
            for x in range(a, b):
                if fresh or target[x] == 0:
                    target[x] = table[source[s + (x - a) // repeat]]
            continue
        pixels, piece = source[s : s + (b - a - 1) // repeat + 1], target[a:b]
        values = piece if repeat == 1 else scratch[: pixels.size]
        if arithmetic:
            _row_minus(pixels, minus, nodata, values, fresh or repeat > 1)
        else:
            _row(pixels, table, values, fresh or repeat > 1)
        if repeat > 1 and fresh:
            _spread(values, repeat, piece)
        elif repeat > 1:
            _spread(values, repeat, wide[: b - a])
            for x in range(piece.size):
                before, value = piece[x], wide[x]
                piece[x] = before if before != 0 else value


@kernel
def _spread(values: NDArray, repeat: int, target: NDArray) -> None:  # pragma: no cover - compiled
    """``target[x] = values[x // repeat]``."""
    whole = target.size // repeat
    if repeat == 2:
        for k in range(whole):
            target[2 * k] = values[k]
            target[2 * k + 1] = values[k]
    else:
        for k in range(whole):
            for x in range(k * repeat, (k + 1) * repeat):
                target[x] = values[k]
    for x in range(whole * repeat, target.size):
        target[x] = values[whole]
