"""Files stay open while they are used in turn, within a bound on their number and on what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from minescale.sources import handles


@pytest.fixture(autouse=True)
def nothing_open():
    close_all()
    yield
    close_all()


def close_all() -> None:
    for _, href in list(handles._idle):
        handles.close_idle(href)
    assert (handles._idle_bytes, handles._idle_files) == (0, 0)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    profile = {"driver": "GTiff", "height": 256, "width": 256, "count": 1, "dtype": "uint16", "compress": "deflate"}
    found = [str(tmp_path / f"{i}.tif") for i in range(6)]
    for path in found:
        with rasterio.open(path, "w", **profile, tiled=True, blockxsize=128, blockysize=128) as target:
            target.write(np.ones((1, 256, 256), np.uint16))
            target.build_overviews([2])
    return found


def use(path: str, overview: int | None) -> handles.File:
    with handles.borrowed(path) as file:
        file.image(overview, lambda: path)
        return file


@pytest.mark.parametrize("overview", [None, 0])
def test_files_used_in_turn_stay_open_up_to_a_number(paths, overview, monkeypatch) -> None:
    monkeypatch.setattr(handles, "_IDLE_FILES", 4)
    first = [use(path, overview) for path in paths[:4]]
    assert [use(path, overview) for path in paths[:4]] == first
    for path in paths[4:]:
        use(path, overview)
    assert handles._idle_files == 4
    assert use(paths[3], overview) is first[3]
    assert use(paths[0], overview) is not first[0], "the one used longest ago was closed"


def test_files_that_hold_more_are_fewer(paths, monkeypatch) -> None:
    light, heavy = use(paths[0], None).held_bytes, use(paths[1], 0).held_bytes
    assert heavy == 2 * light + 128 * 128 * 2 // 2, "a level more, and half a block where GDAL decodes"
    monkeypatch.setattr(handles, "IDLE_BYTES", 3 * heavy)
    for path in paths:
        use(path, 0)
    assert handles._idle_files == 3


def test_a_file_that_failed_is_closed(paths) -> None:
    file = use(paths[0], None)
    with pytest.raises(rasterio.errors.RasterioIOError):
        use(paths[0], 7)  # it has no such overview
    assert handles._idle_files == 0
    assert use(paths[0], None) is not file
