"""Random forest and gradient boosting by scikit-learn, taken apart into the arrays of :mod:`minescale.models.trees`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.models.spec import ModelSpec
from minescale.training.fitted import Fitted
from minescale.training.tables.library import sklearn
from minescale.training.tables.scaling import Scaling
from minescale.training.tables.settings import Settings
from minescale.training.tables.table import PixelTable

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree as scikit-learn numbers it: left and right child, -1 at leaves."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]


def fit_trees(
    train: PixelTable, val: PixelTable, spec: ModelSpec, family: str, settings: Settings, seed: int
) -> Fitted:
    """Grow trees on the training images; values that features lack (0/0) count as their mean.

    Raises
    ------
    UsageError
        where a part lacks one side.
    """
    train.require_both("training")
    val.require_both("validation")
    fill = Scaling.of(train.x).mean
    x, held_out = (filled(table.x, fill) for table in (train, val))
    model = grown(family, x, train.inside, settings.options, seed)
    forest = family == "forest"
    weights = {**arrays_of(forest_trees(model) if forest else boosted_trees(model)), "fill": fill}
    weights["base"] = np.array([0.0 if forest else baseline(model)], np.float32)
    losses = {
        part: float(sklearn("metrics").log_loss(table.inside, model.predict_proba(rows), labels=[False, True]))
        for part, table, rows in (("train", train, x), ("held_out", val, held_out))
    }
    facts: dict[str, Any] = {"nodes": len(weights["left"]), "log_loss": losses}
    if forest:
        order = np.argsort(-model.feature_importances_)[:_MOST_NAMED]
        facts["impurity_importance"] = {train.features[i]: float(model.feature_importances_[i]) for i in order}
    options = {
        "features": list(train.features),
        "combine": "mean" if forest else "logistic",
        "trees": len(weights["start"]),
    }
    return Fitted(
        spec=spec.replace(family="trees", hyperparameters=options),
        weights=weights,
        history={"trees": len(weights["start"]), "log_loss": losses},
        facts=facts,
    )


def filled(x: NDArray[np.float32], fill: NDArray[np.float32]) -> NDArray[np.float32]:
    """(row, feature) with ``fill`` in place of NaN."""
    return np.where(np.isnan(x), fill, x)


def grown(family: str, x: NDArray[np.float32], inside: NDArray[np.bool_], options: Mapping[str, Any], seed: int) -> Any:
    """The fitted classifier: of bootstrap samples of pixels, or by histogram gradient boosting."""
    ensemble = sklearn("ensemble")
    common = {"random_state": seed, "max_depth": options["depth"], "min_samples_leaf": options["min_leaf"]}
    if family == "forest":
        model = ensemble.RandomForestClassifier(n_estimators=options["trees"], n_jobs=1, **common)
    else:
        # Its own early stopping would hold out single pixels of images it trains on.
        model = ensemble.HistGradientBoostingClassifier(
            max_iter=options["trees"], learning_rate=options["learning_rate"], early_stopping=False, **common
        )
    return model.fit(x, inside)


def forest_trees(model: Any) -> list[Tree]:
    """Trees of a fitted random forest; a leaf's value is the share of the class True."""
    trees = []
    for estimator in model.estimators_:
        tree = estimator.tree_
        counts = tree.value[:, 0, :]
        trees.append(
            Tree(
                tree.feature,
                tree.threshold,
                tree.children_left,
                tree.children_right,
                counts[:, 1] / counts.sum(axis=1),
            )
        )
    return trees


def boosted_trees(model: Any) -> list[Tree]:
    """Trees of a fitted histogram gradient boosting of two classes; a leaf's value is its part of the log-odds.

    Raises
    ------
    ModelError
        where the installed scikit-learn keeps its trees in another way.
    """
    trees = []
    try:
        for (predictor,) in model._predictors:
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            if nodes["is_categorical"].any():
                raise ModelError("boosted trees split by categories", expected="numbers")
            left, right = (np.where(leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right"))
            trees.append(
                Tree(nodes["feature_idx"].astype(np.int64), nodes["num_threshold"], left, right, nodes["value"])
            )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise _other_layout(error) from error
    return trees


def baseline(model: Any) -> float:
    """Log-odds that boosting starts from."""
    try:
        return float(np.asarray(model._baseline_prediction).reshape(-1)[0])
    except (AttributeError, IndexError, ValueError) as error:
        raise _other_layout(error) from error


def arrays_of(trees: Sequence[Tree]) -> dict[str, NDArray[Any]]:
    """Trees one after the other, each renumbered breadth first, so that a right child follows its left one.

    Thresholds become the next float32 below: for features, which are float32, that is the same question exactly.
    """
    parts: dict[str, list[NDArray[Any]]] = {"feature": [], "threshold": [], "left": [], "value": []}
    starts, first = [], 0
    for tree in trees:
        order, children = _breadth_first(tree)
        leaf = tree.left[order] < 0
        parts["feature"].append(np.where(leaf, 0, tree.feature[order]).astype(np.int32))
        parts["threshold"].append(np.where(leaf, np.float32(np.inf), _below(tree.threshold[order])))
        parts["left"].append(np.where(leaf, np.arange(len(order)), children).astype(np.int32) + np.int32(first))
        parts["value"].append(tree.value[order].astype(np.float32))
        starts.append(first)
        first += len(order)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    joined["threshold"] = joined["threshold"].astype(np.float32)
    return {**joined, "start": np.array(starts, np.int32)}


def _breadth_first(tree: Tree) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Old numbers in the new order, and the new number of each one's left child (-1 at leaves)."""
    order, children = [0], []
    k = 0
    while k < len(order):
        old = order[k]
        if tree.left[old] >= 0:
            children.append(len(order))
            order += [int(tree.left[old]), int(tree.right[old])]
        else:
            children.append(-1)
        k += 1
    return np.array(order, np.int64), np.array(children, np.int64)


def _below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded.astype(np.float64) > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _other_layout(error: Exception) -> ModelError:
    return ModelError(
        "trees of the installed scikit-learn are kept in an unknown way",
        got=error,
        fix="family forest, or another version",
    )
