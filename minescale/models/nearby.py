"""A pixel's score weighed with the highest one nearby: what is sought has a core beyond doubt, look-alikes have none.

``p' = p^(1 - w) m^w``, with ``m`` the highest score within ``radius`` pixels along rows and columns. No score falls,
and the highest of its surroundings stays what it is; a doubtful pixel gains beside one that is beyond doubt, and the
threshold that is set afterwards leaves out what is doubtful all over. Much as thresholds with hysteresis do (Canny
1986, doi:10.1109/TPAMI.1986.4767851), which ask for a way from pixel to pixel; this keeps scores, and needs a bounded
context, so that tiles agree. Edges of the squares can show where scores are low.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from minescale.errors import ModelError
from minescale.models.spec import HALO_STEP

BYTES_PER_PIXEL = 24
"""Upper estimate of what :meth:`Nearby.weighed` takes beside the score."""
_WIDEST = 1024


@dataclass(frozen=True, slots=True)
class Nearby:
    """How far away, and how much, the highest score counts.

    Raises
    ------
    ModelError
        for a radius that is no multiple of 8 from 8 to 1024, or a weight that is not between 0 and 1.
    """

    radius: int
    """Pixels."""
    weight: float

    def __post_init__(self) -> None:
        radius: Any = self.radius
        weight: Any = self.weight
        whole = isinstance(radius, Integral) and not isinstance(radius, bool)
        if not whole or not HALO_STEP <= radius <= _WIDEST or radius % HALO_STEP:
            raise ModelError(
                "radius of what is nearby",
                got=repr(radius),
                expected=f"pixels, a multiple of {HALO_STEP} from {HALO_STEP} to {_WIDEST}",
                fix="such as 64",
            )
        number = isinstance(weight, Real)
        if not number or not 0 < weight < 1:
            raise ModelError(
                "weight of the highest score nearby",
                got=repr(weight),
                expected="a number above 0 and below 1",
                fix="such as 0.8; to let nothing nearby count, leave it out",
            )
        # Files hold plain numbers.
        object.__setattr__(self, "radius", int(radius))
        object.__setattr__(self, "weight", float(weight))

    @classmethod
    def of(cls, written: Mapping[str, Any] | None, model: str) -> Nearby | None:
        """What :meth:`to_dict` wrote for a model; None where nothing nearby counts.

        Raises
        ------
        ModelError
            for anything else.
        """
        if written is None:
            return None
        if not isinstance(written, Mapping) or set(written) != {"radius", "weight"}:
            raise ModelError(f"model {model}: what is nearby", got=written, expected="radius and weight")
        return cls(**written)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def weighed(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (y, x), 0-1, weighed with the highest nearby, float32; NaN is nobody's neighbour and stays NaN."""
        known = np.nan_to_num(score, nan=0.0)
        highest = maximum_filter(known, size=2 * self.radius + 1, mode="constant", cval=0.0)
        weighed = score ** np.float32(1 - self.weight) * highest ** np.float32(self.weight)
        # Powers are rounded: no score falls, and none passes 1.
        found: NDArray[np.float32] = np.clip(weighed, score, highest)
        return found
