"""Quality bands: decode to four states, grow clouds, count clear looks.

States (``minescale.sensors``): NODATA 0, CLEAR 1, OBSCURED 2 (cloud, shadow), UNUSABLE 3 (snow, defect).
A quality band is decoded before anything is fused or resampled: averaging or growing raw codes is meaningless.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, output, same_shape
from minescale.kernels._jit import kernel
from minescale.sensors import CLEAR, NODATA, OBSCURED, UNUSABLE, MaskRule

_NODATA, _CLEAR, _OBSCURED, _UNUSABLE = np.uint8(NODATA), np.uint8(CLEAR), np.uint8(OBSCURED), np.uint8(UNUSABLE)


def class_table(classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """uint8 (256,) table from class value to state. A value that is not listed is OBSCURED: unknown is not clear.

    Raises
    ------
    UsageError
        for a class outside 0-255 or a state that does not exist.
    """
    table = np.full(256, OBSCURED, np.uint8)
    for value, state in classes.items():
        if not 0 <= value <= 255 or state not in (NODATA, CLEAR, OBSCURED, UNUSABLE):
            raise UsageError("mask class is not understood", got=f"{value}: {state}", expected="0-255 to a state 0-3")
        table[value] = state
    return table


def decode_classes(
    qa: NDArray[np.uint8] | NDArray[np.uint16], table: NDArray[np.uint8], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """States of a class band such as Sentinel-2 SCL.

    Parameters
    ----------
    qa : uint8 or uint16, any shape. Values above 255 are OBSCURED.
    table : uint8 (256,), see `class_table`.

    Returns
    -------
    uint8 states of the shape of ``qa``.
    """
    codes = given(qa, "quality band", (np.uint8, np.uint16), None)
    lookup = given(table, "class table", (np.uint8,), 1)
    if lookup.size != 256:
        raise UsageError("class table has the wrong size", got=lookup.size, expected=256)
    states = output(out, codes.shape, np.uint8)
    _lookup_states(codes.reshape(-1), lookup, states.reshape(-1))
    return states


def decode_bits(
    qa: NDArray[np.uint16],
    fill_bit: int,
    obscured_bits: int,
    unusable_bits: int,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """States of a flag band such as Landsat QA_PIXEL.

    The three arguments are bit masks (``1 << n``), not bit numbers. Fill wins over cloud and shadow,
    those over unusable ground; where none is set the pixel is CLEAR.

    Parameters
    ----------
    qa : uint16, any shape.

    Returns
    -------
    uint8 states of the shape of ``qa``.
    """
    flags = given(qa, "quality band", (np.uint16,), None)
    masks = (fill_bit, obscured_bits, unusable_bits)
    if not all(0 <= m <= 0xFFFF for m in masks):
        raise UsageError("bit mask does not fit a 16-bit quality band", got=masks, expected="0-65535")
    states = output(out, flags.shape, np.uint8)
    _flag_states(
        flags.reshape(-1), np.uint16(fill_bit), np.uint16(obscured_bits), np.uint16(unusable_bits), states.reshape(-1)
    )
    return states


def decode(qa: NDArray[np.uint8] | NDArray[np.uint16], rule: MaskRule) -> NDArray[np.uint8]:
    """States of a quality band by a sensor's rule: by class where it lists classes, else by bits."""
    if rule.classes is not None:
        return decode_classes(qa, class_table(rule.classes))
    return decode_bits(qa.astype(np.uint16, copy=False), rule.fill_bit, rule.obscured_bits, rule.unusable_bits)


