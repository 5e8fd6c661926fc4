"""Landsat 5, 7 and 8 as one stack of the same names."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.errors import NothingMatched, StoreError, UsageError
from minescale.labels.rasters.band_order import band_names
from minescale.labels.rasters.landsat import BANDS, THERMAL_ASSETS, read_stack, thermal_asset, write_site, write_stack
from minescale.sources.items import scene_from_item

CRS, TRANSFORM = "EPSG:32633", Affine(30, 0, 500_010, 0, -30, 5_600_010)
GRID = GeoBox((20, 24), TRANSFORM, CRS)
REFLECTANCE = {"blue": 0.05, "green": 0.08, "red": 0.11, "nir08": 0.25, "swir16": 0.30, "swir22": 0.20}
KELVIN = 301.37


def raster(path: Path, values: NDArray[np.uint16]) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", height=20, width=24, count=1, dtype="uint16", crs=CRS, transform=TRANSFORM
    ) as image:
        image.write(values, 1)
    return str(path)


def item(folder: Path, satellite: int, *, day: int = 4, skip: tuple[str, ...] = ()) -> pystac.Item:
    """An item as catalogues publish it: another key for the thermal band of TM and ETM+ than for TIRS."""
    name = f"L{'C' if satellite > 7 else 'T' if satellite < 7 else 'E'}0{satellite}_L2SP_202033_2010{day:02d}"
    made = pystac.Item(
        id=name,
        geometry={"type": "Polygon", "coordinates": [[[14, 50], [16, 50], [16, 51], [14, 51], [14, 50]]]},
        bbox=[14, 50, 16, 51],
        datetime=dt.datetime(2010, 3, day, tzinfo=dt.UTC),
        properties={"platform": f"landsat-{satellite}", "proj:epsg": 32633, "landsat:collection_number": "02"},
        collection="landsat-c2-l2",
    )
    dn = {band: np.full((20, 24), round((value + 0.2) / 2.75e-5), np.uint16) for band, value in REFLECTANCE.items()}
    dn["lwir11" if satellite > 7 else "lwir"] = np.full((20, 24), round((KELVIN - 149) / 0.00341802), np.uint16)
    if satellite > 7:
        dn["coastal"] = dn["blue"]
    quality = np.full((20, 24), 21824, np.uint16)
    quality[0, :4] = 1 << 3  # cloud
    quality[1, :2] = 1 << 4  # its shadow
    quality[2, :3] = 1  # fill
    dn["qa_pixel"] = quality
    dn["red"][5, 5] = 0  # a gap in one band
    for band, values in dn.items():
        if band not in skip:
            made.add_asset(band, pystac.Asset(raster(folder / f"{name}_{band}.tif", values), media_type="image/tiff"))
    return made


@pytest.mark.parametrize("satellite", [5, 7, 8])
def test_r021_every_sensor_gives_the_same_named_stack(tmp_path: Path, satellite: int) -> None:
    """R021; F01: names and units do not depend on whose band 4 it is."""
    stack = read_stack(item(tmp_path, satellite), GRID)
    assert stack.pixels.shape == (8, 20, 24)
    assert BANDS == ("blue", "green", "red", "nir08", "swir16", "lwir", "swir22", "cloud")
    seen = dict(zip(BANDS, stack.pixels[:, 10, 10].tolist(), strict=True))
    for band, value in REFLECTANCE.items():
        assert seen[band] == pytest.approx(value * 1e4, abs=1)
    assert seen["lwir"] == pytest.approx(KELVIN * 100, abs=1)
    assert stack.platform == f"landsat-{satellite}"
    cloud = stack.pixels[-1]
    assert cloud.sum() == 6
    assert cloud[0, :4].all()
    assert cloud[1, :2].all()
    for row, col in ((2, 0), (5, 5)):
        assert not stack.pixels[:, row, col].any(), "what lacks one band lacks all"


def test_r021_stacks_are_written_with_their_names(tmp_path: Path) -> None:
    stack = read_stack(item(tmp_path, 7), GRID)
    path = write_stack(stack, GRID, tmp_path / "out" / "a.tif")
    with rasterio.open(path) as image:
        np.testing.assert_array_equal(image.read(), stack.pixels)
        assert band_names(image.descriptions, "tm") == band_names(image.descriptions) == BANDS
        assert (image.transform, image.crs.to_epsg(), image.nodata) == (TRANSFORM, 32633, 0)
        assert image.tags()["date"] == "2010-03-04"
    assert [p.name for p in path.parent.iterdir()] == ["a.tif"]
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="cannot write"):
        write_stack(stack, GRID, tmp_path / "taken" / "a.tif")


def test_r021_a_site_has_many_dates(tmp_path: Path) -> None:
    items = [item(tmp_path, 5, day=4), item(tmp_path, 7, day=12), item(tmp_path, 8, day=20)]
    written = write_site(items, GRID, "ofin_agm_region_1", tmp_path / "site")
    assert [p.name for p in written] == [
        "ofin_agm_region_1_20100304_landsat-5.tif",
        "ofin_agm_region_1_20100312_landsat-7.tif",
        "ofin_agm_region_1_20100320_landsat-8.tif",
    ]
    before = [p.stat().st_mtime_ns for p in written]
    assert [p.stat().st_mtime_ns for p in write_site(items, GRID, "ofin_agm_region_1", tmp_path / "site")] == before
    away = GeoBox((20, 24), Affine(30, 0, 400_020, 0, -30, 5_600_010), CRS)
    assert write_site(items, away, "elsewhere", tmp_path / "site") == []


def test_r021_items_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no surface temperature"):
        read_stack(item(tmp_path, 8, skip=("lwir11",)), GRID)
    with pytest.raises(UsageError, match="no quality band"):
        read_stack(item(tmp_path, 8, skip=("qa_pixel",)), GRID)
    with pytest.raises(UsageError, match="lacks a band"):
        read_stack(item(tmp_path, 8, skip=("red",)), GRID)
    other = item(tmp_path, 8)
    other.collection_id = "sentinel-2-l2a"
    other.add_asset("B04", pystac.Asset(str(tmp_path / "b4.tif")))
    with pytest.raises(UsageError, match="is not Landsat"):
        read_stack(other, GRID)
    odd = item(tmp_path, 7)
    odd.assets["lwir"].extra_fields["raster:bands"] = [{"scale": 0.1, "offset": 0.0}]
    with pytest.raises(UsageError, match="unknown scale"):
        read_stack(odd, GRID)
    with pytest.raises(NothingMatched, match="no pixel on the grid"):
        read_stack(item(tmp_path, 7), GeoBox((4, 4), Affine(30, 0, 400_020, 0, -30, 5_600_010), CRS))
    broken = item(tmp_path, 5)
    Path(broken.assets["blue"].href).write_bytes(b"no tiff")
    with pytest.raises(StoreError, match="cannot read blue"):
        read_stack(broken, GRID)


def test_r021_real_items_of_three_satellites_have_the_bands(data_dir: Path) -> None:
    columns = pq.read_table(data_dir / "stac" / "pc_landsat-c2-l2_100_items.parquet").to_pylist()
    seen = set()
    for row in columns:
        assets = {key: asset for key, asset in row["assets"].items() if asset}
        made = pystac.Item(
            id=row["id"], geometry=None, bbox=list(row["bbox"].values()), datetime=row["datetime"],
            properties={"platform": row["platform"], "proj:code": "EPSG:32633", "landsat:collection_number": "02"},
            collection="landsat-c2-l2",
        )  # fmt: skip
        for key, asset in assets.items():
            made.add_asset(key, pystac.Asset(asset["href"], media_type=asset.get("type")))
        scene = scene_from_item(made, "planetary-computer")
        assert set(BANDS) - {"lwir", "cloud"} <= set(scene.bands)
        assert scene.has_mask
        assert thermal_asset(made).href.endswith(("ST_B10.TIF", "ST_B6.TIF"))
        seen.add(row["platform"])
    assert seen == {"landsat-7", "landsat-8", "landsat-9"}


def test_r021_real_earth_search_items_name_their_scale(data_dir: Path) -> None:
    answer = json.loads((data_dir / "stac" / "earth-search_aws_element84_com__landsat-c2-l2_items.json").read_text())
    found = [f for f in answer["features"] if any(key in f["assets"] for key in THERMAL_ASSETS)]
    assert found
    for feature in found:
        assert thermal_asset(pystac.Item.from_dict(feature)).scale == pytest.approx(0.00341802 / 100)
