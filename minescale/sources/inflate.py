"""Deflate-compressed TIFF blocks without GDAL's decoder: its file layer, the libdeflate it brings, our own sums.

libtiff spends a third of the time of inflating on the differences that reflectance is stored as, and GDAL's block
cache copies every block once more. What is not just such a file, and whatever fails here, goes the usual way: GDAL
knows every case, and its errors say what is wrong.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.kernels.differences import sum_differences

_FILE_SYSTEMS = {"http": "vsicurl/http", "https": "vsicurl/https", "s3": "vsis3", "gs": "vsigs", "az": "vsiaz"}
"""GDAL's name for what comes before ``://``."""
_MAX_BLOCK_BYTES = 8 << 20
_GAP_BYTES = 16 << 10
"""Bytes that nobody needs cost less than another request, up to this many."""
_DTYPES = {"uint8", "uint16"}
_SAMPLES_OF_OWN = {"NBITS", "SOURCE_COLOR_SPACE"}
"""Image structure under which a block does not simply hold pixels."""

_local = threading.local()
_rooms: list[NDArray[np.uint8]] = []
"""Memory for compressed blocks; appending and popping are atomic."""


Block = tuple[int, int]
"""(row, column)."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Compressed blocks."""

    where: dict[Block, tuple[int, int]]
    """Address and bytes."""
    room: NDArray[np.uint8]
    """The memory that they lie in."""

    def release(self) -> None:
        """Leave the memory for other blocks: the last that was in use is in the cache."""
        _rooms.append(self.room)


class NotInflated(Exception):
    """A block is not the deflate stream of just its pixels."""


class Inflater:
    """Reads blocks of one file at full resolution; for one thread at a time."""

    def __init__(self, library: ctypes.CDLL, handle: int, dataset: Any, differences: bool) -> None:
        self._library, self._handle, self._dataset, self._differences = library, handle, dataset, differences

    @classmethod
    def of(cls, dataset: Any, url: str) -> Inflater | None:
        """For a rasterio dataset opened at ``url``; None where GDAL must decode."""
        structure = {**dataset.tags(ns="IMAGE_STRUCTURE"), **dataset.tags(1, ns="IMAGE_STRUCTURE")}
        predictor, (rows, cols), dtype = structure.get("PREDICTOR", "1"), dataset.block_shapes[0], dataset.dtypes[0]
        plain = (
            dataset.driver == "GTiff"
            and dataset.count == 1
            and dtype in _DTYPES
            and structure.get("COMPRESSION") == "DEFLATE"
            and predictor in {"1", "2"}
            and not _SAMPLES_OF_OWN & set(structure)
            and rows * cols * np.dtype(dtype).itemsize <= _MAX_BLOCK_BYTES
        )
        library, path = _library(), _gdal_path(url)
        if not plain or library is None or path is None:
            return None
        handle = library.VSIFOpenL(path.encode(), b"rb")
        if not handle:
            return None
        found = cls(library, handle, dataset, predictor == "2")
        order = ctypes.create_string_buffer(2)
        if library.VSIFReadL(order, 1, 2, handle) != 2 or order.raw != b"II":
            found.close()
            return None
        return found

    def fetch(self, grid: Sequence[Block]) -> Packed | None:
        """The compressed (row, column) blocks of ``grid``.

        None where GDAL must read them: a block was never written, or cannot be read.
        """
        places = [self._place(row, col) for row, col in grid]
        if any(size == 0 for _, size in places):
            return None
        ranges, starts = _coalesce(places)
        ends = np.cumsum([0, *(size for _, size in ranges)]).tolist()
        room = _take_room(ends[-1])
        base, n = room.ctypes.data, len(ranges)
        pointers = (ctypes.c_void_p * n)(*(base + end for end in ends[:-1]))
        offsets = (ctypes.c_uint64 * n)(*(offset for offset, _ in ranges))
        sizes = (ctypes.c_size_t * n)(*(size for _, size in ranges))
        if n and self._library.VSIFReadMultiRangeL(n, pointers, offsets, sizes, self._handle) != 0:
            return None
        where = {block: (base + start, size) for block, start, (_, size) in zip(grid, starts, places, strict=True)}
        return Packed(where, room)

    def inflate(self, packed: Packed, block: Block, into: NDArray[Any]) -> None:
        """Decode one fetched block into all of ``into``, (y, x) and C-contiguous.

        Raises
        ------
        NotInflated
            where it is not what it should be: GDAL's decoder may know better, or say why.
        """
        # Without a place for the real size, anything but exactly a block is an error.
        if self._library.libdeflate_zlib_decompress(
            _decompressor(self._library), *packed.where[block], into.ctypes.data, into.nbytes, None
        ):
            raise NotInflated(block)
        if self._differences:
            sum_differences(into)

    def _place(self, row: int, col: int) -> tuple[int, int]:
        """Offset and compressed bytes of a block; 0 bytes for one that was never written."""
        offset, size = (
            self._dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")
        )
        return (int(offset), int(size)) if offset and size else (0, 0)

    def close(self) -> None:
        self._library.VSIFCloseL(self._handle)


def _coalesce(places: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[int]]:
    """Ranges (offset, bytes) that cover ``places`` with small gaps, and where each place begins in what they read."""
    ranges: list[tuple[int, int]] = []
    starts = [0] * len(places)
    packed = 0
    for i in sorted(range(len(places)), key=places.__getitem__):
        offset, size = places[i]
        if ranges and 0 <= offset - sum(ranges[-1]) <= _GAP_BYTES:
            first = ranges[-1][0]
            starts[i] = packed + offset - first
            ranges[-1] = (first, offset + size - first)
        else:
            packed += ranges[-1][1] if ranges else 0
            starts[i] = packed
            ranges.append((offset, size))
    return ranges, starts


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The GDAL that rasterio is linked to, with the libdeflate below it; None where one of both cannot be reached."""
    import rasterio._base

    try:
        # Symbols are looked up in what the module depends on, too.
        library = ctypes.CDLL(rasterio._base.__file__)
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        for name, result, arguments in (
            ("VSIFOpenL", pointer, [ctypes.c_char_p, ctypes.c_char_p]),
            ("VSIFReadL", size, [pointer, size, size, pointer]),
            ("VSIFReadMultiRangeL", ctypes.c_int, [ctypes.c_int, pointer, pointer, pointer, pointer]),
            ("VSIFCloseL", ctypes.c_int, [pointer]),
            ("libdeflate_alloc_decompressor", pointer, []),
            ("libdeflate_zlib_decompress", ctypes.c_int, [pointer, pointer, size, pointer, size, pointer]),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library


def _gdal_path(url: str) -> str | None:
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    system = _FILE_SYSTEMS.get(scheme)
    if system is None:
        return rest if scheme == "file" else None
    return f"/{system}://{rest}" if "vsicurl" in system else f"/{system}/{rest}"


def _take_room(size: int) -> NDArray[np.uint8]:
    try:
        room = _rooms.pop()
    except IndexError:
        return np.empty(size, np.uint8)
    return room if room.size >= size else np.empty(size, np.uint8)


def _decompressor(library: ctypes.CDLL) -> int:
    found: int | None = _local.__dict__.get("decompressor")
    if found is None:
        found = _local.decompressor = library.libdeflate_alloc_decompressor()
    return found
