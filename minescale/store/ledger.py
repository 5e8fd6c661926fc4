"""The state of every tile, in the store it describes.

Columns live in memory and are written by the driver only, every few seconds. Order makes a kill harmless: pixels are
written before ``record``; a flush writes all other columns before ``state``, and the states of fine tiles before those
of the tiles they came from. So whatever ``state`` says on disk is backed by data on disk. This holds for killed
processes; after a power cut, files that the system had not synced yet may be missing or broken.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import zarr

from minescale.errors import StoreError, UsageError
from minescale.store.backend import open_array, open_root, storing
from minescale.store.chunks import Place, write_whole
from minescale.types import TileKey

LEDGER_CHUNK = 128
"""Tiles along a chunk's edge: a flush rewrites a few files of at most 128 kB, whatever the size of the country."""
_CHUNKS = (1, LEDGER_CHUNK, LEDGER_CHUNK)


class TileState(enum.IntEnum):
    """What became of a tile. The values of the ledger's ``state`` arrays."""

    PENDING = 0
    """Not done yet; the fill value."""
    DONE = 1
    """Processed at this level; its pixels are in the mosaic."""
    PRUNED = 2
    """Decided by a coarser level."""
    AUDITED = 3
    """Decided by a coarser level, and processed anyway as a sample."""
    FAILED = 4
    """Given up after its attempts."""
    OUTSIDE = 5
    """Does not touch the area of interest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One ledger array over (time, tile_y, tile_x)."""

    name: str
    dtype: np.dtype[Any]
    fill: float = 0
    attrs: Mapping[str, Any] = field(default_factory=dict)


def _column(name: str, dtype: str, long_name: str, units: str = "1", fill: float = 0) -> Column:
    return Column(name=name, dtype=np.dtype(dtype), fill=fill, attrs={"long_name": long_name, "units": units})


COLUMNS = (
    _column("attempts", "uint8", "times the tile was tried"),
    _column("n_scenes", "uint16", "scenes used"),
    _column("n_failed", "uint16", "scenes that could not be read"),
    _column("bytes_read", "int64", "bytes read from the sources", "byte"),
    _column("seconds", "float32", "wall time", "s"),
    _column("cpu_seconds", "float32", "processor time", "s"),
    _column("max_probability", "float32", "highest probability in the tile", fill=np.nan),
    _column("clear_share", "float32", "share of pixels with a clear look", fill=np.nan),
    _column("seen_px", "int64", "pixels with a probability"),
    _column("mine_px", "int64", "pixels at or above the decision threshold"),
    _column("score", "float32", "score that the coarser level gave the tile", fill=np.nan),
    Column(
        name="state",
        dtype=np.dtype("uint8"),
        attrs={
            "long_name": "state of the tile",
            "flag_values": [int(state) for state in TileState],
            "flag_meanings": " ".join(state.name.lower() for state in TileState),
        },
    ),
)
VOLATILE = ("attempts", "bytes_read", "seconds", "cpu_seconds")
"""Columns that may differ between an undisturbed and a resumed run. All else in the store is byte-identical."""

_NAMES = frozenset(column.name for column in COLUMNS)

_Block = tuple[bool, int, str, int, int, int]
"""A dirty chunk: is state, level, column, time, chunk y, chunk x. Sorts in the order of writing."""


