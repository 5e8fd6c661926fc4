"""What a synthetic region is made of. Equal specs give equal files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from dataclasses import dataclass

from minescale.errors import UsageError
from minescale.synthetic.spectra import ALL_BANDS

GENERATOR = 2
"""Raise it whenever the same spec would give other bytes; it is part of the cache key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSpec:
    """One region: where, how large, which dates, how cloudy, how much mining."""

    name: str
    lon: float = -60.0
    """Centre, degrees; the default lies on the border of UTM zones 20 and 21."""
    lat: float = -6.5
    width_px: int = 4096
    """Area of interest in 10 m pixels, east-west."""
    height_px: int = 4096
    n_dates: int = 12
    first: dt.date = dt.date(2024, 1, 4)
    step_days: int = 30
    """Days between looks, a multiple of the 5 day repeat; single dates move by up to 10 days."""
    seed: int = 7
    mine_share: float = 0.007
    """Share of the area under mines on the last date."""
    cloudiness: float = 0.25
    """Mean cloud cover of the ordinary dates; about a quarter of the dates is far cloudier."""
    bands: tuple[str, ...] = ("blue", "green", "red", "nir", "swir16", "swir22")
    """Common names; the scene classification always comes with them."""
    block: int = 512
    """Edge of the internal tiles of each file, pixels."""
    broken: bool = False
    """Add scenes that are damaged on purpose (see ``breakage``)."""
    baselines: tuple[str, str] = ("03.01", "05.09")
    """Processing baselines of the first third of the dates (no offset) and of the rest (+1000)."""

    def __post_init__(self) -> None:
        def refuse(what: str, got: object, expected: str) -> None:
            raise UsageError(f"synthetic region: {what}", got=got, expected=expected)

        if not self.name or not all(c.isalnum() or c in "-_" for c in self.name):
            refuse("name cannot name a folder", repr(self.name), "letters, digits, - and _")
        if min(self.width_px, self.height_px) < 256:
            refuse("area is too small", f"{self.width_px} x {self.height_px} px", "at least 256 x 256 px")
        if max(self.width_px, self.height_px) > 16384:
            refuse("area is too large", f"{self.width_px} x {self.height_px} px", "at most 16384 px along an edge")
        if not (-177 <= self.lon <= 177 and -70 <= self.lat <= 70):
            refuse("centre is out of range", f"{self.lon} {self.lat}", "longitude ±177, latitude ±70")
        if not 1 <= self.n_dates <= 73:
            refuse("number of dates is out of range", self.n_dates, "1 - 73")
        if self.step_days < 5 or self.step_days % 5:
            refuse("step is no multiple of the repeat cycle", self.step_days, "5, 10, 15, ... days")
        if not 0 <= self.mine_share <= 0.2:
            refuse("share of mines is out of range", self.mine_share, "0 - 0.2")
        if not 0 <= self.cloudiness <= 0.9:
            refuse("cloudiness is out of range", self.cloudiness, "0 - 0.9")
        if self.block not in (128, 256, 512, 1024):
            refuse("block is not a usual tile size", self.block, "128, 256, 512 or 1024")
        if not self.bands or len(set(self.bands)) != len(self.bands) or not set(self.bands) <= set(ALL_BANDS):
            refuse("bands are not a set of known ones", self.bands, ", ".join(ALL_BANDS))

    @property
    def digest(self) -> str:
        """Twelve hex digits that name the spec and the generator."""
        text = json.dumps({"generator": GENERATOR, **dataclasses.asdict(self)}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def area_ha(self) -> float:
        return self.width_px * self.height_px / 100.0


DEMO = RegionSpec(name="demo")
"""41 x 41 km, 12 dates of 2024, two UTM zones: the demo and the benchmark input."""

SMALL = RegionSpec(
    name="small", width_px=1024, height_px=1024, n_dates=5, step_days=60, seed=11, mine_share=0.012, block=256
)
"""10 x 10 km, 5 dates: for tests."""


def training_regions(n: int, seed: int = 1000, base: RegionSpec = SMALL) -> tuple[RegionSpec, ...]:
    """``n`` specs like ``base`` with other seeds, hence other rivers, mines, clouds and spectra's draws.

    Train on these and keep DEMO for testing. Seeds count up from ``seed``; DEMO's and SMALL's are left out.
    """
    taken = {DEMO.seed, SMALL.seed}
    seeds = [s for s in range(seed, seed + n + len(taken)) if s not in taken][:n]
    return tuple(dataclasses.replace(base, name=f"{base.name}-{s}", seed=s) for s in seeds)
