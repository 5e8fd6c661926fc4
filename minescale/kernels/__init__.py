"""Kernels: arrays in, arrays out.

Plain loops compiled by numba on their first call and cached on disk; NumPy and the standard library are all they
need beside it. They release the interpreter lock and start no threads. Importing this package compiles nothing;
`warm` does, once per worker, so that the first tile is as fast as the others.
"""

from __future__ import annotations

import numpy as np

from minescale.errors import UsageError
from minescale.kernels.blend import add_window, hann_weights, normalise
from minescale.kernels.composite import METHODS, geomedian, latest, median, medoid, padded_depth, percentile
from minescale.kernels.cooccurrence import cooccurrence
from minescale.kernels.expressions import evaluate
from minescale.kernels.folding import scale_and_fold
from minescale.kernels.indices import (
    ALIASES,
    GEOLOGY,
    INDICES,
    SEED_INDICES,
    fused_indices,
    index_kernel,
    normalized_differences,
    pair_names,
)
from minescale.kernels.masking import (
    class_table,
    clear_count,
    clear_per_layer,
    decode,
    decode_bits,
    decode_classes,
    dilate,
    fuse,
    observed,
)
from minescale.kernels.regions import TileBorders, label, merge_seams, region_sizes, tile_borders
from minescale.kernels.resample import block_max, block_mean, block_min, block_mode, repeat
from minescale.kernels.scaling import apply_table, reflectance_table

__all__ = [
    "ALIASES",
    "GEOLOGY",
    "INDICES",
    "METHODS",
    "SEED_INDICES",
    "TileBorders",
    "add_window",
    "apply_table",
    "block_max",
    "block_mean",
    "block_min",
    "block_mode",
    "class_table",
    "clear_count",
    "clear_per_layer",
    "cooccurrence",
    "decode",
    "decode_bits",
    "decode_classes",
    "dilate",
    "evaluate",
    "fuse",
    "fused_indices",
    "geomedian",
    "hann_weights",
    "index_kernel",
    "label",
    "latest",
    "median",
    "medoid",
    "merge_seams",
    "normalise",
    "normalized_differences",
    "observed",
    "padded_depth",
    "pair_names",
    "percentile",
    "reflectance_table",
    "region_sizes",
    "repeat",
    "scale_and_fold",
    "tile_borders",
    "warm",
]


def warm(depth: int, method: str = "median") -> None:
    """Compile, or load from numba's cache, what a scan with up to ``depth`` layers per tile calls.

    Parameters
    ----------
    depth : layers per tile. For the median only the network of that depth (4, 8, 12, 16, 24, or the general path
        above) is compiled; tiles with far fewer layers compile theirs when they come.
    method : compositing method, one of METHODS.
    """
    states = np.ones((max(1, depth), 2, 2), np.uint8)
    stack = np.ones((max(1, depth), 2, 2), np.uint16)
    match method:
        case "median":
            median(stack, states)
        case "percentile":
            percentile(stack, states)
        case "latest":
            latest(stack, states)
        case "geomedian":
            geomedian(stack[:, None], states)
        case "medoid":
            medoid(stack[:, None], states)
        case _:
            raise UsageError("unknown compositing method", got=method, expected=", ".join(METHODS))
    decode_classes(states, class_table({}))
    decode_classes(stack, class_table({}))
    decode_bits(stack, 1, 2, 4)
    dilate(states, 1)
    clear_count(states)
    clear_per_layer(states)
    observed(states)
    fuse(states, states)
    fuse(stack, stack)
    apply_table(stack, reflectance_table(1e-4, 0.0, 0))
    for image in (states, stack):
        block_min(image, 2, 0)
        block_max(image, 2, 0)
    block_mean(stack, 2)
    block_mode(states, 2, 0)
    acc, weight = np.zeros((1, 2, 2), np.float32), np.zeros((2, 2), np.float32)
    add_window(acc, weight, acc.copy(), hann_weights(2, 1), 0, 0)
    normalise(acc, weight)
    index_kernel(["NDVI"], ["N", "R"])(np.ones((2, 2, 2), np.uint16))
    normalized_differences(np.ones((2, 2, 2), np.float32))
