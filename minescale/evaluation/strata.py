"""Scores by place and kind: a pooled figure hides where a model fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from minescale.evaluation.tally import Tally
from minescale.kernels.ranking import area_under_roc, ratios
from minescale.labels.auditing.strata import LOOK_ALIKES, rates, wilson

COLUMNS = ("site", "country", "continent", "kind")


def tables(tally: Tally, threshold: float) -> dict[str, list[dict[str, Any]]]:
    """Per column of :data:`COLUMNS` that the set has, a row per value: samples, counts, figures, intervals.

    A value that is missing counts as ``unknown``, a missing ``kind`` of a sample with mining as ``mining``. Intervals
    are Wilson's, of recall and of the false-positive rate, and of chips alone: pixels of one sample are not independent
    of each other. A figure that needs a class which the row lacks is None.
    """
    counts = tally.confusion(threshold)
    return {name: _table(tally, counts, name) for name in COLUMNS if name in tally.samples}


def false_alarms(tally: Tally, threshold: float) -> list[dict[str, Any]]:
    """Samples without mining that are called, per kind of negative, with Wilson intervals; look-alikes always listed.

    A sample of pixels is called where any of its pixels is. Empty where no sample is without mining.
    """
    negative = ~tally.holds()
    if not negative.any():
        return []
    tp, fp, _, _ = tally.confusion(threshold).T
    kinds = tally.samples["kind"] if "kind" in tally.samples else pd.Series([None] * len(tally.samples), name="kind")
    found = rates(kinds[negative], (tp + fp > 0)[negative], LOOK_ALIKES)
    return [
        {"kind": str(kind), "n": int(row["n"]), "false_alarms": int(row["hits"])}
        | {name: float(row[name]) if row["n"] else None for name in ("rate", "low", "high")}
        for kind, row in found.iterrows()
    ]


def _table(tally: Tally, counts: np.ndarray, column: str) -> list[dict[str, Any]]:
    values = tally.samples[column]
    if column == "kind":  # says what a negative is
        values = values.astype(object).where(values.notna() | ~tally.holds(), "mining")
    names = values.astype(object).where(values.notna(), "unknown").astype(str)
    code, groups = pd.factorize(names, sort=True)
    member = np.zeros((len(groups), len(code)))
    member[code, np.arange(len(code))] = 1
    tp, fp, fn, tn = (member @ counts).T
    found = ratios(tp, fp, fn, tn)
    auc = np.array([float(area_under_roc(*(part[0] for part in tally.weighted(row[np.newaxis])))) for row in member])
    bounds = {"recall": wilson(tp, tp + fn), "false_positive_rate": wilson(fp, fp + tn)}
    rows = []
    for k, group in enumerate(groups):
        positive, negative = tp[k] + fn[k] > 0, fp[k] + tn[k] > 0
        row: dict[str, Any] = {column: str(group), "samples": int((code == k).sum())}
        row |= {name: int(count[k]) for name, count in zip(("tp", "fp", "fn", "tn"), (tp, fp, fn, tn), strict=True)}
        row["recall"] = float(found["recall"][k]) if positive else None
        row["false_positive_rate"] = 1 - float(found["specificity"][k]) if negative else None
        for name in ("precision", "f1", "iou"):
            value = float(found[name][k])
            row[name] = value if positive and negative and not np.isnan(value) else None
        row["auc"] = float(auc[k]) if positive and negative else None
        if tally.unit == "chip":
            for name, there in (("recall", positive), ("false_positive_rate", negative)):
                low, high = bounds[name]
                row[f"{name}_interval"] = [float(low[k]), float(high[k])] if there else None
        rows.append(row)
    return rows
