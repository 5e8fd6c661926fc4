"""Folders of images and polygons to folders of inputs and labels: real files, all or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from minescale.errors import StoreError, UsageError
from minescale.labels.rasters.image_stats import COLUMNS, band_statistics
from minescale.labels.rasters.labelling import LabelRules, label_images
from minescale.labels.rasters.masks import rasterise
from minescale.labels.shapes.vectorising import outlines_of
from minescale.labels.shapes.vectors import read_polygons, write_polygons
from tests.labels.shapes import UTM33, grid, polygons

X, Y, N = 500_000, 5_600_000, 20
TM = ("blue", "green", "red", "nir08", "swir16", "lwir", "swir22", "cloud")
SITE = "ghana_ofin_agm_region_1_20190304"
PIT = box(X, Y - 100, X + 100, Y)


def scene(seed: int = 0) -> NDArray[np.uint16]:
    """(8, 20, 20): bare ground, a green strip in columns 0-1, cloud in row 0."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1000, 2000, (8, N, N)).astype(np.uint16)
    pixels[2], pixels[3] = 1500, 1600
    pixels[3, :, :2] = 6000
    pixels[7] = 0
    pixels[7, 0] = 1
    return pixels


def save(
    folder: Path,
    pixels: NDArray,
    name: str = SITE,
    names: tuple[str, ...] | None = None,
    left: float = X,
    **profile: object,
) -> Path:
    folder.mkdir(exist_ok=True)
    options = {
        "driver": "GTiff", "height": pixels.shape[1], "width": pixels.shape[2], "count": len(pixels), "nodata": 0,
        "dtype": pixels.dtype.name, "crs": UTM33, "transform": Affine(10, 0, left, 0, -10, Y), **profile,
    }  # fmt: skip
    with rasterio.open(folder / f"{name}.tif", "w", **options) as image:
        image.write(pixels)
        if names is not None:
            image.descriptions = names
        image.update_tags(acquired="2019-03-04")
    return folder / f"{name}.tif"


def expected() -> NDArray[np.uint8]:
    label = np.zeros((N, N), np.uint8)
    label[:10, :10] = 2
    label[:, :2] = 0
    label[0] = 1
    return label


@pytest.mark.parametrize("order", ["tm", None])
def test_r006_labels_follow_from_files(tmp_path: Path, order: str | None) -> None:
    save(tmp_path / "in", scene(), names=None if order else TM)
    save(tmp_path / "in", scene(), "peru_inambari_2019", names=None if order else TM)
    pit = polygons(PIT, box(0, 0, 1, 1), names=["Ghana Ofin", "Elsewhere"])
    report = label_images(tmp_path / "in", pit, tmp_path / "out", LabelRules(band_order=order))
    with rasterio.open(tmp_path / "out" / "labels" / f"{SITE}.tif") as image:
        np.testing.assert_array_equal(image.read(1), expected())
        assert image.colormap(1)[2] == (253, 231, 37, 255)
        assert image.tags(1)["class_1"] == "cloud"
    assert report.pixels == {SITE: {"background": 400 - 20 - 72, "cloud": 20, "mining": 72}}
    assert report.unmatched_images == ["peru_inambari_2019"]
    assert report.unmatched_polygons == ["Elsewhere"]
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["rules"]["ndvi_limit"] == 0.5
    assert written["labelled"] == [SITE]


def test_r009_inputs_keep_seven_bands_and_their_place(tmp_path: Path) -> None:
    """R009: cloud band dropped; CRS, transform, nodata, type and tags as they were; names in the tags."""
    source = save(tmp_path / "in", scene(), names=TM)
    label_images([source], polygons(PIT, names=["Ghana Ofin"]), tmp_path / "out")
    with rasterio.open(source) as before, rasterio.open(tmp_path / "out" / "images" / f"{SITE}.tif") as after:
        np.testing.assert_array_equal(after.read(), before.read()[:7])
        assert (after.crs, after.transform, after.nodata) == (before.crs, before.transform, before.nodata)
        assert after.dtypes[0] == before.dtypes[0]
        assert after.descriptions == TM[:7]
        assert after.tags()["bands"] == ",".join(TM[:7])
        assert after.tags()["acquired"] == "2019-03-04"


def test_r008_statistics_of_every_image_and_band(tmp_path: Path) -> None:
    """R008: equal to numpy, as parquet and JSON."""
    pixels = scene()
    pixels[0, :5] = 0
    save(tmp_path / "in", pixels, names=TM)
    label_images(tmp_path / "in", polygons(PIT, names=["Ghana Ofin"]), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "statistics.parquet")
    assert tuple(table.columns) == COLUMNS
    assert table["band"].tolist() == list(TM)
    seen = pixels[0, 5:].astype(np.float64)
    figures = [seen.min(), seen.max(), seen.mean(), seen.std(), 0.25, np.unique(seen).size]
    np.testing.assert_allclose(table.loc[0, list(COLUMNS[2:])].to_numpy(np.float64), figures)
    assert table.loc[7, ["min", "max", "nodata_share", "unique"]].tolist() == [0, 1, 0, 2], "0 is an observation here"
    rows = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert rows[0]["mean"] == pytest.approx(figures[2])


