"""The area estimator on the worked example of Olofsson et al. 2014 and on samples of a known population."""

from __future__ import annotations

import numpy as np
import pytest

from minescale.errors import UsageError
from minescale.evaluation.area import area_estimate

COUNTS = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
MAPPED = [200_000, 150_000, 3_200_000, 6_450_000]
"""Deforestation, forest gain, stable forest, stable non-forest: the paper's Table 8, pixels of 0.09 ha."""


def test_the_papers_example() -> None:
    found = area_estimate(COUNTS, MAPPED)
    hectares = found.share * sum(MAPPED) * 0.09
    assert hectares[0] == pytest.approx(21_158, abs=1)
    assert 1.96 * found.se[0] * sum(MAPPED) * 0.09 == pytest.approx(6_158, abs=2)
    np.testing.assert_allclose(found.users, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(1.96 * found.users_se, [0.07, 0.10, 0.04, 0.02], atol=0.005)
    np.testing.assert_allclose(found.producers, [0.75, 0.85, 0.93, 0.96], atol=0.005)
    assert 1.96 * found.producers_se[0] == pytest.approx(0.21, abs=0.005)
    assert found.overall == pytest.approx(0.95, abs=0.005)
    assert 1.96 * found.overall_se == pytest.approx(0.02, abs=0.005)


def test_standard_errors_are_those_of_repeated_samples() -> None:
    found = area_estimate(COUNTS, MAPPED)
    rng = np.random.default_rng(1)
    rows = [np.array(row) for row in COUNTS]
    again = [area_estimate([rng.multinomial(row.sum(), row / row.sum()) for row in rows], MAPPED) for _ in range(4000)]
    for name in ("share", "users", "producers"):
        spread = np.std([getattr(a, name) for a in again], axis=0)
        np.testing.assert_allclose(getattr(found, "se" if name == "share" else f"{name}_se"), spread, rtol=0.1)
    assert found.overall_se == pytest.approx(np.std([a.overall for a in again]), rel=0.1)


def test_the_interval_holds_the_truth() -> None:
    """A map that calls 10 % mined, of which 60 % is; 2 % of the rest is mined too."""
    rng = np.random.default_rng(0)
    truth = 0.1 * 0.6 + 0.9 * 0.02
    held = 0
    for _ in range(400):
        a, b = rng.binomial(150, 0.6), rng.binomial(400, 0.02)
        low, high = area_estimate([[a, 150 - a], [b, 400 - b]], [0.1, 0.9]).interval(0)
        held += low <= truth <= high
    assert 0.90 <= held / 400 <= 0.98


def test_units_of_area_do_not_matter() -> None:
    one, other = area_estimate(COUNTS, MAPPED), area_estimate(COUNTS, np.array(MAPPED) * 0.09)
    np.testing.assert_allclose(one.se, other.se)
    np.testing.assert_allclose(one.producers_se, other.producers_se)


@pytest.mark.parametrize(
    ("counts", "mapped"),
    [([[1, 2]], [1, 2]), ([[1, 2], [3, -1]], [1, 2]), ([[1, 2], [3, 4]], [0, 0]), ([[0, 0], [3, 4]], [1, 2])],
)
def test_bad_input(counts: list[list[int]], mapped: list[int]) -> None:
    with pytest.raises(UsageError):
        area_estimate(counts, mapped)


def test_a_class_that_is_not_mapped() -> None:
    found = area_estimate([[0, 0], [5, 95]], [0, 10])
    assert found.share[0] == pytest.approx(0.05)
    assert found.producers[0] == 0
