"""The read path against rasterio and odc-geo on generated COGs."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from minescale.config import ReadConfig
from minescale.errors import UsageError
from minescale.sensors import CLEAR, MASK, NODATA, OBSCURED
from minescale.sources import windows
from minescale.sources.access import Access
from minescale.sources.headers import block_sample
from minescale.sources.reader import Reader
from tests.sources.source_imagery import UTM30, layer, scene_of, smooth, write_cog

CRS = "EPSG:32630"


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    data = smooth((600, 500))
    return write_cog(tmp_path_factory.mktemp("cog") / "a.tif", data), data


@pytest.fixture
def reader() -> Reader:
    return Reader(Access.capture(), ReadConfig(threads=4, retries=2, backoff_s=0.01))


def geobox(res: float, x: float, y: float, shape: tuple[int, int], crs: str = CRS) -> GeoBox:
    return GeoBox(shape, Affine(res, 0, x, 0, -res, y), crs)


def test_aligned_window_is_the_source_minus_the_offset(cog, reader):
    path, data = cog
    scene = scene_of(path, offset=-0.1)
    read = reader.read([layer(scene)], geobox(10, 501_000, 699_000, (150, 200)), "red")
    assert read.data.dtype == np.uint16
    np.testing.assert_array_equal(read.data[0], data[100:250, 100:300] - 1000)
    assert not read.failures


def test_window_past_the_edge_is_nodata_outside(cog, reader):
    path, data = cog
    read = reader.read([layer(scene_of(path))], geobox(10, 499_800, 700_300, (100, 100)), "red")
    assert (read.data[0, :30] == 0).all()
    assert (read.data[0, :, :20] == 0).all()
    np.testing.assert_array_equal(read.data[0, 30:, 20:], data[:70, :80])


@pytest.mark.parametrize(
    ("resolution", "factor"), [(10, 1), (19.7, 1), (19.9, 2), (20, 2), (39, 2), (40, 4), (41, 4), (5, 1)]
)
def test_overview_boundaries(cog, reader, resolution, factor):
    """The coarsest overview that is no coarser than the target, with 1 % of grace."""
    path, _ = cog
    box = geobox(resolution, 500_000, 700_000, (64, 64))
    cols, rows = windows.to_image_pixels(box, CRS, UTM30)
    assert np.isfinite(cols).all()
    assert np.isfinite(rows).all()
    with rasterio.open(path) as image:
        factors = image.overviews(1)
    picked = windows.pick_overview(factors, windows.pixels_per_target(box, CRS, UTM30))
    assert (1 if picked is None else factors[picked]) == factor
    read = reader.read([layer(scene_of(path))], box, "red")
    with rasterio.open(path, **({} if picked is None else {"overview_level": picked})) as image:
        stored, transform = image.read(1), image.transform
    expected = np.zeros((64, 64), np.uint16)
    reproject(
        stored,
        expected,
        src_transform=transform,
        src_crs=CRS,
        dst_transform=box.affine,
        dst_crs=CRS,
        src_nodata=0,
        dst_nodata=0,
        resampling=Resampling.nearest,
    )
    # A centre on the edge of two pixels may fall either way; everything else is the same pixel.
    centres = (np.arange(64) + 0.5) * resolution / abs(transform.e)
    clear_of_edges = np.abs(centres - np.round(centres)) > 1e-3
    np.testing.assert_array_equal(
        read.data[0][np.ix_(clear_of_edges, clear_of_edges)], expected[np.ix_(clear_of_edges, clear_of_edges)]
    )


def test_coarse_band_is_repeated_on_a_fine_grid(tmp_path, reader):
    data = smooth((50, 60))
    path = write_cog(tmp_path / "b.tif", data, transform=Affine(20, 0, 500_000, 0, -20, 700_000))
    read = reader.read([layer(scene_of(path))], geobox(10, 500_000, 700_000, (100, 120)), "red")
    np.testing.assert_array_equal(read.data[0], data.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("target", ["misaligned", "other zone", "geographic source"])
def test_warps_equal_rasterio_on_the_whole_image(tmp_path, reader, resampling, target):
    """A window plus margin warps to the same pixels as the whole image does."""
    data = smooth((300, 300))
    transform, crs = UTM30, CRS
    if target == "geographic source":
        transform, crs = Affine(9e-5, 0, -3.0, 0, -9e-5, 6.33), "EPSG:4326"
    path = write_cog(tmp_path / "w.tif", data, transform=transform, crs=crs)
    box = {
        "misaligned": geobox(10, 500_603.3, 699_391.7, (120, 120)),
        "other zone": geobox(10, -165_000, 700_000, (120, 120), "EPSG:32631"),
        "geographic source": geobox(10, 500_600, 699_000, (120, 120)),
    }[target]
    if target == "other zone":
        x, y = windows._transformer(CRS, "EPSG:32631").transform(501_500, 698_500)
        box = geobox(10, round(x, -1) - 600, round(y, -1) + 600, (120, 120), "EPSG:32631")
    read = reader.read([layer(scene_of(path, crs=crs))], box, "red", resampling=resampling)
    expected = np.zeros((120, 120), np.uint16)
    reproject(
        data,
        expected,
        src_transform=transform,
        src_crs=crs,
        dst_transform=box.affine,
        dst_crs=str(box.crs),
        src_nodata=0,
        dst_nodata=0,
        resampling=Resampling[resampling],
    )
    assert (expected > 0).mean() > 0.9
    same = read.data[0] == expected
    if resampling == "nearest":
        # The transformer's error of an eighth of a pixel depends on the window; neighbours may swap.
        assert same.mean() > 0.97
    else:
        near = np.abs(read.data[0].astype(int) - expected.astype(int)) <= 25
        assert near.mean() > 0.99
    np.testing.assert_array_equal(read.data[0] > 0, expected > 0)


def test_odc_stac_reads_the_same_pixels(cog, reader):
    odc_stac = pytest.importorskip("odc.stac")
    import pystac

    path, _ = cog
    item = pystac.Item(
        id="a",
        geometry={"type": "Polygon", "coordinates": [[[-3, 6], [-2.9, 6], [-2.9, 6.4], [-3, 6.4], [-3, 6]]]},
        bbox=[-3, 6, -2.9, 6.4],
        datetime=scene_of(path).datetime,
        properties={"proj:code": CRS, "proj:shape": [600, 500], "proj:transform": list(UTM30)[:6]},
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )
    asset = pystac.Asset(str(path), media_type=pystac.MediaType.COG, roles=["data"])
    item.add_asset("red", asset)
    for box in (geobox(10, 501_000, 699_000, (200, 200)), geobox(40, 500_400, 699_600, (60, 60))):
        loaded = odc_stac.load([item], bands=["red"], geobox=box, nodata=0, dtype="uint16").red.values[0]
        read = reader.read([layer(scene_of(path))], box, "red")
        np.testing.assert_array_equal(read.data[0], loaded)


@pytest.mark.parametrize("resampling", ["bilinear", "cubic"])
def test_nodata_never_bleeds_and_coverage_hardly_shrinks(tmp_path, reader, resampling):
    data = np.full((200, 200), 3000, np.uint16)
    data[80:120, 80:120] = 0
    data[:, 150:] = 0
    path = write_cog(tmp_path / "hole.tif", data)
    box = geobox(10, 500_003.7, 699_996.1, (199, 199))
    values = reader.read([layer(scene_of(path, offset=-0.1))], box, "red", resampling=resampling).data[0]
    assert set(np.unique(values)) == {0, 2000}
    assert abs(np.count_nonzero(values == 0) - np.count_nonzero(data[:199, :199] == 0)) < 4 * 200 + 4 * 40


def test_dark_valid_pixels_stay_valid(tmp_path, reader):
    data = np.full((64, 64), 990, np.uint16)
    data[0] = 0
    path = write_cog(tmp_path / "dark.tif", data)
    values = reader.read([layer(scene_of(path, offset=-0.1))], geobox(10, 500_000, 700_000, (64, 64)), "red").data[0]
    assert (values[0] == 0).all()
    assert (values[1:] == 1).all()


def test_mask_is_decoded_before_it_is_put_on_the_grid(tmp_path, reader):
    scl = np.full((50, 50), 4, np.uint8)
    scl[10:20, 10:20] = 9
    scl[:, 40:] = 0
    path = write_cog(tmp_path / "scl.tif", scl, transform=Affine(20, 0, 500_000, 0, -20, 700_000))
    scene = scene_of(tmp_path / "unused.tif", mask=path)
    read = reader.read([layer(scene)], geobox(10, 500_000, 700_000, (100, 120)), MASK, resampling="cubic")
    assert read.data.dtype == np.uint8
    assert (read.data[0, 20:40, 20:40] == OBSCURED).all()
    assert (read.data[0, :, 80:] == NODATA).all()
    assert (read.data[0, :20, :80] == CLEAR).all()


def test_fusing_keeps_the_first_and_does_not_depend_on_timing(tmp_path):
    shape = (128, 128)
    scenes = []
    for i in range(4):
        data = np.full(shape, 1000 * (i + 2), np.uint16)
        data[: 24 * (i + 1)] = 0
        scenes.append(scene_of(write_cog(tmp_path / f"{i}.tif", data), name=f"s{i}"))
    layers = [layer(*scenes), layer(*scenes[::-1]), layer(scenes[3], scenes[0])]
    box = geobox(10, 500_000, 700_000, shape)
    one = Reader(Access.capture(), ReadConfig(threads=1)).read(layers, box, "red").data
    assert (one[0, 24:] == 2000).all()
    assert (one[1, 96:] == 5000).all()
    assert (one[1, 24:48] == 2000).all()
    many = Reader(Access.capture(), ReadConfig(threads=8))
    for _ in range(5):
        np.testing.assert_array_equal(many.read(layers, box, "red").data, one)


def test_many_threads_share_one_reader(cog, reader):
    path, data = cog
    boxes = [geobox(10, 500_000 + 100 * i, 699_000, (100, 100)) for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        reads = list(pool.map(lambda b: reader.read([layer(scene_of(path))], b, "red").data[0], boxes))
    for i, values in enumerate(reads):
        np.testing.assert_array_equal(values, data[100:200, 10 * i : 10 * i + 100])


def test_bytes_are_the_compressed_blocks_and_do_not_depend_on_caches(cog, reader):
    path, data = cog
    with rasterio.open(path) as image:
        tags = [int(image.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1)) for y in (0, 1) for x in (0, 1)]
        height = image.block_shapes[0][0]
    box = geobox(10, 501_000, 699_000, (2 * height - 100, 100))
    first = reader.read([layer(scene_of(path))], box, "red")
    again = reader.read([layer(scene_of(path))], box, "red")
    assert first.bytes_read == again.bytes_read == sum(tags)
    assert first.requests == 4
    # Of blocks of which just the first rows are needed, not much more is read than their share.
    box = geobox(10, 501_000, 699_000, (height - 70, 100))
    part = reader.read([layer(scene_of(path))], box, "red")
    np.testing.assert_array_equal(part.data[0], data[100 : 30 + height, 100:200])
    heads = part.bytes_read - sum(tags[:2])
    assert 30 / height * sum(tags[2:]) < heads < (30 / height + 0.2) * sum(tags[2:])


def test_a_scene_elsewhere_costs_nothing(tmp_path, reader):
    missing = tmp_path / "never-opened.tif"
    by_grid = scene_of(missing, shape=(600, 500))
    read = reader.read([layer(by_grid)], geobox(10, 520_000, 650_000, (50, 50)), "red")
    assert not read.data.any()
    assert (read.bytes_read, read.requests, read.failures) == (0, 0, ())
    by_footprint = scene_of(missing, transform=None)
    far = reader.read([layer(by_footprint)], geobox(10, 700_000, 500_000, (50, 50)), "red")
    assert not far.failures


def test_reader_is_a_value(cog):
    path, data = cog
    reader = pickle.loads(pickle.dumps(Reader(Access.capture(), ReadConfig(threads=2))))  # noqa: S301
    read = reader.read([layer(scene_of(path))], geobox(10, 500_000, 700_000, (40, 40)), "red")
    np.testing.assert_array_equal(read.data[0], data[:40, :40])


def test_output_is_filled_in_place(cog, reader):
    path, data = cog
    out = np.full((1, 40, 40), 7, np.uint16)
    read = reader.read([layer(scene_of(path))], geobox(10, 499_900, 700_000, (40, 40)), "red", out=out)
    assert read.data is out
    assert (out[0, :, :10] == 0).all()
    np.testing.assert_array_equal(out[0, :, 10:], data[:40, :30])


def test_wrong_requests_are_refused(cog, reader):
    path, _ = cog
    box = geobox(10, 500_000, 700_000, (8, 8))
    with pytest.raises(UsageError, match="no band of that name"):
        reader.read([layer(scene_of(path))], box, "infrared")
    with pytest.raises(UsageError, match="lacks a band"):
        reader.read([layer(scene_of(path))], box, "nir")
    with pytest.raises(UsageError, match="resampling"):
        reader.read([layer(scene_of(path))], box, "red", resampling="average")
    with pytest.raises(UsageError, match="output array"):
        reader.read([layer(scene_of(path))], box, "red", out=np.zeros((1, 8, 9), np.uint16))


def test_contradicting_pixels_are_reported_once(tmp_path, reader):
    dark = smooth((300, 300), low=200, high=900)
    scene = scene_of(write_cog(tmp_path / "p.tif", dark), name="doubtful", offset=-0.1)
    box = geobox(10, 500_000, 700_000, (300, 300))
    first = reader.read([layer(scene)], box, "red")
    assert [d.scene_id for d in first.doubts] == ["doubtful"]
    assert first.doubts[0].implied_offset == 0.0
    assert not reader.read([layer(scene)], box, "red").doubts


@pytest.mark.parametrize(("resolution", "factor"), [(10, 1), (20, 2), (80, 8)])
def test_header_summary(cog, resolution, factor):
    path, _ = cog
    summary = block_sample(scene_of(path), "red", resolution)
    assert summary is not None
    assert summary.factor == factor
    assert summary.block == (128, 128)
    assert summary.decoded_bytes == 128 * 128 * 2
    assert 0 < summary.block_bytes < summary.decoded_bytes
    assert summary.shape == (600, 500)
    assert block_sample(scene_of(path.parent / "nothing.tif"), "red", 10) is None


def test_one_window_from_real_landsat(data_dir, reader):
    """Fill stays nodata; the scale and offset are USGS's."""
    from minescale.sources.catalogs import search
    from minescale.sources.freeze import freeze
    from minescale.types import BBox, Period

    found = search(str(data_dir / "landsat/017036"), bbox=BBox(-86, 30, -80, 38), period=Period.parse("2013"))
    scene = freeze(found).scenes[0]
    with rasterio.open(scene.bands["red"].href) as image:
        dn, transform, crs = image.read(1), image.transform, image.crs
    box = GeoBox(dn.shape, transform, str(crs))
    values = reader.read([layer(scene)], box, "red").data[0]
    np.testing.assert_array_equal(values == 0, dn == 0)
    valid = dn > 0
    expected = np.clip(np.rint((dn[valid] * 2.75e-5 - 0.2) * 1e4), 1, 65534)
    assert np.abs(values[valid].astype(int) - expected.astype(int)).max() <= 1
    states = reader.read([layer(scene)], box, MASK).data[0]
    assert set(np.unique(states)) <= {0, 1, 2, 3}
    assert (states[~valid] == NODATA).mean() > 0.99
