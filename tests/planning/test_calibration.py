"""Conformal risk control: the bound, its edges, and that it holds on fresh draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.planning.calibration import conformal_threshold, control_risk


def test_99_tiles_allow_no_miss_at_recall_99() -> None:
    scores = np.linspace(0.3, 0.9, 99)
    result = conformal_threshold(scores, 0.01)
    assert result.threshold == pytest.approx(0.3)
    assert result.empirical_miss == 0
    assert result.bound == pytest.approx(0.01)


def test_199_tiles_allow_one() -> None:
    scores = np.arange(199) / 200
    result = conformal_threshold(scores, 0.01)
    assert result.threshold == pytest.approx(1 / 200)
    assert result.empirical_miss == pytest.approx(1 / 199)
    assert result.bound == pytest.approx(0.01)


def test_too_few_tiles_is_refused_with_the_number_needed() -> None:
    with pytest.raises(UsageError, match="at least 99"):
        conformal_threshold(np.ones(98), 0.01)
    # Tiles without mines do not count.
    with pytest.raises(UsageError, match="got: 50"):
        conformal_threshold(np.ones(200), 0.01, np.r_[np.ones(50), np.zeros(150)])


def test_empty_tiles_change_nothing() -> None:
    rng = np.random.default_rng(0)
    scores, areas = rng.random(300), rng.random(300) + 0.1
    alone = conformal_threshold(scores, 0.05, areas)
    mixed = conformal_threshold(np.r_[scores, np.zeros(1000)], 0.05, np.r_[areas, np.zeros(1000)])
    assert mixed == alone


def test_missed_area_weighs_tiles() -> None:
    scores = np.r_[0.1, np.full(99, 0.9)]
    areas = np.r_[1.0, np.full(99, 3.0)]
    result = conformal_threshold(scores, 0.02, areas)
    assert result.threshold == pytest.approx(0.9)
    assert result.missed_area == pytest.approx(1 / 298)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.5000001, 1.0]), min_size=19, max_size=120),
    st.sampled_from([0.05, 0.1, 0.3, 0.5]),
)
def test_it_is_the_largest_threshold_that_keeps_the_bound(scores: list[float], alpha: float) -> None:
    values = np.array(scores)
    result = conformal_threshold(values, alpha)
    n = len(values)

    def bound(threshold: float) -> float:
        return float(((values < threshold).sum() + 1) / (n + 1))

    assert result.bound == pytest.approx(bound(result.threshold))
    assert bound(result.threshold) <= alpha + 1e-9
    higher = values[values > result.threshold]
    if len(higher):
        assert bound(float(higher.min())) > alpha


def test_general_form_agrees_with_the_special_one() -> None:
    scores = np.random.default_rng(1).random(400)
    thresholds = np.sort(scores)
    losses = scores[:, None] < thresholds[None]
    special, general = conformal_threshold(scores, 0.03), control_risk(thresholds, losses, 0.03)
    assert general.threshold == special.threshold
    assert general.bound == pytest.approx(special.bound)


def test_general_form_refuses_what_it_cannot_bound() -> None:
    with pytest.raises(UsageError, match="not fall"):
        control_risk([0.1, 0.2], np.tile([0.5, 0.2], (200, 1)), 0.1)
    with pytest.raises(UsageError, match="every threshold"):
        control_risk([0.1, 0.2], np.tile([0.5, 0.6], (200, 1)), 0.1)
    with pytest.raises(UsageError, match="finite"):
        conformal_threshold([0.1, np.nan], 0.5)
    with pytest.raises(UsageError, match="alpha"):
        conformal_threshold(np.ones(10), 1.5)


def test_the_promise_holds_on_fresh_tiles() -> None:
    """Mean miss over many calibrations stays below alpha, and is not far below it (the bound is tight to 1/n)."""
    rng = np.random.default_rng(42)
    misses = []
    for _ in range(400):
        calibration, fresh = rng.beta(5, 2, 250), rng.beta(5, 2, 2000)
        misses.append((fresh < conformal_threshold(calibration, 0.05).threshold).mean())
    assert 0.04 < np.mean(misses) <= 0.0505
