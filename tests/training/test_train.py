"""From a labelled set to a package with scores: every task, what is refused, and what lies in the folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minescale.errors import ModelError, UsageError
from minescale.evaluation.coarser import coarser
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.split import Split
from minescale.labels.sets.units import as_reflectance
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec
from minescale.models.windows import peak_bytes, work_of_tile
from minescale.training.api import TrainResult, train
from minescale.training.checkpoint import CHECKPOINT
from minescale.training.loop import BEST, FINAL
from minescale.training.progress import EpochDone, Event, Note
from minescale.training.samples import Samples
from minescale.training.specification import make_spec
from tests.training.toys import BANDS, THREE_CLASS, chip_set, pixel_set, settings, split_of

FILES = {BEST, FINAL, CHECKPOINT, "config.json", "curves.png", "package", "split.json", "training_history.json"}


def trained(dataset: Dataset, out: Path, family: str = "unet", **options: Any) -> TrainResult:
    split, changes = options.pop("split", split_of(dataset)), options.pop("changes", {})
    made = train(dataset, split, settings(family, **changes), out, device="cpu", **options)
    assert made is not None
    return made


def test_a_unet_of_three_classes(tmp_path: Path) -> None:
    changes = {"target": "mining", "run.epochs": 10, "batch.crops": 2, "loss.terms": "cross_entropy + dice"}
    made = trained(pixel_set(n=20, size=32, classes=THREE_CLASS), tmp_path / "out", changes=changes)
    assert {p.name for p in made.folder.iterdir()} == FILES
    spec = made.package.spec
    assert (spec.classes, spec.target, spec.task) == (("background", "cloud", "mining"), "mining", "pixels")
    assert spec.calibration["method"] == "temperature"
    assert spec.training["samples"] == {"train": 12, "val": 4, "test": 4}
    test = made.metrics["test"]
    assert test["auc"] > 0.95
    assert test["threshold"] == spec.threshold
    per_class = test["classes"]
    assert set(per_class["per_class"]) == set(spec.classes)
    assert all({"precision", "recall", "f1", "iou"} <= set(v) for v in per_class["per_class"].values())
    assert 0.5 < per_class["mean_iou"] <= 1
    assert {p.name for p in (made.package.path / "metrics").iterdir()} == {
        *("audit.json", "test.json", "training.json", "val.json")
    }
    image = np.random.default_rng(0).uniform(0.01, 0.4, (1, 4, 64, 64)).astype(np.float32)
    scores = load_predictor(load_package(made.package.path), "cpu").predict(image)
    assert scores.shape == (1, 3, 64, 64)
    assert "| test | cloud |" in (made.package.path / "model_card.md").read_text()
    recorded = json.loads((made.folder / "config.json").read_text())
    assert recorded["digest"] == settings("unet", **changes).digest


def test_a_patch_classifier_of_unlicensed_chips(tmp_path: Path) -> None:
    dataset = replace(chip_set(), licence="none")
    changes = {"run.epochs": 4, "batch.positives": 0.5, "run.monitor": "val_auc", "optimiser.ema": 0.5}
    made = trained(dataset, tmp_path, "patchcnn", changes=changes)
    assert made.package.spec.licence == "none"
    assert made.package.spec.chip == 16
    card = (made.package.path / "model_card.md").read_text()
    assert "Not to be passed on" in card
    for word in ("all positive", "best single index", "Prevalence", "Intended use", "val: unseen sites"):
        assert word in card
    # Asked again, the same command trains nothing and finds the same package.
    events: list[Event] = []
    again = trained(dataset, tmp_path, "patchcnn", changes=changes, tell=events.append)
    assert again.package.digest == made.package.digest
    assert [type(event) for event in events] == [Note]
    # Another training starts from these weights, on other bands.
    start = {"initial_weights": str(tmp_path / BEST), "bands": ["red", "swir16"], "run.epochs": 1}
    other = replace(dataset, bands=("blue", "green", "red", "swir16"))
    report = trained(other, tmp_path / "next", "patchcnn", changes=start).metrics["training"]["initial_weights"]
    assert report["file_bands"] == list(BANDS)
    assert report["bands"] == ["red", "swir16"]
    assert len(report["inflated"]) == 1
    assert report["random"] == []


def test_two_dates(tmp_path: Path) -> None:
    pairs = replace(chip_set(), bands=("t0_red", "t0_nir", "t1_red", "t1_nir"))
    made = trained(pairs, tmp_path, "patchcnn", changes={"run.epochs": 1, "augment.atmosphere": 0.5})
    assert (made.package.spec.dates, made.package.spec.bands) == (2, ("red", "nir"))
    assert len(made.package.spec.mean or ()) == 4
    red = trained(pairs, tmp_path / "red", "patchcnn", changes={"run.epochs": 1, "bands": ["red"]})
    assert red.package.spec.channels == ("t0_red", "t1_red")


def test_a_failed_audit_refuses_or_is_said_with_every_score(tmp_path: Path) -> None:
    dataset = pixel_set(n=20, size=16)
    parts = {f"s{i:03d}": ("train", "val", "test")[i // 5 % 3] for i in range(20)}
    leaking = Split(parts=parts, rule="image", settings={})
    with pytest.raises(UsageError, match="fails its audit"):
        trained(dataset, tmp_path / "out", split=leaking)
    assert not (tmp_path / "out").exists()
    made = trained(dataset, tmp_path / "out", split=leaking, force=True, changes={"run.epochs": 1})
    for part in ("val", "test"):
        assert "no evidence of skill" in made.metrics[part]["caveat"]
    assert "no evidence of skill" in (made.package.path / "model_card.md").read_text()
    assert "no evidence of skill" in made.package.spec.training["caveat"]


def test_a_pixel_table_is_fitted_by_the_same_call(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    changes = {"hyperparameters": {"features": ["bands"], "lambdas": 5, "folds": 2, "bootstrap": 0}}
    dataset = pixel_set(n=20, size=16, provenance={"attribution": "made by a test"})
    made = trained(dataset, tmp_path, "logistic", changes=changes)
    assert made.package.spec.family == "pixel"
    assert made.metrics["test"]["auc"] > 0.99
    assert made.package.spec.training["attribution"] == "made by a test"
    assert made.package.spec.clip is None
    assert not (tmp_path / "curves.png").exists()


def test_a_table_of_patches_is_judged_on_patches(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    dataset = pixel_set(n=20, size=34)
    # Pixels are noisy beyond use; their means over squares are not.
    noise = np.random.default_rng(1).normal(0, 3000, dataset.reader.images.shape)  # type: ignore[attr-defined]
    images = np.clip(dataset.reader.images + noise + 9000, 1, 30000).astype(np.uint16)  # type: ignore[attr-defined]
    noisy = replace(dataset, reader=replace(dataset.reader, images=images))  # type: ignore[type-var]
    options = {"features": ["bands"], "lambdas": 5, "folds": 2, "bootstrap": 0, "patch": 4}
    made = trained(noisy, tmp_path, "logistic", changes={"hyperparameters": options})
    test = made.metrics["test"]
    assert made.package.spec.resolution == test["data"]["resolution_m"] == 40.0
    assert sum(test["units"][side] for side in ("positive", "negative", "unseen")) == 4 * 9 * 9
    assert test["auc"] > 0.8


def test_clusters_without_labels_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pixel_set(n=20, size=16)
    bare = replace(dataset, reader=ArrayReader(dataset.reader.images))  # type: ignore[attr-defined]
    monkeypatch.setattr("minescale.training.tables.fit.fit_table", None)
    changes = {"hyperparameters": {"target_clusters": [1]}, "target": "mining"}
    for unlabelled, said in ((bare, "no label"), (pixel_set(n=20, size=16), "no mining")):
        if said == "no mining":
            unlabelled.reader.masks[3::5] = 0  # type: ignore[attr-defined]  # all of val
        with pytest.raises(UsageError, match="val has no labels of both sides") as raised:
            trained(unlabelled, tmp_path / "out", "kmeans", changes=changes, force=True)
        assert said in str(raised.value)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dataset", [chip_set(), pixel_set(n=20, size=16)], ids=["chips", "pixels"])
def test_val_is_scored_once(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration keeps the order of scores, so that what it makes of them needs no second look at an image."""
    from minescale.evaluation import evaluate, scored
    from minescale.training import finish

    seen: list[int] = []

    def counted(predictor: Any, part: Dataset, **options: Any) -> scored.Scored:
        seen.append(len(part))
        return score(predictor, part, **options)

    score = scored.score_dataset
    for module in (finish, evaluate):
        monkeypatch.setattr(module, "score_dataset", counted)
    family = "patchcnn" if dataset.reader.mask(0) is None else "unet"
    made = trained(dataset, tmp_path, family, changes={"run.epochs": 2})
    split = split_of(dataset)
    assert seen == [len(split.of(dataset, part)) for part in ("val", "test")]
    # And that is what scoring with the finished package finds.
    again = evaluate.evaluate(made.package, split.of(dataset, "val")).to_dict()
    for name in ("auc", "brier", "at_threshold", "confusion", "calibration"):
        assert again[name] == made.metrics["val"][name]


