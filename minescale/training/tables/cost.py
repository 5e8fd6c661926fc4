"""What a model of single pixels costs to run: measured, not estimated."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from minescale.models.predictor import Predictor

_PIXELS = 1 << 16
_ROUNDS = 3


def pixel_cost(predictor: Predictor) -> dict[str, Any]:
    """Time of one thread on random reflectances, the best of three rounds after one to warm up.

    Returns
    -------
    ``us_per_pixel`` and, at the model's nominal resolution, ``km2_per_s``.
    """
    spec = predictor.spec
    random = np.random.default_rng(0)
    batch = random.uniform(0.01, 0.6, (1, len(spec.channels), 256, _PIXELS // 256)).astype(np.float32)
    predictor.predict(batch)
    seconds = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        predictor.predict(batch)
        seconds.append(time.perf_counter() - begin)
    each = min(seconds) / _PIXELS
    return {"us_per_pixel": round(each * 1e6, 4), "km2_per_s": round(spec.resolution**2 / 1e6 / each, 2)}
