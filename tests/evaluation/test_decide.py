"""Thresholds and corrections against enumeration and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score, matthews_corrcoef

from minescale.errors import UsageError
from minescale.evaluation.decide import best_threshold, fit_calibration
from minescale.models.recalibration import recalibrate
from tests.evaluation.models import scored_chips, scored_maps


def draw(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    return np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1).astype(np.float32), truth


@pytest.mark.parametrize("seed", range(4))
def test_best_f1(seed: int) -> None:
    score, truth = draw(seed)
    found = best_threshold(scored_chips(score, truth))
    best = max(f1_score(truth, score >= t) for t in np.unique(score))
    assert f1_score(truth, score >= found) == pytest.approx(best)


def test_best_mcc_does_not_call_everything_where_most_is_mined() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(500) < 0.85
    score = np.clip(rng.normal(0.5 + 0.1 * truth, 0.15), 0, 1).astype(np.float32)
    scored = scored_chips(score, truth)
    found = best_threshold(scored, by="mcc")
    best = max(matthews_corrcoef(truth, score >= t) for t in np.unique(score))
    assert matthews_corrcoef(truth, score >= found) == pytest.approx(best)
    assert (score[~truth] < found).mean() > (score[~truth] < best_threshold(scored)).mean()


def test_best_f1_of_pixels_is_a_code() -> None:
    codes = np.array([[[0, 10, 60, 60], [61, 100, 255, 250]]])
    masks = np.array([[[0, 0, 0, 0], [1, 1, 1, 1]]])
    assert best_threshold(scored_maps(codes, masks)) == pytest.approx(61 / 250)


def test_threshold_keeps_specificity() -> None:
    score, truth = draw(1)
    found = best_threshold(scored_chips(score, truth), by="sensitivity", specificity=0.95)
    assert (score[~truth] < found).mean() >= 0.95
    lower = score[score < found].max()
    assert (score[~truth] < lower).mean() < 0.95


def test_a_specificity_that_no_threshold_keeps_is_refused() -> None:
    """A threshold of 1 still calls what scores 1."""
    codes, masks = np.array([[[0, 60, 250, 250, 250]]]), np.array([[[0, 0, 0, 0, 1]]])
    with pytest.raises(UsageError, match="no threshold keeps the specificity"):
        best_threshold(scored_maps(codes, masks), by="sensitivity", specificity=0.9)
    with pytest.raises(UsageError, match="no threshold keeps the specificity"):
        best_threshold(scored_chips(codes.ravel() / 250, masks.ravel()), by="sensitivity", specificity=0.9)
    below = np.minimum(codes, 249)
    assert best_threshold(scored_maps(below, masks), by="sensitivity", specificity=0.9) == 1.0
    assert best_threshold(scored_chips(below.ravel() / 250, masks.ravel()), by="sensitivity", specificity=0.9) == 1.0


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(true: float) -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(0, 2, 40_000)
    truth = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    score = (1 / (1 + np.exp(-odds * true))).astype(np.float32)
    made = fit_calibration(scored_chips(score, truth, ["a", "b"] * 20_000))
    assert made["temperature"] == pytest.approx(true, rel=0.05)


def test_isotonic_agrees_with_scikit_learn() -> None:
    score, truth = draw(2)
    made = fit_calibration(scored_chips(score, truth), "isotonic")
    theirs = IsotonicRegression(out_of_bounds="clip").fit(score.astype(float), truth)
    probe = np.linspace(0, 1, 201).astype(np.float32)
    np.testing.assert_allclose(recalibrate(probe, made), theirs.predict(probe.astype(float)), atol=1e-6)


def test_isotonic_of_separated_and_of_equal_scores() -> None:
    truth = np.array([0, 0, 1, 1])
    made = fit_calibration(scored_chips(np.array([0.1, 0.2, 0.7, 0.8]), truth), "isotonic")
    assert recalibrate(np.array([0.15, 0.75], np.float32), made).tolist() == [0, 1]
    made = fit_calibration(scored_chips(np.full(4, 0.3), truth), "isotonic")
    assert recalibrate(np.array([0.3], np.float32), made).tolist() == [0.5]


@pytest.mark.parametrize("truth", [np.zeros(4), np.ones(4)])
def test_one_class_is_refused(truth: np.ndarray) -> None:
    scored = scored_chips(np.linspace(0, 1, 4), truth)
    with pytest.raises(UsageError, match="both classes"):
        best_threshold(scored)
    with pytest.raises(UsageError, match="both classes"):
        fit_calibration(scored)


def test_unknown_rules_are_refused() -> None:
    scored = scored_chips(*draw())
    with pytest.raises(UsageError, match="rule"):
        best_threshold(scored, by="luck")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="method"):
        fit_calibration(scored, "luck")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="specificity"):
        best_threshold(scored, by="sensitivity", specificity=1.5)
