"""A model with known scores judged on small sets of chips and of pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, roc_auc_score

from minescale.errors import UsageError
from minescale.evaluation.evaluate import evaluate
from minescale.evaluation.files import write_evaluation
from minescale.evaluation.skill import skill_of_confusion
from minescale.models.package import ModelPackage
from tests.evaluation.models import chip_set, pixel_set, rule_package


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return rule_package(tmp_path_factory.mktemp("models") / "rule")


def test_pixels(package: ModelPackage) -> None:
    dataset = pixel_set()
    found = evaluate(package, dataset).to_dict()
    images = np.stack([dataset.reader.image(k) for k in range(len(dataset))]).astype(float)
    score = (1 - (images[:, 1] - images[:, 0]) / images.sum(axis=1)) / 2
    truth = np.stack([dataset.reader.mask(k) for k in range(len(dataset))]).astype(bool)
    assert found["unit"] == "pixel"
    assert found["n"] == 6
    assert found["prevalence"] == pytest.approx(truth.mean())
    assert found["auc"] == pytest.approx(roc_auc_score(truth.ravel(), score.ravel()), abs=1e-3)
    assert found["iou"] == pytest.approx(jaccard_score(truth.ravel(), np.rint(score * 250).ravel() >= 125), abs=1e-9)
    assert found["intervals"]["iou"][0] <= found["iou"] <= found["intervals"]["iou"][1]
    assert found["false_alarms"][0]["kind"] == "sandbar"
    json.dumps(found, allow_nan=False)


def test_chips(package: ModelPackage) -> None:
    dataset = chip_set()
    made = evaluate(package, dataset)
    found = made.to_dict()
    assert found["unit"] == "chip"
    assert set(found["sensitivity_at_specificity"]) == {"0.95", "0.98", "0.99"}
    assert found["auc"] == pytest.approx(roc_auc_score(dataset.samples["label"], made.scored.chips))
    index = found["baselines"]["best_single_index"]
    assert index["auc"] >= found["auc"]
    assert "optimistic" in index["chosen_on"]
    # The rule is one index, so it cannot be above the best one.
    assert found["no_skill"]
    assert any("not above" in reason for reason in found["no_skill_reasons"])
    json.dumps(found, allow_nan=False)


def test_an_index_chosen_elsewhere(package: ModelPackage) -> None:
    found = evaluate(package, chip_set(seed=1), reference=chip_set(seed=2, name="other")).to_dict()
    index = found["baselines"]["best_single_index"]
    assert index["chosen_on"] == "other"
    assert 0 < index["f1"] < 1


def test_index_and_rule_agree_on_pixels(package: ModelPackage) -> None:
    found = evaluate(package, pixel_set()).to_dict()
    index = found["baselines"]["best_single_index"]
    assert index["feature"] == "ND_red_nir"
    assert index["direction"] == ">="
    assert index["auc"] == pytest.approx(found["auc"], abs=1e-3)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class(package: ModelPackage, label: int) -> None:
    dataset = chip_set()
    only = dataset.subset(np.flatnonzero(dataset.samples["label"] == label))
    found = evaluate(package, only).to_dict()
    assert found["auc"] is None
    assert found["at_threshold"]["f1"] is None
    assert "auc" in found["undefined"]
    assert found["no_skill"]
    assert found["at_threshold"]["specificity" if label == 0 else "recall"] is not None


def test_what_is_not_known_does_not_count(package: ModelPackage) -> None:
    dataset = chip_set()
    labels = dataset.samples["label"].astype(float)
    labels[:6] = np.nan
    dataset.samples["label"] = labels
    images = dataset.reader.images  # type: ignore[attr-defined]
    images[10] = 0
    found = evaluate(package, dataset).to_dict()
    assert found["n"] == 53
    assert found["units"]["unlabelled_samples"] == 6
    assert found["units"]["unseen"] == 1


@pytest.mark.parametrize(("name", "said"), [("mine-set", True), ("mine-set/train", True), ("mine-set/test", False)])
def test_samples_that_a_model_was_trained_on_are_said(tmp_path: Path, name: str, said: bool) -> None:
    taught = rule_package(tmp_path / "taught", training={"data": "mine-set"})
    caveat = evaluate(taught, chip_set(name=name), caveat="One.", bootstrap=0).to_dict()["caveat"]
    assert caveat.startswith("One.")
    assert ("was trained on samples of" in caveat) == said


def test_bad_input(package: ModelPackage) -> None:
    with pytest.raises(UsageError, match="threshold"):
        evaluate(package, chip_set(), threshold=1.5)
    with pytest.raises(UsageError, match="lacks bands"):
        evaluate(package, chip_set(bands=("red", "blue")))
    with pytest.raises(UsageError, match="resamples"):
        evaluate(package, chip_set(), bootstrap=-1)
    empty = chip_set()
    empty.samples["label"] = np.nan
    with pytest.raises(UsageError, match="nothing to evaluate"):
        evaluate(package, empty)


def test_files_appear_whole(package: ModelPackage, tmp_path: Path) -> None:
    made = evaluate(package, pixel_set(), caveat="trained on its test")
    write_evaluation(made, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["caveat"] == "trained on its test"
    raw = json.loads((tmp_path / "out" / "confusion.json").read_text())
    for name in ("tp", "fp", "fn", "tn"):
        assert raw["total"][name] == sum(row[name] for row in raw["samples"]) == found["at_threshold"][name]
    with pytest.raises(UsageError, match="exists"):
        write_evaluation(made, tmp_path / "out")
    write_evaluation(made, tmp_path / "out", overwrite=True)


def test_published_figures_without_skill() -> None:
    """Precision 0.055 and recall 0.997 where 5.49 % is mined: what painting nearly everything mine reaches."""
    total, prevalence, precision, recall = 10**6, 0.0549, 0.055, 0.997
    tp = recall * prevalence * total
    fp = tp / precision - tp
    found = skill_of_confusion(tp, fp, prevalence * total - tp, (1 - prevalence) * total - fp)
    assert found.no_skill
    assert found.score.precision == pytest.approx(0.055)
    assert found.score.f1 < found.baselines["all_positive"].f1 + 0.001
    assert abs(found.score.mcc) < 0.03
    good = skill_of_confusion(0.8 * 54900, 0.02 * 945100, 0.2 * 54900, 0.98 * 945100)
    assert not good.no_skill
    with pytest.raises(UsageError, match="counts"):
        skill_of_confusion(-1, 0, 0, 2)


def test_nearly_everything_mined_can_still_be_told_apart() -> None:
    """0.02 above the F1 of calling everything is more than 1 there."""
    assert not skill_of_confusion(980, 0, 0, 20).no_skill
    assert skill_of_confusion(980, 15, 0, 5).no_skill


def test_pixels_of_another_size_are_said(package: ModelPackage) -> None:
    assert evaluate(package, pixel_set()).figures["warnings"] == []
    found = evaluate(package, pixel_set(resolution_m=30)).figures["warnings"]
    assert len(found) == 1
    assert "30 m" in found[0]
