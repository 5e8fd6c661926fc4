"""Fit a probe: features of every chip once, then a logistic regression whose penalty unseen sites choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.labels.sets.dataset import Dataset
from minescale.models.network import (
    InputScaling,
    architecture,
    build_network,
    load_weights,
    options_of,
    state_arrays,
)
from minescale.models.package import ModelPackage, load_package
from minescale.models.predictor import resolve_device
from minescale.models.probe import CUT, Probe, described
from minescale.models.spec import ModelSpec
from minescale.training.batches import ValBatches
from minescale.training.config import ScalingConfig, TrainConfig
from minescale.training.fitted import Fitted
from minescale.training.parallel import World
from minescale.training.samples import Samples, class_counts
from minescale.training.specification import make_spec, pair_bands
from minescale.training.tables.library import sklearn
from minescale.training.tables.table import groups_of

MOST_L2 = 1e6
_AT_ONCE = 64


def fit_probe(source: Dataset, train: Dataset, config: TrainConfig, *, device: str = "auto") -> Fitted:
    """Fit the linear layer of :class:`minescale.models.probe.Probe`.

    It minimises the mean of the logistic loss, samples weighted so that classes count alike, plus ``l2 / 2`` times the
    sum of squared weights of standardised features. Of several values of ``l2`` the one is taken whose loss on left-out
    groups is lowest, in ``folds`` folds of the training part. Groups are sites where the part has several, else images.

    Parameters
    ----------
    source : the training part as it was opened, in its own units.
    train : the same as reflectance x 1e4 in the model's channels.

    Raises
    ------
    ModelError
        for a base that does not fit, settings out of range, classes without a sample, or where scikit-learn is not
        installed.
    """
    linear = sklearn("linear_model")
    package, config = _with_base(config, train)
    samples = Samples.of(train, architecture(config.family).task)  # type: ignore[arg-type]  # a task
    counts, _, _ = class_counts(samples)
    spec = make_spec(config, source, samples)
    if package is not None:
        spec = _owing(spec, package.spec)
    penalties, folds = _settings(options_of(spec))
    place = torch.device(resolve_device(spec, device))
    network = build_network(spec)
    assert isinstance(network, Probe)  # noqa: S101  (what the family builds)
    if network.base is not None and package is not None:
        load_weights(network.base.network, package.spec, package.weights())
    features, labels = _features(network.eval().to(place), InputScaling(spec, place), samples, place)
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-6] = 1.0
    x = np.clip((features - middle) / spread, -CUT, CUT)

    def fit(rows: NDArray[np.intp], penalty: float) -> Any:
        model = linear.LogisticRegression(C=1 / (penalty * len(rows)), class_weight="balanced", max_iter=5000)
        return model.fit(x[rows], labels[rows])

    errors: list[float] = []
    chosen, chosen_by = penalties[0], "the settings"
    if len(penalties) > 1:
        groups = np.unique(groups_of(train), return_inverse=True)[1]
        errors, used = left_out_losses(fit, x, labels, groups, penalties, folds, config.seed)
        chosen, chosen_by = penalties[int(np.argmin(errors))], f"{used} folds of left-out groups"
    model = fit(np.arange(len(x)), chosen)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes: the difference of their logits
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    arrays = dict(zip(("middle", "spread", "head.weight", "head.bias"), (middle, spread, weight, bias), strict=True))
    network.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()}, strict=False)
    path = [{"l2": penalty, "left_out_loss": error} for penalty, error in zip(penalties, errors, strict=False)]
    facts = {
        "features": x.shape[1],
        "l2": chosen,
        "chosen_by": chosen_by,
        "labels": {name: int(n) for name, n in zip(spec.classes, counts, strict=True)},
        "device": str(place),
        **({"base": spec.hyperparameters["base"]} if package else {}),
    }
    return Fitted(spec=spec, weights=state_arrays(network), history={"path": path}, facts=facts)


def _with_base(config: TrainConfig, train: Dataset) -> tuple[ModelPackage | None, TrainConfig]:
    """The package that ``base`` names, and the settings with a description of it; reflectance is fed as it is."""
    channels = len(train.bands)
    scaling = ScalingConfig(clip=config.scaling.clip, mean=(0.0,) * channels, std=(1.0,) * channels)
    named = config.hyperparameters.get("base")
    if named is not None and not isinstance(named, str):
        raise ModelError(
            f"{config.name}: base",
            got=named,
            expected="a built-in package or the folder of one",
            fix="--set hyperparameters.base=amw-patch-rgb, or --set hyperparameters.base=null for statistics alone",
        )
    package = load_package(named) if named else None
    about = described(package, pair_bands(train.bands)[0]) if package else None
    options = {**config.hyperparameters, "base": about}
    return package, dataclasses.replace(config, scaling=scaling, hyperparameters=options)


def _owing(spec: ModelSpec, base: ModelSpec) -> ModelSpec:
    """The specification with what comes from the base: where it may run, who made it, and who may pass it on.

    Raises
    ------
    ModelError
        where the base does not run at the resolution of the set.
    """
    low, high = base.resolutions
    if not low <= spec.resolution <= high:
        raise ModelError(
            f"{base.name} does not run at the set's resolution",
            got=f"{spec.resolution:g} m",
            expected=f"{low:g} to {high:g} m",
            fix="--set hyperparameters.base=PKG of that resolution, or --set hyperparameters.base=null",
        )
    owed = {"base": f"{base.name} {base.version}"}
    for key in ("attribution", "caveat"):
        if key in base.training:
            owed[f"base_{key}"] = str(base.training[key])
    return spec.replace(
        resolutions=(max(low, spec.resolutions[0]), min(high, spec.resolutions[1])),
        sensors=base.sensors,
        licence=joined_licence(spec.licence, base.licence),
        training={**spec.training, **owed},
    )


def joined_licence(one: str, other: str) -> str:
    """The licence of what is made of two things: what either may not, the whole may not."""
    for unclear in ("none", "other"):
        if unclear in {one, other}:
            return unclear
    terms = [[f"({text})"] if " OR " in text else text.split(" AND ") for text in (one, other)]
    return " AND ".join(dict.fromkeys(term for found in terms for term in found))


def _settings(options: dict[str, Any]) -> tuple[list[float], int]:
    given, folds = options["l2"], options["folds"]
    penalties = list(given) if isinstance(given, list | tuple) else [given]
    numbers = all(isinstance(p, int | float) and not isinstance(p, bool) and 0 < p <= MOST_L2 for p in penalties)
    if not penalties or not numbers or type(folds) is not int or not 2 <= folds <= 50:
        raise ModelError(
            "settings of a probe",
            got=f"l2 {given}, folds {folds}",
            expected=f"l2 one number above 0 up to {MOST_L2:g}, or several; folds 2 to 50",
            fix="--set hyperparameters.l2=0.3, or leave them out",
        )
    return [float(p) for p in penalties], folds


def _features(
    network: Probe, scaling: InputScaling, samples: Samples, place: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(sample, feature) and (sample,) labels."""
    rows, labels = [], []
    with torch.inference_mode():
        for batch in ValBatches(samples=samples, size=_AT_ONCE, stride=8, device=place, world=World()):
            rows.append(network.features(scaling(batch.images)).float().cpu().numpy())
            labels.append(batch.labels.cpu().numpy())
    return np.concatenate(rows).astype(np.float64), np.concatenate(labels)


