"""The global grid of square cells that datasets are cut from: every cell has one name, neighbours and children.

Rows are counted from the equator along the meridian: each is ``side_m`` tall on the WGS 84 ellipsoid, and the last one
before a pole is cut off there. A row is divided into a whole number of columns, counted eastwards from 180° W, such
that a cell is ``side_m`` wide at the middle latitude of its row; rounding to a whole number changes that by less than
one part in twice the number of columns (0.02 % at 60°). So a cell is a box of longitude and latitude, none crosses
the antimeridian, and nothing depends on the area that is looked at.

Cells of half the size are quarters: rows of 2750 m and 1375 m have twice and four times the columns of the 5500 m row
that they lie in, which makes them up to 0.06 % narrower or wider at 60°.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
import shapely
from numpy.typing import ArrayLike, NDArray

from minescale.errors import UsageError

ZOOM_SIDES = {14: 5500.0, 15: 2750.0, 16: 1375.0}
"""Side in metres by Web-Mercator zoom: 575.64 px of that zoom at the equator."""
FINEST_M, COARSEST_M = 10.0, 500_000.0
NESTED_M = 8000.0
"""Cells smaller than this divide into four; larger ones would bend too far from squares."""

_GEOD = pyproj.Geod(ellps="WGS84")
_QUARTER_M = float(_GEOD.inv(0, 0, 0, 90)[2])
"""Equator to pole along a meridian."""
_E2 = _GEOD.es
_ID = re.compile(r"(\d+(?:\.\d+)?)_([ns])(\d{5,})_(\d{6,})")
_EDGE = 1e-9
"""Share of a cell by which a shape may reach over an edge and still only touch it."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def geocentric(lon: ArrayLike, lat: ArrayLike) -> Floats:
    """(n, 3) metres from the Earth's centre of points on the WGS 84 ellipsoid.

    Straight-line distance between such points orders them as the distance along the ground does.
    """
    lam, phi = np.radians(np.asarray(lon, np.float64)), np.radians(np.asarray(lat, np.float64))
    normal = _GEOD.a / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    p = normal * np.cos(phi)
    return np.stack([p * np.cos(lam), p * np.sin(lam), normal * (1 - _E2) * np.sin(phi)], axis=-1)


def _halvings(side_m: float) -> int:
    """How often a root cell, of 4 to 8 km, was halved: its row decides on the number of columns."""
    return max(0, math.ceil(math.log2(NESTED_M / 2 / side_m)))


def _rows_to_pole(side_m: float) -> int:
    return math.ceil(_QUARTER_M / side_m)


@lru_cache(maxsize=8)
def _lattice(side_m: float) -> tuple[Floats, Ints]:
    """Latitudes of all rows' edges, south to north, and columns of row 0, 1, ... northwards (the south mirrors them).

    Row ``r`` lies between edge ``r + rows_to_pole`` and the next.
    """
    rows, fold = _rows_to_pole(side_m), 2 ** _halvings(side_m)
    away = np.minimum(np.arange(rows + 1) * side_m, _QUARTER_M)
    north = _latitudes(away)
    north[0], north[-1] = 0.0, 90.0
    root = side_m * fold
    start = np.arange(math.ceil(_QUARTER_M / root)) * root
    phi = np.radians(_latitudes((start + np.minimum(start + root, _QUARTER_M)) / 2))
    around = 2 * np.pi * _GEOD.a * np.cos(phi) / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    columns = np.maximum(np.rint(around / root), 3).astype(np.int64) * fold
    return np.concatenate([-north[:0:-1], north]), np.repeat(columns, fold)[:rows]


def _latitudes(metres: Floats) -> Floats:
    """Of points so far from the equator along a meridian."""
    zero = np.zeros_like(metres)
    return np.array(_GEOD.fwd(zero, zero, zero, metres)[1])


