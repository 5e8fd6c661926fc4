"""Tiles in and out of a mosaic store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import zarr

from minescale.errors import OutputMismatch, StoreError, UsageError
from minescale.grid import MosaicGrid
from minescale.kernels.resample import repeat
from minescale.store.backend import RESUME, open_array, open_root, storing
from minescale.store.chunks import write_whole
from minescale.store.codes import FINE_CODES, LEVEL, LEVEL_FILL, REASON, REASON_FILL, codes_of
from minescale.store.layout import MosaicLayout
from minescale.types import TileKey

LAYOUT = "minescale:layout"
PROVENANCE = "minescale:provenance"
COMPLETE = "minescale:complete"
"""Root attributes; ``complete`` is true once the whole template stands."""

Mode = Literal["r", "r+"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileArrays:
    """Pixels of one tile and period, all (y, x) of the tile's window, coded as in ``store.codes``.

    Raises UsageError where a dtype or shape differs.
    """

    probability: npt.NDArray[np.uint8]
    """round(p * 250); 255 = no data."""
    clear_count: npt.NDArray[np.uint16]
    """Clear looks; 65535 = not processed."""
    reason: npt.NDArray[np.uint8]
    """Values of ``types.Reason``."""
    level: npt.NDArray[np.uint8]
    """Pyramid level that decided the pixel; 255 = not processed. Not stored for screen tiles."""

    def __post_init__(self) -> None:
        for code in FINE_CODES:
            values = getattr(self, code.name)
            if values.ndim != 2 or values.dtype != code.dtype or values.shape != self.probability.shape:
                raise UsageError(
                    f"tile has a wrong {code.name} array",
                    got=f"{values.dtype} {values.shape}",
                    expected=f"{code.dtype} {self.probability.shape}",
                )

    @property
    def shape(self) -> tuple[int, int]:
        ny, nx = self.probability.shape
        return ny, nx

    def columns(self, start: int, stop: int) -> TileArrays:
        """Columns [start, stop), without a copy."""
        return TileArrays(**{code.name: getattr(self, code.name)[:, start:stop] for code in FINE_CODES})


class Mosaic:
    """An open mosaic store. Different tiles may be written from many threads and processes at once.

    Pickles by path: a worker that receives a Mosaic opens the store itself. Zarr writes each chunk beside its place
    and renames it, so a killed writer leaves whole old or whole new chunks; writing the tile again repairs the rest.
    """

    def __init__(self, path: str | Path, mode: Mode, layout: MosaicLayout, root: zarr.Group) -> None:
        self.path = path
        self.mode = mode
        self.layout = layout
        self._arrays = {
            (level, code.name): open_array(root, f"screen/{level}/{code.name}" if level else f"0/{code.name}")
            for level in range(layout.grid.n_levels)
            for code in codes_of(level)
        }
        self._overviews = {
            (k, code.name): open_array(root, f"{k}/{code.name}")
            for k in range(1, layout.n_overviews + 1)
            for code in FINE_CODES
        }

    @classmethod
    def open(cls, path: str | Path, mode: Mode = "r") -> Self:
        """Open an existing mosaic.

        Raises
        ------
        StoreError
            There is none, its template is not complete, or it cannot be read.
        OutputMismatch
            ``path`` holds another Zarr store.
        """
        with storing(path, "open the mosaic"):
            root = open_root(path, read_only=mode == "r")
            layout = layout_of(root.attrs)
            if layout is None:
                raise OutputMismatch(f"{path} holds a Zarr store that is not minescale's")
            if root.attrs.get(COMPLETE) is not True:
                raise StoreError(f"template of {path} is not complete", fix=RESUME)
            return cls(path, mode, layout, root)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self).open, (self.path, self.mode))

    @property
    def grid(self) -> MosaicGrid:
        return self.layout.grid

    def array(self, overview: int, name: str) -> zarr.Array:
        """Array of group ``overview`` (0 = finest): (time, y, x)."""
        return self._arrays[0, name] if overview == 0 else self._overviews[overview, name]

    def write_tile(self, time: int, key: TileKey, tile: TileArrays) -> None:
        """Write one tile: level 0 to group ``0``, level k to ``screen/k``. The same tile writes the same bytes.

        Raises UsageError for a tile outside the mosaic or of another shape than its window, StoreError where the store
        cannot be written.
        """
        where = self._where(time, key)
        expected = (where[1].stop - where[1].start, where[2].stop - where[2].start)
        if tile.shape != expected:
            raise UsageError(f"tile {key} does not fill its window", got=tile.shape, expected=expected)
        self._write(key.level, where, tile, f"write tile {key} of period {time}")

    def read_tile(self, time: int, key: TileKey) -> TileArrays:
        """Read one tile; what was never written comes as the fill values.

        Raises UsageError for a tile outside the mosaic, StoreError for a chunk that cannot be read or decoded.
        """
        return self._read(key.level, self._where(time, key), f"read tile {key} of period {time}")

    def write_pruned(self, time: int, keys: Sequence[TileKey], source: int = 1) -> list[TileArrays]:
        """Fill level-0 tiles from the screen that decided them: each pixel of level ``source`` is repeated.

        Pixels keep the screen's probability, clear count and reason; ``level`` becomes ``source``. Returns the screen's
        pixels of each tile. For neighbours in a row the screen is read, and its chunks decoded, once.

        Raises
        ------
        UsageError
            A tile is not of level 0, or there is no level ``source``.
        StoreError
            The screen was not written there, or the store fails. Tiles before that one may have been written.
        """
        wrong = [key for key in keys if key.level != 0]
        if wrong or not 1 <= source < self.grid.n_levels:
            raise UsageError(
                "only level-0 tiles are filled, from a coarser level",
                got=f"tile {(wrong or keys)[0]} from level {source}",
                expected=f"a tile 0/y/x from level 1 to {self.grid.n_levels - 1}",
            )
        found: dict[TileKey, TileArrays] = {}
        for run in _runs(keys):
            found |= self._write_run(time, run, source)
        return [found[key] for key in keys]

    def _write_run(self, time: int, run: Sequence[TileKey], source: int) -> dict[TileKey, TileArrays]:
        """Fill neighbours of one row, given from left to right; returns the screen's pixels of each."""
        factor = self.grid.factors[source]
        windows = {key: self._where(time, key)[1:] for key in run}
        (rows, first), (_, last) = windows[run[0]], windows[run[-1]]
        fine = (time, rows, slice(first.start, last.stop))
        coarse = (
            time,
            slice(rows.start // factor, rows.stop // factor),
            slice(first.start // factor, last.stop // factor),
        )
        screen = self._read(source, coarse, f"read the screen of tile {run[0]} of period {time}")
        parts = {
            key: screen.columns(cols.start // factor - coarse[2].start, cols.stop // factor - coarse[2].start)
            for key, (_, cols) in windows.items()
        }
        for key, part in parts.items():
            if (part.reason == REASON_FILL).any():
                raise StoreError(
                    f"tile {key} of period {time} cannot be pruned",
                    got=f"its block of screen {source} was never written",
                    expected="the coarse tile written first",
                )
        self._write(
            0,
            fine,
            TileArrays(**{code.name: repeat(getattr(screen, code.name), factor) for code in FINE_CODES}),
            f"write tile {run[0]} of period {time}",
        )
        return parts

    def _write(self, level: int, where: tuple[int, slice, slice], tile: TileArrays, action: str) -> None:
        if self.mode == "r":
            raise StoreError(f"mosaic {self.path} is open for reading", fix='Mosaic.open(path, "r+")')
        with storing(self.path, action):
            write_whole((self._arrays[level, code.name], where, getattr(tile, code.name)) for code in codes_of(level))

    def _read(self, level: int, where: tuple[int, slice, slice], action: str) -> TileArrays:
        with storing(self.path, action):
            values = {code.name: np.asarray(self._arrays[level, code.name][where]) for code in codes_of(level)}
        if level:
            written = values[REASON.name] != REASON_FILL
            values[LEVEL.name] = np.where(written, level, LEVEL_FILL).astype(LEVEL.dtype)
        return TileArrays(**values)

    def _where(self, time: int, key: TileKey) -> tuple[int, slice, slice]:
        if not 0 <= time < len(self.layout.periods):
            raise UsageError(
                "period lies outside the mosaic", got=time, expected=f"0 to {len(self.layout.periods) - 1}"
            )
        return (time, *self.grid.window(key))


def _runs(keys: Sequence[TileKey]) -> Iterator[list[TileKey]]:
    """Tiles that follow each other in a row, left to right."""
    run: list[TileKey] = []
    for key in sorted(set(keys), key=lambda key: (key.y, key.x)):
        if run and (key.y, key.x) != (run[-1].y, run[-1].x + 1):
            yield run
            run = []
        run.append(key)
    if run:
        yield run


def layout_of(attrs: Mapping[str, Any]) -> MosaicLayout | None:
    """The layout that root attributes describe; None where they are not a mosaic's."""
    described = attrs.get(LAYOUT)
    if not isinstance(described, Mapping):
        return None
    return MosaicLayout.from_dict({**described, "provenance": attrs.get(PROVENANCE, {})})
