"""Connected regions, of one image or across the seams of many tiles.

Tiles are labelled on their own (`label`), send their four border lines (`tile_borders`), and get back a table from
local to global numbers (`merge_seams`). Only border lines travel; the tables make tiled labelling equal to labelling
the whole image at once, up to the numbering.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given
from minescale.kernels._jit import kernel
from minescale.types import TileKey

Connectivity = Literal[4, 8]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileBorders:
    """What a labelled tile tells its neighbours: int32 labels along its edges, 0 = background."""

    n: int
    """Number of regions in the tile; its labels are 1 to n."""
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


def label(mask: NDArray[np.uint8] | NDArray[np.bool_], connectivity: Connectivity = 8) -> tuple[NDArray[np.int32], int]:
    """Number the connected regions of an image by two passes and union-find.

    Parameters
    ----------
    mask : uint8 or bool (y, x); not 0 = inside.
    connectivity : 8 joins pixels that touch at a corner, 4 those that share an edge.

    Returns
    -------
    labels : int32 (y, x), 0 outside, regions 1 to n in the order of their first pixel, row by row.
    n : number of regions.
    """
    inside = given(mask, "mask", (np.uint8, np.bool_), 2).view(np.uint8)
    labels = np.empty(inside.shape, np.int32)
    count = _label(inside, _diagonal(connectivity), labels)
    return labels, int(count)


def tile_borders(labels: NDArray[np.int32], n: int) -> TileBorders:
    """The edges of a labelled tile, copied, so that the tile's memory can go."""
    if labels.ndim != 2 or not labels.size:
        raise UsageError("tile is empty", got=labels.shape, expected="labels (y, x)")
    return TileBorders(
        n=n, top=labels[0].copy(), bottom=labels[-1].copy(), left=labels[:, 0].copy(), right=labels[:, -1].copy()
    )


def merge_seams(
    tiles: Mapping[TileKey, TileBorders], connectivity: Connectivity = 8
) -> tuple[dict[TileKey, NDArray[np.int32]], int]:
    """Join the regions that continue across tile seams.

    Parameters
    ----------
    tiles : borders of labelled tiles of one level. Tiles may be missing (pruned); neighbours must agree in the
        length of their common edge.
    connectivity : as the tiles were labelled.

    Returns
    -------
    tables : per tile int32 (n + 1,), from local label to global label; ``table[labels]`` renumbers a tile.
    n : number of regions over all tiles. Global labels are 1 to n in the order of tile row, tile column and
        local label, whatever order the tiles come in.

    Raises
    ------
    UsageError
        for tiles of several levels, or neighbours whose common edges differ in length.
    """
    keys = sorted(tiles)
    if len({k.level for k in keys}) > 1:
        raise UsageError("tiles of several levels cannot be merged", got=sorted({k.level for k in keys}))
    starts = dict(zip(keys, np.cumsum([0, *(tiles[k].n for k in keys)]).tolist(), strict=False))
    diagonal = _diagonal(connectivity)
    pairs: list[NDArray[np.int64]] = []
    for key in keys:
        here = tiles[key]
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            if (dy and dx and not diagonal) or key.x + dx < 0:
                continue
            other = TileKey(key.level, key.y + dy, key.x + dx)
            if other not in tiles:
                continue
            first, second = _contact(key, here, other, tiles[other])
            shifts = (-1, 0, 1) if diagonal and not (dy and dx) else (0,)
            pairs += [_touching(first, second, shift, starts[key], starts[other]) for shift in shifts]
    total = sum(t.n for t in tiles.values())
    joined = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
    numbers = np.empty(total + 1, np.int32)
    count = _merge(joined, numbers)
    tables = {}
    for key in keys:
        table = np.zeros(tiles[key].n + 1, np.int32)
        table[1:] = numbers[starts[key] + 1 : starts[key] + tiles[key].n + 1]
        tables[key] = table
    return tables, int(count)


