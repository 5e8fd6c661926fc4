"""Deflate-compressed TIFF blocks without GDAL's decoder: its file layer, the libdeflate it brings, our own sums.

libtiff spends a third of the time of inflating on the differences that reflectance is stored as, and GDAL's block
cache copies every block once more. What is not just such a file, and whatever fails here, goes the usual way: GDAL
knows every case, and its errors say what is wrong.
"""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
_HEAD_MARGIN = 1.05
_HEAD_BYTES = 4 << 10
"""Rows are not all of one size when compressed: this much more than their share of the block is read."""
_FULL = 3
"""What libdeflate answers where its output is full: all of it was written but for a last match, or a stored run."""
_LAST_MATCH = 258
_INVENTED = 64 * _LAST_MATCH
"""Bytes that libdeflate can make of the eight zeros that it takes to lie behind a stream that ends too early."""
_MARK = np.frombuffer(b"\xa5\x5a\xc3\x3c\x0f\xf0\x99\x66", np.uint8)
_BEHIND_MARK = 1024
"""More than what libdeflate, which copies words, leaves behind the place it has come to."""
_SLACK = _INVENTED + _MARK.size + _BEHIND_MARK + _LAST_MATCH
_ZLIB_UP_TO = 4 * _SLACK
"""Heads that hold no more pixels' bytes than this are not worth the slack."""
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
    heads: Mapping[Block, int] = field(default_factory=dict)
    """Rows that are needed of those blocks that were not read to their end."""

    def release(self) -> None:
        """Leave the memory for other blocks: the last that was in use is in the cache."""
        _rooms.append(self.room)


class NotInflated(Exception):
    """A block is not the deflate stream of just its pixels."""


class Inflater:
    """Reads blocks of one file at full resolution; for one thread at a time."""

    def __init__(self, library: ctypes.CDLL, handle: int, dataset: Any, differences: bool, far: bool) -> None:
        self._library, self._handle, self._dataset, self._differences = library, handle, dataset, differences
        self._far = far
        """Whether a request takes time. Then blocks are read whole: the rest of one whose head fell short would be
        waited for by a thread that others wait for, and heads leave gaps between what is one range otherwise."""

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
        found = cls(library, handle, dataset, predictor == "2", far=path.startswith("/vsi"))
        order = ctypes.create_string_buffer(2)
        if library.VSIFReadL(order, 1, 2, handle) != 2 or order.raw != b"II":
            found.close()
            return None
        return found

    def fetch(self, grid: Sequence[Block], rows: Mapping[Block, int] | None = None) -> Packed | None:
        """The compressed (row, column) blocks of ``grid``.

        Of a block of which just the first ``rows`` are needed, no more is read than probably holds them, from a disk.

        None where GDAL must read them: a block was never written, or cannot be read.
        """
        places = [self._place(row, col) for row, col in grid]
        if any(size == 0 for _, size in places):
            return None
        heads = {}
        height = self._dataset.block_shapes[0][0]
        for i, block in enumerate(() if self._far else grid):
            offset, size = places[i]
            wanted = (rows or {}).get(block, height)
            head = int(size * wanted / height * _HEAD_MARGIN) + _HEAD_BYTES
            if wanted < height and head < size:
                heads[block] = wanted
                places[i] = (offset, head)
        ranges, starts = _coalesce(places)
        room = _take_room(sum(size for _, size in ranges))
        if not self._load(ranges, room.ctypes.data):
            return None
        base = room.ctypes.data
        where = {block: (base + start, size) for block, start, (_, size) in zip(grid, starts, places, strict=True)}
        return Packed(where, room, heads)

    def inflate(self, packed: Packed, block: Block, into: NDArray[Any]) -> int:
        """Decode one fetched block into all of ``into``, (y, x) and C-contiguous, or just its first rows.

        Returns the bytes that had to be read besides, because a stream's head did not hold the rows.

        Raises
        ------
        NotInflated
            where it is not what it should be: GDAL's decoder may know better, or say why.
        """
        if block in packed.heads:
            rows = into[: packed.heads[block]]
            if not (
                inflate_head(self._library, packed.where[block], into, rows.nbytes)
                or _inflate_head_slowly(packed.where[block], rows)
            ):
                return self._inflate_rest(packed, block, into)
            if self._differences:
                sum_differences(rows)
            return 0
        # Without a place for the real size, anything but exactly a block is an error.
        if self._library.libdeflate_zlib_decompress(
            _decompressor(self._library), *packed.where[block], into.ctypes.data, into.nbytes, None
        ):
            raise NotInflated(block)
        if self._differences:
            sum_differences(into)
        return 0

    def _inflate_rest(self, packed: Packed, block: Block, into: NDArray[Any]) -> int:
        """Read what a head lacks of its block, and decode all of it."""
        (address, head), (offset, size) = packed.where[block], self._place(*block)
        room = _take_room(size)
        base = room.ctypes.data
        ctypes.memmove(base, address, head)
        if not self._load([(offset + head, size - head)], base + head):
            raise NotInflated(block)
        self.inflate(Packed({block: (base, size)}, room), block, into)
        _rooms.append(room)
        return size - head

    def _load(self, ranges: Sequence[tuple[int, int]], address: int) -> bool:
        """Read ranges (offset, bytes) of the file to an address, one behind the other; False where that fails."""
        n, ends = len(ranges), np.cumsum([0, *(size for _, size in ranges)]).tolist()
        pointers = (ctypes.c_void_p * n)(*(address + end for end in ends[:-1]))
        offsets = (ctypes.c_uint64 * n)(*(offset for offset, _ in ranges))
        sizes = (ctypes.c_size_t * n)(*(size for _, size in ranges))
        return n == 0 or self._library.VSIFReadMultiRangeL(n, pointers, offsets, sizes, self._handle) == 0

    def _place(self, row: int, col: int) -> tuple[int, int]:
        """Offset and compressed bytes of a block; 0 bytes for one that was never written."""
        offset, size = (
            self._dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")
        )
        return (int(offset), int(size)) if offset and size else (0, 0)

    def close(self) -> None:
        self._library.VSIFCloseL(self._handle)


