"""Tiles in and out: round trips, edges, pruning, shards, threads, processes, repetition."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import store_writer
import zarr
from store_writer import all_tiles, child, files_of, small_layout, tile_for, write_all

from minescale.errors import OutputMismatch, StoreError, UsageError
from minescale.store.backend import stored_blocks
from minescale.store.codes import FINE_CODES
from minescale.store.finalise import finalise
from minescale.store.ledger import Ledger, TileState
from minescale.store.mosaic import Mosaic, TileArrays
from minescale.store.template import create_mosaic
from minescale.types import Reason, TileKey


def assert_tile(got: TileArrays, expected: TileArrays) -> None:
    for code in FINE_CODES:
        np.testing.assert_array_equal(getattr(got, code.name), getattr(expected, code.name), err_msg=code.name)


@pytest.mark.parametrize("shards", [0, 2])
def test_every_tile_comes_back(tmp_path: Path, shards: int) -> None:
    layout = small_layout(shards=shards)
    write_all(tmp_path / "m.zarr", layout)
    mosaic = Mosaic.open(tmp_path / "m.zarr")
    assert mosaic.layout == layout
    for time, key in all_tiles(layout):
        assert_tile(mosaic.read_tile(time, key), tile_for(layout.grid, key, time))


def test_unwritten_tile_is_no_data(tmp_path: Path) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    for key in (TileKey(0, 1, 3), TileKey(1, 0, 0)):
        tile = mosaic.read_tile(1, key)
        for code in FINE_CODES:
            assert (getattr(tile, code.name) == code.fill).all()
    assert stored_blocks(mosaic.array(0, "reason"), 1) == set()


def test_tile_writes_only_its_own_whole_chunks(tmp_path: Path) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    before = files_of(tmp_path)
    key = TileKey(0, 1, 3)  # the corner: 208 x 40 px
    mosaic.write_tile(1, key, tile_for(mosaic.grid, key))
    new = set(files_of(tmp_path)) - set(before)
    assert new == {f"m.zarr/0/{code.name}/c/1/{y}/6" for code in FINE_CODES for y in (2, 3)}


def test_repeating_a_tile_repeats_the_bytes(tmp_path: Path) -> None:
    layout = small_layout()
    write_all(tmp_path / "m.zarr", layout)
    once = files_of(tmp_path)
    write_all(tmp_path / "m.zarr", layout)
    assert files_of(tmp_path) == once


def test_two_runs_are_byte_identical(tmp_path: Path) -> None:
    layout = small_layout(provenance={"run_id": "r"})
    for name in ("a", "b"):
        write_all(tmp_path / name, layout)
        store_writer.record_all(tmp_path / name, layout)
        finalise(tmp_path / name, {"mine_ha": 1.5})
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    once = files_of(tmp_path / "a")
    finalise(tmp_path / "a", {"mine_ha": 1.5})
    assert files_of(tmp_path / "a") == once


def test_a_user_setting_of_zarr_does_not_change_the_bytes(tmp_path: Path) -> None:
    layout = small_layout()
    write_all(tmp_path / "a", layout)
    with zarr.config.set({"array.write_empty_chunks": True}):
        write_all(tmp_path / "b", layout)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_wrong_tiles_are_refused(tmp_path: Path) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    full, edge = TileKey(0, 0, 0), TileKey(0, 1, 3)
    with pytest.raises(UsageError, match="does not fill its window"):
        mosaic.write_tile(0, edge, tile_for(mosaic.grid, full))
    with pytest.raises(UsageError, match="period lies outside"):
        mosaic.write_tile(2, full, tile_for(mosaic.grid, full))
    with pytest.raises(UsageError, match="tile lies outside"):
        mosaic.read_tile(0, TileKey(0, 9, 0))
    tile = tile_for(mosaic.grid, full)
    with pytest.raises(UsageError, match="wrong clear_count"):
        TileArrays(probability=tile.probability, clear_count=tile.reason, reason=tile.reason, level=tile.level)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="open for reading"):
        Mosaic.open(tmp_path / "m.zarr").write_tile(0, full, tile)


def test_pruned_tile_keeps_the_screen(tmp_path: Path) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    screen = tile_for(mosaic.grid, TileKey(1, 0, 0))
    mosaic.write_tile(0, TileKey(1, 0, 0), screen)
    for key in mosaic.grid.tiles(0):
        mosaic.write_pruned(0, [key])
        rows, cols = mosaic.grid.window(key)
        tile = mosaic.read_tile(0, key)
        for name in ("probability", "clear_count", "reason"):
            repeated = np.kron(getattr(screen, name), np.ones((8, 8), int))[rows, cols]
            np.testing.assert_array_equal(getattr(tile, name), repeated)
        assert (tile.level == 1).all()


@pytest.mark.parametrize("shards", [0, 2])
def test_pruned_neighbours_are_the_tiles_they_would_be_alone(tmp_path: Path, shards: int) -> None:
    layout = small_layout(shards=shards)
    together, alone = (create_mosaic(tmp_path / name, layout) for name in ("together", "alone"))
    screen = tile_for(layout.grid, TileKey(1, 0, 0))
    for mosaic in (together, alone):
        mosaic.write_tile(0, TileKey(1, 0, 0), screen)
    survivor = TileKey(0, 0, 1)
    pruned = [key for key in layout.grid.tiles(0) if key != survivor]
    found = together.write_pruned(0, pruned[::-1])
    for key, part in zip(pruned[::-1], found, strict=True):
        (one,) = alone.write_pruned(0, [key])
        assert_tile(part, one)
        rows, cols = layout.grid.window(key)
        cells = np.s_[rows.start // 8 : rows.stop // 8, cols.start // 8 : cols.stop // 8]
        np.testing.assert_array_equal(part.probability, screen.probability[cells])
    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")
    assert (together.read_tile(0, survivor).reason == Reason.NOT_PROCESSED).all()


def test_pruning_needs_a_written_screen(tmp_path: Path) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    with pytest.raises(StoreError, match="never written"):
        mosaic.write_pruned(0, [TileKey(0, 0, 0)])
    with pytest.raises(UsageError, match="level-0"):
        mosaic.write_pruned(0, [TileKey(1, 0, 0)])
    with pytest.raises(UsageError, match="coarser level"):
        mosaic.write_pruned(0, [TileKey(0, 0, 0)], source=2)


def test_threads_write_different_tiles_of_one_mosaic(tmp_path: Path) -> None:
    layout = small_layout(shards=2)
    mosaic = create_mosaic(tmp_path / "m.zarr", layout)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: mosaic.write_tile(*at, tile_for(layout.grid, at[1], at[0])), all_tiles(layout)))
    write_all(tmp_path / "alone", layout)
    assert files_of(tmp_path / "m.zarr") == files_of(tmp_path / "alone")


def test_two_processes_lose_nothing_of_a_sharded_store(tmp_path: Path) -> None:
    layout = small_layout(shards=2)
    create_mosaic(tmp_path / "m.zarr", layout)
    command = [sys.executable, store_writer.__file__, str(tmp_path / "m.zarr"), "every_second"]
    children = [subprocess.Popen([*command, str(half)]) for half in (0, 1)]
    assert [process.wait(120) for process in children] == [0, 0]
    write_all(tmp_path / "alone", layout)
    assert files_of(tmp_path / "m.zarr") == files_of(tmp_path / "alone")


def test_mosaic_pickles_by_path(tmp_path: Path) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    data = pickle.dumps(mosaic)
    assert len(data) < 500
    again = pickle.loads(data)  # noqa: S301 - our own bytes
    assert again.layout == mosaic.layout
    key = TileKey(0, 0, 0)
    again.write_tile(0, key, tile_for(mosaic.grid, key))
    assert_tile(mosaic.read_tile(0, key), tile_for(mosaic.grid, key))


def test_creating_again_opens(tmp_path: Path) -> None:
    layout = small_layout(provenance={"run_id": "r"})
    write_all(tmp_path / "m.zarr", layout)
    before = files_of(tmp_path)
    mosaic = create_mosaic(tmp_path / "m.zarr", layout)
    assert mosaic.mode == "r+"
    assert files_of(tmp_path) == before


def test_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    write_all(tmp_path / "m.zarr", small_layout(provenance={"run_id": "r"}))
    before = files_of(tmp_path)
    with pytest.raises(OutputMismatch, match=r"(?s)chunk: 256, not 128; provenance\.run_id: s, not r"):
        create_mosaic(tmp_path / "m.zarr", small_layout(chunk=256, provenance={"run_id": "s"}))
    assert files_of(tmp_path) == before


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    zarr.create_group(tmp_path / "other.zarr", attributes={"mine": 1})
    for name in ("photos", "photos/cat.jpg", "other.zarr"):
        before = files_of(tmp_path)
        with pytest.raises((OutputMismatch, StoreError)):
            create_mosaic(tmp_path / name, small_layout())
        assert files_of(tmp_path) == before
    with pytest.raises(OutputMismatch, match="not minescale's"):
        Mosaic.open(tmp_path / "other.zarr")
    for mode in ("r", "r+"):
        with pytest.raises(StoreError, match="no such folder"):
            Mosaic.open(tmp_path / "absent", mode)
    assert not (tmp_path / "absent").exists()


@pytest.mark.drill
@pytest.mark.parametrize("nth", [1, 30, 62])
def test_template_killed_half_way_is_made_anew(tmp_path: Path, nth: int) -> None:
    path = tmp_path / "m.zarr"
    assert child(path, "die_creating", nth).returncode == -9
    with pytest.raises(StoreError):
        Mosaic.open(path)
    create_mosaic(path, small_layout())
    finalise(path, {})
    create_mosaic(tmp_path / "clean", small_layout())
    finalise(tmp_path / "clean", {})
    assert files_of(path) == files_of(tmp_path / "clean")


def test_object_store_url(tmp_path: Path) -> None:
    """fsspec's memory file system stands for any remote store."""
    url = f"memory://{tmp_path.name}/m.zarr"
    layout = small_layout()
    mosaic = create_mosaic(url, layout)
    for time, key in all_tiles(layout):
        mosaic.write_tile(time, key, tile_for(layout.grid, key, time))
    with Ledger.open(url) as ledger:
        ledger.record(0, TileKey(0, 0, 0), state=TileState.DONE)
    finalise(url, {})
    again = create_mosaic(url, layout)
    assert_tile(again.read_tile(1, TileKey(0, 1, 3)), tile_for(layout.grid, TileKey(0, 1, 3), 1))
    assert (np.asarray(again.array(1, "reason")[:]) <= Reason.READ_FAILED).all()
    assert Ledger.open(url, "r").get(0, "state")[0, 0, 0] == TileState.DONE
