"""Probabilities that mean what they say: a monotone correction of the target's score, kept in the package.

``{"method": "temperature", "temperature": T}`` divides the log-odds by ``T`` (Guo et al. 2017, arXiv:1706.04599, for
two classes); ``{"method": "isotonic", "score": [...], "probability": [...]}`` interpolates a rising line between the
knots of an isotonic regression (Zadrozny and Elkan 2002, doi:10.1145/775047.775151). Either keeps the order of scores,
so that no ranking figure changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError

_EDGE = 1e-7


def recalibrate(score: NDArray[np.float32], calibration: Mapping[str, Any]) -> NDArray[np.float32]:
    """The corrected probability, same shape; NaN stays NaN. Without a correction the array itself.

    Raises
    ------
    ModelError
        for an unknown method, or numbers that are no correction.
    """
    if not calibration:
        return score
    check_calibration(calibration)
    if calibration["method"] == "temperature":
        p = np.clip(score, _EDGE, 1 - _EDGE).astype(np.float64)
        odds = np.log(p / (1 - p)) / float(calibration["temperature"])
        return (1 / (1 + np.exp(-odds))).astype(np.float32)
    knots, values = (np.asarray(calibration[k], np.float64) for k in ("score", "probability"))
    return np.where(np.isnan(score), np.nan, np.interp(score, knots, values)).astype(np.float32)


def check_calibration(calibration: Mapping[str, Any]) -> None:
    """Refuse what is no correction.

    Raises
    ------
    ModelError
    """
    method = calibration.get("method")
    if method == "temperature":
        value = calibration.get("temperature")
        if set(calibration) != {"method", "temperature"} or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise ModelError("calibration by temperature", got=dict(calibration), expected="temperature above 0")
        return
    if method == "isotonic" and set(calibration) == {"method", "score", "probability"}:
        knots, values = (np.asarray(calibration[k], np.float64) for k in ("score", "probability"))
        rising = knots.ndim == 1 and knots.shape == values.shape and len(knots) > 1 and (np.diff(knots) > 0).all()
        if rising and (np.diff(values) >= 0).all() and values[0] >= 0 and values[-1] <= 1:
            return
        raise ModelError(
            "calibration by isotonic regression", got=knots.shape, expected="rising scores and probabilities, 0-1"
        )
    raise ModelError("unknown calibration", got=dict(calibration), expected="method temperature or isotonic")
