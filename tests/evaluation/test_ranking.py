"""Ranking figures against scikit-learn, by enumeration, and on resamples at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    jaccard_score,
    matthews_corrcoef,
    roc_auc_score,
)

from minescale.evaluation.figures import bootstrap, curves, draws_by_site, headline, plain
from minescale.evaluation.tally import tally
from minescale.kernels.ranking import ratios, sensitivity_at
from tests.evaluation.models import scored_chips


def draw(seed: int, n: int = 300, steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    score = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    return np.round(score * steps) / steps, truth


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", [3, 40, 10**6])
def test_agrees_with_scikit_learn(seed: int, steps: int) -> None:
    score, truth = draw(seed, steps=steps)
    score = score.astype(np.float32)
    counted = tally(scored_chips(score, truth))
    found = headline(counted.levels, *counted.totals(), counted.level(0.5))
    called = score >= 0.5
    assert found["auc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert found["auprc"] == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    assert found["brier"] == pytest.approx(brier_score_loss(truth, score.astype(float)), abs=1e-12)
    assert found["f1"] == pytest.approx(f1_score(truth, called))
    assert found["iou"] == pytest.approx(jaccard_score(truth, called))
    assert found["mcc"] == pytest.approx(matthews_corrcoef(truth, called))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, called))


@given(seed=st.integers(0, 10**6), specificity=st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.98, 1.0]))
@settings(deadline=None, max_examples=60)
def test_sensitivity_at_specificity_by_enumeration(seed: int, specificity: float) -> None:
    score, truth = draw(seed, n=60, steps=12)
    if truth.all() or not truth.any():
        return
    levels, place = np.unique(score, return_inverse=True)
    pos, neg = np.bincount(place, truth), np.bincount(place, ~truth)
    best = max((score[truth] >= t).mean() for t in [*levels, 2.0] if (score[~truth] < t).mean() >= specificity - 1e-12)
    assert sensitivity_at(pos, neg, specificity) == pytest.approx(best)


@given(counts=st.tuples(*[st.integers(0, 10**9)] * 4))
@settings(deadline=None)
def test_identities(counts: tuple[int, int, int, int]) -> None:
    found = ratios(*counts)
    if np.isfinite(found["f1"]):
        assert found["iou"] == pytest.approx(found["f1"] / (2 - found["f1"]))
    for name, value in found.items():
        if np.isfinite(value):
            assert (-1 if name == "mcc" else 0) - 1e-9 <= value <= 1 + 1e-9
    if sum(counts) and counts[0] + counts[2] and counts[1] + counts[3]:
        p = (counts[0] + counts[2]) / sum(counts)
        assert found["accuracy"] == pytest.approx(found["recall"] * p + found["specificity"] * (1 - p))


def test_one_class_is_nan() -> None:
    found = headline(np.array([0.2, 0.8]), np.array([3.0, 4.0]), np.zeros(2), 1)
    assert all(np.isnan(found[name]) for name in ("auc", "auprc", "specificity", "f1", "mcc"))
    assert found["recall"] == pytest.approx(4 / 7)
    assert found["prevalence"] == 1


def test_curves_span_everything_and_their_area_is_auc() -> None:
    score, truth = draw(3, n=3000, steps=10**6)
    counted = tally(scored_chips(score, truth))
    found = curves(counted.levels, *counted.totals())
    x, y = (np.array([p[k] for p in found["roc"]]) for k in ("false_positive_rate", "sensitivity"))
    assert len(x) <= 202
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(truth, score), abs=3e-3)


def test_a_resample_is_the_set_with_its_sites_repeated() -> None:
    score, truth = draw(1, n=40, steps=9)
    sites = [f"site{k % 7}" for k in range(40)]
    counted = tally(scored_chips(score, truth, sites))
    draws = draws_by_site(counted.samples["site"], 30, seed=4)
    assert draws is not None
    pos, neg = counted.weighted(draws)
    for k in range(30):
        times = draws[k].astype(int)
        assert len({(sites[i], times[i]) for i in range(40)}) == 7  # a site counts as a whole
        again, true = np.repeat(score, times), np.repeat(truth, times)
        if 0 < true.sum() < len(true):
            found = headline(counted.levels, pos[k], neg[k], 0)
            assert found["auc"] == pytest.approx(roc_auc_score(true, again))


def test_intervals_hold_the_estimate_and_narrow_with_sites() -> None:
    widths = []
    for n in (40, 4000):
        score, truth = draw(2, n=n)
        counted = tally(scored_chips(score, truth))
        draws = draws_by_site(counted.samples["site"], 200, seed=0)
        assert draws is not None
        interval = bootstrap(counted, 0.5, draws)["auc"]
        assert interval is not None
        assert interval[0] < roc_auc_score(truth, score) < interval[1]
        widths.append(interval[1] - interval[0])
    assert widths[1] < widths[0] / 5


def test_no_interval_of_one_site() -> None:
    score, truth = draw(2, n=20)
    counted = tally(scored_chips(score, truth, ["here"] * 20))
    assert draws_by_site(counted.samples["site"], 200, seed=0) is None


def test_figures_become_json_at_any_depth() -> None:
    values = {"a": [np.float64("nan"), (1, float("inf"))], "b": {"c": np.float32(0.5), 3: np.int64(2)}}
    assert plain(values) == {"a": [None, [1, None]], "b": {"c": 0.5, "3": 2}}
