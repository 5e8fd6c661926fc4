"""Samples that are uniform: of a stream in one pass, of ground by area, and of two classes in equal numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import shapely

from minescale.errors import UsageError
from minescale.labels.cells.coverage import polygon_parts
from minescale.labels.cells.grid import Floats
from minescale.labels.cells.windows import squares
from minescale.labels.shapes.equalarea import from_equal_area, to_equal_area

T = TypeVar("T")

BALANCE = 0.05
"""Share by which the numbers of two classes may differ."""
_DRAWS = 20_000
"""Candidates per point after which an area counts as having no room."""


class Reservoir(Generic[T]):
    """A uniform sample of at most ``k`` items of a stream of unknown length, in memory for ``k`` items.

    Algorithm L of Li (1994, ACM TOMS 20): how many items are passed over before the next one replaces another is drawn
    directly, so that random numbers are needed for kept items only.
    """

    def __init__(self, k: int, rng: np.random.Generator) -> None:
        if k < 1:
            raise UsageError("sample has no room", got=k, expected="at least 1")
        self.k = k
        self.seen = 0
        self._rng = rng
        self._kept: list[tuple[int, T]] = []
        self._weight = 1.0
        self._next = 0  # position in the stream of the next item to keep

    @property
    def items(self) -> list[T]:
        """What is kept so far, in the order of the stream: each of those seen with the same probability."""
        return [item for _, item in sorted(self._kept, key=lambda pair: pair[0])]

    def offer(self, items: Iterable[T]) -> None:
        """Look at more of the stream; of a sequence, only at the items that are kept."""
        if isinstance(items, Sequence):
            start, stop = self.seen, self.seen + len(items)
            while self._next < stop:
                self._keep(items[self._next - start])
            self.seen = stop
            return
        for item in items:
            if self.seen == self._next:
                self._keep(item)
            self.seen += 1

    def _keep(self, item: T) -> None:
        at = self._next
        if at < self.k:
            self._kept.append((at, item))
        else:
            self._kept[int(self._rng.integers(self.k))] = (at, item)
        self._next += 1
        if self._next >= self.k:
            # Exponential numbers are the negative logarithms of uniform ones; the limit keeps log1p finite.
            self._weight = min(self._weight * math.exp(-self._rng.standard_exponential() / self.k), 1 - 2.0**-53)
            self._next += math.floor(-self._rng.standard_exponential() / math.log1p(-self._weight))


def reservoir_sample(items: Iterable[T], k: int, seed: int) -> list[T]:
    """At most ``k`` of ``items``, uniform, in one pass, in their order."""
    reservoir: Reservoir[T] = Reservoir(k, np.random.default_rng(seed))
    reservoir.offer(items)
    return reservoir.items


def points_inside(
    shapes: Any, n: int, rng: np.random.Generator, *, avoid: Any = None, clearance_m: float = 0.0
) -> tuple[Floats, Floats]:
    """Random points, uniform by area over the union of polygons.

    Parameters
    ----------
    shapes : geometry or array of them in EPSG:4326; what several cover is not likelier.
    avoid : geometries that the square of ``clearance_m`` to each side of a point must not reach into.

    Returns
    -------
    lon, lat : n degrees each.

    Raises
    ------
    UsageError
        where there is no area, or ``avoid`` leaves hardly any.

    Notes
    -----
    Candidates are uniform on the equal-area bounds of the union's parts, a part being chosen by the area of its bounds,
    and kept where they lie inside that part: what is kept is uniform, whatever the parts' shapes.
    """
    parts = polygon_parts(shapely.union_all(polygon_parts(shapes)))
    if not len(parts):
        raise UsageError("there is no area to draw points from", expected="polygons with an area")
    obstacles = shapely.STRtree(polygon_parts(avoid) if avoid is not None else [])
    west, south, east, north = shapely.bounds(parts).T
    left, bottom = to_equal_area(west, south)
    right, top = to_equal_area(east, north)
    weight = (right - left) * (top - bottom)
    shapely.prepare(parts)
    kept: list[tuple[Floats, Floats]] = []
    missing, drawn = n, 0
    while missing:
        batch = min(max(4 * missing, 1000), 100_000)
        of = rng.choice(len(parts), batch, p=weight / weight.sum())
        x, y = (low[of] + rng.random(batch) * (high - low)[of] for low, high in ((left, right), (bottom, top)))
        lon, lat = from_equal_area(x, y)
        good = shapely.contains_xy(parts[of], lon, lat)
        good[good] = ~_reaches(obstacles, lon[good], lat[good], clearance_m)
        lon, lat = lon[good][:missing], lat[good][:missing]
        kept.append((lon, lat))
        missing, drawn = missing - len(lon), drawn + batch
        if missing and drawn >= _DRAWS * n:
            raise UsageError(
                "area has hardly any room for points",
                got=f"{n - missing} points of {n} after {drawn} draws",
                fix="a larger area, fewer polygons to avoid, or less clearance",
            )
    return np.concatenate([lon for lon, _ in kept]), np.concatenate([lat for _, lat in kept])


def _reaches(obstacles: shapely.STRtree, lon: Floats, lat: Floats, clearance_m: float) -> Any:
    reached = np.zeros(len(lon), np.bool_)
    if len(obstacles):
        reached[obstacles.query(squares(lon, lat, 2 * clearance_m), predicate="intersects")[0]] = True
    return reached


def balance(table: pd.DataFrame, *, seed: int, tolerance: float = BALANCE) -> pd.DataFrame:
    """Two classes in about equal numbers: rows of the larger are dropped at random until both have as many.

    Parameters
    ----------
    table : column ``class`` with two values; ``inclusion_probability``, where there is one, is scaled for the dropped.
    tolerance : share of the smaller class by which the larger may exceed it and still stays as it is.

    Raises
    ------
    UsageError
        where there are not two classes.
    """
    counts = table["class"].value_counts()
    if len(counts) != 2:
        raise UsageError("only two classes can be balanced", got=counts.to_dict(), expected="rows of both 0 and 1")
    large, small = counts.index[0], int(counts.iloc[-1])
    if counts.iloc[0] <= small * (1 + tolerance):
        return table.reset_index(drop=True)
    rows = np.flatnonzero((table["class"] == large).to_numpy())
    rng = np.random.default_rng(seed)
    drop = rng.choice(rows, len(rows) - small, replace=False)
    kept = table.drop(index=table.index[drop]).reset_index(drop=True)
    if "inclusion_probability" in kept:
        thinned = kept["class"] == large
        kept.loc[thinned, "inclusion_probability"] *= small / len(rows)
    return kept
