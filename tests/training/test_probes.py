"""Fitting a probe: scikit-learn's weights in a package, a penalty that unseen groups choose, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minescale.errors import ModelError, UsageError
from minescale.labels.sets.units import as_reflectance
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.training.api import train
from minescale.training.config import TrainConfig
from tests.training.toys import BANDS, chip_set, split_of

linear = pytest.importorskip("sklearn.linear_model", reason="minescale[train] is not installed")


def config(**changes: Any) -> TrainConfig:
    return TrainConfig.of({"name": "tiny-probe", "family": "probe", **changes})


def test_weights_are_those_of_scikit_learn(tmp_path: Path) -> None:
    dataset = chip_set(90, size=16)
    made = train(dataset, split_of(dataset), config(hyperparameters={"l2": 0.1}), tmp_path)
    assert made is not None
    learnt = as_reflectance(split_of(dataset).of(dataset, "train"), BANDS)
    images = np.stack([learnt.reader.image(row) for row in range(len(learnt))]).astype(np.float32) * np.float32(1e-4)
    predictor = load_predictor(made.package, "cpu")
    import torch

    with torch.inference_mode():
        features = predictor.network.features(torch.from_numpy(images)).numpy()  # type: ignore[attr-defined]
    labels = learnt.samples["label"].to_numpy()
    x = np.clip((features - features.mean(axis=0)) / features.std(axis=0), -8, 8)
    model = linear.LogisticRegression(C=1 / (0.1 * len(x)), class_weight="balanced", max_iter=5000).fit(x, labels)
    np.testing.assert_allclose(predictor.classify(images), model.predict_proba(x), atol=1e-3)  # type: ignore[attr-defined]
    assert made.metrics["test"]["auc"] > 0.95
    assert made.metrics["training"]["chosen_by"] == "the settings"
    assert load_package(made.package.path).spec.family == "probe"


def test_left_out_groups_choose_the_penalty(tmp_path: Path) -> None:
    dataset = chip_set(90, size=16)
    penalties = [0.01, 0.3, 100.0]
    made = train(dataset, split_of(dataset), config(hyperparameters={"l2": penalties, "folds": 3}), tmp_path)
    assert made is not None
    path = json.loads((tmp_path / "training_history.json").read_text())["path"]
    assert [step["l2"] for step in path] == penalties
    losses = [step["left_out_loss"] for step in path]
    assert made.metrics["training"]["l2"] == penalties[int(np.argmin(losses))]
    assert losses[2] > min(losses) + 0.05, "so large a penalty leaves nothing of the weights"
    again = train(dataset, split_of(dataset), config(hyperparameters={"l2": penalties, "folds": 3}), tmp_path)
    assert again is not None
    assert again.package.digest == made.package.digest


def test_a_base_lends_features_licence_and_attribution(tmp_path: Path) -> None:
    dataset = chip_set(60, size=16)
    made = train(dataset, split_of(dataset), config(hyperparameters={"base": "amw-patch-rgb", "l2": 0.3}), tmp_path)
    assert made is not None
    base = load_package("amw-patch-rgb")
    spec = made.package.spec
    assert spec.hyperparameters["base"]["digest"] == base.digest
    assert spec.licence == "CC0-1.0 AND MIT AND CC-BY-4.0"
    assert spec.training["base_attribution"] == base.spec.training["attribution"]
    ours, theirs = made.package.weights(), base.weights()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[f"base.network.{name}"], array)
    unlicensed = chip_set(60, size=16, licence="none")
    kept = train(unlicensed, split_of(unlicensed), config(hyperparameters={"base": str(base.path)}), tmp_path / "none")
    assert kept is not None
    assert kept.package.spec.licence == "none"


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    dataset = chip_set(60, size=16)
    split = split_of(dataset)
    for options, message in (
        ({"l2": -1}, "settings of a probe"),
        ({"l2": []}, "settings of a probe"),
        ({"l2": "much"}, "settings of a probe"),
        ({"folds": 1}, "settings of a probe"),
        ({"base": "amw-screen-rgb"}, "patch classifier of one date"),
        ({"width": 8}, "unknown hyperparameter"),
    ):
        with pytest.raises(ModelError, match=message):
            train(dataset, split, config(hyperparameters=options), tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=r"(?s)no use for.*run\.epochs"):
        train(dataset, split, config(run={"epochs": 3}), tmp_path / "out")
    with pytest.raises(UsageError, match=r"(?s)no use for.*augment\.mixup, initial_weights"):
        train(dataset, split, config(augment={"mixup": 0.4}, initial_weights="x.safetensors"), tmp_path / "out")
