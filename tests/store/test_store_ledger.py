"""The ledger: what is recorded comes back, flushes are small, misuse is refused."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from store_writer import files_of, small_layout

from minescale.errors import StoreError, UsageError
from minescale.grid import MosaicGrid
from minescale.store.layout import MosaicLayout
from minescale.store.ledger import COLUMNS, VOLATILE, Ledger, TileState
from minescale.store.template import create_mosaic
from minescale.types import Period, TileKey

VALUES = {
    "state": TileState.AUDITED,
    "attempts": 2,
    "n_scenes": 300,
    "n_failed": 1,
    "bytes_read": 2**40,
    "seconds": 1.5,
    "cpu_seconds": 0.5,
    "max_probability": 0.25,
    "clear_share": 0.75,
    "seen_px": 2**33,
    "mine_px": 7,
    "score": 0.125,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_mosaic(tmp_path / "m.zarr", small_layout())
    return tmp_path / "m.zarr"


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grid = MosaicGrid(crs="EPSG:32630", resolution=10, left=0, top=0, shape=(8000, 8000), tile_size=8, factors=(1, 8))
    path = tmp_path_factory.mktemp("million") / "m.zarr"
    create_mosaic(path, MosaicLayout(grid=grid, periods=(Period.parse("2024"),), chunk=8))
    return path


def test_every_column_comes_back(path: Path) -> None:
    assert set(VALUES) == {column.name for column in COLUMNS}
    assert set(VOLATILE) < set(VALUES)
    keys = [(0, TileKey(0, 1, 3)), (1, TileKey(0, 0, 0)), (1, TileKey(1, 0, 0))]
    with Ledger.open(path) as ledger:
        for time, key in keys:
            ledger.record(time, key, **VALUES)
    again = Ledger.open(path, "r")
    for column in COLUMNS:
        for level, shape in ((0, (2, 2, 4)), (1, (2, 1, 1))):
            expected = np.full(shape, column.fill, column.dtype)
            for time, key in keys:
                if key.level == level:
                    expected[time, key.y, key.x] = VALUES[column.name]
            got = again.get(level, column.name)
            assert got.dtype == column.dtype
            np.testing.assert_array_equal(got, expected)


def test_nothing_is_written_before_a_flush_nor_twice(path: Path) -> None:
    before = files_of(path)
    ledger = Ledger.open(path)
    ledger.record(0, TileKey(0, 0, 0), state=TileState.DONE)
    assert files_of(path) == before
    assert ledger.flush() == 1
    assert set(files_of(path)) - set(before) == {"tiles/0/state/c/0/0/0"}
    assert ledger.flush() == 0


def test_misuse_changes_nothing(path: Path) -> None:
    ledger = Ledger.open(path)
    with pytest.raises(UsageError, match="no such column"):
        ledger.record(0, TileKey(0, 0, 0), state=TileState.DONE, colour=3)
    with pytest.raises(UsageError, match="outside the ledger"):
        ledger.record(2, TileKey(0, 0, 0), state=TileState.DONE)
    with pytest.raises(UsageError, match="outside the ledger"):
        ledger.record(0, TileKey(0, 2, 0), state=TileState.DONE)
    with pytest.raises(UsageError, match="level 2"):
        ledger.get(2, "state")
    with pytest.raises(ValueError, match="read-only"):
        ledger.get(0, "state")[0] = 1
    assert ledger.flush() == 0
    assert (ledger.get(0, "state") == TileState.PENDING).all()
    with pytest.raises(StoreError, match="open for reading"):
        Ledger.open(path, "r").record(0, TileKey(0, 0, 0), state=TileState.DONE)


def test_counts_stop_at_their_maximum(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.record(0, TileKey(0, 0, 0), attempts=300, n_scenes=10**6)
    assert ledger.get(0, "attempts")[0, 0, 0] == 255
    assert ledger.get(0, "n_scenes")[0, 0, 0] == 65535


def test_bytes_follow_from_the_content_alone(tmp_path: Path) -> None:
    """Many flushes in any order and one flush give the same files."""
    orders = {"a": [0, 1, 2, 3], "b": [3, 1, 0, 2]}
    for name, order in orders.items():
        create_mosaic(tmp_path / name, small_layout())
        with Ledger.open(tmp_path / name) as ledger:
            for x in order:
                if name == "b":
                    ledger.record(0, TileKey(0, 0, x), state=TileState.FAILED, n_failed=9)
                    ledger.flush()
                ledger.record(0, TileKey(0, 0, x), state=TileState.DONE, n_failed=0, max_probability=x / 4)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_million_tiles_flush_few_chunks(million: Path) -> None:
    """A flush writes what one row of finished tiles touched, not the million."""
    with Ledger.open(million) as ledger:
        outside = np.zeros((1, 1000, 1000), np.uint8)
        outside[:, :, 400:] = TileState.OUTSIDE
        ledger.put(0, "state", outside)
        assert ledger.flush() == 8 * 5
        for x in range(200):
            ledger.record(0, TileKey(0, 500, x), **VALUES)
        assert ledger.flush() == 2 * len(COLUMNS)
    state = Ledger.open(million, "r").get(0, "state")
    np.testing.assert_array_equal(np.bincount(state.ravel(), minlength=6), [399_800, 0, 0, 200, 0, 600_000])


def test_a_block_of_scores_marks_the_chunks_under_it(million: Path) -> None:
    with Ledger.open(million) as ledger:
        scores = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
        ledger.record_block(0, TileKey(0, 256, 252), "score", scores)
        assert ledger.flush() == 2, "two chunks meet at column 256"
        with pytest.raises(UsageError, match="outside"):
            ledger.record_block(0, TileKey(0, 996, 0), "score", scores)
        assert ledger.flush() == 0
    found = Ledger.open(million, "r").get(0, "score")[0]
    np.testing.assert_array_equal(found[256:264, 252:260], scores)


def test_a_value_that_stays_is_not_written(million: Path) -> None:
    with Ledger.open(million) as ledger:
        ledger.record(0, TileKey(0, 700, 700), n_failed=0, mine_px=0, seen_px=5)
        assert ledger.flush() == 1
        ledger.record(0, TileKey(0, 700, 700), n_failed=0, mine_px=0, seen_px=5)
        assert ledger.flush() == 0


def test_put_marks_only_what_changed(million: Path) -> None:
    ledger = Ledger.open(million)
    ledger.put(0, "score", ledger.get(0, "score"))
    assert ledger.flush() == 0, "NaN put over NaN is no change"


def test_flush_while_recording_loses_nothing(path: Path) -> None:
    ledger = Ledger.open(path)
    stop = threading.Event()

    def flush_on() -> None:
        while not stop.is_set():
            ledger.flush()

    flusher = threading.Thread(target=flush_on)
    flusher.start()
    for count in range(1, 400):
        for x in range(4):
            ledger.record(count % 2, TileKey(0, 1, x), n_scenes=count, state=TileState.DONE)
    stop.set()
    flusher.join()
    ledger.close()
    again = Ledger.open(path, "r")
    np.testing.assert_array_equal(again.get(0, "n_scenes"), ledger.get(0, "n_scenes"))
    assert again.get(0, "n_scenes")[1, 1].tolist() == [399] * 4
