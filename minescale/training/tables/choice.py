"""Which λ of a path: cross-validation over whole images, the lowest error and the one-standard-error rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from minescale.training.tables.paths import Loss, errors_of, path_of
from minescale.training.tables.scaling import Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """Held-out error along λ."""

    lambdas: NDArray[np.float64]
    mean: NDArray[np.float64]
    """(step,) over folds: squared error or deviance."""
    error: NDArray[np.float64]
    """(step,) its standard error over folds."""
    folds: tuple[tuple[str, ...], ...]
    """Groups that were left out together."""

    def step(self, rule: Literal["min", "1se"]) -> int:
        """Number of the chosen λ: the lowest error, or the largest λ within one standard error of it."""
        best = int(self.mean.argmin())
        if rule == "min":
            return best
        return int(np.flatnonzero(self.mean <= self.mean[best] + self.error[best])[0])

    def to_dict(self) -> dict[str, Any]:
        return {
            "mean": self.mean.tolist(),
            "standard_error": self.error.tolist(),
            "folds": [list(fold) for fold in self.folds],
            "lambda_min": float(self.lambdas[self.step("min")]),
            "lambda_1se": float(self.lambdas[self.step("1se")]),
        }


def group_folds(group: NDArray[np.int64], y: NDArray[Any], folds: int, seed: int) -> list[NDArray[np.int64]]:
    """Groups by fold, each group in one; the groups with most of the target are dealt out first, to the fold that has
    least of it, ties by chance of the seed. Fewer folds than asked for where there are fewer groups.
    """
    names, place = np.unique(group, return_inverse=True)
    weight = np.bincount(place, np.asarray(y, np.float64))
    size = np.bincount(place)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-weight[order], kind="stable")]
    dealt: list[list[int]] = [[] for _ in range(min(folds, len(names)))]
    held = np.zeros((len(dealt), 2))
    for i in order:
        fold = min(range(len(dealt)), key=lambda k: (held[k, 0], held[k, 1]))
        dealt[fold].append(int(names[i]))
        held[fold] += weight[i], size[i]
    return [np.array(sorted(fold), np.int64) for fold in dealt]


def cross_validate(
    loss: Loss,
    x: NDArray[np.float32],
    y: NDArray[Any],
    inside: NDArray[np.bool_],
    group: NDArray[np.int64],
    groups: tuple[str, ...],
    lambdas: NDArray[np.float64],
    *,
    l1_ratio: float,
    folds: int,
    seed: int,
) -> CrossValidation | None:
    """Fit the path without each fold, scaled anew, and judge it there.

    Parameters
    ----------
    x : (row, feature), not scaled.
    y : (row,) target as the loss takes it.
    inside : (row,) sides, which folds share evenly.

    Returns
    -------
    None where there are not two folds, or a fold without which one side is missing.
    """
    errors, left_out = [], []
    for members in group_folds(group, inside, folds, seed):
        held = np.isin(group, members)
        rest = inside[~held]
        if held.all() or not 0 < int(rest.sum()) < len(rest):
            continue
        scaling = Scaling.of(x[~held])
        path = path_of(loss, scaling(x[~held]), y[~held], lambdas, l1_ratio)
        errors.append(errors_of(path, scaling(x[held]), y[held]))
        left_out.append(tuple(groups[m] for m in members))
    if len(errors) < 2:
        return None
    table = np.array(errors)
    return CrossValidation(
        lambdas=lambdas,
        mean=table.mean(axis=0),
        error=table.std(axis=0, ddof=1) / np.sqrt(len(table)),
        folds=tuple(left_out),
    )
