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
from minescale.models.ensemble import FAMILY, ensemble_spec, write_ensemble
from minescale.models.package import ModelPackage, write_package
from minescale.models.predictor import load_predictor
from minescale.training.api import TrainResult, result_of, train
from minescale.training.config import TrainConfig
from minescale.training.finish import LeftOut, as_model_sees
from minescale.training.fitted import Fitted
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
    flips: bool,
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
        where an epoch would be chosen by the samples that are left out, or there are fewer than three folds.
    """
    _check(splits, configs)
    folds = [split.rows(dataset, "test") for split in splits]
    with tempfile.TemporaryDirectory() as scratch:
        pairs: dict[frozenset[int], _Pair] = {}
        for first, second in combinations(range(len(folds)), 2):
            rows = np.concatenate([folds[first], folds[second]])
            parts = dict.fromkeys(_ids(dataset, np.concatenate(folds)), "train")
            parts |= dict.fromkeys(_ids(dataset, rows), "val")
            split = Split(parts=parts, rule=splits[0].rule, settings={**splits[0].settings, "fold": [first, second]})
            members = []
            for number, config in enumerate(configs):
                where = f"pair-{first}-{second}" + (f"-{number}" if len(configs) > 1 else "")
                made = train(dataset, split, config, out / where, force=force, resume=resume, device=device, tell=tell)
                if made is None:
                    raise UsageError("cross-validation runs in one process", fix="start it without torchrun")
                members.append(_uncalibrated(made.package, Path(scratch) / where))
            mean = write_ensemble(Path(scratch) / f"mean-{first}-{second}", members, name=name, flips=flips)
            seen = as_model_sees(dataset.subset(rows), mean.spec, {"resolution": configs[0].resolution})
            pairs[frozenset((first, second))] = _Pair(tuple(members), _maps(mean, seen, rows, device))
        for number in range(len(folds)):
            yield _judged(
                dataset,
                splits[number],
                folds,
                number,
                pairs,
                configs,
                out,
                name=name,
                flips=flips,
                force=force,
                device=device,
            )


def _check(splits: Sequence[Split], configs: Sequence[TrainConfig]) -> None:
    if len(splits) < 3:
        raise UsageError("pairs of folds", got=f"{len(splits)} folds", expected="3 or more")
    choosing = sorted({config.run.monitor for config in configs} - {"last"})
    if choosing:
        raise UsageError(
            "with pairs of folds no epoch may be chosen by what is left out",
            got=f"run.monitor {', '.join(choosing)}",
            expected="run.monitor last, of networks",
        )


def _uncalibrated(package: ModelPackage, folder: Path) -> ModelPackage:
    """The same model without what was set on the two folds together."""
    spec = package.spec.replace(calibration={}, threshold=0.5)
    return write_package(folder, spec, package.weights(), "see the training's folder", {})


def _maps(mean: ModelPackage, seen: Dataset, rows: NDArray[np.intp], device: str) -> Maps:
    scored = score_dataset(load_predictor(mean, device), seen, keep_maps=True)
    values: Any = scored.maps if scored.maps is not None else scored.chips
    return {int(row): np.asarray(value, np.float32) for row, value in zip(rows, values, strict=True)}


def _judged(
    dataset: Dataset,
    split: Split,
    folds: Sequence[NDArray[np.intp]],
    number: int,
    pairs: Mapping[frozenset[int], _Pair],
    configs: Sequence[TrainConfig],
    out: Path,
    *,
    name: str,
    flips: bool,
    force: bool,
    device: str,
) -> tuple[TrainResult, Scored]:
    """A fold's mean of networks with its calibration and threshold, as a package with figures."""
    mine = {other: pairs[frozenset((number, other))] for other in range(len(folds)) if other != number}
    others, tested = np.sort(np.concatenate([folds[other] for other in mine])), folds[number]
    parts = dict.fromkeys(_ids(dataset, others), "train") | dict.fromkeys(_ids(dataset, tested), "test")
    whole = Split(parts=parts, rule=split.rule, settings=split.settings)
    audit = examine(dataset, whole)
    audit.require(force=force)
    members = tuple(member for pair in mine.values() for member in pair.members)
    spec = ensemble_spec(members, name=name, flips=flips)
    settings = {
        "name": name,
        "family": FAMILY,
        "flips": flips,
        "pairs": True,
        "resolution": configs[0].resolution,
        "members": [config.to_dict() for config in configs],
    }
    known = {int(row): pair.maps[int(row)] for other, pair in mine.items() for row in folds[other]}
    means = [np.mean([pair.maps[int(row)] for pair in mine.values()], axis=0) for row in tested]
    left_out = LeftOut(
        train=rescored(spec, as_model_sees(dataset.subset(others), spec, settings), [known[int(r)] for r in others]),
        test=rescored(spec, as_model_sees(dataset.subset(tested), spec, settings), means),
    )
    facts = {"members": [{"name": config.name, "seed": config.seed, "digest": config.digest} for config in configs]}
    fitted = Fitted(spec=spec, weights={}, history={}, facts=facts, members=members)
    folder = out / f"fold-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    result = result_of(fitted, dataset, whole, audit, folder, config=settings, device=device, left_out=left_out)
    return result, recalibrated(left_out.test, result.package.spec.calibration)


def _ids(dataset: Dataset, rows: NDArray[np.intp]) -> list[str]:
    return [str(name) for name in dataset.samples["id"].iloc[rows]]