class Ledger:
    """Tile states of a mosaic, held in memory. Thread-safe; one ledger per store may write.

    Use :meth:`open`; as a context manager it flushes and closes at the end.
    """

    def __init__(self, path: str | Path, arrays: dict[tuple[int, str], zarr.Array], *, writable: bool) -> None:
        self.path = path
        self._arrays = arrays
        self._writable = writable
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._dirty: set[_Block] = set()
        with storing(path, "read the ledger"):
            self._values: dict[tuple[int, str], npt.NDArray[Any]] = {
                where: np.asarray(array[...]) for where, array in arrays.items()
            }

    @classmethod
    def open(cls, path: str | Path, mode: Literal["r", "r+"] = "r+") -> Self:
        """Load all columns of the mosaic at ``path``.

        Raises StoreError where there is no mosaic or it cannot be read.
        """
        with storing(path, "open the ledger"):
            root = open_root(path, read_only=mode == "r")
            levels = sorted(int(name) for name in cast("zarr.Group", root["tiles"]).group_keys())
            arrays = {
                (level, column.name): open_array(root, f"tiles/{level}/{column.name}")
                for level in levels
                for column in COLUMNS
            }
        return cls(path, arrays, writable=mode == "r+")

    @property
    def n_levels(self) -> int:
        return 1 + max(level for level, _ in self._values)

    def get(self, level: int, column: str) -> npt.NDArray[Any]:
        """Read-only live view of a column: (time, tile_y, tile_x)."""
        view = self._column(level, column).view()
        view.flags.writeable = False
        return view

    def record(self, time: int, key: TileKey, **columns: float) -> None:
        """Set columns of one tile, in memory. Record ``state`` only after the tile's pixels are written.

        Counts beyond a column's type stay at its maximum. Raises UsageError for an unknown column or a tile outside the
        mosaic; nothing is set then.
        """
        self._check_writable()
        targets = {name: self._column(key.level, name) for name in columns}
        for values in targets.values():
            n, rows, cols = values.shape
            if not (0 <= time < n and key.y < rows and key.x < cols):
                raise UsageError(
                    "tile lies outside the ledger",
                    got=f"period {time}, tile {key}",
                    expected=f"period < {n}, y < {rows}, x < {cols}",
                )
        chunk = (time, key.y // LEDGER_CHUNK, key.x // LEDGER_CHUNK)
        with self._lock:
            for name, given in columns.items():
                value = given
                values = targets[name]
                if values.dtype.kind in "iu":
                    value = min(int(given), int(np.iinfo(values.dtype).max))
                if values[time, key.y, key.x] != value:
                    values[time, key.y, key.x] = value
                    self._dirty.add((name == "state", key.level, name, *chunk))

    def record_block(self, time: int, first: TileKey, column: str, values: npt.NDArray[Any]) -> None:
        """Set one column of neighbouring tiles, in memory: ``values`` is (tile_y, tile_x) from tile ``first`` on.

        Raises UsageError for an unknown column or a block that is not within the mosaic; nothing is set then.
        """
        self._check_writable()
        target = self._column(first.level, column)
        (n, rows, cols), (y1, x1) = target.shape, (first.y + values.shape[0], first.x + values.shape[1])
        if not (0 <= time < n and y1 <= rows and x1 <= cols):
            raise UsageError(
                "tiles lie outside the ledger",
                got=f"period {time}, {values.shape[0]} x {values.shape[1]} tiles from {first}",
                expected=f"period < {n}, y < {rows}, x < {cols}",
            )
        with self._lock:
            target[time, first.y : y1, first.x : x1] = values
            self._dirty.update(
                (column == "state", first.level, column, time, y, x)
                for y in range(first.y // LEDGER_CHUNK, (y1 - 1) // LEDGER_CHUNK + 1)
                for x in range(first.x // LEDGER_CHUNK, (x1 - 1) // LEDGER_CHUNK + 1)
            )

    def put(self, level: int, column: str, values: npt.ArrayLike) -> None:
        """Set a whole column, in memory: anything that broadcasts to (time, tile_y, tile_x)."""
        self._check_writable()
        target = self._column(level, column)
        with self._lock:
            before = target.copy()
            target[...] = values
            changed = target != before
            if target.dtype.kind == "f":
                changed &= ~(np.isnan(target) & np.isnan(before))
            times, rows, cols = (range(-(-n // size)) for n, size in zip(target.shape, _CHUNKS, strict=True))
            self._dirty.update(
                (column == "state", level, column, t, y, x)
                for t, y, x in product(times, rows, cols)
                if changed[t, *_rows_cols(y, x)].any()
            )

    def flush(self) -> int:
        """Write what changed since the last flush; returns the number of chunks written.

        Raises StoreError where the store cannot be written; nothing is lost then, a later flush writes it.
        """
        with self._flushing:
            with self._lock:
                # Non-state first; then states, finest level first.
                blocks = sorted(self._dirty)
                self._dirty.clear()
                copies = {block: self._values[block[1:3]][_place(block)].copy() for block in blocks}
            written = 0
            try:
                with storing(self.path, "write the ledger"):
                    for _, group in groupby(blocks, key=lambda block: (block[0], block[0] * block[1])):
                        together = list(group)
                        write_whole((self._arrays[block[1:3]], _place(block), copies[block]) for block in together)
                        written += len(together)
            finally:
                with self._lock:
                    self._dirty.update(blocks[written:])
            return written

    def close(self) -> None:
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_writable(self) -> None:
        if not self._writable:
            raise StoreError(f"ledger of {self.path} is open for reading", fix='Ledger.open(path, "r+")')

    def _column(self, level: int, column: str) -> npt.NDArray[Any]:
        found = self._values.get((level, column))
        if found is None:
            raise UsageError(
                "ledger has no such column or level",
                got=f"level {level}, column {column}",
                expected=f"level < {self.n_levels}, column of {', '.join(sorted(_NAMES))}",
            )
        return found


def _place(block: _Block) -> Place:
    *_, time, y, x = block
    return (time, *_rows_cols(y, x))


def _rows_cols(y: int, x: int) -> tuple[slice, slice]:
    n = LEDGER_CHUNK
    return slice(y * n, (y + 1) * n), slice(x * n, (x + 1) * n)
