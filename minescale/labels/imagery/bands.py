"""Which bands a training set has: names, fixed orders, by-products that are no features, and bands that do not exist.

Sentinel-2 observes visible, near and short-wave infrared light; it has no thermal band. Its Level-2A product has twelve
bands (B01 to B09, B8A, B11, B12) and no B10, which Level-1C alone has; AOT and TCI in turn are in Level-2A alone. So no
product has all that some published tables list, and what a product lacks is declared absent, never filled with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.sensors import Sensor

SENTINEL2 = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge071",
    "B06": "rededge075",
    "B07": "rededge078",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B10": "cirrus",
    "B11": "swir16",
    "B12": "swir22",
    "AOT": "aot",
}
"""Common names by the mission's own."""
_OWN_NAMES = {common: own for own, common in SENTINEL2.items()}
L2A = tuple(name for own, name in SENTINEL2.items() if own not in {"B10", "AOT"})
"""The twelve bands of Level-2A, B01 to B12."""
STACK_12 = tuple(
    SENTINEL2[own] for own in ("B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09")
)
"""The same twelve in the order of mining segmentation models: 10 m bands, 20 m bands, 60 m bands."""
PICTURE = {"tci_r": "red", "tci_g": "green", "tci_b": "blue"}
"""A true-colour picture, for eyes. It is a stretched and clipped copy of three bands: as features they would enter
twice."""
COUNT, STATE = "clear_count", "state"
"""Clear looks that a composite had; or what the quality band says of a single scene (0 no data, 1 clear, 2 cloud or
shadow, 3 snow or defect)."""
_ABSENT = {"cirrus": "B10 is in Level-1C products only, and imagery here is surface reflectance"}
_SETS = {"L2A": L2A, "STACK12": STACK_12, "RGB": ("red", "green", "blue")}


@dataclass(frozen=True, slots=True)
class BandList:
    """What was asked for, sorted into what it is."""

    features: tuple[str, ...]
    """Common names, in the order asked for."""
    ancillary: tuple[str, ...] = ()
    """By-products to keep beside them: ``aot``, ``tci_r``, ``tci_g``, ``tci_b``."""
    absent: dict[str, str] = field(default_factory=dict)
    """Bands that the product, or every scene of the catalogue, lacks, and why."""

    @classmethod
    def parse(cls, names: Sequence[str], sensor: Sensor) -> BandList:
        """Sort names into features, by-products and what does not exist.

        Parameters
        ----------
        names : STAC common names, Sentinel-2's own (``B04``, ``AOT``, ``TCI``), or the sets ``L2A``, ``STACK12``
            (order B04 B03 B02 B08, B05 B06 B07 B8A B11 B12, B01 B09) and ``RGB``.

        Raises
        ------
        UsageError
            for a name that is none of them, a name given twice, or a list without a feature.
        """
        spread = [one for name in names for one in _SETS.get(name.upper(), (name,))]
        spread = [one for name in spread for one in (PICTURE if name.upper() == "TCI" else (name,))]
        common = [SENTINEL2.get(name.upper(), name) for name in spread]
        features: list[str] = []
        ancillary: list[str] = []
        absent: dict[str, str] = {}
        by_products = {band.name for band in sensor.ancillary}
        for name in common:
            if name in _ABSENT:
                absent[name] = _ABSENT[name]
            elif name in PICTURE or name in by_products:
                ancillary.append(name)
            else:
                features.append(sensor.band(name).name)
        wanted = [*features, *ancillary]
        twice = sorted({name for name in wanted if wanted.count(name) > 1})
        if twice:
            raise UsageError("bands are named twice", got=", ".join(twice), expected="each once")
        if not features:
            raise UsageError("no band that can be a feature", got=", ".join(names) or "none", expected="red, nir, ...")
        return cls(tuple(features), tuple(ancillary), absent)

    def without(self, lacking: Sequence[str], cause: str) -> BandList:
        """The list less some bands, which are declared absent.

        Raises
        ------
        UsageError
            where no feature is left.
        """
        gone = set(lacking)
        left = tuple(name for name in self.features if name not in gone)
        if not left:
            raise UsageError("none of the bands exists", got=", ".join(self.features), expected=cause)
        ancillary = tuple(name for name in self.ancillary if name not in gone and PICTURE.get(name) not in gone)
        lost = [name for name in (*self.features, *self.ancillary) if name not in (*left, *ancillary)]
        return BandList(left, ancillary, {**self.absent, **dict.fromkeys(lost, cause)})

    @property
    def read(self) -> tuple[str, ...]:
        """Bands to read: features, and what by-products are or are made of."""
        more = (PICTURE.get(name, name) for name in self.ancillary)
        return tuple(dict.fromkeys((*self.features, *more)))

    def stack(self, planes: dict[str, NDArray[np.uint16]]) -> NDArray[np.uint16]:
        """uint16 (band, y, x): features, then by-products, from what was :attr:`read`."""
        made = [planes[name] for name in self.features]
        made += [true_colour(planes[PICTURE[name]]) if name in PICTURE else planes[name] for name in self.ancillary]
        return np.stack(made)


def true_colour(reflectance: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """One channel of a true-colour picture: 1 to 255, linear, 255 from reflectance 0.2 on; 0 stays no data.

    The limits are those of Level-2A's own TCI (Sentinel-2 Products Specification Document). As the stretch rises
    everywhere, the picture of a median is the median of pictures: nothing has to be read for it.
    """
    scaled = 1 + np.floor(np.minimum(reflectance, 2000) * (254 / 2000) + 0.5)
    return np.where(reflectance == 0, 0, scaled).astype(np.uint16)


def band_tags(names: Sequence[str], sensor: Sensor, kernel: str) -> tuple[dict[str, str], ...]:
    """Tags of each band of a file: the mission's name, wavelength, native pixel edge, how it was resampled."""
    tags = []
    for name in names:
        if name in PICTURE:
            tags.append({"of": PICTURE[name], "role": "picture, no feature"})
        elif name in {COUNT, STATE}:
            tags.append({"role": "quality, no feature"})
        else:
            band = sensor.band(name)
            values = {"native_m": f"{band.resolution:g}", "resampling": kernel}
            if name in _OWN_NAMES and sensor.name.startswith("sentinel-2"):
                values["name"] = _OWN_NAMES[name]
            if band.wavelength_nm is not None:
                values["wavelength_nm"] = f"{band.wavelength_nm:g}"
            else:
                values["role"] = "by-product, no feature"
            tags.append(values)
    return tuple(tags)


def require_order(have: Sequence[str], want: Sequence[str], what: str) -> None:
    """Refuse imagery whose bands are not, one by one, those that a model was trained on.

    Raises
    ------
    UsageError
        naming the first position that differs.
    """
    if tuple(have) == tuple(want):
        return
    pairs = zip([*have, *["nothing"] * len(want)], [*want, *["nothing"] * len(have)], strict=False)
    place = next(i for i, (a, b) in enumerate(pairs) if a != b)
    raise UsageError(
        f"{what} has its bands in another order (position {place})",
        got=", ".join(have),
        expected=", ".join(want),
        fix="reorder(image, have, want)" if sorted(have) == sorted(want) else "the bands of the model",
    )


def reorder(image: NDArray[Any], have: Sequence[str], want: Sequence[str]) -> NDArray[Any]:
    """(band, y, x) with the bands ``want``, by name.

    Raises
    ------
    UsageError
        for a band that the image lacks.
    """
    lacking = [name for name in want if name not in have]
    if lacking:
        raise UsageError("image lacks bands", got=", ".join(have), expected=", ".join(lacking))
    return image[[list(have).index(name) for name in want]]
