"""The highest score nearby: pixels gain beside what is beyond doubt, and nowhere else."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from model_specs import SIX, pixel_spec, pixel_weights, random_unet

from minescale.errors import ModelError
from minescale.models.ensemble import EnsemblePredictor, ensemble_spec, write_ensemble
from minescale.models.nearby import BYTES_PER_PIXEL, Nearby
from minescale.models.package import ModelPackage, load_package, write_package
from minescale.models.predictor import find_family, load_predictor
from minescale.models.spec import trained_range
from minescale.models.windows import peak_bytes, predict_tile

_NEAR = Nearby(radius=8, weight=0.75)
_SCORES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=30),
    elements=st.one_of(st.just(float("nan")), st.floats(0, 1, width=32)),
)


@given(_SCORES, st.sampled_from([8, 16]), st.floats(0.05, 0.95))
def test_it_is_a_mean_of_the_score_and_the_highest_around_it(score: np.ndarray, radius: int, weight: float) -> None:
    found = Nearby(radius, weight).weighed(score)
    assert found.dtype == np.float32
    for (y, x), value in np.ndenumerate(score):
        if np.isnan(value):
            assert np.isnan(found[y, x])
            continue
        around = score[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        highest = float(np.nanmax(around))
        assert value <= found[y, x] <= highest
        assert found[y, x] == pytest.approx(float(value) ** (1 - weight) * highest**weight, rel=1e-4, abs=1e-30)


def test_what_is_doubtful_all_over_falls_behind_what_is_beside_a_core() -> None:
    score = np.full((40, 80), 0.05, np.float32)
    score[10:30, 10:30] = 0.5
    score[18:22, 18:22] = 0.98
    score[10:30, 50:70] = 0.6
    found = _NEAR.weighed(score)
    beside, doubtful = found[12:28, 12:28], found[10:30, 50:70]
    assert beside.min() > doubtful.max() == np.float32(0.6)
    assert found[0, 0] == np.float32(0.05)


def _composite(rows: int, cols: int) -> np.ndarray:
    composite = np.random.default_rng(2).integers(100, 5000, (len(SIX), rows, cols)).astype(np.uint16)
    composite[:, 40:60, 50:90] = 0
    return composite


def test_what_was_not_seen_is_nobodys_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Certain:
        """A member that is surest where its first band has no data."""

        def __init__(self, package: ModelPackage, device: str) -> None:
            self.spec = package.spec

        def predict(self, batch: np.ndarray) -> np.ndarray:
            score = np.where(batch[:, 0] == 0, np.float32(0.99), np.float32(0.2))
            return np.stack([1 - score, score], axis=1)

    made = write_ensemble(tmp_path / "near", [random_unet(tmp_path / "m", 0)], name="near", nearby=_NEAR)
    monkeypatch.setattr("minescale.models.ensemble.load_predictor", Certain)
    batch = np.full((2, len(SIX), 64, 64), 0.1, np.float32)
    batch[:, 0, 20:30, 20:30] = 0
    seen = batch[:, 0] > 0
    found = EnsemblePredictor(made, "cpu").predict(batch)
    np.testing.assert_allclose(found[:, 1][seen], 0.2, rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_a_mean_is_weighed_with_the_highest_mean(tmp_path: Path) -> None:
    members = [random_unet(tmp_path / f"m{seed}", seed, halo=0, patch=128) for seed in (0, 1)]
    plain = write_ensemble(tmp_path / "plain", members, name="plain", views=4)
    made = write_ensemble(tmp_path / "near", members, name="near", views=4, nearby=_NEAR)
    composite = _composite(96, 128)
    before, after = (predict_tile(load_predictor(package, "cpu"), composite, 0) for package in (plain, made))
    assert np.isnan(before[50, 70])
    np.testing.assert_allclose(after, _NEAR.weighed(before), atol=1e-6)
    assert np.nanmax(after - before) > 0.01
    again = load_package(tmp_path / "near")
    assert again.digest == made.digest
    assert again.spec.halo == 8
    same = made.spec.replace(hyperparameters=plain.spec.hyperparameters)
    assert peak_bytes(made.spec, 512, 8) > peak_bytes(same, 512, 8)
    assert "weighed 0.75 with the highest mean within 8 pixels" in made.spec.description
    batch = np.ascontiguousarray(composite[np.newaxis] * np.float32(1e-4))
    scores = load_predictor(made, "cpu").predict(batch)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_three_classes_keep_their_shares_of_the_rest(tmp_path: Path) -> None:
    members = [random_unet(tmp_path / "m", 0, classes=("background", "cloud", "mine"))]
    batch = np.random.default_rng(1).uniform(0.01, 0.5, (2, len(SIX), 64, 96)).astype(np.float32)
    before, after = (
        load_predictor(write_ensemble(tmp_path / name, members, name=name, nearby=near), "cpu").predict(batch)
        for name, near in (("plain", None), ("near", _NEAR))
    )
    assert (after[:, 2] >= before[:, 2] - 1e-6).all()
    assert (after[:, 2] > before[:, 2] + 1e-3).any()
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(after[:, 0] / after[:, 1], before[:, 0] / before[:, 1], rtol=1e-3)


def test_tiles_agree(tmp_path: Path) -> None:
    made = write_ensemble(tmp_path / "near", [random_unet(tmp_path / "m", 0)], name="near", nearby=_NEAR)
    halo, tile = made.spec.halo, 256
    assert halo == 48 + 8
    predictor = load_predictor(made, "cpu")
    composite = _composite(tile + 2 * halo, 2 * tile + 2 * halo)
    whole = predict_tile(predictor, composite, halo)
    halves = [predict_tile(predictor, composite[..., x : x + tile + 2 * halo], halo) for x in (0, tile)]
    np.testing.assert_allclose(np.concatenate(halves, axis=1), whole, atol=1e-4)


def test_halos_are_multiples_of_the_members_strides(tmp_path: Path) -> None:
    member = random_unet(tmp_path / "m", 0, halo=96, patch=320, hyperparameters={"width": 8, "depth": 5})
    step = find_family("unet").step(member.spec)
    assert step > 8
    spec = ensemble_spec([member], name="near", nearby=_NEAR)
    assert spec.halo == 96 + step
    assert spec.patch == 320 + 2 * step
    assert ensemble_spec([member], name="plain").halo == 96


def test_its_memory_is_allowed_for() -> None:
    score = np.random.default_rng(0).random((1000, 1000), np.float32)
    tracemalloc.start()
    try:
        _NEAR.weighed(score)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 * BYTES_PER_PIXEL < peak / score.size < BYTES_PER_PIXEL


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    near = Nearby(np.int64(8), np.float32(0.75))  # type: ignore[arg-type]
    made = write_ensemble(tmp_path / "near", [random_unet(tmp_path / "m", 0)], name="near", nearby=near)
    assert load_package(made.path).spec.hyperparameters["nearby"] == {"radius": 8, "weight": 0.75}


@pytest.mark.parametrize(
    ("radius", "weight", "what"),
    [
        *((radius, 0.5, "radius") for radius in (0, 12, 8.0, True, -8, 2048)),
        *((8, weight, "weight") for weight in (0, 1, "0.5", float("nan"))),
    ],
)
def test_what_is_no_radius_or_weight_is_refused(radius: Any, weight: Any, what: str) -> None:
    with pytest.raises(ModelError, match=what):
        Nearby(radius, weight)
    with pytest.raises(ModelError, match=what):
        Nearby.of({"radius": radius, "weight": weight}, "near")


@pytest.mark.parametrize("written", [64, [64, 0.8], {"radius": 64}, {"radius": 64, "weight": 0.5, "power": 2}])
def test_what_was_not_written_by_us_is_refused(written: Any) -> None:
    with pytest.raises(ModelError, match="radius and weight"):
        Nearby.of(written, "near")


def test_chips_and_single_pixels_have_nothing_nearby(tmp_path: Path) -> None:
    chips = random_unet(tmp_path / "c", 0, family="patchcnn", task="chips", chip=16, hyperparameters={"width": 8})
    spec = pixel_spec(resolution=10.0, resolutions=trained_range(10.0))
    pixels = write_package(tmp_path / "p", spec, pixel_weights(), "card", {})
    for member, what in ((chips, "score chips"), (pixels, "each pixel alone")):
        with pytest.raises(ModelError, match=what):
            write_ensemble(tmp_path / "near", [member], name="near", nearby=_NEAR)
    assert not (tmp_path / "near").exists()
