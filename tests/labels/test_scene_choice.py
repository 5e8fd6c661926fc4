"""R033, R107, F26: the rules by which scenes are chosen, on scenes made for the purpose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from minescale.labels.imagery.scene_choice import below_cloud_limit, by_cloud, choose_scenes
from minescale.sources.reader import Reader
from minescale.sources.scenes import Scene
from tests.sources.source_imagery import UTM30, scene_of, write_cog

SIZE = 128
WINDOW = GeoBox((SIZE, SIZE), UTM30, "EPSG:32630")


def scene(folder: Path, name: str, seen: slice, cover: float | None = 10.0, cloud: slice = slice(0)) -> Scene:
    """A scene that shows some columns of the window, and cloud (class 9) on some of them; 4 is vegetation."""
    red, codes = np.zeros((SIZE, SIZE), np.uint16), np.zeros((SIZE, SIZE), np.uint8)
    red[:, seen], codes[:, seen] = 2000, 4
    codes[:, cloud] = 9
    write_cog(folder / f"{name}.tif", red)
    write_cog(folder / f"{name}-scl.tif", codes)
    made = scene_of(
        folder / f"{name}.tif", name=name, shape=(SIZE, SIZE), mask=folder / f"{name}-scl.tif", transform=UTM30
    )
    return dataclasses.replace(made, cloud_cover=cover)


def test_r033_the_limit_itself_is_rejected(tmp_path: Path) -> None:
    """R033: item with 20.0 % rejected, 19.9 % accepted; one that does not say is asked later."""
    plain = scene(tmp_path, "a", slice(None))
    covers = (19.9, 20.0, 20.1, 0.0, None)
    given = [dataclasses.replace(plain, id=str(cover), cloud_cover=cover) for cover in covers]
    assert [s.cloud_cover for s in below_cloud_limit(given, 20.0)] == [19.9, 0.0, None]
    assert len(below_cloud_limit(given, None)) == 5
    assert [s.cloud_cover for s in by_cloud(given)] == [0.0, 19.9, 20.0, 20.1, None]


def test_r107_scenes_that_bring_less_than_five_per_cent_are_dropped(tmp_path: Path) -> None:
    """R107: of ``most`` 96 % is covered already, of ``enough`` 94 %."""
    base = scene(tmp_path, "base", slice(0, 100))
    most = scene(tmp_path, "most", slice(0, 104))
    enough = scene(tmp_path, "enough", slice(8, 106))
    rest = scene(tmp_path, "rest", slice(60, 128))
    late = scene(tmp_path, "late", slice(None))
    found = choose_scenes([base, most, enough, rest, late], WINDOW, "red", reader=Reader())
    assert [s.id for s in found.scenes] == ["base", "enough", "rest"]
    assert list(found.rejected) == ["most"], "and the last is not even looked at: the window is full"
    assert "covered" in found.rejected["most"]


def test_f26_the_window_decides_not_the_scene(tmp_path: Path) -> None:
    """F26: a scene of 1 % cloud may be all cloud here."""
    hidden = scene(tmp_path, "hidden", slice(None), 1.0, slice(0, 64))
    clear = scene(tmp_path, "clear", slice(None), 15.0, slice(0, 16))
    first = choose_scenes(by_cloud([clear, hidden]), WINDOW, "red", reader=Reader())
    assert [s.id for s in first.scenes] == ["hidden"]
    assert first.cloud_share == 0.5
    limited = choose_scenes(by_cloud([clear, hidden]), WINDOW, "red", reader=Reader(), aoi_cloud_below=20.0)
    assert [s.id for s in limited.scenes] == ["clear"]
    assert limited.cloud_share == 0.125
    assert limited.rejected == {"hidden": "50.0 % cloud in the window"}
    exactly = choose_scenes([clear], WINDOW, "red", reader=Reader(), aoi_cloud_below=12.5)
    assert not exactly.scenes, "the limit itself is rejected here too"


def test_scenes_beside_the_window_or_unreadable_are_named(tmp_path: Path) -> None:
    beside = scene(tmp_path, "beside", slice(0, 0))
    gone = scene(tmp_path, "gone", slice(None))
    Path(gone.bands["mask"].href).unlink()
    from minescale.config import ReadConfig

    found = choose_scenes([beside, gone], WINDOW, "red", reader=Reader(config=ReadConfig(retries=0)))
    assert not found.scenes
    assert found.rejected == {"beside": "shows nothing of the window", "gone": "could not be read"}
    assert [f.scene_id for f in found.failures] == ["gone"]
    assert np.isnan(found.cloud_share)


def test_a_scene_without_a_quality_band_counts_where_it_has_data(tmp_path: Path) -> None:
    plain = scene(tmp_path, "plain", slice(0, 90))
    bare = dataclasses.replace(plain, bands={"red": plain.bands["red"]})
    full = scene(tmp_path, "full", slice(None), 50.0, slice(100, 128))
    found = choose_scenes([bare, full], WINDOW, "red", reader=Reader())
    assert [s.id for s in found.scenes] == ["plain", "full"]
    # Of what the second one adds, 28 of 38 columns are cloud; the first one does not say.
    assert found.cloud_share == pytest.approx(28 / 38)
    assert isinstance(UTM30, Affine)
