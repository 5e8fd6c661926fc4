"""The global grid: square cells with stable names, neighbours and quarters, and no edge lost over a country."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.labels.cells.coverage import cells_over, overlaps, polygon_parts
from minescale.labels.cells.grid import ZOOM_SIDES, CellGrid, geocentric, parse_id
from minescale.labels.shapes.equalarea import areas_m2, from_equal_area, to_equal_area

GEOD = pyproj.Geod(ellps="WGS84")
SIDES = st.sampled_from([5500.0, 2750.0, 1375.0, 4000.0, 7680.0, 687.5, 12000.0])
LONS = st.floats(-180, 179.999999)
LATS = st.floats(-90, 90)


def over(grid: CellGrid, shape: object) -> set[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for rows, cols in cells_over(grid, shape):
        found += zip(rows.tolist(), cols.tolist(), strict=True)
    assert len(found) == len(set(found)), "a cell came twice"
    assert found == sorted(found)
    return set(found)


def brute(grid: CellGrid, shape: shapely.Geometry) -> dict[tuple[int, int], float]:
    """Overlap of every cell of the shape's bounds, and of a ring of cells around them, one by one."""
    west, south, east, north = shape.bounds
    (low, high), _ = grid.locate([0, 0], [south, north])
    found = {}
    for row in range(low - 1, high + 2):
        n = int(grid.columns(row))
        for col in range(int((west + 180) * n / 360) - 1, int((east + 180) * n / 360) + 2):
            if not 0 <= col < n:
                continue
            cell = shapely.box(*(float(v) for v in grid.bounds(row, col)))
            share = areas_m2([cell.intersection(shape)])[0] / areas_m2([cell])[0]
            if share > 1e-9:
                found[row, col] = share
    return found


@pytest.mark.parametrize(("zoom", "side"), ZOOM_SIDES.items())
def test_r060_sides_are_those_of_the_zooms(zoom: int, side: float) -> None:
    metres_per_pixel = 2 * np.pi * 6378137 / 256 / 2**zoom
    assert side / metres_per_pixel == pytest.approx(575.64, abs=0.005)
    assert CellGrid.of_zoom(zoom) == CellGrid(side)
    assert CellGrid(side).zoom == zoom


@settings(deadline=None)
@given(SIDES, LONS, st.floats(-80, 80))
def test_r060_cells_are_square_in_metres(side: float, lon: float, lat: float) -> None:
    grid = CellGrid(side)
    row, col = (int(v) for v in grid.locate(lon, lat))
    west, south, east, north = (float(v) for v in grid.bounds(row, col))
    assert west - 1e-9 <= lon <= east + 1e-9
    assert south <= lat <= north
    assert GEOD.inv(west, south, west, north)[2] == pytest.approx(side, rel=1e-9)
    middle = (south + north) / 2
    around = np.radians(east - west) * np.hypot(*geocentric(0.0, middle)[:2])
    # Columns are a whole number, and quarters keep the columns of the 4 to 8 km row that they lie in.
    root = grid.root(row, col)[0].side_m
    slack = 0.5 / int(grid.columns(row)) * root / side + 1.05 * np.tan(np.radians(abs(lat) + 0.1)) * root / 2 / 6.35e6
    assert around == pytest.approx(side, rel=slack)


@settings(deadline=None)
@given(SIDES, LONS, LATS)
def test_names_and_middles_lead_back_to_the_cell(side: float, lon: float, lat: float) -> None:
    grid = CellGrid(side)
    row, col = (int(v) for v in grid.locate(lon, lat))
    assert parse_id(grid.ids(row, col)[0]) == (grid, row, col)
    assert grid.of_keys(grid.keys(row, col)) == (row, col)
    again = grid.locate(*grid.centres(row, col))
    assert (int(again[0]), int(again[1])) == (row, col)


@pytest.mark.parametrize(
    "name",
    ["", "5500_n00653", "5500_n0653_001234", "5500_n00653_1234", "5500.0_n00653_001234", "5500_x00653_001234",
     "5500_n09999_000001", "5500_n00000_007286", "1_n00000_000001", "5500_n00653_001234 "],
)  # fmt: skip
def test_names_that_no_cell_has(name: str) -> None:
    with pytest.raises(UsageError):
        parse_id(name)


@pytest.mark.parametrize("side", [0, -5500, 9.9, 1e6, float("nan")])
def test_sides_that_make_no_grid(side: float) -> None:
    with pytest.raises(UsageError):
        CellGrid(side)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([5500.0, 2750.0, 4000.0, 7680.0]), LONS, LATS)
