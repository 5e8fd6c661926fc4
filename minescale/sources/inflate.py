"""Deflate-compressed TIFF blocks without GDAL's decoder: its file layer, the libdeflate it brings, our own sums.

libtiff spends a third of the time of inflating on the differences that reflectance is stored as, and GDAL's block
cache copies every block once more. What is not just such a file, and whatever fails here, goes the usual way: GDAL
knows every case, and its errors say what is wrong.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
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

    def read(self, grid: Sequence[tuple[int, int]], into: Sequence[NDArray[Any]]) -> bool:
        """Decode the (row, column) blocks of ``grid`` into whole C-contiguous blocks; False where GDAL must do it."""
        places = [self._place(row, col) for row, col in grid]
        if any(size == 0 for _, size in places):
            return False
        ranges, starts = _coalesce(places)
        packed = _packed_room(sum(size for _, size in ranges))
        base, n = packed.ctypes.data, len(ranges)
        ends = np.cumsum([0, *(size for _, size in ranges)]).tolist()
        pointers = (ctypes.c_void_p * n)(*(base + end for end in ends[:-1]))
        offsets = (ctypes.c_uint64 * n)(*(offset for offset, _ in ranges))
        sizes = (ctypes.c_size_t * n)(*(size for _, size in ranges))
        if self._library.VSIFReadMultiRangeL(n, pointers, offsets, sizes, self._handle) != 0:
            return False
        decompressor = _decompressor(self._library)
        for start, (_, size), block in zip(starts, places, into, strict=True):
            # Without a place for the real size, anything but exactly a block is an error.
            if self._library.libdeflate_zlib_decompress(
                decompressor, base + start, size, block.ctypes.data, block.nbytes, None
            ):
                return False
            if self._differences:
                sum_differences(block)
        return True

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


def _packed_room(size: int) -> NDArray[np.uint8]:
    """Room for compressed bytes, the thread's own."""
    room: NDArray[np.uint8] | None = _local.__dict__.get("room")
    if room is None or room.size < size:
        room = _local.room = np.empty(size, np.uint8)
    return room


def _decompressor(library: ctypes.CDLL) -> int:
    found: int | None = _local.__dict__.get("decompressor")
    if found is None:
        found = _local.decompressor = library.libdeflate_alloc_decompressor()
    return found
