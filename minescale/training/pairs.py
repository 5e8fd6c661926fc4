"""Cross-validation for sets of few sites, by leaving out two folds at a time: all sites but those judged teach.

A network is trained for each pair of folds, on the others. A fold is scored by the mean of all networks that left it
out: together these were taught every other fold. Calibration and threshold of that mean come from the other folds, each
scored by the networks that left out both it and the fold that is judged, so that nothing of a fold decides on its own
scores. k folds take k (k - 1) / 2 trainings. To average networks that were taught different samples is bagging (Breiman
1996, doi:10.1007/BF00058655).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.evaluation.scored import Scored, recalibrated, rescored, score_dataset
from minescale.labels.auditing.audit import audit as examine
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split
from minescale.models.ensemble import copy_members, ensemble_spec
from minescale.models.nearby import Nearby
from minescale.models.network import architectures
from minescale.models.package import ModelPackage, write_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec
from minescale.training.api import PROBE, TrainResult, begin_mean, facts_of_members, result_of, train
from minescale.training.config import TrainConfig
from minescale.training.finish import LeftOut, as_model_sees
from minescale.training.fitted import Fitted
from minescale.training.origin import training_facts
from minescale.training.progress import Listener, silent

Maps = dict[int, NDArray[np.float32]]
"""Row of the set to what a network says of it before any calibration: (y, x), or () of a whole sample."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """What was trained without two folds, and what it says of both."""

    members: tuple[ModelPackage, ...]
    maps: Maps


def train_pairs(
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
    tell: Listener = silent,
) -> Iterator[tuple[TrainResult, Scored]]:
    """Train on all but each pair of folds; yield each fold's mean, judged, and its scores of the fold.

    Folds are the test parts of ``splits``. Other parameters as of :func:`minescale.training.crossval.cross_validate`.
    Networks are trained in folders ``pair-A-B``, with several configurations in ``pair-A-B-N``; the mean that judges a
    fold becomes ``fold-A/package``. Scores of all samples, once for each other fold, are held in memory.

    Raises
    ------
    UsageError
        where an epoch would be chosen by the samples that are left out, for models that are not trained in epochs,
        three classes or more, fewer than three folds, or splits that are not the folds of one set.
    """
    folds = _folds(dataset, splits)
    _check(dataset, configs)
    judged = [
        _judging(dataset, split, rows, np.setdiff1d(np.concatenate(folds), rows))
        for split, rows in zip(splits, folds, strict=True)
    ]
    audits = [examine(dataset, whole) for whole in judged]
    for audit in audits:
        audit.require(force=force)
    seen_sites = False
    with tempfile.TemporaryDirectory() as scratch:
        pairs: dict[frozenset[int], _Pair] = {}
        for first, second in combinations(range(len(folds)), 2):
            split = _pair_split(dataset, splits[0], folds, first, second)
            found = examine(dataset, split)
            seen_sites |= found.val_mode == "seen"
            members = []
            for number, config in enumerate(configs):
                where = f"pair-{first}-{second}" + (f"-{number}" if len(configs) > 1 else "")
                made = train(
                    dataset,
                    split,
                    config,
                    out / where,
                    force=force,
                    resume=resume,
                    device=device,
                    audit=found,
                    tell=tell,
                )
                if made is None:
                    raise UsageError("cross-validation runs in one process", fix="start it without torchrun")
                members.append(_uncalibrated(made, Path(scratch) / where))
            mean = _plain_mean(Path(scratch) / f"mean-{first}-{second}", members, name, views, nearby)
            rows = split.rows(dataset, "val")
            both = as_model_sees(dataset.subset(rows), mean.spec, {"resolution": configs[0].resolution})
            pairs[frozenset((first, second))] = _Pair(tuple(members), _maps(mean, both, rows, device))
        sentence = "val: train, each sample scored by models, fewer than the mean's, that had not seen " + (
            "it" if seen_sites else "its site"
        )
        for number, (whole, audit) in enumerate(zip(judged, audits, strict=True)):
            mine = {other: pairs[frozenset((number, other))] for other in range(len(folds)) if other != number}
            members_of = tuple(member for pair in mine.values() for member in pair.members)
            spec = ensemble_spec(members_of, name=name, views=views, nearby=nearby)
            spec = spec.replace(training=training_facts(dataset))
            record = begin_mean(
                out / f"fold-{number}",
                configs,
                dataset,
                whole,
                audit,
                name=name,
                views=views,
                nearby=nearby,
                resume=resume,
                pairs=True,
            )
            left_out = _left_out(dataset, spec, folds, number, mine, nearby, record["config"], sentence)
            fitted = Fitted(spec=spec, weights={}, history={}, facts=facts_of_members(configs), members=members_of)
            result = result_of(
                fitted,
                dataset,
                whole,
                audit,
                out / f"fold-{number}",
                config=record["config"],
                device=device,
                left_out=left_out,
            )
            yield result, recalibrated(left_out.test, result.package.spec.calibration)


def _folds(dataset: Dataset, splits: Sequence[Split]) -> list[NDArray[np.intp]]:
    """Rows of each split's test, which are all that another split teaches or watches."""
    if len(splits) < 3:
        raise UsageError("pairs of folds", got=f"{len(splits)} folds", expected="3 or more")
    folds = [split.rows(dataset, "test") for split in splits]
    every = np.concatenate(folds)
    for number, split in enumerate(splits):
        others = np.concatenate([split.rows(dataset, part) for part in ("train", "val")])
        if set(others) != set(every) - set(folds[number]):
            raise UsageError(
                f"split {number} trains and watches other samples than those that the other splits test",
                expected="folds: train and val together are the tests of all others",
                fix="kfold(..., test=True), or pairs=False",
            )
    return folds


