"""Digital numbers to reflectance: one explicit table, decided per item from its own metadata.

Since processing baseline 04.00 ESA adds 1000 to Sentinel-2's digital numbers. The acquisition date does not tell
(Collection 1 reprocessed the whole archive), and catalogues differ in whether they took the offset out again.
What ``resolve`` returns goes into ``BandAsset`` and is used once, by the reader: no other place applies an
offset, so it cannot be applied twice.

Sources: ESA Sentinel-2 processing baseline 04.00 (BOA_ADD_OFFSET = -1000, quantification value 10000); USGS
Landsat Collection 2 Level 2 (scale 2.75e-5, offset -0.2, fill 0).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minescale.errors import RadiometryError
from minescale.sensors import LANDSAT_C2_L2, SENTINEL2_L2A, sensor_of

S2_SCALE, S2_OFFSET = 1e-4, -0.1
LANDSAT_SCALE, LANDSAT_OFFSET = 2.75e-5, -0.2
OFFSET_BASELINE = (4, 0)
"""First Sentinel-2 processing baseline whose digital numbers carry the offset."""

_HARMONISED_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINE = re.compile(r"^N?(\d{1,2})\.?(\d{2})$")


@dataclass(frozen=True, slots=True)
class Radiometry:
    """Surface reflectance = ``DN * scale + offset`` where ``DN != nodata``."""

    scale: float
    offset: float
    nodata: int | None
    rule: str
    """Which line of the table decided, in words."""


def parse_baseline(text: str | None) -> tuple[int, int] | None:
    """``05.11`` or ``N0511`` as numbers; None for anything else, such as ``harmonised``."""
    match = _BASELINE.match((text or "").strip())
    return (int(match.group(1)), int(match.group(2))) if match else None


def resolve(
    provider: str,
    collection: str,
    properties: Mapping[str, Any],
    raster_band: Mapping[str, Any] | None,
    baseline: str | None,
    *,
    scene_id: str = "",
) -> Radiometry:
    """Scale, offset and nodata of one reflectance asset.

    Parameters
    ----------
    provider : planetary-computer, earth-search, demo or other. Recorded; what decides is the item itself, so
        that a copy of a provider's items (stac-geoparquet) resolves as the original does.
    properties : of the STAC item.
    raster_band : first entry of the asset's ``raster:bands`` (or STAC 1.1 ``bands``), if any.
    baseline : processing baseline, see ``minescale.sources.items``.

    Raises
    ------
    RadiometryError
        where metadata cannot tell, or contradicts itself.
    UsageError
        for a collection no sensor claims.
    """
    sensor = sensor_of(collection)
    band = raster_band or {}
    nodata = _nodata(band)
    if sensor is LANDSAT_C2_L2:
        return _landsat(properties, band, nodata, scene_id)
    if sensor is SENTINEL2_L2A:
        return _sentinel2(provider, collection, properties, band, nodata, baseline, scene_id)
    raise RadiometryError(f"no radiometry for {sensor.name}", got=scene_id, expected="Sentinel-2 L2A or Landsat C2 L2")


def _sentinel2(  # noqa: PLR0911 - one return per line of the table
    provider: str,
    collection: str,
    properties: Mapping[str, Any],
    band: Mapping[str, Any],
    nodata: int | None,
    baseline: str | None,
    scene_id: str,
) -> Radiometry:
    scale, offset = _number(band.get("scale")), _number(band.get("offset"))
    if scale is not None and not math.isclose(scale, S2_SCALE, rel_tol=1e-6):
        raise RadiometryError(
            f"scene {scene_id} has an unexpected scale", got=scale, expected=f"{S2_SCALE:g} for {collection}"
        )
    number = parse_baseline(baseline)
    by_baseline = None if number is None else (S2_OFFSET if number >= OFFSET_BASELINE else 0.0)

    flag = next((properties[name] for name in _HARMONISED_FLAGS if properties.get(name) is not None), None)
    if _is_true(flag):
        # The catalogue subtracted already; its raster:bands.offset of -0.1 describes ESA's file, not this one.
        return Radiometry(S2_SCALE, 0.0, nodata, "boa_offset_applied: the catalogue took the offset out")
    if flag is not None and by_baseline is not None:
        return Radiometry(S2_SCALE, by_baseline, nodata, f"boa_offset_applied is false, baseline {baseline}")
    if collection == "sentinel-2-c1-l2a":
        # Collection 1 is baseline 05.00 and later throughout, and is published as ESA made it.
        return Radiometry(S2_SCALE, S2_OFFSET if offset is None else _known(offset, scene_id), nodata, "Collection 1")
    if scale is not None and offset is not None:
        if provider == "earth-search" and by_baseline is not None:
            return Radiometry(S2_SCALE, by_baseline, nodata, f"baseline {baseline}, no boa_offset_applied")
        return Radiometry(S2_SCALE, _known(offset, scene_id), nodata, "raster:bands states scale and offset")
    if by_baseline is not None:
        return Radiometry(S2_SCALE, by_baseline, nodata, f"baseline {baseline}")
    if scale is not None:
        # STAC: an absent offset is 0.
        return Radiometry(S2_SCALE, 0.0, nodata, "raster:bands states a scale and no offset")
    raise RadiometryError(
        f"scene {scene_id} does not say whether its digital numbers carry the 1000 offset",
        got=f"baseline {baseline!r}, no raster:bands",
        expected="s2:processing_baseline such as 05.11, or raster:bands with scale and offset",
        fix="add one of them to the items",
    )


def _landsat(properties: Mapping[str, Any], band: Mapping[str, Any], nodata: int | None, scene_id: str) -> Radiometry:
    edition = str(properties.get("landsat:collection_number", "02"))
    if edition.lstrip("0") != "2":
        raise RadiometryError(f"scene {scene_id} is not Landsat Collection 2", got=edition, expected="02")
    scale, offset = _number(band.get("scale")), _number(band.get("offset"))
    given = (LANDSAT_SCALE if scale is None else scale, LANDSAT_OFFSET if offset is None else offset)
    if not (math.isclose(given[0], LANDSAT_SCALE, rel_tol=1e-6) and math.isclose(given[1], LANDSAT_OFFSET)):
        raise RadiometryError(
            f"scene {scene_id} has an unexpected scale or offset",
            got=given,
            expected=f"{LANDSAT_SCALE:g} and {LANDSAT_OFFSET:g} for Collection 2 Level 2 surface reflectance",
        )
    return Radiometry(LANDSAT_SCALE, LANDSAT_OFFSET, nodata, "Landsat Collection 2 Level 2")


def _known(offset: float, scene_id: str) -> float:
    for value in (0.0, S2_OFFSET):
        if math.isclose(offset, value, abs_tol=1e-9):
            return value
    raise RadiometryError(f"scene {scene_id} has an unexpected offset", got=offset, expected=f"0 or {S2_OFFSET:g}")


def _nodata(band: Mapping[str, Any]) -> int:
    """0 unless the item names another number; both sensors' products use 0 for fill."""
    value = _number(band.get("nodata"))
    return 0 if value is None or not value.is_integer() else int(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_true(flag: Any) -> bool:
    return flag is True or str(flag).lower() == "true"