def test_r095_quarters_tile_their_parent_exactly(side: float, lon: float, lat: float) -> None:
    grid = CellGrid(side)
    row, col = (int(v) for v in grid.locate(lon, lat))
    parent = grid.boxes(row, col)[0]
    quarters = grid.children(row, col)
    boxes = grid.finer().boxes(*np.array(quarters).T)
    assert len(quarters) == 4 or abs(lat) > 89.9
    assert shapely.union_all(boxes).symmetric_difference(parent).area <= 1e-9 * parent.area
    assert areas_m2(boxes).sum() == pytest.approx(areas_m2([parent])[0], rel=1e-9)
    for r, c in quarters:
        root, up, across = grid.finer().root(r, c)
        assert (up, across) == grid.root(row, col)[1:]
        assert root == grid.root(row, col)[0]


def test_zooms_nest_over_two_steps() -> None:
    grid = CellGrid.of_zoom(14)
    row, col = grid.locate(-1.9, 5.4)
    grandchildren = [g for c in grid.children(int(row), int(col)) for g in grid.finer().children(*c)]
    boxes = CellGrid.of_zoom(16).boxes(*np.array(grandchildren).T)
    assert len(grandchildren) == 16
    assert shapely.union_all(boxes).equals(shapely.set_precision(grid.boxes(row, col)[0], 0))
    with pytest.raises(UsageError, match="8000"):
        CellGrid(8000).finer()


@settings(max_examples=60, deadline=None)
@given(SIDES, LONS, LATS)
def test_neighbours_are_the_cells_that_touch(side: float, lon: float, lat: float) -> None:
    grid = CellGrid(side)
    row, col = (int(v) for v in grid.locate(lon, lat))
    west, south, east, north = (float(v) for v in grid.bounds(row, col))
    wide = shapely.box(west - 1e-10, south - 1e-10, east + 1e-10, north + 1e-10)
    touching = set()
    for other in range(max(row - 2, -grid.rows_to_pole), min(row + 3, grid.rows_to_pole)):
        n = int(grid.columns(other))
        around = {c % n for e in (west, east) for c in range(*(int((e + 180) * n / 360) + d for d in (-3, 4)))}
        for c in around | (set(range(n)) if n < 50 else set()):
            box = grid.boxes(other, c)[0]
            if any(shapely.affinity.translate(box, turn).intersects(wide) for turn in (-360, 0, 360)):
                touching.add((other, c))
    found = grid.neighbours(row, col)
    assert found == sorted(found)
    assert set(found) == touching - {(row, col)}


def test_cells_meet_at_the_antimeridian_and_end_at_the_poles() -> None:
    grid = CellGrid(5500)
    last = int(grid.columns(100)) - 1
    assert (100, 0) in grid.neighbours(100, last)
    assert grid.locate([180.0, -180.0], [10.0, 10.0])[1].tolist() == [0, 0]
    assert grid.bounds(100, last)[2] == 180
    top = grid.rows_to_pole - 1
    assert grid.bounds(top, 0)[3] == 90
    assert grid.bounds(-grid.rows_to_pole, 0)[1] == -90
    assert grid.locate(0, 90)[0] == top
    with pytest.raises(UsageError, match="no such row"):
        grid.bounds(top + 1, 0)
    with pytest.raises(UsageError, match="no such column"):
        grid.bounds(0, 9999)
    with pytest.raises(UsageError, match="globe"):
        grid.locate(0, 91)


@settings(max_examples=40, deadline=None)
@given(LONS, LATS, st.sampled_from([1.0, 30_000.0, 400_000.0]))
def test_near_leaves_out_no_cell_within_the_distance(lon: float, lat: float, distance: float) -> None:
    grid = CellGrid(50_000)
    rows = np.concatenate([np.full(int(grid.columns(r)), r) for r in range(-grid.rows_to_pole, grid.rows_to_pole)])
    cols = np.concatenate([np.arange(int(grid.columns(r))) for r in range(-grid.rows_to_pole, grid.rows_to_pole)])
    away = np.linalg.norm(geocentric(*grid.centres(rows, cols)) - geocentric(lon, lat), axis=-1)
    keys = grid.keys(*grid.near(lon, lat, distance))
    assert len(np.unique(keys)) == len(keys)
    assert set(grid.keys(rows, cols)[away <= distance].tolist()) <= set(keys.tolist())


def test_areas_are_those_of_the_ellipsoid() -> None:
    box = shapely.box(20, 50, 20.05, 50.05)
    dense = shapely.segmentize(box, 0.0005)
    assert areas_m2([box])[0] == pytest.approx(abs(GEOD.geometry_area_perimeter(dense)[0]), rel=1e-6)
    lon, lat = from_equal_area(*to_equal_area([-179.5, 20], [-60.25, 50]))
    np.testing.assert_allclose([lon, lat], [[-179.5, 20], [-60.25, 50]], atol=1e-9)


