"""Coarser by whole blocks, finer by repetition. Fill never leaks into a block that holds a value.

All functions take (y, x) or (n, y, x); both sizes must be multiples of the block edge ``f``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, output
from minescale.kernels._jit import kernel


def block_mean(image: NDArray[np.uint16], f: int, out: NDArray[np.uint16] | None = None) -> NDArray[np.uint16]:
    """Mean of the values that are not 0 in each f x f block, rounded half up; 0 where all are 0.

    Parameters
    ----------
    image : uint16 (y, x) or (n, y, x), 0 = no data.
    f : block edge in pixels.
    out : uint16, both last axes divided by ``f``.

    Raises
    ------
    UsageError
        where a size is not a multiple of ``f``.
    """
    fine, coarse = _inputs(image, f, (np.uint16,), out)
    _mean(_as_stack(fine), f, _as_stack(coarse))
    return coarse


def block_max(image: NDArray, f: int, fill: int = 255, out: NDArray | None = None) -> NDArray:
    """Largest value other than ``fill`` in each f x f block; ``fill`` where there is none. uint8 or uint16."""
    fine, coarse = _inputs(image, f, (np.uint8, np.uint16), out)
    _extreme(_as_stack(fine), f, _fill(fill, fine), fine.dtype.type(0), _as_stack(coarse))
    return coarse


def block_min(image: NDArray, f: int, fill: int, out: NDArray | None = None) -> NDArray:
    """Smallest value other than ``fill`` in each f x f block; ``fill`` where there is none. uint8 or uint16."""
    fine, coarse = _inputs(image, f, (np.uint8, np.uint16), out)
    _extreme(_as_stack(fine), f, _fill(fill, fine), fine.dtype.type(np.iinfo(fine.dtype).max), _as_stack(coarse))
    return coarse


def block_mode(image: NDArray[np.uint8], f: int, fill: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Most frequent value other than ``fill`` in each f x f block of uint8, the smallest on a tie; ``fill`` if none."""
    fine, coarse = _inputs(image, f, (np.uint8,), out)
    _mode(_as_stack(fine), f, _fill(fill, fine), _as_stack(coarse))
    return coarse


def repeat(image: NDArray, f: int) -> NDArray:
    """Every pixel as an f x f block: (..., y, x) to (..., y * f, x * f), any element type."""
    if f < 1:
        raise UsageError("block edge is not usable", got=f, expected="1 or more pixels")
    *lead, height, width = image.shape
    spread = np.broadcast_to(image[..., :, None, :, None], (*lead, height, f, width, f))
    return np.ascontiguousarray(spread).reshape(*lead, height * f, width * f)


def _inputs(image: NDArray, f: int, dtypes: tuple[type, ...], out: NDArray | None) -> tuple[NDArray, NDArray]:
    fine = given(image, "image", dtypes, (2, 3))
    height, width = fine.shape[-2:]
    if f < 1 or height % f or width % f:
        raise UsageError(
            "image does not divide into blocks",
            got=f"{height} x {width} pixels in blocks of {f}",
            expected="sizes that are multiples of the block edge",
        )
    return fine, output(out, (*fine.shape[:-2], height // f, width // f), fine.dtype)


def _fill(fill: int, image: NDArray) -> np.integer:
    if not 0 <= fill <= np.iinfo(image.dtype).max:
        raise UsageError("fill value does not fit the image", got=fill, expected=image.dtype)
    value: np.integer = image.dtype.type(fill)
    return value


def _as_stack(image: NDArray) -> NDArray:
    return image.reshape(-1, *image.shape[-2:])


@kernel
def _mean(fine: NDArray, f: int, coarse: NDArray) -> None:
    layers, height, width = coarse.shape
    total = np.empty(width, np.int64)
    count = np.empty(width, np.int64)
    for layer in range(layers):
        for y in range(height):
            total.fill(0)
            count.fill(0)
            for dy in range(f):
                row = fine[layer, y * f + dy]
                for x in range(width):
                    for dx in range(f):
                        value = row[x * f + dx]
                        total[x] += np.int64(value)
                        count[x] += np.int64(value != 0)
            for x in range(width):
                n = count[x]
                # (2 s + n) // 2 n rounds s / n half up; a block without a value has n = 0.
                coarse[layer, y, x] = (2 * total[x] + n) // max(1, 2 * n)


@kernel
def _extreme(fine: NDArray, f: int, fill: np.integer, worst: np.integer, coarse: NDArray) -> None:
    layers, height, width = coarse.shape
    largest = worst == 0
    # Fill counts as the worst value; whether a block held another is noted beside it. Columns are joined last, so that
    # most of the work goes along rows, many pixels at a time.
    line = np.empty(width * f, fine.dtype)
    valued = np.empty(width * f, np.uint8)
    for layer in range(layers):
        for y in range(height):
            line[:] = worst
            valued[:] = 0
            for dy in range(f):
                row = fine[layer, y * f + dy]
                for i in range(width * f):
                    value = row[i]
                    valued[i] |= value != fill
                    value = worst if value == fill else value
                    line[i] = max(line[i], value) if largest else min(line[i], value)
            target = coarse[layer, y]
            for x in range(width):
                best, any_valued = worst, valued[x * f]
                for dx in range(f):
                    best = max(best, line[x * f + dx]) if largest else min(best, line[x * f + dx])
                    any_valued |= valued[x * f + dx]
                target[x] = best if any_valued else fill


@kernel
def _mode(fine: NDArray, f: int, fill: np.integer, coarse: NDArray) -> None:
    layers, height, width = coarse.shape
    seen = np.zeros(256, np.int64)
    for layer in range(layers):
        for y in range(height):
            for x in range(width):
                # Count and value in one number, the smaller value first on a tie: the highest wins, without a branch.
                best = np.int64(0)
                for dy in range(f):
                    for dx in range(f):
                        value = fine[layer, y * f + dy, x * f + dx]
                        seen[value] += np.int64(value != fill)
                        best = max(best, seen[value] * 256 + 255 - np.int64(value))
                coarse[layer, y, x] = fill if best < 256 else 255 - best % 256
                # Only what was counted is cleared: 256 counters would cost more than a small block.
                for dy in range(f):
                    for dx in range(f):
                        seen[fine[layer, y * f + dy, x * f + dx]] = 0
