"""The mosaic's lattice: tiles and levels nest, cover the area once, and lie on the source's pixels."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.grid import MosaicGrid, auto_crs, project_bbox, resolve_crs
from minescale.types import BBox, TileKey


def test_auto_crs_takes_utm_near_one_meridian_and_equal_area_beyond() -> None:
    assert auto_crs(BBox(16.2, 50.9, 16.3, 51.0)) == "EPSG:32633"
    assert auto_crs(BBox(-60.5, -7, -59.5, -6)) == "EPSG:32721"
    assert auto_crs(BBox(178, -20, -178, -15)) == "EPSG:32701"
    wide = pyproj.CRS(auto_crs(BBox(-74, -34, -34, 5)))
    assert wide.to_dict()["proj"] == "laea"
    assert pyproj.CRS(auto_crs(BBox(10, 84, 12, 86))).to_dict()["proj"] == "laea"


def test_unknown_crs_is_refused() -> None:
    with pytest.raises(UsageError, match="CRS is not understood"):
        resolve_crs("EPSG:nonsense", BBox(0, 0, 1, 1))


@pytest.mark.parametrize(
    "bbox",
    [
        BBox(16.21, 50.97, 16.28, 51.02),
        BBox(179.5, -17, -179.5, -16),
        BBox(-3.3, 4.7, 1.2, 11.2),
        BBox(-60.2, -6.7, -59.8, -6.3),
    ],
)
def test_grid_covers_the_area(bbox: BBox) -> None:
    crs = auto_crs(bbox)
    grid = MosaicGrid.around(bbox, crs=crs, resolution=10, tile_size=512, factors=(1, 8))
    area = project_bbox(bbox, crs)
    rows, cols = grid.shape
    outline = shapely.box(grid.left, grid.top - rows * 10, grid.left + cols * 10, grid.top)
    assert outline.covers(area)
    # Snapped outwards by less than one coarsest cell on every side.
    assert np.all(np.abs(np.array(outline.bounds) - np.array(area.bounds)) <= 80 + 1e-6)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile=st.sampled_from([64, 128, 512]),
    factor=st.sampled_from([2, 4, 8]),
)
def test_tiles_partition_each_level_and_children_partition_their_parent(
    shape: tuple[int, int], tile: int, factor: int
) -> None:
    grid = MosaicGrid(
        crs="EPSG:32720",
        resolution=10,
        left=300000,
        top=9000000,
        shape=(shape[0] * 64, shape[1] * 64),
        tile_size=tile,
        factors=(1, factor),
    )
    for level in range(2):
        hits = np.zeros(grid.level_shape(level), np.uint8)
        for key in grid.tiles(level):
            hits[grid.window(key)] += 1
        assert (hits == 1).all()
    owned: list[TileKey] = []
    for parent in grid.tiles(1):
        children = grid.children(parent)
        owned += children
        assert all(grid.parent(child) == parent for child in children)
        pieces = shapely.union_all([shapely.box(*grid.bounds(c)) for c in children])
        assert pieces.equals(shapely.box(*grid.bounds(parent)))
    assert sorted(owned) == sorted(grid.tiles(0))


def test_anchor_keeps_source_pixels() -> None:
    """A source image whose corner is not a multiple of the pixel size still decides the lattice."""
    bbox = BBox(16.2168, 50.9788, 16.2749, 51.0155)
    grid = MosaicGrid.around(bbox, crs="EPSG:32633", resolution=10, tile_size=512, anchor=(585423.0, 5652257.0))
    assert (grid.left - 585423.0) % 10 == 0
    assert (grid.top - 5652257.0) % 10 == 0


@given(st.floats(-62.2, -61.8), st.floats(-8.0, -7.6), st.sampled_from([0, 44, 48, 96]), st.sampled_from([512, 1024]))
@settings(deadline=None, max_examples=60)
def test_a_lead_keeps_halos_from_slivers_of_blocks(west: float, north: float, lead: int, tile: int) -> None:
    """Along each axis a tile with its halo meets one block more than without any, however the area lies."""
    anchor = (590440.0, 9121960.0)
    bbox = BBox(west, north - 0.2, west + 0.2, north)
    grid = MosaicGrid.around(
        bbox,
        crs="EPSG:32720",
        resolution=10,
        tile_size=tile,
        factors=(1, 8),
        anchor=anchor,
        align_px=tile,
        lead_px=lead,
    )
    left, bottom, right, top = project_bbox(bbox, grid.crs).bounds
    for inside in (left - grid.left, grid.top - top):
        assert -1e-3 <= inside <= (tile - lead) * 10 + 80 if lead else -1e-3 <= inside < tile * 10
    assert grid.left + grid.shape[1] * 10 >= right
    assert grid.top - grid.shape[0] * 10 <= bottom
    for starts in (grid.left - anchor[0], anchor[1] - grid.top):
        first, last = round(starts / 10) - lead, round(starts / 10) + tile + lead - 1
        assert last // 512 - first // 512 + 1 == tile // 512 + bool(lead)


def test_halo_surrounds_the_tile() -> None:
    grid = MosaicGrid(crs="EPSG:32720", resolution=10, left=0, top=0, shape=(1024, 1000), tile_size=512, factors=(1, 8))
    box = grid.tile_geobox(TileKey(0, 1, 1), halo=32)
    assert box.shape.yx == (512 + 64, 1000 - 512 + 64)
    assert (box.affine.c, box.affine.f) == (5120 - 320, -5120 + 320)


def test_grid_round_trips_through_json_values() -> None:
    grid = MosaicGrid.around(BBox(-74, -34, -34, 5), crs=auto_crs(BBox(-74, -34, -34, 5)), resolution=80, tile_size=512)
    assert MosaicGrid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize(
    "change", [{"tile_size": 500}, {"factors": (2, 4)}, {"factors": (1, 1)}, {"shape": (1001, 1000), "factors": (1, 8)}]
)
def test_lattices_that_cannot_nest_are_refused(change: dict[str, object]) -> None:
    values: dict[str, object] = {
        "crs": "EPSG:32720",
        "resolution": 10,
        "left": 0,
        "top": 0,
        "shape": (1024, 1024),
        "tile_size": 512,
        "factors": (1, 8),
    }
    with pytest.raises(UsageError):
        MosaicGrid(**{**values, **change})  # type: ignore[arg-type]


def test_pixel_area_is_true_in_degrees_too() -> None:
    metric = MosaicGrid(crs="EPSG:32720", resolution=10, left=0, top=0, shape=(8, 8), tile_size=8)
    assert metric.pixel_area_ha() == pytest.approx(0.01)
    degrees = MosaicGrid(crs="EPSG:4326", resolution=0.0001, left=81.15, top=21.2, shape=(64, 64), tile_size=8)
    assert degrees.pixel_area_ha() == pytest.approx(0.01 * 11.132**2 / 100 * np.cos(np.deg2rad(21.2)), rel=0.01)
