"""What a mosaic store looks like: its grid, periods, chunks and where the run came from."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from minescale.errors import UsageError
from minescale.grid import MosaicGrid
from minescale.types import Period

OVERVIEW_TARGET_PX = 512
"""Overviews are added until the long side is at most this."""


@dataclass(frozen=True, kw_only=True)
class MosaicLayout:
    """Everything that has to agree before a run may continue in a store.

    Raises
    ------
    UsageError
        The tile is not a whole number of chunks, of shards or of the pyramid's pixels; no period; provenance that is
        not JSON.
    """

    grid: MosaicGrid
    periods: tuple[Period, ...]
    """The time axis, in order."""
    chunk: int
    """Pixels along a chunk's edge."""
    shards: int = 0
    """Chunks along a shard's edge; 0 = each chunk is a file of its own."""
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """JSON: version, run id, model. Part of the comparison when a run continues."""

    def __post_init__(self) -> None:
        tile = self.grid.tile_size
        if not self.periods:
            raise UsageError("mosaic has no period", got="()", expected="at least one Period")
        if self.chunk <= 0 or self.shards < 0:
            raise UsageError("chunk or shards is negative", got=(self.chunk, self.shards), expected="chunk > 0")
        # Two writers of one chunk, or of one shard, read-modify-write it and silently lose each other's pixels.
        for edge, name in ((self.chunk, "chunks"), (self.write_unit, "shards")):
            if tile % edge:
                raise UsageError(
                    f"tile is not a whole number of {name}",
                    got=f"tile of {tile} px, {name} of {edge} px (chunk {self.chunk} px, {self.shards} per shard edge)",
                    expected=f"{edge} divides {tile}",
                    fix=f"chunk {tile} without shards",
                )
        for factor in self.grid.factors:
            if tile % factor:
                raise UsageError(
                    "tile is not a whole number of coarse pixels",
                    got=f"tile of {tile} px, factor {factor}",
                    expected=f"{factor} divides {tile}",
                )
        object.__setattr__(self, "provenance", plain_json(self.provenance, "provenance"))

    @property
    def write_unit(self) -> int:
        """Pixels along the edge of what one writer must own: a shard, or a chunk where there are no shards."""
        return self.chunk * max(self.shards, 1)

    @property
    def n_overviews(self) -> int:
        """Number of groups ``1``, ``2``, ... after the finest."""
        count, side = 0, max(self.grid.shape)
        while side > OVERVIEW_TARGET_PX:
            side = -(-side // 2)
            count += 1
        return count

    def overview_geobox(self, overview: int) -> GeoBox:
        """GeoBox of group ``overview`` (0 = level 0 of the grid); odd edges round up, so it may overhang by a pixel."""
        ny, nx = self.grid.shape
        scale = 2**overview
        res = self.grid.resolution * scale
        affine = Affine(res, 0, self.grid.left, 0, -res, self.grid.top)
        return GeoBox((-(-ny // scale), -(-nx // scale)), affine, self.grid.crs)

    def tiles_geobox(self, level: int) -> GeoBox:
        """GeoBox whose pixels are the tiles of a pyramid level; edge tiles count with their full size."""
        size = self.grid.level_resolution(level) * self.grid.tile_size
        return GeoBox(
            self.grid.tile_shape(level), Affine(size, 0, self.grid.left, 0, -size, self.grid.top), self.grid.crs
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; inverse of :meth:`from_dict`."""
        return {
            "grid": self.grid.to_dict(),
            "periods": [[p.start.isoformat(), p.end.isoformat()] for p in self.periods],
            "chunk": self.chunk,
            "shards": self.shards,
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MosaicLayout:
        return cls(
            grid=MosaicGrid.from_dict(values["grid"]),
            periods=tuple(Period(*(dt.datetime.fromisoformat(text) for text in pair)) for pair in values["periods"]),
            chunk=values["chunk"],
            shards=values["shards"],
            provenance=values["provenance"],
        )

    def differences(self, other: MosaicLayout) -> tuple[str, ...]:
        """Fields that differ, as ``name: mine, not theirs``; empty where the layouts are equal."""
        return tuple(_differences(self.to_dict(), other.to_dict(), ""))


def plain_json(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """``values`` as JSON reads it back; UsageError naming ``what`` where it is not JSON."""
    try:
        return dict(json.loads(json.dumps(dict(values), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} is not JSON", got=str(error), expected="strings, finite numbers, lists") from error


def _differences(mine: Any, theirs: Any, name: str) -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        found: list[str] = []
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            found += _differences(mine.get(key), theirs.get(key), f"{name}.{key}".lstrip("."))
        return found
    return [] if mine == theirs else [f"{name}: {_short(mine)}, not {_short(theirs)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
