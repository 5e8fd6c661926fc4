"""Train a model: from a dataset, a split and settings to a folder with weights, history, curves and a package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from minescale._version import __version__
from minescale.errors import UsageError
from minescale.labels.auditing.audit import Audit
from minescale.labels.auditing.audit import audit as examine
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split
from minescale.labels.sets.units import as_reflectance
from minescale.models.ensemble import FAMILY, checked_views, ensemble_spec, folder_of
from minescale.models.nearby import Nearby
from minescale.models.package import ModelPackage
from minescale.models.predictor import ENGINES
from minescale.models.spec import check_name
from minescale.training.config import TrainConfig
from minescale.training.curves import draw_curves
from minescale.training.fitted import Fitted
from minescale.training.folder import CONFIG, CURVES, HISTORY, SPLIT, begin_folder, check_folder, write_json
from minescale.training.origin import target_of
from minescale.training.progress import Listener, silent

if TYPE_CHECKING:
    from minescale.training.finish import LeftOut

_OF_NETWORKS = ("scaling", "batch", "augment", "loss", "optimiser", "schedule", "run")
"""Sections of the settings that families without epochs do not read."""
PROBE = "probe"
"""The family that fits one layer on features of a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a training left."""

    package: ModelPackage
    folder: Path
    metrics: dict[str, Any]
    """By name, as in the package's ``metrics/``."""


def train(
    dataset: Dataset,
    split: Split,
    config: TrainConfig,
    out: str | Path,
    *,
    force: bool = False,
    resume: bool = True,
    device: str = "auto",
    audit: Audit | None = None,
    tell: Listener = silent,
) -> TrainResult | None:
    """Train, decide on val, judge on test, and write a package.

    Parameters
    ----------
    dataset : any set whose units say what reflectance is.
    force : train although the split's audit fails; every score then says so.
    resume : continue a training of the same settings and samples that ``out`` holds; else start anew.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    audit : of this split, where it was made already.
    tell : is told of steps and epochs.

    Returns
    -------
    TrainResult
        None in processes that ``torchrun`` started beside the first: they write nothing.

    Raises
    ------
    UsageError
        where the audit fails, the set lacks bands or units, or ``out`` holds something else.
    ModelError
        for settings or samples that cannot be trained with.
    """
    check_name(config.name)
    folder = Path(out)
    check_folder(folder)
    if device in ENGINES:
        raise UsageError("training runs in PyTorch", got=device, expected="auto, cpu, cuda or cuda:N")
    found = audit or examine(dataset, split)
    found.require(force=force)
    bands = _channels(dataset, config)
    learnt, watched = (as_reflectance(split.of(dataset, part), bands) for part in ("train", "val"))
    record = _record(config.to_dict(), config.digest, dataset, split, found)
    from minescale.training.tables.fit import TABLE_FAMILIES

    def begin() -> None:
        begin_folder(folder, record, resume=resume)
        write_json(folder / SPLIT, json.loads(split.to_json()))

    fitted: Fitted | None
    if config.family == PROBE:
        from minescale.training.probes import fit_probe

        _refuse_unheeded(config)
        _require_same(folder, record, resume=resume)
        _require_both_sides(watched, target_of(config.target, watched.classes), config.family)
        fitted = fit_probe(split.of(dataset, "train"), learnt, config, device=device)
        begin()
    elif config.family in TABLE_FAMILIES:
        _refuse_unheeded(config, windows=config.patch > 0, device=device)
        _require_same(folder, record, resume=resume)
        fitted = _fit_table(split.of(dataset, "train"), learnt, watched, config, folder, begin)
    else:
        from minescale.training.checkpoint import CHECKPOINT
        from minescale.training.torch_fit import fit_torch

        if not (folder / CHECKPOINT).is_file():  # which knows what it is of
            _require_same(folder, record, resume=resume)
        source = split.of(dataset, "train")
        fitted = fit_torch(
            source, learnt, watched, config, folder, resume=resume, device=device, tell=tell, begin=begin
        )
    if fitted is None:
        return None
    return result_of(fitted, dataset, split, found, folder, config=record["config"], device=device)