def _check(dataset: Dataset, configs: Sequence[TrainConfig]) -> None:
    of_networks = set(architectures()) - {PROBE}
    others = sorted({config.family for config in configs} - of_networks)
    if others:
        raise UsageError(
            "pairs of folds are for networks that are trained in epochs",
            got=", ".join(others),
            expected=", ".join(sorted(of_networks)),
            fix="pairs=False",
        )
    choosing = sorted({config.run.monitor for config in configs} - {"last"})
    if choosing:
        raise UsageError(
            "with pairs of folds no epoch may be chosen by what is left out",
            got=f"run.monitor {', '.join(choosing)}",
            expected="run.monitor last",
        )
    if len(dataset.classes.names) > 2:
        raise UsageError(
            "pairs of folds are averaged for two classes",
            got=", ".join(dataset.classes.names),
            fix="pairs=False",
        )


def _pair_split(dataset: Dataset, like: Split, folds: Sequence[NDArray[np.intp]], first: int, second: int) -> Split:
    """Two folds are left out, as val, all others teach."""
    parts = dict.fromkeys(_ids(dataset, np.concatenate(folds)), "train")
    parts |= dict.fromkeys(_ids(dataset, np.concatenate([folds[first], folds[second]])), "val")
    return Split(parts=parts, rule=like.rule, settings={**like.settings, "fold": [first, second]})


def _judging(dataset: Dataset, split: Split, tested: NDArray[np.intp], others: NDArray[np.intp]) -> Split:
    """A fold is tested, all others teach."""
    parts = dict.fromkeys(_ids(dataset, others), "train") | dict.fromkeys(_ids(dataset, tested), "test")
    return Split(parts=parts, rule=split.rule, settings=split.settings)


def _uncalibrated(made: TrainResult, folder: Path) -> ModelPackage:
    """The same model without what was set on the two folds together, and with how it was trained."""
    spec = made.package.spec.replace(calibration={}, threshold=0.5)
    card = f"# {spec.name}\n\nA member of a mean, taught without two folds of {spec.training.get('data', 'its set')}.\n"
    return write_package(folder, spec, made.package.weights(), card, {"training": made.metrics["training"]})


def _plain_mean(
    folder: Path, members: Sequence[ModelPackage], name: str, views: int, nearby: Nearby | None
) -> ModelPackage:
    """The mean that is weighed afterwards, on the windows of the mean that weighs by itself."""
    whole = ensemble_spec(members, name=name, views=views, nearby=nearby)
    spec = ensemble_spec(members, name=name, views=views).replace(patch=whole.patch, halo=whole.halo)
    copy_members(folder, members)
    return write_package(folder, spec, None, f"# {name}\n\nA mean of what was taught without two folds.\n", {})


def _maps(mean: ModelPackage, seen: Dataset, rows: NDArray[np.intp], device: str) -> Maps:
    scored = score_dataset(load_predictor(mean, device), seen, keep_maps=True)
    values: Any = scored.maps if scored.maps is not None else scored.chips
    return {int(row): np.asarray(value, np.float32) for row, value in zip(rows, values, strict=True)}


def _left_out(
    dataset: Dataset,
    spec: ModelSpec,
    folds: Sequence[NDArray[np.intp]],
    number: int,
    mine: Mapping[int, _Pair],
    nearby: Nearby | None,
    settings: Mapping[str, Any],
    sentence: str,
) -> LeftOut:
    """The other folds, each by the pair that left it out besides, and the fold itself by the mean of all pairs.

    The highest of fewer networks nearby is a little higher than that of all: with ``nearby`` thresholds may be a little
    too high for the mean, never chosen by what is judged.
    """
    known = {int(row): pair.maps[int(row)] for other, pair in mine.items() for row in folds[other]}
    others, tested = np.array(sorted(known)), folds[number]
    singles = [known[int(row)] for row in others]
    means = [np.mean([pair.maps[int(row)] for pair in mine.values()], axis=0) for row in tested]
    if nearby is not None:
        # Of the mean, as the package does it: not of what is averaged.
        singles, means = ([nearby.weighed(score) for score in scores] for scores in (singles, means))
    return LeftOut(
        train=rescored(spec, as_model_sees(dataset.subset(others), spec, settings), singles),
        test=rescored(spec, as_model_sees(dataset.subset(tested), spec, settings), means),
        sentence=sentence,
    )


def _ids(dataset: Dataset, rows: NDArray[np.intp]) -> list[str]:
    return [str(name) for name in dataset.samples["id"].iloc[rows]]
