"""What a search asks for, and whether an item's JSON answers it (for catalogues that cannot search themselves)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shapely import box, prepare
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry

from minescale.sources.query import Condition
from minescale.types import BBox, Period


@dataclass(frozen=True)
class Selection:
    """Area, period, collections and property conditions."""

    bbox: BBox
    period: Period
    collections: tuple[str, ...]
    conditions: tuple[Condition, ...]

    @cached_property
    def area(self) -> BaseGeometry:
        """The box as a longitude/latitude geometry, cut at the antimeridian."""
        area = MultiPolygon([box(*part.as_tuple()) for part in self.bbox.parts()])
        prepare(area)
        return area

    def matches(self, item: Mapping[str, Any]) -> bool:
        """Whether one item (as JSON) is asked for."""
        properties = item.get("properties") or {}
        return (
            item.get("collection") in self.collections
            and self.in_period(properties)
            and all(condition.matches(properties) for condition in self.conditions)
            and self.in_area(item.get("geometry"), item.get("bbox"))
        )

    def in_period(self, properties: Mapping[str, Any]) -> bool:
        moment = properties.get("datetime")
        start = parse_time(moment or properties.get("start_datetime"))
        end = parse_time(moment or properties.get("end_datetime") or properties.get("start_datetime"))
        return start is not None and end is not None and start <= self.period.end and end >= self.period.start

    def in_area(self, geometry: Mapping[str, Any] | None, bbox: Sequence[float] | None) -> bool:
        if bbox and len(bbox) in {4, 6}:
            half = len(bbox) // 2
            west, south, east, north = bbox[0], bbox[1], bbox[half], bbox[half + 1]
            # west > east: the item crosses the antimeridian, and its box tells nothing by itself.
            if west <= east and not self.area.intersects(box(west, south, east, north)):
                return False
            if not geometry:
                return True
        if not geometry:
            return False
        try:
            return bool(self.area.intersects(shape(geometry)))
        except (ValueError, TypeError, AttributeError, KeyError):  # shapely's own errors are ValueErrors
            return False


def parse_time(value: Any) -> dt.datetime | None:
    """An RFC 3339 text or datetime as UTC; None where it is neither."""
    if isinstance(value, dt.datetime):
        moment = value
    elif isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    else:
        return None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
