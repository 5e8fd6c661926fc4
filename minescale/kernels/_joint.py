"""Composites that look at all bands of a sample together: geometric median and medoid.

A layer is valid at a pixel where it is CLEAR and none of its bands is 0. The spectrum of the result is plausible as
a whole, while a median taken band by band may mix bands of different days.
"""
# ruff: noqa: PLR0912

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, output
from minescale.kernels._jit import kernel
from minescale.sensors import CLEAR

_CLEAR = np.uint8(CLEAR)
_STRIP = 64
_FARTHEST = np.float32(20)
"""Steps that are extrapolated at most."""
_STEPS_PER_DN = 4096.0


def geomedian(
    stack: NDArray[np.uint16],
    states: NDArray[np.uint8],
    max_iter: int = 200,
    eps: float = 0.01,
    out: NDArray[np.uint16] | None = None,
) -> NDArray[np.uint16]:
    """Geometric median: the spectrum with the smallest sum of Euclidean distances to the valid ones.

    Found by Weiszfeld's iteration from the mean (E. Weiszfeld, Tohoku Math. J. 43, 1937; for composites:
    Roberts, Mueller, McIntyre, IEEE TGRS 55, 2017, doi 10.1109/TGRS.2017.2723896), in float32, relative to the
    current estimate, and with steps extrapolated (D. G. Anderson, J. ACM 12, 1965), which takes half as many. A
    pixel stops on its own account, so the result does not depend on how the image is tiled.

    Parameters
    ----------
    stack : uint16 (t, band, y, x), reflectance x 1e4, 0 = no data.
    states : uint8 (t, y, x).
    max_iter : iterations at most.
    eps : a pixel is done when an iteration moves it by less than this many digital numbers.
    out : uint16 (band, y, x).

    Returns
    -------
    uint16 (band, y, x), rounded half up, 0 in all bands where no layer is valid.

    Raises
    ------
    UsageError
        for shapes or element types that do not fit together, or a tolerance that is not positive.
    """
    if max_iter < 1 or not eps > 0:
        raise UsageError("geomedian cannot stop", got=f"max_iter {max_iter}, eps {eps}", expected="both positive")
    layers, mask, result = _inputs(stack, states, out)
    _geomedian(layers, mask, max_iter, np.float32(eps), result)
    return result.reshape(stack.shape[1:])


def medoid(
    stack: NDArray[np.uint16], states: NDArray[np.uint8], out: NDArray[np.uint16] | None = None
) -> NDArray[np.uint16]:
    """The valid spectrum with the smallest sum of Euclidean distances to the other valid ones; ties go to the earliest.

    Distances count in steps of 1/4096 digital number, which makes their sums exact and ties real. The result is one
    of the observed spectra (N. Flood, Remote Sens. 5, 2013, doi 10.3390/rs5126481). Arguments as in `geomedian`.

    Returns
    -------
    uint16 (band, y, x), 0 in all bands where no layer is valid.
    """
    layers, mask, result = _inputs(stack, states, out)
    _medoid(layers, mask, result)
    return result.reshape(stack.shape[1:])


def _inputs(
    stack: NDArray, states: NDArray, out: NDArray | None
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint16]]:
    layers = given(stack, "stack", (np.uint16,), 4)
    mask = given(states, "states", (np.uint8,), 3)
    depth, bands, height, width = layers.shape
    if mask.shape != (depth, height, width):
        raise UsageError(
            "stack and states do not fit together",
            got=f"stack {layers.shape}, states {mask.shape}",
            expected=f"states {(depth, height, width)}",
        )
    pixels = height * width
    result = output(out, (bands, height, width), np.uint16)
    return layers.reshape(depth, bands, pixels), mask.reshape(depth, pixels), result.reshape(bands, pixels)


@kernel
def _validity(layers: NDArray, mask: NDArray, start: int, valid: NDArray, count: NDArray) -> None:
    """1 where a layer of a strip is valid, else 0, and the number of valid layers per pixel."""
    size = count.size
    count[:] = 0
    for t in range(layers.shape[0]):
        state = mask[t, start : start + size]
        row = valid[t, :size]
        for i in range(size):
            row[i] = state[i] == _CLEAR
        for b in range(layers.shape[1]):
            band = layers[t, b, start : start + size]
            for i in range(size):
                row[i] = row[i] if band[i] != 0 else 0
        for i in range(size):
            count[i] += row[i]


@kernel
def _step(
    shift: NDArray,
    weights: NDArray,
    last_shift: NDArray,
    last_move: NDArray,
    scratch: NDArray,
    eps: np.float32,
    middle: NDArray,
) -> np.float32:
    """Move the estimates of a strip and close pixels that stand still; returns the number of open ones.

    Rows of ``scratch``: 3 open or not, 4 squared step, 5 the one before, 6 share of the way to extrapolate.
    """
    size = weights.size
    turned, open_ = scratch[2, :size], scratch[3, :size]
    length, last_length, back = scratch[4, :size], scratch[5, :size], scratch[6, :size]
    one, nothing, tiny = np.float32(1), np.float32(0), np.float32(1e-6)
    length[:] = nothing
    back[:] = nothing
    turned[:] = nothing
    for b in range(middle.shape[0]):
        move, last = shift[b], last_shift[b]
        for i in range(size):
            step = move[i] * weights[i]
            turn = step - last[i]
            move[i] = step
            length[i] += step * step
            back[i] += step * turn
            turned[i] += turn * turn
    left = nothing
    for i in range(size):
        open_[i] = one if length[i] >= eps * eps else nothing
        left += open_[i]
        # Steps shrink by a nearly constant factor: what is left of them is extrapolated from the last two. A
        # plain step, which never leads away, where they grow or the pixel is done.
        trusted = open_[i] if length[i] < last_length[i] else nothing
        back[i] = trusted * min(max(back[i] / max(turned[i], tiny), -_FARTHEST), nothing)
        last_length[i] = length[i]
    for b in range(middle.shape[0]):
        mean, move, last, done = middle[b], shift[b], last_shift[b], last_move[b]
        for i in range(size):
            moved = move[i] - back[i] * (done[i] + move[i] - last[i])
            mean[i] += moved
            done[i] = moved
            last[i] = move[i]
    return left


