"""Percentiles of a band's clear looks beside its composite: right, and read once."""

from __future__ import annotations

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig, load_config
from minescale.cube import rooms
from minescale.cube.api import open_cube
from minescale.cube.compose import Composite, compose
from minescale.errors import UsageError
from minescale.grid import MosaicGrid, auto_crs
from minescale.kernels.composite import METHODS
from minescale.sensors import SENTINEL2_L2A
from minescale.sources.catalogs import search
from minescale.sources.freeze import freeze
from minescale.sources.reader import Reader
from minescale.sources.scenes import Scene
from minescale.synthetic import Region

BANDS = ("red", "nir", "swir16")
CHANNELS = ("nir:p90", "red", "red:p10", "swir16:p50", "nir", "red:p0", "swir16")


@pytest.fixture(scope="module")
def scenes(small_region: Region) -> tuple[Scene, ...]:
    found = search(str(small_region.catalog), bbox=small_region.bbox, period=small_region.period)
    return freeze(found, bands=BANDS).scenes


@pytest.fixture(scope="module")
def box(small_region: Region) -> GeoBox:
    """Half of it lies in the other zone."""
    grid = MosaicGrid.around(small_region.bbox, crs=auto_crs(small_region.bbox), resolution=10, tile_size=512)
    return grid.geobox[300:512, 260:700]


def made(scenes: tuple[Scene, ...], box: GeoBox, channels: tuple[str, ...], method: str) -> Composite:
    config = CompositeConfig(method=method)  # type: ignore[arg-type]
    return compose(scenes, box, channels, sensor=SENTINEL2_L2A, reader=Reader(), composite=config)


@pytest.mark.parametrize("method", METHODS)
def test_channels_of_a_band_share_its_reads(
    scenes: tuple[Scene, ...], box: GeoBox, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain bands are what they are without statistics, and statistics what a percentile composite is."""
    plain = made(scenes, box, ("red", "nir", "swir16"), method)
    found = made(scenes, box, CHANNELS, method)
    assert found.bands == CHANNELS
    assert (found.requests, found.bytes_read) == (plain.requests, plain.bytes_read)
    np.testing.assert_array_equal(found.reason, plain.reason)
    by_name = dict(zip(CHANNELS, found.data, strict=True))
    for band, image in zip(plain.bands, plain.data, strict=True):
        np.testing.assert_array_equal(by_name[band], image)
    for name in (name for name in CHANNELS if ":" in name):
        band, _, statistic = name.partition(":")
        config = CompositeConfig(method="percentile", percentile=float(statistic[1:]))
        alone = compose(scenes, box, (band,), sensor=SENTINEL2_L2A, reader=Reader(), composite=config)
        np.testing.assert_array_equal(by_name[name], alone.data[0])
    monkeypatch.setattr(rooms, "BUDGET", 1 << 20)
    np.testing.assert_array_equal(made(scenes, box, CHANNELS, method).data, found.data)


@pytest.mark.parametrize("method", ["median", "geomedian"])
def test_only_statistics(scenes: tuple[Scene, ...], box: GeoBox, method: str) -> None:
    """No band is left for the scan's own method, and a joint one joins those that are."""
    both = made(scenes, box, ("red:p10", "red:p90"), method)
    assert (both.data[0] <= both.data[1]).all()
    assert (both.data[0] < both.data[1]).any()
    alone = made(scenes, box, ("nir", "red"), "geomedian")
    np.testing.assert_array_equal(made(scenes, box, ("nir", "swir16:p20", "red"), "geomedian").data[::2], alone.data)


def test_percentiles_are_those_of_the_clear_looks(small_region: Region, scenes: tuple[Scene, ...], box: GeoBox) -> None:
    plain = load_config(overrides={"mask.dilate_m": 0})
    daily = open_cube(
        catalog=str(small_region.catalog), geobox=box, datetime=small_region.period, bands=("nir",), config=plain
    ).load()
    looks = np.where((daily.state == 1).values, daily.reflectance.values[:, 0], 0).astype(float)
    looks[looks == 0] = np.nan
    got = compose(scenes, box, ("nir:p10", "nir:p90"), sensor=SENTINEL2_L2A, reader=Reader(), mask=plain.mask).data
    seen = ~np.isnan(looks).all(axis=0)
    assert seen.mean() > 0.5
    for q, image in zip((10, 90), got, strict=True):
        expected = np.floor(np.nanpercentile(looks[:, seen], q, axis=0) + 0.5)
        np.testing.assert_array_equal(image[seen], expected)
        assert (image[~seen] == 0).all()


def test_unknown_statistics_are_refused(scenes: tuple[Scene, ...], box: GeoBox) -> None:
    with pytest.raises(UsageError, match="p0 to p100"):
        made(scenes, box, ("nir:max",), "median")
