"""Cross-validation: every sample judged once by a model that has not seen its site, fold by fold and pooled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minescale.errors import ModelError, UsageError
from minescale.evaluation.scored import score_dataset
from minescale.evaluation.tally import pooled, tally
from minescale.kernels.ranking import area_under_roc
from minescale.labels.auditing.splitting import kfold
from minescale.labels.sets.dataset import Dataset
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.training.api import train, train_members
from minescale.training.crossval import SUMMARY, cross_validate
from tests.training.toys import chip_set, pixel_set, settings, split_of

_FOREST: dict[str, Any] = {"hyperparameters": {"trees": 5, "depth": 4, "samples_per_image": 100}}


def test_pooled_figures_are_sums_of_the_folds(tmp_path: Path) -> None:
    dataset = pixel_set()
    splits = kfold(dataset, "site", 5, test=True)
    found = cross_validate(dataset, splits, [settings("forest", **_FOREST)], tmp_path)
    figures = found.figures
    assert json.loads((tmp_path / SUMMARY).read_text()) == figures
    assert len(figures["folds"]) == 5
    assert figures["pooled"]["n"] == 20
    counts = [result.metrics["test"]["confusion"] for result in found.folds]
    for name in ("tp", "fp", "fn", "tn"):
        assert figures["pooled"][name] == sum(count[name] for count in counts)
    at = {name: figures["pooled"][name] for name in ("tp", "fp", "fn")}
    assert figures["pooled"]["iou"] == pytest.approx(at["tp"] / sum(at.values()))
    assert figures["median"]["iou"] == pytest.approx(np.median([fold["iou"] for fold in figures["folds"]]))
    assert figures["mean"]["auc"] == pytest.approx(np.mean([fold["auc"] for fold in figures["folds"]]))
    low, high = figures["pooled"]["intervals"]["iou"]
    assert low <= figures["pooled"]["iou"] <= high
    everything = figures["pooled"]["baselines"]["all_positive"]
    assert everything["iou"] == pytest.approx(figures["pooled"]["prevalence"])
    index = figures["pooled"]["best_single_index"]
    each = [fold["baselines"]["best_single_index"] for fold in figures["folds"]]
    assert index["features"] == [one["feature"] for one in each]
    assert index["tp"] == sum(one["tp"] for one in each)


def test_counts_of_sets_with_different_scores_pool_to_those_of_one(tmp_path: Path) -> None:
    dataset = chip_set()
    result = train_members(dataset, split_of(dataset), [settings("patchcnn")], tmp_path, name="one")
    assert result is not None
    predictor = load_predictor(result.package, "cpu")
    halves = [dataset.subset(np.arange(0, 30)), dataset.subset(np.arange(30, 60))]
    together = pooled([tally(score_dataset(predictor, half)) for half in halves])
    whole = tally(score_dataset(predictor, dataset))
    np.testing.assert_array_equal(together.levels, whole.levels)
    for one, other in zip(together.totals(), whole.totals(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert area_under_roc(*together.totals()) == area_under_roc(*whole.totals())
    pixels = tally(score_dataset(_pixel_model(tmp_path / "p"), pixel_set()))
    with pytest.raises(UsageError, match="cannot be pooled"):
        pooled([whole, pixels])
    with pytest.raises(UsageError, match="cannot be pooled"):
        pooled([])


def _pixel_model(folder: Path) -> Any:
    dataset = pixel_set()
    result = train_members(dataset, split_of(dataset), [settings("forest", **_FOREST)], folder, name="pixels")
    assert result is not None
    return load_predictor(result.package, "cpu")


def test_figures_are_given_once_more_where_acquisition_tells_nothing(tmp_path: Path) -> None:
    dataset = _betrayed(chip_set())
    splits = kfold(dataset, "site", 5, test=True)
    config = settings("patchcnn", **{"run.epochs": 1})
    with pytest.raises(UsageError, match="fails its audit"):
        cross_validate(dataset, splits, [config], tmp_path / "refused", within=["source"])
    found = cross_validate(dataset, splits, [config], tmp_path / "made", within=["source"], force=True).figures
    assert found["caveats"]
    assert "audit" in found["caveats"][0]
    assert found["pooled"]["metadata_only"]["betrays"]
    shared = dataset.samples["source"] == "both"
    assert found["within"]["n"] == shared.sum()
    assert found["within"]["columns"] == ["source"]
    assert found["within"]["prevalence"] == pytest.approx(dataset.samples["label"][shared].mean())


def _betrayed(dataset: Dataset) -> Dataset:
    """Most positives are of a source of their own."""
    samples = dataset.samples.copy()
    samples["source"] = np.where((samples["label"] == 1) & (np.arange(len(samples)) % 4 > 0), "mines only", "both")
    return replace(dataset, samples=samples)


def test_a_name_that_no_model_can_have_is_refused_before_any_work(tmp_path: Path) -> None:
    dataset = pixel_set()
    split, config = split_of(dataset), settings("unet")
    with pytest.raises(ModelError, match="name is not usable"):
        train_members(dataset, split, [config], tmp_path / "run", name="m")
    with pytest.raises(ModelError, match="name is not usable"):
        train(dataset, split, replace(config, name="9"), tmp_path / "run")
    with pytest.raises(ModelError, match="name is not usable"):
        train_members(dataset, split, [config, replace(config, name="9")], tmp_path / "run", name="two")
    assert not (tmp_path / "run").exists()


def test_seeds_are_averaged_and_the_mean_decides_for_itself(tmp_path: Path) -> None:
    dataset = pixel_set()
    configs = [settings("unet", seed=seed) for seed in (0, 1)]
    result = train_members(dataset, split_of(dataset), configs, tmp_path, name="two", flips=True)
    assert result is not None
    spec = result.package.spec
    assert spec.family == "ensemble"
    assert spec.calibration
    assert spec.training["data"] == dataset.name
    assert load_package(tmp_path / "package").digest == result.package.digest
    members = [load_package(tmp_path / f"member-{i}" / "package") for i in range(2)]
    assert [member.digest for member in members] == spec.hyperparameters["members"]
    assert members[0].digest != members[1].digest
    assert result.metrics["test"]["n"] == 4
    # The same call goes on from what is there, and makes the same package.
    again = train_members(dataset, split_of(dataset), configs, tmp_path, name="two", flips=True)
    assert again is not None
    assert again.package.digest == result.package.digest


def test_splits_that_test_nothing_or_twice_are_refused(tmp_path: Path) -> None:
    dataset = pixel_set()
    config = settings("forest", **_FOREST)
    with pytest.raises(UsageError, match="no test part"):
        cross_validate(dataset, kfold(dataset, "site", 5), [config], tmp_path)
    split = split_of(dataset)
    with pytest.raises(UsageError, match="tested twice"):
        cross_validate(dataset, [split, split], [config], tmp_path)
    with pytest.raises(UsageError, match="nothing to cross-validate"):
        cross_validate(dataset, [split], [], tmp_path)
    with pytest.raises(UsageError, match="nothing to cross-validate"):
        cross_validate(dataset, [], [config], tmp_path)
