"""Which scenes make a single-date image of a window: little cloud first, and only those that add ground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from odc.geo.geobox import GeoBox

from minescale.sensors import MASK, NODATA, OBSCURED
from minescale.sources.failures import ReadFailure
from minescale.sources.reader import Reader
from minescale.sources.scenes import Layer, Scene

COVERED = 0.95
"""A scene of which more than this is covered by better ones already is left out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Scenes for one window, best first: where two see the same ground, the first counts."""

    scenes: tuple[Scene, ...]
    cloud_share: float
    """Cloud and shadow in what the chosen scenes show of the window, 0 to 1; NaN without a quality band."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Scene id to why it was left out; scenes that were not looked at, as the window was full, are not listed."""
    failures: tuple[ReadFailure, ...] = ()


def below_cloud_limit(scenes: Iterable[Scene], limit: float | None) -> list[Scene]:
    """Scenes whose catalogue entry says less cloud than ``limit`` per cent: with 20, 19.9 stays and 20.0 goes.

    A scene that does not say stays: its quality band is asked later.
    """
    return [s for s in scenes if limit is None or s.cloud_cover is None or s.cloud_cover < limit]


def by_cloud(scenes: Iterable[Scene]) -> list[Scene]:
    """Ascending cloud cover, then oldest first; scenes that do not say come last."""
    return sorted(
        scenes,
        key=lambda s: (s.cloud_cover is None, s.cloud_cover if s.cloud_cover is not None else 0, s.datetime, s.id),
    )


def one_layer(scenes: Sequence[Scene]) -> Layer:
    """Scenes of any dates as one look, fused in their order."""
    return Layer(scenes[0].datetime.date(), tuple(scenes))


def choose_scenes(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    band: str,
    *,
    reader: Reader,
    covered: float = COVERED,
    aoi_cloud_below: float | None = None,
) -> Choice:
    """Choose scenes greedily, in their order, until the window is full.

    Every scene is judged by what it really shows of the window, from its quality band: a catalogue's cloud cover is
    that of a whole scene, and its footprint includes ground without data.

    Parameters
    ----------
    scenes : candidates, best first (:func:`by_cloud`).
    band : read in place of the quality band where a scene has none.
    covered : share of a scene's part of the window; beyond it the scene brings too little.
    aoi_cloud_below : per cent of cloud and shadow within the window from which a scene is left out.
    """
    chosen: list[Scene] = []
    rejected: dict[str, str] = {}
    failures: tuple[ReadFailure, ...] = ()
    full = np.zeros(geobox.shape.yx, bool)
    clouded = known = 0
    for scene in scenes:
        read = reader.read([one_layer([scene])], geobox, MASK if scene.has_mask else band)
        failures += read.failures
        seen = read.data[0] != NODATA
        count = int(np.count_nonzero(seen))
        if read.failures or not count:
            rejected[scene.id] = "could not be read" if read.failures else "shows nothing of the window"
            continue
        fresh = seen & ~full
        if 1 - np.count_nonzero(fresh) / count > covered:
            rejected[scene.id] = f"more than {covered:.0%} of it is covered by better scenes"
            continue
        cloud = seen & (read.data[0] == OBSCURED) if scene.has_mask else np.zeros_like(seen)
        share = 100 * np.count_nonzero(cloud) / count
        if aoi_cloud_below is not None and share >= aoi_cloud_below:
            rejected[scene.id] = f"{share:.1f} % cloud in the window"
            continue
        chosen.append(scene)
        full |= seen
        if scene.has_mask:
            known += int(np.count_nonzero(fresh))
            clouded += int(np.count_nonzero(fresh & cloud))
        if full.all():
            break
    return Choice(tuple(chosen), clouded / known if known else float("nan"), rejected, failures)
