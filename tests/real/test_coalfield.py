"""107 real dates with a scene classification over an opencast coal mine, in degrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers .rio
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from minescale import api
from minescale.config import load_config
from minescale.types import Reason

CLEAR = (2, 4, 5, 6, 7)
UNUSABLE = (1, 11)


@pytest.fixture(scope="module")
def items(data_dir: Path) -> list[dict]:
    files = sorted((data_dir / "coalfield" / "items").glob("*.json"))
    return [{**json.loads(f.read_text()), "folder": f.parent} for f in files]


def _scan(data_dir: Path, out: Path, **settings: object) -> xr.Dataset:
    wanted = api.request(
        catalog=str(data_dir / "coalfield" / "catalog.json"),
        bbox=(81.1532, 21.1924, 81.1581, 21.1989),
        datetime="2019/2024",
        period="year",
    )
    overrides = {"engine.cluster": "inline", "grid.tile_size": 64, "store.chunk": 64, **settings}
    api.scan(wanted, out, load_config(overrides=overrides))
    return xr.open_zarr(out / "mosaic.zarr", group="0")


def _classes_on(mosaic: xr.Dataset, item: dict, pad: int = 0) -> NDArray[np.uint8]:
    """The scene classification at each mosaic pixel's centre, by the plain definition of nearest neighbour."""
    x, y = mosaic.x.values, mosaic.y.values
    step = x[1] - x[0]
    xs = np.concatenate([x[0] - step * np.arange(pad, 0, -1), x, x[-1] + step * np.arange(1, pad + 1)])
    ys = np.concatenate([y[0] + step * np.arange(pad, 0, -1), y, y[-1] - step * np.arange(1, pad + 1)])
    transformer = pyproj.Transformer.from_crs(mosaic.rio.crs, "EPSG:4326", always_xy=True)
    lon, lat = transformer.transform(*np.meshgrid(xs, ys))
    with rasterio.open(item["folder"] / item["assets"]["SCL"]["href"]) as source:
        classes, inverse = source.read(1), ~source.transform
        col, row = inverse * (lon, lat)
    col, row = np.floor(col).astype(int), np.floor(row).astype(int)
    inside = (row >= 0) & (row < classes.shape[0]) & (col >= 0) & (col < classes.shape[1])
    out = np.zeros(lon.shape, np.uint8)
    out[inside] = classes[row[inside], col[inside]]
    return out


def test_clear_counts_equal_an_independent_count(data_dir: Path, items: list[dict], tmp_path: Path) -> None:
    mosaic = _scan(data_dir, tmp_path / "out", **{"mask.dilate_m": 0}).load()
    years = [int(str(t)[:4]) for t in mosaic.time.values]
    assert years == list(range(2019, 2025))
    counts = np.zeros(mosaic.clear_count.shape, int)
    covered = np.zeros(mosaic.clear_count.shape, bool)
    for item in items:
        classes = _classes_on(mosaic, item)
        t = years.index(int(item["properties"]["datetime"][:4]))
        counts[t] += np.isin(classes, CLEAR)
        covered[t] |= classes > 0
    np.testing.assert_array_equal(mosaic.clear_count.values, counts)
    reason = mosaic.reason.values
    assert (reason[~covered] == Reason.NO_SCENE).all(), "outside the footprint: nodata, with its reason"
    assert np.isnan(mosaic.probability.values[~covered]).all()
    assert (reason[covered & (counts == 0)] == Reason.NEVER_CLEAR).all()
    seen = np.isfinite(mosaic.probability.values)
    assert (counts[seen] > 0).all()
    assert seen[counts > 0].mean() > 0.99
    assert years.index(2021) not in {t for t in range(6) if seen[t].any()}, "no scene of 2021 is in the set"


def test_dilated_clouds_equal_scipys(data_dir: Path, items: list[dict], tmp_path: Path) -> None:
    """60 m at 10 m pixels: a disc of six pixels grows clouds and shadows, not snow, and never covers nodata."""
    mosaic = _scan(data_dir, tmp_path / "out", **{"mask.dilate_m": 60}).load()
    years = [int(str(t)[:4]) for t in mosaic.time.values]
    counts = np.zeros(mosaic.clear_count.shape, int)
    disc = np.hypot(*np.mgrid[-6:7, -6:7]) <= 6
    for item in items:
        classes = _classes_on(mosaic, item, pad=6)
        obscured = ~np.isin(classes, (0, *CLEAR, *UNUSABLE))
        clear = np.isin(classes, CLEAR) & ~binary_dilation(obscured, disc)
        counts[years.index(int(item["properties"]["datetime"][:4]))] += clear[6:-6, 6:-6]
    np.testing.assert_array_equal(mosaic.clear_count.values, counts)


def test_deep_stacks_are_used_whole(data_dir: Path, tmp_path: Path) -> None:
    """All 107 dates in one period, more than a composite's usual 24."""
    wanted = api.request(
        catalog=str(data_dir / "coalfield" / "catalog.json"),
        bbox=(81.1532, 21.1924, 81.1581, 21.1989),
        datetime="2019/2024",
    )
    overrides = {"engine.cluster": "inline", "composite.max_scenes": 200, "grid.tile_size": 128, "store.chunk": 128}
    api.scan(wanted, tmp_path / "out", load_config(overrides=overrides))
    mosaic = xr.open_zarr(tmp_path / "out" / "mosaic.zarr", group="0")
    assert mosaic.clear_count.values.max() > 40
