"""Which scenes and bands a small colour picture of a large area needs."""

from __future__ import annotations

from collections.abc import Sequence

from minescale.sources.scenes import Scene

TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("swir16", "nir", "red")
"""Where a colour is missing: vegetation green, bare ground pink, water dark."""

MAX_SCENES = 240
"""A picture must not read more than a sliver of the scan itself."""


def picture_bands(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """Bands for red, green and blue of the picture; empty where the scenes offer neither set."""
    for wanted in (TRUE_COLOUR, FALSE_COLOUR):
        if any(_has(scene, wanted) for scene in scenes):
            return wanted
    return ()


def picture_scenes(scenes: Sequence[Scene], bands: Sequence[str], limit: int = MAX_SCENES) -> tuple[Scene, ...]:
    """The clearest scenes by the catalogue's cloud cover, the same number for every grid tile.

    At most six for each, fewer where the area is large; one per grid tile is kept even beyond ``limit``.
    """
    groups: dict[tuple[str, str], list[Scene]] = {}
    for scene in scenes:
        if _has(scene, bands):
            place = scene.grid_tile or ",".join(f"{v:.1f}" for v in scene.footprint.bounds)
            groups.setdefault((scene.crs, place), []).append(scene)
    each = max(1, min(6, limit // max(len(groups), 1)))
    chosen: list[Scene] = []
    for group in groups.values():
        group.sort(key=lambda s: (100.0 if s.cloud_cover is None else s.cloud_cover, s.datetime, s.id))
        chosen += group[:each]
    return tuple(chosen)


def _has(scene: Scene, bands: Sequence[str]) -> bool:
    # Landsat has one near-infrared band, which its catalogues call nir08.
    return all(band in scene.bands or (band == "nir" and "nir08" in scene.bands) for band in bands)
