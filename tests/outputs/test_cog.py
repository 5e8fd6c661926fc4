"""The exported file against the arrays, read back by rasterio."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from minescale.errors import StoreError, UsageError
from minescale.outputs import cog
from minescale.outputs.cog import export_raster, find_period
from minescale.types import Period
from tests.outputs.conftest import Scan


@pytest.mark.parametrize("form", ["cog", "gtiff"])
def test_pixels_place_and_codes_are_the_mosaics(scan: Scan, tmp_path: Path, form: cog.Format) -> None:
    out = export_raster(scan.folder, tmp_path / "p.tif", format=form)
    with rasterio.open(out) as image:
        assert image.crs == rasterio.CRS.from_string(scan.plan.grid.crs)
        assert image.transform == scan.plan.grid.geobox.transform
        assert (image.nodata, image.scales, image.offsets) == (255, (0.004,), (0,))
        assert image.block_shapes == [(512, 512)]
        assert (image.read(1) == scan.probability[1]).all()
        assert image.tags()["period"] == "2024-01-01/2024-12-31"
        assert image.tags()["minescale_run_id"] == scan.plan.run_id
        assert form == "gtiff" or image.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize("form", ["cog", "gtiff"])
def test_overviews_keep_the_maximum(scan: Scan, tmp_path: Path, form: cog.Format) -> None:
    out = export_raster(scan.folder, tmp_path / "p.tif", time=0, format=form)
    with rasterio.open(out) as image:
        factors = image.overviews(1)
    assert factors, "larger than a block, so there is an overview"
    with rasterio.open(out, overview_level=0) as image:
        coarse = image.read(1)
    fine = scan.probability[0]
    ny, nx = coarse.shape
    padded = np.full((2 * ny, 2 * nx), 255, np.uint8)
    padded[: fine.shape[0], : fine.shape[1]] = fine
    blocks = np.where(padded == 255, -1, padded.astype(int)).reshape(ny, 2, nx, 2).max(axis=(1, 3))
    assert (coarse == np.where(blocks < 0, 255, blocks)).all()
    assert (coarse == 200).any()


def test_many_windows_give_the_same_file(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = export_raster(scan.folder, tmp_path / "whole.tif").read_bytes()
    monkeypatch.setattr(cog, "_WINDOW", 96)
    assert export_raster(scan.folder, tmp_path / "pieces.tif").read_bytes() == whole


@pytest.mark.parametrize(("variable", "dtype", "nodata"), [("clear_count", "uint16", 65535), ("reason", "uint8", 255)])
def test_other_variables(scan: Scan, tmp_path: Path, variable: str, dtype: str, nodata: int) -> None:
    out = export_raster(scan.folder, tmp_path / "v.tif", variable=variable)
    with rasterio.open(out) as image:
        assert image.dtypes == (dtype,)
        assert image.nodata == nodata
        assert image.scales == (1.0,)


def test_equal_area_crs_without_a_code(tmp_path: Path) -> None:
    from minescale.engine.run import layout_of
    from minescale.planning.plan import MOSAIC_FILE
    from minescale.planning.run_dir import RunDir
    from minescale.store.template import create_mosaic
    from tests.outputs.conftest import plan_of

    plan = plan_of(crs="+proj=laea +lat_0=-6.5 +lon_0=-60 +datum=WGS84 +units=m", resolution=20.0)
    folder = RunDir(str(tmp_path / "scan"))
    create_mosaic(folder.path(MOSAIC_FILE), layout_of(plan))
    with rasterio.open(export_raster(folder, tmp_path / "p.tif")) as image:
        assert "Lambert" in image.crs.to_wkt()
        assert (image.read(1) == 255).all(), "what was never written is nodata, not zero"


def test_refuses_to_overwrite_unless_told(scan: Scan, tmp_path: Path) -> None:
    target = tmp_path / "p.tif"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        export_raster(scan.folder, target)
    assert target.read_bytes() == b"mine"
    export_raster(scan.folder, target, overwrite=True)
    assert target.stat().st_size > 100


def test_failure_leaves_nothing_behind(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    folder = tmp_path / "exports"
    with pytest.raises(StoreError, match="No space left"):
        export_raster(scan.folder, folder / "p.tif")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variable": "ndvi"}, "probability, clear_count"),
        ({"time": "2019"}, "no such period"),
        ({"time": 7}, "no such period"),
        ({"format": "png"}, "cog | gtiff"),
        ({"level": 9}, "no such overview"),
    ],
)
def test_wrong_requests_say_what_there_is(scan: Scan, tmp_path: Path, wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("|", r"\|")):
        export_raster(scan.folder, tmp_path / "p.tif", **wrong)
    assert not (tmp_path / "p.tif").exists()


def test_no_mosaic_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        export_raster(tmp_path / "nothing", tmp_path / "p.tif")


def test_find_period() -> None:
    periods = Period.parse("2023/2024").split("quarter")
    assert find_period(periods, None) == 7
    assert find_period(periods, -8) == 0
    assert find_period(periods, "2023-07") == 2
    with pytest.raises(UsageError, match="several"):
        find_period(periods, "2023")
