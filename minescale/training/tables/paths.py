"""Regularisation paths of linear models: every weight as a function of the penalty λ.

λ stands in the objective, never in the prediction:

- squared loss: ``min |y - b - X w|² / 2n + λ (r |w|₁ + (1 - r) |w|² / 2)`` (Tibshirani 1996,
  doi:10.1111/j.2517-6161.1996.tb02080.x; Zou and Hastie 2005, doi:10.1111/j.1467-9868.2005.00503.x);
- logistic loss: the mean of ``log(1 + exp(-s (b + X w)))``, s = ±1, in place of the first term.

X is standardised, the intercept b is not penalised, n is the number of rows and r the share of the L1 norm (1: LASSO).
Logistic paths are solved by quadratic approximations (Friedman, Hastie and Tibshirani 2010, doi:10.18637/jss.v033.i01),
each of them, like squared paths, by scikit-learn's coordinate descent.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.training.tables.library import linear_model

Loss = Literal["squared", "logistic"]
_TOLERANCE = 1e-9
_STEPS = 20_000
_NEWTON = 100
_CHANGE = 1e-7
_KEPT = 8
"""Steps that one curvature serves."""
_FLOOR = 1e-6
"""Least weight of a row in a quadratic approximation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Weights of standardised features along λ, largest λ first."""

    loss: Loss
    l1_ratio: float
    lambdas: NDArray[np.float64]
    """(step,)"""
    weights: NDArray[np.float64]
    """(step, feature)"""
    intercepts: NDArray[np.float64]
    """(step,)"""

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """``b + X w`` of every step, (step, row): the target itself, or for the logistic loss its log-odds."""
        found: NDArray[np.float64] = self.weights @ x.T.astype(np.float64) + self.intercepts[:, None]
        return found

    def non_zero(self) -> NDArray[np.int64]:
        """Number of features with a weight, by step."""
        return np.count_nonzero(self.weights, axis=1)

    def entry(self) -> NDArray[np.int64]:
        """The first step, counted from the largest λ, at which each feature has a weight; -1 where it never has."""
        used = self.weights != 0
        return np.where(used.any(axis=0), used.argmax(axis=0), -1)

    def to_dict(self, features: tuple[str, ...]) -> dict[str, Any]:
        """JSON values; features that leave again after they entered are why the number of them may fall."""
        counts = self.non_zero()
        order = sorted((int(step), i) for i, step in enumerate(self.entry()) if step >= 0)
        return {
            "loss": self.loss,
            "l1_ratio": self.l1_ratio,
            "lambda": self.lambdas.tolist(),
            "intercept": self.intercepts.tolist(),
            "weights": {name: self.weights[:, i].tolist() for i, name in enumerate(features)},
            "non_zero": counts.tolist(),
            "non_zero_is_monotone": bool((np.diff(counts) >= 0).all()),
            "order_of_entry": [{"feature": features[i], "lambda": float(self.lambdas[s])} for s, i in order],
        }


def lambda_grid(
    x: NDArray[np.float32], y: NDArray[Any], *, steps: int, smallest: float, l1_ratio: float = 1.0
) -> NDArray[np.float64]:
    """Falling λ, evenly on a logarithmic scale, from the smallest at which every weight is zero.

    That is ``max |Xᵀ (y - mean y)| / (n r)`` for both losses, X with columns of mean zero.

    Parameters
    ----------
    x : (row, feature) scaled.
    y : (row,) target; 0 and 1 for the logistic loss.
    smallest : the last λ as a share of the first.

    Raises
    ------
    UsageError
        where no feature goes with the target at all.
    """
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    target = np.asarray(y, np.float64)
    largest = float(np.abs(centred.T @ (target - target.mean())).max()) / (len(x) * l1_ratio)
    if not largest > 0:
        raise UsageError("no feature goes with the target: there is no path", expected="a target that varies")
    # A hair more, so that rounding leaves no weight at the first step.
    return largest * (1 + 1e-9) * np.geomspace(1, smallest, steps)


def squared_path(x: NDArray[np.float32], y: NDArray[Any], lambdas: NDArray[np.float64], l1_ratio: float = 1.0) -> Path:
    """The LASSO or elastic-net path of a regression; parameters as :func:`lambda_grid`, λ falling."""
    rows = x.astype(np.float64)
    target = np.asarray(y, np.float64)
    middle, mean = rows.mean(axis=0), float(target.mean())
    rows -= middle
    target = target - mean
    weights = _solve(rows, target, rows.T @ rows, lambdas, l1_ratio, None)
    return Path(
        loss="squared",
        l1_ratio=l1_ratio,
        lambdas=np.asarray(lambdas, np.float64),
        weights=weights,
        intercepts=mean - weights @ middle,
    )


def logistic_path(
    x: NDArray[np.float32], inside: NDArray[np.bool_], lambdas: NDArray[np.float64], l1_ratio: float = 1.0
) -> Path:
    """The L1 or elastic-net path of a logistic regression; parameters as :func:`lambda_grid`, λ falling.

    Raises
    ------
    UsageError
        where all rows are of one side.
    """
    rows, target = x.astype(np.float64), inside.astype(np.float64)
    share = float(target.mean())
    if not 0 < share < 1:
        raise UsageError("a logistic path needs rows of both sides", got=f"{share:.0%} inside")
    weights, bias = np.zeros(rows.shape[1]), float(np.log(share / (1 - share)))
    steps = []
    for penalty in lambdas:
        weights, bias = _newton(rows, target, float(penalty), l1_ratio, weights, bias)
        steps.append((weights, bias))
    return Path(
        loss="logistic",
        l1_ratio=l1_ratio,
        lambdas=np.asarray(lambdas, np.float64),
        weights=np.array([w for w, _ in steps]),
        intercepts=np.array([b for _, b in steps]),
    )


def path_of(loss: Loss, x: NDArray[np.float32], y: NDArray[Any], lambdas: NDArray[np.float64], l1_ratio: float) -> Path:
    """The path of either loss; ``y`` as the loss takes it."""
    if loss == "squared":
        return squared_path(x, y, lambdas, l1_ratio)
    return logistic_path(x, np.asarray(y) > 0.5, lambdas, l1_ratio)


def errors_of(path: Path, x: NDArray[np.float32], y: NDArray[Any]) -> NDArray[np.float64]:
    """Mean loss by step, (step,): the squared error, or twice the negative log-likelihood (the deviance)."""
    predicted, target = path.predict(x), np.asarray(y, np.float64)
    if path.loss == "squared":
        return ((predicted - target) ** 2).mean(axis=1)
    return 2 * (np.logaddexp(0, predicted) - target * predicted).mean(axis=1)


def _newton(
    rows: NDArray[np.float64],
    target: NDArray[np.float64],
    penalty: float,
    l1_ratio: float,
    weights: NDArray[np.float64],
    bias: float,
) -> tuple[NDArray[np.float64], float]:
    """The minimum for one λ from a start nearby.

    The curvature is that of the start while whole steps lower the objective: the gradient is exact all the same, so
    that the minimum is, and products of all columns with one another, which cost most, are made about once for each λ.
    """
    cost = _objective(rows @ weights + bias, target, weights, penalty, l1_ratio)
    fresh = True
    for turn in range(1, _NEWTON + 1):
        odds = rows @ weights + bias
        p = 1 / (1 + np.exp(-odds))
        if fresh:
            curvature = np.maximum(p * (1 - p), _FLOOR)
            total = curvature.sum()
            middle = curvature @ rows / total
            root = np.sqrt(curvature)
            centred = np.asfortranarray((rows - middle) * root[:, None])
            gram = centred.T @ centred
        response = odds + (target - p) / curvature
        mean = float(curvature @ response / total)
        fitted = _solve(centred, (response - mean) * root, gram, np.array([penalty]), l1_ratio, weights)[0]
        step, shift = fitted - weights, mean - float(middle @ fitted) - bias
        size = 1.0
        while size > 1e-6:
            tried, moved = weights + size * step, bias + size * shift
            # The whole step lands on exact zeros; part of one keeps the old signs, which the next step clears.
            reached = _objective(rows @ tried + moved, target, tried, penalty, l1_ratio)
            if reached <= cost + 1e-15:
                break
            size /= 2
        else:
            if fresh:
                return weights, bias
            fresh = True
            continue
        change = max(float(np.abs(tried - weights).max(initial=0)), abs(moved - bias))
        weights, bias, cost = (fitted if size == 1 else tried), moved, reached
        if change < _CHANGE:
            break
        fresh = size < 1 or turn % _KEPT == 0
    return weights, bias


def _objective(
    odds: NDArray[np.float64],
    target: NDArray[np.float64],
    weights: NDArray[np.float64],
    penalty: float,
    l1_ratio: float,
) -> float:
    loss = float((np.logaddexp(0, odds) - target * odds).mean())
    return loss + penalty * (l1_ratio * float(np.abs(weights).sum()) + (1 - l1_ratio) * float(weights @ weights) / 2)


def _solve(
    rows: NDArray[np.float64],
    target: NDArray[np.float64],
    gram: NDArray[np.float64],
    lambdas: NDArray[np.float64],
    l1_ratio: float,
    start: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Weights (step, feature) of centred rows and target."""
    options: Mapping[str, Any] = {"tol": _TOLERANCE, "max_iter": _STEPS}
    with warnings.catch_warnings():
        # Columns that are nearly sums of others converge slowly at the smallest λ; their sum has long been found.
        warnings.filterwarnings("ignore", message="Objective did not converge")
        _, weights, _ = linear_model().enet_path(
            np.asfortranarray(rows),
            target,
            l1_ratio=l1_ratio,
            alphas=np.asarray(lambdas, np.float64),
            precompute=gram,
            Xy=rows.T @ target,
            coef_init=None if start is None else start.copy(),  # it is written to
            **options,
        )
    found: NDArray[np.float64] = weights.T
    return found
