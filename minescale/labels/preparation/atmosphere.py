"""From reflectance at the top of the atmosphere to that of the ground and back: molecules and thin haze, band by band.

``rho_toa = path + T rho_surface`` for a sensor that looks straight down, in single scattering over a plane: the path
reflectance of molecules is ``tau P / (4 cos s)`` with the Rayleigh phase function ``P = 3/4 (1 + cos^2 s)`` and the
sun's zenith angle ``s``; that of aerosol is given at 550 nm and falls with the wavelength to the power of -1.3
(Angstrom 1929). Half of what molecules scatter goes on towards the ground, so ``T = exp(-tau / 2 (1 / cos s + 1))``;
aerosol scatters forward, so its own loss is left out, as are gases, slopes and light between ground and sky. The
optical depth is that of Bodhaine et al. 1999 (doi:10.1175/1520-0426(1999)016<1854:ORODC>2.0.CO;2), eq. 30, at sea
level and 45 degrees north. Good to about 0.01 of reflectance under thin haze: enough to make a model indifferent to
the product it is fed, no atmospheric correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minescale.errors import UsageError
from minescale.sensors import SENSORS

ANGSTROM_EXPONENT = 1.3
AEROSOL_NM = 550.0


@dataclass(frozen=True, slots=True)
class Atmosphere:
    """What the air adds and lets through; arrays of one shape, whose last axis is the band."""

    path: NDArray[np.float64]
    """Reflectance of the air itself."""
    transmission: NDArray[np.float64]
    """Share of the ground's light that arrives, down and up together."""


def atmosphere(bands: Sequence[str], sun_zenith_deg: ArrayLike, aerosol: ArrayLike = 0.0) -> Atmosphere:
    """The air over a place.

    Parameters
    ----------
    bands : names as sensors have them; one with a date before it (``t0_red``) is the band.
    sun_zenith_deg : (...), 0 to below 80 degrees.
    aerosol : (...), path reflectance of aerosol at 550 nm, 0 or more.

    Returns
    -------
    Atmosphere
        arrays (..., band).

    Raises
    ------
    UsageError
        for a band without a wavelength, or angles out of range.
    """
    angle = np.asarray(sun_zenith_deg, np.float64)[..., None]
    haze = np.asarray(aerosol, np.float64)[..., None]
    if not ((angle >= 0) & (angle < 80)).all() or not (haze >= 0).all():
        raise UsageError(
            "sun's zenith angle or aerosol", got=(angle, haze), expected="0 to below 80 degrees; 0 or more"
        )
    wavelength = np.array([wavelength_nm(band) for band in bands])
    tau = rayleigh_depth(wavelength)
    cosine = np.cos(np.deg2rad(angle))
    phase = 0.75 * (1 + cosine**2)
    path = tau * phase / (4 * cosine) + haze * (wavelength / AEROSOL_NM) ** -ANGSTROM_EXPONENT
    return Atmosphere(path, np.exp(-0.5 * tau * (1 / cosine + 1)) * np.ones_like(haze))


def to_toa(surface: NDArray[Any], air: Atmosphere) -> NDArray[np.float64]:
    """Reflectance (..., band, y, x) of the ground as seen from above the air; NaN stays NaN."""
    return np.asarray(surface * air.transmission[..., None, None] + air.path[..., None, None])


def to_surface(toa: NDArray[Any], air: Atmosphere) -> NDArray[np.float64]:
    """The inverse of :func:`to_toa`; below 0 where the air is taken for brighter than the pixel."""
    return np.asarray((toa - air.path[..., None, None]) / air.transmission[..., None, None])


def rayleigh_depth(wavelength: ArrayLike) -> NDArray[np.float64]:
    """Optical depth of the air's molecules at a wavelength in nanometres, same shape."""
    square = (np.asarray(wavelength, np.float64) / 1000) ** 2
    above = 1.0455996 - 341.29061 / square - 0.90230850 * square
    below = 1 + 0.0027059889 / square - 85.968563 * square
    return np.asarray(0.0021520 * above / below)


def wavelength_nm(band: str) -> float:
    """Middle of a band by its name, Sentinel-2's where sensors differ.

    Raises
    ------
    UsageError
        for a name that no sensor has, or what is no band of light.
    """
    name = band.split("_", 1)[1] if band[:1] == "t" and band[1:2].isdigit() and "_" in band else band
    for sensor in SENSORS.values():
        for known in sensor.bands:
            if known.name == name.partition(":")[0] and known.wavelength_nm is not None:
                return known.wavelength_nm
    raise UsageError("wavelength of the band is not known", got=band, fix="leave the change of atmosphere out")
