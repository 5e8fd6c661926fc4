"""Sums over decision trees, many pixels at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given
from minescale.kernels._jit import kernel

_BLOCK = 512
"""Pixels that go down a tree together: no step waits for another pixel's, and their features stay in the cache."""


def sum_trees(
    features: NDArray[np.float32],
    start: NDArray[np.int32],
    depth: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Sum over all trees of the value of the leaf that each pixel ends in.

    At an inner node k a pixel goes to ``left[k]`` where its feature is at most the threshold, else to ``left[k] + 1``.
    A leaf is a node whose ``left`` is itself and whose threshold is infinite.

    Parameters
    ----------
    features : float32 (feature, pixel), no NaN.
    start : int32 (tree,), number of each tree's root.
    depth : int32 (tree,), steps from the root to the deepest leaf.
    feature, left : int32 (node,)
    threshold, value : float32 (node,)

    Returns
    -------
    float64 (pixel,)

    Raises
    ------
    UsageError
        for arrays of other types, axes or lengths. Numbers of nodes are taken as they are; :func:`tree_depths` checks
        them.
    """
    x = given(features, "features", (np.float32,), 2)
    roots, steps = given(start, "start", (np.int32,), 1), given(depth, "depth", (np.int32,), 1)
    nodes = [given(a, n, (np.int32,), 1) for a, n in ((feature, "feature"), (left, "left"))]
    numbers = [given(a, n, (np.float32,), 1) for a, n in ((threshold, "threshold"), (value, "value"))]
    if roots.size != steps.size or len({a.size for a in (*nodes, *numbers)}) != 1:
        raise UsageError("arrays of trees differ in length", got=[a.size for a in (roots, steps, *nodes, *numbers)])
    out = np.zeros(x.shape[1], np.float64)
    unsigned = [array.view(np.uint32) for array in (roots, *nodes)]
    _sum_trees(x, unsigned[0], steps, unsigned[1], numbers[0], unsigned[2], numbers[1], out)
    return out


def tree_depths(
    start: NDArray[np.int32], feature: NDArray[np.int32], left: NDArray[np.int32], features: int
) -> NDArray[np.int32]:
    """Depth of each tree, after checking that it is one.

    Children come after their parent and before the next tree's root, so that a walk ends and never leaves its tree.

    Raises
    ------
    UsageError
        where nodes are no trees.
    """
    ends = np.append(start[1:], np.int32(left.size))
    if not start.size or start[0] != 0 or (np.diff(ends, prepend=np.int32(0)) < 1).any():
        raise UsageError("trees begin at impossible nodes", got=start[:5].tolist())
    depth = np.zeros(start.size, np.int32)
    wrong = int(_depths(start.astype(np.int32), ends.astype(np.int32), feature, left, features, depth))
    if wrong >= 0:
        raise UsageError(
            "trees have an impossible node",
            got=f"node {wrong}: feature {feature[wrong]}, left {left[wrong]}",
            expected="children behind their parent in the same tree",
        )
    return depth


@kernel
def _sum_trees(  # pragma: no cover - compiled
    x: NDArray,
    start: NDArray,
    depth: NDArray,
    feature: NDArray,
    threshold: NDArray,
    left: NDArray,
    value: NDArray,
    out: NDArray,
) -> None:
    # Numbers of nodes without a sign: for signed ones numba looks at every access whether it counts from the end.
    columns, pixels = x.shape
    width = np.uint32(columns)
    block = np.empty(_BLOCK * columns, np.float32)
    node = np.empty(_BLOCK, np.uint32)
    for begin in range(0, pixels, _BLOCK):
        size = min(_BLOCK, pixels - begin)
        for f in range(columns):
            for i in range(size):
                block[i * columns + f] = x[f, begin + i]
        for tree in range(start.size):
            node[:] = start[tree]
            for _ in range(depth[tree]):
                row = np.uint32(0)
                for i in range(size):
                    k = node[i]
                    node[i] = left[k] + np.uint32(block[row + feature[k]] > threshold[k])
                    row += width
            for i in range(size):
                out[begin + i] += value[node[i]]


@kernel
def _depths(  # pragma: no cover - compiled
    start: NDArray, ends: NDArray, feature: NDArray, left: NDArray, features: int, depth: NDArray
) -> int:
    level = np.zeros(left.size, np.int32)
    for tree in range(start.size):
        for k in range(start[tree], ends[tree]):
            depth[tree] = max(depth[tree], level[k])
            if feature[k] < 0 or feature[k] >= features:
                return k
            if left[k] == k:
                continue
            if left[k] < k or left[k] + 1 >= ends[tree]:
                return k
            level[left[k]] = level[k] + 1
            level[left[k] + 1] = level[k] + 1
    return -1
