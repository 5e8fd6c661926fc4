"""R029, R031, R053: positives from what is at hand, negatives from protected areas and by named kind."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from scipy import stats

from minescale.errors import StoreError, UsageError
from minescale.labels.cells.windows import squares
from minescale.labels.places.hardnegatives import KINDS, hard_negatives
from minescale.labels.places.negatives import POINT_COLUMNS, generate_forest_samples, generate_random_samples
from minescale.labels.places.positives import build_positive_class, copy_images, list_images
from minescale.labels.places.rasterclasses import RasterClasses
from minescale.labels.shapes.points import Points
from minescale.labels.shapes.polygons import Polygons, ReadReport
from minescale.labels.shapes.vectors import read_polygons
from minescale.types import BBox

PARKS = {"Tumuc": shapely.box(-55, 0, -52, 3), "Jari": shapely.box(-53, -1, -51, 1), "": shapely.box(-60, -8, -59, -7)}


def named(shapes: dict[str, shapely.Geometry], source: str = "parks.gpkg") -> Polygons:
    frame = gpd.GeoDataFrame({"name": list(shapes)}, geometry=list(shapes.values()), crs=4326)
    return Polygons(frame=frame, source=source, report=ReadReport(len(shapes)))


def places(lon: list[float], lat: list[float]) -> Points:
    frame = gpd.GeoDataFrame({"name": [""] * len(lon)}, geometry=gpd.points_from_xy(lon, lat), crs=4326)
    return Points(frame=frame, source="places.csv", report=ReadReport(len(lon)))


def test_r031_forest_samples_are_inside_and_repeatable() -> None:
    """800 by default, all inside, the same for a seed."""
    table = generate_forest_samples(named(PARKS), seed=4)
    assert len(table) == 800
    union = shapely.union_all(list(PARKS.values()))
    assert shapely.contains_xy(union, table["lon"], table["lat"]).all()
    pd.testing.assert_frame_equal(table, generate_forest_samples(named(PARKS), n=800, seed=4))
    assert not np.array_equal(table["lon"], generate_forest_samples(named(PARKS), seed=5)["lon"])
    assert list(table) == [*POINT_COLUMNS, "area_name"]
    assert table["id"].is_unique
    assert set(table["kind"]) == {"forest"}
    assert set(table["class"]) == {0}
    assert set(table["area_name"].dropna()) == {"Tumuc", "Jari"}
    assert table.loc[table["lat"] < -6, "area_name"].isna().all()
    for row in table[table["area_name"] == "Jari"].itertuples():
        assert PARKS["Jari"].contains(shapely.Point(row.lon, row.lat))


def test_r031_samples_are_uniform_by_area_over_overlapping_parks() -> None:
    table = generate_forest_samples(named(PARKS), n=6000, seed=0)
    west = shapely.box(-55, 0, -53, 3)  # 6 of the union's 12 square degrees (9 + 4 - 1 overlapping, and 1 far off)
    share = float(shapely.contains_xy(west, table["lon"], table["lat"]).mean())
    assert stats.binomtest(round(share * 6000), 6000, 6 / 13).pvalue > 0.001


def test_r031_real_protected_areas(data_dir: Path) -> None:
    """Fifty protected areas of the DR Congo: a projected shapefile with parts, holes and one broken ring."""
    protected = read_polygons(
        data_dir / "vectors/drc_conservation/data/cod_conservation/Conservation/RDC_aire_protegee_2013.shp",
        name_column="NOM",
    )
    table = generate_forest_samples(protected, n=800, seed=1)
    assert len(table) == 800
    tree = shapely.STRtree(protected.frame.geometry.to_numpy())
    hit = tree.query(shapely.points(table["lon"], table["lat"]), predicate="within")[0]
    assert len(np.unique(hit)) == 800
    assert table["area_name"].nunique() > 10


def test_samples_keep_away_from_mines_and_within_a_box() -> None:
    mine = named({"": shapely.box(-54.02, 1.0, -54.0, 1.02)}, "mines.gpkg")
    box = BBox(-54.3, 0.7, -53.7, 1.3)
    table = generate_forest_samples(named(PARKS), n=300, avoid=mine, within=box, side_m=5000)
    windows = squares(table["lon"], table["lat"], 5000)
    assert not shapely.intersects(windows, mine.frame.geometry[0]).any()
    assert shapely.contains_xy(shapely.box(*box.as_tuple()), table["lon"], table["lat"]).all()
    with pytest.raises(UsageError, match="within the box"):
        generate_forest_samples(named(PARKS), within=BBox(10, 10, 11, 11))


def test_random_samples_of_a_box_across_the_antimeridian() -> None:
    table = generate_random_samples(BBox(179, -18, -179, -16), 500, seed=2)
    assert len(table) == 500
    assert ((table["lon"] >= 179) | (table["lon"] <= -179)).all()
    assert stats.binomtest(int((table["lon"] > 0).sum()), 500, 0.5).pvalue > 0.001
    assert table["kind"].isna().all()


def test_r029_positives_from_images_and_coordinates(tmp_path: Path) -> None:
    folder = tmp_path / "have"
    for i in range(30):
        image = folder / f"s{i % 3}" / f"{i}.TIF"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(bytes([i]))
    (folder / "notes.txt").write_text("no image")
    assert len(list(list_images(folder))) == 30
    coordinates = [(-60.0 + i / 10, -5.0) for i in range(70)]
    table = build_positive_class(list_images(folder), iter(coordinates), 40, seed=1)
    assert len(table) == 40
    assert table["id"].is_unique
    assert (table["image"].isna() == table["lon"].notna()).all()
    assert set(zip(table["lon"].dropna(), table["lat"].dropna(), strict=True)) <= set(coordinates)
    copied = copy_images(table, tmp_path / "out")
    wanted = table[table["image"].notna()]
    assert [path.stem for path in copied] == wanted["id"].tolist()
    assert [path.read_bytes() for path in copied] == [Path(p).read_bytes() for p in wanted["image"]]
    with pytest.raises(UsageError, match="no positive"):
        build_positive_class([], [], 5)
    with pytest.raises(UsageError, match="globe"):
        build_positive_class([], [(5.0, 120.0)], 5)
    with pytest.raises(StoreError, match="cannot list"):
        list(list_images(tmp_path / "none"))


def test_r029_images_that_vanish_leave_nothing_half(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"x")
    table = build_positive_class(list_images(tmp_path), [], 5)
    (tmp_path / "a.tif").unlink()
    with pytest.raises(StoreError, match="cannot copy"):
        copy_images(table, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def cover(tmp_path: Path) -> Path:
    """A land-cover map in UTM 22N, 100 m: west half 3 (forest), east half 24 (town), one row of nodata."""
    pixels = np.full((100, 100), 3, np.uint8)
    pixels[:, 50:] = 24
    pixels[0] = 255
    path = tmp_path / "cover.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=100, height=100, count=1, dtype="uint8", nodata=255, crs="EPSG:32622",
        transform=Affine(100, 0, 400_000, 0, -100, 300_000), tiled=True, blockxsize=16, blockysize=16,
    ) as target:  # fmt: skip
        target.write(pixels, 1)
    return path


def test_r053_a_catalogue_by_named_kind(cover: Path) -> None:
    mine = named({"": shapely.box(-54.02, 1.0, -54.0, 1.02)}, "mines.gpkg")
    catalogue = hard_negatives(
        {
            "forest": named(PARKS),
            "town": RasterClasses(path=cover, values=(24,)),
            "sandbar": places([-54.01, -54.5, -54.6], [1.01, 1.0, 1.1]),
        },
        20,
        seed=3,
        avoid=mine,
    )
    table = catalogue.table
    assert catalogue.counts.to_dict("records") == [
        {"kind": "forest", "wanted": 20, "found": 20},
        {"kind": "sandbar", "wanted": 20, "found": 2},  # one of three lies over the mine
        {"kind": "town", "wanted": 20, "found": 20},
    ]
    assert table["kind"].value_counts().to_dict() == {"forest": 20, "town": 20, "sandbar": 2}
    assert table["id"].is_unique
    assert set(table["source"]) == {"parks.gpkg", "cover.tif", "places.csv"}
    town = table[table["kind"] == "town"]
    share = RasterClasses(path=cover, values=(24,)).shares(squares(town["lon"], town["lat"], 90))
    assert (share == 1).all()
    alone = hard_negatives({"town": RasterClasses(path=cover, values=(24,))}, 20, seed=3, avoid=mine).table
    pd.testing.assert_frame_equal(alone, town.reset_index(drop=True))


def test_r053_kinds_are_named() -> None:
    wanted = {"forest", "town", "barren", "quarry", "sandbar", "agriculture", "pond"}
    assert wanted <= set(KINDS)
    with pytest.raises(UsageError, match="unknown kind"):
        hard_negatives({"woods": named(PARKS)}, 5)
    mine = named({"": shapely.box(-1, -1, 1, 1)}, "mines.gpkg")
    with pytest.raises(UsageError, match="no hard negative"):
        hard_negatives({"pond": places([0.0], [0.0])}, 5, avoid=mine)


def test_r053_real_land_cover_by_kind(data_dir: Path) -> None:
    """MapBiomas 2015 round Lourenço: forest, pasture as clearing, water as pond; never beside what it calls mining."""
    raster = data_dir / "vectors/amapa/data/raster/Mapbiomas_cover_lourenco_utm/utm_cover_AP_lorenco_2015.tif"
    wanted = {"forest": (3,), "clearing": (15,), "pond": (33,)}
    catalogue = hard_negatives({k: RasterClasses(path=raster, values=v) for k, v in wanted.items()}, 50, seed=0)
    assert catalogue.counts["found"].tolist() == [50, 50, 50]
    for kind, group in catalogue.table.groupby("kind"):
        classes = RasterClasses(path=raster, values=wanted[str(kind)])
        assert (classes.shares(squares(group["lon"], group["lat"], 25)) == 1).all()


def test_raster_classes_are_drawn_uniformly(cover: Path) -> None:
    lon, lat, meant = RasterClasses(path=cover, values=(3, 24)).draw(4000, np.random.default_rng(0))
    assert meant == 9900
    assert len(lon) == 4000
    assert len(set(zip(lon, lat, strict=True))) == 4000
    west = RasterClasses(path=cover, values=(3,)).shares(squares(lon, lat, 90)) == 1
    assert stats.binomtest(int(west.sum()), 4000, 0.5).pvalue > 0.001


def test_rasters_that_cannot_be_used(cover: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of the two"):
        RasterClasses(path=cover)
    with pytest.raises(UsageError, match="one of the two"):
        RasterClasses(path=cover, values=(1,), at_least=1)
    with pytest.raises(StoreError, match="cannot read"):
        RasterClasses(path=tmp_path / "none.tif", values=(1,)).draw(1, np.random.default_rng(0))
    with pytest.raises(UsageError, match="no band 2"):
        RasterClasses(path=cover, values=(1,), band=2).draw(1, np.random.default_rng(0))
