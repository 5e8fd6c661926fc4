"""A small mosaic, its tiles, and child processes that write it and die: shared by the tests of the store.

Run as a script it is the child: ``store_writer.py PATH COMMAND [ARGUMENT]``.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from minescale.errors import MinescaleError
from minescale.grid import MosaicGrid
from minescale.store.layout import MosaicLayout
from minescale.store.ledger import Ledger, TileState
from minescale.store.mosaic import Mosaic, TileArrays
from minescale.store.template import create_mosaic
from minescale.types import Period, Reason, TileKey

LAEA = "+proj=laea +lat_0=6.5 +lon_0=-1.2 +datum=WGS84 +units=m"  # no authority code


def small_layout(**changes: object) -> MosaicLayout:
    """1 tile of 256 px and edge tiles of 208 and 40 px; chunk 128; two periods; one coarse level of factor 8."""
    grid = MosaicGrid(
        crs=str(changes.pop("crs", "EPSG:32630")),
        resolution=10.0,
        left=500_000.0,
        top=800_000.0,
        shape=changes.pop("shape", (464, 808)),  # type: ignore[arg-type]
        tile_size=256,
        factors=(1, 8),
    )
    fields = {"periods": Period.parse("2024-01/2024-06").split("quarter"), "chunk": 128, **changes}
    return MosaicLayout(grid=grid, **fields)  # type: ignore[arg-type]


def tile_for(grid: MosaicGrid, key: TileKey, time: int = 0) -> TileArrays:
    """Noise that follows from the key, with every reason and no-data pixels in it."""
    rows, cols = grid.window(key)
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    rng = np.random.default_rng([key.level, key.y, key.x, time])
    reason = rng.choice([0, 0, 0, 1, 2, 3, 4], shape).astype(np.uint8)
    seen = reason <= Reason.SEEN_WITH_LOSSES
    return TileArrays(
        probability=np.where(seen, rng.integers(0, 251, shape), 255).astype(np.uint8),
        clear_count=np.where(seen, rng.integers(1, 30, shape), 0).astype(np.uint16),
        reason=reason,
        level=np.full(shape, key.level, np.uint8),
    )


def all_tiles(layout: MosaicLayout) -> list[tuple[int, TileKey]]:
    """Every (period, tile), coarse level first."""
    grid = layout.grid
    levels = reversed(range(grid.n_levels))
    return [(time, key) for level in levels for time in range(len(layout.periods)) for key in grid.tiles(level)]


def write_all(path: Path, layout: MosaicLayout) -> None:
    mosaic = create_mosaic(path, layout)
    for time, key in all_tiles(layout):
        mosaic.write_tile(time, key, tile_for(layout.grid, key, time))


def record_all(path: Path, layout: MosaicLayout) -> None:
    with Ledger.open(path) as ledger:
        for time, key in all_tiles(layout):
            ledger.record(time, key, state=TileState.DONE, n_scenes=key.x + 1, max_probability=0.5, bytes_read=10**9)


def files_of(path: Path) -> dict[str, str]:
    """Digest of every file below ``path``."""
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def child(path: Path, command: str, argument: object = "", *, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run this file in a process of its own."""
    return subprocess.run(
        [sys.executable, __file__, str(path), command, str(argument)],
        capture_output=True,
        text=True,
        timeout=120,
        check=check,
    )


def _die_at_rename(nth: int) -> None:
    """``kill -9`` of this process between the n-th temporary file and its rename: nothing can clean up."""
    rename, seen = pathlib.Path.replace, []

    def replace(self: pathlib.Path, target: str) -> pathlib.Path:
        seen.append(target)
        if len(seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    pathlib.Path.replace = replace  # type: ignore[method-assign, assignment]


def _main() -> None:
    path, command, argument = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if command == "die_creating":
        _die_at_rename(int(argument))
        create_mosaic(path, small_layout())
        return
    mosaic = Mosaic.open(path, "r+")
    layout = mosaic.layout
    if command == "die_writing":
        _die_at_rename(int(argument))
        write_all(path, layout)
    elif command == "die_recording":
        _die_at_rename(int(argument))
        record_all(path, layout)
    elif command == "every_second":  # argument: 0 or 1, which half
        for time, key in all_tiles(layout)[int(argument) :: 2]:
            mosaic.write_tile(time, key, tile_for(layout.grid, key, time))
    elif command == "one_tile":
        if argument == "nobody":
            os.setresuid(65534, 65534, 65534)
        if argument == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            mosaic.write_tile(0, TileKey(0, 0, 0), tile_for(layout.grid, TileKey(0, 0, 0)))
        except MinescaleError as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _main()
