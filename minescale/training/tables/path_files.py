"""A regularisation path on disk: ``path.json``, the same as a table and a picture, and the ranked combinations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import pandas as pd

from minescale.errors import StoreError
from minescale.labels.pictures.drawing import INK, MINE, MUTED, PALE, figure
from minescale.labels.sets.whole import whole
from minescale.training.tables.ranking import Ranked

JSON, TABLE, PICTURE = "path.json", "path.csv", "path.png"
RANKING_JSON, RANKING_TABLE = "combinations.json", "combinations.csv"
_NAMED = 8
"""Features that the picture names: those with the largest weights at the chosen λ."""


def write_path(out: FilePath, document: Mapping[str, Any], ranked: Sequence[Ranked]) -> None:
    """Write the five files of a path.

    Parameters
    ----------
    document : as :meth:`minescale.training.tables.paths.Path.to_dict`, with ``chosen`` (number of a step), ``train``
        and ``held_out`` (``error`` and ``auc`` by step) and ``cross_validation`` (or None).

    Raises
    ------
    StoreError
        where the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _text(out / JSON, json.dumps(document, indent=1, allow_nan=False) + "\n")
        _text(out / TABLE, path_table(document).to_csv(index=False))
        rows = [r.to_dict() for r in ranked]
        _text(out / RANKING_JSON, json.dumps(rows, indent=1, allow_nan=False) + "\n")
        joined = [{"rank": i, **row, "features": " ".join(row["features"])} for i, row in enumerate(rows, 1)]
        _text(out / RANKING_TABLE, pd.DataFrame(joined).to_csv(index=False))
    except OSError as error:
        raise StoreError(f"cannot write the path into {out}", got=error, fix="a writable folder with space") from error
    draw_path(out / PICTURE, document)


def path_table(document: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each λ: what it costs, how it does, every weight (``w_<feature>``, of standardised features)."""
    crossed = document["cross_validation"] or {}
    known = {
        "lambda": document["lambda"],
        "non_zero": document["non_zero"],
        "train_error": document["train"]["error"],
        "cv_error": crossed.get("mean"),
        "cv_standard_error": crossed.get("standard_error"),
        "held_out_error": document["held_out"]["error"],
        "held_out_auc": document["held_out"]["auc"],
        "intercept": document["intercept"],
        **{f"w_{name}": values for name, values in document["weights"].items()},
    }
    return pd.DataFrame({name: values for name, values in known.items() if values is not None})


def draw_path(path: FilePath, document: Mapping[str, Any]) -> None:
    """Absolute weights against λ, error against λ, and the held-out area with the number of features."""
    lambdas, step = document["lambda"], document["chosen"]
    weights = {name: [abs(v) for v in values] for name, values in document["weights"].items()}
    named = sorted(weights, key=lambda name: -weights[name][step])[:_NAMED]
    what = "squared error" if document["loss"] == "squared" else "deviance"
    with figure(path, 8.0, 8.5, f"Regularisation path, {document['loss']} loss") as made:
        top, middle, bottom = made.subplots(3, 1, sharex=True)
        for name, values in weights.items():
            if name not in named:
                top.plot(lambdas, values, color=PALE, linewidth=0.8)
        for name in named:
            if weights[name][step]:
                top.plot(lambdas, weights[name], linewidth=1.3, label=name)
        if top.get_legend_handles_labels()[0]:
            top.legend(frameon=False, fontsize=7, ncols=2)
        top.set_ylabel("|weight| of a\nstandardised feature")
        middle.plot(lambdas, document["train"]["error"], color=MUTED, linewidth=1, label="training images")
        middle.plot(lambdas, document["held_out"]["error"], color=MINE, linewidth=1.3, label="held-out images")
        crossed = document["cross_validation"]
        if crossed:
            middle.errorbar(
                lambdas,
                crossed["mean"],
                yerr=crossed["standard_error"],
                color=INK,
                linewidth=0.8,
                elinewidth=0.5,
                label=f"{len(crossed['folds'])} folds of images",
            )
        middle.set_ylabel(what)
        middle.legend(frameon=False, fontsize=7)
        bottom.plot(lambdas, document["held_out"]["auc"], color=MINE, linewidth=1.3)
        bottom.set_ylabel("area under ROC,\nheld-out images")
        bottom.set_xlabel("λ in the objective")
        counts = bottom.twinx()
        counts.step(lambdas, document["non_zero"], color=MUTED, linewidth=0.8, where="mid")
        counts.set_ylabel("features with a weight", color=MUTED)
        for axes in (top, middle, bottom):
            axes.set_xscale("log")
            axes.axvline(lambdas[step], color=INK, linewidth=0.6, linestyle=":")
        bottom.invert_xaxis()


def _text(path: FilePath, text: str) -> None:
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