def test_r008_bands_without_an_observation_have_no_figures(tmp_path: Path) -> None:
    figures = band_statistics(np.full((2, 2), np.nan), None)
    assert np.isnan([figures[k] for k in ("min", "max", "mean", "std")]).all()
    assert (figures["nodata_share"], figures["unique"]) == (1, 0)
    pixels = scene()
    pixels[5] = 0
    save(tmp_path / "in", pixels, names=TM)
    label_images(tmp_path / "in", polygons(PIT, names=["Ghana Ofin"]), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "statistics.json").read_text())[5]["mean"] is None


def test_r131_gaps_between_labels_and_images_are_stored_and_limited(tmp_path: Path) -> None:
    """R131, F51: outlines of 2018 do not describe an image of March 2019 without saying so."""
    save(tmp_path / "in", scene(), names=TM)
    pit = replace(polygons(PIT, names=["Ghana Ofin"]), epoch=2018)
    report = label_images(tmp_path / "in", pit, tmp_path / "out")
    told = {"image_date": "2019-03-04", "label_epoch": 2018, "gap_days": 63}
    assert report.dates == {SITE: told}
    assert json.loads((tmp_path / "out" / "report.json").read_text())["dates"][SITE] == told
    with pytest.raises(UsageError, match="63 days"):
        label_images(tmp_path / "in", pit, tmp_path / "near", LabelRules(max_gap_days=31))
    with pytest.raises(UsageError, match="unknown"):
        label_images(tmp_path / "in", replace(pit, epoch=None), tmp_path / "near", LabelRules(max_gap_days=31))
    assert not (tmp_path / "near").exists()
    assert label_images(tmp_path / "in", pit, tmp_path / "near", LabelRules(max_gap_days=63)).labelled == [SITE]


def test_by_place_every_image_gets_what_it_shows(tmp_path: Path) -> None:
    save(tmp_path / "in", scene(), "a", TM)
    save(tmp_path / "in", scene(), "b", TM, left=X + 10_000)
    report = label_images(tmp_path / "in", polygons(PIT), tmp_path / "out", LabelRules(match="place"))
    assert report.pixels["a"]["mining"] == 72
    assert report.pixels["b"]["mining"] == 0


def test_binary_labels_of_a_sensor_without_clouds(tmp_path: Path) -> None:
    names = ("red", "nir", "swir16")
    save(tmp_path / "in", scene()[[2, 3, 4]], "a", names)
    rules = LabelRules(scheme="binary", clouds="none", match="place", edge_m=20, ndvi_limit=None, inputs=2)
    report = label_images(tmp_path / "in", polygons(PIT), tmp_path / "out", rules)
    counts = report.pixels["a"]
    assert counts["mining"] == 36, "north and west the pit's edge is the image's: pixels there are near it all the same"
    assert sum(counts.values()) == N * N
    with rasterio.open(tmp_path / "out" / "labels" / "a.tif") as image:
        assert image.nodata == 255
    with rasterio.open(tmp_path / "out" / "images" / "a.tif") as image:
        assert image.descriptions == ("red", "nir")


def test_quality_bands_are_mapped_by_name_of_the_sensor(tmp_path: Path) -> None:
    pixels = scene()
    pixels[7] = np.where(pixels[7] == 1, 1 << 3, 21824)
    save(tmp_path / "in", pixels)
    rules = LabelRules(band_order="tm", clouds="landsat-c2-l2")
    report = label_images(tmp_path / "in", polygons(PIT, names=["Ghana Ofin"]), tmp_path / "out", rules)
    assert report.pixels[SITE]["cloud"] == 20


PIT_OF_SITE = {"names": ["Ghana Ofin"]}


