"""Do a scene's pixels agree with the offset that its metadata led to?

Catalogues have been wrong about Sentinel-2's 1000-DN offset in both directions. The step is visible in the
pixels: with the offset applied by nobody, practically no digital number lies below 1000; without an offset,
dark ground (vegetation, water, shadow) lies well below 1000 in the visible bands. The probe reports; it never
changes a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_DN = 1000
"""The offset of processing baselines 04.00 and later."""
DARK_BANDS = frozenset({"blue", "green", "red"})
"""Bands in which most ground is darker than reflectance 0.1."""

MIN_PIXELS = 4096
"""Fewer valid pixels say nothing."""
MIN_PIXELS_ABSENCE = 65536
"""To call low values absent the sample must be larger: a window may lie wholly on bright ground."""
SHARE_BELOW = 0.25
"""With an offset, at most a few per cent lie below it (over-corrected shadow and water)."""
MARGIN_DN = 50
"""Sensor noise just under the step does not count."""
SHARE_ABSENT = 0.0005
SHARE_JUST_ABOVE = 0.20
"""Low values count as missing only where many pixels pile up just above the step (1000 to 1500)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeVerdict:
    """What one window of one band says about the offset."""

    contradicts: bool
    """The pixels speak against the table's offset."""
    offset: float
    """Offset of the table (reflectance)."""
    implied_offset: float
    """Offset the pixels speak for; the table's own where they do not contradict it."""
    n_valid: int
    share_below: float
    """Share of valid digital numbers clearly below the step."""
    scene_id: str = ""
    band: str = ""

    def __str__(self) -> str:
        return (
            f"{self.scene_id} {self.band}: {self.share_below:.1%} of {self.n_valid} digital numbers below {STEP_DN}; "
            f"table says offset {self.offset:g}, pixels say {self.implied_offset:g}"
        )


def probe_offset(
    dn: NDArray[np.uint16],
    *,
    scale: float,
    offset: float,
    nodata: int | None = 0,
    scene_id: str = "",
    band: str = "",
) -> ProbeVerdict | None:
    """Compare raw digital numbers (any shape) of a dark band with the table's scale and offset.

    None where the sample cannot tell: not on Sentinel-2's scale of 1e-4, or too few valid pixels. Thresholds
    are conservative: a bright window (desert, snow, cloud) never contradicts.
    """
    if not np.isclose(scale, 1e-4):
        return None
    valid = dn if nodata is None else dn[dn != nodata]
    n = int(valid.size)
    if n < MIN_PIXELS:
        return None
    below = np.count_nonzero(valid < STEP_DN - MARGIN_DN) / n
    implied = offset
    if offset < -0.05 and below >= SHARE_BELOW:
        implied = 0.0
    elif offset > -0.05 and n >= MIN_PIXELS_ABSENCE and below <= SHARE_ABSENT:
        just_above = np.count_nonzero((valid >= STEP_DN) & (valid < STEP_DN + 500)) / n
        if just_above >= SHARE_JUST_ABOVE:
            implied = -STEP_DN * scale
    return ProbeVerdict(
        contradicts=implied != offset,
        offset=offset,
        implied_offset=implied,
        n_valid=n,
        share_below=float(below),
        scene_id=scene_id,
        band=band,
    )
