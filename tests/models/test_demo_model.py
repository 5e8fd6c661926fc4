"""The training script's parts: same seed, same weights; cards that say what they must."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from model_specs import SIX, pixel_spec

FOLDER = Path(__file__).parents[2] / "pipelines" / "demo_model"
MODULES = ("card", "fit", "regions", "train")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of the folder, imported as the script imports them, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture
def config() -> dict[str, Any]:
    values = yaml.safe_load((FOLDER / "config.yaml").read_text())
    values["unet"] |= {"width": 8, "crop": 32, "batch": 4, "steps": 50}
    values["screen"] |= {"epochs": 20, "negatives": 3}
    return values


def planted(script: SimpleNamespace, seed: int) -> Any:
    """A region whose mines are bright squares on dark ground."""
    rng = np.random.default_rng(seed)
    label = np.zeros((512, 512), np.uint8)
    for y, x in rng.integers(0, 448, (6, 2)):
        label[y : y + 48, x : x + 48] = script.regions.MINE
    label[:16] = script.regions.IGNORE
    fine = rng.normal(800, 120, (6, 512, 512)) + 1500 * (label == script.regions.MINE)
    fine = np.clip(fine, 1, 9000).astype(np.uint16)
    coarse = fine.reshape(6, 64, 8, 64, 8).mean(axis=(2, 4)).astype(np.uint16)
    return script.regions.Sample(name=f"r-{seed}", bbox=(0.0, 0.0, 1.0, 1.0), fine=fine, coarse=coarse, label=label)


def test_training_is_repeatable_and_learns(script: SimpleNamespace, config: dict[str, Any]) -> None:
    import torch

    from minescale.models.unet import state_arrays

    samples = [planted(script, 1), planted(script, 2)]
    mean, std = script.fit.band_statistics(samples)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = [script.fit.train_unet(samples, config["unet"], mean, std, 3) for _ in range(2)]
        other, _ = script.fit.train_unet(samples, {**config["unet"], "steps": 2}, mean, std, 4)
    finally:
        torch.set_num_threads(threads)
    first, second = (state_arrays(network) for network, _ in runs)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["head.weight"], state_arrays(other)["head.weight"])
    assert runs[0][1][-1] < 1.2  # cross-entropy + Dice of "nothing anywhere" is about 1.7


def test_screen_learns_and_is_repeatable(script: SimpleNamespace, config: dict[str, Any]) -> None:
    samples = [planted(script, 1), planted(script, 2)]
    features = script.fit.screen_features(config["screen"])
    assert len(features) == 6 + 15 + 5
    spec = pixel_spec(hyperparameters={"features": features, "hidden": 16})
    first, second = (script.fit.train_screen(samples, spec, config["screen"], 5) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    from minescale.models.features import compile_features
    from minescale.models.pixel import score

    fresh = planted(script, 9)
    p = score(fresh.coarse.reshape(6, -1) * np.float32(1e-4), compile_features(features, spec), first)
    mine = fresh.mine_share().ravel() > 0.5
    other = fresh.mine_share().ravel() == 0
    assert np.quantile(p[mine], 0.02) > 0.6
    assert np.quantile(p[other], 0.98) < 0.5


def test_decision_is_moved_not_changed(script: SimpleNamespace) -> None:
    import torch

    from minescale.models.unet import build_unet

    torch.manual_seed(0)
    network = build_unet(6, 2, 8, 3).eval()
    image = torch.rand(1, 6, 32, 32)
    with torch.inference_mode():
        before = torch.softmax(network(image), 1)[0, 1] >= 0.7
    script.fit.shift_decision(network, 0.7)
    with torch.inference_mode():
        after = torch.softmax(network(image), 1)[0, 1] >= 0.5
    assert torch.equal(before, after)


def test_regions_of_the_roles_are_apart(script: SimpleNamespace, config: dict[str, Any]) -> None:
    from minescale.synthetic import DEMO, SMALL

    seeds = [s.seed for role in ("train", "validate", "calibrate", "test") for s in script.regions.specs(role, config)]
    assert len(set(seeds)) == len(seeds)
    assert not {DEMO.seed, SMALL.seed} & set(seeds)
    assert config["unet"]["bands"] == list(SIX)


def test_best_code_is_the_best(script: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(5000) < 0.1).astype(np.uint8)
    codes = np.clip(rng.normal(80 + 60 * label, 30), 0, 250).astype(np.uint8)
    codes[:50] = 255

    def f1(cut: int) -> float:
        called = (codes >= cut) & (codes != 255)
        return 2 * (called & (label == 1)).sum() / (called.sum() + ((label == 1) & (codes != 255)).sum())

    assert script.train.best_code(codes, label) == max(range(1, 250), key=f1)


def test_cards_say_what_the_model_is_not(script: SimpleNamespace) -> None:
    for text in (script.card.CARD, script.card.SCREEN_CARD):
        assert "no evidence" in text.replace("\n", " ")
