"""Open images: one small cache of GDAL handles per thread.

GDAL datasets must not be shared between threads, and opening one costs a request; so each thread of the read
pool keeps the images it used last.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from minescale.sources import reuse
from minescale.sources.windows import Window, blocks

Address = Callable[[], str]
"""Gives the address to open now, signed."""

BYTES_PER_THREAD = 8 << 20
"""What a thread's open images may hold: GDAL keeps one decoded block for each, so large blocks mean fewer images."""
_WHOLE_BYTES = 64 << 20
"""Where the blocks under a window are larger than this, as in an untiled image, only the window is held."""
_ROOM_BYTES = 4 << 20
"""Room that a thread keeps for the windows it reads; more where a window needs it."""
_UNKNOWN_RATIO = 0.5
"""Compressed share of a block's size assumed where the format does not tell."""

_local = threading.local()
_broken: OrderedDict[str, None] = OrderedDict()
_broken_lock = threading.Lock()
_BROKEN_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One open image at one level: full resolution, or one of its overviews."""

    dataset: Any
    """rasterio dataset of this level; belongs to the thread that opened it."""
    base: Any
    """rasterio dataset of the full resolution."""
    href: str
    """Its address in the catalogue."""
    url: str
    """The address it was opened with, signature and all."""
    overview: int | None
    crs: str | None
    transform: Affine
    shape: tuple[int, int]
    block_shape: tuple[int, int]
    factors: tuple[int, ...]
    """Decimation factors of the overviews, rising."""
    dtype: str

    def read(self, window: Window, ahead: Sequence[Window] = (), budget: int = 0) -> tuple[NDArray[Any], int, int]:
        """First band inside ``window``, as stored, with the compressed bytes and the number of blocks decoded for it.

        The pixels lie in room that this thread's next read takes again.

        Blocks that the windows ``ahead`` need as well are kept, decoded, in up to ``budget`` bytes of this process;
        blocks that an earlier call kept are not read again.
        """
        grid = blocks(window, self.block_shape)
        whole = self._extent(grid)
        if whole.shape[0] * whole.shape[1] * _itemsize(self.dtype) > _WHOLE_BYTES:
            return self._load(window, _room(window.shape, self.dtype)), *self._cost(grid)
        held = reuse.take(self._key, grid) if budget else {}
        wanted = {block for other in ahead for block in blocks(other, self.block_shape)} if budget else set()
        kept = [block for block in grid if block in wanted]
        if not held and not kept:
            return self._load(window, _room(window.shape, self.dtype)), *self._cost(grid)
        data = _room(whole.shape, self.dtype)
        missing = [block for block in grid if block not in held]
        loaded: list[tuple[int, int]] = []
        if missing:
            extent = self._extent(missing)
            loaded = blocks(extent, self.block_shape)
            self._load(extent, data[extent.within(whole)])
        for block, pixels in held.items():
            data[self._extent([block]).within(whole)] = pixels
        for block in kept:
            own = held.pop(block, None)
            pixels = data[self._extent([block]).within(whole)] if own is None else own
            reuse.keep(self._key, block, pixels, budget, owned=own is not None)
        reuse.give_back(held.values(), budget)
        return data[window.within(whole)], *self._cost(loaded)

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


def open_image(href: str, overview: int | None, address: Address) -> Image:
    """This thread's handle on ``href``; ``address`` is called where it must be opened (signing takes time).

    Raises
    ------
    rasterio.errors.RasterioIOError
        where GDAL cannot open it.
    """
    files = _files()
    levels = files.setdefault(href, {})
    files.move_to_end(href)
    try:
        for level in (None, overview):
            if level not in levels:
                levels[level] = _open(href, address(), level, levels.get(None))
                _local.held = _local.__dict__.get("held", 0) + _block_bytes(levels[level])
    except BaseException:
        close_image(href)
        raise
    while len(files) > 1 and _local.held > BYTES_PER_THREAD:
        close_image(next(iter(files)))
    return levels[overview]


def _block_bytes(image: Image) -> int:
    return image.block_shape[0] * image.block_shape[1] * _itemsize(image.dtype)


def _files() -> OrderedDict[str, dict[int | None, Image]]:
    files: OrderedDict[str, dict[int | None, Image]] = _local.__dict__.setdefault("files", OrderedDict())
    return files


def _open(href: str, url: str, overview: int | None, base: Image | None) -> Image:
    import rasterio

    options = {} if overview is None else {"overview_level": overview}
    dataset = rasterio.open(url, **options)
    root = dataset if base is None else base.dataset
    return Image(
        dataset=dataset,
        base=root,
        href=href,
        url=url,
        overview=overview,
        crs=_crs_text(dataset.crs),
        transform=dataset.transform,
        shape=dataset.shape,
        block_shape=dataset.block_shapes[0],
        factors=tuple(root.overviews(1)),
        dtype=dataset.dtypes[0],
    )


def close_image(href: str) -> None:
    """Forget this thread's handles on ``href``: a new signature, or a fresh look, needs a new one."""
    for image in _files().pop(href, {}).values():
        _local.held -= _block_bytes(image)
        image.dataset.close()


def address_of(href: str) -> str | None:
    """The address under which this thread has ``href`` open."""
    return next((image.url for image in _files().get(href, {}).values()), None)


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
