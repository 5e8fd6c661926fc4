"""How surfaces reflect: means and spread measured on real Sentinel-2 scenes.

Each surface is a log-normal cloud in the six bands blue, green, red, nir, swir16, swir22: the mean of log
reflectance (x 1e4), three principal axes of its spread, the spread left per band, and the share of the variance
that lies between places (the rest varies inside them). The numbers are summary statistics of

- 502 tropical chips (14 S - 10 N, 48 x 48 px, yearly medians before and after mines appeared): forest, regrowth,
  grass, bare, sandbar, river, blackwater, pit, pond, clearing;
- the labelled Strzegom scenes (four dates of the growing season, ten bands): built, crop, and the regressions
  from which the red-edge bands follow;
- the Sentinel-2 scene classification of 107 dates over an Indian coalfield: clouds and shadows.

``benchmarks/measure_spectra.py`` measures the first two again; clearing keeps its own mean but takes the spread of
bare, as its own sample (2733 px) is partly under smoke. Correlation along the ground inside mines and
forest was measured as 0.75, 0.51, 0.35, 0.22, 0.11 at lags of 10, 20, 30, 40, 60 m.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

CORE_BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
DERIVED_BANDS = ("rededge071", "rededge075", "rededge078", "nir08")
ALL_BANDS = CORE_BANDS + DERIVED_BANDS


class Surface(IntEnum):
    """What reflects; rows of the tables below."""

    FOREST = 0
    REGROWTH = 1
    GRASS = 2
    BARE = 3
    SANDBAR = 4
    RIVER = 5
    BLACKWATER = 6
    PIT = 7
    POND = 8
    CLEARING = 9
    BUILT = 10
    CROP = 11


class Cover(IntEnum):
    """Values of the land-cover raster: what a place is, as a person would call it."""

    FOREST = 1
    REGROWTH = 2
    SAVANNA = 3
    RIVER = 4
    LAKE = 5
    SANDBAR = 6
    CROPLAND = 7
    BARE_FIELD = 8
    PASTURE = 9
    TOWN = 10
    ROAD = 11
    CLEARING = 12
    MINE_PIT = 13
    MINE_POND = 14
    MINE_VEGETATION = 15


MINE_COVERS = (Cover.MINE_PIT, Cover.MINE_POND, Cover.MINE_VEGETATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceStats:
    mean: tuple[float, ...]
    """Mean of ln(reflectance x 1e4), six bands."""
    axes: tuple[tuple[float, float, float], ...]
    """Per band, the loadings of three unit-variance factors."""
    rest: tuple[float, ...]
    """Standard deviation left per band."""
    between: float
    """Share of the variance between places."""


STATS: dict[Surface, SurfaceStats] = {
    Surface.FOREST: SurfaceStats(
        mean=(5.446, 6.039, 5.439, 7.959, 7.309, 6.443),
        axes=(
            (0.342, -0.090, 0.015),
            (0.215, 0.028, 0.037),
            (0.265, -0.007, -0.045),
            (0.068, 0.103, 0.091),
            (0.072, 0.107, -0.024),
            (0.099, 0.119, -0.057),
        ),
        rest=(0.054, 0.053, 0.063, 0.025, 0.036, 0.030),
        between=0.67,
    ),
    Surface.REGROWTH: SurfaceStats(
        mean=(6.210, 6.608, 6.502, 7.894, 7.624, 7.027),
        axes=(
            (0.147, 0.159, -0.063),
            (0.136, 0.110, 0.007),
            (0.178, 0.075, 0.018),
            (0.111, 0.047, 0.093),
            (0.175, -0.120, 0.009),
            (0.228, -0.157, -0.030),
        ),
        rest=(0.046, 0.050, 0.081, 0.048, 0.043, 0.030),
        between=0.36,
    ),
    Surface.GRASS: SurfaceStats(
        mean=(6.328, 6.688, 6.637, 7.857, 7.743, 7.235),
        axes=(
            (0.200, 0.193, -0.049),
            (0.189, 0.122, 0.018),
            (0.250, 0.078, -0.018),
            (0.130, 0.038, 0.136),
            (0.243, -0.147, 0.018),
            (0.300, -0.168, -0.037),
        ),
        rest=(0.065, 0.048, 0.089, 0.027, 0.043, 0.042),
        between=0.64,
    ),
    Surface.BARE: SurfaceStats(
        mean=(7.034, 7.327, 7.537, 7.871, 8.102, 7.788),
        axes=(
            (0.302, -0.101, -0.056),
            (0.272, -0.073, -0.007),
            (0.279, -0.038, 0.030),
            (0.199, 0.039, 0.099),
            (0.153, 0.159, 0.021),
            (0.173, 0.168, -0.072),
        ),
        rest=(0.052, 0.039, 0.080, 0.052, 0.051, 0.034),
        between=0.46,
    ),
    Surface.SANDBAR: SurfaceStats(
        mean=(6.841, 7.233, 7.403, 7.652, 7.805, 7.494),
        axes=(
            (0.414, -0.017, -0.087),
            (0.379, -0.016, -0.087),
            (0.443, -0.062, -0.061),
            (0.401, -0.141, 0.138),
            (0.322, 0.088, 0.069),
            (0.437, 0.157, 0.043),
        ),
        rest=(0.089, 0.055, 0.095, 0.024, 0.061, 0.043),
        between=0.50,
    ),
    Surface.RIVER: SurfaceStats(
        mean=(6.818, 7.282, 7.416, 6.894, 6.166, 5.768),
        axes=(
            (0.206, 0.156, 0.130),
            (0.220, 0.226, 0.154),
            (0.260, 0.324, 0.063),
            (0.518, 0.328, -0.197),
            (0.627, -0.256, -0.012),
            (0.643, -0.273, 0.051),
        ),
        rest=(0.098, 0.066, 0.102, 0.037, 0.106, 0.098),
        between=0.72,
    ),
    Surface.BLACKWATER: SurfaceStats(
        mean=(5.903, 6.227, 5.952, 5.733, 5.622, 5.076),
        axes=(
            (0.153, 0.084, 0.126),
            (0.196, -0.056, 0.183),
            (0.088, 0.096, 0.055),
            (0.162, 0.305, -0.071),
            (0.286, -0.077, -0.092),
            (0.306, -0.123, -0.073),
        ),
        rest=(0.112, 0.092, 0.141, 0.054, 0.074, 0.076),
        between=0.70,
    ),
    Surface.PIT: SurfaceStats(
        mean=(6.888, 7.237, 7.366, 7.892, 7.890, 7.464),
        axes=(
            (0.391, -0.137, -0.004),
            (0.359, -0.120, -0.016),
            (0.411, -0.085, -0.024),
            (0.218, 0.051, 0.176),
            (0.264, 0.188, -0.008),
            (0.338, 0.210, -0.056),
        ),
        rest=(0.094, 0.044, 0.102, 0.011, 0.054, 0.049),
        between=0.35,
    ),
    Surface.POND: SurfaceStats(
        mean=(7.143, 7.559, 7.670, 7.596, 7.128, 6.654),
        axes=(
            (0.330, 0.124, 0.104),
            (0.274, 0.142, 0.100),
            (0.315, 0.205, 0.067),
            (0.481, 0.118, -0.226),
            (0.410, -0.223, 0.014),
            (0.452, -0.242, 0.045),
        ),
        rest=(0.102, 0.054, 0.109, 0.017, 0.072, 0.070),
        between=0.62,
    ),
    Surface.CLEARING: SurfaceStats(
        mean=(6.997, 7.224, 7.276, 7.981, 7.847, 7.462),
        axes=(
            (0.302, -0.101, -0.056),
            (0.272, -0.073, -0.007),
            (0.279, -0.038, 0.030),
            (0.199, 0.039, 0.099),
            (0.153, 0.159, 0.021),
            (0.173, 0.168, -0.072),
        ),
        rest=(0.052, 0.039, 0.080, 0.052, 0.051, 0.034),
        between=0.65,
    ),
    Surface.BUILT: SurfaceStats(
        mean=(6.609, 6.909, 7.125, 7.813, 7.761, 7.510),
        axes=(
            (0.419, -0.104, 0.015),
            (0.329, -0.035, 0.048),
            (0.290, 0.052, -0.066),
            (0.069, 0.109, 0.173),
            (0.106, 0.111, -0.017),
            (0.160, 0.127, -0.081),
        ),
        rest=(0.062, 0.054, 0.137, 0.028, 0.077, 0.076),
        between=0.50,
    ),
    Surface.CROP: SurfaceStats(
        mean=(5.965, 6.539, 6.077, 8.432, 7.217, 6.515),
        axes=(
            (0.313, -0.111, -0.003),
            (0.325, -0.147, 0.058),
            (0.361, -0.001, -0.069),
            (-0.015, -0.085, 0.101),
            (0.112, 0.231, 0.046),
            (0.183, 0.306, 0.020),
        ),
        rest=(0.060, 0.059, 0.032, 0.045, 0.030, 0.024),
        between=0.50,
    ),
}

# ln(band) = coefficients . ln(blue, green, red, nir, swir16, swir22) + constant; last number: residual deviation.
DERIVED: dict[str, tuple[float, ...]] = {
    "rededge071": (-0.488, 1.020, 0.300, 0.041, 0.294, -0.168, 0.016, 0.127),
    "rededge075": (-0.166, 0.673, -0.247, 0.579, 0.371, -0.219, 0.062, 0.103),
    "rededge078": (0.118, 0.149, -0.217, 0.808, 0.230, -0.146, 0.498, 0.099),
    "nir08": (0.099, 0.054, -0.103, 0.770, 0.425, -0.313, 0.588, 0.096),
}

# Order of ALL_BANDS. Thick cloud and the factor a full shadow leaves, from scene classes 9 and 3 against 4 and 5.
CLOUD = (7040, 6850, 6700, 6990, 4600, 3700, 6800, 6900, 6950, 7000)
SHADE = (0.80, 0.74, 0.70, 0.58, 0.56, 0.52, 0.68, 0.62, 0.60, 0.58)
# Path reflectance that one unit of haze adds; it falls with the fourth power of wavelength, flattened by aerosol.
HAZE = (260, 190, 140, 70, 25, 15, 125, 105, 85, 65)


def tables() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mean (surface, 6), axes (surface, 6, 3), rest (surface, 6) and between (surface,) as arrays."""
    order = [STATS[s] for s in Surface]
    return (
        np.array([s.mean for s in order], np.float32),
        np.array([s.axes for s in order], np.float32),
        np.array([s.rest for s in order], np.float32),
        np.array([s.between for s in order], np.float32),
    )


def derived_table() -> NDArray[np.float32]:
    """Rows of DERIVED in the order of DERIVED_BANDS, shape (4, 8)."""
    return np.array([DERIVED[b] for b in DERIVED_BANDS], np.float32)
