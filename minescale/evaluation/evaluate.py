"""Judge a model on a labelled set: every figure beside what trivial answers reach on the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minescale.errors import UsageError
from minescale.evaluation.area import area_estimate
from minescale.evaluation.baselines import best_single_index, metadata_only
from minescale.evaluation.figures import SPECIFICITIES, bootstrap, curves, draws_by_site, headline, histogram, plain
from minescale.evaluation.multiclass import score_classes
from minescale.evaluation.objects import score_objects
from minescale.evaluation.reliability import predictive_values, reliability
from minescale.evaluation.scored import Scored, score_dataset
from minescale.evaluation.skill import reasons_against, warnings_about
from minescale.evaluation.strata import false_alarms, tables
from minescale.evaluation.tally import Counts, Tally, tally
from minescale.kernels.ranking import ratios
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.units import as_reflectance
from minescale.models.package import ModelPackage, load_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec
from minescale.outputs.evaluation import PixelScore, trivial_scores

BOOTSTRAP = 200
_ABOUT = ("attribution", "sensor", "labels", "caveat")
"""What an evaluation repeats of where a set comes from; the rest may name files of one machine."""
_RATIOS = ("precision", "recall", "specificity", "f1", "iou", "mcc", "accuracy", "balanced_accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A model's figures on a set, and what they were counted from."""

    spec: ModelSpec
    scored: Scored
    tally: Tally
    threshold: float
    figures: Mapping[str, Any]
    """All figures by name; JSON values, see ``docs/models/evaluation.md``."""
    confusion: Mapping[str, Any] = field(default_factory=dict)
    """Raw counts: of all samples, and per sample."""

    @property
    def no_skill(self) -> bool:
        return bool(self.figures["no_skill"])

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**self.figures, "confusion": dict(self.confusion["total"])}


def evaluate(
    package: ModelPackage | str | Path,
    dataset: Dataset,
    *,
    device: str = "auto",
    threshold: float | None = None,
    caveat: str = "",
    reference: Dataset | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
    factor: float | None = None,
    scored: Scored | None = None,
) -> Evaluation:
    """Run a model over a set and judge it.

    Parameters
    ----------
    package : a package, its folder, or the name of a built-in one.
    dataset : samples with labels, in any units that say what reflectance is.
    threshold : decision threshold, 0-1; default: the model's.
    caveat : a sentence that belongs to every figure, such as :attr:`minescale.labels.auditing.audit.Audit.caveat`.
    reference : samples on which the best single index is chosen, such as the training part; without them it is chosen
        on the evaluated samples and marked as optimistic.
    bootstrap : resamples of sites for intervals; 0: none.
    factor : reflectance of the number 1, where the set's units do not tell.
    scored : what this model says of the set, where that is known already.

    Raises
    ------
    UsageError
        where the set lacks bands, labels or units, or nothing in it can be compared.
    ModelError
        where the model cannot be loaded.
    """
    loaded = package if isinstance(package, ModelPackage) else load_package(package)
    if scored is None:
        scored = score_dataset(load_predictor(loaded, device), dataset, factor=factor)
    made = judge(
        loaded.spec,
        scored,
        dataset,
        threshold=threshold,
        caveat=" ".join(said for said in (caveat, trained_on(loaded.spec, dataset)) if said),
        reference=reference,
        bootstrap=bootstrap,
        seed=seed,
        factor=factor,
    )
    model = {**made.figures["model"], "digest": loaded.digest}
    return Evaluation(
        spec=made.spec,
        scored=made.scored,
        tally=made.tally,
        threshold=made.threshold,
        figures={**made.figures, "model": model},
        confusion=made.confusion,
    )


def trained_on(spec: ModelSpec, dataset: Dataset) -> str:
    """A sentence for figures of the very samples that a model was trained on, told by the set's name; else empty."""
    data = spec.training.get("data")
    if not data or dataset.name not in (data, f"{data}/train"):
        return ""
    return f"{spec.name} was trained on samples of {dataset.name}: this is no score of places it has not seen."


