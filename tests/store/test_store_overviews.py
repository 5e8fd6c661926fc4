"""Overviews against a plain NumPy reference, pixel by pixel of the whole mosaic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_writer import files_of, small_layout, tile_for

from minescale.errors import UsageError
from minescale.store.backend import stored_blocks
from minescale.store.codes import FINE_CODES
from minescale.store.overviews import build_overviews
from minescale.store.template import create_mosaic
from minescale.types import Reason, TileKey

REDUCE = {"probability": np.nanmax, "clear_count": np.nanmax, "reason": np.nanmin, "level": np.nanmin}


def _halve(values: np.ndarray, name: str, fill: int) -> np.ndarray:
    """Reference: NaN for fill, NaN-padding, nanmax or nanmin of the four pixels."""
    ny, nx = values.shape
    padded = np.full((ny + ny % 2, nx + nx % 2), np.nan)
    padded[:ny, :nx] = np.where(values == fill, np.nan, values)
    four = np.stack([padded[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    empty = np.isnan(four).all(0)
    return np.where(empty, fill, REDUCE[name](np.where(empty, 0, four), axis=0))


# 1032 -> 516 -> 258 and 1304 -> 652 -> 326: with tiles at odd places; 8 x 1080 has odd edges (270 -> 135).
@pytest.mark.parametrize(("shape", "shards"), [((1032, 1304), 0), ((1032, 1304), 2), ((24, 1080), 0)])
def test_overviews_equal_numpy(tmp_path: Path, shape: tuple[int, int], shards: int) -> None:
    layout = small_layout(shape=shape, shards=shards)
    mosaic = create_mosaic(tmp_path / "m.zarr", layout)
    rows, cols = layout.grid.tile_shape(0)
    keys = [TileKey(0, y, x) for y in range(rows) for x in range(cols) if (y * cols + x) % 3 != 1]
    for key in keys:
        mosaic.write_tile(1, key, tile_for(layout.grid, key))
    mosaic.write_tile(1, TileKey(1, 0, 0), tile_for(layout.grid, TileKey(1, 0, 0)))
    mosaic.write_pruned(1, [TileKey(0, 0, 1)])
    build_overviews(mosaic)
    assert layout.n_overviews == 2
    for code in FINE_CODES:
        expected = np.asarray(mosaic.array(0, code.name)[1])
        for overview in (1, 2):
            expected = _halve(expected, code.name, code.fill)
            np.testing.assert_array_equal(mosaic.array(overview, code.name)[1], expected, err_msg=code.name)
    for overview in (0, 1, 2):
        probability, reason = (np.asarray(mosaic.array(overview, name)[1]) for name in ("probability", "reason"))
        assert (reason[probability != 255] <= Reason.SEEN_WITH_LOSSES).all()


def test_only_touched_blocks_are_built(tmp_path: Path) -> None:
    layout = small_layout(shape=(1280, 1280))
    mosaic = create_mosaic(tmp_path / "m.zarr", layout)
    mosaic.write_tile(0, TileKey(0, 4, 4), tile_for(layout.grid, TileKey(0, 4, 4)))
    assert build_overviews(mosaic, times=[0]) == 2
    assert stored_blocks(mosaic.array(1, "reason"), 0) == {(4, 4)}
    assert stored_blocks(mosaic.array(2, "reason"), 0) == {(2, 2)}
    assert build_overviews(mosaic, times=[1]) == 0


def test_threads_do_not_change_the_bytes(tmp_path: Path) -> None:
    layout = small_layout(shape=(768, 768))
    mosaic = create_mosaic(tmp_path / "m.zarr", layout)
    for key in layout.grid.tiles():
        mosaic.write_tile(0, key, tile_for(layout.grid, key))
    build_overviews(mosaic, threads=1)
    alone = files_of(tmp_path)
    build_overviews(mosaic, threads=8)
    assert files_of(tmp_path) == alone


def test_overviews_follow_a_tile_that_was_written_again(tmp_path: Path) -> None:
    layout = small_layout(shape=(768, 768))
    mosaic = create_mosaic(tmp_path / "m.zarr", layout)
    key = TileKey(0, 0, 0)
    mosaic.write_tile(0, key, tile_for(layout.grid, key))
    build_overviews(mosaic)
    mosaic.write_tile(0, key, tile_for(layout.grid, key, time=1))
    build_overviews(mosaic)
    reference = _halve(np.asarray(mosaic.array(0, "probability")[0]), "probability", 255)
    np.testing.assert_array_equal(mosaic.array(1, "probability")[0], reference)


def test_unknown_period_is_refused(tmp_path: Path) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    with pytest.raises(UsageError, match="period lies outside"):
        build_overviews(mosaic, times=[2])
