"""The patch classifier that ships, on chips of places it was not trained on, from above the air and without it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minescale.evaluation.evaluate import Evaluation, evaluate
from minescale.labels.formats.registry import open_dataset
from minescale.labels.preparation.atmosphere import atmosphere, to_surface
from minescale.labels.sets.dataset import ChipReader, Dataset
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor

PIPELINE = Path(__file__).parents[2] / "pipelines" / "amw_patch" / "holdout.py"


@dataclass(frozen=True)
class Surface:
    """Chips as a surface product shows them: the air of a summer's day taken off."""

    reader: ChipReader
    bands: tuple[str, ...]

    def image(self, row: int) -> NDArray[Any]:
        toa = self.reader.image(row).astype(np.float64) * (0.3 / 255)
        return to_surface(toa, atmosphere(self.bands, 35.0, 0.005)).clip(1e-4)

    def mask(self, row: int) -> None:
        return None


@pytest.fixture(scope="module")
def held_out(data_dir: Path) -> Dataset:
    spec = importlib.util.spec_from_file_location("amw_holdout", PIPELINE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    chips = open_dataset(data_dir / "amw")
    return module.hold_out(chips).of(chips, "test")


def judged(chips: Dataset) -> Evaluation:
    return evaluate("amw-patch-rgb", chips, device="cpu", bootstrap=0)


def test_it_reaches_what_its_card_says(held_out: Dataset) -> None:
    told = load_package("amw-patch-rgb")
    found = judged(held_out).to_dict()
    assert f"| {found['auc']:.3f} |" in (told.path / "model_card.md").read_text(encoding="utf-8")
    best = found["baselines"]["best_single_index"]
    assert found["auc"] > best["auc"] + 0.1
    assert not found["no_skill"]


def test_surface_products_cost_it_little(held_out: Dataset) -> None:
    bare = replace(held_out, reader=Surface(held_out.reader, held_out.bands), units="reflectance")
    above, below = judged(held_out).to_dict()["auc"], judged(bare).to_dict()["auc"]
    assert below == pytest.approx(above, abs=0.02)


def test_a_chip_scores_alike_alone_and_in_the_middle_of_a_map(held_out: Dataset) -> None:
    """Maps see the ground round a chip, so scores differ a little; their order must not."""
    predictor = load_predictor(load_package("amw-patch-rgb"), "cpu")
    rows = np.linspace(0, len(held_out) - 1, 60).astype(int)
    images = np.stack([held_out.reader.image(int(row)) for row in rows]).astype(np.float32) * np.float32(0.3 / 255)
    images = images.clip(1e-4)
    alone = predictor.classify(images)[:, 1]  # type: ignore[attr-defined]
    around = np.pad(images, ((0, 0), (0, 0), (40, 40), (40, 40)), mode="reflect")
    middle = predictor.predict(around)[:, 1, 63:65, 63:65].mean(axis=(1, 2))
    assert np.corrcoef(alone, middle)[0, 1] > 0.9
