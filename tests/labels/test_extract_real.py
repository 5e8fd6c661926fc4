"""Extraction from real imagery: scenes without a quality band, scenes in degrees with one, other radiometries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import rasterio

from minescale.engine.events import Event, Notice
from minescale.labels.imagery.extract import extract
from minescale.labels.imagery.extract_plan import ExtractRequest
from minescale.labels.pictures.previews import write_previews
from minescale.labels.sets.folder import open_folder
from tests.labels.extraction import inline


def test_strzegom_keeps_its_own_pixels_under_both_baselines(data_dir: Path, tmp_path: Path) -> None:
    """2021 is baseline 03.00, 2022 is later: reflectance is comparable, and pixels are the scene's own."""
    places = pd.DataFrame({"id": ["quarries"], "lon": [16.245], "lat": [50.997]})
    told: list[Event] = []
    medians = {}
    for year in ("2021", "2022"):
        request = ExtractRequest(
            catalog=str(data_dir / "strzegom" / "catalog.json"),
            datetime=year,
            bands=("L2A",),
            side_m=2000,
            mode="scene",
            cloud_below=20,
        )
        report = extract(places, request, tmp_path / year, config=inline(), listeners=[told.append])
        dataset = open_folder(tmp_path / year)
        assert set(report.absent) == {"coastal", "nir09"}
        assert dataset.bands[:4] == ("blue", "green", "red", "rededge071")
        image, _ = dataset[0]
        assert image.shape == (10, 200, 200)
        assert (image > 0).all()
        medians[year] = np.median(image, axis=(1, 2))
        sample = dataset.samples.iloc[0]
        assert sample["crs"] == "EPSG:32633"
        assert sample["image_date"].startswith(year)
    assert any(isinstance(e, Notice) and "quality band" in e.message for e in told)
    # An offset taken off once too often, or once too seldom, would part them by 1000.
    assert np.abs(medians["2021"] - medians["2022"]).max() < 900
    assert len(write_previews(open_folder(tmp_path / "2021"), tmp_path / "pictures")) == 1


def test_coalfield_in_degrees_becomes_square_metres(data_dir: Path, tmp_path: Path) -> None:
    """Scenes in EPSG:4326 with a quality band: a year's median in UTM, and the least cloudy scene of it."""
    places = pd.DataFrame({"id": ["mine"], "lon": [81.1556], "lat": [21.1956], "label_epoch": [2023]})
    shared = {
        "catalog": str(data_dir / "coalfield" / "catalog.json"), "datetime": "2022/2024", "side_m": 400.0,
        "bands": ("B02", "B04", "B08", "B11", "B12", "B03"),
    }  # fmt: skip
    year = ExtractRequest(**shared, max_epoch_gap=0)
    report = extract(places, year, tmp_path / "year", config=inline())
    dataset = open_folder(tmp_path / "year")
    assert set(report.absent) == {"green"}
    sample = dataset.samples.iloc[0]
    assert sample["image_date"] == "2023"
    assert sample["epoch_gap"] == 0
    assert sample["layers_used"] >= 5
    assert 0 < sample["aoi_cloud"] < 100
    assert dataset[0][0].shape == (5, 40, 40)
    assert 300 < np.median(dataset[0][0][1][dataset[0][0][1] > 0]) < 4000
    scene = ExtractRequest(**shared, mode="scene", cloud_below=20.0, aoi_cloud_below=10.0)
    extract(places, scene, tmp_path / "scene", config=inline())
    found = open_folder(tmp_path / "scene").samples.iloc[0]
    assert found["cloud_cover"] < 20
    assert found["aoi_cloud"] < 10


def test_chips_of_real_scenes_open_in_gdal(data_dir: Path, tmp_path: Path) -> None:
    places = pd.DataFrame({"id": ["a"], "lon": [16.24], "lat": [50.99]})
    request = ExtractRequest(
        catalog=str(data_dir / "strzegom" / "catalog.json"), datetime="2022", bands=("RGB", "TCI"), side_m=500
    )
    extract(places, request, tmp_path / "set", config=inline())
    assert "aoi_cloud" not in open_folder(tmp_path / "set").samples, "nobody knows, without a quality band"
    with rasterio.open(tmp_path / "set" / "images" / "a.tif") as image:
        assert image.crs.to_epsg() == 32633
        assert image.descriptions == ("red", "green", "blue", "tci_r", "tci_g", "tci_b", "clear_count")
        red, picture = image.read(1), image.read(4)
    assert picture.max() <= 255
    assert np.corrcoef(red.ravel(), picture.ravel())[0, 1] > 0.9
