"""Regularisation paths: against independent solutions, the conditions of the optimum, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from minescale.errors import UsageError
from minescale.training.tables.choice import cross_validate, group_folds
from minescale.training.tables.paths import errors_of, lambda_grid, logistic_path, squared_path
from minescale.training.tables.ranking import auc, auc_interval, rank_combinations
from minescale.training.tables.scaling import Scaling

pytest.importorskip("sklearn", reason="paths are solved by scikit-learn (extra train)")


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x (400, 12) scaled and correlated, a distance, a side, a group."""
    random = np.random.default_rng(5)
    base = random.normal(size=(400, 4))
    x = np.hstack([base, base @ random.normal(size=(4, 8)) + random.normal(0, 0.7, (400, 8))]).astype(np.float32)
    x = Scaling.of(x)(x)
    distance = (40 * x[:, 0] - 25 * x[:, 5] + 10 * x[:, 9] + random.normal(0, 20, 400) + 60).astype(np.float32)
    inside = random.uniform(size=400) < 1 / (1 + np.exp(distance / 25 - 2))
    return x, distance, inside, np.repeat(np.arange(8), 50)


def descend(x: np.ndarray, y: np.ndarray, penalty: float, l1_ratio: float) -> tuple[np.ndarray, float]:
    """Coordinate descent written from the objective, one coordinate after the other."""
    x, y = x.astype(float), y.astype(float)
    n, k = x.shape
    w, b = np.zeros(k), y.mean()
    for _ in range(4000):
        before = w.copy()
        b = (y - x @ w).mean()
        for j in range(k):
            rest = y - b - x @ w + x[:, j] * w[j]
            rho = x[:, j] @ rest / n
            w[j] = np.sign(rho) * max(abs(rho) - penalty * l1_ratio, 0)
            w[j] /= (x[:, j] ** 2).mean() + penalty * (1 - l1_ratio)
        if np.abs(w - before).max() < 1e-11:
            break
    return w, b


@pytest.mark.parametrize("l1_ratio", [1.0, 0.4])
def test_squared_path_is_the_independent_solution(table, l1_ratio: float) -> None:
    x, y, _, _ = table
    lambdas = lambda_grid(x, y, steps=12, smallest=1e-3, l1_ratio=l1_ratio)
    path = squared_path(x, y, lambdas, l1_ratio)
    for step in (0, 3, 7, 11):
        weights, bias = descend(x, y, lambdas[step], l1_ratio)
        np.testing.assert_allclose(path.weights[step], weights, atol=1e-4)
        assert path.intercepts[step] == pytest.approx(bias, abs=1e-4)


def test_lasso_path_is_scikit_learns(table) -> None:
    """F11: the penalty is in the objective, not in the prediction."""
    from sklearn.linear_model import Lasso, lasso_path

    x, y, _, _ = table
    lambdas = lambda_grid(x, y, steps=40, smallest=1e-3)
    path = squared_path(x, y, lambdas)
    centred = x.astype(float) - x.mean(axis=0, dtype=float)
    alphas, theirs, _ = lasso_path(centred, y.astype(float) - y.mean(dtype=float), alphas=lambdas, tol=1e-10)
    np.testing.assert_allclose(alphas, path.lambdas)
    np.testing.assert_allclose(path.weights, theirs.T, atol=1e-4)
    single = Lasso(alpha=float(lambdas[20]), tol=1e-10, max_iter=100_000).fit(x.astype(float), y.astype(float))
    assert path.intercepts[20] == pytest.approx(single.intercept_, abs=1e-4)


def test_lambda_max_is_the_smallest_without_weights(table) -> None:
    x, y, inside, _ = table
    for target, fit in ((y, squared_path), (inside, logistic_path)):
        grid = lambda_grid(x, target, steps=30, smallest=1e-3)
        path = fit(x, target, grid)
        assert path.non_zero()[0] == 0
        assert fit(x, target, grid[:1] * 0.98).non_zero()[0] == 1
        assert (path.entry()[path.weights[-1] != 0] >= 1).all()


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_logistic_path_meets_the_conditions_of_the_optimum(table, l1_ratio: float) -> None:
    x, _, inside, _ = table
    lambdas = lambda_grid(x, inside, steps=15, smallest=1e-3, l1_ratio=l1_ratio)
    path = logistic_path(x, inside, lambdas, l1_ratio)
    p = 1 / (1 + np.exp(-path.predict(x)))
    for step, penalty in enumerate(lambdas):
        weights = path.weights[step]
        gradient = x.T.astype(float) @ (p[step] - inside) / len(x) + penalty * (1 - l1_ratio) * weights
        limit = penalty * l1_ratio
        used = weights != 0
        np.testing.assert_allclose(gradient[used], -limit * np.sign(weights[used]), atol=2e-6)
        assert (np.abs(gradient[~used]) <= limit + 2e-6).all()
        assert abs((p[step] - inside).mean()) < 1e-6


def test_logistic_path_is_scikit_learns(table) -> None:
    from sklearn.linear_model import LogisticRegression

    x, _, inside, _ = table
    lambdas = lambda_grid(x, inside, steps=6, smallest=1e-2)
    path = logistic_path(x, inside, lambdas)
    for step in (2, 5):
        theirs = LogisticRegression(
            C=1 / (len(x) * lambdas[step]), l1_ratio=1.0, solver="saga", tol=1e-8, max_iter=50_000, random_state=0
        ).fit(x.astype(float), inside)
        np.testing.assert_allclose(path.weights[step], theirs.coef_[0], atol=2e-4)
        assert path.intercepts[step] == pytest.approx(theirs.intercept_[0], abs=2e-4)


