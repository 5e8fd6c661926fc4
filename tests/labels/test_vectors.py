"""Polygon files in: every format, every defect, and what the report says of it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from minescale.errors import StoreError, UsageError
from minescale.labels.shapes.polygons import Polygons, ReadReport
from minescale.labels.shapes.vectors import read_polygons, to_polygons, write_polygons

RING = "0,0,12 0.02,0,12 0.02,0.02,12 0,0.02,12 0,0,12"
HOLE = "0.005,0.005 0.015,0.005 0.015,0.015 0.005,0.015 0.005,0.005"
APART = "1,1 1.01,1 1.01,1.01 1,1.01 1,1"
BOW_TIE = "2,2 2.02,2.02 2.02,2 2,2.02 2,2"


def ring(kind: str, coordinates: str) -> str:
    return f"<{kind}><LinearRing><coordinates>\n {coordinates}\n</coordinates></LinearRing></{kind}>"


def polygon(outer: str, *inner: str) -> str:
    rings = ring("outerBoundaryIs", outer) + "".join(ring("innerBoundaryIs", hole) for hole in inner)
    return f"<Polygon><altitudeMode>clampToGround</altitudeMode>{rings}</Polygon>"


def placemark(geometry: str, name: str = "", data: str = "") -> str:
    return f"<Placemark><name>{name}</name>{data}{geometry}</Placemark>"


def document(*content: str, namespace: str = "http://www.opengis.net/kml/2.2") -> str:
    inside = "".join(content)
    return f'<?xml version="1.0" encoding="UTF-8"?><kml xmlns="{namespace}"><Document>{inside}</Document></kml>'


NESTED = document(
    "<name>Mines</name><Folder><name>West</name><Folder><name>Gold</name>",
    placemark(
        f"<MultiGeometry>{polygon(RING, HOLE)}<MultiGeometry>{polygon(APART)}</MultiGeometry></MultiGeometry>",
        "Kadéi",
        '<ExtendedData><Data name="metal"><value>Au</value></Data>'
        '<SchemaData schemaUrl="#s"><SimpleData name="since">1999</SimpleData></SchemaData></ExtendedData>',
    ),
    "</Folder></Folder>",
    placemark(polygon(APART), "alone"),
)


def save(folder: Path, text: str, name: str = "mines.kml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_r001_nested_folders_multigeometry_and_a_hole(tmp_path: Path) -> None:
    """R001: the same area to 0.1 %; names, folders and both kinds of ExtendedData."""
    found = read_polygons(save(tmp_path, NESTED), epoch=2020)
    expected = MultiPolygon(
        [Polygon(box(0, 0, 0.02, 0.02).exterior, [box(0.005, 0.005, 0.015, 0.015).exterior]), box(1, 1, 1.01, 1.01)]
    )
    assert found.frame.geometry[0].equals(expected)
    assert found.areas_km2()[0] == pytest.approx(12_308.778 * (0.0004 - 0.0001 + 0.0001), rel=1e-3)
    assert found.frame["name"].tolist() == ["Kadéi", "alone"]
    assert found.frame["folder"].tolist() == ["Mines/West/Gold", "Mines"]
    assert found.frame.loc[0, ["metal", "since"]].tolist() == ["Au", "1999"]
    assert found.frame.loc[1, ["metal", "since"]].tolist() == [None, None]
    assert (found.epoch, found.source, found.report) == (2020, "mines.kml", ReadReport(2))
    # There and back: the same area through another format.
    again = read_polygons(write_polygons(found, tmp_path / "mines.gpkg"))
    assert again.areas_km2() == pytest.approx(found.areas_km2(), rel=1e-3)


@pytest.mark.parametrize("namespace", ["", "http://earth.google.com/kml/2.1", "http://www.opengis.net/kml/2.3"])
def test_r001_any_version_of_the_namespace(tmp_path: Path, namespace: str) -> None:
    text = document(placemark(polygon(APART), "a"), namespace=namespace)
    assert len(read_polygons(save(tmp_path, text))) == 1


def test_r001_broken_rings_are_repaired_or_dropped_and_counted(tmp_path: Path) -> None:
    """R001: a bow tie and an open ring are mended; two points, words and other shapes are left out by cause."""
    text = document(
        placemark(polygon(BOW_TIE), "bow tie"),
        placemark(polygon("3,3 3.01,3 3.01,3.01 3,3.01"), "open"),
        placemark(polygon(RING, "0.001,0.001 0.002,0.002"), "lost a hole"),
        placemark(polygon("4,4 4.1,4 4,4"), "two points"),
        placemark(polygon("5,5 five,5 5.1,5.1"), "words"),
        placemark(polygon("6,6 6.1,6.1 6.2,6.2 6,6"), "flat"),
        placemark("<Point><coordinates>1,2</coordinates></Point>"),
        placemark("<LineString><coordinates>1,2 3,4</coordinates></LineString>"),
        placemark(""),
        "<NetworkLink><Link><href>other.kml</href></Link></NetworkLink>",
    )
    found = read_polygons(save(tmp_path, text))
    assert found.frame["name"].tolist() == ["bow tie", "open", "lost a hole"]
    assert found.report.read == 10
    assert found.report.repaired == 3
    assert found.report.dropped == {
        "line": 1, "link to another file": 1, "no area": 1, "no geometry": 1, "point": 1, "unreadable ring": 2,
    }  # fmt: skip
    assert found.report.kept == len(found)
    assert found.frame.geometry.is_valid.all()
    bow_tie, square, whole = found.frame.geometry
    assert bow_tie.area == pytest.approx(0.02 * 0.02 / 2)
    assert square.equals(box(3, 3, 3.01, 3.01))
    assert whole.equals(box(0, 0, 0.02, 0.02))


def test_kmz_holds_a_kml(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mines.kmz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("files/picture.txt", "x")
        archive.writestr("doc.kml", NESTED)
    assert len(read_polygons(tmp_path / "mines.kmz")) == 2
    whole = (tmp_path / "mines.kmz").read_bytes()
    (tmp_path / "half.kmz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"half\.kmz is no whole archive"):
        read_polygons(tmp_path / "half.kmz")
    broken = bytearray(whole)
    at = whole.index(b"doc.kml") + 40
    broken[at : at + 8] = b"\xff" * 8
    (tmp_path / "broken.kmz").write_bytes(broken)
    with pytest.raises(UsageError, match=r"broken\.kmz is no whole archive"):
        read_polygons(tmp_path / "broken.kmz")
    newer = bytearray(whole)
    newer[whole.index(b"PK\x01\x02") + 6] = 254  # a version of the format that nobody has written yet
    (tmp_path / "newer.kmz").write_bytes(newer)
    with pytest.raises(UsageError, match=r"newer\.kmz is no whole archive"):
        read_polygons(tmp_path / "newer.kmz")
    with zipfile.ZipFile(tmp_path / "empty.kmz", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(UsageError, match="no KML"):
        read_polygons(tmp_path / "empty.kmz")


@pytest.mark.parametrize("ending", ["kmz", "zip"])
def test_zip_bombs_are_refused(tmp_path: Path, ending: str) -> None:
    bomb = tmp_path / f"bomb.{ending}"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("doc.kml", document("<description>" + " " * 20_000_000 + "</description>"))
    with pytest.raises(UsageError, match="unpacks to more"):
        read_polygons(bomb)


def test_archives_that_lie_about_their_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "mines.kmz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("doc.kml", NESTED)
    monkeypatch.setattr("minescale.labels.shapes.archives.MAX_BYTES", len(NESTED) // 2)
    monkeypatch.setattr("minescale.labels.shapes.kml.check_archive", lambda path: ["doc.kml"])
    with pytest.raises(UsageError, match="more than it says"):
        read_polygons(tmp_path / "mines.kmz")


def test_entity_bombs_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE kml [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><kml><Document><name>&b;</name>'
    with pytest.raises(UsageError, match="document type"):
        read_polygons(save(tmp_path, bomb + placemark(polygon(APART)) + "</Document></kml>"))
    outside = '<!DOCTYPE kml SYSTEM "file:///etc/hostname"><kml/>'
    with pytest.raises(UsageError, match="document type"):
        read_polygons(save(tmp_path, outside))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NESTED[:-40], "no whole KML"),
        (NESTED.replace("UTF-8", "UTQ-8"), "unknown encoding"),
        ("<gpx/>", "expected: <kml>"),
        (document(), "no polygons"),
        (document(placemark("<Point><coordinates>1,2</coordinates></Point>")), "1 x point"),
        (document(placemark(polygon("0,95 1,95 1,96 0,95"))), "no longitudes and latitudes"),
    ],
    ids=["truncated", "encoding", "gpx", "empty", "points", "beyond the pole"],
)
def test_kml_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_polygons(save(tmp_path, text))


def sample(crs: object = 4326) -> gpd.GeoDataFrame:
    shapes = [box(10, 50, 10.1, 50.1), box(11, 50, 11.1, 50.1)]
    return gpd.GeoDataFrame({"Name": ["a", None], "since": [1990, 2001]}, geometry=shapes, crs=crs)


@pytest.mark.parametrize("name", ["m.gpkg", "m.geojson", "m.shp", "m.zip", "m.parquet", "m.fgb"])
def test_formats(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "m.parquet":
        sample().to_parquet(file)
    elif name == "m.zip":
        sample().to_file(tmp_path / "m.shp")
        with zipfile.ZipFile(file, "w") as archive:
            for part in tmp_path.glob("m.[!z]*"):
                archive.write(part, part.name)
    else:
        sample().to_file(file)
    found = read_polygons(file)
    table = found.frame.sort_values("since", ignore_index=True)  # FlatGeobuf sorts by place
    assert table.geometry.geom_equals(sample().geometry).all()
    assert table["name"].tolist() == ["a", ""]
    assert table["since"].tolist() == [1990, 2001]


def test_projected_files_keep_their_straight_edges(tmp_path: Path) -> None:
    shape = box(300_000, 6_600_000, 400_000, 6_700_000)
    gpd.GeoDataFrame(geometry=[shape], crs="EPSG:32633").to_file(tmp_path / "m.gpkg")
    found = read_polygons(tmp_path / "m.gpkg")
    back = found.frame.to_crs(32633).geometry[0]
    assert back.symmetric_difference(shape).area / shape.area < 1e-5
    assert len(shapely.get_coordinates(back)) > 400


def test_files_without_a_coordinate_system_name_the_fix(tmp_path: Path) -> None:
    sample().to_file(tmp_path / "m.shp")
    (tmp_path / "m.prj").unlink()
    with pytest.raises(UsageError, match=r"crs='EPSG:4326'"):
        read_polygons(tmp_path / "m.shp")
    assert len(read_polygons(tmp_path / "m.shp", crs="EPSG:4326")) == 2
    sample(3857).to_file(tmp_path / "other.gpkg")
    with pytest.raises(UsageError, match="EPSG:3857"):
        read_polygons(tmp_path / "other.gpkg", crs="EPSG:4326")
    with pytest.raises(UsageError, match="coordinate system is not understood"):
        read_polygons(tmp_path / "m.shp", crs="nowhere")


def test_swapped_coordinates_are_noticed() -> None:
    frame = gpd.GeoDataFrame(geometry=[box(-10, 100, -9, 101)], crs=4326)
    with pytest.raises(UsageError, match="longitude first"):
        to_polygons(frame, source="here")
    metres = gpd.GeoDataFrame(geometry=[box(500_000, 5e6, 500_100, 5e6 + 100)], crs=4326)
    with pytest.raises(UsageError, match="coordinate system that the numbers"):
        to_polygons(metres, source="here")


def test_layers_and_columns_have_to_be_named(tmp_path: Path) -> None:
    sample().to_file(tmp_path / "m.gpkg", layer="one")
    sample().to_file(tmp_path / "m.gpkg", layer="two")
    with pytest.raises(UsageError, match="one, two"):
        read_polygons(tmp_path / "m.gpkg")
    with pytest.raises(UsageError, match="no such layer"):
        read_polygons(tmp_path / "m.gpkg", layer="three")
    found = read_polygons(tmp_path / "m.gpkg", layer="two", name_column="since")
    assert found.frame["name"].tolist() == ["1990", "2001"]
    with pytest.raises(UsageError, match="since"):
        read_polygons(tmp_path / "m.gpkg", layer="two", name_column="until")
    with pytest.raises(UsageError, match="no such file"):
        read_polygons(tmp_path / "n.gpkg")
    (tmp_path / "text.gpkg").write_text("hello")
    with pytest.raises(UsageError, match=r"cannot read text\.gpkg"):
        read_polygons(tmp_path / "text.gpkg")


def test_files_without_layers_or_shapes_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no layers"):
        read_polygons(save(tmp_path, NESTED), layer="Gold")
    with pytest.raises(UsageError, match="read_points"):
        read_polygons(save(tmp_path, "lon,lat\n1,2\n", "points.csv"))


def test_deeply_nested_kml_is_read(tmp_path: Path) -> None:
    depth = 50_000
    text = document("<Folder>" * depth, placemark(polygon(APART), "deep"), "</Folder>" * depth)
    assert read_polygons(save(tmp_path, text)).frame["name"].tolist() == ["deep"]


def test_coordinates_that_are_no_numbers_do_not_stop_the_rest() -> None:
    broken = Polygon([(0, 0), (np.nan, 1), (1, 1)])
    found = to_polygons(gpd.GeoDataFrame({"n": [0, 1]}, geometry=[broken, box(0, 0, 1, 1)], crs=4326), source="here")
    assert found.frame["n"].tolist() == [1]
    assert found.report.dropped == {"coordinates without a number": 1}


def test_what_is_no_polygon_is_counted() -> None:
    shapes = [
        box(0, 0, 1, 1),
        Polygon([(2, 2), (3, 3), (3, 2), (2, 3)]),
        Point(0, 0),
        LineString([(0, 0), (1, 1)]),
        Polygon(),
        None,
        shapely.GeometryCollection([Point(5, 5), box(5, 5, 6, 6)]),
        shapely.force_3d(box(7, 7, 8, 8), 99.0),
    ]
    found = to_polygons(gpd.GeoDataFrame({"n": range(8)}, geometry=shapes, crs=4326), source="here")
    assert found.frame["n"].tolist() == [0, 1, 6, 7]
    assert found.report == ReadReport(8, 1, {"line": 1, "no geometry": 2, "point": 1})
    assert set(found.frame.geom_type) <= {"Polygon", "MultiPolygon"}
    assert not found.frame.has_z.any()
    assert found.frame.index.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "shape",
    [
        Polygon([(179.9, 0), (-179.9, 0), (-179.9, 0.1), (179.9, 0.1)]),
        box(179.9, 0, 180.1, 0.1),
        box(-180.1, 0, -179.9, 0.1),
    ],
    ids=["jumps", "runs on east", "runs on west"],
)
def test_polygons_across_the_antimeridian_are_cut(shape: Polygon) -> None:
    found = to_polygons(gpd.GeoDataFrame(geometry=[shape, box(0, 0, 1, 1)], crs=4326), source="here")
    expected = MultiPolygon([box(179.9, 0, 180, 0.1), box(-180, 0, -179.9, 0.1)])
    assert shapely.symmetric_difference(found.frame.geometry[0], expected).area < 1e-9
    assert found.report == ReadReport(2, cut=1)


def test_holes_across_the_antimeridian_stay_holes() -> None:
    outer = [(179.8, 0), (-179.8, 0), (-179.8, 0.4), (179.8, 0.4)]
    inner = [(-179.9, 0.1), (179.9, 0.1), (179.9, 0.3), (-179.9, 0.3)]
    found = to_polygons(gpd.GeoDataFrame(geometry=[Polygon(outer, [inner])], crs=4326), source="here")
    assert found.frame.geometry[0].area == pytest.approx(0.4 * 0.4 - 0.2 * 0.2)


def test_world_maps_are_left_alone_and_rings_round_a_pole_are_counted() -> None:
    world = box(-180, -80, 180, 80)
    round_pole = Polygon([(-120, 80), (0, 80), (120, 80)])
    found = to_polygons(gpd.GeoDataFrame(geometry=[world, round_pole], crs=4326), source="here")
    assert found.frame.geometry[0].equals(world)
    assert found.report == ReadReport(2, 0, {"round a pole": 1}, 0)


@pytest.mark.parametrize("name", ["m.gpkg", "m.geojson", "m.parquet"])
def test_written_polygons_come_back(tmp_path: Path, name: str) -> None:
    found = to_polygons(sample(), source="here", epoch=2019)
    file = write_polygons(found, tmp_path / "new" / name)
    again = read_polygons(file)
    assert again.frame.geometry.geom_equals(found.frame.geometry).all()
    assert again.frame["name"].tolist() == ["a", ""]
    assert [p.name for p in file.parent.iterdir()] == [name]
    with pytest.raises(UsageError, match="exists"):
        write_polygons(found, file)
    write_polygons(found, file, overwrite=True)


def test_writing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    found = to_polygons(sample(), source="here")
    with pytest.raises(UsageError, match=r"\.gpkg"):
        write_polygons(found, tmp_path / "m.tif")
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot write"):
        write_polygons(found, tmp_path / "taken" / "m.gpkg")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


REAL = {
    "amazon_mining_watch/mining_202000_simplified.geojson": (5396, 0, 1807.3),
    "amazon_mining_watch/mining_202200_simplified.geojson": (6201, 0, 2022.8),
    "amazon_mining_watch/mining_202400_simplified.geojson": (5232, 0, 3325.0),
    "asm_west_africa/data/test-images/Sub-Tropical_West_Africa/gt_asm_shapes.shp": (449, 1, 38.2),
    "mapping_mining_areas/data/segmentation/mining_polygons_combined_demo.gpkg": (100, 0, 142.4),
    "drc_conservation/data/cod_conservation/Conservation/RDC_aire_protegee_2013.shp": (50, 0, 263_814.5),
    "drc_conservation/data/ne_110m_admin_0_countries/ne_110m_admin_0_countries.shp": (177, 0, 147.36e6),
    "mine_segmentation/data/raw/mining_tiles_test_annotations.gpkg": (116, 0, 2834.2),
    "sandmining/sandmining/data/Observation0/annotations.geojson": (29, 0, 3.0237),
    "amapa/data/vector/AP_mineracao_equalarea.GPKG": (1115, 0, 44_482.1),
}
"""Polygons, repaired ones, square kilometres."""
LAYERS = {
    "mining_tiles_test_annotations.gpkg": "polygons_annotated",
    "AP_mineracao_equalarea.GPKG": "sigmine_AP_2021_poly",
}


@pytest.mark.parametrize("name", list(REAL), ids=lambda n: Path(n).name)
def test_real_polygons_are_all_read(data_dir: Path, name: str) -> None:
    file = data_dir / "vectors" / name
    found = read_polygons(file, layer=LAYERS.get(file.name))
    count, repaired, area = REAL[name]
    assert (len(found), found.report.read, found.report.repaired) == (count, count, repaired)
    assert found.report.dropped == {}
    assert found.frame.geometry.is_valid.all()
    assert sum(found.areas_km2()) == pytest.approx(area, rel=1e-3)


def test_polygons_are_what_the_contract_says(tmp_path: Path) -> None:
    found = read_polygons(save(tmp_path, NESTED))
    assert isinstance(found, Polygons)
    assert found.frame.crs.to_epsg() == 4326
