"""The charts of an evaluation's page: ROC, precision and recall, reliability, scores, worth at low prevalence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minescale.evaluation.plots import Marks, chart

_RARE = (1e-4, 0.5)


def charts(figures: Mapping[str, Any]) -> list[str]:
    """SVG figures; those that need a class which is missing are left out."""
    found = [_roc(figures), _precision_recall(figures), _worth(figures)] if figures["roc"] else []
    return [*found, _reliability(figures), _scores(figures)]


def _roc(figures: Mapping[str, Any]) -> str:
    at, index = figures["at_threshold"], figures["baselines"]["best_single_index"]
    marks = [
        Marks("chance", [(0, 0), (1, 1)], "guide"),
        Marks("model", [(p["false_positive_rate"], p["sensitivity"]) for p in figures["roc"]]),
        Marks("at the threshold", [(1 - at["specificity"], at["recall"])], line=False),
    ]
    if index:
        marks.append(Marks("best single index", [(1 - index["specificity"], index["recall"])], "other", line=False))
    return chart("ROC", "false-positive rate", "sensitivity", marks)


def _precision_recall(figures: Mapping[str, Any]) -> str:
    at, index, share = figures["at_threshold"], figures["baselines"]["best_single_index"], figures["prevalence"]
    marks = [
        Marks("chance: the prevalence", [(0, share), (1, share)], "guide"),
        Marks("model", [(p["recall"], p["precision"]) for p in figures["pr"]]),
    ]
    if at["precision"] is not None:
        marks.append(Marks("at the threshold", [(at["recall"], at["precision"])], line=False))
    if index:
        marks.append(Marks("best single index", [(index["recall"], index["precision"])], "other", line=False))
    return chart("Precision and recall", "recall", "precision", marks)


def _worth(figures: Mapping[str, Any]) -> str:
    at, index = figures["at_threshold"], figures["baselines"]["best_single_index"]
    marks = [Marks("model, at the threshold", _bayes(at["recall"], at["specificity"]))]
    if index:
        marks.insert(0, Marks("best single index", _bayes(index["recall"], index["specificity"]), "other"))
    marks.append(Marks("", [(float(p), value) for p, value in figures["ppv"].items() if value is not None], line=False))
    return chart(
        "What a detection is worth",
        "share of ground that is mined",
        "detections that are right",
        marks,
        x_range=_RARE,
        log_x=True,
        x_ticks=(0.0001, 0.001, 0.01, 0.05, 0.5),
    )


def _bayes(sensitivity: float, specificity: float) -> list[tuple[float, float]]:
    share = np.geomspace(*_RARE, 60)
    calls = sensitivity * share + (1 - specificity) * (1 - share)
    if not (calls > 0).all():
        return []
    return list(zip(share.tolist(), (sensitivity * share / calls).tolist(), strict=True))


def _reliability(figures: Mapping[str, Any]) -> str:
    found = figures["calibration"]
    marks = [Marks("calibrated", [(0, 0), (1, 1)], "guide")]
    if found["before"]:
        marks.append(Marks("before calibration", [(b["score"], b["share"]) for b in found["before"]["bins"]], "other"))
    points = [(b["score"], b["share"]) for b in found["bins"]]
    marks += [Marks("model", points), Marks("", points, line=False)]
    return chart("Reliability", "mean score", "share mined", marks)


def _scores(figures: Mapping[str, Any]) -> str:
    found = figures["histogram"]
    edges = found["edges"]
    marks, highest = [], 0.0
    for name, label in (("negative", "not mined"), ("positive", "mined")):
        counts = np.array(found[name])
        if counts.sum():
            share = counts / counts.sum()
            highest = max(highest, float(share.max()))
            steps = [(x, y) for k, y in enumerate(share.tolist()) for x in (edges[k], edges[k + 1])]
            marks.append(Marks(label, steps, name, area=True))
    top = min(1.0, max(0.1, float(np.ceil(highest * 10) / 10)))
    return chart(
        "Scores",
        "score",
        "share of the class",
        marks,
        y_range=(0, top),
        y_ticks=(0, round(top / 2, 2), top),
    )
