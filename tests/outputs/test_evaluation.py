"""Scores against their definitions, written out by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minescale.errors import UsageError
from minescale.outputs.evaluation import SYNTHETIC_LABEL, first_code, score_map
from minescale.outputs.index_baseline import ON_THE_TRUTH, ON_TRAINING, IndexChoice, IndexTally

CODES = st.one_of(st.integers(0, 250), st.just(255))


def brute_average_precision(codes: np.ndarray, truth: np.ndarray) -> float:
    total, area, before = truth.sum(), 0.0, 0.0
    for cut in sorted(set(codes.tolist()), reverse=True):
        called = codes >= cut
        recall = (called & truth).sum() / total
        area += (recall - before) * (called & truth).sum() / called.sum()
        before = recall
    return area


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (6, 7), elements=CODES), arrays(bool, (6, 7)), st.floats(0.01, 1.0))
def test_ratios_follow_from_the_pixels(codes: np.ndarray, truth: np.ndarray, threshold: float) -> None:
    seen = codes != 255
    if not seen.any():
        with pytest.raises(UsageError, match="nothing to score"):
            score_map(codes, truth, threshold)
        return
    score = score_map(codes, truth, threshold)
    call = seen & (codes >= threshold * 250 - 1e-6)
    tp, fp, fn = (call & truth).sum(), (call & ~truth).sum(), (seen & ~call & truth).sum()
    assert (score.model.tp, score.model.fp, score.model.fn) == (tp, fp, fn)
    assert score.model.tp + score.model.fp + score.model.fn + score.model.tn == score.pixels == seen.sum()
    assert score.model.iou == pytest.approx(tp / (tp + fp + fn) if tp + fp + fn else 0.0)
    assert score.truth_unseen == (truth & ~seen).sum()
    counts = np.corrcoef(call[seen], truth[seen])[0, 1] if call[seen].std() and truth[seen].std() else 0.0
    assert score.model.mcc == pytest.approx(counts, abs=1e-9)
    if (truth & seen).any():
        assert score.auprc == pytest.approx(brute_average_precision(codes[seen], truth[seen]))
    assert score.baselines["all_positive"].recall == float((truth & seen).any())
    assert score.baselines["all_negative"].recall == 0.0
    assert score.baselines["prevalence_random"].mcc == pytest.approx(0.0, abs=1e-9)


def test_object_recall_counts_large_seen_objects_that_a_detection_touches() -> None:
    truth = np.zeros((60, 60), bool)
    truth[0:8, 0:8] = True  # 0.64 ha, touched
    truth[20:28, 20:28] = True  # 0.64 ha, missed
    truth[40:47, 40:47] = True  # 0.49 ha: too small to count
    truth[50:60, 0:10] = True  # 1 ha, never seen
    codes = np.zeros((60, 60), np.uint8)
    codes[7, 7] = 250
    codes[50:60, 0:10] = 255
    score = score_map(codes, truth, 0.5)
    assert (score.objects, score.objects_found, score.object_recall) == (2, 1, 0.5)
    assert score.truth_unseen == 100
    assert score.recall_of_all < score.model.recall


def test_a_map_that_ignores_the_image_is_called_out() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((200, 200)) < 0.05
    noise = rng.integers(0, 251, truth.shape).astype(np.uint8)
    assert score_map(noise, truth, 0.5).no_skill
    assert score_map(np.full(truth.shape, 250, np.uint8), truth, 0.5).no_skill
    assert score_map(np.zeros(truth.shape, np.uint8), truth, 0.5).no_skill
    good = np.where(truth, 240, 5).astype(np.uint8)
    assert not score_map(good, truth, 0.5, label=SYNTHETIC_LABEL).no_skill


def test_pixels_of_unknown_truth_do_not_count() -> None:
    codes = np.array([[250, 250], [0, 0]], np.uint8)
    truth = np.array([[1, 0], [0, 1]], np.uint8)
    valid = np.array([[True, False], [True, False]])
    score = score_map(codes, truth, 0.5, valid)
    assert score.pixels == 2
    assert score.model.precision == score.model.recall == 1.0


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match="differ in shape"):
        score_map(np.zeros((2, 2), np.uint8), np.zeros((2, 3), bool), 0.5)


@pytest.mark.parametrize(("threshold", "code"), [(0.0, 0), (0.5, 125), (0.501, 126), (0.508, 127), (1.0, 250)])
def test_first_code(threshold: float, code: int) -> None:
    assert first_code(threshold) == code


def test_best_index_is_the_best_of_all_cuts() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(4000) < 0.1
    good = np.clip(rng.normal(np.where(truth, -0.3, 0.4), 0.2), -1, 1).astype(np.float32)
    poor = rng.uniform(-1, 1, truth.shape).astype(np.float32)
    poor[:10] = np.nan
    tally = IndexTally()
    for part in (slice(0, 1500), slice(1500, None)):
        tally.add("GOOD", good[part], truth[part])
        tally.add("POOR", poor[part], truth[part])
    best = tally.best()
    assert (best.index, best.direction, best.fitted_on) == ("GOOD", "<=", ON_THE_TRUTH)
    call = good <= best.threshold + 1e-6
    f1 = 2 * (call & truth).sum() / (call.sum() + truth.sum())
    assert best.score.f1 == pytest.approx(f1, abs=0.005)
    cuts = np.linspace(-1, 1, 401)
    every = [2 * ((good <= c) & truth).sum() / ((good <= c).sum() + truth.sum()) for c in cuts]
    assert best.score.f1 >= max(every) - 1e-9


def test_known_index_is_taken_as_it_is() -> None:
    values = np.array([-0.5, 0.0, 0.2, 0.6], np.float32)
    truth = np.array([False, False, True, True])
    tally = IndexTally()
    tally.add("NDBI", values, truth)
    found = tally.known(IndexChoice(index="NDBI", direction=">", threshold=0.1))
    assert (found.score.f1, found.fitted_on) == (1.0, ON_TRAINING)
    with pytest.raises(UsageError, match="NDBI"):
        tally.known(IndexChoice(index="NDVI", direction=">", threshold=0.1))
