"""Find where people mine in free satellite imagery: from a bounding box to a Zarr mosaic of mining probability.

``plan``, ``explain`` and ``run`` take one :class:`ScanPlan` from a request to a finished directory, ``scan`` does the
three at once and continues what was interrupted, and ``open_cube`` gives the same pixels as a lazy xarray cube.
Names load on first use: importing this package costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from minescale._version import __version__

if TYPE_CHECKING:
    from minescale.api import explain, plan, request, run, scan
    from minescale.cube.api import open_cube
    from minescale.errors import MinescaleError
    from minescale.grid import MosaicGrid
    from minescale.planning.plan import ScanPlan
    from minescale.types import BBox, TileKey

__all__ = [
    "BBox",
    "MinescaleError",
    "MosaicGrid",
    "ScanPlan",
    "TileKey",
    "__version__",
    "explain",
    "open_cube",
    "plan",
    "request",
    "run",
    "scan",
]

_HOME = {
    "BBox": "minescale.types",
    "MinescaleError": "minescale.errors",
    "MosaicGrid": "minescale.grid",
    "ScanPlan": "minescale.planning.plan",
    "TileKey": "minescale.types",
    "explain": "minescale.api",
    "open_cube": "minescale.cube.api",
    "plan": "minescale.api",
    "request": "minescale.api",
    "run": "minescale.api",
    "scan": "minescale.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
