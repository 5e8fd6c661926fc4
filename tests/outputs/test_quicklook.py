"""The picture: it is drawn from any finished scan, it shows what it should, and it fails softly."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import matplotlib.image as mpimg
import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from minescale.outputs.picture_scenes import FALSE_COLOUR, TRUE_COLOUR, picture_bands, picture_scenes
from minescale.outputs.quicklook import draw_quicklook, ground_metres, picture_overview, round_length, stretch
from minescale.sources.scenes import BandAsset, Scene
from minescale.store.finalise import finalise
from minescale.store.mosaic import Mosaic
from tests.outputs.conftest import Scan


def scene(
    name: str, *, bands: tuple[str, ...] = TRUE_COLOUR, cloud: float | None = 10.0, tile: str | None = "20MRA"
) -> Scene:
    return Scene(
        id=name,
        collection="sentinel-2-l2a",
        provider="other",
        sensor="sentinel-2-l2a",
        platform="sentinel-2a",
        datetime=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        crs="EPSG:32720",
        footprint=box(-61, -7, -60, -6),
        bands={band: BandAsset(href=f"/{name}/{band}.tif") for band in bands},
        cloud_cover=cloud,
        grid_tile=tile,
    )


def test_a_scan_without_readable_scenes_still_gets_its_picture(scan: Scan, tmp_path: Path) -> None:
    finalise(scan.folder.path("mosaic.zarr"), {})
    out = tmp_path / "q.png"
    draw_quicklook(scan.plan, scan.folder, str(out))
    image = mpimg.imread(out)
    assert image.shape[1] > 1500
    assert not list(tmp_path.glob("*.partial"))
    warm = (image[..., 0] > 0.9) & (image[..., 1] > 0.45) & (image[..., 2] < 0.4)
    assert warm.sum() > 100, "the mines at p = 0.8 show in the colours of the scale"


def test_overview_fits_the_picture(scan: Scan) -> None:
    layout = Mosaic.open(scan.folder.path("mosaic.zarr")).layout
    assert picture_overview(layout, 10_000) == 0
    assert picture_overview(layout, 10) == layout.n_overviews


def test_stretch_keeps_no_data_and_order() -> None:
    data = np.linspace(1, 9000, 3 * 40 * 40).reshape(3, 40, 40).astype(np.uint16)
    data[1, 0, 0] = 0
    picture = stretch(data, together=True)
    assert np.isnan(picture[0, 0]).all()
    assert np.isfinite(picture[1:]).all()
    assert picture[1:].min() >= 0
    assert picture[1:].max() <= 1
    assert picture[-1, -1, 2] > picture[-1, -1, 0]


@pytest.mark.parametrize(("metres", "nice"), [(8_200, 5_000), (999, 500), (1_000, 1_000), (2_100, 2_000), (37, 20)])
def test_round_length(metres: float, nice: float) -> None:
    assert round_length(metres) == nice


def test_pixels_on_the_ground_shrink_with_latitude() -> None:
    from affine import Affine

    degree = GeoBox((10, 10), Affine(0.001, 0, 10, 0, -0.001, 60.005), "EPSG:4326")
    assert ground_metres(degree) == pytest.approx(55.7, abs=0.5)
    metric = GeoBox((10, 10), Affine(10, 0, 5e5, 0, -10, 0), "EPSG:32720")
    assert ground_metres(metric) == 10


def test_bands_of_the_picture() -> None:
    assert picture_bands([scene("a")]) == TRUE_COLOUR
    assert picture_bands([scene("a", bands=("swir16", "nir08", "red"))]) == FALSE_COLOUR
    assert picture_bands([scene("a", bands=("swir16",))]) == ()


def test_clearest_scenes_of_each_grid_tile() -> None:
    scenes = [
        scene(f"{tile}{i}", cloud=None if i == 9 else float(90 - i), tile=tile) for tile in "AB" for i in range(10)
    ]
    chosen = picture_scenes(scenes, TRUE_COLOUR)
    assert {s.id for s in chosen} == {f"{tile}{i}" for tile in "AB" for i in (3, 4, 5, 6, 7, 8)}
    assert [s.id for s in picture_scenes(scenes, TRUE_COLOUR, limit=2)] == ["A8", "B8"]
    assert picture_scenes([scene("x", bands=("red",))], TRUE_COLOUR) == ()
