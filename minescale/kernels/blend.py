"""Put overlapping predictions together: weighted sums with Hann ramps, so that no window edge shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, output
from minescale.kernels._jit import kernel


def hann_weights(patch: int, overlap: int) -> NDArray[np.float32]:
    """Weights of one window: 1 inside, falling over ``overlap`` pixels towards each edge, never 0.

    Separable; the ramp is ``sin^2(pi (i + 1/2) / (2 overlap))``, the Hann window sampled at pixel centres, so the
    weights of windows that are ``patch - overlap`` apart add up to 1.

    Parameters
    ----------
    patch : window edge in pixels.
    overlap : pixels shared by neighbouring windows, at most half the window; 0 gives weights of 1.

    Returns
    -------
    float32 (patch, patch).
    """
    if patch < 1 or overlap < 0 or 2 * overlap > patch:
        raise UsageError(
            "window overlap is not usable",
            got=f"patch {patch}, overlap {overlap}",
            expected="0 <= overlap <= patch / 2",
        )
    line = np.ones(patch)
    if overlap:
        ramp = np.sin(np.pi * (np.arange(overlap) + 0.5) / (2 * overlap)) ** 2
        line[:overlap], line[-overlap:] = ramp, ramp[::-1]
    return np.outer(line, line).astype(np.float32)


def add_window(
    acc: NDArray[np.float32],
    weight: NDArray[np.float32],
    pred: NDArray[np.float32],
    win: NDArray[np.float32],
    y: int,
    x: int,
) -> None:
    """Add a weighted window to the sums, in place; what lies beyond the borders of ``acc`` is cut off.

    Parameters
    ----------
    acc : float32 (c, y, x), sum of weighted predictions.
    weight : float32 (y, x), sum of weights.
    pred : float32 (c, p, q), the window's predictions.
    win : float32 (p, q), the window's weights.
    y, x : row and column in ``acc`` of the window's first pixel; may be negative.
    """
    sums = output(acc, acc.shape, np.float32)
    window = given(pred, "prediction", (np.float32,), 3)
    weights = given(win, "window weights", (np.float32,), 2)
    if acc.ndim != 3 or window.shape != (acc.shape[0], *weights.shape):
        raise UsageError(
            "window does not fit the sums",
            got=f"sums {acc.shape}, prediction {window.shape}, weights {weights.shape}",
            expected="(c, y, x), (c, p, q), (p, q)",
        )
    _add(sums, output(weight, acc.shape[1:], np.float32), window, weights, y, x)


def normalise(acc: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    """Divide float32 (c, y, x) ``acc`` by (y, x) ``weight`` in place; NaN where the weight is 0."""
    sums = output(acc, acc.shape, np.float32)
    weights = given(weight, "weights", (np.float32,), 2)
    if acc.ndim != 3 or weights.shape != acc.shape[1:]:
        raise UsageError(
            "sums and weights do not fit", got=f"{acc.shape}, {weight.shape}", expected="(c, y, x), (y, x)"
        )
    _normalise(sums.reshape(len(sums), -1), weights.reshape(-1))


@kernel
def _add(acc: NDArray, weight: NDArray, pred: NDArray, win: NDArray, y: int, x: int) -> None:
    _, height, width = acc.shape
    top, bottom = max(0, -y), min(win.shape[0], height - y)
    left, right = max(0, -x), min(win.shape[1], width - x)
    if left >= right:
        return
    for row in range(top, bottom):
        line = win[row, left:right]
        total = weight[y + row, x + left : x + right]
        for i in range(line.size):
            total[i] += line[i]
        for c in range(acc.shape[0]):
            values, target = pred[c, row, left:right], acc[c, y + row, x + left : x + right]
            for i in range(line.size):
                target[i] += values[i] * line[i]


@kernel
def _normalise(acc: NDArray, weight: NDArray) -> None:
    nan = np.float32(np.nan)
    for c in range(acc.shape[0]):
        line = acc[c]
        for i in range(weight.size):
            line[i] = line[i] / weight[i] if weight[i] != 0 else nan