def judge(
    spec: ModelSpec,
    scored: Scored,
    dataset: Dataset,
    *,
    threshold: float | None = None,
    caveat: str = "",
    reference: Dataset | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
    factor: float | None = None,
) -> Evaluation:
    """The figures of a set that was scored already; parameters as of :func:`evaluate`."""
    cut_at = spec.threshold if threshold is None else threshold
    if not 0 <= cut_at <= 1:
        raise UsageError("decision threshold", got=cut_at, expected="0 to 1")
    counted = tally(scored)
    positives, negatives = counted.totals()
    level = counted.level(cut_at)
    found = plain(headline(counted.levels, positives, negatives, level))
    counts = counted.confusion(cut_at)
    tp, fp, fn, tn = (int(v) for v in counts.sum(axis=0))
    score = PixelScore.of(tp, fp, fn, tn)
    intervals, resampling = _intervals(counted, cut_at, bootstrap, seed)
    whole = as_reflectance(dataset, factor=factor)
    other = None if reference is None else as_reflectance(reference, whole.bands, factor=factor)
    index = best_single_index(whole, counted, scored.positive, other)
    metadata = metadata_only(scored.dataset, counted, cut_at, seed)
    reasons = reasons_against(score, found["auc"], found["auprc"], intervals.get("auc"), index)
    sites = counted.samples["site"].nunique()
    figures: dict[str, Any] = {
        "model": _model(spec),
        "data": _data(dataset, scored),
        "unit": counted.unit,
        "n": len(counted.rows),
        "sites": int(sites),
        "units": {
            "positive": int(positives.sum()),
            "negative": int(negatives.sum()),
            "unseen": counted.unseen,
            "unlabelled_samples": counted.unlabelled,
        },
        "prevalence": found["prevalence"],
        "auc": found["auc"],
        "auprc": found["auprc"],
        "brier": found["brier"],
        "sensitivity_at_specificity": {f"{s:.2f}": found[f"sensitivity_at_specificity_{s:.2f}"] for s in SPECIFICITIES},
        "threshold": cut_at,
        "at_threshold": {"tp": tp, "fp": fp, "fn": fn, "tn": tn, **{name: found[name] for name in _RATIOS}},
        **({"iou": found["iou"], "f1": found["f1"]} if counted.unit == "pixel" else {"f1": found["f1"]}),
        "intervals": {name: None if pair is None else list(pair) for name, pair in intervals.items()},
        "bootstrap": resampling,
        "ppv": _ppv(found),
        "calibration": _calibration(scored, counted),
        "baselines": {
            **{name: asdict(trivial) for name, trivial in trivial_scores(tp + fn, fp + tn).items()},
            "best_single_index": index,
            "metadata_only": metadata,
        },
        "no_skill": bool(reasons),
        "no_skill_reasons": reasons,
        "warnings": warnings_about(metadata, dataset.resolution_m, spec.resolutions),
        "caveat": caveat,
        "undefined": _undefined(positives.sum(), negatives.sum(), counted.unit),
        "by": tables(counted, cut_at),
        "false_alarms": false_alarms(counted, cut_at),
        "macro": _macro(counts) if counted.unit == "pixel" else None,
        "objects": score_objects(scored, cut_at),
        "classes": score_classes(scored),
        "sample_shares": _sample_shares(counted, counts.sum(axis=0), intervals, dataset.resolution_m),
        **curves(counted.levels, positives, negatives),
        "histogram": histogram(counted.levels, positives, negatives),
    }
    ids = counted.samples["id"].astype(str).tolist()
    names = ("tp", "fp", "fn", "tn")
    confusion = {
        "total": dict(zip(names, (tp, fp, fn, tn), strict=True)),
        "samples": [
            {"id": i, **dict(zip(names, map(int, row), strict=True))} for i, row in zip(ids, counts, strict=True)
        ],
    }
    return Evaluation(spec=spec, scored=scored, tally=counted, threshold=cut_at, figures=figures, confusion=confusion)


