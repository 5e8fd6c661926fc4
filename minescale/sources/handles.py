"""Open files: a process keeps those it used last.

A GDAL dataset serves one thread at a time, and opening one costs requests; so a thread borrows a file for one read,
and whoever reads it next finds it open.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from minescale.sources import reuse
from minescale.sources.inflate import Block, Inflater
from minescale.sources.windows import Window, blocks

Address = Callable[[], str]
"""Gives the address to open now, signed."""

IDLE_BYTES = 128 << 20
"""What files that nobody reads may hold: large blocks mean fewer files."""
_OPEN_BYTES = 128 << 10
"""What one level of an open file holds; where GDAL decodes, its TIFF library keeps a compressed block beside."""
_IDLE_FILES = 256
"""Such files at most: each has up to three descriptors, of the 1024 that a process is given as a rule."""
_WHOLE_BYTES = 64 << 20
"""Where the blocks under a window are larger than this, as in an untiled image, only the window is held."""
_ROOM_BYTES = 4 << 20
"""Room that a thread keeps for the windows it reads; more where a window needs it."""
_UNKNOWN_RATIO = 0.5
"""Compressed share of a block's size assumed where the format does not tell."""

_local = threading.local()
_idle: OrderedDict[tuple[int, str], list[File]] = OrderedDict()
"""By process and address, the one used longest ago first: a forked child must not read its parent's."""
_idle_bytes = _idle_files = 0
_idle_lock = threading.Lock()
_broken: OrderedDict[str, None] = OrderedDict()
_broken_lock = threading.Lock()
_BROKEN_LIMIT = 10_000


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Parts:
    """Pixels of a window, in pieces that cover it. They are this thread's until :attr:`release`, or its next read."""

    pieces: Iterable[tuple[Window, NDArray[Any]]]
    """Once, and each until the next: they may be decoded one by one, which raises :class:`NotInflated` where GDAL must
    do it."""
    bytes_read: int
    """Compressed bytes read for it; final once all pieces were taken."""
    decoded: int
    """Blocks decoded for it."""
    release: Callable[[], None] = _nothing
    """Ends the use of the pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One open image at one level: full resolution, or one of its overviews."""

    dataset: Any
    """rasterio dataset of this level."""
    base: Any
    """rasterio dataset of the full resolution."""
    href: str
    """Its address in the catalogue."""
    overview: int | None
    crs: str | None
    transform: Affine
    shape: tuple[int, int]
    block_shape: tuple[int, int]
    factors: tuple[int, ...]
    """Decimation factors of the overviews, rising."""
    dtype: str
    inflater: Inflater | None

    def read(
        self,
        window: Window,
        ahead: tuple[Window, ...] = (),
        budget: int = 0,
        needed: Window | None = None,
        idle: frozenset[Block] = frozenset(),
        *,
        inflate: bool = True,
    ) -> Parts:
        """First band inside ``window``, as stored; without ``inflate`` decoded by GDAL in any case.

        What windows ``ahead`` need of these blocks as well is kept, decoded, in up to ``budget`` bytes of this process;
        what an earlier call kept is not read again, and then pixels of ``window`` outside ``needed`` may be missing.
        ``idle`` blocks need not be read.
        """
        grid = blocks(window, self.block_shape)
        held: dict[Block, reuse.Kept] = {}
        wanted: Mapping[Block, Window] = {}
        if budget:
            wanted = _shares(window, ahead, self.block_shape)
            held = reuse.take(self._key, _shares(window, (needed or window,), self.block_shape), wanted)
        new = {block: share for block, share in wanted.items() if block not in held}
        busy = [block for block in grid if block not in idle]
        if not busy:
            return Parts((), 0, 0)
        if inflate and self.inflater:
            found = self._inflated(self.inflater, window, needed or window, busy, held, new, budget)
            if found is not None:
                return found
        extent = self._extent(grid)
        if (not held and not new) or extent.shape[0] * extent.shape[1] * _itemsize(self.dtype) > _WHOLE_BYTES:
            return Parts([(window, self._load(window, _room(window.shape, self.dtype)))], *self._cost(grid))
        return self._of_window(window, extent, grid, held, new, budget)

    def _inflated(
        self,
        inflater: Inflater,
        window: Window,
        needed: Window,
        grid: Sequence[Block],
        held: Mapping[Block, reuse.Kept],
        new: Mapping[Block, Window],
        budget: int,
    ) -> Parts | None:
        missing = [block for block in grid if block not in held]
        ends = {block: max(needed.row1, new[block].row1 if block in new else 0) for block in missing}
        packed = inflater.fetch(
            missing, {block: max(end - block[0] * self.block_shape[0], 1) for block, end in ends.items()}
        )
        if packed is None:
            return None
        found = Parts((), sum(packed.where[block][1] for block in missing), len(missing), packed.release)

        def pieces() -> Iterator[tuple[Window, NDArray[Any]]]:
            for block in grid:
                if block in held:
                    extent, pixels = held[block].window, held[block].pixels
                else:
                    extent, pixels = self._extent([block]), _room(self.block_shape, self.dtype)
                    found.bytes_read += inflater.inflate(packed, block, pixels)
                    if block in new:
                        reuse.keep(self._key, block, new[block], pixels[new[block].within(extent)], budget)
                    if block in packed.heads:
                        extent = extent.clip_to(Window(0, ends[block], 0, self.shape[1]))
                part = extent.clip_to(window)
                yield part, pixels[part.within(extent)]

        found.pieces = pieces()
        return found

    def _of_window(
        self,
        window: Window,
        whole: Window,
        grid: Sequence[Block],
        held: Mapping[Block, reuse.Kept],
        new: Mapping[Block, Window],
        budget: int,
    ) -> Parts:
        data = _room(whole.shape, self.dtype)
        missing = [block for block in grid if block not in held]
        loaded: list[Block] = []
        parts = [missing] if missing else []
        if held.keys() & {block for part in parts for block in blocks(self._extent(part), self.block_shape)}:
            parts = _runs(missing)  # in one go, blocks that are kept would be decoded again
        for part in parts:
            extent = self._extent(part)
            loaded += blocks(extent, self.block_shape)
            self._load(extent, data[extent.within(whole)])
        for kept in held.values():
            data[kept.window.within(whole)] = kept.pixels
        for block, share in new.items():
            reuse.keep(self._key, block, share, data[share.within(whole)], budget)
        return Parts([(window, data[window.within(whole)])], *self._cost(loaded))

    @property
    def _key(self) -> tuple[str, int | None]:
        return (self.href, self.overview)

    def _extent(self, grid: Sequence[tuple[int, int]]) -> Window:
        """The pixels from the first to the last of ``grid``, which is in row order or is one block."""
        height, width = self.block_shape
        rows, cols = [row for row, _ in grid], [col for _, col in grid]
        return Window(min(rows) * height, (max(rows) + 1) * height, min(cols) * width, (max(cols) + 1) * width).clip(
            self.shape
        )

    def _load(self, window: Window, out: NDArray[Any]) -> NDArray[Any]:
        from rasterio.windows import Window as RasterWindow

        rows, cols = window.shape
        pixels: NDArray[Any] = self.dataset.read(1, window=RasterWindow(window.col0, window.row0, cols, rows), out=out)
        return pixels

    def _cost(self, grid: Sequence[tuple[int, int]]) -> tuple[int, int]:
        return sum(self.block_cost(row, col) for row, col in grid), len(grid)

    def block_cost(self, row: int, col: int) -> int:
        """Compressed bytes of one block: exact for a TIFF (0 for a block never written), else an estimate."""
        if self.base.driver not in {"GTiff", "COG"}:
            return int(self.block_shape[0] * self.block_shape[1] * _itemsize(self.dtype) * _UNKNOWN_RATIO)
        size = self.base.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1, ovr=self.overview)
        return int(size) if size else 0