def test_blocks_have_the_class_that_a_table_takes_them_for() -> None:
    mask = np.array([[[2, 2, 0, 0, 2], [0, 1, 0, 2, 255], [1, 1, 255, 255, 1]]], np.uint8)
    image = np.array([[[[1, 3, 0, 5, 7], [5, 7, 0, 5, 7], [2, 4, 6, 8, 0]]]], np.uint16)
    fine = pixel_set(n=1, classes=THREE_CLASS, bands=("red",), reader=ArrayReader(image, mask))
    found = coarser(fine, 2, 2)
    assert found.resolution_m == 20.0
    np.testing.assert_array_equal(found.reader.image(0), [[[4, 5, 7], [3, 7, 0]]])
    np.testing.assert_array_equal(found.reader.mask(0), [[2, 0, 2], [1, 255, 1]])


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"optimiser.lr": 0.1, "augment.haze": 0.5}, {}, "augment.haze, optimiser.lr"),
        ({"scaling.clip": 0.4}, {}, "scaling.clip"),
        ({"run.epochs": 3}, {}, "run.epochs"),
        ({"initial_weights": "a.safetensors"}, {}, "initial_weights"),
        ({}, {"device": "cuda:0"}, "cuda:0"),
    ],
)
def test_a_table_refuses_what_it_would_not_heed(
    changes: dict[str, Any], options: dict[str, str], said: str, tmp_path: Path
) -> None:
    dataset = pixel_set(n=20, size=16)
    with pytest.raises(UsageError, match=said):
        train(dataset, split_of(dataset), settings("forest", **changes), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bands": ["red", "swir22"]}, "swir22"),
        ({"family": "unit"}, "unet"),
        ({"hyperparameters.widht": 8}, "width"),
        ({"target": "quarry"}, "quarry"),
        ({"scaling": {"mean": [0.1], "std": [0.1]}}, "scaling does not fit"),
        ({"initial_weights": "model.pth"}, "safetensors"),
        ({"family": "sam"}, "initial_weights"),
        ({"augment.airlight": [0.9, 0.1]}, "airlight"),
        ({"patch": 12}, "patch"),
    ],
)
def test_settings_that_do_not_fit_write_nothing(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        trained(pixel_set(n=20, size=16), tmp_path / "out", changes=changes)
    assert not (tmp_path / "out").exists()


def test_sets_that_cannot_be_trained_on_write_nothing(tmp_path: Path) -> None:
    def refused(dataset: Dataset, said: str, **changes: Any) -> None:
        with pytest.raises(UsageError, match=said):
            trained(dataset, tmp_path / "out", changes=changes, force=True)
        assert not (tmp_path / "out").exists()

    refused(replace(pixel_set(n=20, size=16), units="digital number"), "what is reflectance")
    refused(replace(pixel_set(n=20, size=16), resolution_m=None), "how large its pixels are")
    refused(replace(pixel_set(n=20, size=16), bands=("t0_red", "t0_nir", "t1_nir", "t1_red")), "two dates")
    refused(pixel_set(n=20, size=16, classes=THREE_CLASS), "cloud3", target="cloud3")
    nothing = pixel_set(n=20, size=16)
    nothing.reader.masks[3::5] = 0  # type: ignore[attr-defined]  # all of val
    refused(nothing, "val holds one side only")
    gaps = pixel_set(n=20, size=16)
    gaps.reader.images[2] = 0  # type: ignore[attr-defined]
    refused(gaps, "s002")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        trained(pixel_set(n=20, size=16), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_other_settings_need_another_folder_or_a_new_start(tmp_path: Path) -> None:
    dataset = pixel_set(n=20, size=16)
    trained(dataset, tmp_path, changes={"run.epochs": 1})
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ModelError, match="no-resume"):
        trained(dataset, tmp_path, changes={"run.epochs": 1, "seed": 1})
    assert (tmp_path / "config.json").read_bytes() == before
    events: list[Event] = []
    trained(dataset, tmp_path, changes={"run.epochs": 1, "seed": 1}, resume=False, tell=events.append)
    assert len([e for e in events if isinstance(e, EpochDone)]) == 1


def test_other_data_or_another_start_is_not_continued(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"run.epochs": 1}
    dataset, out = pixel_set(n=20, size=16), tmp_path / "out"
    trained(dataset, out, changes=changes)
    inverted = pixel_set(n=20, size=16)
    inverted.reader.masks[:] ^= 1  # type: ignore[attr-defined]
    watched = pixel_set(n=20, size=16)
    watched.reader.masks[3] ^= 1  # type: ignore[attr-defined]  # of val
    classes = replace(dataset.classes, names=("ground", "mine"))
    for other in (
        inverted,
        watched,
        replace(dataset, name="others"),
        replace(dataset, units="toa reflectance x 1e4"),
        replace(dataset, bands=("blue", "green", "red", "swir16")),
        replace(dataset, classes=classes),
    ):
        with pytest.raises(ModelError, match="other settings, data or split"):
            trained(other, out, changes=changes)
    start = tmp_path / "start.safetensors"
    start.write_bytes((out / BEST).read_bytes())
    again = {**changes, "initial_weights": str(start)}
    trained(dataset, tmp_path / "second", changes=again)
    trained(dataset, tmp_path / "second", changes=again)
    trained(dataset, tmp_path / "third", changes={**changes, "seed": 3})
    start.write_bytes((tmp_path / "third" / BEST).read_bytes())
    with pytest.raises(ModelError, match="other settings, data or split"):
        trained(dataset, tmp_path / "second", changes=again)


def test_of_chips_with_odd_edges_the_middle_is_learnt_and_scored(tmp_path: Path) -> None:
    made = trained(chip_set(size=19), tmp_path / "out", "patchcnn", changes={"run.epochs": 1})
    assert made.package.spec.chip == 16
    predictor: Any = load_predictor(load_package(made.package.path), "cpu")
    chips = np.random.default_rng(0).uniform(0.01, 0.4, (3, 4, 19, 21)).astype(np.float32)
    np.testing.assert_array_equal(predictor.classify(chips), predictor.classify(chips[:, :, 1:17, 2:18]))
    with pytest.raises(ModelError, match="7 x 21 pixels"):
        predictor.classify(chips[:, :, :7])
    with pytest.raises(ModelError, match="7 x 7 pixels"):
        trained(chip_set(size=19), tmp_path / "small", "patchcnn", changes={"run.epochs": 1, "batch.crop": 7})


@pytest.mark.parametrize(("family", "window"), [("patchcnn", (56, 656)), ("efficientunet", (192, 928))])
def test_windows_are_as_large_as_two_that_are_a_tile(family: str, window: tuple[int, int]) -> None:
    """A halo wider than the U-Net's would else make three of two or more, and so more than twice the work."""
    spec = _spec(family)
    assert (spec.halo, spec.patch) == window
    narrow = spec.replace(patch=640)
    assert work_of_tile(spec, 1024) < 0.6 * work_of_tile(narrow, 1024)


def test_windows_are_no_larger_than_their_memory_allows() -> None:
    """Two per tile would be 800 pixels, which this network enlarges to 3,733 and takes 3 GB for."""
    spec = _spec("resnet34")
    assert (spec.halo, spec.patch) == (128, 640)
    assert peak_bytes(spec.replace(patch=800), 1024, spec.halo) > 3 << 30


def _spec(family: str) -> ModelSpec:
    dataset = pixel_set(n=8, size=64) if family == "efficientunet" else chip_set(size=48)
    samples = Samples.of(as_reflectance(dataset, dataset.bands), "pixels" if family == "efficientunet" else "chips")
    return make_spec(settings(family), dataset, samples)
