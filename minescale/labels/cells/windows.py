"""Square windows around points: the ground that an image of a place will show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import ArrayLike

_GEOD = pyproj.Geod(ellps="WGS84")


def squares(lon: ArrayLike, lat: ArrayLike, side_m: ArrayLike) -> Any:
    """Squares of ``side_m`` around points, as boxes of longitude and latitude in EPSG:4326; a point where it is 0.

    Metres per degree are those of the WGS 84 ellipsoid at the point: radii of curvature of meridian and parallel.
    """
    x, y, side = (np.asarray(v, np.float64) for v in (lon, lat, side_m))
    phi = np.radians(y)
    w = 1 - _GEOD.es * np.sin(phi) ** 2
    up = np.degrees(side / 2 * w**1.5 / (_GEOD.a * (1 - _GEOD.es)))
    across = np.degrees(side / 2 * np.sqrt(w) / (_GEOD.a * np.maximum(np.cos(phi), 1e-9)))
    return shapely.box(x - across, np.maximum(y - up, -90.0), x + across, np.minimum(y + up, 90.0))