@lru_cache(maxsize=64)
def _shares(window: Window, others: tuple[Window, ...], block_shape: tuple[int, int]) -> Mapping[Block, Window]:
    """Of each block under ``window`` the rectangle that the ``others`` need, where they do; the same for all dates."""
    height, width = block_shape
    found: dict[Block, Window] = {}
    for row, col in blocks(window, block_shape):
        extent = Window(row * height, (row + 1) * height, col * width, (col + 1) * width)
        parts = [part for other in others if not (part := other.clip_to(extent)).empty]
        if parts:
            found[row, col] = Window(
                min(part.row0 for part in parts),
                max(part.row1 for part in parts),
                min(part.col0 for part in parts),
                max(part.col1 for part in parts),
            )
    return found


def _runs(grid: Sequence[Block]) -> list[list[Block]]:
    """Blocks (row, column), in row order, by runs of neighbours in a row."""
    found: list[list[Block]] = []
    for row, col in grid:
        if found and found[-1][-1] == (row, col - 1):
            found[-1].append((row, col))
        else:
            found.append([(row, col)])
    return found


def is_local(href: str) -> bool:
    """Whether an address names a file of this machine, or of a disk that it has mounted."""
    return href.startswith("file://") or not ("://" in href or href.startswith("/vsi"))


