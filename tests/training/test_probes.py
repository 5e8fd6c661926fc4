"""Fitting a probe: scikit-learn's weights in a package, a penalty that unseen groups choose, and clear refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minescale.errors import ModelError, UsageError
from minescale.labels.sets.dataset import ArrayReader
from minescale.labels.sets.units import as_reflectance
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.training.api import train, train_members
from minescale.training.config import TrainConfig
from minescale.training.probes import joined_licence, left_out_losses
from tests.training.toys import BANDS, chip_set, settings, split_of

linear = pytest.importorskip("sklearn.linear_model", reason="minescale[train] is not installed")


def config(**changes: Any) -> TrainConfig:
    return TrainConfig.of({"name": "tiny-probe", "family": "probe", **changes})


def test_weights_are_those_of_scikit_learn(tmp_path: Path) -> None:
    dataset = chip_set(150, size=16)
    row = int(np.flatnonzero([part == "train" for part in map(split_of(dataset).parts.get, dataset.samples["id"])])[0])
    dataset.reader.images[row, 3, :8] = 9000  # type: ignore[attr-defined]  # so far off that scaled features are cut
    made = train(dataset, split_of(dataset), config(hyperparameters={"l2": 0.1}), tmp_path)
    assert made is not None
    learnt = as_reflectance(split_of(dataset).of(dataset, "train"), BANDS)
    images = np.stack([learnt.reader.image(row) for row in range(len(learnt))]).astype(np.float32) * np.float32(1e-4)
    predictor = load_predictor(made.package, "cpu")
    import torch

    with torch.inference_mode():
        features = predictor.network.features(torch.from_numpy(images)).numpy()  # type: ignore[attr-defined]
    labels = learnt.samples["label"].to_numpy()
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    assert np.abs(scaled).max() > 8
    x = np.clip(scaled, -8, 8)
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


def test_no_group_is_on_both_sides_and_classes_count_alike() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 5)
    labels = (rng.random(60) < 0.2).astype(np.int64)
    labels[::5] = np.arange(12) % 2
    x = rng.normal(size=(60, 3)) + labels[:, None]
    seen: list[np.ndarray] = []

    class Half:
        """Says 0.25 for class 1, whatever it sees."""

        def predict_proba(self, others: np.ndarray) -> np.ndarray:
            return np.tile([0.75, 0.25], (len(others), 1))

    def fit(rows: np.ndarray, penalty: float) -> Half:
        assert penalty in (1.0, 2.0)
        seen.append(rows)
        return Half()

    losses, used = left_out_losses(fit, x, labels, groups, [1.0, 2.0], 4, seed=3)
    assert used == 4
    assert losses == pytest.approx([-(np.log(0.75) + np.log(0.25)) / 2] * 2)
    for rows in seen:
        assert not set(groups[rows]) & set(np.delete(groups, rows))
    other: list[np.ndarray] = []
    left_out_losses(lambda rows, _: (other.append(rows), Half())[1], x, labels, groups, [1.0], 4, seed=4)
    assert any(not np.array_equal(a, b) for a, b in zip(seen[::2], other, strict=True))
    with pytest.raises(ModelError, match="no group of train can be left out"):
        left_out_losses(fit, x, labels, np.zeros(60, int), [1.0, 2.0], 4, seed=3)


@pytest.mark.parametrize("dates", [1, 2])
def test_any_patch_classifier_is_a_base(tmp_path: Path, dates: int) -> None:
    """One of tied weights, another width and depth, that takes logarithms: its features are the package's own."""
    torch = pytest.importorskip("torch")
    first = chip_set(60, size=24)
    options = {"width": 8, "blocks": 2, "symmetric": True, "logarithm": True}
    changes = {"hyperparameters": options, "bands": ["red", "green", "blue"], "run.epochs": 1}
    base = train(first, split_of(first), settings("patchcnn", **changes), tmp_path / "base")
    assert base is not None
    dataset = first
    if dates == 2:
        dataset = replace(first, bands=("t0_green", "t0_blue", "t0_red", "t1_green", "t1_blue", "t1_red"))
        images = first.reader.images  # type: ignore[attr-defined]
        both = np.concatenate([images[::-1, [1, 0, 2]], images[:, [1, 0, 2]]], axis=1)
        dataset = replace(dataset, reader=ArrayReader(np.ascontiguousarray(both)))
    made = train(
        dataset, split_of(dataset), config(hyperparameters={"base": str(base.package.path), "l2": 1}), tmp_path / "p"
    )
    assert made is not None
    mine, theirs = load_predictor(made.package, "cpu"), load_predictor(base.package, "cpu")
    x = np.random.default_rng(0).uniform(0.01, 0.4, (3, len(dataset.bands), 24, 24)).astype(np.float32)
    with torch.inference_mode():
        got = mine.network.features(torch.from_numpy(x))  # type: ignore[attr-defined]
        parts = []
        for date in range(dates):
            part = x[:, 3 * date :][:, [2, 0, 1]] if dates == 2 else x[:, [2, 1, 0]]
            scaled = theirs.scaled(part)  # type: ignore[attr-defined]
            parts.append(theirs.network.features(scaled))  # type: ignore[attr-defined]
        deep = torch.cat(parts, dim=1)
    wanted = torch.cat([deep.mean(dim=(2, 3)), deep.amax(dim=(2, 3))], dim=1)
    torch.testing.assert_close(got[:, -wanted.shape[1] :], wanted, atol=1e-5, rtol=1e-5)


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
    card = (made.package.path / "model_card.md").read_text()
    assert f"Features are in part those of amw-patch-rgb {base.spec.version}, attribution: Earth Genome" in card
    assert base.spec.training["caveat"] in card


