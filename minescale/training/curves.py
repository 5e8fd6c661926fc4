"""A training's curves as a picture: loss and accuracy of both parts, F1 and AUC of val, by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minescale.labels.sets.whole import whole

_PANELS = (
    ("loss", (("train_loss", "train"), ("val_loss", "val"))),
    ("accuracy", (("train_accuracy", "train"), ("val_accuracy", "val"))),
    ("val, target class", (("val_f1", "best F1"), ("val_auc", "AUC"))),
)


def draw_curves(epochs: Sequence[Mapping[str, Any]], path: Path, *, best: int, title: str) -> None:
    """Write the curves as PNG.

    Parameters
    ----------
    epochs : records as ``training_history.json`` keeps them; a value that is null leaves a gap, and one that a family
        does not measure is left out.
    best : the epoch whose weights were kept, marked by a line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    numbers = [record["epoch"] for record in epochs]
    measured = [(name, [line for line in lines if line[0] in epochs[0]]) for name, lines in _PANELS]
    panels = [(name, lines) for name, lines in measured if lines]
    for axes, (name, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for key, label in lines:
            values = [float("nan") if record[key] is None else record[key] for record in epochs]
            axes.plot(numbers, values, label=label, marker="." if len(numbers) < 30 else "")
        axes.axvline(best, color="0.6", linestyle=":", label=f"kept: epoch {best}")
        axes.set(xlabel="epoch", title=name)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    with whole(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
