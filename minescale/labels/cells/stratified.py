"""Negative cells drawn at random from a whole area, stratum by stratum, each with its known chance of being drawn.

Negatives beside mines are hard ones, but say nothing about forest, desert and towns far away: only a random sample of
the area does (Cochran 1977, chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.cells.ancillary import containing
from minescale.labels.cells.area import Area
from minescale.labels.cells.grid import CellGrid, Floats, Ints
from minescale.labels.cells.sampling import Reservoir

Allocation = Literal["proportional", "equal"]
ALLOCATIONS: tuple[Allocation, ...] = ("proportional", "equal")

ELSEWHERE = "elsewhere"
"""Stratum of cells whose middle lies in no polygon of the layer, or in one without a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strata:
    """A layer of polygons and the column that tells its strata apart."""

    layer: gpd.GeoDataFrame
    """EPSG:4326; where several contain a cell's middle, the first counts."""
    column: str

    def __post_init__(self) -> None:
        if self.column not in self.layer:
            raise UsageError(
                "layer has no such column", got=self.column, expected=sorted(set(self.layer) - {"geometry"})
            )
        if self.layer.crs is None or self.layer.crs.to_epsg() != 4326:
            raise UsageError("strata are not in longitude and latitude", got=self.layer.crs, fix="layer.to_crs(4326)")

    def of(self, lon: Floats, lat: Floats) -> NDArray[np.object_]:
        """Stratum of each point."""
        values = self.layer[self.column].reset_index(drop=True)
        names = values.astype(str).where(values.notna(), ELSEWHERE).to_numpy(object)
        at = containing(self.layer.geometry.to_numpy(), lon, lat)
        return np.where(at < 0, ELSEWHERE, names[at])


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCells:
    """Drawn cells, and what they were drawn from."""

    table: pd.DataFrame
    """One row per cell: ``key``, ``stratum``, ``inclusion_probability`` = drawn / eligible of its stratum."""
    eligible: dict[str, int]
    """Cells without overlap, by stratum."""
    drawn: dict[str, int]


def draw_cells(
    grid: CellGrid,
    area: Area,
    n: int,
    *,
    taken: Ints,
    seed: int,
    strata: Strata | None = None,
    allocation: Allocation = "proportional",
) -> RandomCells:
    """Draw ``n`` cells of an area without replacement, uniformly within each stratum.

    One pass over the area's cells, a few rows at a time, with a reservoir per stratum: memory holds ``n`` cells per
    stratum, however large the area.

    Parameters
    ----------
    taken : keys of the cells that polygons reach into; none of them is drawn.
    allocation : ``proportional`` to the strata's sizes, which gives all cells about the same chance, or ``equal``
        numbers, which looks harder at small strata. Each stratum gets at least one cell while ``n`` allows.

    Raises
    ------
    UsageError
        where the area has no cell that may be drawn, or fewer than ``n``.
    """
    if n < 1:
        raise UsageError("no random cell is asked for", got=n, expected="at least 1")
    if allocation not in ALLOCATIONS:
        raise UsageError("unknown allocation", got=allocation, expected=" | ".join(ALLOCATIONS))
    rng = np.random.default_rng(seed)
    blocked = np.unique(taken)
    reservoirs: dict[str, Reservoir[int]] = {}
    for rows, cols in area.cells(grid):
        keys = np.setdiff1d(grid.keys(rows, cols), blocked, assume_unique=True)
        names = (
            strata.of(*grid.centres(*grid.of_keys(keys))) if strata is not None else np.full(len(keys), "all", object)
        )
        for name in np.unique(names.astype(str)):
            reservoirs.setdefault(str(name), Reservoir(n, rng)).offer(keys[names == name].tolist())
    eligible = {name: reservoirs[name].seen for name in sorted(reservoirs)}
    if sum(eligible.values()) < n:
        raise UsageError(
            "area has too few cells without overlap",
            got=f"{sum(eligible.values())} cells of {grid.side_m:g} m, {n} wanted",
            fix="a larger area, fewer random cells, or smaller cells",
        )
    numbers = allocate(n, eligible, allocation)
    parts = []
    for name, number in numbers.items():
        # A uniform part of a uniform sample is a uniform sample.
        kept = np.sort(rng.choice(np.array(reservoirs[name].items, np.int64), number, replace=False))
        parts.append(pd.DataFrame({"key": kept, "stratum": name, "inclusion_probability": number / eligible[name]}))
    return RandomCells(table=pd.concat(parts, ignore_index=True), eligible=eligible, drawn=numbers)


def allocate(n: int, sizes: dict[str, int], allocation: Allocation) -> dict[str, int]:
    """How many of ``n`` each stratum gets: never more than it has, and ``n`` in all.

    One after another goes to the stratum that is farthest behind its share (Sainte-Laguë's method), after each has one.
    """
    room = np.array(list(sizes.values()), np.int64)
    weight = room.astype(np.float64) if allocation == "proportional" else np.ones(len(room))
    numbers = np.full(len(room), n >= len(room), np.int64)
    while numbers.sum() < min(n, room.sum()):
        numbers[np.argmax(np.where(numbers < room, weight / (2 * numbers + 1), -1.0))] += 1
    return dict(zip(sizes, numbers.tolist(), strict=True))