def inflate_head(library: ctypes.CDLL, where: tuple[int, int], into: NDArray[Any], wanted: int) -> bool:
    """Decode the first ``wanted`` bytes of a stream, and some more; False where it may not hold them.

    libdeflate takes whole streams only. But it fills its output from the front, and tells a full one from a stream
    that is broken or ends too early: what it says is made certain by a mark some way behind what is wanted. Other
    versions of it may not work so, which is found out once.
    """
    room = into.reshape(-1).view(np.uint8)
    if wanted <= _ZLIB_UP_TO or wanted + _SLACK > room.size or not _check(library):
        return False
    return _fills(library, where, room, wanted)


def _fills(library: ctypes.CDLL, where: tuple[int, int], room: NDArray[np.uint8], wanted: int) -> bool:
    mark = room[wanted + _INVENTED :][: _MARK.size]
    mark[:] = _MARK
    found = library.libdeflate_zlib_decompress(_decompressor(library), *where, room.ctypes.data, wanted + _SLACK, None)
    return bool(found == _FULL and not np.array_equal(mark, _MARK))


@lru_cache(maxsize=1)
def _check(library: ctypes.CDLL) -> bool:
    """Whether this libdeflate leaves the beginning of a stream's content where its output is full."""
    content = np.random.default_rng(0).integers(0, 40, 4 * _SLACK).astype(np.uint8)
    content[_SLACK:] = 0  # matches as well
    stream = np.frombuffer(zlib.compress(content.tobytes()), np.uint8)
    room, where = np.empty(content.size, np.uint8), (stream.ctypes.data, stream.size - 8)
    return all(
        _fills(library, where, room, wanted) and np.array_equal(room[:wanted], content[:wanted])
        for wanted in (_SLACK // 2, 2 * _SLACK)
    )


def _inflate_head_slowly(where: tuple[int, int], into: NDArray[Any]) -> bool:
    """Decode the first bytes of a stream, just ``into``; False where it does not hold them."""
    address, size = where
    try:
        found = zlib.decompressobj().decompress((ctypes.c_char * size).from_address(address), into.nbytes)
    except zlib.error:
        return False
    if len(found) < into.nbytes:
        return False
    into[:] = np.frombuffer(found, into.dtype).reshape(into.shape)
    return True


def share_read(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a block's bytes that is read where only its first rows are needed, a ``part`` of them above 0, to 1."""
    return np.minimum(part * _HEAD_MARGIN, 1.0)


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
