"""How mosaic pixels are coded: array names, types, fill values and their CF attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from minescale.types import Reason

PROBABILITY_STEPS = 250
"""Code of probability 1; one step is 0.004."""
PROBABILITY_FILL = 255
CLEAR_COUNT_FILL = 65535
REASON_FILL = int(Reason.NOT_PROCESSED)
LEVEL_FILL = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCode:
    """One pixel array of the mosaic. ``fill`` is the Zarr fill value, so what was never written reads as no data."""

    name: str
    dtype: np.dtype[Any]
    fill: int
    attrs: Mapping[str, Any] = field(default_factory=dict)


PROBABILITY = PixelCode(
    name="probability",
    dtype=np.dtype("uint8"),
    fill=PROBABILITY_FILL,
    # xarray masks by the attribute and fills by the Zarr value: without both, unwritten tiles read 0 = "no mine".
    attrs={
        "long_name": "probability of mining",
        "units": "1",
        "scale_factor": 1 / PROBABILITY_STEPS,
        "add_offset": 0.0,
        "valid_range": [0, PROBABILITY_STEPS],
        "_FillValue": PROBABILITY_FILL,
    },
)
CLEAR_COUNT = PixelCode(
    name="clear_count",
    dtype=np.dtype("uint16"),
    fill=CLEAR_COUNT_FILL,
    attrs={"long_name": "number of clear looks in the period", "units": "1", "_FillValue": CLEAR_COUNT_FILL},
)
REASON = PixelCode(
    name="reason",
    dtype=np.dtype("uint8"),
    fill=REASON_FILL,
    # No _FillValue: 255 is a flag of its own, and xarray keeps integers that compare with `Reason`.
    attrs={
        "long_name": "why the pixel does, or does not, carry a probability",
        "flag_values": [int(reason) for reason in Reason],
        "flag_meanings": " ".join(reason.name.lower() for reason in Reason),
    },
)
LEVEL = PixelCode(
    name="level",
    dtype=np.dtype("uint8"),
    fill=LEVEL_FILL,
    attrs={"long_name": "pyramid level that decided the pixel: 0 is the finest"},
)

FINE_CODES = (PROBABILITY, CLEAR_COUNT, LEVEL, REASON)
"""Arrays of groups ``0``, ``1``, ... in the order of writing: where a ``reason`` chunk stands, the others do too."""
SCREEN_CODES = (PROBABILITY, CLEAR_COUNT, REASON)
"""Arrays of the groups ``screen/<level>``; their level is the group's."""


def codes_of(level: int) -> tuple[PixelCode, ...]:
    """Arrays that hold a tile of this pyramid level."""
    return FINE_CODES if level == 0 else SCREEN_CODES


def level_flags(n_levels: int) -> dict[str, Any]:
    """CF flags of the ``level`` array in a pyramid of ``n_levels``."""
    names = ["finest", *(f"screen_{level}" for level in range(1, n_levels))]
    return {"flag_values": [*range(n_levels), LEVEL_FILL], "flag_meanings": " ".join([*names, "not_processed"])}


def encode_probability(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Probability in [0, 1], NaN = no data, to ``round(p * 250)``, 255 = no data. Any shape.

    Values outside [0, 1] are clipped, so that rounding noise can never reach the code of "no data".
    """
    steps = np.rint(np.clip(probability, 0.0, 1.0) * np.float32(PROBABILITY_STEPS))
    return np.where(np.isnan(probability), np.float32(PROBABILITY_FILL), steps).astype(np.uint8)


def decode_probability(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Inverse of :func:`encode_probability`: float32 in [0, 1], NaN = no data."""
    values = codes.astype(np.float32) / np.float32(PROBABILITY_STEPS)
    values[codes == PROBABILITY_FILL] = np.nan
    return values
