"""R035, F27: negatives over built-up ground are left out, those that a model takes for mines are listed."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine

from minescale.errors import StoreError, UsageError
from minescale.grid import MosaicGrid
from minescale.labels.places.negatives import point_table
from minescale.labels.places.rasterclasses import RasterClasses
from minescale.labels.places.screening import built_up_shares, leave_out_built_up, mosaic_scores, review_list
from minescale.labels.shapes.polygons import Polygons, ReadReport
from minescale.store.layout import MosaicLayout
from minescale.store.mosaic import Mosaic, TileArrays
from minescale.store.template import create_mosaic
from minescale.types import Period, TileKey


def utm(x: list[float], y: list[float]) -> pd.DataFrame:
    """Samples of 1 km round places in UTM 22N."""
    lon, lat = pyproj.Transformer.from_crs(32622, 4326, always_xy=True).transform(x, y)
    return point_table(lon, lat, prefix="n", source="here", label=0, kind="forest", side_m=1000)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Built-up share in percent, pixels of 10 m: 0, but for a square town of 1 km, and nodata in the east."""
    pixels = np.zeros((600, 600), np.uint8)
    pixels[200:300, 200:300] = 80
    pixels[:, 500:] = 255
    path = tmp_path / "built.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=600, height=600, count=1, dtype="uint8", nodata=255, crs="EPSG:32622",
        transform=Affine(10, 0, 400_000, 0, -10, 300_000),
    ) as target:  # fmt: skip
        target.write(pixels, 1)
    return path


def test_r035_built_up_share_of_a_raster(built: Path) -> None:
    """Over the town, half over it, beside it, half beyond the map's knowledge, mostly beyond, off the map."""
    table = utm(
        [402_500, 402_000, 404_000, 404_900, 405_100, 500_000], [297_500, 297_500, 297_500, 297_500, 297_500, 9]
    )
    shares = built_up_shares(table, RasterClasses(path=built, at_least=50))
    np.testing.assert_allclose(shares, [1, 0.5, 0, 0, np.nan, np.nan], atol=0.02)


def test_r035_built_up_share_of_polygons(built: Path) -> None:
    back = pyproj.Transformer.from_crs(32622, 4326, always_xy=True)
    town = shapely.transform(
        shapely.box(402_000, 297_000, 403_000, 298_000), lambda p: np.column_stack(back.transform(p[:, 0], p[:, 1]))
    )
    frame = gpd.GeoDataFrame({"name": ["", ""]}, geometry=[town, town], crs=4326)
    towns = Polygons(frame=frame, source="towns", report=ReadReport(2))
    table = utm([402_500, 402_000, 404_000], [297_500, 297_500, 297_500])
    np.testing.assert_allclose(built_up_shares(table, towns), [1, 0.5, 0], atol=0.02)


def test_r035_f27_first_pass_leaves_towns_out(built: Path) -> None:
    """F27: the seed asks for towns to be excluded and names no method."""
    table = utm([402_500, 404_000, 405_500, 402_480], [297_500] * 4)
    table.loc[3, "class"] = 1  # a positive stays, town or not
    done = leave_out_built_up(table, RasterClasses(path=built, at_least=50), limit=0.05)
    assert done.removed["id"].tolist() == [table["id"][0]]
    assert done.kept["id"].tolist() == table["id"][1:].tolist()
    assert done.unknown == 1
    assert done.kept["built_up"].isna().tolist() == [False, True, False]
    with pytest.raises(UsageError, match="every negative is built-up"):
        leave_out_built_up(table.iloc[[0]], RasterClasses(path=built, at_least=50))


def test_r035_populated_ground_of_a_real_island(data_dir: Path) -> None:
    """WorldPop on Aruba, a map of settled ground alone: Oranjestad is, and what it leaves empty is not known."""
    raster = next((data_dir / "worldpop_aruba").rglob("*.tif"), None)
    if raster is None:
        pytest.skip("no population raster among the test data")
    lon, lat = [-70.035, -69.945, -70.3], [12.520, 12.490, 12.3]
    table = point_table(lon, lat, prefix="n", source="here", label=0, kind=None, side_m=1000)
    town, hills, sea = built_up_shares(table, RasterClasses(path=raster, at_least=5))
    assert town > 0.8
    assert np.isnan([hills, sea]).all()


def test_r035_second_pass_lists_doubtful_negatives() -> None:
    table = utm([400_000, 401_000, 402_000, 403_000, 404_000], [297_500] * 5)
    table.loc[4, "class"] = 1
    listed = review_list(table, np.array([0.5, 0.2, 0.9, np.nan, 1.0]), least=0.5)
    assert listed["id"].tolist() == [table["id"][2], table["id"][0]]
    assert listed["score"].tolist() == [0.9, 0.5]
    assert set(listed["verdict"]) == {""}
    with pytest.raises(UsageError, match="differ in number"):
        review_list(table, np.zeros(2))


def test_r035_scores_come_from_a_scan(tmp_path: Path) -> None:
    grid = MosaicGrid(crs="EPSG:32622", resolution=10, left=400_000, top=300_000, shape=(512, 512), tile_size=512)
    layout = MosaicLayout(grid=grid, periods=(Period.parse("2023"), Period.parse("2024")), chunk=256)
    path = tmp_path / "mosaic.zarr"
    create_mosaic(path, layout)
    probability = np.full((512, 512), 255, np.uint8)
    probability[:, :256] = 10
    probability[100, 100] = 225
    mosaic = Mosaic.open(path, "r+")
    tile = TileArrays(
        probability=probability,
        clear_count=np.ones((512, 512), np.uint16),
        reason=np.zeros((512, 512), np.uint8),
        level=np.zeros((512, 512), np.uint8),
    )
    mosaic.write_tile(1, TileKey(0, 0, 0), tile)
    # Round the pit's pixel, 1 km off it, where nothing was seen, and off the mosaic.
    table = utm([401_005, 402_000, 404_000, 500_000], [298_995, 297_000, 297_000, 297_000])
    np.testing.assert_allclose(mosaic_scores(table, path), [0.9, 0.04, np.nan, np.nan])
    assert np.isnan(mosaic_scores(table, path, time=0)).all()
    with pytest.raises(StoreError):
        mosaic_scores(table, tmp_path / "none.zarr")
