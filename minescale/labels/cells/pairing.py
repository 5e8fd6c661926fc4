"""For every positive cell the closest negative one that no other positive has taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.labels.cells.grid import CellGrid, Floats, Ints, geocentric

Allowed = Callable[[Ints, Ints], NDArray[np.bool_]]
"""Which of these cells (rows, cols) may be negatives: those of the area that is looked at."""

REACH_M = 100_000.0
"""How far a negative may be from its positive."""
_TIE_M = 0.1
"""Distances are compared in these steps: what differs by less is as close."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """A negative for each positive, in the order of the positives."""

    negatives: Ints
    """:meth:`CellGrid.keys`; -1 where none was free within reach."""
    distances_m: Floats
    """Between the middles of the two, in a straight line; NaN where there is none."""
    contested: int
    """Positives whose closest negative another one had taken, so that they have a farther one."""

    @property
    def unpaired(self) -> int:
        return int((self.negatives == _NONE).sum())


_NONE = -1


def pair(
    grid: CellGrid, positives: Ints, taken: Ints, *, allowed: Allowed | None = None, reach_m: float = REACH_M
) -> Pairs:
    """Give positives their negatives, one each, in the order given.

    Parameters
    ----------
    positives : keys of the cells, in the order in which they may choose.
    taken : keys of all cells that polygons reach into, positives or not.
    allowed : asks whether cells may be negatives; default: all may.

    Notes
    -----
    Of cells that are as close (0.1 m), the one with the lower row, then column, is taken. Any order of the positives
    gives a valid pairing; the cells' own, south to north and west to east, is the one that can be repeated.
    """
    blocked = np.unique(taken)
    used: set[int] = set()
    negatives = np.full(len(positives), _NONE, np.int64)
    distances = np.full(len(positives), np.nan)
    contested = 0
    for i, key in enumerate(np.asarray(positives, np.int64).tolist()):
        found = _closest(grid, key, blocked, used, allowed, reach_m)
        if found is None:
            continue
        negatives[i], distances[i], was_contested = found
        contested += was_contested
        used.add(int(negatives[i]))
    return Pairs(negatives, distances, contested)


def _closest(
    grid: CellGrid, key: int, blocked: Ints, used: set[int], allowed: Allowed | None, reach_m: float
) -> tuple[int, float, bool] | None:
    lon, lat = (float(v) for v in grid.centres(*grid.of_keys(key)))
    origin = geocentric(lon, lat)
    distance, seen, contested = 0.0, -1.0, False
    while distance < reach_m:
        distance = min(max(2 * distance, 1.5 * grid.side_m), reach_m)
        rows, cols = grid.near(lon, lat, distance)
        away = np.linalg.norm(geocentric(*grid.centres(rows, cols)) - origin, axis=-1)
        keys, steps = grid.keys(rows, cols), np.rint(away / _TIE_M)
        limit = np.floor(distance / _TIE_M) - 1  # below it ``near`` has left out none
        # A wider look need not ask again about cells that a narrower one has refused.
        free = (steps <= limit) & (steps > seen) & ~_among(keys, blocked)
        if allowed is not None and free.any():
            free[free] = allowed(rows[free], cols[free])
        for at in np.flatnonzero(free)[np.lexsort((keys[free], steps[free]))]:
            candidate = int(keys[at])
            if candidate not in used:
                return candidate, float(away[at]), contested
            contested = True
        seen = limit
    return None


def _among(keys: Ints, ascending: Ints) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return ascending[at] == keys
