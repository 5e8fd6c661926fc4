"""Names of cells that people can read: ``LAT_LON_ZoomLevel_OverlapPct``, and the quadkey of a cell's middle.

``029500_012345_14_12.5`` is a cell of zoom 14 at 29.5° S, 12.345° W, covered by polygons to 12.5 %. Degrees are
counted in thousandths (111 m), with a leading 0 for south and west: ``0`` alone is zero degrees. A cell without overlap
ends in ``neg``. A name is rounded, so tables hold the exact middle and overlap beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from minescale.errors import UsageError

NEGATIVE = "neg"
_STEPS = 1000
"""Parts of a degree."""
_SHARES = 1_000_000
"""Parts of a cell's area: percent with four decimals."""
_NUMBER = r"0?[1-9]\d*|0"
_NAME = re.compile(rf"({_NUMBER})_({_NUMBER})_(\d{{1,2}})_({NEGATIVE}|(?:[1-9]\d*|0)\.\d{{1,4}})")
MERCATOR_LATITUDE = 85.05112877980659
"""Where Web-Mercator tiles end."""


@dataclass(frozen=True, slots=True)
class CellName:
    """What a name says."""

    lat: float
    """Degrees, in thousandths."""
    lon: float
    zoom: int
    """0 to 30."""
    overlap: float | None
    """Share of the cell under polygons, in millionths; None: a negative cell."""

    def __post_init__(self) -> None:
        limits = {"latitude": (self.lat, -90, 90), "longitude": (self.lon, -180, 180), "zoom": (self.zoom, 0, 30)}
        limits["overlap"] = (0 if self.overlap is None else self.overlap, 0, 1)
        for what, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise UsageError(f"{what} of a cell's name is out of range", got=value, expected=f"{low} to {high}")


def encode(lat: float, lon: float, zoom: int, overlap: float | None) -> str:
    """Name of a cell by its middle in degrees, its zoom, and the share of it under polygons (None: negative).

    Raises
    ------
    UsageError
        for values out of range, and an overlap that would read 0: such a cell is no positive.
    """
    cell = CellName(lat, lon, zoom, overlap)
    if cell.overlap is None:
        share = NEGATIVE
    else:
        millionths = round(cell.overlap * _SHARES)
        if not millionths:
            raise UsageError("overlap is too small for a cell's name", got=overlap, expected="at least 0.000001")
        share = f"{millionths / (_SHARES / 100):.4f}".rstrip("0")
        share += "0" * share.endswith(".")
    return f"{_degrees(lat)}_{_degrees(lon)}_{zoom}_{share}"


def decode(name: str) -> CellName:
    """What a name says; only names that :func:`encode` writes are read.

    Raises
    ------
    UsageError
        for any other text.
    """
    found = _NAME.fullmatch(name)
    if found:
        lat, lon = (_of_degrees(text) for text in found.group(1, 2))
        overlap = None if found[4] == NEGATIVE else round(float(found[4]) * (_SHARES / 100)) / _SHARES
        if abs(lat) <= 90 and abs(lon) <= 180 and int(found[3]) <= 30 and (overlap is None or 0 < overlap <= 1):
            cell = CellName(lat, lon, int(found[3]), overlap)
            if encode(cell.lat, cell.lon, cell.zoom, cell.overlap) == name:
                return cell
    raise UsageError(
        "text is not the name of a cell",
        got=name,
        expected="LAT_LON_ZoomLevel_OverlapPct such as 029500_012345_14_12.5 or 7250_80125_16_neg",
    )


def _degrees(value: float) -> str:
    steps = round(value * _STEPS)
    return f"0{-steps}" if steps < 0 else str(steps)


def _of_degrees(text: str) -> float:
    return (-int(text) if text.startswith("0") else int(text)) / _STEPS


def quadkey(lat: float, lon: float, zoom: int) -> str | None:
    """Quadkey of the Web-Mercator tile of ``zoom`` that a point lies in; None beyond ±85.05°.

    A digit per zoom from the first on: 1 for the eastern half, plus 2 for the southern one (Bing Maps tile system).
    """
    if abs(lat) > MERCATOR_LATITUDE:
        return None
    n = 2**zoom
    x = (lon + 180) / 360
    y = 0.5 - np.arctanh(np.sin(np.radians(lat))) / (2 * np.pi)
    col, row = (min(max(int(v * n), 0), n - 1) for v in (x, y))
    return "".join(str((col >> bit & 1) + 2 * (row >> bit & 1)) for bit in reversed(range(zoom)))
