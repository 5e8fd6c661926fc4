"""Positive, paired and random cells: R060, R061, R063, R086, R093 and the right answers to F18 and F36."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from scipy import stats

from minescale.errors import UsageError
from minescale.labels.cells.ancillary import join
from minescale.labels.cells.area import Area
from minescale.labels.cells.cellnames import decode
from minescale.labels.cells.cells import delta_grid, make_cells
from minescale.labels.cells.celltable import PAIRED, POSITIVE, RANDOM
from minescale.labels.cells.coverage import cells_over, overlaps, polygon_parts
from minescale.labels.cells.grid import CellGrid, parse_id
from minescale.labels.cells.stratified import Strata, allocate, draw_cells
from minescale.labels.shapes.equalarea import areas_m2
from minescale.labels.shapes.polygons import Polygons, ReadReport
from minescale.labels.shapes.vectors import read_polygons

GHANA = shapely.box(-3.2, 4.8, 1.2, 11.1)


def polygons(*shapes: shapely.Geometry, epoch: int | None = 2019) -> Polygons:
    frame = gpd.GeoDataFrame({"name": [""] * len(shapes)}, geometry=list(shapes), crs=4326)
    return Polygons(frame=frame, source="made.gpkg", epoch=epoch, report=ReadReport(len(shapes)))


def part(grid: CellGrid, lon: float, lat: float, share: float) -> shapely.Polygon:
    """The western ``share`` of the cell at a place: meridians cut areas in proportion, on any ellipsoid."""
    west, south, east, north = (float(v) for v in grid.bounds(*grid.locate(lon, lat)))
    return shapely.box(west, south, west + share * (east - west), north)


def mines(n: int, seed: int = 0, within: shapely.Polygon = GHANA) -> Polygons:
    rng = np.random.default_rng(seed)
    west, south, east, north = within.bounds
    x, y, r = rng.uniform(west, east, n), rng.uniform(south, north, n), rng.uniform(0.001, 0.02, n)
    return polygons(*shapely.buffer(shapely.points(x, y), r))


@pytest.mark.parametrize("zoom", [14, 15, 16])
def test_r063_a_thousandth_is_kept_and_less_is_neither(zoom: int) -> None:
    """0.001 is positive; 0.00099 is neither positive nor negative, though it is the closest free cell."""
    grid = CellGrid.of_zoom(zoom)
    row, col = (int(v) for v in grid.locate(-1.9, 61.3))
    lon, lat = (float(v) for v in grid.centres(row, col))
    west = float(grid.centres(row, col - 1)[0])
    table, report = make_cells(polygons(part(grid, lon, lat, 0.001), part(grid, west, lat, 0.00099)), grid)
    assert (report.positive, report.dropped, report.paired) == (1, 1, 1)
    assert table["role"].tolist() == [POSITIVE, PAIRED]
    assert table["overlap"].tolist() == [0.001, 0.0]
    assert table["id"][0] == grid.ids(row, col)[0]
    assert parse_id(table["id"][1])[1:] != (row, col - 1)
    assert decode(table["name"][0]).overlap == 0.001


def test_r063_overlap_is_by_area_not_by_degrees() -> None:
    """The southern half of a tall cell at 75° N, by latitude, is more than half of its ground."""
    grid = CellGrid(200_000)
    west, south, east, north = (float(v) for v in grid.bounds(*grid.locate(20, 75)))
    half = shapely.box(west, south, east, (south + north) / 2)
    table, _ = make_cells(polygons(half), grid)
    expected = areas_m2([half])[0] / areas_m2([shapely.box(west, south, east, north)])[0]
    assert expected > 0.51
    assert table["overlap"][0] == pytest.approx(expected, abs=1e-9)


def test_r061_roles_and_pairs() -> None:
    table, report = make_cells(mines(60), CellGrid.of_zoom(15))
    assert table["id"].is_unique
    assert report.positive == report.paired == (table["role"] == PAIRED).sum() > 60
    positive, paired = (table[table["role"] == role].set_index("pair_id") for role in (POSITIVE, PAIRED))
    assert paired.index.is_unique
    assert set(positive.index) == set(paired.index) == set(positive["id"])
    assert (table["class"] == (table["role"] == POSITIVE)).all()
    # A pair is one site, so that no split takes it apart.
    assert (positive["site"] == paired["site"].reindex(positive.index)).all()
    union = shapely.union_all(mines(60).frame.geometry.to_numpy())
    assert not shapely.intersects(paired.geometry.to_numpy(), union).any()
    assert shapely.intersects(positive.geometry.to_numpy(), union).all()
    assert (table["label_epoch"] == 2019).all()
    again, _ = make_cells(mines(60), CellGrid.of_zoom(15))
    pd.testing.assert_frame_equal(pd.DataFrame(table), pd.DataFrame(again))


def test_columns_say_where_a_cell_lies() -> None:
    table, _ = make_cells(mines(20), CellGrid.of_zoom(16), area=GHANA, random=30, seed=1)
    for row in table.itertuples():
        grid, r, c = parse_id(row.id)
        assert grid.side_m == row.side_m == 1375
        assert (row.west, row.south, row.east, row.north) == row.geometry.bounds == tuple(map(float, grid.bounds(r, c)))
        assert (row.lon, row.lat) == ((row.west + row.east) / 2, (row.south + row.north) / 2)
        name = decode(row.name)
        assert (name.zoom, name.overlap is None) == (16, row.role != POSITIVE)
        assert name.lat == pytest.approx(row.lat, abs=6e-4)
        assert len(row.quadkey) == 16
    assert table["role"].drop_duplicates().tolist() == [POSITIVE, PAIRED, RANDOM]


def test_touching_root_cells_are_one_site_at_every_zoom() -> None:
    grid = CellGrid.of_zoom(14)
    long_mine = shapely.box(-1.93, 5.41, -1.78, 5.42)  # over four cells of 5.5 km
    far_mine = shapely.box(-1.51, 5.41, -1.50, 5.42)
    sites = []
    for zoom in (14, 15, 16):
        table, _ = make_cells(polygons(long_mine, far_mine), CellGrid.of_zoom(zoom))
        sites.append(set(table["site"]))
    assert sites[0] == sites[1] == sites[2]
    assert len(sites[0]) == 2
    assert {parse_id(name)[0] for name in sites[0]} == {grid}


def test_r060_area_toggle() -> None:
    """Within an area only its cells are taken; polygons beyond its edge still count in them and still block them."""
    inside, outside = shapely.box(-1.0, 6.0, -0.98, 6.02), shapely.box(3.0, 6.0, 3.02, 6.02)
    grid = CellGrid.of_zoom(14)
    everywhere, _ = make_cells(polygons(inside, outside), grid)
    clipped, report = make_cells(polygons(inside, outside), grid, area=GHANA, random=100)
    assert len(set(everywhere["site"])) == 2
    assert report.positive < (everywhere["role"] == POSITIVE).sum()
    cells = {key for rows, cols in cells_over(grid, GHANA) for key in grid.ids(rows, cols)}
    assert set(clipped["id"]) <= cells
    edge = GHANA.bounds[2]
    over_edge = shapely.box(edge + 1e-4, 6.0, edge + 0.005, 6.005)  # outside, in a cell that the area reaches
    table, _ = make_cells(polygons(over_edge), grid, area=GHANA)
    assert table["role"].tolist() == [POSITIVE, PAIRED]


def test_cells_wholly_within_the_images_that_were_looked_at() -> None:
    """Polygons drawn on one image say nothing about ground beyond it: no cell reaches over its edge."""
    image = shapely.box(-2.03, 5.03, -1.0, 6.02)
    grid = CellGrid.of_zoom(14)
    table, report = make_cells(mines(60, within=image), grid, area=image, whole=True, random=50)
    assert image.covers(shapely.union_all(table.geometry.to_numpy()))
    every = np.concatenate([grid.boxes(rows, cols) for rows, cols in cells_over(grid, image)])
    whole = int(shapely.covers(image, every).sum())
    assert sum(report.eligible.values()) + report.positive + report.dropped == whole < len(every)
    loose, _ = make_cells(mines(60, within=image), grid, area=image, random=50)
    assert not image.covers(shapely.union_all(loose.geometry.to_numpy()))


def test_area_reaches_what_it_shares_ground_with() -> None:
    grid = CellGrid(5500)
    bounds = (-0.5, 0.0, 0.5, 0.4)  # its southern edge is a row's edge
    area = Area(shapely.box(*bounds))
    found = {(int(r), int(c)) for rows, cols in cells_over(grid, area.shape) for r, c in zip(rows, cols, strict=True)}
    r, c = np.meshgrid(np.arange(-3, 12), np.arange(3600, 3690))
    asked = area.reaches(grid, r.ravel(), c.ravel())
    assert {(int(a), int(b)) for a, b in zip(r.ravel()[asked], c.ravel()[asked], strict=True)} == found
    assert min(row for row, _ in found) == 0


@pytest.mark.parametrize("strata", [False, True])
def test_f18_inclusion_probabilities_are_known(strata: bool) -> None:
    """F18, F36: probabilities add up to the numbers drawn, their inverses to the cells that there are."""
    grid = CellGrid.of_zoom(14)
    layer = gpd.GeoDataFrame(
        {"cover": ["forest", "savanna", None]},
        geometry=[shapely.box(-3.2, 4.8, 1.2, 7), shapely.box(-3.2, 7, 1.2, 10.5), shapely.box(-3.2, 10.5, 1.2, 10.9)],
        crs=4326,
    )
    kinds = Strata(layer=layer, column="cover") if strata else None
    table, report = make_cells(mines(40), grid, area=GHANA, random=300, strata=kinds, allocation="equal", seed=3)
    total = sum(len(rows) for rows, _ in cells_over(grid, GHANA))
    assert sum(report.eligible.values()) == total - report.positive - report.dropped
    sample = table[table["inclusion_probability"].notna()]
    assert (sample[sample["class"] == 1]["inclusion_probability"] == 1).all()
    negatives = sample[sample["class"] == 0]
    assert len(negatives) == report.random == 300
    assert (1 / sample["inclusion_probability"]).sum() == pytest.approx(total - report.dropped)
    if strata:
        assert report.drawn == {"elsewhere": 100, "forest": 100, "savanna": 100}
        assert set(table["stratum"]) == set(report.drawn)
        for name, group in negatives.groupby("stratum"):
            assert len(group) == 100
            np.testing.assert_allclose(group["inclusion_probability"], 100 / report.eligible[str(name)])
    else:
        assert "stratum" not in table


def test_f18_every_eligible_cell_is_as_likely() -> None:
    """Chi-square over repeated draws; positives and dropped cells are never drawn."""
    grid = CellGrid(20_000)
    area = shapely.box(-1, 5, 1, 6.5)
    keys = np.concatenate([grid.keys(rows, cols) for rows, cols in cells_over(grid, area)])
    taken = keys[::7]
    counts = pd.Series(0, index=np.setdiff1d(keys, taken))
    for seed in range(2000):
        drawn = draw_cells(grid, Area(area), 9, taken=taken, seed=seed).table
        assert (drawn["inclusion_probability"] == 9 / len(counts)).all()
        counts[drawn["key"]] += 1
    n, expected = len(counts), 2000 * 9 / len(counts)
    statistic = ((counts - expected) ** 2 / expected).sum() * (n - 1) / (n - 9)
    assert stats.chi2.sf(statistic, n - 1) > 0.001


def test_drawing_takes_no_more_memory_for_a_larger_area() -> None:
    """One pass, a few rows at a time: eight times the cells, the same peak."""
    grid = CellGrid.of_zoom(16)

    def peak(height: float) -> tuple[int, int]:
        area = Area(shapely.box(10, 0, 12, height))
        tracemalloc.start()
        drawn = draw_cells(grid, area, 50, taken=np.zeros(0, np.int64), seed=0)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top, drawn.eligible["all"]

    peak(1)
    small, few = peak(2)
    large, many = peak(16)
    assert many > 7 * few > 100_000
    assert large < 1.3 * small


@pytest.mark.parametrize(
    ("n", "allocation", "expected"),
    [(10, "equal", [4, 4, 2]), (10, "proportional", [8, 1, 1]), (2, "proportional", [2, 0, 0]), (3, "equal", [1, 1, 1]),
     (112, "equal", [100, 10, 2]), (500, "proportional", [100, 10, 2])],
)  # fmt: skip
def test_strata_get_their_share(n: int, allocation: str, expected: list[int]) -> None:
    numbers = allocate(n, {"a": 100, "b": 10, "c": 2}, allocation)  # type: ignore[arg-type]
    assert list(numbers.values()) == expected


@pytest.mark.parametrize("delta", [7680, 5500, 20_000])
def test_r106_delta_grid_over_a_country(delta: float) -> None:
    """Cells over the country, then those with polygons: each equals asking every cell of the bounds."""
    country = GHANA - shapely.box(-3.2, 9.0, -1.0, 11.1)
    dug = mines(50, seed=2)
    grid = CellGrid(delta)
    union = shapely.union_all(dug.frame.geometry.to_numpy())
    (low, high), _ = grid.locate([0, 0], [country.bounds[1], country.bounds[3]])
    every = [
        (r, c)
        for r in range(low - 1, high + 2)
        for c in range(*(int((e + 180) * int(grid.columns(r)) / 360) + d for e, d in ((-3.2, -1), (1.2, 2))))
    ]
    boxes = grid.boxes(*np.array(every).T)
    over = areas_m2(shapely.intersection(boxes, country)) / areas_m2(boxes) > 1e-8  # -3.2 is an edge of a row of 7200
    dug_over = over & (areas_m2(shapely.intersection(boxes, union)) / areas_m2(boxes) > 5e-10)
    ids = np.array(grid.ids(*np.array(every).T))
    assert delta_grid(country, delta)["id"].tolist() == ids[over].tolist()
    assert delta_grid(country, delta, dug)["id"].tolist() == ids[dug_over].tolist()
    with pytest.raises(UsageError, match="no cell is left"):
        delta_grid(shapely.box(40, 40, 41, 41), delta, dug)


def test_r093_any_zoom_by_one_field() -> None:
    for zoom in (13, 14, 15, 16, 17):
        table, _ = make_cells(mines(5), CellGrid.of_zoom(zoom))
        assert (table["zoom"] == zoom).all()
        assert (table["side_m"] == 5500 * 2.0 ** (14 - zoom)).all()
    assert make_cells(mines(5), CellGrid(4000))[0]["side_m"].unique().tolist() == [4000]


def test_r086_missing_metadata_is_null_and_nothing_is_dropped() -> None:
    table, _ = make_cells(mines(30), CellGrid.of_zoom(14), area=GHANA, random=50)
    layer = gpd.GeoDataFrame(
        {"iso": ["AAA", "BBB", None], "people": [1, 2, 3]},
        geometry=[shapely.box(-3.2, 4.8, -1, 7), shapely.box(-2, 5, 0, 8), shapely.box(-3.2, 9, 1.2, 11.1)],
        crs=4326,
    )
    joined = join(table, layer.to_crs(32630), {"iso": "country", "people": "people"})
    assert joined["id"].tolist() == table["id"].tolist()
    for row in joined.itertuples():
        here = [i for i, shape in enumerate(layer.geometry) if shape.contains(shapely.Point(row.lon, row.lat))]
        assert row.country == layer["iso"][here[0]] if here and here[0] < 2 else pd.isna(row.country)
        assert row.people == layer["people"][here[0]] if here else pd.isna(row.people)
    assert joined["country"].isna().any()
    assert joined["country"].notna().any()
    assert str(joined["people"].dtype) == "Int64"
    with pytest.raises(UsageError, match="no such column"):
        join(table, layer, {"name": "x"})
    with pytest.raises(UsageError, match="already"):
        join(table, layer, {"iso": "site"})
    with pytest.raises(UsageError, match="CRS"):
        join(table, layer.set_crs(None, allow_override=True), {"iso": "country"})


def test_zero_positives_and_other_bad_input() -> None:
    grid = CellGrid.of_zoom(14)
    mine = part(grid, -1.9, 5.4, 0.5)
    with pytest.raises(UsageError, match="no cell of 5500 m is positive"):
        make_cells(polygons(part(grid, -1.9, 5.4, 0.0005)), grid)
    with pytest.raises(UsageError, match="within the area"):
        make_cells(polygons(mine), grid, area=shapely.box(20, 20, 21, 21))
    with pytest.raises(UsageError, match="no cell of 5500 m is positive"):
        make_cells(polygons(), grid)
    with pytest.raises(UsageError, match="area is empty"):
        make_cells(polygons(mine), grid, area=shapely.Polygon())
    with pytest.raises(UsageError, match="need an area"):
        make_cells(polygons(mine), grid, random=5)
    with pytest.raises(UsageError, match="out of range"):
        make_cells(polygons(mine), grid, min_overlap=0)
    with pytest.raises(UsageError, match="too few cells"):
        make_cells(polygons(mine), grid, area=mine.buffer(0.1), random=5000)
    with pytest.raises(UsageError, match="allocation"):
        make_cells(polygons(mine), grid, area=GHANA, random=5, allocation="some")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no such column"):
        Strata(layer=polygons(mine).frame, column="cover")
    with pytest.raises(UsageError, match="longitude and latitude"):
        Strata(layer=polygons(mine).frame.to_crs(3857), column="name")


@pytest.mark.parametrize(
    ("file", "layer"),
    [
        ("mine_segmentation/data/raw/mining_tiles_test_annotations.gpkg", "polygons_annotated"),
        ("asm_west_africa/data/test-images/Sub-Tropical_West_Africa/gt_asm_shapes.shp", None),
    ],
)
def test_real_polygons_at_three_zooms(data_dir: Path, file: str, layer: str | None) -> None:
    """No ground is lost or counted twice; each zoom finds its own negatives; pairs are one to one."""
    shapes = read_polygons(data_dir / "vectors" / file, layer=layer)
    outlines = shapes.frame.geometry.to_numpy()
    union = shapely.union_all(outlines)
    shapely.prepare(union)
    dug = areas_m2(polygon_parts(union)).sum()
    for zoom in (14, 15, 16):
        grid = CellGrid.of_zoom(zoom)
        keys, shares = overlaps(grid, outlines)
        assert (shares * areas_m2(grid.boxes(*grid.of_keys(keys)))).sum() == pytest.approx(dug, rel=1e-5)
        table, report = make_cells(shapes, grid)
        assert report.positive == int((shares >= 0.001).sum()) > 50
        assert report.positive + report.dropped == len(keys)
        assert report.paired == report.positive
        assert table["id"].is_unique
        assert not shapely.intersects(union, table[table["class"] == 0].geometry.to_numpy()).any()
