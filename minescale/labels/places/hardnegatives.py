"""Negatives that look like mines: a catalogue of places by named kind, so that false alarms can be counted by kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely

from minescale.errors import UsageError
from minescale.labels.cells.coverage import polygon_parts
from minescale.labels.cells.grid import Floats
from minescale.labels.cells.sampling import points_inside
from minescale.labels.cells.windows import squares
from minescale.labels.places.negatives import SIDE_M, point_table
from minescale.labels.places.rasterclasses import RasterClasses
from minescale.labels.shapes.points import Points
from minescale.labels.shapes.polygons import Polygons

KINDS: Mapping[str, str] = {
    "agriculture": "ploughed, burnt or flooded fields",
    "airstrip": "unpaved runways and roads",
    "aquaculture": "rows of fish and shrimp ponds",
    "barren": "bare rock, desert, salt flats, eroded slopes",
    "clearing": "forest cleared for fields or pasture",
    "cloud": "remnants of cloud, haze and their shadows",
    "coal": "formal coal mining and its ponds, where artisanal mining is looked for",
    "forest": "closed forest: the easy negative",
    "industrial": "plants, depots, solar farms, construction sites",
    "landslide": "fresh scars on slopes",
    "pond": "turbid ponds and reservoirs",
    "quarry": "stone, sand and gravel pits, where they do not count as mines",
    "riverbank": "eroded banks and floodplains",
    "sandbar": "active bars and braided channels",
    "town": "roofs, streets and bare lots",
}
"""Kinds of negatives and what they are."""

_SPARE = 4
"""Candidates drawn for each point wanted, so that those too near to what is avoided can be left out."""

Source = Polygons | Points | RasterClasses
"""Where a kind is known to be: polygons, points, or classes of a raster map."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Hard negatives, and how many of each kind were wanted and found."""

    table: pd.DataFrame
    """Columns of :data:`~minescale.labels.places.negatives.POINT_COLUMNS`, in the order of the kinds' names."""
    counts: pd.DataFrame
    """By ``kind``: ``wanted``, ``found``."""


def check_kind(kind: str) -> str:
    """The name of a kind.

    Raises
    ------
    UsageError
        for one that is not in :data:`KINDS`.
    """
    if kind not in KINDS:
        raise UsageError("unknown kind of negative", got=kind, expected=" | ".join(KINDS))
    return kind


def hard_negatives(
    sources: Mapping[str, Source],
    n: int,
    seed: int = 0,
    *,
    side_m: float = SIDE_M,
    avoid: Polygons | None = None,
) -> Catalogue:
    """At most ``n`` places of each kind, random within what its source knows.

    Parameters
    ----------
    sources : by kind. Points of polygons are uniform by area, of points uniform among them, of rasters uniform among
        pixels of the named classes.
    side_m : edge of the window round each place, in metres.
    avoid : mining polygons that no window may reach into.

    Raises
    ------
    UsageError
        for an unknown kind, or where no place is found at all.
    """
    obstacles = shapely.STRtree(polygon_parts(avoid.frame.geometry.to_numpy()) if avoid is not None else [])
    tables, counts = [], []
    for kind in sorted(sources):
        check_kind(kind)
        # A stream of its own, so that another kind more or less changes no other.
        rng = np.random.default_rng([seed, list(KINDS).index(kind)])
        lon, lat, name = _draw(sources[kind], n, rng, avoid, side_m)
        if len(obstacles) and len(lon):
            near = np.unique(obstacles.query(squares(lon, lat, side_m), predicate="intersects")[0])
            lon, lat = np.delete(lon, near), np.delete(lat, near)
        lon, lat = lon[:n], lat[:n]
        tables.append(point_table(lon, lat, prefix=f"{kind}-{seed}", source=name, label=0, kind=kind, side_m=side_m))
        counts.append({"kind": kind, "wanted": n, "found": len(lon)})
    found = pd.DataFrame(counts)
    if not found["found"].any():
        raise UsageError("no hard negative was found", got=sorted(sources), expected="sources that know such places")
    return Catalogue(pd.concat(tables, ignore_index=True), found)


def _draw(
    source: Source, n: int, rng: np.random.Generator, avoid: Polygons | None, side_m: float
) -> tuple[Floats, Floats, str]:
    """Candidates in random order, more than ``n`` where some may be left out, and the source's name."""
    if isinstance(source, Polygons):
        obstacles = None if avoid is None else avoid.frame.geometry.to_numpy()
        lon, lat = points_inside(source.frame.geometry.to_numpy(), n, rng, avoid=obstacles, clearance_m=side_m / 2)
        return lon, lat, source.source
    wanted = n if avoid is None else _SPARE * n
    if isinstance(source, RasterClasses):
        lon, lat, _ = source.draw(wanted, rng)
        order = rng.permutation(len(lon))
        return lon[order], lat[order], source.path.name
    places = shapely.get_coordinates(source.frame.geometry.to_numpy())[rng.permutation(len(source))]
    return places[:, 0], places[:, 1], source.source
