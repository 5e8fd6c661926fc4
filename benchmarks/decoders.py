"""The plain decode of windows, by several decoders: what `floor.py` holds a scan against."""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

DECODERS = ("GDAL", "tifffile", "own")
"""`own` is the reader's: GDAL's file layer, libdeflate and the kernel that sums differences."""
OPEN_FILES = 32
"""Open files per thread of the floor, as many as the reader keeps."""


def floor(decoder: str, windows: list[list[Any]], threads: int) -> dict[str, float]:
    """Decode the windows, each file's by one thread."""
    by_file: dict[str, list[list[Any]]] = defaultdict(list)
    for window in windows:
        by_file[window[0]].append(window)
    shares: list[list[list[Any]]] = [[] for _ in range(threads)]
    for number, file in enumerate(sorted(by_file)):
        shares[number % threads].extend(by_file[file])
    from minescale.engine.heap import keep_freed_memory

    keep_freed_memory()
    read = {"GDAL": _read_gdal, "tifffile": _read_tifffile, "own": _read_own}[decoder]
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(2):  # the second pass counts, as it does for the scan
            wall, cpu = time.perf_counter(), time.process_time()
            decoded = sum(pool.map(read, shares))
            found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return {**found, "decoded_bytes": float(decoded)}


def _read_gdal(windows: list[list[Any]]) -> int:
    import rasterio
    from rasterio.windows import Window

    from minescale.config import ReadConfig
    from minescale.sources.access import Access

    # The scan's own settings: with GDAL's default cache of a twentieth of the memory, every block costs page faults.
    Access.capture(ReadConfig()).hold()
    decoded = 0
    room = np.empty(0, np.uint8)
    opened: dict[tuple[str, int | None], Any] = {}
    for href, overview, row0, row1, col0, col1 in windows:
        if (href, overview) not in opened:
            while len(opened) >= OPEN_FILES:
                opened.pop(next(iter(opened))).close()
            options = {} if overview is None else {"overview_level": overview}
            opened[href, overview] = rasterio.open(href, **options)
        source, rows, cols = opened[href, overview], row1 - row0, col1 - col0
        size = rows * cols * np.dtype(source.dtypes[0]).itemsize
        if room.size < size:
            room = np.empty(size, np.uint8)
        pixels = room[:size].view(source.dtypes[0]).reshape(rows, cols)
        source.read(1, window=Window(col0, row0, cols, rows), out=pixels)
        decoded += pixels.nbytes
    for dataset in opened.values():
        dataset.close()
    return decoded


def _read_own(windows: list[list[Any]]) -> int:
    from minescale.config import ReadConfig
    from minescale.sources import handles
    from minescale.sources.access import Access
    from minescale.sources.windows import Window, blocks

    Access.capture(ReadConfig()).hold()
    decoded = 0
    room = np.empty(0, np.uint8)
    for href, overview, *rows_cols in windows:
        with handles.borrowed(href) as file:
            image = file.image(overview, lambda href=href: href)  # type: ignore[misc]
            grid = blocks(Window(*rows_cols), image.block_shape)
            size = image.block_shape[0] * image.block_shape[1] * np.dtype(image.dtype).itemsize
            if room.size < size:
                room = np.empty(size, np.uint8)
            block = room[:size].view(image.dtype).reshape(image.block_shape)
            assert image.inflater is not None
            packed = image.inflater.fetch(grid)
            assert packed is not None
            for where in grid:
                image.inflater.inflate(packed, where, block)
            decoded += size * len(grid)
    return decoded


def _read_tifffile(windows: list[list[Any]]) -> int:
    import tifffile

    decoded = 0
    file, name = None, ""
    for href, overview, row0, row1, col0, col1 in windows:
        if href != name:
            file, name = tifffile.TiffFile(href), href
        assert file is not None
        pages = [page for page in file.pages if page.is_tiled]
        page = pages[0 if overview is None else overview + 1]
        across = -(-page.imagewidth // page.tilewidth)
        for row in range(row0 // page.tilelength, -(-row1 // page.tilelength)):
            for col in range(col0 // page.tilewidth, -(-col1 // page.tilewidth)):
                number = row * across + col
                file.filehandle.seek(page.dataoffsets[number])
                stored = file.filehandle.read(page.databytecounts[number])
                pixels, _, _ = page.decode(stored, number)
                decoded += 0 if pixels is None else pixels.nbytes
    return decoded