def _intervals(
    counted: Tally, threshold: float, resamples: int, seed: int
) -> tuple[dict[str, tuple[float, float] | None], dict[str, Any]]:
    draws = draws_by_site(counted.samples["site"], resamples, seed)
    sites = int(counted.samples["site"].nunique())
    about: dict[str, Any] = {"resamples": resamples, "sites": sites, "seed": seed}
    if draws is None:
        why = (
            "intervals were not asked for"
            if resamples == 0
            else "one site: nothing tells how scores vary between sites"
        )
        return {}, {**about, "note": why}
    note = "sites drawn with replacement, 2.5th to 97.5th percentile"
    return bootstrap(counted, threshold, draws), {**about, "note": note}


def _model(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "version": spec.version,
        "family": spec.family,
        "task": spec.task,
        "bands": list(spec.bands),
        "licence": spec.licence,
        "target": spec.target,
        "training": dict(spec.training),
    }


def _data(dataset: Dataset, scored: Scored) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "licence": dataset.licence,
        "units": dataset.units,
        "bands": list(dataset.bands),
        "resolution_m": dataset.resolution_m,
        "classes": list(dataset.classes.names),
        "positive_classes": [dataset.classes.names[value] for value in scored.positive],
        **{name: dataset.provenance[name] for name in _ABOUT if name in dataset.provenance},
    }


def _ppv(found: Mapping[str, Any]) -> dict[str, float | None]:
    sensitivity, specificity = found["recall"], found["specificity"]
    if sensitivity is None or specificity is None:
        return dict.fromkeys(predictive_values(0.0, 0.0))
    return predictive_values(sensitivity, specificity)


def _calibration(scored: Scored, counted: Tally) -> dict[str, Any]:
    """Reliability as scored, and before the model's calibration where it has one."""
    found: dict[str, Any] = reliability(counted.levels, *counted.totals())
    calibrated = scored.raw_chips is not None or scored.raw_codes is not None
    found["calibrated"] = calibrated
    found["before"] = None
    if calibrated:
        before = tally(scored, raw=True)
        found["before"] = reliability(before.levels, *before.totals())
    return found


def _macro(counts: Counts) -> dict[str, Any]:
    """Mean over samples that hold mining, each of which counts alike; ``n`` of them."""
    tp, fp, fn, tn = counts[counts[:, 0] + counts[:, 2] > 0].T
    found = ratios(tp, fp, fn, tn)
    # A sample in which nothing is called has no precision: nothing of it was right.
    means = (
        {name: np.nan_to_num(found[name]).mean() for name in ("precision", "recall", "f1", "iou")} if len(tp) else {}
    )
    return {"n": len(tp), **plain(means)}


def _sample_shares(
    counted: Tally,
    counts: Counts,
    intervals: Mapping[str, tuple[float, float] | None],
    resolution: float | None,
) -> dict[str, Any]:
    """Share of mining in the judged samples, called and true, and how far a count of called ones would be off.

    Of the samples alone: they were not drawn to tell how much of a country is mined.
    """
    tp, fp, fn, tn = (float(v) for v in counts)
    total = tp + fp + fn + tn
    called = (tp + fp) / total
    estimate = area_estimate([[tp, fp], [fn, tn]], [tp + fp, fn + tn])
    pixels = counted.unit == "pixel"
    pair = intervals.get("prevalence") if pixels else estimate.interval(0)
    hectares = total * resolution**2 / 1e4 if pixels and resolution else None
    return {
        "called": called,
        "mined": float(estimate.share[0]),
        "mined_interval": None if pair is None or np.isnan(pair).any() else list(pair),
        "called_over_mined": called / float(estimate.share[0]) if estimate.share[0] > 0 else None,
        "judged_hectares": hectares,
        "note": "shares of the judged samples, no estimate for any other ground; "
        + (
            "interval over sites: neighbouring pixels are not independent"
            if pixels
            else "interval as if chips were drawn at random"
        ),
    }


def _undefined(positives: np.float64, negatives: np.float64, unit: str) -> dict[str, str]:
    """Which figures are null, and why."""
    missing = [name for name, count in (("positive", positives), ("negative", negatives)) if not count]
    if not missing:
        return {}
    why = f"no {missing[0]} {unit} among the samples"
    names = ["auc", "auprc", "sensitivity_at_specificity", "precision", "f1", "iou", "mcc", "balanced_accuracy", "ppv"]
    return dict.fromkeys([*names, "recall" if missing == ["positive"] else "specificity"], why)
