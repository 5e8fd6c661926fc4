"""Published inventories: their columns, epochs and point layers."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
from shapely.geometry import Point, box

from minescale.errors import UsageError
from minescale.labels.shapes.inventories import INVENTORIES, join_points, read_inventory
from minescale.labels.shapes.points import Points
from minescale.labels.shapes.polygons import Polygons, ReadReport
from tests.labels.shapes import polygons


def maus(folder: Path) -> Path:
    table = {"ISO3_CODE": ["GHA", "BRA"], "COUNTRY_NAME": ["Ghana", "Brazil"], "AREA": [1.5, 2.5]}
    shapes = [box(-2, 6, -1.99, 6.01), box(-60, -10, -59.98, -9.99)]
    gpd.GeoDataFrame(table, geometry=shapes, crs=4326).to_file(folder / "global_mining_polygons_v2.gpkg")
    return folder / "global_mining_polygons_v2.gpkg"


def test_r059_maus_keeps_country_area_and_id(tmp_path: Path) -> None:
    """R059; F51: the outlines are of 2019, and say so in every row."""
    found = read_inventory("maus", maus(tmp_path))
    assert isinstance(found, Polygons)
    assert found.frame["iso3"].tolist() == ["GHA", "BRA"]
    assert found.frame["area_km2"].tolist() == [1.5, 2.5]
    assert found.frame["id"].tolist() == [1, 2]
    assert found.frame["label_epoch"].tolist() == [2019, 2019]
    assert found.epoch == 2019


def test_r059_points_join_by_containment() -> None:
    """R059: attributes of the points that lie in a polygon; several are told apart, others counted."""
    shapes = polygons(box(0, 0, 1, 1), box(2, 0, 3, 1), box(4, 0, 5, 1), crs="EPSG:4326", iso3=["A", "B", "C"])
    places = [Point(0.5, 0.5), Point(0.6, 0.5), Point(0.7, 0.5), Point(2.5, 0.5), Point(9, 9)]
    table = {"name": ["a1", "a2", "a3", "b", "none"], "metal": ["gold", "iron", "gold", None, "tin"]}
    frame = gpd.GeoDataFrame(table, geometry=places, crs=4326)
    joined, alone = join_points(shapes, Points(frame=frame, source="points", report=ReadReport(5)))
    assert joined.frame["point_count"].tolist() == [3, 1, 0]
    assert joined.frame["point_name"].fillna("-").tolist() == ["a1; a2; a3", "b", "-"]
    assert joined.frame["point_metal"].fillna("-").tolist() == ["gold; iron", "", "-"]
    assert joined.frame["iso3"].tolist() == ["A", "B", "C"]
    assert alone == 1


def test_r105_tang_and_werner_come_from_an_equal_area_grid(tmp_path: Path) -> None:
    """R105: their shapefile is in metres, 3-D, with fields of its own."""
    shapes = [box(1_000_000, 500_000, 1_001_000, 501_000), box(2_000_000, 600_000, 2_001_000, 600_500)]
    table = gpd.GeoDataFrame({"OBJECTID": [7, 9], "Name": ["", "pit"]}, geometry=shapes, crs="EPSG:6933")
    table.set_geometry(table.force_3d(0)).to_file(tmp_path / "74548_projected.shp")
    found = read_inventory("tang-werner", tmp_path / "74548_projected.shp")
    assert isinstance(found, Polygons)
    assert found.areas_km2() == pytest.approx([1.0, 0.5], rel=1e-3)
    assert found.frame[["id", "name", "label_epoch"]].to_numpy().tolist() == [[7, "", 2020], [9, "pit", 2020]]


def test_ipis_visits_carry_their_dates(tmp_path: Path) -> None:
    text = (
        "vid,name,longitude,latitude,visit_date\n1,Kalo,28.1,-2.5,2015-06-01\n2,Zola,28.2,-2.6,3/14/2019\n3,X,28,-2,\n"
    )
    (tmp_path / "ipis.csv").write_text(text, encoding="utf-8")
    found = read_inventory("ipis", tmp_path / "ipis.csv")
    assert isinstance(found, Points)
    assert found.frame["name"].tolist() == ["Kalo", "Zola", "X"]
    assert found.frame["label_epoch"].fillna(0).tolist() == [2015, 2019, 0]
    assert found.epoch is None


@pytest.mark.parametrize("name", list(INVENTORIES))
def test_another_file_under_an_inventory_name_is_refused(tmp_path: Path, name: str) -> None:
    gpd.GeoDataFrame({"x": [1]}, geometry=[box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "m.gpkg")
    (tmp_path / "m.csv").write_text("lon,lat\n1,2\n", encoding="utf-8")
    file = "m.csv" if INVENTORIES[name].shapes == "points" else "m.gpkg"
    with pytest.raises(UsageError, match="is not what"):
        read_inventory(name, tmp_path / file)
    with pytest.raises(UsageError, match="unknown inventory"):
        read_inventory("nobody", tmp_path / file)


@pytest.mark.parametrize(("year", "count"), [(2020, 5396), (2022, 6201), (2024, 5232)])
def test_f51_amazon_mining_watch_says_its_year(data_dir: Path, year: int, count: int) -> None:
    file = data_dir / "vectors" / "amazon_mining_watch" / f"mining_{year}00_simplified.geojson"
    found = read_inventory("amazon-mining-watch", file)
    assert isinstance(found, Polygons)
    assert (len(found), found.epoch) == (count, year)
    # F19: the outlines enclose more than is mined.
    assert 100 * sum(found.areas_km2()) > 1.1 * found.frame["mined_ha"].sum() > 0
