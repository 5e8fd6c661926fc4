"""Every preset, and so every family: trained on a synthetic region, packaged, loaded again, and used by a scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer
from safetensors.numpy import save_file

from minescale import api
from minescale.config import load_config
from minescale.engine.events import Event, TileFailed
from minescale.errors import ModelError
from minescale.labels.auditing.splitting import split_by
from minescale.labels.sets.dataset import Dataset
from minescale.models import predictor as predictors
from minescale.models.network import ARCHITECTURES, build_network, state_arrays
from minescale.models.package import ModelPackage
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec
from minescale.store.codes import Reason
from minescale.synthetic import Region
from minescale.training.api import PROBE, train
from minescale.training.config import TrainConfig, list_presets, load_preset
from minescale.training.repackage import repackage
from minescale.training.tables.fit import TABLE_FAMILIES
from minescale.types import BBox
from tests.training.region_sets import SIDE, called, chips, extracted, pairs, three_classes

pytest.importorskip("sklearn")
pytest.importorskip("transformers")
pytest.importorskip("peft")

CLOUDY, TILE = 1, 128
"""Number of the date that is scanned, and pixels along a tile."""
SCAN = load_config(overrides={"engine.cluster": "inline", "grid.tile_size": TILE, "store.chunk": TILE})
SHORT: Mapping[str, Any] = {"run": {"epochs": 1}, "batch": {"size": 4, "accumulate": 1, "crop": SIDE, "crops": 1}}
SMALL_TABLE: Mapping[str, Any] = {"samples_per_image": 300}
SMALLEST: Mapping[str, Mapping[str, Any]] = {
    "lasso": {"lambdas": 5, "folds": 2, "bootstrap": 0},
    "elastic_net": {"lambdas": 5, "folds": 2, "bootstrap": 0},
    "logistic": {"lambdas": 5, "folds": 2, "bootstrap": 0},
    "forest": {"trees": 5},
    "boosting": {"trees": 5},
    "mlp": {"epochs": 3},
    "patchcnn": {"width": 8},
    "resnet34": {"input_px": SIDE},
    "sam": {"size": "mini"},
    "efficientunet": {"size": "lite0"},
    "segformer": {"size": "b0"},
    "unet": {"width": 8},
}
"""Sizes and run lengths of each family that a test can afford; everything else is the preset's."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as small as these only wait for a second thread."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def windows(small_region: Region, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The region's windows over all dates."""
    return extracted(small_region, tmp_path_factory.mktemp("windows") / "set", str(small_region.period))


@pytest.fixture(scope="module")
def earlier(small_region: Region, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same windows over the first dates."""
    first, third = small_region.dates[0], small_region.dates[2]
    return extracted(small_region, tmp_path_factory.mktemp("earlier") / "set", f"{first}/{third}")


