"""The lazy cube: the same pixels as odc-stac and stackstac on the same scenes, and as the scan's composite."""

from __future__ import annotations

from typing import Any

import numpy as np
import odc.stac
import pystac
import pytest
import rioxarray  # noqa: F401 - registers .rio
import xarray as xr
from odc.geo.geobox import GeoBox

from minescale import open_cube
from minescale.config import load_config
from minescale.errors import NothingMatched, PlanTooLarge, UsageError
from minescale.grid import MosaicGrid, auto_crs
from minescale.synthetic import Region

BANDS = ("red", "nir", "swir16")


@pytest.fixture(scope="module")
def box(small_region: Region) -> GeoBox:
    crs = auto_crs(small_region.bbox)
    grid = MosaicGrid.around(small_region.bbox, crs=crs, resolution=10, tile_size=512)
    return grid.geobox[256:768, 200:840]


def _open(region: Region, box: GeoBox, **options: Any) -> xr.Dataset:
    return open_cube(
        geobox=box, datetime=region.period, bands=BANDS, catalog=str(region.catalog), chunk=256, **options
    )  # fmt: skip


def test_cube_is_lazy_and_described(small_region: Region, box: GeoBox, monkeypatch: pytest.MonkeyPatch) -> None:
    from minescale.sources.reader import Reader

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a pixel was read before it was asked for")

    with monkeypatch.context() as patched:
        patched.setattr(Reader, "read", fail)
        cube = _open(small_region, box)
    assert cube.reflectance.dims == ("time", "band", "y", "x")
    assert cube.reflectance.dtype == np.uint16
    assert list(cube.band.values) == list(BANDS)
    assert cube.sizes["time"] == len(small_region.dates)
    assert cube.rio.crs == box.crs.to_wkt()
    assert cube.odc.geobox == box
    assert cube.reflectance.attrs["units"] == "1e-4"


def test_parity_with_odc_stac(small_region: Region, box: GeoBox) -> None:
    """Two granules in two zones: identical where no scene is warped; elsewhere nearest pixels may differ at ties."""
    ours = _open(small_region, box).load()
    items = list(pystac.Catalog.from_file(str(small_region.catalog)).get_items(recursive=True))
    theirs = odc.stac.load(
        sorted(items, key=lambda i: (i.datetime, i.id)),
        bands=["B04", "B08", "B11", "SCL"],
        geobox=box,
        groupby="solar_day",
        resampling="nearest",
        dtype="uint16",
        nodata=0,
    )
    offsets = {str(i.datetime.date()): 1000 if float(i.properties["s2:processing_baseline"]) >= 4 else 0 for i in items}
    shift = np.array([offsets[str(t)[:10]] for t in theirs.time.values])[:, None, None]
    for band, asset in zip(BANDS, ("B04", "B08", "B11"), strict=True):
        dn = theirs[asset].values.astype(np.int64)
        expected = np.where(dn == 0, 0, np.maximum(dn - shift, 1))
        got = ours.reflectance.sel(band=band).values
        assert (got == expected).mean() > 0.99, band
        assert ((got == 0) == (expected == 0)).mean() > 0.999, band
    clear = np.isin(theirs.SCL.values, (2, 4, 5, 6, 7))
    assert ((ours.state.values == 1) == clear).mean() > 0.995


def test_parity_of_both_engines(small_region: Region, box: GeoBox) -> None:
    ours = _open(small_region, box).load()
    stackstac = _open(small_region, box, engine="stackstac").load()
    assert stackstac.reflectance.dims == ours.reflectance.dims
    assert stackstac.odc.geobox == ours.odc.geobox
    assert (stackstac.time.values == ours.time.values).all()
    assert (stackstac.reflectance.values == ours.reflectance.values).mean() > 0.99
    assert (stackstac.state.values == ours.state.values).mean() > 0.995


def test_engines_agree_to_the_pixel_on_one_grid(data_dir: object) -> None:
    """Real scenes of one granule: nothing is warped, so nothing may differ."""
    options: dict[str, Any] = {
        "bbox": (16.225, 50.985, 16.265, 51.01),
        "datetime": "2021/2023",
        "bands": ["blue", "nir", "swir16"],
        "catalog": f"{data_dir}/strzegom/catalog.json",
    }
    ours = open_cube(**options).load()
    stackstac = open_cube(**options, engine="stackstac").load()
    np.testing.assert_array_equal(ours.reflectance.values, stackstac.reflectance.values)


def test_composite_is_the_median_of_the_daily_cube(small_region: Region, box: GeoBox) -> None:
    plain = load_config(overrides={"mask.dilate_m": 0})
    daily = _open(small_region, box, config=plain).load()
    composite = _open(small_region, box, composite="median", config=plain).load()
    assert composite.sizes["time"] == 1
    clear = (daily.state == 1).values[:, None] & (daily.reflectance.values > 0)
    stack = np.where(clear, daily.reflectance.values.astype(float), np.nan)
    some = clear.any(axis=0)
    expected = np.zeros(some.shape)
    expected[some] = np.floor(np.nanmedian(stack[:, some], axis=0) + 0.5)
    np.testing.assert_array_equal(composite.reflectance.values[0], expected.astype(np.uint16))
    np.testing.assert_array_equal(composite.clear_count.values[0], (daily.state.values == 1).sum(axis=0))


@pytest.mark.parametrize("method", ["geomedian", "medoid", "percentile", "latest"])
def test_other_composites_come_from_clear_looks(small_region: Region, box: GeoBox, method: str) -> None:
    plain = load_config(overrides={"mask.dilate_m": 0, "composite.percentile": 25})
    small = box[0:128, 0:128]
    composite = _open(small_region, small, composite=method, config=plain).load().reflectance.values[0]
    daily = _open(small_region, small, config=plain).load()
    clear = (daily.state == 1).values[:, None] & (daily.reflectance.values > 0)
    values = daily.reflectance.values
    low = np.where(clear, values, 65535).min(axis=0)
    high = np.where(clear, values, 0).max(axis=0)
    seen = clear.all(axis=1).any(axis=0) & (composite > 0).all(axis=0)
    assert seen.mean() > 0.5
    assert ((composite >= low) & (composite <= high))[:, seen].all()


def test_stackstac_engine_composites_the_same(small_region: Region, box: GeoBox) -> None:
    plain = load_config(overrides={"mask.dilate_m": 0})
    ours = _open(small_region, box, composite="median", config=plain).load()
    theirs = _open(small_region, box, composite="median", engine="stackstac", config=plain).load()
    assert (ours.reflectance.values == theirs.reflectance.values).mean() > 0.99
    assert (ours.clear_count.values == theirs.clear_count.values).mean() > 0.99


def test_country_sized_graphs_are_refused(small_region: Region) -> None:
    with pytest.raises(PlanTooLarge, match="200,000"):
        open_cube(
            small_region.bbox, small_region.period, BANDS, str(small_region.catalog), chunk=4, resolution=10
        )  # fmt: skip


def test_bad_requests_are_explained(small_region: Region, box: GeoBox) -> None:
    with pytest.raises(UsageError, match="no band"):
        open_cube(geobox=box, datetime=small_region.period, bands=["thermal"], catalog=str(small_region.catalog))
    with pytest.raises(UsageError, match="engine"):
        _open(small_region, box, engine="gdal")
    with pytest.raises(UsageError, match="area"):
        open_cube(datetime=small_region.period, catalog=str(small_region.catalog))
    with pytest.raises(NothingMatched):
        open_cube(small_region.bbox, "2019", BANDS, str(small_region.catalog))
