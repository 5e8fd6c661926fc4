"""Equations 1 to 4, the band orders they need, and the checks before them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from minescale.errors import UsageError
from minescale.labels.rasters.band_order import BAND_ORDERS, CLOUD, band_names, position
from minescale.labels.rasters.threeclass import (
    base_mask,
    binary_label,
    cloud_from_band,
    cloud_from_quality,
    ndvi,
    with_clouds,
    without_vegetation,
)
from minescale.labels.sets.classes import BINARY, IGNORE, THREE_CLASS
from tests.labels.shapes import grid, polygons


def test_r003_the_base_mask_is_two_inside_the_union() -> None:
    """R003: exact, counted by hand; overlapping polygons give 2, not 4."""
    x, y = 500_000, 5_600_000
    shapes = polygons(box(x, y - 20, x + 20, y), box(x + 10, y - 30, x + 30, y - 10))
    mask = base_mask(shapes, grid(4, 4))
    np.testing.assert_array_equal(mask, [[2, 2, 0, 0], [2, 2, 2, 0], [0, 2, 2, 0], [0, 0, 0, 0]])
    assert mask.dtype == np.uint8


def test_r004_ndvi_equals_the_formula() -> None:
    """R004: to 1e-6; 0/0 is NaN."""
    rng = np.random.default_rng(0)
    nir, red = rng.integers(0, 10_000, (2, 40, 50)).astype(np.uint16)
    nir[0, 0] = red[0, 0] = 0
    with np.errstate(invalid="ignore"):
        expected = (nir.astype(float) - red) / (nir.astype(float) + red)
    np.testing.assert_allclose(ndvi(nir, red), expected, atol=1e-6, equal_nan=True)
    assert np.isnan(ndvi(nir, red)[0, 0])
    np.testing.assert_allclose(ndvi(nir / 1e4, red / 1e4), expected, atol=1e-6, equal_nan=True)


def test_r004_unknown_ndvi_keeps_the_base_mask() -> None:
    mask = np.array([[2, 0]], np.uint8)
    np.testing.assert_array_equal(without_vegetation(mask, np.array([[np.nan, np.nan]], np.float32)), mask)


def test_r005_the_limit_itself_stays_mining() -> None:
    """R005: strictly greener than 0.5; the limit is a parameter."""
    mask = np.full((1, 4), 2, np.uint8)
    greenness = np.array([[0.5, 0.5000001, 0.9, -1]], np.float32)
    assert without_vegetation(mask, greenness).tolist() == [[2, 0, 0, 2]]
    assert without_vegetation(mask, greenness, 0.8).tolist() == [[2, 2, 0, 2]]
    # A pixel of 3 : 1 is exactly 0.5.
    assert without_vegetation(mask, ndvi(np.full((1, 4), 3), np.full((1, 4), 1))).tolist() == [[2, 2, 2, 2]]
    with pytest.raises(UsageError, match="-1 to 1"):
        without_vegetation(mask, greenness, 50)


def test_r006_clouds_win_over_mining_over_background() -> None:
    """R006: all eight combinations of mine, vegetation and cloud."""
    table = np.array(list(product([0, 1], repeat=3)))
    mine, green, cloud = (column[None] for column in table.T)
    mask = without_vegetation(np.where(mine, 2, 0).astype(np.uint8), np.where(green, 0.8, 0.1).astype(np.float32))
    label = with_clouds(mask, cloud.astype(bool))
    assert label.tolist() == [[0, 1, 0, 1, 2, 1, 0, 1]]
    assert [THREE_CLASS.names[v] for v in (0, 1, 2)] == ["background", "cloud", "mining"]


@pytest.mark.parametrize("values", [[0, 255], [0, 1, 2], [0.0, 0.5, 1.0], [21824, 22280]], ids=str)
def test_r007_cloud_bands_that_are_not_binary_are_refused(values: list[float]) -> None:
    """R007: the offending values are named."""
    strange = next(f"{v:g}" for v in values if v not in (0, 1))
    with pytest.raises(UsageError, match=strange):
        cloud_from_band(np.array([values]), "image.tif")


def test_r007_binary_cloud_bands_pass() -> None:
    assert cloud_from_band(np.array([[0, 1, 0]], np.uint16), "x").tolist() == [[False, True, False]]
    assert not cloud_from_band(np.zeros((2, 2)), "x").any()


def test_r007_quality_bands_are_mapped_when_named() -> None:
    # QA_PIXEL: clear, cloud (bit 3), cloud shadow (bit 4), snow (bit 5), fill (bit 0).
    flags = np.array([[21824, 1 << 3, 1 << 4, 1 << 5, 1]], np.uint16)
    assert cloud_from_quality(flags, "landsat-c2-l2").tolist() == [[False, True, True, False, False]]
    classes = np.array([[0, 3, 4, 5, 8, 9, 10, 11]], np.uint8)
    assert cloud_from_quality(classes, "sentinel-2-l2a").tolist() == [[False, True, False, False, *[True] * 3, False]]
    with pytest.raises(UsageError, match="unknown sensor"):
        cloud_from_quality(flags, "modis")
    with pytest.raises(UsageError, match="no quality band"):
        cloud_from_quality(np.array([[0.5]]), "landsat-c2-l2")


@pytest.mark.parametrize(("order", "nir", "red"), [("tm", 4, 3), ("oli", 5, 4), ("sentinel-2", 8, 4)])
def test_f01_band_numbers_mean_what_the_sensor_says(order: str, nir: int, red: int) -> None:
    """F01: NIR is band 4 on TM and ETM+ and band 5 on OLI; R004: resolved by name."""
    names = band_names([None] * (len(BAND_ORDERS[order]) + 1), order)
    assert (position(names, "nir") + 1, position(names, "red") + 1) == (nir, red)
    assert names[-1] == CLOUD
    assert band_names([None] * len(BAND_ORDERS[order]), order) == BAND_ORDERS[order]


def test_f01_numbers_without_an_order_are_refused() -> None:
    for descriptions in ([None] * 8, ["B1", "B2", "B3"], ["red", "red", "nir"]):
        with pytest.raises(UsageError, match="band order"):
            band_names(descriptions)
    with pytest.raises(UsageError, match="tm"):
        band_names([None] * 8, "spot")
    with pytest.raises(UsageError, match="5 bands"):
        band_names([None] * 5, "tm")


def test_f01_names_in_the_file_are_used_and_never_contradicted() -> None:
    names = band_names(["Red", "NIR", "SWIR1", "cloud"])
    assert names == ("red", "nir", "swir16", "cloud")
    assert position(names, "nir08") == 1
    with pytest.raises(UsageError, match="lacks a band"):
        position(names, "blue")
    with pytest.raises(UsageError, match="contradicts"):
        band_names(list(BAND_ORDERS["oli"]), "tm")


def test_f47_nothing_here_says_what_is_allowed() -> None:
    """F46, F47: imagery shows mining, not who may do it; no code, command or page about labels claims more."""
    root = Path(__file__).parents[2]
    files = [*(root / "minescale" / "labels").rglob("*.py"), *(root / "minescale" / "cli" / "dataset").rglob("*.py")]
    files += (root / "docs" / "datasets").rglob("*.md")
    assert len(files) > 20
    word = "il" + "legal"
    assert [f.name for f in files if word in f.read_text(encoding="utf-8").casefold()] == []


def test_binary_labels_ignore_clouds_and_edges() -> None:
    """F19: the same evidence in two classes, with what is doubtful left out."""
    x, y = 500_000, 5_600_000
    pit, geobox = polygons(box(x, y - 100, x + 100, y)), grid(10, 20)
    cloud = np.zeros((10, 20), bool)
    cloud[0, 0] = cloud[0, 19] = True
    label = binary_label(base_mask(pit, geobox), cloud)
    assert np.bincount(label.ravel(), minlength=256)[[0, 1, IGNORE]].tolist() == [99, 99, 2]
    banded = binary_label(base_mask(pit, geobox), cloud, pit, geobox, edge_m=10)
    assert (banded[1:9, 1:9] == 1).all()
    assert (banded[1:9, 9:11] == IGNORE).all()
    BINARY.check(banded, "label")
