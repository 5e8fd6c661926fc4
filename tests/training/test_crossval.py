"""Cross-validation: every sample judged once by a model that has not seen its site, fold by fold and pooled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minescale.errors import ModelError, UsageError
from minescale.evaluation.baselines import OPTIMISTIC
from minescale.evaluation.decide import fit_calibration
from minescale.evaluation.scored import Scored, recalibrated, rescored, score_dataset
from minescale.evaluation.tally import pooled, tally
from minescale.kernels.ranking import area_under_roc
from minescale.labels.auditing.splitting import kfold
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.models.ensemble import write_ensemble
from minescale.models.nearby import Nearby
from minescale.models.package import ModelPackage, load_package, write_package
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
    result = train_members(dataset, split_of(dataset), configs, tmp_path, name="two", views=4)
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
    again = train_members(dataset, split_of(dataset), configs, tmp_path, name="two", views=4)
    assert again is not None
    assert again.package.digest == result.package.digest


def test_pairs_of_folds_average_what_left_a_fold_out(tmp_path: Path) -> None:
    dataset = pixel_set()
    splits = kfold(dataset, "site", 3, test=True)
    config = settings("unet", **{"run.monitor": "last"})
    found = cross_validate(dataset, splits, [config], tmp_path, pairs=True)
    assert found.figures["pairs"]
    assert found.figures["pooled"]["n"] == 20
    trained = sorted(path.name for path in tmp_path.glob("pair-*"))
    assert trained == ["pair-0-1", "pair-0-2", "pair-1-2"]
    folds = [set(dataset.samples["id"].iloc[split.rows(dataset, "test")]) for split in splits]
    for name in trained:
        parts = json.loads((tmp_path / name / "split.json").read_text())["parts"]
        first, second = (int(part) for part in name.split("-")[1:])
        left = {sample for sample, part in parts.items() if part == "val"}
        assert left == folds[first] | folds[second]
        assert {sample for sample, part in parts.items() if part == "train"} == set(parts) - left
    raw = {name: replace_calibration(load_package(tmp_path / name / "package"), tmp_path / name) for name in trained}
    for number, result in enumerate(found.folds):
        package, mine = result.package, [name for name in trained if str(number) in name.split("-")[1:]]
        assert package.spec.hyperparameters["members"] == [raw[name].digest for name in mine]
        # The package says of the fold what was judged, and is calibrated on the others without it.
        test = splits[number].of(dataset, "test")
        again = tally(score_dataset(load_predictor(package, "cpu"), test)).confusion(package.spec.threshold)
        assert again.sum(axis=0).tolist() == [result.metrics["test"]["confusion"][k] for k in ("tp", "fp", "fn", "tn")]
        assert result.metrics["val"]["n"] == 20 - len(folds[number])
        assert "had not seen its site" in result.metrics["val"]["val"]
        assert result.metrics["val"]["caveat"] == ""
        chosen = [result.metrics[part]["baselines"]["best_single_index"]["chosen_on"] for part in ("val", "test")]
        assert [text == OPTIMISTIC for text in chosen] == [True, False]
        assert package.spec.training["samples"]["train"] == 20 - len(folds[number])
        kept = json.loads((tmp_path / f"fold-{number}" / "config.json").read_text())
        assert kept["config"]["pairs"]
        seen: list[Scored] = []
        for name in mine:
            other = next(int(part) for part in name.split("-")[1:] if int(part) != number)
            seen.append(
                score_dataset(load_predictor(raw[name], "cpu"), splits[other].of(dataset, "test"), keep_maps=True)
            )
        maps = tuple(values for scored in seen for values in scored.maps or ())
        rows = np.concatenate([splits[o].rows(dataset, "test") for o in range(3) if o != number])
        joined = rescored(raw[mine[0]].spec, dataset.subset(rows), maps)
        wanted = fit_calibration(joined)["temperature"]
        assert package.spec.calibration["temperature"] == pytest.approx(wanted, rel=1e-4)
    # The same call goes on from what is there.
    again = cross_validate(dataset, splits, [config], tmp_path, pairs=True)
    assert [r.package.digest for r in again.folds] == [r.package.digest for r in found.folds]


@pytest.mark.parametrize("pairs", [True, False])
def test_what_is_nearby_counts_after_networks_are_averaged(pairs: bool, tmp_path: Path) -> None:
    dataset = pixel_set()
    splits = kfold(dataset, "site", 3, test=True)
    config = settings("unet", **{"run.monitor": "last", "run.epochs": 2})
    near = Nearby(radius=8, weight=0.75)
    found = cross_validate(dataset, splits, [config], tmp_path, nearby=near, pairs=pairs)
    assert found.figures["nearby"] == {"radius": 8, "weight": 0.75}
    for number, result in enumerate(found.folds):
        package, test = result.package, splits[number].of(dataset, "test")
        assert package.spec.hyperparameters["nearby"] == near.to_dict()
        # Scores rise where they are weighed: what is written is a probability again.
        assert package.spec.calibration["method"] == "isotonic"
        assert (
            result.metrics["val"]["calibration"]["ece"] < 0.01 < result.metrics["val"]["calibration"]["before"]["ece"]
        )
        again = tally(score_dataset(load_predictor(package, "cpu"), test)).confusion(package.spec.threshold)
        assert again.sum(axis=0).tolist() == [result.metrics["test"]["confusion"][k] for k in ("tp", "fp", "fn", "tn")]
        members = [load_package(path) for path in sorted(package.path.glob("member-*"))]
        mean = write_ensemble(tmp_path / f"plain-{number}", members, name="plain")
        plain = score_dataset(load_predictor(mean, "cpu"), test, keep_maps=True).maps or ()
        assert len(plain) == len(test)
        weighed = rescored(package.spec, test, [near.weighed(score) for score in plain])
        wanted = tally(recalibrated(weighed, package.spec.calibration))
        assert result.metrics["test"]["auc"] == pytest.approx(area_under_roc(*wanted.totals()), abs=1e-5)
        if pairs:
            # The threshold is of scores that were weighed alike.
            others = [o for o in range(3) if o != number]
            rows, left_out = [], []
            for other in others:
                alone = load_package(tmp_path / f"pair-{min(number, other)}-{max(number, other)}" / "package")
                seen = score_dataset(
                    load_predictor(replace_calibration(alone, tmp_path / f"{number}-{other}"), "cpu"),
                    splits[other].of(dataset, "test"),
                    keep_maps=True,
                )
                rows.append(splits[other].rows(dataset, "test"))
                left_out += [near.weighed(score) for score in seen.maps or ()]
            joined = rescored(package.spec, dataset.subset(np.concatenate(rows)), left_out)
            assert package.spec.calibration == fit_calibration(joined, "isotonic")
    with pytest.raises(UsageError, match="other settings"):
        cross_validate(dataset, splits, [config], tmp_path, nearby=Nearby(16, 0.75), pairs=pairs)


def test_samples_of_any_size_are_weighed_as_the_package_does(tmp_path: Path) -> None:
    # Larger than a window of the plain mean, not than one of the mean that weighs.
    dataset = pixel_set(9, size=136)
    splits = kfold(dataset, "site", 3, test=True)
    config = settings("unet", patch=128, **{"run.monitor": "last", "run.epochs": 1})
    found = cross_validate(dataset, splits, [config], tmp_path, nearby=Nearby(16, 0.75), pairs=True)
    for number, result in enumerate(found.folds):
        package = result.package
        assert package.spec.patch - 2 * 16 < 136 <= package.spec.patch
        scored = score_dataset(load_predictor(package, "cpu"), splits[number].of(dataset, "test"))
        assert result.metrics["test"]["auc"] == pytest.approx(area_under_roc(*tally(scored).totals()), abs=1e-5)


def test_chips_and_single_pixels_are_refused_before_they_are_trained(tmp_path: Path) -> None:
    chips, pixels, near = chip_set(), pixel_set(), Nearby(8, 0.75)
    last = {"run.monitor": "last"}
    for dataset, config in ((chips, settings("patchcnn", **last)), (pixels, settings("forest", **_FOREST))):
        for pairs in (True, False):
            with pytest.raises(UsageError, match="nothing is nearby"):
                cross_validate(
                    dataset, kfold(dataset, "site", 3, test=True), [config], tmp_path, nearby=near, pairs=pairs
                )
        with pytest.raises(UsageError, match="nothing is nearby"):
            train_members(dataset, split_of(dataset), [config], tmp_path, name="two", nearby=near)
    assert not list(tmp_path.iterdir())


def replace_calibration(package: ModelPackage, folder: Path) -> ModelPackage:
    return write_package(
        folder / "raw", package.spec.replace(calibration={}, threshold=0.5), package.weights(), "card", {}
    )


def test_pairs_of_chips_and_views(tmp_path: Path) -> None:
    dataset = chip_set()
    configs = [settings("patchcnn", seed=seed, **{"run.monitor": "last", "run.epochs": 1}) for seed in (0, 1)]
    splits = kfold(dataset, "site", 3, test=True)
    found = cross_validate(dataset, splits, configs, tmp_path, pairs=True, views=4)
    assert len(list(tmp_path.glob("pair-*"))) == 6
    for number, result in enumerate(found.folds):
        assert len(result.package.spec.hyperparameters["members"]) == 4
        scored = score_dataset(load_predictor(result.package, "cpu"), splits[number].of(dataset, "test"))
        assert result.metrics["test"]["auc"] == pytest.approx(area_under_roc(*tally(scored).totals()), abs=1e-6)


def test_pairs_where_an_epoch_is_chosen_are_refused(tmp_path: Path) -> None:
    dataset = pixel_set()
    with pytest.raises(UsageError, match="no epoch may be chosen"):
        cross_validate(dataset, kfold(dataset, "site", 3, test=True), [settings("unet")], tmp_path, pairs=True)
    config = settings("unet", **{"run.monitor": "last"})
    with pytest.raises(UsageError, match="3 or more"):
        cross_validate(dataset, [split_of(dataset)], [config], tmp_path, pairs=True)
    splits = kfold(dataset, "site", 4, test=True)
    with pytest.raises(UsageError, match="trains and watches other samples"):
        cross_validate(dataset, splits[:3], [config], tmp_path, pairs=True)
    with pytest.raises(UsageError, match="trained in epochs"):
        cross_validate(dataset, splits, [settings("forest", **_FOREST)], tmp_path, pairs=True)
    three = ClassMap(names=(*dataset.classes.names, "cloud"), ignore=dataset.classes.ignore)
    with pytest.raises(UsageError, match="two classes"):
        cross_validate(replace(dataset, classes=three), splits, [config], tmp_path, pairs=True)
    assert not list(tmp_path.iterdir())


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
