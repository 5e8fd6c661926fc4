"""Which scenes touch which tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from minescale.grid import MosaicGrid
from minescale.sources.scenes import Scene
from minescale.types import Period, TileKey

_STRIP_PX = 2048

_SEGMENT_DEGREES = 0.05
"""Footprint edges are cut to this length before projection: edges bend."""

_TILES_AT_ONCE = 1 << 16

_MARGIN_PX = 8
"""Footprints in catalogues are simplified; a tile this close to one still tries the scene."""


def strip_rows(tile_px: int) -> int:
    """Rows of tiles that a worker goes through together, column by column, so that neighbours share what was read.

    What a tile shares with the next column is kept until then, so that a strip twice as high takes twice the memory:
    with twelve dates this height is what there is room for.
    """
    return max(1, _STRIP_PX // tile_px)


class TileIndex:
    """The tiles of one level that touch the area, and for each the scenes that may cover it.

    Built once per plan with vectorised geometry, so that a million tiles take seconds.
    """

    def __init__(
        self, grid: MosaicGrid, level: int, scenes: Sequence[Scene], area: BaseGeometry, halo: int = 0
    ) -> None:
        self.grid, self.level = grid, level
        rows, cols = grid.tile_shape(level)
        self.shape = (rows, cols)
        self.bounds = _tile_bounds(grid, level)
        """xmin, ymin, xmax, ymax of every tile, flat in row order."""
        self.inside: NDArray[np.bool_] = np.zeros((rows, cols), bool)
        """(tile_y, tile_x) True where the tile belongs to the run."""
        shapely.prepare(area)
        reach = (halo + _MARGIN_PX) * grid.level_resolution(level)
        footprints = project_footprints([s.footprint for s in scenes], grid)
        extents = shapely.bounds(footprints).T
        found: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
        # Some rows at a time: the geometries of a country's tiles would take more memory than all else.
        step = max(_TILES_AT_ONCE // cols, 1)
        for top in range(0, rows, step):
            first, last = top * cols, min(top + step, rows) * cols
            xmin, ymin, xmax, ymax = (edge[first:last] for edge in self.bounds)
            boxes = shapely.box(xmin, ymin, xmax, ymax)
            inside = shapely.intersects(area, boxes) & ~shapely.touches(area, boxes)
            self.inside.ravel()[first:last] = inside
            wide = shapely.box(xmin - reach, ymin - reach, xmax + reach, ymax + reach)[inside]
            near = np.flatnonzero((extents[3] >= ymin.min() - reach) & (extents[1] <= ymax.max() + reach))
            # The tree holds the tiles and is asked by footprint: one prepared polygon meets hundreds of small boxes.
            scene, tile = shapely.STRtree(wide).query(footprints[near], predicate="intersects")
            order = np.lexsort((scene, tile))
            tiles = first + np.flatnonzero(inside)[tile[order]]
            found.append((near[scene[order]].astype(np.int32), tiles.astype(np.int32)))
        self._scene = np.concatenate([scene for scene, _ in found])
        self._start = np.searchsorted(np.concatenate([tile for _, tile in found]), np.arange(rows * cols + 1))
        self._moment = [s.datetime for s in scenes]
        passes: dict[tuple[object, ...], int] = {}
        self._pass = np.array([passes.setdefault((s.datetime.date(), s.platform), len(passes)) for s in scenes], int)

    def keys(self) -> Iterator[TileKey]:
        """Tiles of the run in row order."""
        for y, x in np.argwhere(self.inside):
            yield TileKey(self.level, int(y), int(x))

    def __len__(self) -> int:
        return int(np.count_nonzero(self.inside))

    def scenes(self, key: TileKey, period: Period) -> tuple[int, ...]:
        """Positions of the scenes, in catalogue order, that may cover the tile within the period."""
        flat = key.y * self.shape[1] + key.x
        found = self._scene[self._start[flat] : self._start[flat + 1]]
        return tuple(int(i) for i in found if period.contains(self._moment[i]))

    def tiles_of(self, scene: int) -> NDArray[np.int32]:
        """Flat tile positions (``y * columns + x``) that a scene may cover, ascending."""
        tiles, start = self._by_scene
        return tiles[start[scene] : start[scene + 1]]

    def looks(self, periods: Sequence[Period]) -> NDArray[np.int64]:
        """(period, flat tile) acquisition days that cover each tile: scenes of one pass are one look."""
        n_passes = int(self._pass.max(initial=0)) + 1
        tiles = np.repeat(np.arange(len(self._start) - 1), np.diff(self._start))
        found = np.empty((len(periods), len(self._start) - 1), np.int64)
        for counts, period in zip(found, periods, strict=True):
            during = np.array([period.contains(moment) for moment in self._moment], bool)[self._scene]
            looks = tiles[during] * n_passes + self._pass[self._scene[during]]
            looks.sort(kind="stable")  # nearly sorted already, which this kind makes use of
            distinct = looks[np.diff(looks, prepend=-1) > 0]
            counts[:] = np.bincount(distinct // n_passes, minlength=len(counts))
        return found

    @cached_property
    def _by_scene(self) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """Tiles in the order of their scenes, and where each scene's begin."""
        order = np.argsort(self._scene, kind="stable")
        tiles = np.repeat(np.arange(len(self._start) - 1, dtype=np.int32), np.diff(self._start))
        return tiles[order], np.searchsorted(self._scene[order], np.arange(len(self._moment) + 1))


def _tile_bounds(grid: MosaicGrid, level: int) -> tuple[NDArray[np.float64], ...]:
    """xmin, ymin, xmax, ymax of every tile of a level, flat in row order, cut at the mosaic's border."""
    rows, cols = grid.tile_shape(level)
    ny, nx = grid.level_shape(level)
    res, n = grid.level_resolution(level), grid.tile_size
    y0, x0 = np.divmod(np.arange(rows * cols), cols)
    y0, x0 = y0 * n, x0 * n
    y1, x1 = np.minimum(y0 + n, ny), np.minimum(x0 + n, nx)
    return (grid.left + x0 * res, grid.top - y1 * res, grid.left + x1 * res, grid.top - y0 * res)


def project_footprints(footprints: Sequence[BaseGeometry], grid: MosaicGrid) -> NDArray[np.object_]:
    """Longitude/latitude footprints in the mosaic's CRS, all in one go: one by one, a country's take minutes."""
    dense = shapely.segmentize(shapely.make_valid(np.array(footprints, object)), _SEGMENT_DEGREES)
    if pyproj.CRS(grid.crs).is_geographic:
        east = grid.left + grid.shape[1] * grid.resolution
        if east > 180:  # the mosaic runs on past the antimeridian
            return shapely.union(dense, shapely.transform(dense, lambda xy: xy + np.array([360.0, 0.0])))
        return dense
    transformer = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    projected = shapely.transform(dense, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    return np.asarray(shapely.make_valid(projected), object)
