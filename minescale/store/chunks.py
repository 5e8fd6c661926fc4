"""Whole chunks of several arrays, encoded where they were made and stored together.

Zarr's own assignment sends every chunk through its event loop and two thread pools, once for each codec and once for
the store: of a tile's 16 small chunks that costs as much again as encoding and writing them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BytesCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

Place = tuple[int, slice, slice]
"""(time, y, x) of a window that begins and ends with chunks, or ends with the array."""


def write_whole(parts: Iterable[tuple[zarr.Array, Place, NDArray[Any]]]) -> None:
    """``array[where] = values`` for every part (array, where, values), in any order: the same keys, the same bytes.

    Arrays are (time, y, x) with chunks (1, n, n), ``where`` is made of whole chunks, ``values`` are (y, x). A chunk of
    nothing but fill values is not stored. Arrays that are stored in another way than as chunks of zstd (in shards) go
    through Zarr. After a failure each chunk is as it was, or new.
    """
    writes: list[tuple[Store, str, bytes | None]] = []
    for array, where, values in parts:
        codec = _compression(array)
        if codec is None:
            array[where] = values
            continue
        for key, chunk in _chunks(array, values, where):
            empty = _all_fill(chunk, array.fill_value)
            writes.append((array.store, key, None if empty else codec.encode(chunk)))
    _store(writes)


def _store(writes: Sequence[tuple[Store, str, bytes | None]]) -> None:
    buffer = default_buffer_prototype().buffer
    distant = []
    for store, key, packed in writes:
        if not isinstance(store, LocalStore):
            distant.append(store.delete(key) if packed is None else store.set(key, buffer.from_bytes(packed)))
        elif packed is None:
            store.delete_sync(key)
        else:  # threads that make files in one folder would only wait for each other
            store.set_sync(key, buffer.from_bytes(packed))
    if distant:
        sync(_all(distant))


async def _all(steps: Sequence[Awaitable[None]]) -> None:
    """All at once; a failure is raised when none is on its way any more."""
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _compression(array: zarr.Array) -> Zstd | None:
    """The codec of an array whose chunks are values as they lie in memory, packed by zstd; else None."""
    codecs = getattr(array.metadata, "codecs", ())
    match codecs:
        case (BytesCodec() as order, ZstdCodec(level=level, checksum=checksum)):
            native = order.endian is None or order.endian.value == sys.byteorder
            return Zstd(level=level, checksum=checksum) if native else None
        case _:
            return None


def _all_fill(chunk: NDArray[Any], fill: Any) -> bool:
    same = np.isnan(chunk) if chunk.dtype.kind == "f" and np.isnan(fill) else chunk == fill
    return bool(same.all())


def _chunks(array: zarr.Array, values: NDArray[Any], where: Place) -> Iterator[tuple[str, NDArray[Any]]]:
    """Key and values (n, n) of every chunk; what reaches past the array's end is filled."""
    time, rows, cols = where
    _, height, width = array.chunks
    for y in range(rows.start, rows.stop, height):
        for x in range(cols.start, cols.stop, width):
            part = values[y - rows.start : y - rows.start + height, x - cols.start : x - cols.start + width]
            chunk = np.ascontiguousarray(part)
            if chunk.shape != (height, width):
                chunk = np.full((height, width), array.fill_value, array.dtype)
                chunk[: part.shape[0], : part.shape[1]] = part
            yield f"{array.path}/{array.metadata.encode_chunk_key((time, y // height, x // width))}", chunk