def left_out_losses(
    fit: Callable[[NDArray[np.intp], float], Any],
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: NDArray[np.intp],
    penalties: list[float],
    folds: int,
    seed: int,
) -> tuple[list[float], int]:
    """Mean loss of each penalty on left-out groups, classes counting alike, and the number of folds.

    A fold that would leave a class out of the fit is passed over.

    Raises
    ------
    ModelError
        where nothing can be left out.
    """
    number = min(folds, len(np.unique(groups)))
    classes = int(labels.max()) + 1
    totals, counts, used = np.zeros((len(penalties), classes)), np.zeros(classes), 0
    if number > 1:
        split = sklearn("model_selection").StratifiedGroupKFold(number, shuffle=True, random_state=seed)
        for rows, others in split.split(x, labels, groups):
            if len(np.unique(labels[rows])) < classes:
                continue
            used += 1
            counts += np.bincount(labels[others], minlength=classes)
            for i, penalty in enumerate(penalties):
                scores = fit(rows, penalty).predict_proba(x[others])[np.arange(len(others)), labels[others]]
                totals[i] += np.bincount(labels[others], -np.log(np.maximum(scores, 1e-12)), classes)
    if not counts.all():
        raise ModelError(
            "no group of train can be left out to choose a penalty",
            got=f"{len(np.unique(groups))} groups, {used} folds with every class in both parts",
            expected="each class in two groups or more",
            fix="--set hyperparameters.l2=0.3, which leaves nothing to choose",
        )
    return [float(value) for value in (totals / counts).mean(axis=1)], used
