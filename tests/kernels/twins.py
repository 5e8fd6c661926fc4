"""Slow NumPy (and SciPy) versions of the kernels: short enough to be believed by reading."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def half_up(values):
    return np.floor(np.nan_to_num(values, nan=0.0) + 0.5)


def fine(states, factor):
    return states.repeat(factor, -2).repeat(factor, -1)


def masked(stack, states, factor, dtype=np.float64):
    """Samples as floats, NaN where masked."""
    return np.where((fine(states, factor) == 1) & (stack != 0), stack, np.nan).astype(dtype)


def median(stack, states, factor):
    with np.errstate(all="ignore"):
        return half_up(_quiet(np.nanmedian, masked(stack, states, factor), axis=0)).astype(np.uint16)


def percentile(stack, states, factor, q):
    return half_up(_quiet(np.nanpercentile, masked(stack, states, factor), q, axis=0)).astype(np.uint16)


def latest(stack, states, factor):
    samples = masked(stack, states, factor)
    result = np.zeros(samples.shape[1:], np.uint16)
    for layer in samples:
        result = np.where(np.isnan(layer), result, np.nan_to_num(layer)).astype(np.uint16)
    return result


def geomedian(stack, states, max_iter=200, eps=0.01):
    """Weiszfeld in float64, pixel by pixel."""
    _, bands, height, width = stack.shape
    result = np.zeros((bands, height, width), np.uint16)
    for y in range(height):
        for x in range(width):
            valid = (states[:, y, x] == 1) & (stack[:, :, y, x] != 0).all(axis=1)
            points = stack[valid, :, y, x].astype(np.float64)
            if len(points):
                result[:, y, x] = half_up(weiszfeld(points, max_iter, eps))
    return result


def weiszfeld(points, max_iter, eps):
    middle = points.mean(axis=0)
    for _ in range(max_iter if len(points) > 2 else 0):
        weights = 1 / np.sqrt(np.maximum(((points - middle) ** 2).sum(axis=1), 1e-6))
        step = (weights[:, None] * (points - middle)).sum(axis=0) / weights.sum()
        middle = middle + step
        if (step**2).sum() < eps**2:
            break
    return middle


def medoid(stack, states):
    _, bands, height, width = stack.shape
    result = np.zeros((bands, height, width), np.uint16)
    for y in range(height):
        for x in range(width):
            valid = (states[:, y, x] == 1) & (stack[:, :, y, x] != 0).all(axis=1)
            points = stack[valid, :, y, x].astype(np.float64)
            if len(points):
                gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))
                # argmin takes the first of equals; steps of 1/4096 make sums exact in any order.
                result[:, y, x] = points[np.floor(gaps * 4096 + 0.5).sum(axis=1).argmin()]
    return result


def decode_classes(qa, table):
    return np.where(qa > 255, 2, table[np.minimum(qa, 255)]).astype(np.uint8)


def decode_bits(qa, fill, obscured, unusable):
    return np.select([qa & fill != 0, qa & obscured != 0, qa & unusable != 0], [0, 2, 3], 1).astype(np.uint8)


def dilate(states, radius):
    reach = np.arange(-radius, radius + 1)
    disc = reach[:, None] ** 2 + reach[None] ** 2 <= radius**2
    grown = np.stack([ndimage.binary_dilation(layer == 2, disc) for layer in states])
    return np.where(grown & (states == 1), 2, states).astype(np.uint8)


def fuse(dst, src):
    return np.where(dst == 0, src, dst)


def block_view(image, f):
    """(..., y, x) to (..., y / f, x / f, f * f)."""
    *lead, height, width = image.shape
    cut = image.reshape(*lead, height // f, f, width // f, f)
    return np.moveaxis(cut, -3, -2).reshape(*lead, height // f, width // f, f * f)


def block_mean(image, f):
    blocks = block_view(image, f).astype(np.float64)
    return half_up(_quiet(np.nanmean, np.where(blocks == 0, np.nan, blocks), axis=-1)).astype(image.dtype)


def block_extreme(image, f, fill, pick):
    blocks = block_view(image, f).astype(np.float64)
    values = _quiet(pick, np.where(blocks == fill, np.nan, blocks), axis=-1)
    return np.nan_to_num(values, nan=fill).astype(image.dtype)


def block_mode(image, f, fill):
    blocks = block_view(image, f)
    counts = np.stack([(blocks == value).sum(axis=-1) for value in range(256)])
    counts[fill] = 0
    return np.where(counts.any(axis=0), counts.argmax(axis=0), fill).astype(np.uint8)


def normalized_differences(bands):
    pairs = [(a, b) for i, a in enumerate(bands) for b in bands[i + 1 :]]
    with np.errstate(all="ignore"):
        return np.stack([np.where(a + b == 0, np.nan, (a - b) / (a + b)) for a, b in pairs]).astype(np.float32)


def fused_indices(composite, first, second, ratio):
    a, b = composite[list(first)].astype(np.float64), composite[list(second)].astype(np.float64)
    a, b = np.where((a == 0) | (b == 0), np.nan, a), np.where((a == 0) | (b == 0), np.nan, b)
    return np.where(np.array(ratio)[:, None, None], a / b, (a - b) / (a + b)).astype(np.float32)


def scale_and_fold(image, mean, inverse_std):
    bands, height, width = image.shape
    scaled = (image - mean[:, None, None]) * inverse_std[:, None, None] * (image > 0).all(axis=0)
    cut = scaled.reshape(bands, height // 2, 2, width // 2, 2)
    return np.moveaxis(cut, (1, 3), (0, 1)).reshape(height // 2, width // 2, 4 * bands)


def add_window(acc, weight, pred, win, y, x):
    acc, weight = acc.copy(), weight.copy()
    for row in range(win.shape[0]):
        for column in range(win.shape[1]):
            if 0 <= y + row < weight.shape[0] and 0 <= x + column < weight.shape[1]:
                acc[:, y + row, x + column] += pred[:, row, column] * win[row, column]
                weight[y + row, x + column] += win[row, column]
    return acc, weight


def label(mask, connectivity=8):
    labels, n = ndimage.label(mask, np.ones((3, 3)) if connectivity == 8 else None)
    return by_first_pixel(labels), n


def by_first_pixel(labels):
    """Renumber regions from 1 in the order of their first pixel."""
    numbers, first = np.unique(labels, return_index=True)
    numbers, first = numbers[numbers > 0], first[numbers > 0]
    table = np.zeros(labels.max(initial=0) + 1, np.int32)
    table[numbers[np.argsort(first)]] = np.arange(1, len(numbers) + 1)
    return table[labels]


def _quiet(function, *args, **kwargs):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args, **kwargs)


def distance_to_segments(x, y, segments):
    """Foot of the perpendicular, kept on the segment, for every pixel and segment."""
    start, along = segments[:, :2], segments[:, 2:] - segments[:, :2]
    offset = np.stack([x, y], -1)[..., None, :] - start
    length = np.maximum((along**2).sum(-1), 1e-300)
    share = np.clip((offset * along).sum(-1) / length, 0, 1)
    return np.linalg.norm(offset - share[..., None] * along, axis=-1).min(-1)


def cooccurrence(classes, n, dy, dx, ignore):
    counts = np.zeros((n, n), np.int64)
    height, width = classes.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                i, j = classes[y, x], classes[y + dy, x + dx]
                if ignore not in (i, j):
                    counts[i, j] += 1
    return counts