def dilate(states: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Grow OBSCURED onto CLEAR pixels at most ``radius`` pixels away (Euclidean distance between pixel centres).

    NODATA and UNUSABLE stay what they are, and do not grow.

    Parameters
    ----------
    states : uint8 (t, y, x).
    radius : pixels, 0 copies.

    Returns
    -------
    uint8 (t, y, x), a new array.
    """
    if radius < 0:
        raise UsageError("dilation radius is negative", got=radius, expected="0 or more pixels")
    layers = given(states, "states", (np.uint8,), 3)
    if radius == 0:
        return layers.copy()
    # Beyond the image's diagonal a disc covers everything: a larger radius only costs memory.
    reach = min(radius, math.isqrt(layers.shape[1] ** 2 + layers.shape[2] ** 2) + 1)
    half = np.array([math.isqrt(reach * reach - dy * dy) for dy in range(reach + 1)], np.int64)
    grown = np.empty_like(layers)
    _dilate(layers, half, grown)
    return grown


def clear_count(states: NDArray[np.uint8], out: NDArray[np.uint16] | None = None) -> NDArray[np.uint16]:
    """uint16 (y, x): in how many layers of uint8 (t, y, x) ``states`` a pixel is CLEAR."""
    layers = given(states, "states", (np.uint8,), 3)
    count = output(out, layers.shape[1:], np.uint16)
    _clear_count(layers.reshape(len(layers), -1), count.reshape(-1))
    return count


def observed(states: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool (y, x): whether any layer of uint8 (t, y, x) ``states`` has an observation, clear or not."""
    layers = given(states, "states", (np.uint8,), 3)
    seen = np.empty(layers.shape[1:], np.bool_)
    _observed(layers.reshape(len(layers), -1), seen.reshape(-1))
    return seen


def clear_per_layer(states: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64 (t,): number of CLEAR pixels in each layer of uint8 (t, y, x) ``states``."""
    layers = given(states, "states", (np.uint8,), 3)
    counts = np.empty(len(layers), np.int64)
    _clear_per_layer(layers.reshape(len(layers), -1), counts)
    return counts


def fuse(dst: NDArray, src: NDArray) -> None:
    """Fill ``dst`` in place where it is 0 (no data) with ``src``: scenes of one day, first come first kept.

    Both uint8 or both uint16, of one shape. ``dst`` may be a window of a larger array.

    Raises
    ------
    UsageError
        where shapes or element types differ.
    """
    source = given(src, "source", (np.uint8, np.uint16), None)
    same_shape(dst, source, "fused layers")
    if dst.dtype == source.dtype and not dst.flags.c_contiguous:
        np.copyto(dst, source, where=dst == 0)
        return
    target = output(dst, source.shape, source.dtype)
    _fuse(target.reshape(-1), source.reshape(-1))


@kernel
def _lookup_states(codes: NDArray, table: NDArray, states: NDArray) -> None:
    for i in range(codes.size):
        code = codes[i]
        states[i] = table[code] if code < 256 else _OBSCURED


@kernel
def _flag_states(flags: NDArray, fill: np.uint16, obscured: np.uint16, unusable: np.uint16, states: NDArray) -> None:
    for i in range(flags.size):
        flag = flags[i]
        state = _UNUSABLE if flag & unusable else _CLEAR
        state = _OBSCURED if flag & obscured else state
        states[i] = _NODATA if flag & fill else state


@kernel
def _dilate(layers: NDArray, half: NDArray, grown: NDArray) -> None:  # noqa: PLR0912
    # half[dy] is the half width of the disc dy rows from its centre. A row is widened step by step from the
    # narrow outer chord to the full diameter, and each width is or-ed onto the rows it belongs to, so that all
    # inner loops run over contiguous bytes.
    _, height, width = layers.shape
    reach = half.size - 1
    row = np.zeros(width + 2 * reach, np.uint8)
    wide = np.empty(width, np.uint8)
    hit = np.empty((height, width), np.uint8)
    for t in range(layers.shape[0]):
        hit.fill(0)
        for y in range(height):
            line = layers[t, y]
            inner = row[reach : reach + width]
            any_obscured = np.uint8(0)
            for x in range(width):
                flag = np.uint8(line[x] == _OBSCURED)
                inner[x] = flag
                any_obscured |= flag
            if any_obscured == 0:
                continue
            for x in range(width):
                wide[x] = inner[x]
            reached = 0
            for dy in range(reach, -1, -1):
                while reached < half[dy]:
                    reached += 1
                    left = row[reach - reached : reach - reached + width]
                    right = row[reach + reached : reach + reached + width]
                    for x in range(width):
                        wide[x] |= left[x] | right[x]
                if y - dy >= 0:
                    above = hit[y - dy]
                    for x in range(width):
                        above[x] |= wide[x]
                if dy > 0 and y + dy < height:
                    below = hit[y + dy]
                    for x in range(width):
                        below[x] |= wide[x]
        for y in range(height):
            line = layers[t, y]
            mark = hit[y]
            target = grown[t, y]
            for x in range(width):
                target[x] = _OBSCURED if (mark[x] != 0) & (line[x] == _CLEAR) else line[x]


@kernel
def _clear_count(layers: NDArray, count: NDArray) -> None:
    block = 4096
    for start in range(0, count.size, block):
        part = count[start : start + block]
        part[:] = 0
        for t in range(layers.shape[0]):
            layer = layers[t, start : start + block]
            for i in range(part.size):
                part[i] += np.uint16(layer[i] == _CLEAR)


@kernel
def _observed(layers: NDArray, seen: NDArray) -> None:
    block = 4096
    for start in range(0, seen.size, block):
        part = seen[start : start + block]
        part[:] = False
        for t in range(layers.shape[0]):
            layer = layers[t, start : start + block]
            for i in range(part.size):
                part[i] |= layer[i] != _NODATA


@kernel
def _clear_per_layer(layers: NDArray, counts: NDArray) -> None:
    for t in range(layers.shape[0]):
        layer = layers[t]
        total = 0
        for i in range(layer.size):
            total += int(layer[i] == _CLEAR)
        counts[t] = total


@kernel
def _fuse(dst: NDArray, src: NDArray) -> None:
    for i in range(dst.size):
        dst[i] = src[i] if dst[i] == 0 else dst[i]
