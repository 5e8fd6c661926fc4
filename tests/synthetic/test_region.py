"""Generated regions: files, catalogue, truth, and that they cannot be told apart from what they promise."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
from pystac.validation import validate_dict
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window
from scipy import ndimage
from shapely import transform
from shapely.geometry import box, shape
from shapely.ops import unary_union

from minescale.errors import StoreError, UsageError
from minescale.grid import MosaicGrid, auto_crs
from minescale.sensors import SENTINEL2_L2A
from minescale.synthetic import DEMO, SMALL, Cover, Region, RegionSpec, ensure_region, training_regions
from minescale.synthetic.breakage import KINDS
from minescale.synthetic.geometry import lay_out

TINY = RegionSpec(
    name="tiny",
    width_px=512,
    height_px=480,
    n_dates=6,
    step_days=50,
    seed=3,
    mine_share=0.02,
    block=128,
    broken=True,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("regions")


@pytest.fixture(scope="module")
def region(cache: Path) -> Region:
    return ensure_region(TINY, cache)


@pytest.fixture(scope="module")
def items(region: Region) -> list[pystac.Item]:
    catalog = pystac.Catalog.from_file(str(region.catalog))
    return sorted(catalog.get_items(recursive=True), key=lambda i: (i.datetime, i.id))


def good(items: list[pystac.Item]) -> list[pystac.Item]:
    return [i for i in items if "minescale:broken" not in i.properties]


def href(item: pystac.Item, key: str) -> str:
    found = item.assets[key].get_absolute_href()
    assert found is not None
    return found


def read(item: pystac.Item, key: str) -> np.ndarray:
    with rasterio.open(href(item, key)) as src:
        return src.read(1)


def hashes(path: Path) -> dict[str, str]:
    return {
        str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(path.rglob("*"))
        if f.is_file()
    }


def test_same_spec_gives_the_same_bytes_for_any_number_of_threads(region: Region, tmp_path: Path) -> None:
    again = ensure_region(TINY, tmp_path, threads=3)
    assert again.path != region.path
    first, second = hashes(region.path), hashes(again.path)
    assert len(first) > 80
    assert first == second


def test_other_seed_gives_another_landscape(region: Region, tmp_path: Path) -> None:
    spec = dataclasses.replace(TINY, seed=4, n_dates=1, broken=False)
    other = ensure_region(spec, tmp_path)
    with rasterio.open(region.cover_raster) as a, rasterio.open(other.cover_raster) as b:
        assert a.shape == b.shape
        assert (a.read(1) != b.read(1)).mean() > 0.1
    assert spec.digest != TINY.digest


def test_a_second_call_reuses_and_leaves_nothing_half_done(region: Region, cache: Path) -> None:
    before = region.catalog.stat().st_mtime_ns
    assert ensure_region(TINY, cache) == region
    assert region.catalog.stat().st_mtime_ns == before
    left = [p.name for p in (cache / "synthetic").iterdir() if p.is_dir()]
    assert left == [region.path.name]


def test_concurrent_callers_get_one_region(tmp_path: Path) -> None:
    spec = dataclasses.replace(TINY, n_dates=2, broken=False)
    made: list[Region] = []
    callers = [threading.Thread(target=lambda: made.append(ensure_region(spec, tmp_path))) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(made) == 3
    assert made[0] == made[1] == made[2]
    assert [p for p in (tmp_path / "synthetic").iterdir() if p.is_dir()] == [made[0].path]


def test_files_are_cloud_optimised(items: list[pystac.Item]) -> None:
    for item in good(items)[:4]:
        for key in item.assets:
            with rasterio.open(href(item, key)) as src:
                assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert src.block_shapes == [(128, 128)]
                assert src.overviews(1)[:2] == [2, 4]
                assert src.nodata == 0
                assert src.dtypes[0] == ("uint8" if key == "SCL" else "uint16")
                assert src.compression.value == "DEFLATE"
                assert list(src.transform)[:6] == item.assets[key].extra_fields["proj:transform"]
                assert list(src.shape) == item.assets[key].extra_fields["proj:shape"]
                assert str(src.crs) == item.properties["proj:code"]
                assert src.transform.c % 60 == 0
                assert src.transform.f % 60 == 0


def test_overviews_average_only_what_was_seen(items: list[pystac.Item]) -> None:
    cut = [i for i in good(items) if (read(i, "B04") == 0).mean() > 0.02]
    assert cut, "one date in five ends at the swath's edge"
    for item in cut[:2]:
        with rasterio.open(href(item, "B04")) as src:
            full = src.read(1).astype(float)
            half = src.read(1, out_shape=(src.height // 2, src.width // 2), resampling=Resampling.nearest)
        blocks = full[: half.shape[0] * 2, : half.shape[1] * 2].reshape(half.shape[0], 2, half.shape[1], 2)
        count = (blocks > 0).sum((1, 3))
        mean = np.where(count > 0, blocks.sum((1, 3)) / np.maximum(count, 1), 0)
        np.testing.assert_allclose(half, mean, atol=1)


def test_catalogue_is_valid_static_stac(region: Region, items: list[pystac.Item]) -> None:
    for item in items:
        # Core schemas come with pystac; extension schemas would have to be fetched.
        validate_dict({**item.to_dict(), "stac_extensions": []})
    text = json.dumps([json.loads(p.read_text()) for p in region.path.rglob("*.json")])
    assert str(region.path) not in text
    properties = good(items)[0].properties
    assert properties["minescale:synthetic"] is True
    for name in ("s2:mgrs_tile", "s2:processing_baseline", "platform", "eo:cloud_cover", "sat:relative_orbit", "gsd"):
        assert name in properties
    assert good(items)[0].collection_id == "sentinel-2-l2a"
    for item in good(items):
        assert item.datetime is not None
        assert region.period.contains(item.datetime)
        assert "raster:bands" not in json.dumps(item.to_dict(include_self_link=False))
        for band in TINY.bands:
            assert SENTINEL2_L2A.band(band).assets[0] in item.assets


def test_two_tiles_in_two_zones_are_imaged_in_one_pass(items: list[pystac.Item]) -> None:
    assert {i.properties["proj:code"] for i in items} == {"EPSG:32720", "EPSG:32721"}
    assert len({i.properties["s2:mgrs_tile"] for i in items}) == 2
    days: dict[object, list[pystac.Item]] = {}
    for item in good(items):
        assert item.datetime is not None
        days.setdefault(item.datetime.date(), []).append(item)
    assert len(days) == TINY.n_dates
    for pair in days.values():
        assert len(pair) == 2
        seconds = abs((pair[0].datetime - pair[1].datetime).total_seconds())  # type: ignore[operator]
        assert 0 < seconds < 60
        assert pair[0].properties["platform"] == pair[1].properties["platform"]


def test_area_lies_inside_the_footprints(region: Region, items: list[pystac.Item]) -> None:
    area = box(*region.bbox.as_tuple())
    assert unary_union([shape(i.geometry) for i in good(items)]).contains(area)


def test_footprint_follows_the_pixels(items: list[pystac.Item]) -> None:
    for item in good(items):
        seen = (read(item, "B04") > 0).mean()
        whole = box(*item.assets["B04"].extra_fields["proj:bbox"]).area
        move = pyproj.Transformer.from_crs("EPSG:4326", item.properties["proj:code"], always_xy=True).transform
        assert transform(shape(item.geometry), move, interleaved=False).area / whole == pytest.approx(seen, abs=0.01)


def test_both_baselines_agree_on_stable_ground(region: Region, items: list[pystac.Item]) -> None:
    """Forest without cloud has the same reflectance once the offset of baseline 05.09 is taken off, and not before."""
    levels: dict[str, list[float]] = {}
    with rasterio.open(region.cover_raster) as src:
        forest = src.read(1) == Cover.FOREST
        lattice = (src.transform, src.crs)
    for item in good(items):
        with rasterio.open(href(item, "B03")) as src:
            here = np.zeros(src.shape, np.uint8)
            reproject(
                forest.astype(np.uint8), here, src_transform=lattice[0], src_crs=lattice[1],
                dst_transform=src.transform, dst_crs=src.crs, resampling=Resampling.nearest,
            )  # fmt: skip
            green = src.read(1).astype(float)
        clear = np.kron(read(item, "SCL") == 4, np.ones((2, 2), bool))
        inside = ndimage.binary_erosion(here.astype(bool) & clear, iterations=4)
        if inside.sum() > 500:
            levels.setdefault(item.properties["s2:processing_baseline"], []).append(float(np.median(green[inside])))
    assert set(levels) == {"03.01", "05.09"}
    old, new = np.median(levels["03.01"]), np.median(levels["05.09"])
    assert 300 < old < 900
    assert new - 1000 == pytest.approx(old, rel=0.35)


def test_overlap_shows_the_same_ground_in_both_tiles(items: list[pystac.Item]) -> None:
    pairs: dict[object, list[pystac.Item]] = {}
    for item in good(items):
        assert item.datetime is not None
        pairs.setdefault(item.datetime.date(), []).append(item)
    checked = 0
    for west, east in pairs.values():
        with rasterio.open(href(east, "B08")) as target, rasterio.open(href(west, "B08")) as source:
            there = target.read(1).astype(float)
            warped = np.zeros(target.shape, np.uint16)
            reproject(rasterio.band(source, 1), warped, dst_transform=target.transform, dst_crs=target.crs)
        both = (warped > 0) & (there > 0)
        assert both.sum() * 1e-4 > 3, "km2 of overlap"
        assert np.corrcoef(warped[both], there[both])[0, 1] > 0.93
        # Residual noise of resampling and sensor, but no shift in level.
        assert np.median(warped[both] - there[both]) == pytest.approx(0, abs=12)
        checked += 1
    assert checked == TINY.n_dates


def test_truth_fits_the_mosaic_grid_and_its_polygons(region: Region) -> None:
    grid = MosaicGrid.around(region.bbox, crs=auto_crs(region.bbox), resolution=10, tile_size=512)
    with rasterio.open(region.truth_raster) as src, rasterio.open(region.cover_raster) as cover:
        truth, covers = src.read(1), cover.read(1)
        assert src.shape == cover.shape == grid.shape
        assert src.transform == grid.geobox.transform
        assert str(src.crs) == grid.crs
        assert cover.tags(1)["class_13"] == "mine_pit"
    mined = truth > 0
    assert truth.max() <= TINY.n_dates
    np.testing.assert_array_equal(mined, covers >= Cover.MINE_PIT)
    assert mined.sum() / 100 == pytest.approx(TINY.mine_share * TINY.area_ha, rel=0.15)
    features = json.loads(region.truth_polygons.read_text())["features"]
    assert sum(f["properties"]["area_ha"] for f in features) == pytest.approx(
        mined.sum() / 100, abs=0.01 * len(features)
    )
    assert len(features) == ndimage.label(mined, np.ones((3, 3)))[1]
    days = [d.isoformat() for d in region.dates]
    growing = 0
    for feature in features:
        properties = feature["properties"]
        by_date = properties["area_ha_by_date"]
        assert by_date == sorted(by_date)
        assert by_date[-1] == properties["area_ha"]
        assert by_date[properties["first_index"]] > 0
        assert properties["first_date"] == days[properties["first_index"]]
        growing += by_date[0] < by_date[-1]
        move = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform
        assert transform(shape(feature["geometry"]), move, interleaved=False).area / 1e4 == pytest.approx(
            properties["area_ha"], rel=2e-3
        )
    assert growing > 0, "mines grow"


def test_mines_lie_inside_the_area_of_interest(region: Region) -> None:
    area = box(*region.bbox.as_tuple()).buffer(2e-3)
    for feature in json.loads(region.truth_polygons.read_text())["features"]:
        assert area.contains(shape(feature["geometry"]))


def test_scene_classes_flag_clouds_and_stay_fallible(items: list[pystac.Item]) -> None:
    for item in good(items):
        classes, blue = read(item, "SCL"), read(item, "B02")
        offset = 1000 if item.properties["s2:processing_baseline"] == "05.09" else 0
        blue20 = blue[::2, ::2].astype(float) - offset
        assert set(np.unique(classes)) <= set(range(11))
        flagged, seen = np.isin(classes, (8, 9, 10)), classes > 0
        np.testing.assert_array_equal(classes == 0, (blue.reshape(classes.shape[0], 2, -1, 2) == 0).any((1, 3)))
        assert flagged.sum() / seen.sum() * 100 == pytest.approx(item.properties["eo:cloud_cover"], abs=6)
        if (classes == 9).sum() > 200:
            assert np.median(blue20[classes == 9]) > 2500
        assert (blue20[seen] > -200).all()


def test_broken_scenes_are_broken_as_promised(items: list[pystac.Item]) -> None:
    broken = {i.properties["minescale:broken"]: i for i in items if "minescale:broken" in i.properties}
    assert set(broken) == set(KINDS)
    with rasterio.open(href(broken["truncated"], "B04")) as src, pytest.raises(rasterio.errors.RasterioIOError):
        src.read(1)
    assert Path(href(broken["empty-file"], "B04")).stat().st_size == 0
    assert "B04" not in broken["missing-asset"].assets
    assert "SCL" not in broken["no-mask"].assets
    assert not Path(href(broken["missing-file"], "B08")).exists()
    liar = broken["wrong-offset"]
    assert liar.properties["s2:processing_baseline"] == "05.09"
    red = read(liar, "B04")
    assert np.percentile(red[red > 0], 5) < 1000, "pixels have no offset, whatever the item says"
    # The scenes they were copied from are whole.
    for item in good(items):
        for key in item.assets:
            with rasterio.open(href(item, key)) as src:
                src.read(1, window=Window(src.width - 64, src.height - 64, 64, 64))
    assert len({i.id for i in items}) == len(items)


def test_no_single_index_gives_the_mines_away(region: Region, items: list[pystac.Item]) -> None:
    """Mines differ from the rest on average and overlap with look-alikes: an index alone has a hard time."""
    item = min(
        (i for i in good(items) if i.properties["proj:code"] == "EPSG:32721"),
        key=lambda i: i.properties["eo:cloud_cover"],
    )
    assert item.datetime is not None
    date = region.dates.index(item.datetime.date())
    offset = 1000 if item.properties["s2:processing_baseline"] == "05.09" else 0
    with rasterio.open(href(item, "B04")) as src, rasterio.open(region.truth_raster) as truth_src:
        window = truth_src.window(*src.bounds)
        truth = truth_src.read(1, window=window, boundless=True, fill_value=255)
        red = src.read(1).astype(float) - offset
    nir = read(item, "B08").astype(float) - offset
    clear = np.kron(np.isin(read(item, "SCL"), (2, 4, 5, 6, 7)), np.ones((2, 2), bool)) & (truth != 255)
    mine = (truth > 0) & (truth <= date + 1)
    ndvi = (nir - red) / (nir + red)
    inside, outside = ndvi[clear & mine], ndvi[clear & ~mine]
    assert len(inside) > 300
    order = np.searchsorted(np.sort(outside), inside)
    auc = 1 - order.mean() / len(outside)
    assert 0.75 < auc < 0.99
    assert inside.std() > 0.05


def test_more_bands_and_one_date(tmp_path: Path) -> None:
    spec = RegionSpec(
        name="bands", width_px=256, height_px=256, n_dates=1, seed=5, block=128,
        bands=("red", "nir", "rededge071", "nir08"),
    )  # fmt: skip
    region = ensure_region(spec, tmp_path)
    item = next(iter(pystac.Catalog.from_file(str(region.catalog)).get_items(recursive=True)))
    assert set(item.assets) == {"B04", "B08", "B05", "B8A", "SCL"}
    narrow, broad = read(item, "B8A").astype(float), read(item, "B08").astype(float)
    coarse = broad.reshape(narrow.shape[0], 2, -1, 2).mean((1, 3))
    assert np.corrcoef(narrow.ravel(), coarse.ravel())[0, 1] > 0.8
    assert item.assets["B05"].extra_fields["gsd"] == 20


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    ensure_region(
        RegionSpec(name="p", width_px=256, height_px=256, n_dates=2, block=128),
        tmp_path,
        progress=lambda done, steps: seen.append((done, steps)),
    )
    assert [d for d, _ in seen] == list(range(1, 7))
    assert {n for _, n in seen} == {6}


def test_cache_folder_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINESCALE_CACHE", str(tmp_path / "here"))
    region = ensure_region(RegionSpec(name="env", width_px=256, height_px=256, n_dates=1, block=128))
    assert region.path.is_relative_to(tmp_path / "here")
    assert region.size_bytes > 10_000


def test_unusable_cache_folder_is_a_store_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StoreError, match="MINESCALE_CACHE"):
        ensure_region(SMALL, blocked)


def test_small_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=1_000_000))
    with pytest.raises(StoreError, match="disk is too small"):
        ensure_region(SMALL, tmp_path)
    assert not list((tmp_path / "synthetic").glob("*/"))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a/b"},
        {"name": ""},
        {"width_px": 100},
        {"height_px": 10**6},
        {"lat": 80.0},
        {"lon": 179.9},
        {"n_dates": 0},
        {"step_days": 7},
        {"mine_share": 0.9},
        {"cloudiness": 2.0},
        {"bands": ("B04",)},
        {"bands": ("red", "red")},
        {"bands": ()},
        {"block": 100},
    ],
)
def test_impossible_specs_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]


def test_training_regions_are_never_the_demo() -> None:
    specs = training_regions(5, seed=DEMO.seed - 1)
    assert len({s.seed for s in specs}) == len({s.digest for s in specs}) == 5
    assert not {DEMO.seed, SMALL.seed} & {s.seed for s in specs}


@pytest.mark.parametrize(("lon", "lat"), [(-60.0, -6.5), (-1.9, 6.2), (12.0, 48.0), (102.0, 0.02)])
def test_geometry_holds_elsewhere(lon: float, lat: float) -> None:
    """The cubic look-up is good to a hundredth of a pixel, and both tiles lie inside the ground lattice."""
    spec = dataclasses.replace(DEMO, lon=lon, lat=lat)
    geometry = lay_out(spec)
    assert geometry.tiles[0].mgrs != geometry.tiles[1].mgrs
    for tile in geometry.tiles:
        rows, cols = (v.ravel() for v in np.meshgrid([0, 777, tile.shape[0] - 1], [0, 1001, tile.shape[1] - 1]))
        gy, gx = tile.ground(rows.astype(float), cols.astype(float))
        x, y = tile.left + (cols + 0.5) * 10, tile.top - (rows + 0.5) * 10
        ex, ey = pyproj.Transformer.from_crs(tile.crs, geometry.grid.crs, always_xy=True).transform(x, y)
        np.testing.assert_allclose(gx, (np.array(ex) - geometry.ground_left) / 10 - 0.5, atol=0.01)
        np.testing.assert_allclose(gy, (geometry.ground_top - np.array(ey)) / 10 - 0.5, atol=0.01)
        assert gy.min() >= 0
        assert gx.min() >= 0
        assert gy.max() < geometry.ground_shape[0]
        assert gx.max() < geometry.ground_shape[1]
