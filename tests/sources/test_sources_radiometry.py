"""Every catalogue's items resolve to the right scale and offset (rows R158, F48)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

from minescale.errors import MinescaleError, RadiometryError
from minescale.kernels.scaling import reflectance_table
from minescale.sensors import MASK
from minescale.sources.items import scene_from_item
from minescale.sources.probe import probe_offset
from minescale.sources.radiometry import parse_baseline, resolve

PC, ES = "planetary-computer", "earth-search"
S2 = 1e-4
LANDSAT = (2.75e-5, -0.2)

# file, provider, {baseline prefix: offset}
FIXTURES = [
    ("planetarycomputer_microsoft_com__sentinel-2-l2a_items.json", PC, {"02": 0.0, "04": -0.1, "05": -0.1}),
    ("items-page-1.json", PC, {"04": -0.1}),
    ("items-page-2.json", PC, {"04": -0.1}),
    ("search-page-1.json", PC, {"04": -0.1}),
    ("search-page-2.json", PC, {"04": -0.1}),
    ("earth-search_aws_element84_com__sentinel-2-l2a_items.json", ES, {"05": 0.0}),
    ("earth-search_aws_element84_com__sentinel-2-c1-l2a_items.json", ES, {"05": -0.1}),
    ("earthsearch_v1_sentinel-2-c1-l2a_10_items.json", ES, {"05": -0.1}),
    ("earth-search_aws_element84_comv0__sentinel-s2-l2a-cogs_items.json", ES, {"05": 0.0}),
    ("odc_stac/S2A_28QCH_20200714_0_L2A.json", ES, {"02": 0.0}),
    ("odc_stac/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json", PC, {"02": 0.0}),
    ("odc_stac/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531_raster_ext.json", PC, {"02": 0.0}),
    ("odc_stac/site1-20200606-tall-strip-africa.geojson", PC, {"02": 0.0}),
    ("odc_stac/site2-2020_jun_jul-35MNM.geojson", PC, {"02": 0.0}),
]
LANDSAT_FIXTURES = [
    ("planetarycomputer_microsoft_com__landsat-c2-l2_items.json", PC),
    ("planetarycomputer_microsoft_com__landsat-8-c2-l2_items.json", PC),
    ("earth-search_aws_element84_com__landsat-c2-l2_items.json", ES),
    ("odc_stac/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json", "other"),
    ("odc_stac/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json", "other"),
]


def items(path: Path) -> list[pystac.Item]:
    document = json.loads(path.read_text())
    return [pystac.Item.from_dict(node) for node in document.get("features", [document])]


@pytest.mark.parametrize(("name", "provider", "offsets"), FIXTURES, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("known_provider", [True, False])
def test_sentinel2_fixtures(data_dir, name, provider, offsets, known_provider):
    """Also from a copy whose provider nobody names: the hosts tell."""
    for item in items(data_dir / "stac" / name):
        scene = scene_from_item(item, provider if known_provider else "other")
        assert scene.baseline is not None
        expected = offsets[scene.baseline[:2]]
        reflectance = {k: a for k, a in scene.bands.items() if k != MASK}
        assert {(a.scale, a.offset, a.nodata) for a in reflectance.values()} == {(S2, expected, 0)}
        assert scene.provider == provider
        assert {"blue", "green", "red", "nir", "nir08", "swir16", "swir22", MASK} <= set(scene.bands)
        assert scene.crs.startswith("EPSG:327") or scene.crs.startswith("EPSG:326")
        assert len(scene.grid_tile or "") == 5
        assert scene.platform in {"sentinel-2a", "sentinel-2b"}
        assert all("?" not in a.href for a in scene.bands.values())
        assert reflectance["nir08"].shape == (5490, 5490)
        assert reflectance["red"].shape == (10980, 10980)


@pytest.mark.parametrize(("name", "provider"), LANDSAT_FIXTURES, ids=lambda v: str(v)[:40])
def test_landsat_fixtures(data_dir, name, provider):
    for item in items(data_dir / "stac" / name):
        scene = scene_from_item(item, provider)
        reflectance = {k: a for k, a in scene.bands.items() if k != MASK}
        assert {"blue", "green", "red", "nir08", "swir16", "swir22"} <= set(reflectance)
        assert {(a.scale, a.offset, a.nodata) for a in reflectance.values()} == {(*LANDSAT, 0)}
        assert scene.bands[MASK].nodata is None
        assert scene.has_mask
        assert scene.platform.startswith("landsat-")
        assert len(scene.grid_tile or "") == 6


@pytest.mark.parametrize(
    "name",
    [
        "earth-search_aws_element84_com__sentinel-2-l1c_items.json",
        "planetarycomputer_microsoft_com__landsat-c2-l1_items.json",
        "raw_githubusercontent_com__landsat-8-l1_items.json",
        "odc_stac/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json",
        "odc_stac/lidar_dem.json",
        "odc_stac/only_crs_proj.json",
    ],
)
def test_other_products_are_refused(data_dir, name):
    """Top-of-atmosphere and foreign products have no rule, and get none by accident."""
    for item in items(data_dir / "stac" / name):
        with pytest.raises(MinescaleError):
            scene_from_item(item, "other")


@pytest.mark.parametrize(
    ("provider", "collection", "properties", "band", "baseline", "offset"),
    [
        ("other", "sentinel-2-l2a", {}, None, "03.00", 0.0),
        ("other", "sentinel-2-l2a", {}, None, "04.00", -0.1),
        ("other", "sentinel-2-l2a", {}, None, "N0511", -0.1),
        ("other", "sentinel-2-l2a", {}, {"scale": 1e-4, "offset": 0.0, "nodata": 0}, "harmonised", 0.0),
        ("other", "sentinel-2-l2a", {}, {"scale": 1e-4}, None, 0.0),
        ("other", "sentinel-2-l2a", {}, {"nodata": 0, "data_type": "uint16"}, "05.00", -0.1),
        ("demo", "sentinel-2-l2a", {}, {"scale": 1e-4, "offset": -0.1}, "04.00", -0.1),
        (ES, "sentinel-2-l2a", {"earthsearch:boa_offset_applied": True}, {"scale": 1e-4, "offset": -0.1}, "05.11", 0.0),
        (ES, "sentinel-2-l2a", {"earthsearch:boa_offset_applied": False}, {"scale": 1e-4, "offset": 0}, "05.09", -0.1),
        (ES, "sentinel-2-l2a", {"earthsearch:boa_offset_applied": False}, {"scale": 1e-4, "offset": 0}, "02.14", 0.0),
        (ES, "sentinel-2-pre-c1-l2a", {"earthsearch:boa_offset_applied": True}, {"scale": 1e-4}, "04.00", 0.0),
        (ES, "sentinel-2-l2a", {}, {"scale": 1e-4, "offset": -0.1}, "02.14", 0.0),
        (ES, "sentinel-2-c1-l2a", {}, {"scale": 1e-4, "offset": -0.1}, "05.00", -0.1),
        (ES, "sentinel-2-c1-l2a", {}, None, None, -0.1),
    ],
)
def test_the_table(provider, collection, properties, band, baseline, offset):
    found = resolve(provider, collection, properties, band, baseline)
    assert (found.scale, found.offset, found.nodata) == (S2, offset, 0)
    assert found.rule


@pytest.mark.parametrize(
    ("collection", "properties", "band", "baseline"),
    [
        ("sentinel-2-l2a", {}, None, None),
        ("sentinel-2-l2a", {}, None, "harmonised"),
        ("sentinel-2-l2a", {}, {"scale": 1e-4, "offset": -0.25}, "harmonised"),
        ("sentinel-2-l2a", {}, {"scale": 1.0, "offset": 0.0}, "04.00"),
        ("landsat-c2-l2", {"landsat:collection_number": "01"}, None, None),
        ("landsat-c2-l2", {}, {"scale": 0.00341802, "offset": 149.0}, None),
    ],
)
def test_uncertainty_is_an_error(collection, properties, band, baseline):
    with pytest.raises(RadiometryError):
        resolve("other", collection, properties, band, baseline)


def test_baselines_are_read():
    assert parse_baseline("05.11") == parse_baseline("N0511") == (5, 11)
    assert parse_baseline("harmonised") is None
    assert parse_baseline(None) is None
    assert parse_baseline("99.99") == (99, 99)


def strzegom(data_dir: Path) -> dict[str, pystac.Item]:
    return {p.stem[-8:]: pystac.Item.from_file(str(p)) for p in (data_dir / "strzegom/items").glob("*.json")}


def test_strzegom_2021_and_2022_agree(data_dir):
    """Summer reflectance of one place before and after baseline 04.00; wrong offsets part them by 0.1."""
    medians = {}
    for day in ("20210619", "20220619"):
        scene = scene_from_item(strzegom(data_dir)[day], "other")
        for band in ("green", "red", "swir16"):
            asset = scene.bands[band]
            with rasterio.open(asset.href) as image:
                dn = image.read(1)
            values = reflectance_table(asset.scale, asset.offset, asset.nodata)[dn]
            medians[day, band] = float(np.median(values[values > 0]))
    for band in ("green", "red", "swir16"):
        assert abs(medians["20210619", band] - medians["20220619", band]) < 300


@pytest.mark.parametrize(("day", "truth"), [("20210619", 0.0), ("20220619", -0.1), ("20220719", -0.1)])
def test_probe_on_real_pixels(data_dir, day, truth):
    scene = scene_from_item(strzegom(data_dir)[day], "other")
    with rasterio.open(scene.bands["red"].href) as image:
        dn = image.read(1)
    for offset in (0.0, -0.1):
        verdict = probe_offset(dn, scale=1e-4, offset=offset)
        assert verdict is not None
        assert verdict.contradicts == (offset != truth)
        assert verdict.implied_offset == pytest.approx(truth)


def test_probe_is_silent_where_it_cannot_tell():
    bright = np.full((300, 300), 5000, np.uint16)
    assert probe_offset(bright[:10, :10], scale=1e-4, offset=-0.1) is None
    assert probe_offset(bright, scale=2.75e-5, offset=-0.2) is None
    verdict = probe_offset(bright, scale=1e-4, offset=0.0)
    assert verdict is not None
    assert not verdict.contradicts
    small = np.full((100, 100), 1200, np.uint16)
    verdict = probe_offset(small, scale=1e-4, offset=0.0)
    assert verdict is not None
    assert not verdict.contradicts
