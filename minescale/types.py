"""Small frozen values that every layer speaks: an area, a period, a tile, a channel."""

from __future__ import annotations

import calendar
import datetime as dt
import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from minescale.errors import UsageError

PeriodRule = Literal["all", "year", "quarter", "month"]
PERIOD_RULES: tuple[PeriodRule, ...] = ("all", "year", "quarter", "month")


@dataclass(frozen=True, slots=True)
class BBox:
    """A longitude/latitude box in degrees (WGS 84). ``west > east`` means it crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        got = f"{self.west} {self.south} {self.east} {self.north}"
        order = "W S E N in degrees, longitude first"
        if not all(abs(v) < float("inf") for v in (self.west, self.south, self.east, self.north)):
            raise UsageError("bbox has a value that is not a number", got=got, expected=order)
        if abs(self.south) > 90 or abs(self.north) > 90:
            swapped = abs(self.west) <= 90 and abs(self.east) <= 90
            hint = (
                f"{self.south} {self.west} {self.north} {self.east} (latitude and longitude look swapped)"
                if swapped
                else "latitudes between -90 and 90"
            )
            raise UsageError("bbox has a latitude beyond the poles", got=got, expected=order, fix=hint)
        if abs(self.west) > 180 or abs(self.east) > 180:
            raise UsageError("bbox has a longitude beyond ±180", got=got, expected=order)
        if self.south >= self.north:
            raise UsageError(
                "bbox is empty or upside down: south is not below north",
                got=got,
                expected=order,
                fix=f"{self.west} {self.north} {self.east} {self.south}" if self.south > self.north else None,
            )
        if self.west == self.east:
            raise UsageError("bbox is empty: west equals east", got=got, expected=order)
        if self.west > self.east and self.width > 180:
            raise UsageError(
                "bbox has west > east and does not cross the antimeridian",
                got=got,
                expected=order,
                fix=f"{self.east} {self.south} {self.west} {self.north}",
            )

    @classmethod
    def of(cls, values: Sequence[float] | BBox) -> BBox:
        """Build from ``(west, south, east, north)``."""
        if isinstance(values, BBox):
            return values
        if len(values) != 4:
            raise UsageError("bbox needs four numbers", got=tuple(values), expected="W S E N")
        return cls(*(float(v) for v in values))

    @property
    def crosses_antimeridian(self) -> bool:
        return self.west > self.east

    @property
    def width(self) -> float:
        """Degrees of longitude covered."""
        return self.east - self.west + (360.0 if self.west > self.east else 0.0)

    @property
    def center(self) -> tuple[float, float]:
        """Longitude (in [-180, 180)) and latitude of the middle."""
        lon = self.west + self.width / 2
        return ((lon + 180) % 360 - 180, (self.south + self.north) / 2)

    def parts(self) -> tuple[BBox, ...]:
        """The box cut at the antimeridian: one or two boxes with west < east."""
        if not self.crosses_antimeridian:
            return (self,)
        halves = []
        if self.west < 180:
            halves.append(BBox(self.west, self.south, 180.0, self.north))
        if self.east > -180:
            halves.append(BBox(-180.0, self.south, self.east, self.north))
        return tuple(halves)

    def as_tuple(self) -> tuple[float, float, float, float]:
        return (self.west, self.south, self.east, self.north)

    def __str__(self) -> str:
        return " ".join(f"{v:g}" for v in self.as_tuple())


_DATE = re.compile(
    r"^(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(Z|[+-]\d{2}:\d{2})?)?)?)?$"
)


@dataclass(frozen=True, slots=True)
class Period:
    """A closed span of time in UTC, to the second: ``start <= t <= end``."""

    start: dt.datetime
    end: dt.datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise UsageError("period without a time zone", got=f"{self.start}/{self.end}", expected="UTC datetimes")
        if self.start > self.end:
            raise UsageError("period ends before it starts", got=str(self), expected="A/B with A <= B")

    @classmethod
    def parse(cls, text: str | Period) -> Period:
        """Parse ``2024``, ``2024-03``, ``2024-01/2024-06``, ``2024-01-05/2024-02-01T12:00:00Z``.

        A date of lower precision means its whole span, so ``2024-01/2024-06`` ends on 30 June.
        """
        if isinstance(text, Period):
            return text
        first, _, last = text.strip().partition("/")
        try:
            start, _ = _span(first)
            _, end = _span(last or first)
        except ValueError as error:
            raise UsageError(
                "datetime is not understood",
                got=text,
                expected="A/B of ISO dates such as 2024, 2024-01/2024-06 or 2024-01-05/2024-02-01",
            ) from error
        return cls(start, end)

    def split(self, rule: PeriodRule) -> tuple[Period, ...]:
        """Cut at calendar borders; ``all`` keeps one period."""
        if rule not in PERIOD_RULES:
            raise UsageError("unknown period rule", got=rule, expected=" | ".join(PERIOD_RULES))
        if rule == "all":
            return (self,)
        months = {"year": 12, "quarter": 3, "month": 1}[rule]
        return tuple(self._cuts(months))

    def _cuts(self, months: int) -> Iterator[Period]:
        year, month = self.start.year, (self.start.month - 1) // months * months + 1
        while True:
            begin = dt.datetime(year, month, 1, tzinfo=dt.UTC)
            month += months
            year, month = (year + 1, month - 12) if month > 12 else (year, month)
            finish = dt.datetime(year, month, 1, tzinfo=dt.UTC) - dt.timedelta(seconds=1)
            yield Period(max(begin, self.start), min(finish, self.end))
            if finish >= self.end:
                return

    def contains(self, moment: dt.datetime) -> bool:
        """True within the span; the fraction of a second does not count."""
        return self.start <= moment.replace(microsecond=0) <= self.end

    def isoformat(self) -> str:
        """RFC 3339 interval as STAC APIs take it."""
        return f"{_rfc3339(self.start)}/{_rfc3339(self.end)}"

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d}/{self.end:%Y-%m-%d}"


def _rfc3339(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(text: str) -> tuple[dt.datetime, dt.datetime]:
    match = _DATE.match(text.strip())
    if not match:
        raise ValueError(text)
    year, month, day, clock, zone = match.groups()
    if clock:
        moment = dt.datetime.fromisoformat(f"{year}-{month}-{day}T{clock}{(zone or 'Z').replace('Z', '+00:00')}")
        return moment.astimezone(dt.UTC), moment.astimezone(dt.UTC)
    y, m, d = int(year), int(month or 1), int(day or 1)
    start = dt.datetime(y, m, d, tzinfo=dt.UTC)
    last_month = m if month else 12
    last_day = d if day else calendar.monthrange(y, last_month)[1]
    end = dt.datetime(y, last_month, last_day, 23, 59, 59, tzinfo=dt.UTC)
    return start, end


@dataclass(frozen=True, slots=True, order=True)
class TileKey:
    """The unit of work, of pruning and of resume: tile row ``y`` and column ``x`` of pyramid ``level`` (0 = finest)."""

    level: int
    y: int
    x: int

    def __post_init__(self) -> None:
        if min(self.level, self.y, self.x) < 0:
            raise UsageError("tile key has a negative index", got=str(self), expected="level, y, x >= 0")

    def __str__(self) -> str:
        return f"{self.level}/{self.y}/{self.x}"


class Reason(enum.IntEnum):
    """Why a mosaic pixel does, or does not, carry a probability. The values of the mosaic's ``reason`` array."""

    SEEN = 0
    """At least one clear look; every scene of the tile could be read."""
    SEEN_WITH_LOSSES = 1
    """At least one clear look, but some scenes of the tile could not be read."""
    NO_SCENE = 2
    """No scene covers the pixel in this period with all the bands the model needs."""
    NEVER_CLEAR = 3
    """Covered, but cloud, shadow, snow or defects in every look."""
    READ_FAILED = 4
    """Not seen, and scenes that cover the tile could not be read."""
    NOT_PROCESSED = 255
    """Fill value: the tile was never written."""


