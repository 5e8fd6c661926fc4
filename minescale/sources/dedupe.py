"""One scene per look: reprocessed and doubly published products are dropped, the newest baseline is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from minescale.sources.radiometry import parse_baseline
from minescale.sources.scenes import Scene

SAME_LOOK = dt.timedelta(seconds=60)
"""One satellite cannot see one grid tile twice within a minute; catalogues round the time differently."""
MATERIAL_SHARE = 0.02
"""Two products of one look are both kept where each would lose this share of its footprint to the other's absence:
a pass split between two ground stations gives two halves of a tile."""


def deduplicate(scenes: Iterable[Scene]) -> tuple[tuple[Scene, ...], tuple[tuple[str, str], ...]]:
    """(kept, dropped): scenes in the order of (datetime, id), and (id, cause) of every scene dropped.

    Looks are told apart by platform, grid tile, orbit and time. Of equal looks the newest processing baseline
    wins, then the greatest id (product ids end in their processing time).
    """
    groups: dict[tuple[object, ...], list[Scene]] = {}
    for scene in scenes:
        groups.setdefault(_place(scene), []).append(scene)
    kept: list[Scene] = []
    dropped: list[tuple[str, str]] = []
    for group in groups.values():
        for look in _looks(sorted(group, key=lambda s: (s.datetime, s.id))):
            chosen: list[Scene] = []
            for scene in sorted(look, key=_rank, reverse=True):
                better = next((c for c in chosen if _covers(c, scene)), None)
                if better is None:
                    chosen.append(scene)
                else:
                    dropped.append((scene.id, f"duplicate of {better.id} (baseline {better.baseline})"))
            kept.extend(chosen)
    return tuple(sorted(kept, key=lambda s: (s.datetime, s.id))), tuple(sorted(dropped))


def _place(scene: Scene) -> tuple[object, ...]:
    # Without a tile name the footprint's corners stand for it.
    tile = scene.grid_tile or tuple(round(v, 3) for v in scene.footprint.bounds)
    return (scene.sensor, scene.platform, tile, scene.orbit)


def _looks(ordered: list[Scene]) -> list[list[Scene]]:
    looks: list[list[Scene]] = []
    for scene in ordered:
        if looks and scene.datetime - looks[-1][0].datetime <= SAME_LOOK:
            looks[-1].append(scene)
        else:
            looks.append([scene])
    return looks


def _rank(scene: Scene) -> tuple[tuple[int, int], str]:
    return (parse_baseline(scene.baseline) or (-1, 0), scene.id)


def _covers(better: Scene, other: Scene) -> bool:
    area = other.footprint.area
    if area == 0:
        return True
    return bool(other.footprint.difference(better.footprint).area / area <= MATERIAL_SHARE)