@dataclass(frozen=True, slots=True)
class CellGrid:
    """All cells of one size on the globe. ``row`` counts north from the equator (south is negative), ``col`` east."""

    side_m: float
    """Edge of a cell in metres."""

    def __post_init__(self) -> None:
        if not FINEST_M <= self.side_m <= COARSEST_M:
            raise UsageError(
                "cells of this size make no grid", got=f"{self.side_m} m", expected=f"{FINEST_M:g} to {COARSEST_M:g} m"
            )

    @classmethod
    def of_zoom(cls, zoom: int) -> CellGrid:
        """The grid of a Web-Mercator zoom: 5500 m at 14, half of that with every further one."""
        return cls(ZOOM_SIDES[14] * 2.0 ** (14 - zoom))

    @property
    def zoom(self) -> int:
        """The Web-Mercator zoom nearest to this size."""
        return round(14 + math.log2(ZOOM_SIDES[14] / self.side_m))

    @property
    def rows_to_pole(self) -> int:
        """Rows of one hemisphere: those of the grid are ``-rows_to_pole`` to ``rows_to_pole - 1``."""
        return _rows_to_pole(self.side_m)

    @property
    def _halvings(self) -> int:
        return _halvings(self.side_m)

    @property
    def _edges(self) -> Floats:
        return _lattice(self.side_m)[0]

    @property
    def _columns(self) -> Ints:
        return _lattice(self.side_m)[1]

    def columns(self, row: ArrayLike) -> Ints:
        """Number of cells in each ``row``.

        Raises
        ------
        UsageError
            for a row beyond a pole.
        """
        rows = np.asarray(row, np.int64)
        away = np.where(rows < 0, -rows - 1, rows)
        if (away >= self.rows_to_pole).any():
            raise UsageError(
                f"grid of {self.side_m:g} m has no such row",
                got=rows[away >= self.rows_to_pole].ravel()[:3].tolist(),
                expected=f"{-self.rows_to_pole} to {self.rows_to_pole - 1}",
            )
        return self._columns[away]

    def bounds(self, row: ArrayLike, col: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
        """West, south, east, north of cells in degrees."""
        rows, cols = np.asarray(row, np.int64), np.asarray(col, np.int64)
        n = self.columns(rows)
        if ((cols < 0) | (cols >= n)).any():
            raise UsageError(f"grid of {self.side_m:g} m has no such column", expected="0 to columns(row) - 1")
        at = rows + self.rows_to_pole
        return cols * 360.0 / n - 180.0, self._edges[at], (cols + 1) * 360.0 / n - 180.0, self._edges[at + 1]

    def boxes(self, row: ArrayLike, col: ArrayLike) -> NDArray[np.object_]:
        """Cells as an array of polygons in EPSG:4326."""
        return shapely.box(*self.bounds(np.atleast_1d(row), np.atleast_1d(col)))

    def centres(self, row: ArrayLike, col: ArrayLike) -> tuple[Floats, Floats]:
        """Longitude and latitude of the middle of cells: half-way between their edges, in degrees."""
        west, south, east, north = self.bounds(row, col)
        return (west + east) / 2, (south + north) / 2

    def locate(self, lon: ArrayLike, lat: ArrayLike) -> tuple[Ints, Ints]:
        """Row and column of the cell that each point lies in; on an edge, that to the north or east.

        Raises
        ------
        UsageError
            for latitudes beyond the poles, or numbers that are none.
        """
        x, y = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        if not (np.isfinite(x).all() and (np.abs(y) <= 90).all()):
            raise UsageError("points are not on the globe", expected="longitude and latitude in degrees")
        top = 2 * self.rows_to_pole - 1
        rows = np.clip(np.searchsorted(self._edges, y, side="right") - 1, 0, top) - self.rows_to_pole
        n = self.columns(rows)
        cols = np.floor(((x + 180.0) % 360.0) * n / 360.0).astype(np.int64)
        return rows, np.minimum(cols, n - 1)

    def row_span(self, south: ArrayLike, north: ArrayLike) -> tuple[Ints, Ints]:
        """First and last row that latitudes reach into, more than touch; none where first > last."""
        slack = _EDGE * self.side_m / 111_000
        first = np.searchsorted(self._edges, np.asarray(south, np.float64) + slack, side="right") - 1
        last = np.searchsorted(self._edges, np.asarray(north, np.float64) - slack, side="left") - 1
        return first - self.rows_to_pole, last - self.rows_to_pole

    def col_span(self, row: ArrayLike, west: ArrayLike, east: ArrayLike) -> tuple[Ints, Ints]:
        """First and last column of ``row`` that longitudes within ±180 reach into, more than touch."""
        n = self.columns(row)
        first = np.floor((np.asarray(west, np.float64) + 180.0) * n / 360.0 + _EDGE).astype(np.int64)
        last = np.ceil((np.asarray(east, np.float64) + 180.0) * n / 360.0 - _EDGE).astype(np.int64) - 1
        return np.maximum(first, 0), np.minimum(last, n - 1)

    def ids(self, row: ArrayLike, col: ArrayLike) -> list[str]:
        """Names such as ``5500_n00653_001234``: side, hemisphere and rows from the equator, column from 180° W."""
        rows, cols = np.atleast_1d(np.asarray(row, np.int64)), np.atleast_1d(np.asarray(col, np.int64))
        side = f"{self.side_m:.10g}"
        return [
            f"{side}_{'n' if r >= 0 else 's'}{r if r >= 0 else -r - 1:05d}_{c:06d}"
            for r, c in zip(rows.tolist(), cols.tolist(), strict=True)
        ]

    def keys(self, row: ArrayLike, col: ArrayLike) -> Ints:
        """One integer per cell, ordered as (row, column)."""
        return (np.asarray(row, np.int64) << 32) + np.asarray(col, np.int64)

    def of_keys(self, key: ArrayLike) -> tuple[Ints, Ints]:
        """Row and column, of :meth:`keys`."""
        keys = np.asarray(key, np.int64)
        return keys >> 32, keys & 0xFFFFFFFF

    def neighbours(self, row: int, col: int) -> list[tuple[int, int]]:
        """Cells that share an edge or a corner with one, in order; across the antimeridian, not across the poles."""
        west, _, east, _ = (float(v) for v in self.bounds(row, col))
        found: list[tuple[int, int]] = []
        for other in (row - 1, row, row + 1):
            if not -self.rows_to_pole <= other < self.rows_to_pole:
                continue
            n = int(self.columns(other))
            # A corner shared means an edge of longitude shared: a hair wider on both sides finds it.
            first = math.floor((west + 180.0) * n / 360.0 - _EDGE)
            last = math.floor((east + 180.0) * n / 360.0 + _EDGE)
            found += [(other, c) for c in sorted({c % n for c in range(first, last + 1)}) if (other, c) != (row, col)]
        return found

    def near(self, lon: float, lat: float, distance_m: float) -> tuple[Ints, Ints]:
        """Cells among which are all whose centre is at most ``distance_m`` from a point, in a straight line.

        Rows are those within the distance along the meridian. Within a row of parallel radius ``p``, a point at
        longitude ``l`` off is at least ``p sin(l)`` away.
        """
        row = int(self.locate(lon, lat)[0])
        reach = math.ceil(1.01 * distance_m / self.side_m) + 1
        rows = np.arange(max(row - reach, -self.rows_to_pole), min(row + reach, self.rows_to_pole - 1) + 1)
        n = self.columns(rows)
        at = rows + self.rows_to_pole
        middle = np.concatenate([(self._edges[at] + self._edges[at + 1]) / 2, [lat]])
        p = np.hypot(*geocentric(np.zeros_like(middle), middle)[:, :2].T)
        widest = np.maximum(p[:-1], p[-1])
        share = np.where(widest > distance_m, np.arcsin(np.minimum(distance_m / widest, 1.0)), np.pi) / (2 * np.pi)
        first = np.floor(((lon + 180.0) / 360.0 - share) * n).astype(np.int64)
        count = np.minimum(np.floor(((lon + 180.0) / 360.0 + share) * n).astype(np.int64) - first + 1, n)
        return np.repeat(rows, count), (np.repeat(first, count) + ranges(count)) % np.repeat(n, count)

    def finer(self) -> CellGrid:
        """The grid of half the side, whose cells are quarters of this one's.

        Raises
        ------
        UsageError
            where cells are too large to nest, or too small to be halved.
        """
        if self.side_m >= NESTED_M:
            raise UsageError(
                f"cells of {self.side_m:g} m have no quarters in the grid of half their side",
                expected=f"a side below {NESTED_M:g} m",
            )
        return CellGrid(self.side_m / 2)

    def children(self, row: int, col: int) -> list[tuple[int, int]]:
        """The four cells of :meth:`finer` that tile this one; fewer in the row at a pole that is cut off."""
        finer = self.finer()
        rows = [r for r in (2 * row, 2 * row + 1) if -finer.rows_to_pole <= r < finer.rows_to_pole]
        return [(r, c) for r in rows for c in (2 * col, 2 * col + 1)]

    def root(self, row: ArrayLike, col: ArrayLike) -> tuple[CellGrid, Ints, Ints]:
        """The grid of 4 to 8 km cells that this one divides, and the cells in it that these ones lie in."""
        k = self._halvings
        grid = CellGrid(self.side_m * 2**k)
        return grid, np.asarray(row, np.int64) >> k, np.asarray(col, np.int64) >> k


def parse_id(name: str) -> tuple[CellGrid, int, int]:
    """Grid, row and column of a cell's name.

    Raises
    ------
    UsageError
        for a name that no cell has.
    """
    found = _ID.fullmatch(name)
    if found:
        grid = CellGrid(float(found[1]))
        row = int(found[3]) if found[2] == "n" else -int(found[3]) - 1
        col = int(found[4])
        if -grid.rows_to_pole <= row < grid.rows_to_pole and col < grid.columns(row) and grid.ids(row, col) == [name]:
            return grid, row, col
    raise UsageError("no cell has this name", got=name, expected="a name such as 5500_n00653_001234")


def ranges(counts: Ints) -> Ints:
    """0, 1, ..., n - 1 for each n of ``counts``, one after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
