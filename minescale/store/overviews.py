"""Coarser groups ``1``, ``2``, ... of the finished mosaic, for maps and quick looks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from minescale.errors import UsageError
from minescale.kernels.resample import block_max, block_min
from minescale.store.backend import stored_blocks, storing
from minescale.store.codes import CLEAR_COUNT, FINE_CODES, PROBABILITY, REASON, PixelCode
from minescale.store.mosaic import Mosaic

_BY_MAX = (PROBABILITY, CLEAR_COUNT)
"""The others take the minimum, so that ``reason`` is SEEN wherever a probability shows."""


def build_overviews(mosaic: Mosaic, times: Iterable[int] | None = None, threads: int | None = None) -> int:
    """Build groups 1..n from group 0 by halving; returns the number of blocks written.

    ``probability`` and ``clear_count`` take the maximum of 2x2 pixels, ``reason`` and ``level`` the minimum, all
    without counting fill values. Only blocks that exist in the finer group are read, each thread holds one array of
    four blocks at a time, and the bytes written do not depend on the number of threads.

    Raises
    ------
    UsageError
        A period outside the mosaic.
    StoreError
        The store cannot be read or written.
    """
    layout = mosaic.layout
    chosen = range(len(layout.periods)) if times is None else tuple(times)
    for time in chosen:
        if not 0 <= time < len(layout.periods):
            raise UsageError("period lies outside the mosaic", got=time, expected=f"0 to {len(layout.periods) - 1}")
    written = 0
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool, storing(mosaic.path, "build overviews"):
        for overview in range(1, layout.n_overviews + 1):
            for time in chosen:
                # `reason` is the one array that every written tile stores.
                finer = stored_blocks(mosaic.array(overview - 1, REASON.name), time)
                blocks = sorted({(y // 2, x // 2) for y, x in finer})
                for _ in pool.map(lambda block, k=overview, t=time: _build(mosaic, k, t, *block), blocks):
                    written += 1
    return written


def _build(mosaic: Mosaic, overview: int, time: int, y: int, x: int) -> None:
    unit = mosaic.layout.write_unit
    ny, nx = mosaic.layout.overview_geobox(overview).shape
    rows, cols = slice(y * unit, min((y + 1) * unit, ny)), slice(x * unit, min((x + 1) * unit, nx))
    for code in FINE_CODES:
        # Slices beyond the finer array's edge are cut there.
        fine = mosaic.array(overview - 1, code.name)[
            time, 2 * rows.start : 2 * rows.stop, 2 * cols.start : 2 * cols.stop
        ]
        mosaic.array(overview, code.name)[time, rows, cols] = halve(np.asarray(fine), code)


def halve(values: npt.NDArray[Any], code: PixelCode) -> npt.NDArray[Any]:
    """(y, x) to half its size, odd edges rounded up; fill values do not count."""
    ny, nx = values.shape
    if ny % 2 or nx % 2:
        values = np.pad(values, ((0, ny % 2), (0, nx % 2)), constant_values=code.fill)
    return block_max(values, 2, code.fill) if code in _BY_MAX else block_min(values, 2, code.fill)
