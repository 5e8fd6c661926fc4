"""Pictures of one sample: label, bands, overlay, prediction, augmented copies, preparation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minescale.errors import UsageError
from minescale.labels.auditing.classstats import mining_values
from minescale.labels.pictures.drawing import (
    MUTED,
    class_legend,
    coloured,
    eye_bands,
    figure,
    for_the_eye,
    picture,
    plain,
)
from minescale.labels.pictures.previews import RED, Stretch, blend
from minescale.labels.preparation.augment import augmented
from minescale.labels.preparation.matching import SIZE_PX, THROUGH_PX, TargetRange, match_image_to_stats, prepared
from minescale.labels.preparation.statistics import extract_statistics
from minescale.labels.sets.dataset import Dataset
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.models.windows import predict_tile

_GAMMA = 0.6
"""Lifts the dark originals beside copies in bright haze."""
_STATISTICS_OVER = 200
"""Samples from which the panel of the preparation takes its target, at most."""


def draw_mask(path: Path, dataset: Dataset, row: int) -> None:
    """The label of a sample in its palette."""
    mask = _mask(dataset, row)
    with figure(path, 4.6, 5.2, f"Label of {_id(dataset, row)}") as made:
        axes = made.subplots()
        values, counts = np.unique(mask, return_counts=True)
        known = {int(v): n / mask.size for v, n in zip(values, counts, strict=True)}
        shares = [f"{n} {known[v]:.1%}" for v, n in enumerate(dataset.classes.names) if v in known]
        plain(axes, coloured(mask, dataset.classes), ", ".join(shares))
        class_legend(axes, dataset.classes)


def draw_bands(path: Path, dataset: Dataset, row: int) -> None:
    """Every band of a sample in grey between its P2 and P98, after the colours that the eye knows."""
    image = dataset.reader.image(row).astype(np.float64)
    if dataset.nodata is not None:
        image[image == dataset.nodata] = np.nan
    n = len(image) + 1
    columns = min(4, n)
    lines = -(-n // columns)
    with figure(path, 2.3 * columns, 2.5 * lines + 0.4, f"Bands of {_id(dataset, row)}, {dataset.units}") as made:
        places = np.atleast_1d(made.subplots(lines, columns)).ravel()
        colours, bands = picture(dataset, row)
        plain(places[0], colours, bands)
        for axes, name, band in zip(places[1:], dataset.bands, image, strict=False):
            seen = band[np.isfinite(band)]
            low, high = np.percentile(seen, (2, 98)) if seen.size else (0.0, 1.0)
            axes.imshow(band, cmap="gray", vmin=low, vmax=max(high, low + 1e-9), interpolation="nearest")
            axes.set_title(f"{name}  {low:.4g} to {high:.4g}", loc="left", fontsize=8, pad=3)
            axes.set_xticks([])
            axes.set_yticks([])
        for axes in places[n:]:
            axes.axis("off")


def draw_overlay(path: Path, dataset: Dataset, row: int) -> None:
    """A sample, and the same with its mining in semi-transparent red."""
    mask, (colours, bands) = _mask(dataset, row), picture(dataset, row)
    with figure(path, 8.4, 4.6, f"Image and label of {_id(dataset, row)}") as made:
        left, right = made.subplots(1, 2)
        plain(left, colours, bands)
        plain(right, _blended(colours, np.isin(mask, mining_values(dataset.classes))), "label in red")


def draw_prediction(
    path: Path, dataset: Dataset, row: int, model: str, score: NDArray[np.float32] | None = None
) -> None:
    """A sample, its label, and what a model makes of it; the score is given, or computed where the bands allow.

    Raises
    ------
    UsageError
        where the set lacks a band of the model, or its numbers are no reflectance.
    """
    said = f"model {Path(model).name}" if score is None else "given score"
    values = predict(dataset, row, model) if score is None else score
    image = dataset.reader.image(row)
    if values.shape != image.shape[1:]:
        raise UsageError("score and sample differ in size", got=values.shape, expected=image.shape[1:])
    mask = dataset.reader.mask(row)
    colours, bands = picture(dataset, row)
    with figure(path, 12.0, 4.4, f"Prediction of {_id(dataset, row)}, {said}") as made:
        places = made.subplots(1, 3)
        plain(places[0], colours, bands)
        if mask is None:
            places[1].axis("off")
        else:
            plain(places[1], coloured(mask, dataset.classes), "label")
            class_legend(places[1], dataset.classes)
        places[2].set_facecolor("#dfe3e8")
        drawn = places[2].imshow(values, cmap="inferno", vmin=0, vmax=1, interpolation="nearest")
        places[2].set_title("probability of mining", loc="left", fontsize=9, pad=4)
        places[2].set_xticks([])
        places[2].set_yticks([])
        bar = made.colorbar(drawn, ax=places[2], fraction=0.046, pad=0.02)
        bar.outline.set(linewidth=0.5, edgecolor=MUTED)


def predict(dataset: Dataset, row: int, model: str) -> NDArray[np.float32]:
    """(y, x) probability of the target class of a model package, 0-1, NaN where a band is missing.

    Raises
    ------
    UsageError
        where the set lacks a band of the model, or its numbers are no reflectance x 1e4.
    """
    package = load_package(model)
    missing = [band for band in package.spec.bands if band not in dataset.bands]
    if missing or not dataset.units.startswith("reflectance x 1e4"):
        raise UsageError(
            f"model {package.spec.name} cannot read {dataset.name}",
            got=f"no {', '.join(missing)}" if missing else dataset.units,
            expected=f"{', '.join(package.spec.bands)} as reflectance x 1e4",
            fix="--model, or --score FILE",
        )
    image = dataset.reader.image(row)[[dataset.bands.index(band) for band in package.spec.bands]].astype(np.float64)
    seen = np.isfinite(image) if dataset.nodata is None else np.isfinite(image) & (image != dataset.nodata)
    composite = np.where(seen, np.clip(np.nan_to_num(image), 1, 65535), 0).astype(np.uint16)
    return predict_tile(load_predictor(package), composite, 0)


def draw_augmentation(path: Path, dataset: Dataset, row: int, seed: int) -> None:
    """A sample and its five augmented copies, with their labels below where it has any."""
    copies = augmented(dataset.subset([row]), seed=seed, full_scale=_full_scale(dataset, row))
    labelled = dataset.reader.mask(row) is not None
    lines = 2 if labelled else 1
    with figure(path, 12.0, 2.2 * lines + 0.6, f"Augmented copies of {_id(dataset, row)}, seed {seed}") as made:
        places = np.atleast_2d(made.subplots(lines, len(copies) + 1))
        # One stretch for all: the light is what differs.
        stretch = _common(dataset, [dataset.reader.image(row), *(copies.reader.image(i) for i in range(len(copies)))])
        for column, (set_, k) in enumerate([(dataset, row), *((copies, i) for i in range(len(copies)))]):
            image, mask = set_[k]
            said = "original" if column == 0 else f"copy {column}"
            colours = stretch.apply(for_the_eye(dataset, image), dataset.nodata)
            plain(places[0, column], (colours / 255.0) ** _GAMMA, said)
            if labelled and isinstance(mask, np.ndarray):
                plain(places[1, column], coloured(mask, dataset.classes), "label")


def draw_preparation(path: Path, dataset: Dataset, row: int) -> None:
    """A sample as it came, matched to its set's percentiles, and passed through 95 pixels."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _STATISTICS_OVER)).astype(int))
    target = TargetRange.of(extract_statistics(dataset, rows))
    image = dataset.reader.image(row)
    if min(image.shape[1:]) < THROUGH_PX:
        raise UsageError("samples are coarser than the preparation", got=image.shape[1:], expected=f"{THROUGH_PX} px")
    matched = match_image_to_stats(image, target, dataset.nodata)
    coarse = prepared(dataset, target).reader.image(row)
    low, high = (for_the_eye(dataset, np.asarray(ends)).tolist() for ends in (target.low, target.high))
    stretch = Stretch((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    room = max(high) - min(low)
    with figure(path, 12.0, 6.6, f"Preparation of {_id(dataset, row)}") as made:
        places = made.subplots(2, 3, height_ratios=(3, 1.2))
        steps = (
            (image, "as it came, in the set's range"),
            (matched, "P2 and P98 matched to the set"),
            (coarse, f"through {THROUGH_PX} px, back to {SIZE_PX} px"),
        )
        for axes, below, (step, said) in zip(*places, steps, strict=True):
            shown = for_the_eye(dataset, step)
            plain(axes, stretch.apply(shown, dataset.nodata), said)
            for name, band in zip(eye_bands(dataset), shown, strict=True):
                values = band[np.isfinite(band) & (band != dataset.nodata)]
                below.hist(values, 80, histtype="step", linewidth=0.9, label=name, color=_LINES.get(name))
            below.set_yticks([])
            below.spines[["top", "right", "left"]].set_visible(False)
            below.set_xlim(min(low) - 0.3 * room, max(high) + 0.5 * room)
        places[1, 0].legend(frameon=False, fontsize=7.5)


_LINES = {"red": "#d1372c", "green": "#2e8b57", "blue": "#3b6fd1"}


def _blended(colours: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Mining in semi-transparent red, its outline in full."""
    blended = blend(colours, inside)
    blended[inside & ~ndimage.binary_erosion(inside, border_value=1)] = RED
    return blended


def _common(dataset: Dataset, images: list[NDArray[Any]]) -> Stretch:
    """From the darkest P1 to the brightest P99 of several images, band by band."""
    found = [Stretch.of(for_the_eye(dataset, image), dataset.nodata, (1.0, 99.0)) for image in images]
    low, high = np.min([s.low for s in found], axis=0).tolist(), np.max([s.high for s in found], axis=0).tolist()
    return Stretch((low[0], low[1], low[2]), (high[0], high[1], high[2]), (1.0, 99.0))


def _full_scale(dataset: Dataset, row: int) -> float | None:
    """What counts as 1 in the gallery of a set whose units do not say: the brightest pixel of the sample."""
    image = dataset.reader.image(row)
    if image.dtype == np.uint8 or dataset.units.startswith("reflectance"):
        return None
    return float(np.nanmax(image))


def _mask(dataset: Dataset, row: int) -> NDArray[np.uint8]:
    mask = dataset.reader.mask(row)
    if mask is None:
        raise UsageError(f"dataset {dataset.name} labels whole samples: there is no mask to draw")
    return mask


def _id(dataset: Dataset, row: int) -> str:
    return str(dataset.samples["id"].iloc[row])
