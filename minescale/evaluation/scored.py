"""What a model says of every sample of a set: one pass, after which all figures are arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.units import as_reflectance
from minescale.models.network import NetworkPredictor
from minescale.models.predictor import Predictor
from minescale.models.recalibration import recalibrate
from minescale.models.windows import REFLECTANCE, predict_tile
from minescale.store.codes import encode_probability

_CHIPS = 256
"""Chips that are handed to a model at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scores and truth of a set, sample by sample."""

    dataset: Dataset
    chips: NDArray[np.float32] | None
    """(sample,) probability of the target class, where samples are labelled whole; else None."""
    codes: tuple[NDArray[np.uint8], ...] | None
    """Per sample (y, x) probability codes as a mosaic stores them, 255 = not seen, where pixels are labelled."""


def score_dataset(predictor: Predictor, dataset: Dataset, *, factor: float | None = None) -> Scored:
    """Run a model over a set.

    A set of whole-sample labels gets one score per sample: a model of chips scores the chip, one of pixels gives the
    highest probability of any pixel. A set of pixel labels gets a map per sample, with no context beyond its edge.

    Parameters
    ----------
    factor : see :func:`minescale.labels.sets.units.as_reflectance`.

    Raises
    ------
    UsageError
        where the set lacks a band of the model's, or its units do not say what reflectance is.
    """
    images = as_reflectance(dataset, predictor.spec.channels, factor=factor)
    if images.reader.mask(0) is not None:
        codes = tuple(encode_probability(score_image(predictor, images.reader.image(i))) for i in range(len(images)))
        return Scored(dataset=images, chips=None, codes=codes)
    if "label" not in images.samples:
        raise UsageError(f"dataset {dataset.name} has no labels", expected="masks, or a column label")
    if predictor.spec.task == "chips" and isinstance(predictor, NetworkPredictor):
        return Scored(dataset=images, chips=_chip_scores(predictor, images), codes=None)
    peaks = [float(np.nanmax(score_image(predictor, images.reader.image(i)), initial=0)) for i in range(len(images))]
    return Scored(dataset=images, chips=np.array(peaks, np.float32), codes=None)


def score_image(predictor: Predictor, image: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Probability of the target, (y, x), NaN where there is no data, of (band, y, x) reflectance x 1e4."""
    return predict_tile(predictor, image, 0)


def _chip_scores(predictor: NetworkPredictor, images: Dataset) -> NDArray[np.float32]:
    """Chips of one shape together; the size of a chip need not be the one trained on."""
    score = np.full(len(images), np.nan, np.float32)
    target = predictor.spec.target_index
    pending: dict[tuple[int, ...], list[tuple[int, NDArray[np.uint16]]]] = {}

    def flush(chips: list[tuple[int, NDArray[np.uint16]]]) -> None:
        batch = np.stack([image for _, image in chips]) * REFLECTANCE
        score[[row for row, _ in chips]] = predictor.classify(batch)[:, target]
        chips.clear()

    for row in range(len(images)):
        image = images.reader.image(row)
        same = pending.setdefault(image.shape, [])
        same.append((row, image))
        if len(same) == _CHIPS:
            flush(same)
    for same in pending.values():
        if same:
            flush(same)
    return recalibrate(score, predictor.spec.calibration)
