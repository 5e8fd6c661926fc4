"""LASSO, elastic net and logistic regression with their whole path; the chosen step becomes a ``pixel`` model."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.models.spec import ModelSpec
from minescale.training.fitted import Fitted
from minescale.training.tables.choice import CrossValidation, cross_validate
from minescale.training.tables.columns import bands_of
from minescale.training.tables.library import linear_model
from minescale.training.tables.path_files import write_path
from minescale.training.tables.paths import Loss, Path, errors_of, lambda_grid, path_of
from minescale.training.tables.ranking import auc, rank_combinations
from minescale.training.tables.scaling import Scaling
from minescale.training.tables.settings import Settings
from minescale.training.tables.table import PixelTable

_TOP = 20
"""Ranked combinations that the findings name; the file has all."""


def fit_linear(
    train: PixelTable, val: PixelTable, spec: ModelSpec, family: str, settings: Settings, seed: int, out: FilePath
) -> Fitted:
    """Fit the path on the training images, choose λ there by cross-validation, and write what it tells.

    A regression on the distance to an edge (``lasso``, ``elastic_net``) becomes a probability by a logistic curve of
    the predicted distance, fitted on the validation images, where the threshold is set too.

    Parameters
    ----------
    out : folder for the files of :mod:`minescale.training.tables.path_files`.

    Raises
    ------
    UsageError
        where a part lacks one side, or images are too few to choose λ.
    """
    train.require_both("training")
    val.require_both("validation")
    options = settings.options
    loss: Loss = "logistic" if family == "logistic" else "squared"
    l1_ratio = float(options.get("l1_ratio", 1.0))
    targets = [_target(table, loss) for table in (train, val)]
    scaling = Scaling.of(train.x)
    x, held_out = scaling(train.x), scaling(val.x)
    lambdas = lambda_grid(x, targets[0], steps=options["lambdas"], smallest=options["smallest"], l1_ratio=l1_ratio)
    path = path_of(loss, x, targets[0], lambdas, l1_ratio)
    crossed = cross_validate(
        loss,
        train.x,
        targets[0],
        train.inside,
        train.group,
        train.groups,
        lambdas,
        l1_ratio=l1_ratio,
        folds=options["folds"],
        seed=seed,
    )
    step, how = _chosen(crossed, errors_of(path, held_out, targets[1]), options["choice"])
    document = {
        **path.to_dict(train.features),
        "chosen": step,
        "chosen_by": how,
        "cross_validation": None if crossed is None else crossed.to_dict(),
        "train": _performance(path, x, targets[0], train.inside),
        "held_out": _performance(path, held_out, targets[1], val.inside),
    }
    ranked = rank_combinations(
        path,
        train.features,
        (x, train.inside),
        (held_out, val.inside, val.group),
        draws=options["bootstrap"],
        seed=seed,
    )
    write_path(out, document, ranked)
    slope, shift = (1.0, 0.0) if loss == "logistic" else distance_curve(path.predict(held_out)[step], val.inside)
    used = np.flatnonzero(path.weights[step])
    # A path may end where nothing has earned a weight; the model then is one number, and says so.
    kept = used if len(used) else np.array([0])
    names = tuple(train.features[i] for i in kept)
    return Fitted(
        spec=spec.replace(
            family="pixel", bands=bands_of(names, spec), hyperparameters={"features": list(names), "hidden": 0}
        ),
        weights={
            "mean": scaling.mean[kept],
            "std": scaling.std[kept],
            "weight": (slope * path.weights[step][kept]).astype(np.float32)[None],
            "bias": np.array([slope * path.intercepts[step] + shift], np.float32),
        },
        history=document,
        facts={
            "lambda": float(lambdas[step]),
            "lambda_chosen_by": how,
            "features_with_a_weight": len(used),
            "held_out_auc": document["held_out"]["auc"][step],
            "distance_to_probability": None if loss == "logistic" else {"slope_per_m": slope, "shift": shift},
            "combinations": [r.to_dict() for r in ranked[:_TOP]],
        },
    )


def distance_curve(distance: NDArray[np.float64], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope per metre and shift of ``p = 1 / (1 + exp(-(slope * distance + shift)))``, by maximum likelihood.

    Parameters
    ----------
    distance : (row,) predicted, metres.
    """
    spread = float(distance.std())
    if spread < 1e-9:
        share = float(inside.mean())
        return 0.0, float(np.log(share / (1 - share)))
    middle = float(distance.mean())
    model = linear_model().LogisticRegression(C=1e6, tol=1e-8, max_iter=1000)
    model.fit(((distance - middle) / spread)[:, None], inside)
    slope = float(model.coef_[0, 0]) / spread
    return slope, float(model.intercept_[0]) - slope * middle


def _target(table: PixelTable, loss: Loss) -> NDArray[Any]:
    if loss == "logistic":
        return table.inside
    if table.distance is None:
        raise UsageError("a regression on distances needs them", fix="sample_table(..., distances=True)")
    return table.distance


def _chosen(crossed: CrossValidation | None, held_out: NDArray[np.float64], rule: Any) -> tuple[int, str]:
    """Number of the step and how it was chosen. One training image cannot be cross-validated; the validation part
    then chooses, and is no test of the choice."""
    if crossed is None:
        return int(held_out.argmin()), "lowest error on the validation images: training images are too few for folds"
    return crossed.step(rule), f"cross-validation over {len(crossed.folds)} folds of images, rule {rule}"


def _performance(path: Path, x: NDArray[np.float32], y: NDArray[Any], inside: NDArray[np.bool_]) -> dict[str, Any]:
    sign = 1.0 if path.loss == "logistic" else -1.0
    return {
        "error": errors_of(path, x, y).tolist(),
        "auc": [auc(sign * score, inside) for score in path.predict(x)],
    }
