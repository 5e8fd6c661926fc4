"""``minescale dataset polygons`` and ``label`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import LineString, Point, Polygon, box

from tests.cli.conftest import run

BOW_TIE = Polygon([(2, 2), (2.2, 2.2), (2.2, 2), (2, 2.2)])


@pytest.fixture
def mines(tmp_path: Path) -> Path:
    shapes = [box(0, 0, 0.1, 0.1), box(0.95, 0, 1.05, 0.1), BOW_TIE, LineString([(0, 0), (1, 1)])]
    table = gpd.GeoDataFrame({"name": ["Ofin", "b", "c", "d"]}, geometry=shapes, crs=4326)
    table.to_file(tmp_path / "mines.gpkg")
    return tmp_path / "mines.gpkg"


@pytest.fixture
def countries(tmp_path: Path) -> Path:
    table = gpd.GeoDataFrame({"iso": ["A", "B"]}, geometry=[box(0, 0, 1, 1), box(1, 0, 3, 3)], crs=4326)
    table.to_file(tmp_path / "countries.gpkg")
    return tmp_path / "countries.gpkg"


def test_polygons_are_reported_and_written(mines: Path, tmp_path: Path) -> None:
    done = run("dataset", "polygons", mines, "--out", tmp_path / "out.parquet", "--epoch", 2020)
    assert done.exit_code == 0, done.stderr
    assert "3 of 4 shapes kept" in done.stdout
    assert "imagery of 2020" in done.stdout
    assert "1 repaired" in done.stdout
    assert "1 left out: line" in done.stdout
    assert len(gpd.read_parquet(tmp_path / "out.parquet")) == 3
    assert run("dataset", "polygons", mines, "--out", tmp_path / "out.parquet").exit_code == 2
    assert run("dataset", "polygons", mines, "--out", tmp_path / "out.parquet", "--overwrite").exit_code == 0


def test_polygons_are_clipped_and_joined(mines: Path, countries: Path, tmp_path: Path) -> None:
    points = gpd.GeoDataFrame({"metal": ["gold", "tin"]}, geometry=[Point(0.05, 0.05), Point(9, 9)], crs=4326)
    points.to_file(tmp_path / "points.gpkg")
    options = ("--clip", countries, "--clip-where", "iso=A", "--points", tmp_path / "points.gpkg", "--json")
    done = run("dataset", "polygons", mines, "--out", tmp_path / "out.gpkg", *options)
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    assert (values["kept"], values["clip"]["cut"], values["points_outside"]) == (2, 1, 1)
    assert values["clip"]["share"] == pytest.approx(0.015, rel=0.01)
    assert values["dropped"] == {"line": 1, "outside the boundary": 1}
    written = gpd.read_file(tmp_path / "out.gpkg")
    assert written["point_metal"].tolist() == ["gold", None]
    assert "1 cut at the border" in run("dataset", "polygons", mines, *options[:4]).stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--clip-where", "iso=A"), "--clip-where without --clip"),
        (("--clip", "countries.gpkg", "--clip-where", "iso"), "COLUMN=VALUE"),
        (("--inventory", "maus"), "is not what maus publishes"),
        (("--inventory", "mine"), "unknown inventory"),
        (("--name-column", "site"), "no such column"),
        (("--out", "mines.tif"), "unknown format"),
    ],
)
def test_polygons_that_cannot_be_read_as_asked(
    mines: Path, countries: Path, options: tuple[str, ...], words: str
) -> None:
    named = [str(countries) if o == "countries.gpkg" else o for o in options]
    done = run("dataset", "polygons", mines, *named)
    assert done.exit_code == 2
    assert words in done.stderr


def image(folder: Path, name: str, cloud: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    pixels = np.full((8, 20, 20), 1000, np.uint16)
    pixels[3, :, :5] = 5000
    pixels[7] = 0
    pixels[7, :2] = cloud
    profile = {"driver": "GTiff", "height": 20, "width": 20, "count": 8, "dtype": "uint16", "crs": "EPSG:4326"}
    with rasterio.open(folder / name, "w", transform=Affine(0.01, 0, 0, 0, -0.01, 0.1), **profile) as target:
        target.write(pixels)
    return folder


def test_label_writes_inputs_labels_and_a_report(mines: Path, tmp_path: Path) -> None:
    folder = image(tmp_path / "in", "ofin_agm_region_1_2019.tif")
    image(tmp_path / "in", "peru_2019.tif")
    done = run("dataset", "label", folder, mines, "--out", tmp_path / "out", "--bands", "tm")
    assert done.exit_code == 0, done.stderr
    assert "ofin_agm_region_1_2019: 80.0% background, 10.0% cloud, 10.0% mining" in done.stdout
    assert "left out, no polygon of their site: 1 (peru_2019)" in done.stdout
    assert "polygons without an image: 2 (b, c)" in done.stdout
    for name in ("images/ofin_agm_region_1_2019.tif", "labels/ofin_agm_region_1_2019.tif", "statistics.parquet"):
        assert (tmp_path / "out" / name).exists()
    with rasterio.open(tmp_path / "out" / "labels" / "ofin_agm_region_1_2019.tif") as label:
        assert np.bincount(label.read(1).ravel()).tolist() == [320, 40, 40]
    binary = ("--scheme", "binary", "--no-ndvi", "--edge", 600, "--match", "place", "--json")
    done = run("dataset", "label", folder, mines, "--out", tmp_path / "binary", "--bands", "tm", *binary)
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    assert set(values["labelled"]) == {"ofin_agm_region_1_2019", "peru_2019"}
    assert values["pixels"]["peru_2019"]["ignore"] > 40


@pytest.mark.parametrize(
    ("options", "cloud", "words"),
    [
        ((), 1, "bands are not named"),
        (("--bands", "spot"), 1, "unknown band order"),
        (("--bands", "tm"), 255, "got: 255"),
        (("--bands", "tm", "--name-column", "other"), 1, "no such column"),
        (("--bands", "tm", "--edge", "30"), 1, "no value to ignore"),
    ],
)
def test_label_refuses_and_leaves_nothing(
    mines: Path, tmp_path: Path, options: tuple[str, ...], cloud: int, words: str
) -> None:
    folder = image(tmp_path / "in", "ofin_agm_region_1_2019.tif", cloud)
    done = run("dataset", "label", folder, mines, "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"in", "mines.gpkg"}
