"""Shapes that cross 180 degrees of longitude, cut there into parts that planar geometry understands."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

_ROUNDING = 1e-6
"""Degrees by which shapes that end at 180 may miss it."""


def crossing(shapes: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Whether each polygon runs past 180 degrees, or has an edge that is longer than half a turn.

    An edge of exactly 360 degrees runs along the border of a world map and crosses nothing.
    """
    west, _, east, _ = shapely.bounds(shapes).T
    found = (west < -180 - _ROUNDING) | (east > 180 + _ROUNDING)
    for i in np.flatnonzero(east - west > 180):
        found[i] |= any(_jumps(shapely.get_coordinates(ring)).any() for ring in shapely.get_rings(shapes[i]))
    return found


def cut(shape: BaseGeometry) -> BaseGeometry | None:
    """A crossing polygon as parts within -180 to 180, as RFC 7946 (3.1.9) asks for.

    Returns
    -------
    None for a ring that goes round a pole: it encloses no area in longitude and latitude.
    """
    parts: list[BaseGeometry] = []
    for polygon in shapely.get_parts(shape):
        rings = [_unwrapped(shapely.get_coordinates(r)) for r in shapely.get_rings(polygon)]
        if any(r is None for r in rings):
            return None
        shell, *holes = [r for r in rings if r is not None]
        middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
        for hole in holes:  # a hole begins on the shell's side, whichever way it was written
            hole[:, 0] += 360 * np.round((middle - (hole[:, 0].min() + hole[:, 0].max()) / 2) / 360)
        whole = shapely.make_valid(shapely.Polygon(shell, holes), method="structure", keep_collapsed=False)
        for turn in range(-2, 3):
            west = 360.0 * turn - 180
            piece = shapely.intersection(whole, shapely.box(west, -90, west + 360, 90))
            if shapely.area(piece) > 0:
                parts.append(shapely.transform(piece, lambda xy, by=360.0 * turn: xy - [by, 0.0]))
    return shapely.union_all(parts)


def _jumps(ring: NDArray[np.float64]) -> NDArray[np.bool_]:
    step = np.abs(np.diff(ring[:, 0]))
    return (step > 180) & (step < 360)


def _unwrapped(ring: NDArray[np.float64]) -> NDArray[np.float64] | None:
    turns = np.where(_jumps(ring), -np.sign(np.diff(ring[:, 0])), 0.0)
    if turns.sum():
        return None
    moved = ring.copy()
    moved[1:, 0] += 360 * np.cumsum(turns)
    return moved