def ragged(seed: int, lon: float, lat: float, size: float) -> shapely.Geometry:
    """Overlapping blobs with holes, the same for a seed."""
    rng = np.random.default_rng(seed)
    shape: shapely.Geometry = shapely.Polygon()
    for _ in range(int(rng.integers(1, 5))):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radius = size * rng.uniform(0.2, 1, 12)
        x, y = rng.uniform(-size, size, 2)
        ring = shapely.make_valid(
            shapely.Polygon(np.c_[lon + x + radius * np.cos(angle), lat + y + radius * np.sin(angle)])
        )
        shape = shape.symmetric_difference(ring)
    return shape


@pytest.mark.parametrize("place", [(-1.9, 5.4), (165.0, -20.0), (30.0, 65.0)])
@pytest.mark.parametrize("seed", range(5))
def test_r106_cells_over_a_country_equal_brute_force(seed: int, place: tuple[float, float]) -> None:
    country, grid = ragged(seed, *place, 0.4), CellGrid(5500)
    expected = brute(grid, country)
    found = over(grid, country)
    assert found == set(expected)
    keys, shares = overlaps(grid, polygon_parts(country))
    rows, cols = grid.of_keys(keys)
    assert set(zip(rows.tolist(), cols.tolist(), strict=True)) == set(expected)
    np.testing.assert_allclose(shares, [expected[cell] for cell in sorted(expected)], atol=2e-9)


@pytest.mark.parametrize("delta", [5500, 4321, 15_000])
def test_r106_f34_no_edge_of_the_country_is_lost(delta: float) -> None:
    """F34: int(n) steps lose up to one delta on two sides; here the cells add up to the country's whole area."""
    country = shapely.box(-3.2605, 4.7361, 1.1995, 11.1733)
    grid = CellGrid(delta)
    cells = np.array(sorted(over(grid, country)))
    boxes = grid.boxes(*cells.T)
    assert shapely.union_all(boxes).buffer(1e-9).covers(country)
    inside = areas_m2(shapely.intersection(boxes, country)).sum()
    assert inside == pytest.approx(areas_m2(polygon_parts(country))[0], rel=1e-6)
    assert (shapely.area(shapely.intersection(boxes, country)) > 0).all()


def test_r097_cells_of_ghana_sized_ground() -> None:
    """The mission's count: 238 533 km² are about 7 885 cells at zoom 14; here a box of that area, edges included."""
    side = np.sqrt(238_533e6)
    x, y = to_equal_area(-1.0, 7.9)
    (west, east), (south, north) = from_equal_area([x - side / 2, x + side / 2], [y - side / 2, y + side / 2])
    for zoom, expected in ((14, 7885), (15, 31_542), (16, 126_166)):
        grid = CellGrid.of_zoom(zoom)
        assert expected <= len(over(grid, shapely.box(west, south, east, north))) <= expected * 1.03


def test_ground_under_several_polygons_counts_once() -> None:
    grid = CellGrid(5500)
    row, col = grid.locate(-1.9, 5.4)
    west, south, east, north = (float(v) for v in grid.bounds(row, col))
    half = shapely.box(west, south, (west + east) / 2, north)
    keys, shares = overlaps(grid, [half, half, shapely.box(west, south, west + (east - west) / 4, north)])
    assert keys.tolist() == [int(grid.keys(row, col))]
    assert shares.tolist() == [0.5]


def test_a_cell_itself_reaches_into_no_other() -> None:
    for side in (5500, 1375):
        grid = CellGrid(side)
        for lon, lat in ((-1.9, 5.4), (60.1, 61.3), (0.0, -45.0), (179.99, -0.001)):
            row, col = (int(v) for v in grid.locate(lon, lat))
            box = grid.boxes(row, col)[0]
            assert over(grid, box) == {(row, col)}
            assert overlaps(grid, [box])[0].tolist() == [int(grid.keys(row, col))]


def test_shapes_across_the_antimeridian_are_cut_there() -> None:
    grid = CellGrid(5500)
    across = shapely.box(179.9, 10, 180.1, 10.1)
    parts = polygon_parts(across)
    assert sorted(tuple(np.round(p.bounds, 9)) for p in parts) == [(-180, 10, -179.9, 10.1), (179.9, 10, 180, 10.1)]
    n = int(grid.columns(int(grid.locate(0, 10.05)[0])))
    cols = {c for _, c in over(grid, across)}
    assert {0, n - 1} <= cols
    assert all(c < 3 or c > n - 4 for c in cols)


def test_nothing_over_no_polygon() -> None:
    grid = CellGrid(5500)
    for shape in (shapely.Polygon(), shapely.Point(1, 2), shapely.LineString([(0, 0), (1, 1)])):
        assert over(grid, shape) == set()
        assert len(overlaps(grid, polygon_parts(shape))[0]) == 0
