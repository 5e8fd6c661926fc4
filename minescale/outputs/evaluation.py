"""How well a probability map finds mines, always beside what trivial maps reach on the same pixels.

A figure without its baseline says little: at 1 % prevalence "no mine anywhere" is 99 % accurate. And a score on the
synthetic region says that the machinery works; it is no evidence of skill on the real world.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels.ranking import area_under_roc, average_precision, ratios
from minescale.kernels.regions import label
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS

MIN_OBJECT_HA = 0.5
"""Smaller truth objects are too few pixels for a fair recall by object."""

MARGIN = 0.02
"""How far F1 has to lie above that of calling everything mining; half of what is left to 1, where that is less."""
SYNTHETIC_LABEL = "synthetic, no evidence of skill"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScore:
    """Counts and ratios of one yes/no map. A ratio whose denominator is zero is 0."""

    tp: int
    fp: int
    fn: int
    tn: int
    precision: float
    recall: float
    f1: float
    iou: float
    mcc: float
    """Matthews correlation, -1 to 1; 0 for any map that ignores the image."""
    specificity: float
    accuracy: float

    @classmethod
    def of(cls, tp: float, fp: float, fn: float, tn: float) -> PixelScore:
        found = {name: float(np.nan_to_num(value)) for name, value in ratios(tp, fp, fn, tn).items()}
        del found["balanced_accuracy"]
        return cls(tp=round(tp), fp=round(fp), fn=round(fn), tn=round(tn), **found)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapScore:
    """A probability map against the truth, with trivial maps beside it."""

    threshold: float
    pixels: int
    """Pixels compared: seen, and valid in the truth."""
    truth_unseen: int
    """Mine pixels of the truth that the scan did not see; in no ratio but ``recall_of_all``."""
    prevalence: float
    """Share of mine pixels among those compared."""
    model: PixelScore
    auprc: float
    """Area under the precision-recall curve as average precision; ties count together. Chance: ``prevalence``."""
    recall_of_all: float
    """Found share of all mine pixels, unseen ones included."""
    baselines: dict[str, PixelScore]
    """``all_positive``, ``all_negative``, and the expectation of ``prevalence_random``."""
    objects: int
    """Truth objects of at least 0.5 ha (8-connected) of which any pixel was seen."""
    objects_found: int
    """Those that a detection touches."""
    no_skill: bool
    """Whether :func:`no_skill_reasons` has any."""
    label: str = ""
    """A warning that belongs to the figures, such as ``synthetic, no evidence of skill``."""

    @property
    def object_recall(self) -> float:
        return _ratio(self.objects_found, self.objects)

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "object_recall": self.object_recall}


def score_map(
    probability: NDArray[np.uint8],
    truth: NDArray[Any],
    threshold: float,
    valid: NDArray[np.bool_] | None = None,
    *,
    pixel_ha: float = 0.01,
    label: str = "",
) -> MapScore:
    """Score a map against the truth, pixel by pixel and object by object.

    Parameters
    ----------
    probability : (y, x) uint8 codes of the mosaic, 255 = not seen. Pixels that were not seen are not compared.
    truth : (y, x) bool or 0/1.
    threshold : probability from which a pixel is a detection.
    valid : (y, x) True where the truth is known; default: everywhere.
    pixel_ha : hectares of a pixel, for the smallest object that counts.

    Raises
    ------
    UsageError
        where shapes differ, or nothing is left to compare.
    """
    mine = np.asarray(truth) != 0
    known = np.ones(mine.shape, bool) if valid is None else np.asarray(valid, bool)
    if probability.ndim != 2 or not probability.shape == mine.shape == known.shape:
        raise UsageError(
            "map and truth differ in shape", got=f"{probability.shape}, {mine.shape}, {known.shape}", expected="(y, x)"
        )
    seen = (probability != PROBABILITY_FILL) & known
    if not seen.any():
        raise UsageError("nothing to score: no pixel is both seen and known", got=f"{known.sum()} known pixels")
    positives, negatives = _histogram(probability[seen & mine]), _histogram(probability[seen & ~mine])
    cut = first_code(threshold)
    n_mine, n_other = int(positives.sum()), int(negatives.sum())
    model = PixelScore.of(positives[cut:].sum(), negatives[cut:].sum(), positives[:cut].sum(), negatives[:cut].sum())
    baselines = trivial_scores(n_mine, n_other)
    precision_area = float(np.nan_to_num(average_precision(positives, negatives)))
    prevalence = _ratio(n_mine, n_mine + n_other)
    unseen = int((mine & known & ~seen).sum())
    objects, found = _objects(mine & known, seen, (probability >= cut) & seen, pixel_ha)
    return MapScore(
        threshold=threshold,
        pixels=n_mine + n_other,
        truth_unseen=unseen,
        prevalence=prevalence,
        model=model,
        auprc=precision_area,
        recall_of_all=_ratio(model.tp, n_mine + unseen),
        baselines=baselines,
        objects=objects,
        objects_found=found,
        no_skill=bool(no_skill_reasons(model, float(area_under_roc(positives, negatives)))),
        label=label,
    )


def first_code(threshold: float) -> int:
    """Smallest probability code that reaches ``threshold``."""
    return max(0, math.ceil(round(threshold * PROBABILITY_STEPS, 6)))


def trivial_scores(n_mine: int, n_other: int) -> dict[str, PixelScore]:
    """What maps that never look at the image reach: all mine, no mine, and a coin weighted by the prevalence."""
    share = _ratio(n_mine, n_mine + n_other)
    return {
        "all_positive": PixelScore.of(n_mine, n_other, 0, 0),
        "all_negative": PixelScore.of(0, 0, n_mine, n_other),
        "prevalence_random": PixelScore.of(
            n_mine * share, n_other * share, n_mine * (1 - share), n_other * (1 - share)
        ),
    }


def no_skill_reasons(score: PixelScore, auc: float | None = None) -> tuple[str, ...]:
    """Why a table of counts, and the ranking behind it, show no skill, in words; empty where they do.

    The one rule behind every ``no skill`` flag: F1 has to lie clearly above that of calling everything mining, which at
    one share of mines is higher than that of any other answer that never looks at the image; and the area under the ROC
    curve above that of chance.
    """
    everything = trivial_scores(score.tp + score.fn, score.fp + score.tn)["all_positive"].f1
    if score.tp + score.fn == 0 or score.fp + score.tn == 0:
        return ("one class is missing, so skill cannot be shown",)
    margin, reasons = min(MARGIN, (1 - everything) / 2), []
    if score.f1 <= everything + margin:
        reasons.append(f"F1 {score.f1:.3f} is not {margin:.2g} above the {everything:.3f} of calling everything mining")
    if auc is not None and auc <= 0.5:
        reasons.append(f"AUC {auc:.3f} is that of chance or worse")
    return tuple(reasons)


def _objects(
    mine: NDArray[np.bool_], seen: NDArray[np.bool_], detected: NDArray[np.bool_], pixel_ha: float
) -> tuple[int, int]:
    labels, count = label(np.ascontiguousarray(mine))
    size = np.bincount(labels.ravel(), minlength=count + 1)
    looked_at = np.bincount(labels[seen], minlength=count + 1) > 0
    touched = np.bincount(labels[detected], minlength=count + 1) > 0
    counts = (size * pixel_ha >= MIN_OBJECT_HA - 1e-9) & looked_at
    counts[0] = False
    return int(counts.sum()), int((counts & touched).sum())


def _histogram(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(codes, minlength=PROBABILITY_FILL)


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 0.0
