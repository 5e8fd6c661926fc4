"""Names for the bands of an image file: by what the file says, or by a sensor's numbering that the user names.

Band 4 is near infrared on Landsat 4 to 7 and red on Landsat 8 and 9: a number alone means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minescale.errors import UsageError
from minescale.sensors import SENSORS, SENTINEL2_L2A

CLOUD = "cloud"
"""A band of zeros and ones after the spectral ones."""

BAND_ORDERS: Mapping[str, tuple[str, ...]] = {
    "tm": ("blue", "green", "red", "nir08", "swir16", "lwir", "swir22"),
    "oli": ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22"),
    "sentinel-2": SENTINEL2_L2A.names,
    "sentinel-2-10": tuple(n for n in SENTINEL2_L2A.names if n not in ("coastal", "nir09")),
}
"""Bands 1, 2, 3 ... by sensor, as STAC common names. ``tm``: Landsat 4-7, whose sixth band is thermal. ``oli``:
Landsat 8-9, bands 1-7. ``sentinel-2``: B01 to B12 of Level 2A; ``sentinel-2-10``: without the two of 60 m."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "nir": ("nir", "nir08"),
    "nir08": ("nir08", "nir"),
    "swir1": ("swir16",),
    "swir2": ("swir22",),
    "thermal": ("lwir",),
}
"""What a name may also be called."""

KNOWN = frozenset(name for sensor in SENSORS.values() for name in sensor.names) | {"lwir", CLOUD}


def band_names(descriptions: Sequence[str | None], order: str | None = None) -> tuple[str, ...]:
    """A name for each band of a file.

    Parameters
    ----------
    descriptions : what the file calls its bands.
    order : key of `BAND_ORDERS`; needed where the file does not use common names. One band more than the order has
        is the cloud band.

    Raises
    ------
    UsageError
        for an unknown order, one that does not fit the number of bands or contradicts the file, or bands that are
        only numbered and no order given.
    """
    own = [(text or "").strip().casefold() for text in descriptions]
    own = [ALIASES.get(name, (name,))[0] if name not in KNOWN else name for name in own]
    named = all(name in KNOWN for name in own) and len(set(own)) == len(own)
    if order is None:
        if not named:
            raise UsageError(
                "bands are not named, or not by names that are known",
                got=", ".join(text or "?" for text, name in zip(descriptions, own, strict=True) if name not in KNOWN)
                or f"{', '.join(own)}, one of them twice",
                expected=f"common names such as red, nir08, {CLOUD}: band numbers differ between sensors",
                fix="the sensor's band order: " + ", ".join(BAND_ORDERS),
            )
        return tuple(own)
    if order not in BAND_ORDERS:
        raise UsageError("unknown band order", got=order, expected=", ".join(BAND_ORDERS))
    names = BAND_ORDERS[order]
    if len(own) == len(names) + 1:
        names = (*names, CLOUD)
    if len(own) != len(names):
        raise UsageError(
            f"band order {order} does not fit the file",
            got=f"{len(own)} bands",
            expected=f"{', '.join(BAND_ORDERS[order])}, with or without {CLOUD}",
        )
    if named and tuple(own) != names:
        raise UsageError(f"band order {order} contradicts the file", got=", ".join(own), expected=", ".join(names))
    return names


def position(names: Sequence[str], band: str) -> int:
    """Where a band stands in a file, from 0; ``nir`` also finds ``nir08``.

    Raises
    ------
    UsageError
        naming the bands that there are.
    """
    for name in ALIASES.get(band, (band,)):
        if name in names:
            return list(names).index(name)
    raise UsageError("image lacks a band", got=", ".join(names), expected=band)
