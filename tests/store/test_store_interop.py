"""The store opens in other people's software with the right place and the right values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401 - registers .odc
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers .rio
import xarray as xr
import zarr_cm
from store_writer import LAEA, record_all, small_layout, tile_for

from minescale.grid import resolve_crs
from minescale.store.codes import decode_probability
from minescale.store.finalise import finalise
from minescale.store.layout import MosaicLayout
from minescale.store.template import create_mosaic
from minescale.types import BBox, Reason, TileKey

KEY = TileKey(0, 0, 1)
CRSES = {"utm": "EPSG:32630", "laea": resolve_crs(LAEA, BBox(-2, 5, 0, 8)), "degrees": "EPSG:4326"}


@pytest.fixture(scope="module", params=list(CRSES))
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MosaicLayout]:
    """A finished store with one written tile in period 0."""
    path = tmp_path_factory.mktemp(request.param) / "mosaic.zarr"
    layout = small_layout(crs=CRSES[request.param], provenance={"version": "1", "run_id": "r"})
    if request.param == "degrees":
        values = layout.to_dict()
        values["grid"] |= {"resolution": 0.0001, "left": -2.0, "top": 8.0}
        layout = MosaicLayout.from_dict(values)
    create_mosaic(path, layout).write_tile(0, KEY, tile_for(layout.grid, KEY))
    record_all(path, layout)
    finalise(path, {"tiles": 1})
    return path, layout


def test_conventions_are_valid_everywhere(store: tuple[Path, MosaicLayout]) -> None:
    path, layout = store
    has_code = pyproj.CRS(layout.grid.crs).to_authority() is not None
    checked = 0
    for file in sorted(path.rglob("zarr.json")):
        document = json.loads(file.read_text())
        attrs = document["attributes"]
        if "zarr_conventions" not in attrs:
            continue
        zarr_cm.validate_all(attrs)
        zarr_cm.proj.validate_node_metadata(document)
        zarr_cm.spatial.validate_node_metadata(document)
        revisions = zarr_cm.detect_revisions(attrs)
        assert {name: revisions[name] for name in ("proj", "spatial")} == {"proj": "r3", "spatial": "r3"}
        assert ("proj:code" in attrs) == has_code
        assert pyproj.CRS(attrs["proj:wkt2"]) == pyproj.CRS(layout.grid.crs)
        checked += 1
    assert checked == 1 + 2 * 5 + 4 + 2  # root; groups 0 and 1 with four arrays; screen with three; two ledgers


def test_root_describes_the_pyramid(store: tuple[Path, MosaicLayout]) -> None:
    path, layout = store
    document = json.loads((path / "zarr.json").read_text())
    attrs = document["attributes"]
    zarr_cm.multiscales.validate_group_metadata(document)
    assert zarr_cm.detect_revisions(attrs)["multiscales"] == "r2"
    levels = attrs["multiscales"]["layout"]
    assert [level["asset"] for level in levels] == ["0", "1"]
    for k, level in enumerate(levels):
        group = json.loads((path / str(k) / "zarr.json").read_text())["attributes"]
        assert group["spatial:transform"] == level["spatial:transform"]
        assert group["spatial:shape"] == level["spatial:shape"] == list(layout.overview_geobox(k).shape)
    assert attrs["minescale:summary"] == {"tiles": 1}
    assert attrs["minescale:provenance"] == {"version": "1", "run_id": "r"}
    assert document["consolidated_metadata"]["metadata"]["0/probability"]["fill_value"] == 255


def test_plain_xarray_has_place_time_and_values(store: tuple[Path, MosaicLayout]) -> None:
    path, layout = store
    grid = layout.grid
    ds = xr.open_zarr(path, group="0")
    assert ds.probability.dims == ("time", "y", "x")
    assert ds.rio.crs is not None
    assert pyproj.CRS(ds.rio.crs.to_wkt()) == pyproj.CRS(grid.crs)
    assert ds.probability.rio.transform() == pytest.approx(grid.geobox.affine)
    assert ds.probability.odc.geobox == grid.geobox
    rows, cols = grid.window(KEY)
    expected = np.full(grid.shape, np.nan, np.float32)
    expected[rows, cols] = decode_probability(tile_for(grid, KEY).probability)
    np.testing.assert_allclose(ds.probability[0], expected, rtol=1e-6)
    # Never written: no data, not "no mine"; and the reason says so.
    assert np.isnan(ds.probability[1]).all()
    assert np.isnan(ds.clear_count[1]).all()
    assert (ds.reason[1] == Reason.NOT_PROCESSED).all()
    assert ds.reason.dtype == np.uint8
    assert set(ds.data_vars) == {"probability", "clear_count", "reason", "level"}
    assert ds.time.values.astype("datetime64[D]").astype(str).tolist() == ["2024-01-01", "2024-04-01"]
    assert ds.time_bnds.values[0].astype("datetime64[D]").astype(str).tolist() == ["2024-01-01", "2024-04-01"]
    assert ds.reason.attrs["flag_meanings"].split()[2] == "no_scene"
    assert dict(zip(ds.level.attrs["flag_meanings"].split(), ds.level.attrs["flag_values"], strict=True)) == {
        "finest": 0,
        "screen_1": 1,
        "not_processed": 255,
    }


def test_overview_lies_where_the_finest_does(store: tuple[Path, MosaicLayout]) -> None:
    path, layout = store
    box = xr.open_zarr(path, group="1").probability.odc.geobox
    assert box == layout.overview_geobox(1)
    assert (box.affine.c, box.affine.f) == (layout.grid.left, layout.grid.top)


def test_datatree_opens_every_group(store: tuple[Path, MosaicLayout]) -> None:
    path, _ = store
    with xr.open_datatree(path, engine="zarr") as tree:
        assert {"/0", "/1", "/screen/1", "/tiles/0", "/tiles/1"} <= set(tree.groups)
        assert tree["/0"].ds.probability.odc.geobox is not None


def test_ledger_is_a_map(store: tuple[Path, MosaicLayout]) -> None:
    path, layout = store
    ds = xr.open_zarr(path, group="tiles/0")
    assert ds.state.dims == ("time", "tile_y", "tile_x")
    assert ds.state.dtype == np.uint8
    assert (ds.state == 1).all()
    assert ds.state.attrs["flag_meanings"] == "pending done pruned audited failed outside"
    xmin, _, _, ymax = layout.grid.bounds(TileKey(0, 0, 0))
    size = layout.grid.tile_size * layout.grid.resolution
    assert float(ds.state.x[0]) == pytest.approx(xmin + size / 2)
    assert float(ds.state.y[0]) == pytest.approx(ymax - size / 2)
    assert ds.n_scenes[0, 0].values.tolist() == [1, 2, 3, 4]
    assert np.isnan(ds.score).all()
    assert pyproj.CRS(ds.rio.crs.to_wkt()) == pyproj.CRS(layout.grid.crs)


def test_titiler_reads_a_part(store: tuple[Path, MosaicLayout]) -> None:
    io = pytest.importorskip("titiler.xarray.io", reason="titiler-xarray is not installed")
    path, layout = store
    grid = layout.grid
    with io.Reader(str(path), "probability", group="0", sel=["time=2024-01-01"]) as reader:
        assert pyproj.CRS(reader.crs.to_wkt()) == pyproj.CRS(grid.crs)
        part = reader.part(grid.bounds(KEY), dst_crs=reader.crs, bounds_crs=reader.crs)
    expected = decode_probability(tile_for(grid, KEY).probability)
    got = part.array[0]
    np.testing.assert_array_equal(np.ma.getmaskarray(got), np.isnan(expected))
    np.testing.assert_allclose(got.filled(np.nan), expected, rtol=1e-6)


def test_titiler_draws_a_map_tile(store: tuple[Path, MosaicLayout]) -> None:
    io = pytest.importorskip("titiler.xarray.io", reason="titiler-xarray is not installed")
    path, layout = store
    box = layout.grid.tile_geobox(KEY).extent.to_crs("EPSG:4326").boundingbox
    lon, lat = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    with io.Reader(str(path), "probability", group="0", sel=["time=2024-01-01"]) as reader:
        tile = reader.tms.tile(lon, lat, 15)
        image = reader.tile(tile.x, tile.y, tile.z)
    assert image.array.shape == (1, 256, 256)
    assert image.array.count() > 1000


@pytest.mark.skipif(
    tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2]) < (3, 12),
    reason=f"GDAL {rasterio.__gdal_version__} cannot read Zarr v3 as zarr-python writes it; 3.12 can",
)
def test_gdal_reads_the_finest_group(store: tuple[Path, MosaicLayout]) -> None:
    path, layout = store
    with rasterio.open(f'ZARR:"{path}":/0/probability:0') as source:
        assert source.nodata == 255
        assert source.transform == pytest.approx(layout.grid.geobox.affine)
        rows, cols = layout.grid.window(KEY)
        np.testing.assert_array_equal(source.read(1)[rows, cols], tile_for(layout.grid, KEY).probability)
