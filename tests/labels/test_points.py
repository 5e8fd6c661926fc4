"""Coordinates in: which column is which, which points stay, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pyproj
import pytest
from shapely.geometry import LineString, MultiPoint, Point

from minescale.errors import UsageError
from minescale.labels.shapes.points import named_region, read_points
from minescale.labels.shapes.polygons import ReadReport
from minescale.types import BBox

SEED = "35.0996,30.8579\n19.14,51.24\n20.2,44.5\n"
"""Rows as the second seed gives them, without a header, longitude first."""


def save(folder: Path, text: str, name: str = "mines.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def places(path: Path, **options: object) -> list[tuple[float, float]]:
    return [(p.x, p.y) for p in read_points(path, **options).frame.geometry]  # type: ignore[arg-type]


def test_r027_rows_without_a_header_are_longitude_first(tmp_path: Path) -> None:
    """R027: sample rows land on known mines."""
    found = read_points(save(tmp_path, SEED), epoch=2024)
    geod = pyproj.Geod(ellps="WGS84")
    known = {"Belchatow lignite": (19.31, 51.22), "Kolubara lignite": (20.25, 44.48)}
    for row, (lon, lat) in zip((1, 2), known.values(), strict=True):
        point = found.frame.geometry[row]
        assert geod.inv(point.x, point.y, lon, lat)[2] < 15_000
    assert (found.frame.geometry[0].x, found.frame.geometry[0].y) == (35.0996, 30.8579)
    assert (found.report, found.epoch, found.source) == (ReadReport(3), 2024, "mines.csv")


@pytest.mark.parametrize(
    "text",
    [
        "lon,lat\n10,50\n",
        "Latitude;Longitude\n50;10\n",
        "name\tY\tX\nmine\t50\t10\n",
        "10,50\n",
        "\ufefflat,lon\n50,10\n",
        "10 , 50 , note\n",
    ],
    ids=["names", "semicolons", "tabs", "no header", "byte order mark", "spaces"],
)
def test_r027_columns_are_found(tmp_path: Path, text: str) -> None:
    assert places(save(tmp_path, text)) == [(10, 50)]


def test_r027_columns_can_be_named(tmp_path: Path) -> None:
    assert places(save(tmp_path, "a,b,c\n1,50,10\n"), columns=("c", "b")) == [(10, 50)]
    assert places(save(tmp_path, "50,10\n"), columns=(1, 0)) == [(10, 50)]
    found = read_points(save(tmp_path, "lon,lat,site,NAME\n10,50,x,y\n"), name_column="site")
    assert found.frame["name"].tolist() == ["x"]
    for columns in (("a", "d"), (0, 7), ("a", "a")):
        with pytest.raises(UsageError, match="no such columns"):
            read_points(save(tmp_path, "a,b,c\n1,50,10\n"), columns=columns)
    with pytest.raises(UsageError, match="does not name its longitudes"):
        read_points(save(tmp_path, "a,b,c\n1,50,10\n"))


@pytest.mark.parametrize("text", ["51,119\n52,120\n0,0\n", "lon,lat\n-5,140\n"], ids=["no header", "named"])
def test_r027_swapped_columns_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="look swapped"):
        read_points(save(tmp_path, text))


def test_r027_swapped_columns_are_noticed_in_a_region(tmp_path: Path) -> None:
    swapped = save(tmp_path, "-10,-60\n-11,-61\n")
    with pytest.raises(UsageError, match="0 of 2 points in the region, 2 the other way round"):
        read_points(swapped, region="brazil")
    assert places(swapped, columns=(1, 0), region="brazil") == [(-60, -10), (-61, -11)]


def test_r030_brazil_keeps_its_edges(tmp_path: Path) -> None:
    """R030: lon -75 to -35, lat -35 to 5, edges included."""
    assert named_region("Brazil") == BBox(-75, -35, -35, 5)
    corners = "-75,-35\n-75,5\n-35,-35\n-35,5\n"
    outside = "-75.0001,0\n-34.9999,0\n-50,5.0001\n"
    found = read_points(save(tmp_path, corners + outside), region="brazil")
    assert len(found) == 4
    assert found.report == ReadReport(7, 0, {"outside the region": 3})
    with pytest.raises(UsageError, match="unknown region"):
        named_region("atlantis")


def test_f15_a_region_that_empties_the_table_is_said(tmp_path: Path) -> None:
    """F15: the seed's rows are lon,lat and none lies in Brazil: an error, and a warning where most are elsewhere."""
    with pytest.raises(UsageError, match="3 x outside the region"):
        read_points(save(tmp_path, SEED), region="brazil")
    with pytest.warns(UserWarning, match="keeps 1 of 4 points"):
        found = read_points(save(tmp_path, SEED + "-50,-10\n"), region="brazil")
    assert len(found) == 1
    assert found.report.dropped == {"outside the region": 3}


def test_regions_may_be_boxes_across_the_antimeridian(tmp_path: Path) -> None:
    table = save(tmp_path, "179,0\n-179,0\n178,0\n180,0\n")
    assert places(table, region=BBox(179, -1, -179, 1)) == [(179, 0), (-179, 0), (180, 0)]


def test_what_is_no_place_is_counted(tmp_path: Path) -> None:
    found = read_points(save(tmp_path, "lon,lat,n\n10,50,1\nten,50,2\n,,3\n999,50,4\n11,51,5\n"))
    assert found.frame["n"].tolist() == [1, 5]
    assert found.report == ReadReport(5, 0, {"beyond the globe": 1, "no number": 2})


@pytest.mark.parametrize("text", ["", "lon,lat\n", "lon,lat\nx,y\n", "1,2\n3,4,5,6\n"], ids=repr)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        read_points(save(tmp_path, text))


def test_point_layers(tmp_path: Path) -> None:
    shapes = [Point(10, 50), MultiPoint([(11, 51), (12, 52)]), LineString([(0, 0), (1, 1)]), None]
    gpd.GeoDataFrame({"Name": list("abcd")}, geometry=shapes, crs=4326).to_file(tmp_path / "p.gpkg")
    found = read_points(tmp_path / "p.gpkg")
    assert [(p.x, p.y) for p in found.frame.geometry] == [(10, 50), (11, 51), (12, 52)]
    assert found.frame["name"].tolist() == ["a", "b", "b"]
    assert found.report.dropped == {"no point": 1}
    with pytest.raises(UsageError, match="no such file"):
        read_points(tmp_path / "q.gpkg")


def test_real_points(data_dir: Path) -> None:
    folder = data_dir / "vectors"
    africa = read_points(folder / "africa_mining_watch" / "data" / "detection_points.csv")
    assert len(africa) == africa.report.read == 12_874
    assert africa.frame.total_bounds[0] > -20
    amazon = folder / "amazon_mining_watch" / "sampling_locations"
    found = {f.name: read_points(f) for f in sorted(amazon.glob("*.geojson"))}
    assert len(found) > 40
    assert all(len(p) == p.report.kept for p in found.values())
    assert len(found["v2.4_amazon_positives.geojson"]) > 100
