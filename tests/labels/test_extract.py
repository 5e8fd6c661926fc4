"""R033, R034, R065, R066, R087, R098, R107 to R109 and defects F05, F09, F26, F33, F51: imagery for places."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine

from minescale.config import CompositeConfig, MaskConfig
from minescale.cube.compose import compose
from minescale.engine.events import Event, LevelStarted, RunFinished, RunStarted, TileDone
from minescale.errors import NothingMatched, OutputMismatch, StoreError, UsageError
from minescale.labels.imagery import extract_plan
from minescale.labels.imagery.extract_task import Setup, WindowJob, WindowResult, extract_batch
from minescale.labels.imagery.fetch import fetch_image
from minescale.labels.sets.folder import open_folder
from minescale.labels.shapes.vectors import read_polygons
from minescale.sensors import SENTINEL2_L2A
from minescale.sources.freeze import read_scenes
from minescale.sources.reader import Reader
from minescale.synthetic import Region
from tests.labels.extraction import BANDS, catalogue, clouds, cut, inline, middle, request, spread


@pytest.fixture(scope="module")
def made(small_region: Region, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six places with masks."""
    out = tmp_path_factory.mktemp("made") / "set"
    mines = read_polygons(small_region.truth_polygons)
    report = cut(small_region, spread(small_region, 6), out, polygons=mines, label_epoch=2024)
    assert (report.written, report.places, report.finished, report.failed) == (6, 6, True, {})
    return out


def test_r065_the_image_is_the_scans_own_composite(small_region: Region, made: Path) -> None:
    """R065: a median of clear looks at 10 m, with the count of valid looks beside it."""
    dataset, scenes = open_folder(made), read_scenes(made / "scenes.parquet")
    near = [shapely.buffer(scene.footprint, 0.02) for scene in scenes]
    for row in range(len(dataset)):
        geobox = dataset.reader.geobox(row, (128, 128))
        outline = geobox.geographic_extent.geom
        here = [scene for scene, ground in zip(scenes, near, strict=True) if ground.intersects(outline)]
        wanted = compose(here, geobox, BANDS, sensor=SENTINEL2_L2A, reader=Reader())
        image, mask = dataset[row]
        np.testing.assert_array_equal(image, wanted.data)
        np.testing.assert_array_equal(dataset.reader.ancillary(row, "clear_count"), wanted.clear_count)
        assert mask.shape == (128, 128)
    assert dataset.bands == BANDS
    assert (dataset.units, dataset.nodata, dataset.resolution_m) == ("reflectance x 1e4", 0, 10)


