"""Composites: one value per pixel and band from a stack of looks.

Stacks are uint16 reflectance x 1e4 with the oldest layer first, 0 = no data. A sample counts where its layer is
CLEAR and its value is not 0; a pixel without a valid sample is 0 in the result. `median`, `percentile` and `latest`
take one band at a time, and states at the quality band's own resolution (``factor`` pixels per state), so that
neither masks nor other bands need to be in memory at full size. `geomedian` and `medoid` need all bands at once.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels import networks
from minescale.kernels._arrays import given, output
from minescale.kernels._jit import kernel
from minescale.kernels._joint import geomedian, medoid
from minescale.kernels._strips import strip_rows, strip_states
from minescale.sensors import CLEAR

__all__ = ["METHODS", "geomedian", "latest", "median", "medoid", "padded_depth", "percentile"]

METHODS: dict[str, Literal["band", "bands"]] = {
    "median": "band",
    "percentile": "band",
    "latest": "band",
    "geomedian": "bands",
    "medoid": "bands",
}
"""What a method needs in memory: one ``band`` of all layers at a time, or all ``bands`` of all layers."""

_CLEAR = np.uint8(CLEAR)
_MASKED, _ZERO, _ONE = np.uint16(0xFFFF), np.uint16(0), np.uint16(1)
_CACHE_BYTES = 1 << 15


def padded_depth(depth: int) -> int | None:
    """Depth of the selection network that serves ``depth`` layers; None where there are too many for one."""
    return next((n for n in networks.MEDIANS if n >= depth), None)


def median(
    stack: NDArray[np.uint16], states: NDArray[np.uint8], factor: int = 1, out: NDArray[np.uint16] | None = None
) -> NDArray[np.uint16]:
    """Exact median of the valid samples; the mean of the two middle ones, rounded half up, where their number is even.

    Parameters
    ----------
    stack : uint16 (t, y, x), one band, reflectance x 1e4, 0 = no data.
    states : uint8 (t, y / factor, x / factor).
    factor : pixels per state along each axis: 2 for 10 m bands under a 20 m quality band.
    out : uint16 (y, x).

    Returns
    -------
    uint16 (y, x), 0 where no sample is valid.

    Raises
    ------
    UsageError
        for shapes or element types that do not fit together.

    Notes
    -----
    Up to 24 layers run through an unrolled selection network, compiled once per depth of 4, 8, 12, 16 and 24;
    deeper stacks bisect on the value (16 counting passes), which works for any depth.
    """
    layers, mask, result = _inputs(stack, states, factor, out)
    depth = padded_depth(len(layers))
    if depth is not None:
        networks.MEDIANS[depth](layers, mask, factor, result)
        return result
    counts = np.arange(len(layers) + 1)
    rank = np.maximum(counts - 1, 0) // 2
    _select(layers, mask, factor, rank.astype(np.uint16), np.where(counts % 2 == 0, 0.5, 0.0), result)
    return result


def percentile(
    stack: NDArray[np.uint16],
    states: NDArray[np.uint8],
    factor: int = 1,
    q: float = 50.0,
    out: NDArray[np.uint16] | None = None,
) -> NDArray[np.uint16]:
    """Percentile of the valid samples, interpolated between the closest ranks as ``numpy.percentile`` does by
    default, then rounded half up.

    Parameters
    ----------
    stack, states, factor, out : as in `median`.
    q : 0 (minimum) to 100 (maximum).

    Returns
    -------
    uint16 (y, x), 0 where no sample is valid.
    """
    if not 0 <= q <= 100:
        raise UsageError("percentile is out of range", got=q, expected="0 to 100")
    layers, mask, result = _inputs(stack, states, factor, out)
    position = np.maximum(np.arange(len(layers) + 1) - 1, 0) * (q / 100)
    rank = np.floor(position)
    _select(layers, mask, factor, rank.astype(np.uint16), position - rank, result)
    return result


def latest(
    stack: NDArray[np.uint16], states: NDArray[np.uint8], factor: int = 1, out: NDArray[np.uint16] | None = None
) -> NDArray[np.uint16]:
    """The last valid sample along ``t``; layers come oldest first. Arguments and result as in `median`."""
    layers, mask, result = _inputs(stack, states, factor, out)
    _latest(layers, mask, factor, result)
    return result


def _inputs(
    stack: NDArray, states: NDArray, factor: int, out: NDArray | None
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint16]]:
    layers = given(stack, "stack", (np.uint16,), 3)
    mask = given(states, "states", (np.uint8,), 3)
    if factor < 1:
        raise UsageError("factor between stack and states is not usable", got=factor, expected="1 or more")
    depth, height, width = layers.shape
    if depth > 0xFFFF:
        raise UsageError("stack is too deep", got=depth, expected="at most 65535 layers")
    if (mask.shape[0], mask.shape[1] * factor, mask.shape[2] * factor) != layers.shape:
        raise UsageError(
            "stack and states do not fit together",
            got=f"stack {layers.shape}, states {mask.shape}, factor {factor}",
            expected=f"states ({depth}, {height} / {factor}, {width} / {factor})",
        )
    return layers, mask, output(out, (height, width), np.uint16)


@kernel
def _latest(layers: NDArray, mask: NDArray, factor: int, out: NDArray) -> None:
    depth, height, width = layers.shape
    rows = strip_rows(width)
    fine = np.empty(rows * width, np.uint8)
    flat = layers.reshape(depth, height * width)
    flat_out = out.reshape(height * width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        result = flat_out[top * width : bottom * width]
        result[:] = 0
        for t in range(depth):
            state = strip_states(mask, factor, t, top, bottom, width, fine)
            source = flat[t, top * width : bottom * width]
            for x in range(result.size):
                result[x] = source[x] if (state[x] == _CLEAR) & (source[x] != 0) else result[x]


@kernel
def _load(layers: NDArray, mask: NDArray, factor: int, y: int, left: int, work: NDArray, valid: NDArray) -> int:
    """Samples of a run of pixels in row ``y`` into ``work``, masked ones as 65535; ``valid`` counts the others.

    Returns the bits that any valid sample has set.
    """
    valid[:] = 0
    used = np.zeros(valid.size, np.uint16)
    fine = np.empty(layers.shape[2] if factor > 1 else 0, np.uint8)
    right = left + valid.size
    for t in range(layers.shape[0]):
        state = strip_states(mask, factor, t, y, y + 1, layers.shape[2], fine)[left:right]
        source = layers[t, y, left:right]
        row = work[t, : valid.size]
        for x in range(valid.size):
            value = source[x] if state[x] == _CLEAR else _ZERO
            used[x] |= value
            row[x] = value if value != 0 else _MASKED
            valid[x] += np.uint16(value != 0)
    bits = 0
    for x in range(valid.size):
        bits |= used[x]
    return bits


@kernel
def _count_at_most(work: NDArray, limit: NDArray, count: NDArray) -> None:
    """Per pixel, the number of samples that are at most ``limit``."""
    # Four layers per pass: the counters travel to memory and back a quarter as often.
    size = count.size
    count[:] = 0
    for t in range(0, work.shape[0], 4):
        a, b, c, d = work[t, :size], work[t + 1, :size], work[t + 2, :size], work[t + 3, :size]
        for x in range(size):
            edge = limit[x]
            hits = np.uint16(a[x] <= edge) + np.uint16(b[x] <= edge) + np.uint16(c[x] <= edge) + np.uint16(d[x] <= edge)
            count[x] = np.uint16(count[x] + hits)


@kernel
def _bisect(work: NDArray, bits: int, rank: NDArray, low: NDArray, high: NDArray, count: NDArray) -> None:
    """Sample of each pixel at 0-based ``rank`` into ``low``, and the one at the next rank into ``high``."""
    size = rank.size
    # Build the value bit by bit: a bit is set where too few samples lie below it.
    low[:] = 0
    top = 0
    while bits >> top:
        top += 1
    for bit in range(top - 1, -1, -1):
        step = np.uint16(1 << bit)
        for x in range(size):
            high[x] = low[x] + (step - _ONE)
        _count_at_most(work, high, count)
        for x in range(size):
            low[x] += step if count[x] <= rank[x] else _ZERO
    _count_at_most(work, low, count)
    high[:] = _MASKED
    for t in range(work.shape[0]):
        row = work[t, :size]
        for x in range(size):
            above = row[x] if row[x] > low[x] else _MASKED
            high[x] = min(high[x], above)
    for x in range(size):
        high[x] = low[x] if count[x] > rank[x] + _ONE else high[x]


@kernel
def _select(layers: NDArray, mask: NDArray, factor: int, ranks: NDArray, weights: NDArray, out: NDArray) -> None:
    """Of the n valid samples of a pixel the one at rank ``ranks[n]``, moved by ``weights[n]`` towards the next."""
    depth, height, width = layers.shape
    padded = (depth + 3) // 4 * 4
    block = min(512, max(128, _CACHE_BYTES // (2 * max(1, padded)) // 64 * 64))
    # 32 more keeps the layers off each other's lines of the first-level cache.
    work = np.full((padded, block + 32), _MASKED, np.uint16)
    pixels = np.empty((5, block), np.uint16)
    for y in range(height):
        for left in range(0, width, block):
            size = min(block, width - left)
            valid, rank, low = pixels[0, :size], pixels[1, :size], pixels[2, :size]
            high, count = pixels[3, :size], pixels[4, :size]
            bits = _load(layers, mask, factor, y, left, work, valid)
            for x in range(size):
                rank[x] = ranks[valid[x]]
            _bisect(work, bits, rank, low, high, count)
            for x in range(size):
                weight = weights[valid[x]]
                lower, upper = np.float64(low[x]), np.float64(high[x])
                # Interpolate from the nearer end, as NumPy does, so that halves fall the same way.
                gap = upper - lower
                value = upper - gap * (1.0 - weight) if weight >= 0.5 else lower + gap * weight
                out[y, left + x] = np.uint16(np.floor(value + 0.5)) if valid[x] > 0 else _ZERO
