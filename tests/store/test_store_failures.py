"""What can go wrong with a disk: killed writers, no room, no permission, damaged files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_writer import all_tiles, child, files_of, record_all, small_layout, tile_for, write_all

from minescale.errors import StoreError
from minescale.store.finalise import finalise
from minescale.store.ledger import Ledger, TileState
from minescale.store.mosaic import Mosaic
from minescale.store.template import create_mosaic
from minescale.types import TileKey

FIRST = TileKey(0, 0, 0)


@pytest.mark.drill
@pytest.mark.parametrize(("nth", "shards"), [(30, 0), (9, 2)])
def test_killed_writer_is_repaired_by_writing_again(tmp_path: Path, nth: int, shards: int) -> None:
    layout, path = small_layout(shards=shards), tmp_path / "m.zarr"
    create_mosaic(path, layout)
    assert child(path, "die_writing", nth).returncode == -9
    assert list(path.rglob("*.partial")), "the child was not killed between writing and renaming"
    mosaic = Mosaic.open(path)
    for time, key in all_tiles(layout):
        # Chunks come whole: each pixel is the tile's, or was never written.
        got, wanted = mosaic.read_tile(time, key), tile_for(layout.grid, key, time)
        assert ((got.reason == wanted.reason) | (got.reason == 255)).all()
    write_all(path, layout)
    finalise(path, {})
    write_all(tmp_path / "clean", layout)
    finalise(tmp_path / "clean", {})
    assert files_of(path) == files_of(tmp_path / "clean")


@pytest.mark.drill
def test_torn_flush_never_claims_more_than_it_has(tmp_path: Path) -> None:
    layout, path = small_layout(), tmp_path
    # Two levels and two periods: twelve chunks of the other columns, then the fine states, then the coarse ones.
    for nth, fine_done, coarse_done in ((5, 0, 0), (13, 0, 0), (15, 2, 0), (16, 2, 1)):
        path = tmp_path / f"{nth}.zarr"  # what is in a store already is not written again
        write_all(path, layout)
        assert child(path, "die_recording", nth).returncode == -9
        ledger = Ledger.open(path, "r")
        claimed = []
        for level in (0, 1):
            done = ledger.get(level, "state") == TileState.DONE
            assert (ledger.get(level, "n_scenes")[done] > 0).all()
            assert (ledger.get(level, "bytes_read")[done] == 10**9).all()
            assert not np.isnan(ledger.get(level, "max_probability")[done]).any()
            claimed.append(int(done.any(axis=(1, 2)).sum()))
        assert claimed == [fine_done, coarse_done]
    record_all(path, layout)
    finalise(path, {})
    write_all(tmp_path / "clean", layout)
    record_all(tmp_path / "clean", layout)
    finalise(tmp_path / "clean", {})
    assert files_of(path) == files_of(tmp_path / "clean")


def _assert_resumable(outcome: subprocess.CompletedProcess[str], path: Path) -> None:
    assert outcome.returncode == 1, outcome.stderr
    assert outcome.stderr.startswith("StoreError: cannot write tile 0/0/0 of period 0"), outcome.stderr
    assert str(path) in outcome.stderr
    assert "repeat the same command" in outcome.stderr


def test_file_size_limit_is_a_store_error(tmp_path: Path) -> None:
    """A limit on file size stands for a full disk where no file system may be mounted."""
    path = tmp_path / "m.zarr"
    mosaic = create_mosaic(path, small_layout())
    before = files_of(path)
    outcome = child(path, "one_tile", "limit")
    _assert_resumable(outcome, path)
    assert "File too large" in outcome.stderr
    assert files_of(path) == before, "the failed write left something"
    mosaic.write_tile(0, FIRST, tile_for(mosaic.grid, FIRST))
    assert (mosaic.read_tile(0, FIRST).reason == tile_for(mosaic.grid, FIRST).reason).all()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_a_store_error_and_room_lets_it_go_on(small_disk: Path) -> None:
    path, layout = small_disk / "m.zarr", small_layout()
    mosaic = create_mosaic(path, layout)
    reserve = small_disk / "reserve"
    reserve.write_bytes(bytes(100_000))
    written = []
    with pytest.raises(StoreError, match="No space left"):  # noqa: PT012 - any of the tiles may be the one
        for time, key in all_tiles(layout):
            mosaic.write_tile(time, key, tile_for(layout.grid, key, time))
            written.append((time, key))
    for time, key in written:
        assert (mosaic.read_tile(time, key).reason == tile_for(layout.grid, key, time).reason).all()
    with (small_disk / "rest").open("wb", buffering=0) as rest, pytest.raises(OSError, match="No space"):  # noqa: PT012
        while True:
            rest.write(bytes(4096))
    ledger = Ledger.open(path)
    for time, key in written:
        ledger.record(time, key, state=TileState.DONE, n_scenes=3)
    with pytest.raises(StoreError, match="cannot write the ledger"):
        ledger.flush()
    reserve.unlink()
    assert ledger.flush() > 0, "what a failed flush could not write must stay pending"
    assert written
    again = Ledger.open(path, "r")
    assert all(again.get(key.level, "state")[time, key.y, key.x] == TileState.DONE for time, key in written)


def test_read_only_folder_is_a_store_error() -> None:
    # Not below tmp_path: its parents are closed to the user that root turns into.
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        path = folder / "m.zarr"
        create_mosaic(path, small_layout())
        is_root = os.geteuid() == 0
        if not is_root:
            for below in (path, *(p for p in path.rglob("*") if p.is_dir())):
                below.chmod(0o555)
        outcome = child(path, "one_tile", "nobody" if is_root else "")
        _assert_resumable(outcome, path)
        assert "Permission denied" in outcome.stderr
    finally:
        for below in (folder / "m.zarr", *(p for p in folder.rglob("*") if p.is_dir())):
            below.chmod(0o755)
        shutil.rmtree(folder)


def test_a_file_in_the_way_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot create the mosaic"):
        create_mosaic(tmp_path / "file" / "m.zarr", small_layout())


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_chunk_fails_loudly_and_can_be_rewritten(tmp_path: Path, damage: str) -> None:
    mosaic = create_mosaic(tmp_path / "m.zarr", small_layout())
    tile = tile_for(mosaic.grid, FIRST)
    mosaic.write_tile(0, FIRST, tile)
    chunk = tmp_path / "m.zarr" / "0" / "probability" / "c" / "0" / "0" / "1"
    data = bytearray(chunk.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 0x40
    chunk.write_bytes({"cut": data[: len(data) // 2], "flipped": data, "empty": b""}[damage])
    with pytest.raises(StoreError, match="cannot read tile 0/0/0"):
        mosaic.read_tile(0, FIRST)
    mosaic.write_tile(0, FIRST, tile)
    np.testing.assert_array_equal(mosaic.read_tile(0, FIRST).probability, tile.probability)