@pytest.fixture(scope="module")
def cloudy(small_region: Region, tmp_path_factory: pytest.TempPathFactory) -> BBox:
    """A tile that is about half under clouds on one date."""
    out, date = tmp_path_factory.mktemp("cloudy") / "scan", str(small_region.dates[CLOUDY])
    wanted = api.request(catalog=str(small_region.catalog), bbox=small_region.bbox, datetime=date)
    api.scan(wanted, out, SCAN)
    mosaic = xr.open_zarr(out / "mosaic.zarr", group="0")
    reason = mosaic.reason[0]
    shares = (reason == Reason.NEVER_CLEAR).coarsen(y=TILE, x=TILE, boundary="trim").mean()
    covered = (reason != Reason.NO_SCENE).coarsen(y=TILE, x=TILE, boundary="trim").min()
    row, col = np.unravel_index(np.abs(np.where(covered, shares, 9) - 0.5).argmin(), shares.shape)
    # Its middle, well inside of it.
    middle = (
        np.s_[row * TILE + TILE // 4 : (row + 1) * TILE - TILE // 4],
        np.s_[col * TILE + TILE // 4 : (col + 1) * TILE - TILE // 4],
    )
    to_degrees = Transformer.from_crs(mosaic.spatial_ref.attrs["crs_wkt"], "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(reason.x.values[middle[1]], reason.y.values[middle[0]]))
    return BBox.of((lon.min(), lat.min(), lon.max(), lat.max()))


def quick(preset: str, folder: Path, bands: tuple[str, ...]) -> TrainConfig:
    """The preset with fewer, shorter steps and a smaller network; SAM starts from random weights of its own size."""
    config = load_preset(preset)
    sizes = {**SMALLEST.get(config.family, {}), **(SMALL_TABLE if config.family in TABLE_FAMILIES else {})}
    config = config.replace({"hyperparameters": {**config.hyperparameters, **sizes}})
    if config.family in {*TABLE_FAMILIES, PROBE}:
        return config
    config = config.replace(SHORT)
    if config.family == "sam":
        config = config.replace({"patch": SIDE, "initial_weights": str(folder / "start.safetensors")})
        save_file(state_arrays(build_network(_untrained(config, bands))), folder / "start.safetensors")
    return config


def fitting(config: TrainConfig, windows: Dataset, earlier: Dataset) -> Dataset:
    """The set in the form that the preset was made for."""
    if any(band.startswith("t0_") for band in config.bands):
        windows = pairs(earlier, windows)
    if config.family in ARCHITECTURES and ARCHITECTURES[config.family].task == "chips":
        return chips(windows)
    if config.name == "gmd-unet3":
        return three_classes(windows)
    return called(windows, config.target) if config.target else windows


@pytest.mark.parametrize("preset", list_presets())
def test_a_preset_from_imagery_to_a_map(
    preset: str,
    windows: Dataset,
    earlier: Dataset,
    small_region: Region,
    cloudy: BBox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = quick(preset, tmp_path, windows.bands)
    dataset = fitting(config, windows, earlier)
    split = split_by(dataset, "site", (0.5, 0.25, 0.25))
    made = train(dataset, split, config, tmp_path / "training", device="cpu")
    assert made is not None
    assert {"val", "test", "training", "audit"} <= set(made.metrics)
    assert made.metrics["test"]["baselines"]
    package = repackage(made.folder, tmp_path / "package")
    assert package.digest == made.package.digest
    same_twice(made.package, package, monkeypatch)
    scanned(package, small_region, cloudy, tmp_path / "scan")


def same_twice(first: ModelPackage, second: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and predictions of two copies of a package, each loaded from its own files, are the same bits."""
    left, right = first.weights(), second.weights()
    assert set(left) == set(right) != set()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name])
    spec, scores = first.spec, []
    image = np.random.default_rng(0).uniform(0.01, 0.4, (1, len(spec.channels), SIDE, SIDE)).astype(np.float32)
    for package in (first, second):
        monkeypatch.setattr(predictors, "_CACHE", {})
        scores.append(load_predictor(package, "cpu").predict(image))
    assert scores[0].shape == (1, len(spec.classes), SIDE, SIDE)
    assert np.isfinite(scores[0]).all()
    np.testing.assert_array_equal(scores[0], scores[1])


def scanned(package: ModelPackage, region: Region, cloudy: BBox, out: Path) -> None:
    """A scan of one date has a probability where the ground was seen, and nowhere else."""
    wanted = api.request(
        catalog=str(region.catalog), bbox=cloudy, datetime=str(region.dates[CLOUDY]), model=package.path
    )
    if package.spec.dates != 1:
        with pytest.raises(ModelError, match="compares 2 dates"):
            api.plan(wanted, SCAN)
        return
    heard: list[Event] = []
    api.scan(wanted, out, SCAN, listeners=[heard.append])
    assert not [event.message for event in heard if isinstance(event, TileFailed)]
    mosaic = xr.open_zarr(out / "mosaic.zarr", group="0")
    probability = mosaic.probability.values
    seen = mosaic.clear_count.values > 0
    assert max(seen.shape) < 2 * TILE, "more of the region than this test needs"
    assert 0.1 < seen.mean() < 0.9
    np.testing.assert_array_equal(np.isfinite(probability), seen)
    assert ((probability[seen] >= 0) & (probability[seen] <= 1)).all()
    np.testing.assert_array_equal(mosaic.reason.values == Reason.SEEN, seen)


def test_every_family_that_is_trained_has_a_preset() -> None:
    assert {load_preset(name).family for name in list_presets()} == {*ARCHITECTURES, *TABLE_FAMILIES}


def test_two_dates_are_trained_and_judged_and_no_scan_takes_them(
    windows: Dataset,
    earlier: Dataset,
    small_region: Region,
    cloudy: BBox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = quick("amw_patchcnn", tmp_path, windows.bands)
    dataset = chips(pairs(earlier, windows))
    made = train(dataset, split_by(dataset, "site", (0.5, 0.25, 0.25)), config, tmp_path / "training", device="cpu")
    assert made is not None
    assert made.package.spec.dates == 2
    package = repackage(made.folder, tmp_path / "package")
    same_twice(made.package, package, monkeypatch)
    scanned(package, small_region, cloudy, tmp_path / "scan")


def _untrained(config: TrainConfig, bands: tuple[str, ...]) -> ModelSpec:
    """What a network of the preset's family and these bands is before any training."""
    return ModelSpec(
        name=config.name,
        version="0.0.0",
        family=config.family,
        bands=config.bands or bands,
        resolution=10.0,
        resolutions=(6.0, 15.0),
        classes=("background", "mining"),
        target="mining",
        threshold=0.5,
        patch=config.patch,
        mean=(0.1,) * len(config.bands or bands),
        std=(0.1,) * len(config.bands or bands),
        hyperparameters=dict(config.hyperparameters),
        licence="CC0-1.0",
    )