_PERCENTILE = re.compile(r"p(0|[1-9]\d?|100)")


@dataclass(frozen=True, slots=True)
class Channel:
    """What a model reads as one band: ``nir``, composited as the scan is, or ``nir:p10``, a percentile of clear looks.

    Several channels of a band cost its bytes once.
    """

    band: str
    """STAC common name."""
    percentile: int | None = None
    """0 (lowest clear look) to 100 (highest); None: the scan's own composite."""

    @classmethod
    def parse(cls, name: str) -> Channel:
        """Read ``band`` or ``band:statistic``.

        Raises
        ------
        UsageError
            for a statistic that is no percentile.
        """
        band, colon, statistic = name.partition(":")
        if not colon:
            return cls(band)
        found = _PERCENTILE.fullmatch(statistic)
        if not found:
            raise UsageError(
                "unknown statistic of a band",
                got=name,
                expected="a percentile of the clear looks, p0 to p100, whole numbers",
                fix=f"{band}:p10, or {band} for the scan's own composite",
            )
        return cls(band, int(found[1]))

    def __str__(self) -> str:
        return self.band if self.percentile is None else f"{self.band}:p{self.percentile}"


def physical_bands(names: Iterable[str]) -> tuple[str, ...]:
    """Bands that are read for channels of these ``names``, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(Channel.parse(name).band for name in names))