def test_licences_of_two_things() -> None:
    assert joined_licence("MIT", "MIT AND CC-BY-4.0") == "MIT AND CC-BY-4.0"
    assert joined_licence("MIT OR Apache-2.0", "CC0-1.0") == "(MIT OR Apache-2.0) AND CC0-1.0"
    assert joined_licence("CC0-1.0", "none") == "none"
    assert joined_licence("other", "CC0-1.0") == "other"
    assert joined_licence("other", "none") == "none"


def test_what_cannot_be_fitted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = chip_set(60, size=16)
    split = split_of(dataset)
    for options, message in (
        ({"l2": -1}, "settings of a probe"),
        ({"l2": []}, "settings of a probe"),
        ({"l2": "much"}, "settings of a probe"),
        ({"folds": 1}, "settings of a probe"),
        ({"base": "amw-screen-rgb"}, "patch classifier of one date"),
        ({"base": False}, r"(?s)base.*got: False.*folder of one"),
        ({"width": 8}, "unknown hyperparameter"),
        ({"logarithm": True}, "takes reflectance as it is"),
    ):
        with pytest.raises(ModelError, match=message):
            train(dataset, split, config(hyperparameters=options), tmp_path / "out")
        assert not (tmp_path / "out").exists()
    for changes, message in (
        ({"run": {"epochs": 3}}, r"(?s)no use for.*run\.epochs"),
        ({"augment": {"mixup": 0.4}, "initial_weights": "x"}, r"(?s)no use for.*augment\.mixup, initial_weights"),
    ):
        with pytest.raises(UsageError, match=message):
            train(dataset, split, config(**changes), tmp_path / "out")
    coarse = chip_set(60, size=16, resolution_m=30.0)
    with pytest.raises(ModelError, match=r"(?s)does not run at the set's resolution.*30 m.*6.67 to 15 m"):
        train(coarse, split, config(hyperparameters={"base": "amw-patch-rgb"}), tmp_path / "out")
    with pytest.raises(UsageError, match="PyTorch"):
        train(dataset, split, config(), tmp_path / "out", device="openvino")
    one_sided = chip_set(60, size=16)
    one_sided.samples.loc[one_sided.samples["site"] == "place 3", "label"] = 0
    with pytest.raises(UsageError, match="val has no labels of both sides"):
        train(one_sided, split_of(one_sided), config(), tmp_path / "out", force=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"(?s)one process.*without torchrun"):
        train(dataset, split, config(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_training_is_left_alone(tmp_path: Path) -> None:
    dataset = chip_set(60, size=16)
    made = train(dataset, split_of(dataset), config(hyperparameters={"l2": 0.1}), tmp_path)
    assert made is not None
    held = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="holds a training with other settings"):
        train(dataset, split_of(dataset), config(hyperparameters={"l2": 0.5}), tmp_path)
    assert held == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    anew = train(dataset, split_of(dataset), config(hyperparameters={"l2": 0.5}), tmp_path, resume=False)
    assert anew is not None
    assert anew.package.digest != made.package.digest


def test_members_and_networks_leave_it_alone_too(tmp_path: Path) -> None:
    dataset = chip_set(60, size=16)
    split = split_of(dataset)
    two = [config(hyperparameters={"l2": value}) for value in (0.1, 0.2)]
    assert train_members(dataset, split, two, tmp_path / "two", name="mean") is not None
    assert train(dataset, split, two[0], tmp_path / "one") is not None
    held = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = [two[0], config(hyperparameters={"l2": 0.3})]
    with pytest.raises(UsageError, match="holds a training with other settings"):
        train_members(dataset, split, other, tmp_path / "two", name="mean")
    with pytest.raises(UsageError, match="holds a training with other settings"):
        train(dataset, split, settings("patchcnn"), tmp_path / "one")
    assert held == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert train_members(dataset, split, two, tmp_path / "two", name="mean") is not None