def test_order_of_entry_and_counts_are_reported(table) -> None:
    x, y, _, _ = table
    path = squared_path(x, y, lambda_grid(x, y, steps=30, smallest=1e-3))
    names = tuple(f"f{i}" for i in range(x.shape[1]))
    found = path.to_dict(names)
    first = found["order_of_entry"][0]
    strongest = int(np.abs(x.T @ (y - y.mean())).argmax())
    assert first["feature"] == names[strongest]
    lambdas = [entry["lambda"] for entry in found["order_of_entry"]]
    assert lambdas == sorted(lambdas, reverse=True)
    assert found["non_zero_is_monotone"] == bool((np.diff(found["non_zero"]) >= 0).all())


def test_a_constant_target_has_no_path(table) -> None:
    x, _, _, _ = table
    with pytest.raises(UsageError, match="no feature goes with the target"):
        lambda_grid(x, np.ones(len(x)), steps=5, smallest=0.1)
    with pytest.raises(UsageError, match="both sides"):
        logistic_path(x, np.zeros(len(x), bool), np.array([0.1]))


def test_folds_never_part_a_group(table) -> None:
    _, _, inside, group = table
    folds = group_folds(group, inside, 3, seed=1)
    assert sorted(np.concatenate(folds).tolist()) == list(range(8))
    assert {len(f) for f in folds} <= {2, 3, 4}
    assert len(group_folds(group, inside, 20, seed=1)) == 8
    hits = [inside[np.isin(group, f)].sum() for f in folds]
    assert max(hits) - min(hits) <= np.bincount(group[inside]).max()


def test_cross_validation_is_by_hand_and_one_standard_error_is_simpler(table) -> None:
    x, y, inside, group = table
    lambdas = lambda_grid(x, y, steps=25, smallest=1e-3)
    groups = tuple(f"g{i}" for i in range(8))
    found = cross_validate("squared", x, y, inside, group, groups, lambdas, l1_ratio=1.0, folds=4, seed=0)
    assert found is not None
    by_hand = []
    for fold in found.folds:
        held = np.isin(group, [groups.index(name) for name in fold])
        scaling = Scaling.of(x[~held])
        path = squared_path(scaling(x[~held]), y[~held], lambdas)
        by_hand.append(errors_of(path, scaling(x[held]), y[held]))
    np.testing.assert_allclose(found.mean, np.mean(by_hand, axis=0))
    np.testing.assert_allclose(found.error, np.std(by_hand, axis=0, ddof=1) / 2)
    best, simple = found.step("min"), found.step("1se")
    assert simple <= best
    assert found.mean[simple] <= found.mean[best] + found.error[best]
    assert simple == 0 or found.mean[simple - 1] > found.mean[best] + found.error[best]


def test_one_image_cannot_be_cross_validated(table) -> None:
    x, y, inside, _ = table
    group = np.zeros(len(x), np.int64)
    lambdas = lambda_grid(x, y, steps=5, smallest=0.1)
    assert cross_validate("squared", x, y, inside, group, ("a",), lambdas, l1_ratio=1, folds=3, seed=0) is None


def test_areas_and_their_intervals(table) -> None:
    from sklearn.metrics import roc_auc_score

    x, _, inside, group = table
    score = np.round(x[:, 0], 1)
    assert auc(score, inside) == pytest.approx(roc_auc_score(inside, score))
    found = auc_interval(score, inside, group, draws=300, seed=1)
    assert found is not None
    low, high = found
    assert low < auc(score, inside) < high
    random = np.random.default_rng(1)
    draws = []
    for _ in range(300):
        rows = np.concatenate([np.flatnonzero(group == g) for g in random.integers(0, 8, 8)])
        draws.append(roc_auc_score(inside[rows], score[rows]))
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02)
    assert auc_interval(score, inside, np.zeros(len(x), int), draws=50, seed=1) is None


def test_combinations_are_ranked_by_what_was_held_out(table) -> None:
    x, y, inside, group = table
    train, held = group < 5, group >= 5
    path = squared_path(x[train], y[train], lambda_grid(x[train], y[train], steps=20, smallest=1e-2))
    names = tuple(f"f{i}" for i in range(x.shape[1]))
    ranked = rank_combinations(
        path, names, (x[train], inside[train]), (x[held], inside[held], group[held]), draws=50, seed=0
    )
    areas = [r.auc for r in ranked]
    assert areas == sorted(areas, reverse=True)
    assert sum(r.kind == "single" for r in ranked) == len(names)
    assert len({r.features for r in ranked if r.kind == "path"}) == sum(r.kind == "path" for r in ranked)
    best = next(r for r in ranked if r.features == ("f0",) and r.kind == "single")
    sign = 1 if auc(x[train][:, 0], inside[train]) >= 0.5 else -1
    assert best.auc == pytest.approx(auc(sign * x[held][:, 0], inside[held]))
    assert all(r.low is not None and r.low <= r.high for r in ranked)
