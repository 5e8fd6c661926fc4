"""The pictures that describe a set: where it lies, what it holds, how samples look, what a model makes of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import StoreError, UsageError
from minescale.labels.auditing.classstats import class_counts, drop_background, mining_values
from minescale.labels.pictures import figure_maps, figure_samples
from minescale.labels.pictures.drawing import INK, MUTED, PALE, class_colours, figure
from minescale.labels.sets.dataset import Dataset
from minescale.labels.shapes.polygons import Polygons

NAMES = ("grid", "cells", "mask", "classes", "bands", "overlay", "prediction")
"""The third seed's seven figures, in its order."""
EXTRA = ("augmentation", "preparation")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which pictures were drawn, and why others were not."""

    files: list[Path]
    left_out: dict[str, str] = field(default_factory=dict)
    """Cause by the name of the picture."""


def draw_figures(
    dataset: Dataset,
    out: str | Path,
    *,
    row: int | None = None,
    boundary: Polygons | None = None,
    polygons: Polygons | None = None,
    cell_m: float | None = None,
    max_background: float = 0.99,
    model: str = "baseline",
    score: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Drawn:
    """Draw :data:`NAMES` and :data:`EXTRA` as ``<name>.png`` into a folder.

    Parameters
    ----------
    row : the sample to show; default: the one with most mining pixels.
    boundary : the country or area of the maps; default: the box round the samples.
    polygons : mines of the maps; default: the samples that hold mining.
    cell_m : edge of the maps' cells in metres; default: that of a sample, larger where there would be too many.
    max_background : share of class 0 above which tiles are left out, for the picture of classes before and after.
    model : package that predicts the sample, where its bands are at hand and ``score`` is not given.
    score : (y, x) probability of mining of the sample, 0-1, NaN unseen.

    Raises
    ------
    UsageError
        for a row that is none.
    StoreError
        where the folder cannot be written.
    """
    counts = class_counts(dataset)
    mining = counts[[dataset.classes.names[v] for v in mining_values(dataset.classes)]].sum(axis=1).to_numpy()
    chosen = int(np.argmax(mining)) if row is None else row
    if not 0 <= chosen < len(dataset):
        raise UsageError("no such sample", got=chosen, expected=f"0 to {len(dataset) - 1}")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {folder}", got=error) from error
    places = figure_maps.Places(dataset, mining > 0, boundary, polygons, cell_m)
    drawings: dict[str, Callable[[Path], None]] = {
        "grid": lambda path: figure_maps.draw_grid(path, places),
        "cells": lambda path: figure_maps.draw_cells(path, places),
        "mask": lambda path: figure_samples.draw_mask(path, dataset, chosen),
        "classes": lambda path: draw_classes(path, dataset, counts, max_background),
        "bands": lambda path: figure_samples.draw_bands(path, dataset, chosen),
        "overlay": lambda path: figure_samples.draw_overlay(path, dataset, chosen),
        "prediction": lambda path: figure_samples.draw_prediction(path, dataset, chosen, model, score),
        "augmentation": lambda path: figure_samples.draw_augmentation(path, dataset, chosen, seed),
        "preparation": lambda path: figure_samples.draw_preparation(path, dataset, chosen),
    }
    files, left_out = [], {}
    for name, draw in drawings.items():
        path = folder / f"{name}.png"
        try:
            draw(path)
            files.append(path)
        except UsageError as error:
            left_out[name] = error.what if error.got is None else f"{error.what}: {error.got}"
    return Drawn(files, left_out)


def draw_classes(path: Path, dataset: Dataset, counts: Any, max_background: float) -> None:
    """Shares of the classes, and how background is spread over the tiles before and after the emptiest are left out."""
    names = dataset.classes.names
    before = counts[list(names)].sum()
    # Rows of whole samples hold one class: nothing is thinned there.
    thinned = drop_background(dataset, max_background, counts) if dataset.reader.mask(0) is not None else None
    after = before if thinned is None else counts[list(names)].loc[thinned.kept].sum()
    with figure(path, 9.0, 3.8, f"Classes of {dataset.name}") as made:
        bars, spread = made.subplots(1, 2)
        unit = "pixels" if thinned is not None else "samples"
        for offset, sums, alpha, said in ((-0.2, before, 0.45, "all tiles"), (0.2, after, 1.0, "tiles kept")):
            share = sums / max(sums.sum(), 1)
            place = np.arange(len(names)) + (offset if thinned is not None else 0)
            width = 0.38 if thinned is not None else 0.6
            drawn = bars.bar(place, share, width, color=class_colours(dataset.classes), alpha=alpha, edgecolor=MUTED)
            labels = [f"{s:.2%}" if s >= 1e-4 or s == 0 else "<0.01%" for s in share]
            bars.bar_label(drawn, labels, fontsize=7.5, padding=2, color=INK)
            if thinned is None:
                break
            bars.plot([], [], "s", color=MUTED, alpha=alpha, label=said)
        bars.set_xticks(np.arange(len(names)), names)
        bars.set_ylabel(f"share of {unit}")
        bars.set_ylim(0, 1.12)
        if thinned is not None:
            bars.legend(frameon=False, fontsize=8, loc="upper right")
        bars.set_title(f"{int(before.sum()):,} {unit} with a label", loc="left", fontsize=9)
        _spread(spread, thinned)
        for axes in (bars, spread):
            axes.spines[["top", "right"]].set_visible(False)


def _spread(axes: Any, thinned: Any) -> None:
    if thinned is None:
        axes.axis("off")
        return
    known = thinned.before[np.isfinite(thinned.before)]
    bins = np.linspace(0, 1, 26)
    axes.hist(known, bins, color=PALE, edgecolor=MUTED, linewidth=0.5, label=f"all {len(known)} tiles")
    axes.hist(thinned.after, bins, color="#3b528b", alpha=0.85, label=f"{len(thinned.kept)} kept")
    axes.axvline(thinned.max_share, color="#d1372c", linewidth=1, linestyle="--")
    axes.set_title(f"background above {thinned.max_share:.4g} is left out", loc="left", fontsize=9)
    axes.set_xlabel("share of class 0 in a tile")
    axes.set_ylabel("tiles")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
