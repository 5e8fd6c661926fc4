"""Six real Sentinel-2 dates over granite quarries: one without the +1000 offset, five with it, none with a mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers .rio
import xarray as xr
from numpy.typing import NDArray

import minescale
from minescale import api
from minescale.config import load_config
from minescale.engine.events import Event, Notice
from minescale.store.ledger import Ledger

BBOX = (16.21681670927203, 50.9788014579674, 16.274912456157804, 51.01546214867907)
BANDS = {"blue": "B02", "red": "B04", "nir": "B08", "swir16": "B11", "swir22": "B12"}
QUARRY = 10


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    return data_dir / "strzegom"


@pytest.fixture(scope="module")
def harmonised(folder: Path) -> NDArray[np.uint16]:
    """(date, band, y, x) reflectance x 1e4 by plain NumPy: -1000 from baseline 04.00 on, valid floor 1."""
    dates = []
    for item_file in sorted((folder / "items").glob("*.json")):
        item = json.loads(item_file.read_text())
        offset = 1000 if float(item["properties"]["s2:processing_baseline"]) >= 4 else 0
        images = []
        for asset in BANDS.values():
            with rasterio.open(item_file.parent / item["assets"][asset]["href"]) as source:
                dn = source.read(1).astype(np.int64)
            images.append(np.where(dn == 0, 0, np.maximum(dn - offset, 1)))
        dates.append(images)
    return np.array(dates).astype(np.uint16)


def _cube(folder: Path, **options: object) -> xr.Dataset:
    return minescale.open_cube(
        BBOX, "2021/2023", list(BANDS), str(folder / "catalog.json"), **options  # type: ignore[arg-type]
    )  # fmt: skip


def _on_source_grid(image: xr.DataArray, folder: Path) -> xr.DataArray:
    """The part of a cube that lies on the source's own pixels."""
    with rasterio.open(next((folder / "cogs").rglob("B04.tif"))) as source:
        xs = source.transform.c + 10 * (np.arange(source.width) + 0.5)
        ys = source.transform.f - 10 * (np.arange(source.height) + 0.5)
    return image.sel(x=xs, y=ys)  # exact: raises where the grid is another


def test_median_equals_plain_numpy_on_the_sources_own_grid(folder: Path, harmonised: NDArray[np.uint16]) -> None:
    cube = _cube(folder, composite="median").load()
    assert cube.rio.crs.to_epsg() == 32633
    ours = _on_source_grid(cube.reflectance.isel(time=0), folder).values
    # A pixel counts as seen where the first band has data; a band of its own may still lack a date there.
    seen = (harmonised[:, 0] > 0)[:, None]
    masked = np.where(seen & (harmonised > 0), harmonised.astype(np.float64), np.nan)
    valid = np.isfinite(masked).any(axis=0)
    expected = np.zeros(valid.shape)
    expected[valid] = np.floor(np.nanmedian(masked[:, valid], axis=0) + 0.5)
    np.testing.assert_array_equal(ours, expected.astype(np.uint16))


def test_both_baselines_agree_where_nothing_changed(folder: Path) -> None:
    """June 2021 (no offset) against June 2022 (offset): a mistake of 1000 DN would be 0.1 everywhere.

    Bounds, in every band: the median shift of stable pixels, and the median size of their change, stay below 0.03
    reflectance for vegetation and below 0.06 for a working quarry, whose moisture and dust vary more.
    """
    cube = _cube(folder).reflectance
    june = {str(t)[:10]: cube.sel(time=t).load() for t in cube.time.values if "-06-19" in str(t)}
    first, second = (
        _on_source_grid(june[day], folder).values.astype(float) / 1e4 for day in ("2021-06-19", "2022-06-19")
    )
    labels = []
    for day in ("20210619", "20220619"):
        with rasterio.open(folder / "labels" / f"{day}.tif") as source:
            labels.append(source.read(1))
    stable = np.where(labels[0] == labels[1], labels[0], 0)
    ndvi = (second[2] - second[1]) / np.maximum(second[2] + second[1], 1e-6)
    classes = [c for c in np.unique(stable) if c not in {0, QUARRY} and (stable == c).sum() > 400]
    greenest = max(classes, key=lambda c: float(np.median(ndvi[stable == c])))
    assert np.median(ndvi[stable == greenest]) > 0.6
    for cover, bound in ((greenest, 0.03), (QUARRY, 0.06)):
        change = (second - first)[:, stable == cover]
        assert (np.abs(np.median(change, axis=1)) < bound).all(), (cover, np.median(change, axis=1))
        assert (np.median(np.abs(change), axis=1) < bound).all(), (cover, np.median(np.abs(change), axis=1))


def test_scan_uses_all_six_scenes_with_a_warning_on_the_sources_grid(folder: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    wanted = api.request(catalog=str(folder / "catalog.json"), bbox=BBOX, datetime="2021/2023")
    config = load_config(overrides={"engine.cluster": "inline"})
    result = api.scan(wanted, tmp_path / "out", config, listeners=[heard.append])
    assert result.report.failed == 0
    assert [e.message for e in heard if isinstance(e, Notice) and "quality band" in e.message]
    assert Ledger.open(tmp_path / "out" / "mosaic.zarr", mode="r").get(0, "n_scenes").max() == 6
    mosaic = xr.open_zarr(tmp_path / "out" / "mosaic.zarr", group="0")
    assert mosaic.rio.crs.to_epsg() == 32633
    probability = _on_source_grid(mosaic.probability.isel(time=0), folder).values
    with rasterio.open(folder / "cogs" / "20210619" / "B02.tif") as source:
        assert np.isfinite(probability[source.read(1) > 0]).mean() > 0.98