def test_r065_the_median_ignores_what_the_quality_band_hides(small_region: Region, tmp_path: Path) -> None:
    """R065: worked out again from the files, in one zone, without growing clouds."""
    config = inline(mask__dilate_m=0)
    west, south, east, north = small_region.bbox.as_tuple()
    place = pd.DataFrame({"id": ["a"], "lon": [west + 0.3 * (east - west)], "lat": [(south + north) / 2]})
    cut(small_region, place, tmp_path / "set", config, side_m=640)
    dataset = open_folder(tmp_path / "set")
    row = dataset.samples.iloc[0]
    scenes = [s for s in read_scenes(tmp_path / "set" / "scenes.parquet") if s.crs == row["crs"]]
    assert {s.crs for s in read_scenes(tmp_path / "set" / "scenes.parquet")} >= {row["crs"]}
    stack = []
    for scene in scenes:
        with rasterio.open(scene.bands["red"].href) as red, rasterio.open(scene.bands["mask"].href) as scl:
            corner = ~red.transform * (row["left"], row["top"])
            x, y = round(corner[0]), round(corner[1])
            digits = red.read(1, window=((y, y + 64), (x, x + 64)), boundless=True).astype(float)
            codes = scl.read(1, window=((y // 2, y // 2 + 32), (x // 2, x // 2 + 32)), boundless=True)
            clear = np.isin(codes, (2, 4, 5, 6, 7)).repeat(2, 0).repeat(2, 1) & (digits > 0)
            offset = round(scene.bands["red"].offset * 1e4)
            stack.append(np.where(clear, np.maximum(digits + offset, 1), np.nan))
    with np.errstate(all="ignore"):
        wanted = np.nan_to_num(np.floor(np.nanmedian(stack, axis=0) + 0.5))
    np.testing.assert_array_equal(dataset[0][0][0], wanted.astype(np.uint16))
    np.testing.assert_array_equal(dataset.reader.ancillary(0, "clear_count"), np.isfinite(stack).sum(axis=0))
    assert len(np.unique(dataset.reader.ancillary(0, "clear_count"))) > 1, "clouds were there to be ignored"


def test_r065_the_year_is_a_parameter(small_region: Region, tmp_path: Path) -> None:
    """R065."""
    cut(small_region, middle(small_region), tmp_path / "set", datetime="2024")
    assert open_folder(tmp_path / "set").samples["image_date"].tolist() == ["2024"]
    with pytest.raises(NothingMatched):
        cut(small_region, middle(small_region), tmp_path / "other", datetime="2019")
    assert not (tmp_path / "other").exists()


def test_r066_f05_bands_that_do_not_exist_are_declared_absent(small_region: Region, tmp_path: Path) -> None:
    """R066, F05: the catalogue has six bands, Level-2A no B10; nothing is filled with zeros."""
    report = cut(small_region, middle(small_region), tmp_path / "set", bands=("L2A", "B10", "AOT", "TCI"))
    dataset = open_folder(tmp_path / "set")
    assert dataset.bands == ("blue", "green", "red", "nir", "swir16", "swir22")
    assert set(report.absent) == {
        "coastal",
        "rededge071",
        "rededge075",
        "rededge078",
        "nir08",
        "nir09",
        "cirrus",
        "aot",
    }
    assert dataset.provenance["absent"] == report.absent
    assert all(plane.any() for plane in dataset[0][0])
    with rasterio.open(tmp_path / "set" / "images" / "middle.tif") as image:
        assert image.descriptions == (*dataset.bands, "tci_r", "tci_g", "tci_b", "clear_count")
        tags = [image.tags(i) for i in range(1, image.count + 1)]
    assert (tags[4]["name"], tags[4]["wavelength_nm"], tags[4]["native_m"]) == ("B11", "1613.7", "20")
    assert "no feature" in tags[6]["role"]


def test_r087_every_cell_has_a_row_with_its_metadata(made: Path, small_region: Region) -> None:
    """R087, F09: what the place said, what became of it, and pixel counts that follow from metres."""
    table = open_folder(made).samples
    given = spread(small_region, 6)
    for name in ("id", "site", "kind", "lon", "lat"):
        assert table[name].tolist() == given[name].tolist()
    assert set(table["crs"]) <= {"EPSG:32720", "EPSG:32721"}
    assert (table["rows"] == 128).all()
    assert (table["pixel_x"] * table["cols"] == 1280).all()
    assert (table["layers_used"] > 0).all()
    assert table["image_first"].min() >= str(small_region.dates[0])
    assert table["image_last"].max() <= str(small_region.dates[-1])


def test_masks_lie_where_the_polygons_do(made: Path, small_region: Region) -> None:
    """R066: the ``_mine`` band is the truth raster's, pixel by pixel, where the grids are the same."""
    dataset = open_folder(made)
    with rasterio.open(small_region.truth_raster) as truth:
        mined, crs, transform = truth.read(1) > 0, truth.crs.to_string(), truth.transform
    compared = 0
    for row in range(len(dataset)):
        sample = dataset.samples.iloc[row]
        if sample["crs"] != crs:
            continue
        x, y = (round(v) for v in ~transform * (sample["left"], sample["top"]))
        np.testing.assert_array_equal(dataset[row][1], mined[y : y + 128, x : x + 128])
        compared += 1
    assert compared
    with rasterio.open(made / "masks" / "p0.tif") as mask:
        assert mask.descriptions == ("_mine",)


@pytest.mark.parametrize("mode", ["composite", "scene"])
def test_r034_windows_on_a_zone_border_have_no_empty_columns(small_region: Region, tmp_path: Path, mode: str) -> None:
    """R034: the middle of the region is 60° W, where zones 20 and 21 meet; each scene ends a little beyond."""
    cut(small_region, middle(small_region), tmp_path / "set", mode=mode, side_m=5000)
    image, _ = open_folder(tmp_path / "set")[0]
    assert image.shape == (3, 500, 500)
    assert image.any(axis=1).all(), "a column of nodata"
    assert image.any(axis=2).all(), "a row of nodata"
    if mode == "scene":
        assert (image > 0).mean() > 0.999
        assert len(open_folder(tmp_path / "set").samples["scenes"].iloc[0].split()) >= 2


def test_r033_twenty_per_cent_is_rejected_and_less_is_not(small_region: Region, tmp_path: Path) -> None:
    """R033: scenes below 20 %, a window of 5000 m."""
    days = sorted({f"{d:%Y%m%d}" for d in small_region.dates})

    def change(item: dict) -> None:
        day = item["properties"]["datetime"][:10].replace("-", "")
        item["properties"]["eo:cloud_cover"] = {days[0]: 20.0, days[2]: 19.9}.get(day, 55.0)

    catalog = catalogue(small_region, tmp_path, change)
    made, geobox, _ = fetch_image(
        small_region.spec.lon, small_region.spec.lat, catalog=str(catalog), datetime="2024", bands=("RGB",)
    )
    assert {day.replace("-", "") for day in made.dates} == {days[2]}
    box = geobox.boundingbox
    assert abs(box.span_x - 5000) <= 5
    assert abs(box.span_y - 5000) <= 5
    assert made.images[0].shape == (4, 500, 500)
    assert made.figures["cloud_cover"] == 19.9
    with pytest.raises(NothingMatched, match="so little cloud"):
        fetch_image(
            small_region.spec.lon, small_region.spec.lat, catalog=str(catalog), datetime="2024", cloud_below=19.9
        )


def test_r107_scenes_come_in_ascending_cloud_and_stop_when_the_window_is_full(
    small_region: Region, tmp_path: Path
) -> None:
    """R107: only items of the interval, the least cloudy first, none of which more than 95 % is covered already."""
    report_places = middle(small_region)
    cut(small_region, report_places, tmp_path / "set", mode="scene", side_m=2560)
    sample = open_folder(tmp_path / "set").samples.iloc[0]
    scenes = {s.id: s for s in read_scenes(tmp_path / "set" / "scenes.parquet")}
    chosen = [scenes[name] for name in sample["scenes"].split()]
    covers = [s.cloud_cover for s in chosen]
    assert covers == sorted(covers)
    assert covers[0] == min(s.cloud_cover for s in scenes.values())
    # Two tiles, one of each zone, fill the window: further dates would add nothing.
    assert {s.crs for s in chosen} == {"EPSG:32720", "EPSG:32721"}
    assert len(chosen) < len(scenes)
    span = f"{small_region.dates[0]}/{small_region.dates[1]}"
    cut(small_region, report_places, tmp_path / "early", mode="scene", datetime=span)
    days = {s.datetime.date() for s in read_scenes(tmp_path / "early" / "scenes.parquet")}
    assert days == set(small_region.dates[:2])


def test_r107_the_period_is_by_default_that_of_the_labels(small_region: Region, tmp_path: Path) -> None:
    """R107."""
    assert str(request(small_region, datetime=None, label_epoch=2020).period) == "2020-01-01/2020-12-31"
    with pytest.raises(UsageError, match="no period"):
        request(small_region, datetime=None)


def test_f26_cloud_in_the_window_is_measured_and_can_be_limited(small_region: Region, tmp_path: Path) -> None:
    """F26: the catalogue's cloud cover is that of a whole scene."""
    catalog = catalogue(small_region, tmp_path, clouds({"S2": 1.0}))  # so says the catalogue of every scene
    shared = {"catalog": str(catalog), "mode": "scene", "side_m": 640.0, "cloud_below": 20.0}
    places = spread(small_region, 8, seed=3)
    cut(small_region, places, tmp_path / "any", **shared)
    table = open_folder(tmp_path / "any").samples
    dataset = open_folder(tmp_path / "any")
    for row in range(len(dataset)):
        state = dataset.reader.ancillary(row, "state")
        assert table["aoi_cloud"].iloc[row] == pytest.approx(100 * (state == 2).sum() / (state > 0).sum(), abs=0.01)
    assert (table["cloud_cover"] == 1.0).all()
    assert table["aoi_cloud"].max() > 30, "the catalogue lies, and the window tells"
    cut(small_region, places, tmp_path / "clear", **shared, aoi_cloud_below=5.0)
    assert open_folder(tmp_path / "clear").samples["aoi_cloud"].max() < 5


def test_f26_composites_leave_out_scenes_that_are_cloudy_here(small_region: Region, tmp_path: Path) -> None:
    """F26."""
    places = spread(small_region, 3)
    cut(small_region, places, tmp_path / "all")
    cut(small_region, places, tmp_path / "few", aoi_cloud_below=10.0)
    before, after = (open_folder(tmp_path / name).samples for name in ("all", "few"))
    assert (after["layers_used"] <= before["layers_used"]).all()
    assert after["scenes_rejected"].sum() > 0
    assert after["aoi_cloud"].max() <= before["aoi_cloud"].max()


def test_r109_f33_blank_windows_are_left_out_and_counted(small_region: Region, tmp_path: Path) -> None:
    """R109, F33: less than 0.05 of a required band is seen; the count is reported."""
    cut(small_region, middle(small_region), tmp_path / "look")
    seen = shapely.union_all([scene.footprint for scene in read_scenes(tmp_path / "look" / "scenes.parquet")])
    lat = small_region.spec.lat
    edge = seen.intersection(shapely.LineString([(-62, lat), (-58, lat)])).bounds[0]
    half = 640 / 110_600
    # One window wholly beyond the edge of the imagery, one with a sliver of it, one with a third.
    west = pd.DataFrame({"id": ["beyond", "sliver", "third"], "lon": [edge - s * half for s in (1.1, 0.96, 0.33)]})
    places = pd.concat([spread(small_region, 2), west.assign(lat=lat)], ignore_index=True)
    report = cut(small_region, places, tmp_path / "set", min_valid=0.05)
    dataset = open_folder(tmp_path / "set")
    assert dataset.samples["id"].tolist() == ["p0", "p1", "third"]
    assert 0.2 < dataset.samples["valid"].iloc[2] < 0.45
    assert report.excluded == {"blank: under 0.05 of a band is seen": 1, "no scene covers the window": 1}
    listed = pd.read_csv(tmp_path / "set" / "excluded.csv").set_index("id")["cause"]
    assert sorted(listed.index) == ["beyond", "sliver"]
    assert {p.stem for p in (tmp_path / "set" / "images").iterdir()} == {"p0", "p1", "third"}
    with pytest.raises(NothingMatched, match="blank"):
        cut(small_region, places.iloc[[3]], tmp_path / "none")


def test_f33_the_threshold_is_kept(small_region: Region, tmp_path: Path) -> None:
    """F33: a window is blank below the threshold and none above it, whatever the reason for its gaps."""
    places = spread(small_region, 4)
    cut(small_region, places, tmp_path / "all", min_valid=0.0)
    valid = open_folder(tmp_path / "all").samples.set_index("id")["valid"]
    limit = float(valid.sort_values().iloc[-2])
    if limit < valid.max():
        report = cut(small_region, places, tmp_path / "some", min_valid=limit + 1e-5)
        assert open_folder(tmp_path / "some").samples["id"].tolist() == valid.index[valid > limit].tolist()
        assert report.excluded == {f"blank: under {limit + 1e-5:g} of a band is seen": int((valid <= limit).sum())}


def test_f51_labels_and_images_of_other_years_do_not_meet(small_region: Region, tmp_path: Path) -> None:
    """F51: label and image years are in the table, and a gap that is too wide is no sample."""
    places = spread(small_region, 3).assign(label_epoch=[2024, 2019, 2023])
    report = cut(small_region, places, tmp_path / "set", max_epoch_gap=1)
    table = open_folder(tmp_path / "set").samples
    assert table["id"].tolist() == ["p0", "p2"]
    assert table["label_epoch"].tolist() == [2024, 2023]
    assert table["epoch_gap"].tolist() == [0, 1]
    assert report.excluded == {"no scene covers the window within 1 years of its label": 1}
    with pytest.raises(UsageError, match="have no year"):
        cut(small_region, spread(small_region, 1), tmp_path / "b", max_epoch_gap=1)
    assert not (tmp_path / "b").exists()


def test_one_search_serves_all_places(small_region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    search = extract_plan.search
    monkeypatch.setattr(extract_plan, "search", lambda *a, **k: calls.append(a) or search(*a, **k))
    cut(small_region, spread(small_region, 5), tmp_path / "set")
    assert len(calls) == 1
    cut(small_region, spread(small_region, 5), tmp_path / "set")
    assert len(calls) == 1, "a repeated call does not search again"


def test_batches_do_not_change_a_pixel(small_region: Region, tmp_path: Path) -> None:
    """Neighbours share source blocks, which must not show."""
    places = spread(small_region, 7, seed=2)
    for batch in (1, 7):
        cut(small_region, places, tmp_path / str(batch), batch=batch)
    for name in places["id"]:
        one, many = (tmp_path / str(batch) / "images" / f"{name}.tif" for batch in (1, 7))
        assert one.read_bytes() == many.read_bytes()


def test_zarr_holds_what_the_tiffs_hold(small_region: Region, tmp_path: Path) -> None:
    places = spread(small_region, 4)
    outside = pd.DataFrame({"id": ["outside"], "lon": [small_region.spec.lon], "lat": [small_region.spec.lat + 1]})
    places = pd.concat([outside, places], ignore_index=True)
    for layout in ("tif", "zarr"):
        cut(small_region, places, tmp_path / layout, layout=layout)
    tif, zarr = open_folder(tmp_path / "tif"), open_folder(tmp_path / "zarr")
    assert zarr.samples["chip"].tolist() == [1, 2, 3, 4]
    for row in range(4):
        np.testing.assert_array_equal(tif[row][0], zarr[row][0])
        np.testing.assert_array_equal(
            tif.reader.ancillary(row, "clear_count"), zarr.reader.ancillary(row, "clear_count")
        )
    assert not (tmp_path / "zarr" / "images").exists()


def test_r098_a_repeated_call_does_nothing_and_other_settings_are_refused(made: Path, small_region: Region) -> None:
    """R098."""
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()}
    mines = read_polygons(small_region.truth_polygons)
    report = cut(small_region, spread(small_region, 6), made, polygons=mines, label_epoch=2024)
    assert (report.written, report.resumed, report.finished) == (6, 6, True)
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()} == before
    with pytest.raises(OutputMismatch, match="min_valid"):
        cut(small_region, spread(small_region, 6), made, polygons=mines, label_epoch=2024, min_valid=0.1)
    with pytest.raises(OutputMismatch, match="places_digest"):
        cut(small_region, spread(small_region, 5), made, polygons=mines, label_epoch=2024)


def test_events_tell_how_it_goes(small_region: Region, tmp_path: Path) -> None:
    seen: list[Event] = []
    cut(small_region, spread(small_region, 3), tmp_path / "set", listeners=[seen.append])
    assert [type(e) for e in seen if not isinstance(e, TileDone)] == [RunStarted, LevelStarted, RunFinished]
    assert sum(isinstance(e, TileDone) for e in seen) == 3


def test_scenes_that_cannot_be_read_leave_the_set_unfinished(small_region: Region, tmp_path: Path) -> None:
    """Nothing is concluded from what could not be read; the same call tries again, or is told to go on without."""
    first = small_region.dates[0].isoformat()

    def lost(item: dict) -> bool:
        for name, asset in item["assets"].items():
            if name in {"B04", "SCL"}:
                asset["href"] = str(tmp_path / "gone" / f"{name}.tif")
        return item["properties"]["datetime"].startswith(first)

    catalog = str(catalogue(small_region, tmp_path, lost))
    config = inline(read__retries=0, read__backoff_s=0)
    report = cut(small_region, middle(small_region), tmp_path / "set", config, catalog=catalog)
    assert not report.finished
    assert "not_found" in report.failed["middle"]
    with pytest.raises(UsageError, match="still being built"):
        open_folder(tmp_path / "set")
    with pytest.raises(NothingMatched, match="could not be read"):
        cut(small_region, middle(small_region), tmp_path / "set", config, catalog=catalog, accept_unread=True)


def _cursed(setup: Setup, jobs: tuple[WindowJob, ...]) -> tuple[WindowResult, ...]:
    """Fails where ``p1`` is among the windows, as a bug or a strange file would."""
    if any(job.id == "p1" for job in jobs):
        raise ValueError("p1 is cursed")
    return extract_batch(setup, jobs)


def test_one_place_that_fails_does_not_take_its_neighbours_along(
    small_region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that fails is tried again place by place; the same call mends the set once the cause is gone."""
    config, places = inline(engine__retries=0), spread(small_region, 4)
    with monkeypatch.context() as broken:
        broken.setattr("minescale.labels.imagery.extract.extract_batch", _cursed)
        broken.setattr("minescale.labels.imagery.extract._ROUNDS", 1)
        report = cut(small_region, places, tmp_path / "set", config)
    assert report.failed == {"p1": "ValueError: p1 is cursed"}
    assert (report.written, report.finished) == (3, False)
    report = cut(small_region, places, tmp_path / "set", config)
    assert (report.resumed, report.written, report.finished) == (3, 4, True)
    assert open_folder(tmp_path / "set").samples["id"].tolist() == ["p0", "p1", "p2", "p3"]


def test_a_disk_that_refuses_stops_the_run_and_what_was_done_is_kept(small_region: Region, tmp_path: Path) -> None:
    places = spread(small_region, 10)
    with pytest.raises(StoreError, match="cannot write"):
        # The folder of images vanishes as soon as there is one.
        cut(small_region, places, tmp_path / "set", batch=1, listeners=[lambda e: _vanish(e, tmp_path / "set")])
    assert not (tmp_path / "set" / "dataset.json").exists()
    (tmp_path / "set" / "gone").rename(tmp_path / "set" / "images")
    report = cut(small_region, places, tmp_path / "set")
    assert (report.written, report.finished) == (10, True)
    assert report.resumed >= 1


def _vanish(event: Event, folder: Path) -> None:
    if isinstance(event, TileDone) and (folder / "images").is_dir():
        (folder / "images").rename(folder / "gone")


def test_a_lost_scene_is_left_out_of_all_bands_and_told(small_region: Region, tmp_path: Path) -> None:
    def lost(item: dict) -> None:
        if item["properties"]["datetime"].startswith(small_region.dates[0].isoformat()):
            item["assets"]["B11"]["href"] = str(tmp_path / "gone.tif")

    catalog = str(catalogue(small_region, tmp_path, lost))
    config = inline(read__retries=0, read__backoff_s=0)
    later = f"{small_region.dates[1]}/{small_region.dates[-1]}"
    for resampling in ("nearest", "cubic"):
        shared = {"side_m": 640.0, "resampling": resampling}
        name = f"with-{resampling}"
        cut(small_region, middle(small_region), tmp_path / name, config, catalog=catalog, **shared)
        cut(small_region, middle(small_region), tmp_path / f"{name}out", datetime=later, **shared)
        found, wanted = open_folder(tmp_path / name), open_folder(tmp_path / f"{name}out")
        np.testing.assert_array_equal(found[0][0], wanted[0][0])
        assert found.samples["losses"].iloc[0] >= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "best"}, "mode"),
        ({"resampling": "lanczos"}, "resampling"),
        ({"layout": "npz"}, "layout"),
        ({"cloud_below": 120.0}, "cloud limit"),
        ({"min_valid": 5.0}, "valid share"),
        ({"bands": ("red", "thermal")}, "no band of that name"),
        ({"bands": ("coastal",)}, "none of the bands"),
        ({"side_m": None}, "side_m"),
        ({"native": True, "resolution": 10.0}, "own resolutions"),
        ({"native": True, "side_m": 1290.0}, "coarsest pixels"),
    ],
)
def test_bad_requests_leave_nothing_behind(
    small_region: Region, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        cut(small_region, spread(small_region, 1), tmp_path / "set", **changes)
    assert not (tmp_path / "set").exists()


def test_chips_of_several_sizes_need_tiffs(small_region: Region, tmp_path: Path) -> None:
    places = spread(small_region, 2).assign(side_m=[640.0, 1280.0])
    with pytest.raises(UsageError, match="several shapes"):
        cut(small_region, places, tmp_path / "zarr", layout="zarr")
    cut(small_region, places, tmp_path / "tif")
    dataset = open_folder(tmp_path / "tif")
    assert [dataset[row][0].shape[1] for row in range(2)] == [64, 128]


def test_the_folder_names_no_path_of_the_machine(made: Path, small_region: Region) -> None:
    text = (made / "dataset.json").read_text()
    assert str(small_region.catalog.parent) not in text
    assert json.loads(text)["provenance"]["settings"]["catalog"] == "catalog.json"


def test_settings_of_composites_are_kept(small_region: Region, tmp_path: Path) -> None:
    config = inline(composite__method="percentile", composite__percentile=90, mask__dilate_m=0)
    cut(small_region, middle(small_region), tmp_path / "set", config, side_m=640)
    dataset, scenes = open_folder(tmp_path / "set"), read_scenes(tmp_path / "set" / "scenes.parquet")
    wanted = compose(
        scenes,
        dataset.reader.geobox(0, (64, 64)),
        BANDS,
        sensor=SENTINEL2_L2A,
        reader=Reader(),
        mask=MaskConfig(dilate_m=0),
        composite=CompositeConfig(method="percentile", percentile=90),
    )
    np.testing.assert_array_equal(dataset[0][0], wanted.data)
    assert dataset.provenance["settings"]["composite"]["percentile"] == 90
    assert isinstance(dataset.reader.geobox(0, (64, 64)).affine, Affine)
