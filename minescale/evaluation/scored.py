"""What a model says of every sample of a set: one pass, after which all figures are arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.labels.auditing.classstats import mining_values
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.units import as_reflectance
from minescale.models.predictor import ChipPredictor, Predictor
from minescale.models.recalibration import recalibrate
from minescale.models.spec import ModelSpec
from minescale.models.windows import REFLECTANCE, predict_classes, predict_tile
from minescale.store.codes import encode_probability

_CHIPS = 256
"""Chips that are handed to a model at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scores and truth of a set, sample by sample."""

    dataset: Dataset
    chips: NDArray[np.float32] | None
    """(sample,) probability of the target class, where samples are labelled whole; NaN where nothing was seen."""
    codes: tuple[NDArray[np.uint8], ...] | None
    """Per sample (y, x) probability codes as a mosaic stores them, 255 = not seen, where pixels are labelled."""
    raw_chips: NDArray[np.float32] | None = None
    """As ``chips`` before the model's calibration, where it has one."""
    raw_codes: tuple[NDArray[np.uint8], ...] | None = None
    """As ``codes`` before the model's calibration, where it has one."""
    calls: tuple[NDArray[np.uint8], ...] | None = None
    """For a model whose three or more classes are the set's: the likeliest class, as a value of the set's class map.
    Per sample (y, x), or () where samples are labelled whole; 255 where nothing was seen."""
    positive: tuple[int, ...] = (1,)
    """Class values of the set that count as the model's target."""
    maps: tuple[NDArray[np.float32], ...] | None = None
    """Per sample (y, x) probability before the model's calibration, NaN = not seen, where they were to be kept."""


def score_dataset(
    predictor: Predictor, dataset: Dataset, *, factor: float | None = None, keep_maps: bool = False
) -> Scored:
    """Run a model over a set.

    A set of whole-sample labels gets one score per sample: a model of chips scores the chip, one of pixels gives the
    highest probability of any pixel. A set of pixel labels gets a map per sample, with no context beyond its edge.

    Parameters
    ----------
    factor : see :func:`minescale.labels.sets.units.as_reflectance`.
    keep_maps : keep probabilities of pixels as they were before they became codes, for :func:`recalibrated`.

    Raises
    ------
    UsageError
        where the set lacks a band of the model's, or its units do not say what reflectance is.
    ModelError
        where the model gives something that is no probability.
    """
    spec = predictor.spec
    images = as_reflectance(dataset, spec.channels, factor=factor)
    positive = positive_values(spec, dataset.classes)
    values = _class_values(spec, dataset.classes)
    if images.reader.mask(0) is not None:
        codes, raws, calls, maps = [], [], [], []
        for raw, call in _maps(predictor, images, values):
            maps += [raw] if keep_maps else []
            codes.append(encode_probability(recalibrate(raw, spec.calibration)))
            raws += [encode_probability(raw)] if spec.calibration else []
            calls += [call] if call is not None else []
        return Scored(
            dataset=images,
            chips=None,
            codes=tuple(codes),
            raw_codes=tuple(raws) or None,
            calls=tuple(calls) or None,
            positive=positive,
            maps=tuple(maps) or None,
        )
    if "label" not in images.samples:
        raise UsageError(f"dataset {dataset.name} has no labels", expected="masks, or a column label")
    called = None
    if spec.task == "chips" and isinstance(predictor, ChipPredictor):
        classes = _chip_classes(predictor, images)
        raw_chips = classes[:, spec.target_index]
        if values is not None:
            unseen = np.isnan(raw_chips)
            likeliest = np.where(unseen, 255, values[np.nan_to_num(classes).argmax(axis=1)]).astype(np.uint8)
            called = tuple(np.asarray(value) for value in likeliest)
    else:
        peaks = [_peak(raw) for raw, _ in _maps(predictor, images, None)]
        raw_chips = np.array(peaks, np.float32)
    return Scored(
        dataset=images,
        chips=recalibrate(raw_chips, spec.calibration),
        codes=None,
        raw_chips=raw_chips if spec.calibration else None,
        calls=called,
        positive=positive,
    )


