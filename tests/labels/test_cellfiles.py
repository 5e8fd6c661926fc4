"""R062, R087, R100: the tables of cells on disk, in the seed's folders."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from minescale.errors import StoreError, UsageError
from minescale.labels.cells.ancillary import join
from minescale.labels.cells.cellfiles import BOX_COLUMNS, read_boxes, read_locations, write_table, write_tables
from minescale.labels.cells.cells import make_cells
from minescale.labels.cells.grid import CellGrid
from minescale.labels.shapes.polygons import Polygons, ReadReport


@pytest.fixture(scope="module")
def cells() -> gpd.GeoDataFrame:
    frame = gpd.GeoDataFrame({"name": ["pit"]}, geometry=[shapely.box(-1.9, 5.4, -1.8, 5.45)], crs=4326)
    made = Polygons(frame=frame, source="pit", epoch=2019, report=ReadReport(1))
    table, _ = make_cells(made, CellGrid.of_zoom(15), area=shapely.box(-2.5, 5, -1, 6), random=20)
    countries = gpd.GeoDataFrame({"country": ["GH"]}, geometry=[shapely.box(-1.85, 5, 0, 6)], crs=4326)
    return join(table, countries, {"country": "country"})


def test_r062_r100_tables_in_the_seeds_folders(cells: gpd.GeoDataFrame, tmp_path: Path) -> None:
    written = write_tables(cells, tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in written) == [
        "Data/Input/Boxes/boxes_z15_2750m.csv",
        "Data/Input/Boxes/boxes_z15_2750m.parquet",
        "Data/Output/Locations/locations_z15_2750m.csv",
        "Data/Output/Locations/locations_z15_2750m.parquet",
    ]
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(written)
    for kind in ("parquet", "csv"):
        boxes = read_boxes(tmp_path / f"Data/Input/Boxes/boxes_z15_2750m.{kind}")
        assert list(boxes) == list(BOX_COLUMNS)
        assert boxes["id"].tolist() == cells["id"].tolist()
        assert boxes["lon"].tolist() == cells["lon"].tolist()
        assert boxes["class"].tolist() == cells["class"].tolist()
        assert boxes["pair_id"].isna().tolist() == cells["pair_id"].isna().tolist()


def test_r063_r087_locations_come_back_whole(cells: gpd.GeoDataFrame, tmp_path: Path) -> None:
    write_tables(cells, tmp_path)
    back = read_locations(tmp_path, 2750, 15)
    pd.testing.assert_frame_equal(pd.DataFrame(back), pd.DataFrame(cells), check_dtype=False)
    assert back.crs == cells.crs
    assert back["country"].isna().sum() == cells["country"].isna().sum() > 0
    text = pd.read_csv(
        tmp_path / "Data/Output/Locations/locations_z15_2750m.csv", dtype={"quadkey": str}, float_precision="round_trip"
    )
    assert list(text) == [name for name in cells if name != "geometry"]
    for name in ("west", "south", "east", "north", "overlap"):
        assert text[name].tolist() == cells[name].tolist()
    assert text["quadkey"].tolist() == cells["quadkey"].tolist()


def test_tables_are_the_same_bytes_twice(cells: gpd.GeoDataFrame, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_tables(cells, tmp_path / "a")]
    assert [path.read_bytes() for path in write_tables(cells, tmp_path / "b")] == first


def test_tables_are_not_overwritten_by_accident(cells: gpd.GeoDataFrame, tmp_path: Path) -> None:
    written = write_tables(cells, tmp_path)
    written[0].unlink()
    with pytest.raises(UsageError, match="files exist"):
        write_tables(cells, tmp_path)
    assert not written[0].exists()
    write_tables(cells, tmp_path, overwrite=True)
    assert written[0].exists()
    with pytest.raises(UsageError, match="cells repeat"):
        write_tables(pd.concat([cells, cells]), tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_tables_of_points_by_their_ending(cells: gpd.GeoDataFrame, tmp_path: Path) -> None:
    for name in ("a.v1.csv", "b.parquet"):
        path = write_table(cells, tmp_path / name)
        assert read_boxes(path)["lon"].tolist() == cells["lon"].tolist()
        with pytest.raises(UsageError, match="files exist"):
            write_table(cells, path)
        write_table(cells, path, overwrite=True)
    with pytest.raises(UsageError, match="ending"):
        write_table(cells, tmp_path / "c.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.v1.csv", "b.parquet"]


def test_tables_that_cannot_be_written_leave_nothing(cells: gpd.GeoDataFrame, tmp_path: Path) -> None:
    (tmp_path / "Data").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot write"):
        write_tables(cells, tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["Data"]


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        read_locations(tmp_path, 2750, 15)
    with pytest.raises(StoreError, match="cannot read"):
        read_boxes(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="ending"):
        read_boxes(tmp_path / "boxes.xlsx")
    (tmp_path / "thin.csv").write_text("lon,lat\n1,2\n")
    with pytest.raises(UsageError, match="lacks columns"):
        read_boxes(tmp_path / "thin.csv")
    (tmp_path / "swapped.csv").write_text("lon,lat,class\n5,120,1\n")
    with pytest.raises(UsageError, match="globe"):
        read_boxes(tmp_path / "swapped.csv")