class File:
    """An open file, at full resolution and at the overviews in use; for one thread at a time."""

    def __init__(self, href: str) -> None:
        self.href = href
        self.url: str | None = None
        """The address it was opened with, signature and all."""
        self.held_bytes = 0
        self._levels: dict[int | None, Image] = {}

    def image(self, overview: int | None, address: Address) -> Image:
        """One level; ``address`` is called where it must be opened (signing takes time).

        Raises
        ------
        rasterio.errors.RasterioIOError
            where GDAL cannot open it.
        """
        for level in (None, overview):
            if level not in self._levels:
                self.url = address()
                image = self._levels[level] = _open(self.href, self.url, level, self._levels.get(None))
                self.held_bytes += _OPEN_BYTES
                if image.inflater is None:
                    block = image.block_shape[0] * image.block_shape[1] * _itemsize(image.dtype)
                    self.held_bytes += int(block * _UNKNOWN_RATIO)
        return self._levels[overview]

    def close(self) -> None:
        for image in self._levels.values():
            if image.inflater is not None:
                image.inflater.close()
            image.dataset.close()


@contextmanager
def borrowed(href: str) -> Iterator[File]:
    """A file for this thread alone, open already where an idle one is at hand. After an error it is closed, and with
    it whatever else is open under that address: a new signature, or a fresh look, needs a new one."""
    global _idle_bytes, _idle_files  # noqa: PLW0603 - one store per process
    key = (os.getpid(), href)
    with _idle_lock:
        files = _idle.get(key)
        _idle_files -= bool(files)
        file = files.pop() if files else File(href)
        _idle_bytes -= file.held_bytes
        if not files:
            _idle.pop(key, None)
    try:
        yield file
    except BaseException:
        file.close()
        close_idle(href)
        raise
    with _idle_lock:
        _idle.setdefault(key, []).append(file)
        _idle.move_to_end(key)
        _idle_bytes += file.held_bytes
        _idle_files += 1
    if _crowded():
        _close_oldest()


def close_idle(href: str) -> None:
    """Close what is open under an address and not being read."""
    global _idle_bytes, _idle_files  # noqa: PLW0603
    with _idle_lock:
        files = _idle.pop((os.getpid(), href), [])
        _idle_bytes -= sum(file.held_bytes for file in files)
        _idle_files -= len(files)
    for file in files:
        file.close()


def _crowded() -> bool:
    return _idle_bytes > IDLE_BYTES or _idle_files > _IDLE_FILES


def _close_oldest() -> None:
    while True:
        with _idle_lock:
            oldest = next((href for pid, href in _idle if pid == os.getpid()), None)
            if not _crowded() or len(_idle) < 2 or oldest is None:
                return
        close_idle(oldest)


def _open(href: str, url: str, overview: int | None, base: Image | None) -> Image:
    import rasterio

    options = {} if overview is None else {"overview_level": overview}
    dataset = rasterio.open(url, **options)
    root = dataset if base is None else base.dataset
    return Image(
        dataset=dataset,
        base=root,
        href=href,
        overview=overview,
        crs=_crs_text(dataset.crs),
        transform=dataset.transform,
        shape=dataset.shape,
        block_shape=dataset.block_shapes[0],
        factors=tuple(root.overviews(1)),
        dtype=dataset.dtypes[0],
        inflater=Inflater.of(dataset, url) if overview is None else None,
    )


def mark_broken(href: str) -> None:
    """Remember that GDAL failed on this address in this process: it would answer from memory from now on."""
    with _broken_lock:
        _broken[href] = None
        while len(_broken) > _BROKEN_LIMIT:
            _broken.popitem(last=False)


def is_broken(href: str) -> bool:
    with _broken_lock:
        return href in _broken


def _crs_text(crs: Any) -> str | None:
    if not crs:
        return None
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _room(shape: tuple[int, int], dtype: str) -> NDArray[Any]:
    """Room for a window, the thread's own: fresh memory costs about as much as placing what is read into it."""
    size = shape[0] * shape[1] * _itemsize(dtype)
    room: NDArray[np.uint8] | None = _local.__dict__.get("room")
    if room is None or room.size < size or room.size > 2 * max(size, _ROOM_BYTES):
        room = _local.room = np.empty(max(size, _ROOM_BYTES), np.uint8)
    return room[:size].view(dtype).reshape(shape)


def _itemsize(dtype: str) -> int:
    return int(np.dtype(dtype).itemsize)
