"""Models of single pixels end to end: labels of rasters, of points, and none at all, each to a map of a scan."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from minescale import api, open_cube
from minescale.labels.sets.classes import BINARY
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.models.package import write_package
from minescale.synthetic import Region
from minescale.training.tables.fit import fit_table
from minescale.training.tables.ranking import auc
from tests.engine.conftest import MakePlan

pytest.importorskip("sklearn", reason="models of the table are fitted by scikit-learn (extra train)")

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
EDGE = 96


@pytest.fixture(scope="module")
def truth(small_region: Region) -> xr.DataArray:
    """(y, x) True where ground was mined by the end, with coordinates."""
    with rasterio.open(small_region.truth_raster) as source:
        rows, cols = np.arange(source.height) + 0.5, np.arange(source.width) + 0.5
        x, y = source.transform.c + 10 * cols, source.transform.f - 10 * rows
        return xr.DataArray(source.read(1) > 0, {"y": y, "x": x}, ("y", "x"))


@pytest.fixture(scope="module")
def ground(small_region: Region, truth: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The region's composite (band, y, x), and where it was mined (y, x)."""
    cube = open_cube(
        small_region.bbox, small_region.period, BANDS, str(small_region.catalog), composite="median", resolution=10
    )
    image = cube.reflectance.isel(time=0)
    return image.to_numpy(), _on(truth, image)


def _on(truth: xr.DataArray, image: xr.DataArray) -> np.ndarray:
    """The truth on an image's own pixels."""
    return truth.reindex(x=image.x, y=image.y, method="nearest", tolerance=1, fill_value=False).to_numpy()


def _dataset(images: np.ndarray, masks: np.ndarray | None, labels: list[int] | None) -> Dataset:
    names = [f"w{i}" for i in range(len(images))]
    samples = pd.DataFrame({"id": names, "site": names, "source": "synthetic"})
    return Dataset(
        name="windows",
        samples=samples if labels is None else samples.assign(label=labels),
        bands=BANDS,
        classes=BINARY,
        reader=ArrayReader(images, masks),
        units="reflectance x 1e4",
        nodata=0,
        resolution_m=10.0,
        licence="Apache-2.0",
    )


def _windows(ground: tuple[np.ndarray, np.ndarray]) -> Dataset:
    image, truth = ground
    places = [(y, x) for y in range(0, truth.shape[0] - EDGE, EDGE) for x in range(0, truth.shape[1] - EDGE, EDGE)]
    mined = [p for p in places if truth[p[0] : p[0] + EDGE, p[1] : p[1] + EDGE].mean() > 0.01]
    cut = [np.s_[y : y + EDGE, x : x + EDGE] for y, x in mined]
    masks = np.array([truth[c] for c in cut]).astype(np.uint8)
    return _dataset(np.array([image[:, *c] for c in cut]), masks, None)


def _points(ground: tuple[np.ndarray, np.ndarray]) -> Dataset:
    image, truth = ground
    random = np.random.default_rng(0)
    inner = truth[1:-1, 1:-1]
    chosen = [random.choice(np.argwhere(inner == side), 60, replace=False) for side in (True, False)]
    places = np.concatenate(chosen)[random.permutation(120)] + 1
    images = np.array([image[:, y - 1 : y + 2, x - 1 : x + 2] for y, x in places])
    return _dataset(images, None, [int(truth[y, x]) for y, x in places])


@pytest.mark.parametrize("mode", ["rasters", "points", "none"])
def test_labels_of_any_kind_become_a_map(
    mode: str, ground, truth: xr.DataArray, make_plan: MakePlan, tmp_path: Path
) -> None:
    family = {"rasters": "boosting", "points": "forest", "none": "kmeans"}[mode]
    dataset = _points(ground) if mode == "points" else _windows(ground)
    half = len(dataset) // 2
    parts = dataset.subset(list(range(half))), dataset.subset(list(range(half, len(dataset))))
    small = {"rasters": {"trees": 20, "learning_rate": 0.3}, "points": {"trees": 20}, "none": {"clusters": 12}}[mode]
    config = SimpleNamespace(
        name=f"from-{mode}", family=family, seed=0, hyperparameters=small, target="", resolution=None, description=""
    )
    fitted = fit_table(*parts, config, tmp_path / "fit")
    package = write_package(tmp_path / "model", fitted.spec, fitted.weights, "card", {})
    result = api.run(make_plan(package.path), tmp_path / "out")
    assert (result.report.failed, result.report.remaining) == (0, 0)
    score = xr.open_zarr(tmp_path / "out" / "mosaic.zarr", group="0").probability.isel(time=0)
    mined, seen = _on(truth, score), score.to_numpy()
    known = np.isfinite(seen)
    assert known.mean() > 0.9
    # One scan of synthetic ground: evidence that the machinery works, none of skill.
    if mode == "none":
        assert seen[known & mined].mean() > 3 * seen[known & ~mined].mean()
    else:
        assert auc(seen[known], mined[known]) > 0.9
