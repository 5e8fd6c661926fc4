"""The truth that a demo scan is held against."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio

from minescale.errors import UsageError
from minescale.grid import MosaicGrid, auto_crs
from minescale.models.package import load_package, write_package
from minescale.outputs.demo_score import BEST_INDEX, packaged_choice, region_truth
from minescale.outputs.index_baseline import IndexChoice
from minescale.synthetic import Region
from minescale.types import Period


@pytest.fixture
def grid(small_region: Region) -> MosaicGrid:
    crs = auto_crs(small_region.bbox)
    return MosaicGrid.around(small_region.bbox, crs=crs, resolution=10.0, tile_size=256)


def test_truth_is_the_raster_on_the_same_lattice(small_region: Region, grid: MosaicGrid) -> None:
    with rasterio.open(small_region.truth_raster) as source:
        stored = source.read(1)
        assert source.transform == grid.geobox.transform
    with warnings.catch_warnings(action="error"):
        mined, valid, middle, late = region_truth(small_region, grid, small_region.period)
    n = len(small_region.dates)
    half = (n - 1) // 2 + 1
    assert middle == small_region.dates[half - 1]
    assert (mined == ((stored > 0) & (stored <= half))).all()
    assert (late == (stored > half)).all()
    assert (valid == ~late).all()


def test_only_the_period_counts_and_outside_nothing_is_known(small_region: Region, grid: MosaicGrid) -> None:
    first = Period.parse(f"{small_region.dates[0]}")
    mined, valid, middle, late = region_truth(small_region, grid, first)
    assert middle == small_region.dates[0]
    assert not late.any()
    assert valid.all()
    with rasterio.open(small_region.truth_raster) as source:
        assert (mined == (source.read(1) == 1)).all()
    wide = MosaicGrid(
        crs=grid.crs,
        resolution=10.0,
        left=grid.left - 800,
        top=grid.top,
        shape=(grid.shape[0], grid.shape[1] + 80),
        tile_size=256,
    )
    shifted, valid, _, _ = region_truth(small_region, wide, first)
    assert not valid[:, :80].any()
    assert (shifted[:, 80:] == mined).all()
    assert not shifted[:, :80].any()


def test_packaged_choice_is_the_one_in_the_metrics(tmp_path: Path) -> None:
    spec = load_package("baseline").spec
    choice = {"index": "NDVI", "direction": "<=", "threshold": 0.25, "f1": 0.1}
    write_package(tmp_path / "with", spec, None, card="x", metrics={"training": {BEST_INDEX: choice}, "other": {}})
    write_package(tmp_path / "odd", spec, None, card="x", metrics={"training": {BEST_INDEX: {"index": "NDVI"}}})
    write_package(tmp_path / "without", spec, None, card="x", metrics={"test": {"f1": 0.3}})
    assert packaged_choice(str(tmp_path / "with")) == IndexChoice(index="NDVI", direction="<=", threshold=0.25)
    assert packaged_choice(str(tmp_path / "without")) is None
    with pytest.raises(UsageError, match="not understood"):
        packaged_choice(str(tmp_path / "odd"))


@pytest.mark.parametrize(("index", "sign"), [("NDTI", 1), ("-NDVI", -1)])
def test_choice_scored_as_a_probability_calls_the_same_pixels(index: str, sign: int) -> None:
    values = np.linspace(-1, 1, 5001).astype(np.float32)
    codes = np.rint((sign * values + 1) / 2 * 250)
    choice = IndexChoice.from_metrics({"index": index, "threshold": 140 / 250})
    call = values > choice.threshold if choice.direction == ">" else values <= choice.threshold
    assert (call == (codes >= 140)).mean() > 0.999
    assert choice.index == index.removeprefix("-")