def train_members(
    dataset: Dataset,
    split: Split,
    configs: Sequence[TrainConfig],
    out: str | Path,
    *,
    name: str,
    views: int = 1,
    nearby: Nearby | None = None,
    force: bool = False,
    resume: bool = True,
    device: str = "auto",
    audit: Audit | None = None,
    tell: Listener = silent,
) -> TrainResult | None:
    """Train several models on one split and make one of them: the mean of their probabilities.

    Other parameters, results and errors are those of :func:`train`.

    Parameters
    ----------
    configs : one for each member, such as one configuration with several seeds; families may differ.
    out : members are trained in its folders ``member-0`` and so on; the whole becomes its ``package``, with calibration
        and threshold of its own, from val.
    name : of the whole.
    views : of an image to average over, see :data:`minescale.models.ensemble.VIEWS`.
    nearby : weighs the mean with the highest one nearby, see :mod:`minescale.models.nearby`.
    """
    for each in (name, *(config.name for config in configs)):
        check_name(each)
    views = checked_views(views)
    check_nearby(nearby, configs)
    folder = Path(out)
    check_folder(folder)
    found = audit or examine(dataset, split)
    found.require(force=force)
    record = begin_mean(folder, configs, dataset, split, found, name=name, views=views, nearby=nearby, resume=resume)
    trained = [
        train(
            dataset,
            split,
            config,
            folder / folder_of(number),
            force=force,
            resume=resume,
            device=device,
            audit=found,
            tell=tell,
        )
        for number, config in enumerate(configs)
    ]
    members = tuple(result.package for result in trained if result is not None)
    if len(members) < len(trained):
        return None
    spec = ensemble_spec(members, name=name, views=views, nearby=nearby)
    fitted = Fitted(spec=spec, weights={}, history={}, facts=facts_of_members(configs), members=members)
    return result_of(fitted, dataset, split, found, folder, config=record["config"], device=device)


def check_nearby(nearby: Nearby | None, configs: Sequence[TrainConfig]) -> None:
    """Refuse to weigh with what is nearby what has no pixels around it, before anything is trained.

    Raises
    ------
    UsageError
    """
    from minescale.models.network import architecture, architectures

    families = {config.family for config in configs}
    networks = families & set(architectures())
    if nearby is None or any(architecture(name).task == "pixels" for name in networks):
        return
    raise UsageError(
        "nothing is nearby for models that score chips, or each pixel alone",
        got=", ".join(sorted(families)) or "no model",
        expected="a network of pixels, such as unet",
        fix="leave nearby out",
    )


