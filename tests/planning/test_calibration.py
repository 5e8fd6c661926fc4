"""Conformal control of missed mine area: the bound, its edges, and that it holds on fresh draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.planning.calibration import area_threshold


def test_99_equal_tiles_allow_no_miss_at_recall_99_and_199_allow_one() -> None:
    for n, skipped in ((99, 0), (199, 1)):
        result = area_threshold(np.arange(n) / n, np.ones(n), alpha=0.01, cap=1.0)
        assert result.threshold == pytest.approx(skipped / n)
        assert result.missed == pytest.approx(skipped / n)
        assert result.bound <= 0.01 + 1e-12


def test_too_little_area_is_refused_with_the_area_needed() -> None:
    with pytest.raises(UsageError, match="at least 99 for"):
        area_threshold(np.ones(98), np.ones(98), alpha=0.01, cap=1.0)
    # Area above the cap does not count, and tiles without mines do not help.
    with pytest.raises(UsageError, match="got: 50 counted in 50 tiles"):
        area_threshold(np.ones(200), np.r_[np.full(50, 80.0), np.zeros(150)], alpha=0.01, cap=1.0)


def test_empty_tiles_change_nothing() -> None:
    rng = np.random.default_rng(0)
    scores, areas = rng.random(300), rng.random(300) + 0.1
    alone = area_threshold(scores, areas, alpha=0.05, cap=1.0)
    mixed = area_threshold(np.r_[scores, np.zeros(1000)], np.r_[areas, np.zeros(1000)], alpha=0.05, cap=1.0)
    assert mixed == alone


def test_small_mines_may_be_skipped_where_large_ones_may_not() -> None:
    """Ten tiles of 0.1 ha cost as much as one of 1 ha: the threshold is not dragged down to the smallest pits."""
    scores = np.r_[np.linspace(0.0, 0.09, 10), np.linspace(0.5, 1.0, 200)]
    areas = np.r_[np.full(10, 0.1), np.full(200, 1.0)]
    result = area_threshold(scores, areas, alpha=0.01, cap=1.0)
    assert result.threshold == pytest.approx(0.5)
    assert result.missed == pytest.approx(1 / 201)
    swapped = area_threshold(scores, np.r_[np.full(10, 1.0), np.full(200, 0.5)], alpha=0.01, cap=1.0)
    assert swapped.threshold < 0.1


def test_area_beyond_the_cap_is_reported_and_not_counted() -> None:
    scores = np.r_[0.1, np.linspace(0.5, 1.0, 400)]
    areas = np.r_[30.0, np.full(400, 2.0)]
    result = area_threshold(scores, areas, alpha=0.02, cap=2.0)
    assert result.counted_area == pytest.approx(802)
    assert result.missed == pytest.approx((2 + 12) / 802)
    assert result.missed_area == pytest.approx((30 + 12) / 830)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.5000001, 1.0]), st.sampled_from([0.0, 0.5, 1.0, 7.0])),
        min_size=60,
        max_size=150,
    ),
    st.sampled_from([0.05, 0.1, 0.3, 0.5]),
)
def test_it_is_the_largest_threshold_that_keeps_the_bound(tiles: list[tuple[float, float]], alpha: float) -> None:
    values, areas = (np.array(column) for column in zip(*tiles, strict=True))
    cap = 2.0
    counted = np.minimum(areas, cap)
    if alpha * counted.sum() < (1 - alpha) * cap:
        with pytest.raises(UsageError, match="too little mine area"):
            area_threshold(values, areas, alpha=alpha, cap=cap)
        return
    result = area_threshold(values, areas, alpha=alpha, cap=cap)

    def bound(threshold: float) -> float:
        return float((counted[values < threshold].sum() + (1 - alpha) * cap) / counted.sum())

    assert result.bound == pytest.approx(bound(result.threshold))
    assert bound(result.threshold) <= alpha + 1e-9
    higher = values[(values > result.threshold) & (areas > 0)]
    if len(higher):
        assert bound(float(higher.min())) > alpha


def test_it_refuses_what_it_cannot_use() -> None:
    with pytest.raises(UsageError, match="finite"):
        area_threshold([0.1, np.nan], [1, 1], alpha=0.5, cap=1)
    with pytest.raises(UsageError, match="alpha"):
        area_threshold(np.ones(10), np.ones(10), alpha=1.5, cap=1)
    with pytest.raises(UsageError, match="cap"):
        area_threshold(np.ones(10), np.ones(10), alpha=0.5, cap=0)
    with pytest.raises(UsageError, match="do not fit"):
        area_threshold(np.ones(10), np.ones(9), alpha=0.5, cap=1)


def test_the_promise_holds_on_fresh_tiles() -> None:
    """Over many calibrations the missed share of counted area stays below alpha, and is not far below it; that of
    all area is lower still, because larger mines score higher."""
    rng = np.random.default_rng(42)
    alpha, cap = 0.05, 10.0

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        areas = np.where(rng.random(n) < 0.5, 0.0, np.exp(rng.normal(1.6, 1.25, n)))
        return rng.normal(np.log(np.maximum(areas, 0.1)), 1.0), areas

    lost = held = lost_all = held_all = 0.0
    for _ in range(400):
        threshold = area_threshold(*draw(500), alpha=alpha, cap=cap).threshold
        scores, areas = draw(2000)
        counted, skipped = np.minimum(areas, cap), scores < threshold
        lost, held = lost + counted[skipped].sum(), held + counted.sum()
        lost_all, held_all = lost_all + areas[skipped].sum(), held_all + areas.sum()
    assert 0.04 < lost / held <= 0.0505
    assert lost_all / held_all < lost / held
