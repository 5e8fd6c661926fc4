"""Scenes: one STAC item resolved to named bands, radiometry and footprint."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shapely.geometry.base import BaseGeometry

from minescale.sensors import MASK


@dataclass(frozen=True, slots=True, kw_only=True)
class BandAsset:
    """One raster of a scene. Surface reflectance = ``DN * scale + offset`` where ``DN != nodata``."""

    href: str
    """Absolute and unsigned: signatures expire, so they are made at read."""
    scale: float = 1.0
    offset: float = 0.0
    nodata: int | None = 0
    transform: tuple[float, float, float, float, float, float] | None = None
    """Affine (a, b, c, d, e, f) of the full-resolution image; None where the item does not say."""
    shape: tuple[int, int] | None = None
    """(y, x) of the full-resolution image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    id: str
    collection: str
    provider: str
    """Which radiometry and signing rules apply: planetary-computer, earth-search, demo, other."""
    sensor: str
    platform: str
    datetime: dt.datetime
    """Acquisition, UTC."""
    crs: str
    """Authority code or WKT of every band."""
    footprint: BaseGeometry = field(compare=False)
    """Longitude/latitude polygon."""
    bands: Mapping[str, BandAsset]
    """By STAC common name; the quality band, where there is one, under ``mask``."""
    cloud_cover: float | None = None
    """Per cent, as the catalogue says."""
    baseline: str | None = None
    grid_tile: str | None = None
    """MGRS tile or WRS path/row."""
    orbit: int | None = None

    @property
    def has_mask(self) -> bool:
        return MASK in self.bands


@dataclass(frozen=True, slots=True)
class Layer:
    """One look at the ground: scenes of one platform and solar day, fused in order, the first with data winning."""

    day: dt.date
    scenes: tuple[Scene, ...]

    @property
    def id(self) -> str:
        return f"{self.day.isoformat()}:{self.scenes[0].platform}"


def solar_day(moment: dt.datetime, longitude: float) -> dt.date:
    """The calendar day by the sun at ``longitude`` (15° = one hour)."""
    return (moment.astimezone(dt.UTC) + dt.timedelta(hours=longitude / 15.0)).date()


def group_layers(scenes: Iterable[Scene], longitude: float) -> tuple[Layer, ...]:
    """Group scenes into layers, oldest first, by platform and the solar day at the tile's ``longitude``.

    Two scenes of one pass overlap by up to 10 km; fused, they count as the single look they are. Inside a
    layer scenes are ordered by acquisition time and id, so that fusing does not depend on catalogue order.
    """
    groups: dict[tuple[dt.date, str], list[Scene]] = {}
    for scene in scenes:
        groups.setdefault((solar_day(scene.datetime, longitude), scene.platform), []).append(scene)
    ordered = sorted(groups.items(), key=lambda item: item[0])
    return tuple(Layer(day, tuple(sorted(group, key=lambda s: (s.datetime, s.id)))) for (day, _), group in ordered)


def source_anchor(scenes: Sequence[Scene], crs: str) -> tuple[float, float]:
    """Corner (x, y) of the scenes' most common pixel lattice in ``crs``; (0, 0) where none is in it.

    A mosaic anchored there uses source pixels as they are.
    """
    corners: dict[tuple[float, float], int] = {}
    for scene in scenes:
        if scene.crs != crs:
            continue
        for asset in scene.bands.values():
            if asset.transform is not None:
                corner = (asset.transform[2], asset.transform[5])
                corners[corner] = corners.get(corner, 0) + 1
    if not corners:
        return (0.0, 0.0)
    return max(corners, key=lambda corner: (corners[corner], corner))
