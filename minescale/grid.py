"""Where the mosaic's pixels, tiles and pyramid levels lie.

One lattice per run: a CRS, a pixel size, an origin. Level 0 is the finest; level ``k`` has
pixels ``factors[k]`` times as large on the same origin, so coarse pixels nest exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyproj
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import MultiPolygon, Polygon, box, prepare
from shapely.geometry.base import BaseGeometry

from minescale.errors import UsageError
from minescale.types import BBox, TileKey

SNAP_PX = 8
"""The mosaic's shape is a multiple of this many pixels, so that 20 m bands and small networks nest in it."""

_EDGE_POINTS = 64
"""Points per bbox edge when it is projected: edges bend."""


def auto_crs(bbox: BBox) -> str:
    """UTM zone of the centre while the area stays within 6° of its meridian, else a centred equal-area CRS."""
    lon, lat = bbox.center
    zone = min(int((lon + 180) // 6) + 1, 60)
    meridian = zone * 6 - 183
    west_off = (bbox.west - meridian + 180) % 360 - 180
    if west_off >= -6 and west_off + bbox.width <= 6 and bbox.south >= -80 and bbox.north <= 84:
        return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
    crs = pyproj.CRS.from_dict(
        {"proj": "laea", "lat_0": round(lat, 2), "lon_0": round(lon, 2), "datum": "WGS84", "units": "m"}
    )
    return str(crs.to_wkt())


def resolve_crs(crs: str, bbox: BBox) -> str:
    """``auto`` or anything pyproj reads, as an authority code where there is one, else WKT2."""
    if crs == "auto":
        return auto_crs(bbox)
    try:
        parsed = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise UsageError(
            "CRS is not understood", got=crs, expected="auto, EPSG:<code>, a PROJ string or WKT"
        ) from error
    authority = parsed.to_authority()
    return ":".join(authority) if authority else str(parsed.to_wkt())


def project_bbox(bbox: BBox, crs: str) -> BaseGeometry:
    """The bbox as a polygon in ``crs``, with densified edges; continuous across the antimeridian."""
    lons = np.linspace(bbox.west, bbox.west + bbox.width, _EDGE_POINTS)
    lats = np.linspace(bbox.south, bbox.north, _EDGE_POINTS)
    ring_lon = np.concatenate([lons, np.full_like(lats, lons[-1]), lons[::-1], np.full_like(lats, lons[0])])
    ring_lat = np.concatenate([np.full_like(lons, lats[0]), lats, np.full_like(lons, lats[-1]), lats[::-1]])
    transformer = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    if not pyproj.CRS(crs).is_geographic:
        ring_lon = (ring_lon + 180) % 360 - 180
    x, y = transformer.transform(ring_lon, ring_lat)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError(
            "area does not fit the CRS",
            got=f"bbox {bbox} in {crs[:40]}",
            expected="a CRS that covers the area",
            fix="--crs auto",
        )
    polygon = Polygon(np.column_stack([x, y]))
    return polygon if polygon.is_valid else polygon.buffer(0)


@dataclass(frozen=True, kw_only=True)
class MosaicGrid:
    """The lattice of one run. Immutable; every tile's GeoBox follows from it."""

    crs: str
    """Authority code or WKT2."""
    resolution: float
    """Pixel size of level 0 in units of the CRS."""
    left: float
    top: float
    shape: tuple[int, int]
    """(y, x) pixels of level 0; a multiple of every factor."""
    tile_size: int
    """Pixels along a tile's edge, at every level."""
    factors: tuple[int, ...] = (1,)
    """Pixel size of each level relative to level 0; ``factors[0] == 1``."""

    def __post_init__(self) -> None:
        if self.factors[0] != 1 or list(self.factors) != sorted(set(self.factors)):
            raise UsageError("pyramid factors must rise from 1", got=self.factors, expected="(1, 8) for 10 m and 80 m")
        if self.tile_size % SNAP_PX or self.tile_size <= 0:
            raise UsageError("tile size is not a multiple of 8 pixels", got=self.tile_size, expected="512, 1024, ...")
        if any(n % f for n in self.shape for f in self.factors):
            raise UsageError(
                "mosaic shape is not a multiple of the pyramid factors", got=self.shape, expected=self.factors
            )

    @classmethod
    def around(
        cls,
        bbox: BBox,
        *,
        crs: str,
        resolution: float,
        tile_size: int,
        factors: tuple[int, ...] = (1,),
        anchor: tuple[float, float] = (0.0, 0.0),
        align_px: int = SNAP_PX,
        lead_px: int = 0,
    ) -> MosaicGrid:
        """The smallest grid over ``bbox``, snapped outwards to the coarsest cells counted from ``anchor`` (x, y).

        With ``anchor`` at the corner of a source image of the same CRS and pixel size, source pixels are
        used as they are. With ``align_px`` at the tile size as well, the first tile starts ``align_px`` times
        a whole number from there: tiles then meet whole blocks of the source, and the up to ``align_px`` pixels
        that this adds to the west and north lie in blocks that are decoded anyway. A tile of a model with a halo
        would meet a sliver of the blocks on every side: with ``lead_px`` at the halo, tiles start so many pixels
        (whole coarsest cells) after a block's edge, and their halos at it; where that would add nearly a whole tile,
        so many before the edge, and halos still meet no block more.
        """
        if resolution <= 0:
            raise UsageError("resolution is not positive", got=resolution, expected="metres, such as 10")
        snap_px = math.lcm(SNAP_PX, *factors)
        per_step = math.lcm(snap_px, align_px)
        step, snap = resolution * per_step, resolution * snap_px
        xmin, ymin, xmax, ymax = project_bbox(bbox, crs).bounds
        lead = resolution * math.ceil(lead_px / snap_px) * snap_px
        ax, ay = anchor
        tiny = 1e-6

        def start(edge: float) -> float:
            """Where tiles start, counted from the anchor inwards, for an area that starts at ``edge``."""
            first = math.floor((edge - lead) / step + tiny) * step + lead
            return first + step - 2 * lead if edge - first > step - lead > lead else first

        left, top = ax + start(xmin - ax), ay - start(ay - ymax)
        cols = max(math.ceil((xmax - left) / snap - tiny), 1)
        rows = max(math.ceil((top - ymin) / snap - tiny), 1)
        return cls(
            crs=crs,
            resolution=resolution,
            left=left,
            top=top,
            shape=(rows * snap_px, cols * snap_px),
            tile_size=tile_size,
            factors=factors,
        )

    @property
    def n_levels(self) -> int:
        return len(self.factors)

    def level_resolution(self, level: int) -> float:
        return self.resolution * self.factors[level]

    def level_shape(self, level: int) -> tuple[int, int]:
        f = self.factors[level]
        return (self.shape[0] // f, self.shape[1] // f)

    def tile_shape(self, level: int) -> tuple[int, int]:
        """Number of tiles (y, x) at a level."""
        ny, nx = self.level_shape(level)
        return (-(-ny // self.tile_size), -(-nx // self.tile_size))

    @cached_property
    def geobox(self) -> GeoBox:
        """GeoBox of level 0."""
        return self.level_geobox(0)

    def level_geobox(self, level: int) -> GeoBox:
        res = self.level_resolution(level)
        return GeoBox(self.level_shape(level), Affine(res, 0, self.left, 0, -res, self.top), self.crs)

    def window(self, key: TileKey) -> tuple[slice, slice]:
        """(y, x) slices of the tile in its level's array; edge tiles are cut at the mosaic's border."""
        ny, nx = self.level_shape(key.level)
        rows, cols = self.tile_shape(key.level)
        if key.level >= self.n_levels or key.y >= rows or key.x >= cols:
            raise UsageError("tile lies outside the mosaic", got=str(key), expected=f"y < {rows}, x < {cols}")
        n = self.tile_size
        return (
            slice(key.y * n, min((key.y + 1) * n, ny)),
            slice(key.x * n, min((key.x + 1) * n, nx)),
        )

    def tile_geobox(self, key: TileKey, halo: int = 0) -> GeoBox:
        """GeoBox of the tile, with ``halo`` pixels more on every side (the halo may leave the mosaic)."""
        rows, cols = self.window(key)
        res = self.level_resolution(key.level)
        left = self.left + (cols.start - halo) * res
        top = self.top - (rows.start - halo) * res
        shape = (rows.stop - rows.start + 2 * halo, cols.stop - cols.start + 2 * halo)
        return GeoBox(shape, Affine(res, 0, left, 0, -res, top), self.crs)

    def tiles(self, level: int = 0, within: BaseGeometry | None = None) -> Iterator[TileKey]:
        """Tiles of a level in row order; with ``within`` (in the mosaic's CRS) only those that touch its interior."""
        rows, cols = self.tile_shape(level)
        if within is not None:
            prepare(within)
        for y in range(rows):
            for x in range(cols):
                key = TileKey(level, y, x)
                if within is None or _overlap(within, box(*self.bounds(key))):
                    yield key

    def bounds(self, key: TileKey) -> tuple[float, float, float, float]:
        """(xmin, ymin, xmax, ymax) of the tile in the mosaic's CRS."""
        rows, cols = self.window(key)
        res = self.level_resolution(key.level)
        return (
            self.left + cols.start * res,
            self.top - rows.stop * res,
            self.left + cols.stop * res,
            self.top - rows.start * res,
        )

    def children(self, key: TileKey) -> tuple[TileKey, ...]:
        """Tiles one level finer that together cover this tile exactly, in row order."""
        if key.level == 0:
            return ()
        ratio, remainder = divmod(self.factors[key.level], self.factors[key.level - 1])
        if remainder:
            raise UsageError(
                "neighbouring pyramid levels do not nest", got=self.factors, expected="each a multiple of the one below"
            )
        rows, cols = self.tile_shape(key.level - 1)
        return tuple(
            TileKey(key.level - 1, y, x)
            for y in range(key.y * ratio, min((key.y + 1) * ratio, rows))
            for x in range(key.x * ratio, min((key.x + 1) * ratio, cols))
        )

    def parent(self, key: TileKey) -> TileKey:
        """The tile one level coarser that covers this one."""
        if key.level + 1 >= self.n_levels:
            raise UsageError("tile has no parent", got=str(key), expected=f"level below {self.n_levels - 1}")
        ratio = self.factors[key.level + 1] // self.factors[key.level]
        return TileKey(key.level + 1, key.y // ratio, key.x // ratio)

    def pixel_area_ha(self) -> float:
        """Hectares of one level-0 pixel; the mean over the mosaic where the CRS is in degrees."""
        crs = pyproj.CRS(self.crs)
        if not crs.is_geographic:
            return float((self.resolution * crs.axis_info[0].unit_conversion_factor) ** 2 / 1e4)
        ny, nx = self.shape
        area, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(
            box(self.left, self.top - ny * self.resolution, self.left + nx * self.resolution, self.top)
        )
        return abs(area) / (ny * nx) / 1e4

    def to_dict(self) -> dict[str, object]:
        return {
            "crs": self.crs,
            "resolution": self.resolution,
            "left": self.left,
            "top": self.top,
            "shape": list(self.shape),
            "tile_size": self.tile_size,
            "factors": list(self.factors),
        }

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> MosaicGrid:
        fields = dict(values)
        fields["shape"] = tuple(fields["shape"])  # type: ignore[arg-type]
        fields["factors"] = tuple(fields["factors"])  # type: ignore[arg-type]
        return cls(**fields)  # type: ignore[arg-type]


def _overlap(area: BaseGeometry, tile: Polygon | MultiPolygon) -> bool:
    """True where interiors meet: touching edges do not count."""
    return area.intersects(tile) and not area.touches(tile)