@pytest.mark.parametrize(
    ("change", "rules", "shapes", "words"),
    [
        ({}, {}, {"names": ["Peru"]}, "no image shares its site"),
        ({}, {"band_order": "oli"}, PIT_OF_SITE, "contradicts"),
        ({"names": None}, {}, PIT_OF_SITE, "bands are not named"),
        ({"cloud": 255}, {}, PIT_OF_SITE, "255"),
        ({"cloud": 2}, {}, PIT_OF_SITE, "not binary"),
        ({"crs": None}, {}, PIT_OF_SITE, "no coordinate system"),
        ({"left": X + 50_000}, {}, PIT_OF_SITE, "do not overlap"),
        ({"left": X + 50_000}, {"match": "place"}, PIT_OF_SITE, "lies in any of the images"),
        ({"names": TM[:7], "drop": 1}, {}, PIT_OF_SITE, "no cloud band"),
    ],
    ids=["names", "contradiction", "numbers", "cloud 255", "cloud 2", "no CRS", "apart", "apart by place", "no cloud"],
)
def test_bad_input_leaves_nothing(
    tmp_path: Path, change: dict[str, object], rules: dict[str, object], shapes: dict[str, list[str]], words: str
) -> None:
    """R007 and bad input: the message names what is wrong, and neither folder nor scratch stays."""
    options = {"names": TM, **change}
    pixels = scene()
    if "cloud" in options:
        pixels[7, 5, 5] = options.pop("cloud")
    pixels = pixels[: 8 - int(options.pop("drop", 0))]  # type: ignore[call-overload]
    source = save(tmp_path / "in", pixels, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        label_images([source], polygons(PIT, **shapes), tmp_path / "out", LabelRules(**rules))  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    pit = polygons(PIT, names=["Ghana Ofin"])
    with pytest.raises(UsageError, match="no such folder"):
        label_images(tmp_path / "in", pit, tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(UsageError, match="no image in"):
        label_images(tmp_path / "in", pit, tmp_path / "out")
    source = save(tmp_path / "in", scene(), names=TM)
    with pytest.raises(UsageError, match="exists"):
        label_images(tmp_path / "in", pit, tmp_path / "in")
    with pytest.raises(UsageError, match="share a name"):
        label_images([source, source], pit, tmp_path / "out")
    (tmp_path / "in" / "text.tif").write_text("hello")
    with pytest.raises(UsageError, match=r"cannot read .*text\.tif"):
        label_images(tmp_path / "in", pit, tmp_path / "out", LabelRules(match="place"))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="cannot write"):
        label_images([source], pit, tmp_path / "taken" / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"in", "taken"}


@pytest.mark.parametrize(
    "wrong",
    [{"scheme": "four"}, {"match": "luck"}, {"edge_m": 10.0}, {"inputs": 0}],
    ids=["scheme", "match", "edge", "inputs"],
)
def test_rules_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LabelRules(**wrong)  # type: ignore[arg-type]


def test_allow_empty_writes_labels_without_mines(tmp_path: Path) -> None:
    save(tmp_path / "in", scene(), names=TM)
    rules = LabelRules(match="place", allow_empty=True)
    report = label_images(tmp_path / "in", polygons(box(0, 0, 1, 1)), tmp_path / "out", rules)
    assert report.pixels[SITE]["mining"] == 0


def test_outlines_of_a_raster_burn_to_the_same_mask(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    mask = rng.random((60, 50)) > 0.6
    geobox = grid(60, 50)
    found = outlines_of(mask, geobox, source="labels", name="Strzegom", epoch=2021)
    np.testing.assert_array_equal(rasterise(found, geobox), mask)
    for name in ("q.kml", "q.gpkg", "q.parquet"):
        again = read_polygons(write_polygons(found, tmp_path / name))
        np.testing.assert_array_equal(rasterise(again, geobox), mask)
        assert set(again.frame["name"]) == {"Strzegom"}
    with pytest.raises(UsageError, match="no pixel"):
        outlines_of(np.zeros((60, 50), bool), geobox, source="labels")
    with pytest.raises(UsageError, match="does not fit"):
        outlines_of(mask, grid(5, 5), source="labels")


def test_strzegom_quarries_become_labels(data_dir: Path, tmp_path: Path) -> None:
    """Real imagery: quarries outlined from the published labels come back on another date's grid."""
    folder = data_dir / "strzegom"
    with rasterio.open(folder / "labels" / "20220619.tif") as image:
        quarry, geobox = image.read(1) == 10, GeoBox.from_rio(image)
    outlines = outlines_of(quarry, geobox, source="20220619.tif", name="Strzegom", epoch=2022)
    bands = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}
    stack = []
    for asset in bands.values():
        with rasterio.open(folder / "cogs" / "20220719" / f"{asset}.tif") as image:
            stack.append(image.read(1))
            place = {"crs": image.crs, "transform": image.transform}
    # Reflectance: both dates are of baseline 04.00, with an offset of 1000.
    pixels = np.maximum(np.array(stack).astype(np.int32) - 1000, 1).astype(np.uint16)
    save(tmp_path / "in", pixels, "strzegom_20220719", tuple(bands), **place)
    rules = LabelRules(clouds="none", inputs=4)
    report = label_images(tmp_path / "in", outlines, tmp_path / "out", rules)
    counts = report.pixels["strzegom_20220719"]
    assert 0.5 * quarry.sum() < counts["mining"] <= quarry.sum(), "green pixels within the outlines are left out"
    assert gpd.GeoSeries(outlines.frame.geometry).is_valid.all()