@kernel
def _geomedian(layers: NDArray, mask: NDArray, max_iter: int, eps: np.float32, out: NDArray) -> None:
    depth, bands, pixels = layers.shape
    samples = np.empty((depth, bands, _STRIP), np.float32)
    valid = np.empty((depth, _STRIP), np.float32)
    middle = np.empty((bands, _STRIP), np.float32)
    shift = np.empty((bands, _STRIP), np.float32)
    last_shift = np.empty((bands, _STRIP), np.float32)
    last_move = np.empty((bands, _STRIP), np.float32)
    scratch = np.empty((7, _STRIP), np.float32)
    one, nothing, half = np.float32(1), np.float32(0), np.float32(0.5)
    # A distance of 0 would weigh infinitely: this much, in squared digital numbers, is far below any step.
    tiny = np.float32(1e-6)
    for start in range(0, pixels, _STRIP):
        size = min(_STRIP, pixels - start)
        count, weights, weight, open_ = scratch[0, :size], scratch[1, :size], scratch[2, :size], scratch[3, :size]
        _validity(layers, mask, start, valid, count)
        middle[:] = nothing
        for t in range(depth):
            ok = valid[t]
            for b in range(bands):
                band, sample, mean = layers[t, b, start : start + size], samples[t, b], middle[b]
                for i in range(size):
                    sample[i] = np.float32(band[i])
                    mean[i] += sample[i] * ok[i]
        for b in range(bands):
            mean = middle[b]
            for i in range(size):
                mean[i] /= max(count[i], one)
        # One sample is its own median, and for two the mean is one of many.
        for i in range(size):
            open_[i] = one if count[i] > np.float32(2) else nothing
        last_shift[:] = nothing
        last_move[:] = nothing
        scratch[5] = nothing
        for _ in range(max_iter):
            shift[:] = nothing
            weights[:] = nothing
            for t in range(depth):
                ok = valid[t]
                weight[:] = nothing
                for b in range(bands):
                    sample, mean = samples[t, b], middle[b]
                    for i in range(size):
                        away = sample[i] - mean[i]
                        weight[i] += away * away
                for i in range(size):
                    weight[i] = ok[i] / np.sqrt(max(weight[i], tiny))
                    weights[i] += weight[i]
                for b in range(bands):
                    sample, mean, move = samples[t, b], middle[b], shift[b]
                    for i in range(size):
                        move[i] += weight[i] * (sample[i] - mean[i])
            for i in range(size):
                weights[i] = open_[i] / max(weights[i], np.float32(1e-30))
            left = _step(shift, weights, last_shift, last_move, scratch, eps, middle)
            if left == nothing:
                break
        for b in range(bands):
            result, mean = out[b, start : start + size], middle[b]
            for i in range(size):
                # An iteration cut short may have been extrapolated beyond the samples.
                value = min(max(mean[i] + half, one), np.float32(65535))
                result[i] = np.uint16(value) if count[i] > nothing else np.uint16(0)


@kernel
def _medoid(layers: NDArray, mask: NDArray, out: NDArray) -> None:
    depth, bands, pixels = layers.shape
    samples = np.empty((depth, bands, _STRIP), np.float64)
    valid = np.empty((depth, _STRIP), np.float64)
    total = np.empty((depth, _STRIP), np.float64)
    gap = np.empty(_STRIP, np.float64)
    count = np.empty(_STRIP, np.float64)
    for start in range(0, pixels, _STRIP):
        size = min(_STRIP, pixels - start)
        _validity(layers, mask, start, valid, count[:size])
        total[:] = 0.0
        for t in range(depth):
            for b in range(bands):
                band, sample = layers[t, b, start : start + size], samples[t, b]
                for i in range(size):
                    sample[i] = np.float64(band[i])
        for first in range(depth):
            for second in range(first + 1, depth):
                gap[:] = 0.0
                for b in range(bands):
                    left, right = samples[first, b], samples[second, b]
                    for i in range(size):
                        away = left[i] - right[i]
                        gap[i] += away * away
                one, two = total[first], total[second]
                left_ok, right_ok = valid[first], valid[second]
                for i in range(size):
                    steps = np.floor(np.sqrt(gap[i]) * _STEPS_PER_DN + 0.5) * left_ok[i] * right_ok[i]
                    one[i] += steps
                    two[i] += steps
        for i in range(size):
            best = -1
            for t in range(depth):
                if valid[t, i] > 0.0 and (best < 0 or total[t, i] < total[best, i]):
                    best = t
            for b in range(bands):
                out[b, start + i] = layers[best, b, start + i] if best >= 0 else np.uint16(0)
