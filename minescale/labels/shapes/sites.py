"""Which polygons belong to which image, by the name of the site."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minescale.errors import UsageError
from minescale.labels.shapes.polygons import Polygons

_STROKES = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"})
"""Letters that Unicode does not take apart into a letter and an accent."""

_REGION = re.compile(r"^(?P<site>.+?)_agm_region_(?P<number>\d+)(?:_.*)?$")
_DATE = re.compile(
    r"_(?P<year>(?:19|20)\d\d)(?:_?(?P<month>0[1-9]|1[0-2])(?:_?(?P<day>0[1-9]|[12]\d|3[01])(?:_.*)?)?)?$"
)
"""A day, whatever follows it; a month or a year at the end only, since other numbers look like them."""


@dataclass(frozen=True, slots=True)
class SiteMatch:
    """Images and polygons that share a site, and those that share none."""

    rows: dict[str, list[int]]
    """Rows of the polygons for each image that has any."""
    unmatched_images: list[str]
    unmatched_polygons: list[str]
    """Names; an empty one stands for polygons without a name."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "matched_images": len(self.rows),
            "unmatched_images": self.unmatched_images,
            "unmatched_polygons": self.unmatched_polygons,
        }


def site_key(name: str) -> str:
    """A name without case, accents, spaces and punctuation: ``Bełchatów (PL)`` is ``belchatow_pl``."""
    folded = unicodedata.normalize("NFKD", name.casefold().translate(_STROKES))
    letters = "".join(c for c in folded if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", "_", letters).strip("_")


def split_site(name: str) -> tuple[str, int | None]:
    """Base site and number of its region, None where the name has none.

    ``<site>_agm_region_<n>``, whatever follows, is region n of the site. Of other names a date is taken off:
    ``nkawkaw_20190304_landsat-8`` and ``nkawkaw_2019`` are images of ``nkawkaw``.
    """
    key = site_key(name)
    region = _REGION.match(key)
    if region:
        return region["site"], int(region["number"])
    return _DATE.sub("", key), None


def date_of(name: str) -> str | None:
    """ISO date, month or year that an image's name tells; None where it tells none."""
    found = _DATE.search(site_key(name))
    if found is None:
        return None
    parts = [part for part in found.group("year", "month", "day") if part]
    if len(parts) == 3:
        try:
            dt.date(*map(int, parts))
        except ValueError:
            return None
    return "-".join(parts)


def match_sites(images: Iterable[str], polygons: Polygons, *, allow_empty: bool = False) -> SiteMatch:
    """Polygons whose name is the site of an image.

    Base sites must be equal; where both sides name a region of the site, the regions too.

    Parameters
    ----------
    images : names of images, without folder and ending.
    allow_empty : accept that nothing matches.

    Raises
    ------
    UsageError
        where no image finds a polygon.
    """
    names = polygons.frame["name"].tolist()
    keys = [split_site(name) for name in names]
    by_site: dict[str, list[int]] = {}
    for row, (site, _) in enumerate(keys):
        if site:
            by_site.setdefault(site, []).append(row)
    rows: dict[str, list[int]] = {}
    unmatched: list[str] = []
    for image in images:
        site, region = split_site(image)
        found = [r for r in by_site.get(site, []) if region is None or keys[r][1] in (None, region)]
        if found:
            rows[image] = found
        else:
            unmatched.append(image)
    used = {row for found in rows.values() for row in found}
    left = list(dict.fromkeys(name for row, name in enumerate(names) if row not in used))
    if not rows and not allow_empty:
        raise UsageError(
            f"no image shares its site with a polygon of {polygons.source}",
            got=f"images {unmatched[:3]}, polygons {left[:3]}",
            expected="the same names, apart from case, accents, punctuation, region numbers and dates",
            fix="name_column=<column with site names>, or match places instead of names",
        )
    return SiteMatch(rows, unmatched, left)
