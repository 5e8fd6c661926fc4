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
from model_specs import SIX

FOLDER = Path(__file__).parents[2] / "pipelines" / "demo_model"
MODULES = ("card", "fit", "regions", "screen", "train")


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
    values["screen"] |= {"width": 8, "crop": 32, "batch": 4, "steps": 120, "cap_ha": 5}
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
    coarse = np.concatenate([coarse] * 3)  # composite and two percentiles: one look
    return script.regions.Sample(name=f"r-{seed}", bbox=(0.0, 0.0, 1.0, 1.0), fine=fine, coarse=coarse, label=label)


def test_training_is_repeatable_and_learns(script: SimpleNamespace, config: dict[str, Any]) -> None:
    import torch

    from minescale.models.network import state_arrays

    samples = script.fit.fine_pairs([planted(script, 1), planted(script, 2)])
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


def test_screen_learns_is_repeatable_and_its_threshold_skips_no_mines(
    script: SimpleNamespace, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from minescale.models.package import load_package
    from minescale.models.predictor import load_predictor

    roles = {"screen_train": (1,), "screen_train_year": (2,), "screen_calibrate": range(10, 30)}
    roles["screen_dense"] = range(30, 50)
    roles["screen_test"] = (60, 61, 62)
    monkeypatch.setattr(script.regions, "TILE", 64)
    monkeypatch.setattr(script.screen, "TILE", 64)
    monkeypatch.setattr(script.screen, "samples", lambda role, *_: (planted(script, seed) for seed in roles[role]))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in ("first", "second"):
            script.screen.make_screen(config, tmp_path, tmp_path / name)
    finally:
        torch.set_num_threads(threads)
    first, second = (load_package(str(tmp_path / name)) for name in ("first", "second"))
    assert first.digest == second.digest
    assert first.spec.keep_threshold == pytest.approx(0.5, abs=0.02), "the bias was moved"
    kept = lost = total = 0.0
    for seed in (70, 71, 72):
        scores, area = script.screen.tile_scores(load_predictor(first, "cpu"), planted(script, seed))
        hot = scores >= first.spec.keep_threshold
        kept, lost, total = kept + hot[area == 0].sum(), lost + area[~hot].sum(), total + area.sum()
    assert lost <= 0.03 * total
    assert kept < 10, "most tiles without mines are skipped"
    assert "no evidence" in (tmp_path / "first" / "model_card.md").read_text().replace("\n", " ")


def test_coarse_labels_leave_doubtful_pixels_out(script: SimpleNamespace) -> None:
    region = planted(script, 3)
    region.label[:] = script.regions.BACKGROUND
    region.label[200:208, 200:208] = script.regions.MINE
    region.label[208:210, 200:202] = script.regions.MINE
    region.label[300:301, 300:301] = script.regions.IGNORE
    (_, label), *_ = script.fit.coarse_pairs([region], 0.1)
    assert label[25, 25] == script.regions.MINE
    assert label[26, 25] == script.regions.IGNORE, "less than the share"
    assert label[37, 37] == script.regions.IGNORE, "mined later"
    assert np.count_nonzero(label) == 3


def test_channels_of_a_band_keep_their_ratios(script: SimpleNamespace) -> None:
    label = np.zeros((40, 40), np.uint8)
    label[20, 20] = script.regions.MINE
    options = {"bands": ["red", "nir", "red:p10", "nir:p90"], "batch": 3, "crop": 16, "mine_crops": 0.5, "gain": 0.3}
    crops = script.fit.Crops([(np.full((4, 40, 40), 1000, np.uint16), label)], options, seed=1)
    red, nir, low, high = crops.batch()[0].numpy()[:, :, 0, 0].T
    np.testing.assert_array_equal(red, low)
    np.testing.assert_array_equal(nir, high)
    assert (red != nir).all()


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

    roles = [name for name, value in config["regions"].items() if isinstance(value, dict)]
    assert len(roles) == 8
    seeds = [s.seed for role in roles for s in script.regions.specs(role, config)]
    assert len(set(seeds)) == len(seeds)
    assert not {DEMO.seed, SMALL.seed, *range(100, 200)} & set(seeds), "the benchmarks' seeds"
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