def region_sizes(labels: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """int64 (n,): pixels of regions 1 to n; the background is not counted.

    Raises
    ------
    UsageError
        where a label lies outside 0 to n.
    """
    numbers = given(labels, "labels", (np.int32,), None)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= n:
        raise UsageError("labels do not fit", got=f"{numbers.min()} to {numbers.max()}", expected=f"0 to {n}")
    sizes = np.zeros(n + 1, np.int64)
    _sizes(numbers.reshape(-1), sizes)
    return sizes[1:]


def _diagonal(connectivity: int) -> bool:
    if connectivity not in (4, 8):
        raise UsageError("unknown connectivity", got=connectivity, expected="4 or 8")
    return connectivity == 8


def _contact(
    key: TileKey, here: TileBorders, other: TileKey, there: TileBorders
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The pixels of two neighbours that face each other: whole edges, or one corner each."""
    dy, dx = other.y - key.y, other.x - key.x
    if dy == 0:
        first, second = here.right, there.left
    elif dx == 0:
        first, second = here.bottom, there.top
    else:
        first, second = (here.bottom[-1:], there.top[:1]) if dx > 0 else (here.bottom[:1], there.top[-1:])
    if first.size != second.size:
        raise UsageError(
            f"tiles {key} and {other} differ along their seam",
            got=f"{first.size} and {second.size} pixels",
            expected="equal lengths",
        )
    return first, second


def _touching(
    first: NDArray[np.int32], second: NDArray[np.int32], shift: int, first_start: int, second_start: int
) -> NDArray[np.int64]:
    """(k, 2) pairs of labels, counted over all tiles, of inside pixels that face each other ``shift`` pixels apart."""
    size = first.size - abs(shift)
    a, b = first[max(0, -shift) :][: max(0, size)], second[max(0, shift) :][: max(0, size)]
    both = (a > 0) & (b > 0)
    touching = np.stack([a[both].astype(np.int64) + first_start, b[both].astype(np.int64) + second_start], axis=1)
    return np.unique(touching, axis=0)


@kernel
def _root(parent: NDArray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def _join(parent: NDArray, a: int, b: int) -> int:
    """Unite two sets under their smaller root, which keeps regions in the order of their first pixel."""
    first, second = _root(parent, a), _root(parent, b)
    low, high = min(first, second), max(first, second)
    parent[high] = low
    return low


@kernel
def _number(parent: NDArray) -> int:
    """Replace every entry by the rank of its root, counted from 1; entry 0 is the background."""
    count = 0
    for i in range(1, parent.size):
        if parent[i] == i:
            count += 1
            parent[i] = count
        else:
            # A parent is smaller than its child, so it is numbered already.
            parent[i] = parent[parent[i]]
    return count


@kernel
def _label(inside: NDArray, diagonal: bool, labels: NDArray) -> int:
    height, width = inside.shape
    # A new label needs a pixel whose left and upper neighbours are outside: at most every other pixel.
    parent = np.empty(height * width // 2 + height + 2, np.int32)
    parent[0] = 0
    used = 0
    for y in range(height):
        for x in range(width):
            if inside[y, x] == 0:
                labels[y, x] = 0
                continue
            west = labels[y, x - 1] if x > 0 else 0
            north = labels[y - 1, x] if y > 0 else 0
            corner_west = labels[y - 1, x - 1] if diagonal and y > 0 and x > 0 else 0
            corner_east = labels[y - 1, x + 1] if diagonal and y > 0 and x + 1 < width else 0
            # The northern pixel touches all the others; without it only the eastern corner can join two regions.
            found = north
            if found == 0:
                found = west if west > 0 else corner_west
                if corner_east > 0:
                    found = _join(parent, found, corner_east) if found > 0 else corner_east
            elif west > 0 and not diagonal:
                found = _join(parent, west, north)
            if found == 0:
                used += 1
                parent[used] = used
                found = used
            labels[y, x] = found
    count = _number(parent[: used + 1])
    for y in range(height):
        row = labels[y]
        for x in range(width):
            row[x] = parent[row[x]]
    return count


@kernel
def _merge(pairs: NDArray, numbers: NDArray) -> int:
    for i in range(numbers.size):
        numbers[i] = i
    for i in range(pairs.shape[0]):
        _join(numbers, pairs[i, 0], pairs[i, 1])
    return _number(numbers)


@kernel
def _sizes(labels: NDArray, sizes: NDArray) -> None:
    for i in range(labels.size):
        sizes[labels[i]] += 1
