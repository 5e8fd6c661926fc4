"""Cross-validation: a model for each fold, judged on the samples that it has not seen, fold by fold and pooled."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.evaluation.evaluate import BOOTSTRAP
from minescale.evaluation.figures import SPECIFICITIES, bootstrap, draws_by_site, headline, interval, plain
from minescale.evaluation.scored import Scored, score_dataset
from minescale.evaluation.tally import Counts, Tally, pooled, tally
from minescale.kernels.ranking import ratios
from minescale.labels.auditing.confounding import common_support, metadata_score
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split
from minescale.models.ensemble import checked_views
from minescale.models.nearby import Nearby
from minescale.models.predictor import load_predictor
from minescale.outputs.evaluation import PixelScore, trivial_scores
from minescale.training.api import TrainResult, check_nearby, train, train_members
from minescale.training.config import TrainConfig
from minescale.training.finish import as_model_sees
from minescale.training.folder import write_json
from minescale.training.pairs import train_pairs
from minescale.training.progress import Listener, silent

SUMMARY = "summary.json"
_RANKED = ("prevalence", "auc", "auprc")
_CALLED = ("f1", "iou", "precision", "recall", "mcc")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """What a cross-validation found."""

    folds: tuple[TrainResult, ...]
    figures: dict[str, Any]
    """JSON values, as in the folder's ``summary.json``; see ``docs/models/training.md``."""


def cross_validate(
    dataset: Dataset,
    splits: Sequence[Split],
    configs: Sequence[TrainConfig],
    out: str | Path,
    *,
    views: int = 1,
    nearby: Nearby | None = None,
    pairs: bool = False,
    within: Sequence[str] = (),
    force: bool = False,
    resume: bool = True,
    device: str = "auto",
    resamples: int = BOOTSTRAP,
    seed: int = 0,
    tell: Listener = silent,
) -> CrossValidation:
    """Train on each split and judge on its test part; then judge all test samples together.

    Every model sets its calibration and threshold on its own val, with ``pairs`` on the other folds. Pooled yes/no
    figures are sums of counts at these thresholds; pooled AUC and AUPRC compare the calibrated probabilities of
    different models. The best single index of a fold is chosen on the fold's own training part, and its counts are
    summed alike.

    Parameters
    ----------
    splits : with a test part each, no sample in two of them, such as
        :func:`minescale.labels.auditing.splitting.kfold` gives with ``test=True``.
    configs : one, or several whose models are averaged (:func:`minescale.training.api.train_members`).
    out : each fold's model comes into its folder ``fold-N``; figures come into its ``summary.json``.
    views : of each image to average over, see :data:`minescale.models.ensemble.VIEWS`.
    nearby : weighs the mean with the highest one nearby, see :mod:`minescale.models.nearby`.
    pairs : leave out two folds at a time and average, so that all other folds teach what judges a fold; see
        :mod:`minescale.training.pairs`. Vals of the splits are not heeded.
    within : columns of acquisition; figures are given once more for samples whose combination of them is found in every
        class, where the way of acquisition cannot stand for the class.
    force : train although an audit fails; every figure then says so.
    resamples : of sites, for intervals; 0: none.

    Raises
    ------
    UsageError
        for splits without a test part, or that share test samples, processes that ``torchrun`` started, or what
        ``pairs`` cannot be made of, or ``nearby`` for models that score chips or single pixels.
    ModelError
        for another number of views than these.
    """
    folder = Path(out)
    views = checked_views(views)
    _check(dataset, splits, configs)
    check_nearby(nearby, configs)
    name = f"{configs[0].name}-mean" if len(configs) > 1 or views > 1 or nearby or pairs else configs[0].name
    how: dict[str, Any] = {
        "name": name,
        "views": views,
        "nearby": nearby,
        "force": force,
        "resume": resume,
        "device": device,
        "tell": tell,
    }
    judged = (train_pairs if pairs else _train_folds)(dataset, splits, configs, folder, **how)
    results: list[TrainResult] = []
    counted: list[Tally] = []
    counts: list[Counts] = []
    for made, scored in judged:
        found = tally(scored)
        results.append(made)
        counted.append(found)
        counts.append(found.confusion(made.package.spec.threshold))
    whole, called = pooled(counted), np.concatenate(counts)
    rows = _rows_of(dataset, whole)
    indices = [result.metrics["test"]["baselines"]["best_single_index"] for result in results]
    all_samples = np.arange(len(rows))
    figures: dict[str, Any] = {
        "model": {"name": name, "family": [c.family for c in configs], "seeds": [c.seed for c in configs]},
        "config": [config.to_dict() for config in configs],
        "views": views,
        "nearby": nearby.to_dict() if nearby else None,
        "pairs": pairs,
        "data": {"name": dataset.name, "licence": dataset.licence},
        "rule": splits[0].rule,
        "settings": [split.settings for split in splits],
        "folds": [_fold(result) for result in results],
        "pooled": {
            **_figures(dataset, whole, called, all_samples, rows, resamples, seed),
            "best_single_index": _summed(indices),
        },
        "caveats": sorted({result.metrics["test"]["caveat"] for result in results} - {""}),
    }
    for key, middle in (("median", statistics.median), ("mean", statistics.fmean)):
        figures[key] = {
            figure: None if None in values else middle(values)
            for figure in (*_RANKED, *_CALLED)
            for values in [[fold[figure] for fold in figures["folds"]]]
        }
    if within:
        chosen = np.flatnonzero(np.isin(rows, common_support(dataset, within)))
        narrowed = _figures(dataset, whole, called, chosen, rows, resamples, seed)
        figures["within"] = {"columns": list(within), **narrowed}
    figures = plain(figures)
    write_json(folder / SUMMARY, figures)
    return CrossValidation(folds=tuple(results), figures=figures)


