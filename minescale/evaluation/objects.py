"""Mines as objects: how many are found, how many detections are mines, and how that depends on size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.evaluation.scored import Scored
from minescale.kernels.ranking import divide
from minescale.kernels.regions import label
from minescale.labels.auditing.strata import wilson
from minescale.outputs.evaluation import MIN_OBJECT_HA, first_code
from minescale.store.codes import PROBABILITY_FILL

MATCH_IOU = 0.5
SIZES_HA = (MIN_OBJECT_HA, 1.0, 5.0, 20.0, 100.0, np.inf)
"""Edges of the size classes of true objects, hectares."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Objects of one side, true or detected: hectares, and by which rule each found its counterpart."""

    hectares: NDArray[np.float64]
    touched: NDArray[np.bool_]
    centroid: NDArray[np.bool_]
    iou: NDArray[np.bool_]


def score_objects(scored: Scored, threshold: float) -> dict[str, Any] | None:
    """Precision and recall of objects, 8-connected pieces of at least 0.5 ha; smaller ones do not count.

    Three rules of a match, from lenient to strict: ``touched``, any common pixel; ``centroid``, the middle of a
    detection lies in the true object; ``iou``, intersection over union of at least 0.5. Pixels that are not labelled or
    not seen belong to no object, and objects of one sample are never joined with the next one's.

    Returns
    -------
    ``objects``, ``detections``, per rule ``recall`` and ``precision`` with Wilson intervals, and ``by_size``: rows of
    ``low``, ``high`` (hectares), ``n``, recall by each rule and the interval of ``touched``. None for a set without
    maps, or whose pixel size is not known.
    """
    edge = scored.dataset.resolution_m
    if scored.codes is None or edge is None:
        return None
    cut, hectare = first_code(threshold), edge**2 / 1e4
    truths, detections = [], []
    for row, code in enumerate(scored.codes):
        mask = scored.dataset.reader.mask(row)
        if mask is None:
            continue
        known = (mask != scored.dataset.classes.ignore) & (code != PROBABILITY_FILL)
        true, found = match(np.isin(mask, scored.positive) & known, (code >= cut) & known, hectare)
        truths.append(true)
        detections.append(found)
    true, found = _joined(truths), _joined(detections)
    rules: dict[str, Any] = {}
    for rule in ("touched", "centroid", "iou"):
        rules[rule] = {"recall": _share(getattr(true, rule)), "precision": _share(getattr(found, rule))}
    by_size = []
    for low, high in itertools.pairwise(SIZES_HA):
        here = (true.hectares >= low) & (true.hectares < high)
        shares = {rule: _share(getattr(true, rule)[here]) for rule in rules}
        by_size.append(
            {
                "low": low,
                "high": None if np.isinf(high) else high,
                "n": int(here.sum()),
                **{rule: share["value"] for rule, share in shares.items()},
                "interval": shares["touched"]["interval"],
            }
        )
    return {"objects": len(true.hectares), "detections": len(found.hectares), **rules, "by_size": by_size}


def match(mine: NDArray[np.bool_], called: NDArray[np.bool_], hectare: float) -> tuple[_Side, _Side]:
    """True objects and detections of one image (y, x) with what each found; ``hectare``: area of a pixel."""
    true, n_true = label(np.ascontiguousarray(mine))
    found, n_found = label(np.ascontiguousarray(called))
    size_true, size_found = (np.bincount(a.ravel(), minlength=n + 1) for a, n in ((true, n_true), (found, n_found)))
    both = (true > 0) & (found > 0)
    pairs, common = np.unique(true[both].astype(np.int64) * (n_found + 1) + found[both], return_counts=True)
    t, f = np.divmod(pairs, n_found + 1)
    good = common / (size_true[t] + size_found[f] - common) >= MATCH_IOU
    rows, cols = _middles(found, n_found, size_found)
    at_middle = true[rows, cols] if n_found else np.zeros(0, true.dtype)
    sides = []
    for n, size, ends, middle in (
        (n_true, size_true, t, at_middle[at_middle > 0]),
        (n_found, size_found, f, 1 + np.flatnonzero(at_middle > 0)),
    ):
        hit = [np.zeros(n + 1, bool) for _ in range(3)]
        for marks, where in zip(hit, (ends, middle, ends[good]), strict=True):
            marks[where] = True
        hectares = size[1:].astype(np.float64) * hectare
        counts = hectares >= MIN_OBJECT_HA - 1e-9
        sides.append(_Side(hectares[counts], *(marks[1:][counts] for marks in hit)))
    return sides[0], sides[1]


def _middles(labels: NDArray[np.int32], n: int, size: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the pixel at each object's centre of mass, objects 1 to n."""
    y, x = np.nonzero(labels)
    which = labels[y, x]
    rows, cols = (np.bincount(which, v, n + 1)[1:] / size[1:] for v in (y, x))
    return np.rint(rows).astype(np.intp), np.rint(cols).astype(np.intp)


def _joined(sides: list[_Side]) -> _Side:
    def all_of(name: str) -> Any:
        return np.concatenate([getattr(side, name) for side in sides])

    return _Side(all_of("hectares"), all_of("touched"), all_of("centroid"), all_of("iou"))


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    value = float(divide(hits.sum(), len(hits)))
    if np.isnan(value):
        return {"value": None, "interval": None, "n": 0}
    low, high = wilson(hits.sum(), len(hits))
    return {"value": value, "interval": [float(low), float(high)], "n": len(hits)}