def begin_mean(
    folder: Path,
    configs: Sequence[TrainConfig],
    dataset: Dataset,
    split: Split,
    audit: Audit,
    *,
    name: str,
    views: int,
    nearby: Nearby | None,
    resume: bool,
    pairs: bool = False,
) -> dict[str, Any]:
    """Make the folder of a mean of several models, and say in its ``config.json`` what it is of.

    Raises
    ------
    UsageError
        where it holds something else.
    """
    settings = {
        "name": name,
        "family": FAMILY,
        "views": views,
        **({"nearby": nearby.to_dict()} if nearby else {}),
        "resolution": configs[0].resolution if configs else None,
        "members": [config.to_dict() for config in configs],
        **({"pairs": True} if pairs else {}),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    record = _record(settings, digest, dataset, split, audit)
    _require_same(folder, record, resume=resume)
    begin_folder(folder, record, resume=resume)
    write_json(folder / SPLIT, json.loads(split.to_json()))
    return record


def facts_of_members(configs: Sequence[TrainConfig]) -> dict[str, Any]:
    """What ``metrics/training.json`` of a mean says of how its members were trained."""
    return {"members": [{"name": config.name, "seed": config.seed, "digest": config.digest} for config in configs]}


def _record(settings: Mapping[str, Any], digest: str, dataset: Dataset, split: Split, audit: Audit) -> dict[str, Any]:
    """What ``config.json`` says of a training."""
    sizes = {part: len(split.rows(dataset, part)) for part in PARTS}
    return {
        "config": settings,
        "digest": digest,
        "minescale": __version__,
        "dataset": {"name": dataset.name, "licence": dataset.licence, "units": dataset.units},
        "split": {"rule": split.rule, "settings": split.settings, **{p: n for p, n in sizes.items() if n}},
        "audit": {"ok": audit.ok, "caveat": audit.caveat, "val": audit.val_sentence},
    }


def _refuse_unheeded(config: TrainConfig, *, windows: bool = False, device: str = "auto") -> None:
    """Refuse settings that a fit without epochs would not heed, and more processes than one.

    Raises
    ------
    UsageError
        naming them.
    """
    if int(os.environ.get("WORLD_SIZE") or "1") > 1:
        raise UsageError(
            f"{config.family} is fitted by one process",
            got=f"{os.environ['WORLD_SIZE']} processes",
            fix="start it without torchrun",
        )
    usual = TrainConfig(name=config.name, family=config.family)
    changed = [
        f"{section.name}.{entry.name}"
        for section in (field for field in fields(usual) if field.name in _OF_NETWORKS)
        for entry in fields(getattr(usual, section.name))
        if getattr(getattr(config, section.name), entry.name) != getattr(getattr(usual, section.name), entry.name)
    ]
    changed += ["initial_weights"] if config.initial_weights else []
    changed += ["patch (of windows)"] if windows else []
    changed += [f"device {device}"] if device not in ("auto", "cpu") else []
    if changed:
        raise UsageError(
            f"settings of networks, which {config.family} has no use for",
            got=", ".join(changed),
            fix="leave them out; what this family takes are its hyperparameters",
        )


def _require_same(folder: Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse a folder that holds a training of something else, which its files would be mixed with.

    Raises
    ------
    UsageError
    """
    path = folder / CONFIG
    if not resume or not path.is_file():
        return
    held, new = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(record))  # no tuples in either
    if any(held.get(part) != new[part] for part in ("digest", "dataset", "split")):
        raise UsageError(
            f"{folder} holds a training with other settings, data or split",
            fix="start anew: --no-resume, or another --out",
        )


def _fit_table(
    source: Dataset, train: Dataset, val: Dataset, config: TrainConfig, folder: Path, begin: Callable[[], None]
) -> Fitted:
    """Fit a model of the pixel table; its files come into the folder when there is a model."""
    from minescale.training.tables.fit import fit_table

    _require_both_sides(val, target_of(config.target, val.classes), config.family)

    with tempfile.TemporaryDirectory() as scratch:
        fitted = fit_table(train, val, config, Path(scratch), source=source)
        begin()
        shutil.copytree(scratch, folder, dirs_exist_ok=True)
    return fitted


def _require_both_sides(val: Dataset, target: str, family: str) -> None:
    """Refuse a val part that lacks a side before any work: clusters are found without labels, but a threshold,
    a calibration and scores are not.

    Raises
    ------
    UsageError
    """
    value, held = val.classes.value(target), set()
    for row in range(len(val)):
        labels = val.reader.mask(row)
        if labels is None:
            whole = val.samples["label"].iloc[row] if "label" in val.samples else None
            found = set() if whole is None or pd.isna(whole) else {int(whole)}
        else:
            found = set(np.unique(labels).tolist())
        held |= {label == value for label in found if label != val.classes.ignore}
        if len(held) == 2:
            return
    clusters = "; fit_table of minescale.training.tables.fit makes clusters without any label"
    raise UsageError(
        "val has no labels of both sides: no threshold can be set, and nothing be scored",
        got="no label" if not held else f"{target} only" if True in held else f"no {target}",
        expected=f"{target} and others",
        fix="another split" + (clusters if family == "kmeans" else ""),
    )


def result_of(
    fitted: Fitted,
    dataset: Dataset,
    split: Split,
    audit: Audit,
    folder: Path,
    *,
    config: Mapping[str, Any],
    device: str,
    left_out: LeftOut | None = None,
) -> TrainResult:
    """What was fitted as history, curves and a package in ``folder``; see :func:`minescale.training.finish.finish`."""
    from minescale.training.finish import finish

    write_json(folder / HISTORY, fitted.history)
    if "epochs" in fitted.history:
        name = f"{fitted.spec.name}, {dataset.name}"
        draw_curves(fitted.history["epochs"], folder / CURVES, best=fitted.facts["best_epoch"], title=name)
    package = finish(fitted, dataset, split, audit, folder, config=config, device=device, left_out=left_out)
    files = sorted((package.path / "metrics").glob("*.json"))
    metrics = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return TrainResult(package=package, folder=folder, metrics=metrics)


def _channels(dataset: Dataset, config: TrainConfig) -> tuple[str, ...]:
    """The set's bands that are trained on; ``red`` of a set of two dates is the red of both."""
    wanted = config.bands or dataset.bands
    paired = tuple(f"t{date}_{band}" for date in (0, 1) for band in wanted)
    return paired if set(paired) <= set(dataset.bands) else wanted
