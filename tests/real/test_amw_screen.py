"""The screen of single pixels that ships: what its card says it keeps, counted again, and joined with a package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minescale.evaluation.screening import tile_scores
from minescale.labels.formats.registry import open_dataset
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.models.screened import write_screened
from minescale.store.codes import PROBABILITY_STEPS

PIPELINE = Path(__file__).parents[2] / "pipelines" / "amw_screen"


def test_it_keeps_what_its_card_says(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PIPELINE)
    from products import both_products, product, splits  # type: ignore[import-not-found]

    package = load_package("amw-screen-rgb")
    told = json.loads((package.path / "metrics" / "screening.json").read_text(encoding="utf-8"))["test"]
    chips = open_dataset(data_dir / "amw")
    both, (fit, hold) = both_products(chips), splits(chips, 0.2)
    assert not set(fit.parts) & {name for name, part in hold.parts.items() if part == "val"}
    for name, surface in (("top of the atmosphere", False), ("surface", True)):
        tiles = tile_scores(load_predictor(package, "cpu"), product(hold.of(both, "test"), surface=surface))
        kept, mines = tiles.codes / PROBABILITY_STEPS >= (package.spec.keep_threshold or 0), tiles.hectares > 0
        assert kept[mines].mean() == pytest.approx(told[name]["recall"])
        assert kept[~mines].mean() == pytest.approx(told[name]["kept_without_mines"])


def test_a_plan_is_warned_that_it_prunes_nothing(tmp_path: Path) -> None:
    screen = load_package("amw-screen-rgb")
    assert screen.spec.family == "pixel"
    assert screen.spec.expected_survivors == 1.0
    assert "prunes next to nothing" in (screen.path / "model_card.md").read_text(encoding="utf-8")
    assert load_package("amw-patch-rgb").screen is None
    joined = write_screened(tmp_path, load_package("amw-patch-rgb"), screen)
    assert joined.screen is not None
    assert joined.screen.digest == screen.digest
