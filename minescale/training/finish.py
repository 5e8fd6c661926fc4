"""After the fit: calibration and threshold on val, scores of val and test beside baselines, card, package."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from minescale.errors import UsageError
from minescale.evaluation.coarser import blocks_along, coarser
from minescale.evaluation.decide import best_threshold, fit_calibration, mostly_positive
from minescale.evaluation.evaluate import evaluate
from minescale.evaluation.figures import plain
from minescale.evaluation.scored import Scored, recalibrated, score_dataset
from minescale.labels.auditing.audit import Audit
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.new_folder import new_folder
from minescale.labels.sets.split import PARTS, Split
from minescale.models.ensemble import copy_members
from minescale.models.package import ITEM, ModelPackage, load_package, write_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec
from minescale.training.card import model_card
from minescale.training.fitted import Fitted
from minescale.training.folder import PACKAGE


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Scores before any calibration, where all samples of train taught some member of a mean, and none all of them."""

    train: Scored
    """Each sample by members that had not seen it, fewer than the mean's: stands for val."""
    test: Scored
    """By the mean."""
    sentence: str
    """Stands beside every score of val."""


def finish(
    fitted: Fitted,
    dataset: Dataset,
    split: Split,
    audit: Audit,
    out: Path,
    *,
    config: Mapping[str, Any],
    device: str = "auto",
    bootstrap: int = 200,
    left_out: LeftOut | None = None,
) -> ModelPackage:
    """Make a package of what was fitted.

    The probability is calibrated by temperature, then the threshold set to the highest F1 (Matthews correlation where
    more than half of val is the target), both on val; test decides nothing. A model that was taught on means of squares
    is judged on means of squares.

    Parameters
    ----------
    dataset : the set as it was opened, in its own units.
    out : the training's folder; the package becomes its sub-folder ``package``.
    config : the settings, JSON values, for ``metrics/training.json``.
    bootstrap : resamples of sites for the intervals of scores.
    left_out : what is known of train and test already; the split has no val then.

    Returns
    -------
    ModelPackage
        with ``metrics/`` val, test (where the split has one), training and audit.

    Raises
    ------
    UsageError
        where val lacks a class.
    """
    parts = {part: split.of(dataset, part) for part in PARTS if len(split.rows(dataset, part))}
    if left_out is not None:
        parts["val"] = dataset.subset(split.rows(dataset, "train"), f"{dataset.name}/val")
    if "val" not in parts:
        raise UsageError("the split has no val part", fix="another split: threshold and calibration need one")
    parts = {part: as_model_sees(samples, fitted.spec, config) for part, samples in parts.items()}
    with tempfile.TemporaryDirectory() as scratch:
        spec, watched = _decided(fitted, parts["val"], Path(scratch), device, left_out)
        known = {"val": watched} | ({"test": recalibrated(left_out.test, spec.calibration)} if left_out else {})
        sentence = left_out.sentence if left_out else audit.val_sentence
        spec = spec.replace(training=_facts(spec, dataset, split, parts, audit, sentence))
        draft = _written(Path(scratch) / "decided", fitted, spec)
        metrics: dict[str, Any] = {}
        for part in ("val", "test"):
            if part in parts:
                judged = evaluate(
                    draft,
                    parts[part],
                    device=device,
                    caveat=audit.caveat,
                    # Left out, val is train: an index that is chosen there has seen what it is judged on.
                    reference=None if left_out and part == "val" else parts["train"],
                    bootstrap=bootstrap,
                    scored=known.get(part),
                )
                metrics[part] = {**judged.to_dict(), "part": part, "val": sentence}
        metrics["training"] = {**fitted.facts, "config": dict(config), "history": dict(fitted.history)}
        metrics["audit"] = audit.to_dict()
        metrics = plain(metrics)
        card = model_card(spec, metrics, audit, fitted.facts)
        with new_folder(out / PACKAGE, overwrite=True, marks=(ITEM,)) as folder:
            _written(folder, fitted, spec, card, metrics)
    return load_package(out / PACKAGE)


def _written(
    folder: Path, fitted: Fitted, spec: ModelSpec, card: str = "draft", metrics: Mapping[str, Any] | None = None
) -> ModelPackage:
    copy_members(folder, fitted.members)
    return write_package(folder, spec, fitted.weights or None, card, metrics or {})


def as_model_sees(part: Dataset, spec: ModelSpec, config: Mapping[str, Any]) -> Dataset:
    """The part at the model's pixels, where it was taught on means of squares."""
    fine = config.get("resolution") or part.resolution_m
    if fine is None:
        return part
    return coarser(part, blocks_along(float(fine), spec.resolution), part.classes.value(spec.target))


def _decided(
    fitted: Fitted, val: Dataset, scratch: Path, device: str, left_out: LeftOut | None
) -> tuple[ModelSpec, Scored]:
    """The specification with its calibration, and then its threshold, from val; and what the model says of val."""
    spec = fitted.spec.replace(calibration={}, threshold=0.5)
    if left_out is not None:
        raw = left_out.train
    else:
        draft = _written(scratch / "raw", fitted, spec)
        raw = score_dataset(load_predictor(draft, device), val, keep_maps=True)
    # Scores that were weighed with the highest nearby have risen, which no temperature takes back.
    method: Literal["temperature", "isotonic"] = "isotonic" if spec.hyperparameters.get("nearby") else "temperature"
    spec = spec.replace(calibration=fit_calibration(raw, method))
    found = recalibrated(raw, spec.calibration)
    # Where most of val is mining, F1 is highest near calling everything mining.
    return spec.replace(threshold=best_threshold(found, by="mcc" if mostly_positive(found) else "f1")), found


def _facts(
    spec: ModelSpec, dataset: Dataset, split: Split, parts: Mapping[str, Dataset], audit: Audit, sentence: str
) -> dict[str, Any]:
    """What a model's item says of its training."""
    return {
        **spec.training,
        "data": dataset.name,
        "data_licence": dataset.licence,
        "split": split.rule,
        "samples": {part: len(samples) for part, samples in parts.items()},
        "sites": {part: int(samples.samples["site"].nunique()) for part, samples in parts.items()},
        "val": sentence,
        **({"caveat": audit.caveat} if audit.caveat else {}),
    }
