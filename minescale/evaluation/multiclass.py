"""Figures of every class where a model tells three or more apart: confusion, precision, recall, F1, IoU."""

from __future__ import annotations

from typing import Any

import numpy as np

from minescale.evaluation.figures import plain
from minescale.evaluation.scored import Scored
from minescale.kernels.ranking import divide, ratios


def score_classes(scored: Scored) -> dict[str, Any] | None:
    """Likeliest class against labelled class, over pixels, or over samples where those are labelled whole.

    Returns
    -------
    ``names``; ``confusion`` (class, class) counts, rows labelled, columns called; ``per_class`` with precision, recall,
    F1, IoU and ``n``; ``mean_iou`` over classes that are labelled or called; ``overall_accuracy``, and
    ``largest_class``, what calling everything the commonest class reaches: that is the bar for overall accuracy. None
    for a model of two classes, or of classes that are not the set's.
    """
    if scored.calls is None:
        return None
    dataset = scored.dataset
    names = dataset.classes.names
    k = len(names)
    counts = np.zeros((k, k), np.int64)
    labels = dataset.samples["label"].to_numpy(float) if scored.codes is None else None
    for row, call in enumerate(scored.calls):
        truth = dataset.reader.mask(row) if labels is None else np.nan_to_num(labels[row : row + 1], nan=255)
        if truth is None:
            continue
        both = (np.ravel(truth) < k) & (np.ravel(call) < k)
        pairs = np.ravel(truth)[both].astype(np.int64) * k + np.ravel(call)[both]
        counts += np.bincount(pairs, minlength=k * k).reshape(k, k)
    tp, labelled, called = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    total = int(counts.sum())
    found = ratios(tp, called - tp, labelled - tp, total - labelled - called + tp)
    present = labelled + called > 0
    return {
        "names": list(names),
        "confusion": counts.tolist(),
        "per_class": {
            name: {"n": int(labelled[i]), **plain({f: found[f][i] for f in ("precision", "recall", "f1", "iou")})}
            for i, name in enumerate(names)
        },
        **plain(
            {
                "mean_iou": found["iou"][present].mean() if present.any() else np.float64(np.nan),
                "overall_accuracy": divide(tp.sum(), total),
                "largest_class": divide(labelled.max(), total),
            }
        ),
    }
