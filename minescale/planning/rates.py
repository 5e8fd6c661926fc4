"""Core seconds from amounts of work, by rates that were fitted on measured runs.

The rates hold for the machine that measured them (``SOURCE``); ``benchmarks/cost.py`` fits them anew on another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

SOURCE = "14 scans of synthetic regions, two virtual AMD EPYC cores, local disk"
RATES: Mapping[str, float] = {
    "reads": 2.81e-4,
    "decoded_bytes": 2.24e-9,
    "index_pixels": 5.1e-8,
    "unet_pixels": 1.92e-7,
}
"""Core seconds per unit of each field of :class:`Work`; 0 where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the tiles of one level have to do, halos included."""

    tiles: float = 0.0
    reads: float = 0.0
    """Looks at one band of one scene by one tile: each is a job with a file to find, a window and a place for it."""
    blocks: float = 0.0
    """Source blocks read."""
    decoded_bytes: float = 0.0
    index_pixels: float = 0.0
    """Pixels predicted by a model that looks at each by itself, times what it costs beside an index model."""
    unet_pixels: float = 0.0
    """Pixels predicted by a network, times what it costs beside the U-Net that was measured."""

    def __mul__(self, share: float) -> Work:
        return Work(**{name: value * share for name, value in asdict(self).items()})

    @property
    def core_seconds(self) -> float:
        return sum(value * RATES.get(name, 0.0) for name, value in asdict(self).items())
