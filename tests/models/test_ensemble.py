"""Several models as one: the mean of what its members say, whatever they are, and the same after a look at disk."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_specs import SIX, pixel_spec, pixel_weights, random_unet

from minescale.errors import ModelError, UsageError
from minescale.models.ensemble import VIEWS, write_ensemble
from minescale.models.package import CARD, ITEM, ModelPackage, load_package, write_package
from minescale.models.predictor import find_family, load_predictor
from minescale.models.recalibration import recalibrate
from minescale.models.spec import ModelSpec, trained_range
from minescale.models.windows import peak_bytes, predict_tile, work_of_tile
from minescale.planning.rates import RATES

_WARM = {"method": "temperature", "temperature": 3.0}


def _pixel(folder: Path, seed: int, **changes: object) -> ModelPackage:
    spec = pixel_spec(resolution=10.0, resolutions=trained_range(10.0), **changes)
    return write_package(folder, spec, pixel_weights(seed=seed), "card", {})


def _chips(folder: Path, seed: int) -> ModelPackage:
    return random_unet(folder, seed, family="patchcnn", task="chips", chip=16, hyperparameters={"width": 8}, halo=48)


def _image(rows: int = 64, cols: int = 96) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.01, 0.5, (2, len(SIX), rows, cols)).astype(np.float32)


def test_it_says_the_mean_of_what_its_members_say(tmp_path: Path) -> None:
    members = [random_unet(tmp_path / "a", 0), _pixel(tmp_path / "b", 3, clip=0.3)]
    found = write_ensemble(tmp_path / "both", members, name="both")
    batch = _image()
    network, pixels = (load_predictor(member, "cpu") for member in members)
    expected = (network.predict(batch) + pixels.predict(np.minimum(batch, np.float32(0.3)))) / 2
    np.testing.assert_allclose(load_predictor(found, "cpu").predict(batch), expected, atol=1e-6)
    assert found.spec.threshold == np.mean([member.spec.threshold for member in members])
    assert not found.spec.pixelwise
    assert found.spec.halo == members[0].spec.halo


def test_members_are_corrected_before_they_are_averaged(tmp_path: Path) -> None:
    members = [random_unet(tmp_path / "a", 0, calibration=_WARM), random_unet(tmp_path / "b", 1)]
    batch = _image()
    first, second = (load_predictor(member, "cpu").predict(batch) for member in members)
    found = load_predictor(write_ensemble(tmp_path / "both", members, name="both"), "cpu").predict(batch)
    np.testing.assert_allclose(found[:, 1], (recalibrate(first[:, 1], _WARM) + second[:, 1]) / 2, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_three_classes_still_add_up_to_one(tmp_path: Path) -> None:
    classes = {"classes": ("background", "cloud", "mine"), "calibration": _WARM}
    members = [random_unet(tmp_path / "a", 0, **classes)]
    found = load_predictor(write_ensemble(tmp_path / "one", members, name="one"), "cpu").predict(_image())
    plain = load_predictor(members[0], "cpu").predict(_image())
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[:, 0] / found[:, 1], plain[:, 0] / plain[:, 1], rtol=1e-3)


@pytest.mark.parametrize("views", [4, 8])
def test_views_make_the_map_of_a_mirrored_image_the_mirrored_map(views: int, tmp_path: Path) -> None:
    made = write_ensemble(tmp_path / "f", [random_unet(tmp_path / "a")], name="mirrored", views=views)
    found, batch = load_predictor(made, "cpu"), _image()
    score = found.predict(batch)
    np.testing.assert_allclose(found.predict(batch[:, :, ::-1, ::-1])[:, :, ::-1, ::-1], score, atol=1e-5)
    np.testing.assert_allclose(found.predict(batch[..., ::-1])[..., ::-1], score, atol=1e-5)
    turned = np.rot90(found.predict(np.rot90(batch, axes=(2, 3))), -1, axes=(2, 3))
    assert (np.abs(turned - score).max() < 1e-5) == (views == 8)
    alone = load_predictor(load_package(tmp_path / "a"), "cpu").predict(batch)
    assert np.abs(score - alone).max() > 1e-3


def test_a_member_that_says_the_same_of_every_view_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tied, plain = (
        random_unet(tmp_path / "t", hyperparameters={"width": 16, "symmetric": True}),
        random_unet(tmp_path / "a"),
    )
    batch = _image(64, 96)
    alone, mean = (
        load_predictor(write_ensemble(tmp_path / name, [plain], name=name, views=views), "cpu").predict(batch)
        for name, views in (("alone", 1), ("mean", 8))
    )
    assert np.abs(alone - mean).max() > 1e-3
    both = write_ensemble(tmp_path / "both", [tied, plain], name="both", views=8)
    expected = (load_predictor(tied, "cpu").predict(batch) + mean) / 2
    seen: list[tuple[bool, tuple[int, ...]]] = []

    class Counted:
        def __init__(self, package: ModelPackage, device: str) -> None:
            self.inner, self.spec = load_predictor(package, device), package.spec

        def predict(self, images: np.ndarray) -> np.ndarray:
            seen.append(("symmetric" in self.spec.hyperparameters, images.shape[2:]))
            return self.inner.predict(images)

    monkeypatch.setattr("minescale.models.ensemble.load_predictor", Counted)
    np.testing.assert_allclose(load_predictor(both, "cpu").predict(batch), expected, atol=1e-5)
    assert Counter(seen) == {(True, (64, 96)): 1, (False, (64, 96)): 4, (False, (96, 64)): 4}
    family = find_family("unet")
    assert find_family("ensemble").work(both.spec) == pytest.approx(
        family.work(tied.spec) + 8 * family.work(plain.spec)
    )


@pytest.mark.parametrize("views", [2, True, "4"])
def test_other_numbers_of_views_are_refused(views: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"got: {views!r}\n  expected: 1, 4, 8"):
        write_ensemble(tmp_path / "f", [random_unet(tmp_path / "a")], name="two", views=views)


def test_chips_and_single_pixels_are_seen_from_all_sides(tmp_path: Path) -> None:
    chips = [_chips(tmp_path / name, seed) for seed, name in enumerate("ab")]
    found: Any = load_predictor(write_ensemble(tmp_path / "both", chips, name="both", views=8), "cpu")
    batch = _image(16, 16)
    score = found.classify(batch)
    np.testing.assert_allclose(found.classify(np.rot90(batch, axes=(2, 3))), score, atol=1e-6)
    pixel = _pixel(tmp_path / "p", 1)
    alone, mean = (
        load_predictor(package, "cpu").predict(batch)
        for package in (pixel, write_ensemble(tmp_path / "mean", [pixel], name="mean", views=8))
    )
    np.testing.assert_array_equal(alone, mean)


def test_chips_are_averaged_as_chips(tmp_path: Path) -> None:
    members = [_chips(tmp_path / name, seed) for seed, name in enumerate("ab")]
    found = load_predictor(write_ensemble(tmp_path / "both", members, name="both"), "cpu")
    batch = _image(16, 16)
    each = [load_predictor(member, "cpu").classify(batch) for member in members]  # type: ignore[attr-defined]
    np.testing.assert_allclose(found.classify(batch), np.mean(each, axis=0), atol=1e-6)  # type: ignore[attr-defined]
    of_pixels = load_predictor(write_ensemble(tmp_path / "p", [random_unet(tmp_path / "c")], name="pixels"), "cpu")
    with pytest.raises(UsageError, match="scores pixels"):
        of_pixels.classify(batch)  # type: ignore[attr-defined]


def test_one_of_single_pixels_alone_needs_no_windows(tmp_path: Path) -> None:
    members = [_pixel(tmp_path / name, seed) for seed, name in enumerate("ab")]
    found = write_ensemble(tmp_path / "both", members, name="both")
    assert found.spec.pixelwise
    composite = np.rint(_image()[0] * 1e4).astype(np.uint16)
    expected = np.mean([predict_tile(load_predictor(member, "cpu"), composite, 0) for member in members], axis=0)
    np.testing.assert_allclose(predict_tile(load_predictor(found, "cpu"), composite, 0), expected, atol=1e-6)


def test_it_costs_what_its_members_do(tmp_path: Path) -> None:
    packages = [random_unet(tmp_path / f"m{i}", i) for i in range(2)]
    one = find_family("unet").work(packages[0].spec)
    for views in VIEWS:
        made = write_ensemble(tmp_path / f"mean-{views}", packages, name="mean", views=views)
        assert find_family("ensemble").work(made.spec) == pytest.approx(2 * views * one)
    alone = write_package(tmp_path / "alone", pixel_spec(), pixel_weights(), "card", {})
    pair = write_ensemble(tmp_path / "pair", [alone, alone], name="pair").spec
    assert work_of_tile(pair, 1024) * RATES["unet_pixels"] == pytest.approx(2 * RATES["index_pixels"], rel=0.05)
    older = {k: v for k, v in made.spec.hyperparameters.items() if k != "work"}
    assert find_family("ensemble").work(made.spec.replace(hyperparameters=older)) == 16


def test_it_is_priced_by_its_largest_member(tmp_path: Path) -> None:
    members = [random_unet(tmp_path / "a"), _pixel(tmp_path / "b", 1)]
    spec = write_ensemble(tmp_path / "both", members, name="both").spec
    assert find_family("ensemble").bytes_per_pixel(spec) > find_family("unet").bytes_per_pixel(members[0].spec)
    assert peak_bytes(spec, 512, spec.halo) > peak_bytes(members[0].spec, 512, spec.halo)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"bands": SIX[:3], "mean": (0.1,) * 3, "std": (0.1,) * 3}, "channels"),
        ({"classes": ("mine", "background")}, "classes"),
        ({"resolution": 20.0, "resolutions": trained_range(20.0)}, "resolution"),
    ],
)
def test_members_that_differ_are_refused(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    members = [random_unet(tmp_path / "a"), random_unet(tmp_path / "b", **changes)]
    with pytest.raises(ModelError, match=f"differ in {what}"):
        write_ensemble(tmp_path / "both", members, name="both")


def test_what_is_no_ensemble_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no members"):
        write_ensemble(tmp_path / "none", [], name="none")
    sensors = [
        random_unet(tmp_path / name, sensors=(sensor,))
        for name, sensor in (("a", "sentinel-2-l2a"), ("b", "landsat-c2-l2"))
    ]
    with pytest.raises(ModelError, match="share no sensor"):
        write_ensemble(tmp_path / "both", sensors, name="both")


def test_licences_are_those_that_all_members_grant(tmp_path: Path) -> None:
    def joined(*licences: str) -> ModelSpec:
        folder = tmp_path / "-".join(licences)
        members = [random_unet(folder / str(i), licence=licence) for i, licence in enumerate(licences)]
        return write_ensemble(folder / "whole", members, name="whole").spec

    assert joined("MIT", "MIT").licence == "MIT"
    assert joined("MIT", "none").licence == "none"
    assert joined("MIT", "Apache-2.0").licence == "other"


def test_a_member_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    found = write_ensemble(tmp_path / "both", [random_unet(tmp_path / "a")], name="both")
    assert load_package(found.path).digest == found.digest
    item = found.path / "member-0" / ITEM
    text = json.loads(item.read_text())
    text["properties"]["description"] = "another"
    item.write_text(json.dumps(text))
    with pytest.raises(ModelError, match="another than it was made with"):
        load_predictor(load_package(found.path), "cpu")
    assert "tiny-unet" in (found.path / CARD).read_text()