def recalibrated(scored: Scored, calibration: Mapping[str, Any]) -> Scored:
    """The scores that the model gives with this calibration, without running it again.

    Raises
    ------
    UsageError
        where pixels were scored without keeping their maps: codes are too coarse to be corrected.
    """
    if scored.codes is None:
        raw = scored.chips if scored.raw_chips is None else scored.raw_chips
        corrected = None if raw is None else recalibrate(raw, calibration)
        return replace(scored, chips=corrected, raw_chips=raw if calibration else None)
    if scored.maps is None:
        raise UsageError("scores of pixels were not kept before they became codes", fix="keep_maps=True")
    raw_codes = scored.codes if scored.raw_codes is None else scored.raw_codes
    return replace(
        scored,
        codes=tuple(encode_probability(recalibrate(raw, calibration)) for raw in scored.maps),
        raw_codes=raw_codes if calibration else None,
    )


def rescored(spec: ModelSpec, dataset: Dataset, values: Sequence[NDArray[np.float32]]) -> Scored:
    """Scores that are known, before any calibration, as :func:`score_dataset` gives them with ``keep_maps``.

    Parameters
    ----------
    values : per sample the target's probability, (y, x), NaN = not seen; () where samples are labelled whole.
    """
    images = as_reflectance(dataset, spec.channels)
    positive = positive_values(spec, dataset.classes)
    if images.reader.mask(0) is None:
        return Scored(dataset=images, chips=np.array(values, np.float32), codes=None, positive=positive)
    codes = tuple(encode_probability(value) for value in values)
    return Scored(dataset=images, chips=None, codes=codes, positive=positive, maps=tuple(values))


def positive_values(spec: ModelSpec, classes: ClassMap) -> tuple[int, ...]:
    """Class values that stand for the model's target: the class of its name, else every class that is mining.

    Raises
    ------
    UsageError
        where the set has no such class.
    """
    if spec.target in classes.names:
        return (classes.value(spec.target),)
    found = tuple(mining_values(classes))
    if not found:
        raise UsageError(f"no class of the set is what {spec.name} looks for", got=classes.names, expected=spec.target)
    return found


def score_image(predictor: Predictor, image: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Probability of the target, (y, x), NaN where there is no data, of (band, y, x) reflectance x 1e4."""
    return predict_tile(predictor, image, 0)


def _class_values(spec: ModelSpec, classes: ClassMap) -> NDArray[np.uint8] | None:
    """The set's value of each of the model's classes; None where there are two, or the set has them not."""
    if len(spec.classes) < 3 or any(name not in classes.names for name in spec.classes):
        return None
    return np.array([classes.value(name) for name in spec.classes], np.uint8)


def _maps(
    predictor: Predictor, images: Dataset, values: NDArray[np.uint8] | None
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8] | None]]:
    """Per sample the target's probability (y, x) before calibration, and the likeliest class where asked for."""
    spec = predictor.spec
    for row in range(len(images)):
        scores = predict_classes(predictor, images.reader.image(row), 0)
        score = scores[spec.target_index]
        seen = ~np.isnan(score)
        _check(score[seen], spec)
        call = None
        if values is not None:
            call = np.where(seen, values[np.nan_to_num(scores).argmax(axis=0)], 255).astype(np.uint8)
        yield score, call


def _peak(score: NDArray[np.float32]) -> float:
    seen = score[~np.isnan(score)]
    return float(seen.max()) if seen.size else float("nan")


def _check(scores: NDArray[np.float32], spec: ModelSpec) -> None:
    if scores.size and not (scores.min() >= -1e-6 and scores.max() <= 1 + 1e-6):
        raise ModelError(
            f"model {spec.name} gives no probabilities", got=f"{scores.min()} to {scores.max()}", expected="0 to 1"
        )


def _chip_classes(predictor: ChipPredictor, images: Dataset) -> NDArray[np.float32]:
    """(sample, class); NaN without data. Chips of one shape go together, and need not be of the size trained on."""
    scores = np.full((len(images), len(predictor.spec.classes)), np.nan, np.float32)
    pending: dict[tuple[int, ...], list[tuple[int, NDArray[np.uint16]]]] = {}

    def flush(chips: list[tuple[int, NDArray[np.uint16]]]) -> None:
        batch = np.stack([image for _, image in chips]) * REFLECTANCE
        found = predictor.classify(batch)
        _check(found, predictor.spec)
        scores[[row for row, _ in chips]] = found
        chips.clear()

    for row in range(len(images)):
        image = images.reader.image(row)
        if not (image != 0).all(axis=0).any():
            continue
        same = pending.setdefault(image.shape, [])
        same.append((row, image))
        if len(same) == _CHIPS:
            flush(same)
    for same in pending.values():
        if same:
            flush(same)
    return scores