def _train_folds(
    dataset: Dataset,
    splits: Sequence[Split],
    configs: Sequence[TrainConfig],
    out: Path,
    *,
    name: str,
    views: int,
    nearby: Nearby | None,
    force: bool,
    resume: bool,
    device: str,
    tell: Listener,
) -> Iterator[tuple[TrainResult, Scored]]:
    """A model for each split, and its scores of the test part."""
    how: dict[str, Any] = {"force": force, "resume": resume, "device": device, "tell": tell}
    for number, split in enumerate(splits):
        where, config = out / f"fold-{number}", configs[0]
        if len(configs) == 1 and views == 1 and nearby is None:
            made = train(dataset, split, config, where, **how)
        else:
            made = train_members(dataset, split, configs, where, name=name, views=views, nearby=nearby, **how)
        if made is None:
            raise UsageError("cross-validation runs in one process", fix="start it without torchrun")
        test = as_model_sees(split.of(dataset, "test"), made.package.spec, {"resolution": config.resolution})
        yield made, score_dataset(load_predictor(made.package, device), test)


def _check(dataset: Dataset, splits: Sequence[Split], configs: Sequence[TrainConfig]) -> None:
    if not configs or not splits:
        raise UsageError("nothing to cross-validate", got=f"{len(splits)} splits, {len(configs)} configurations")
    tests = [split.rows(dataset, "test") for split in splits]
    if not all(len(rows) for rows in tests):
        raise UsageError("a split has no test part", fix="kfold(..., test=True)")
    every = np.concatenate(tests)
    if len(np.unique(every)) < len(every):
        raise UsageError(
            "a sample is tested twice",
            got=f"{len(every) - len(np.unique(every))} samples in the test part of more than one split",
            fix="kfold(..., test=True)",
        )


def _fold(result: TrainResult) -> dict[str, Any]:
    test = result.metrics["test"]
    return {
        "n": test["n"],
        "sites": test["sites"],
        **{figure: test[figure] for figure in _RANKED},
        **{figure: test["at_threshold"][figure] for figure in _CALLED},
        "threshold": test["threshold"],
        "baselines": test["baselines"],
        "no_skill": test["no_skill"],
        "no_skill_reasons": test["no_skill_reasons"],
        "audit_ok": result.metrics["audit"]["ok"],
        "val": {figure: result.metrics["val"][figure] for figure in _RANKED}
        | {figure: result.metrics["val"]["at_threshold"][figure] for figure in _CALLED},
    }


def _figures(
    dataset: Dataset,
    whole: Tally,
    called: Counts,
    chosen: NDArray[np.intp],
    rows: NDArray[np.intp],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Figures of chosen samples together, with intervals by site and what needs no model."""
    part = Tally(
        unit=whole.unit,
        levels=whole.levels,
        positives=whole.positives[chosen],
        negatives=whole.negatives[chosen],
        samples=whole.samples.iloc[chosen].reset_index(drop=True),
        rows=rows[chosen],
        unlabelled=0,
        unseen=0,
    )
    counts = called[chosen]
    ranked = headline(part.levels, *part.totals(), 0)
    tp, fp, fn, tn = (float(v) for v in counts.sum(axis=0))
    draws = draws_by_site(part.samples["site"], resamples, seed)
    intervals: dict[str, Any] = {}
    if draws is not None:
        over_sites = bootstrap(part, 0.5, draws)
        intervals = {figure: over_sites[figure] for figure in _RANKED}
        drawn = ratios(*np.moveaxis(draws @ counts, -1, 0))
        intervals |= {figure: interval(drawn[figure]) for figure in _CALLED}
    return {
        "unit": part.unit,
        "n": len(part.rows),
        "sites": int(part.samples["site"].nunique()),
        **{figure: ranked[figure] for figure in _RANKED},
        "sensitivity_at_specificity": {
            f"{s:.2f}": ranked[f"sensitivity_at_specificity_{s:.2f}"] for s in SPECIFICITIES
        },
        **asdict(PixelScore.of(tp, fp, fn, tn)),
        "intervals": {figure: None if pair is None else list(pair) for figure, pair in intervals.items()},
        "baselines": {k: asdict(score) for k, score in trivial_scores(round(tp + fn), round(fp + tn)).items()},
        "metadata_only": _metadata(dataset, part, counts, seed),
    }


def _metadata(dataset: Dataset, part: Tally, counts: Counts, seed: int) -> dict[str, Any] | None:
    """How well acquisition alone tells the classes apart, cross-validated by site, and how well the models do."""
    truth = part.holds()
    try:
        found = metadata_score(dataset.subset(part.rows), truth.astype(float), seed=seed)
    except UsageError:  # columns that the set names and does not have
        return None
    if found is None:
        return None
    hits = counts[:, 0] + counts[:, 1] > 0
    right = [float(hits[truth].mean()), float((~hits[~truth]).mean())]
    return {
        "columns": list(found.columns),
        "balanced_accuracy": found.balanced_accuracy,
        "betrays": found.betrays,
        "model_balanced_accuracy": statistics.fmean(right),
    }


def _summed(indices: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Each fold's best single index, chosen on its training part, with the counts of all folds together."""
    known = [index for index in indices if index is not None]
    if len(known) < len(indices):
        return None
    sums = (sum(index[key] for index in known) for key in ("tp", "fp", "fn", "tn"))
    return {"features": [index["feature"] for index in known], **asdict(PixelScore.of(*sums))}


def _rows_of(dataset: Dataset, counted: Tally) -> NDArray[np.intp]:
    """Rows of the set that the samples counted are."""
    places = {str(name): row for row, name in enumerate(dataset.samples["id"])}
    return np.array([places[str(name)] for name in counted.samples["id"]], np.intp)
