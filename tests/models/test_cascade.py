"""Two stages: one candidate per piece of suspicious ground whatever the tiling, and a map that holds their verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_specs import unet_spec
from scipy.ndimage import binary_closing, binary_opening

from minescale.errors import ModelError, UsageError
from minescale.models.cascade import class_map, judge, write_two_stage
from minescale.models.package import ModelPackage, load_package, write_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import trained_range
from minescale.models.windows import predict_tile
from minescale.models.zones import find_zones, smooth, suspicious_mask
from tests.stages import bare_and_bright

NAMES = ("water", "barren", "forest")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPackage, ModelPackage]:
    """Bare ground by NDVI; of that, bright ground is like a mine."""
    return bare_and_bright(tmp_path_factory.mktemp("stages"))


def ground() -> tuple[np.ndarray, list[tuple[slice, slice]]]:
    """uint16 (red and nir, y, x): forest with a bright pit, a dark field and a speck; where the first two lie."""
    image = np.stack([np.full((160, 200), 300), np.full((160, 200), 3500)]).astype(np.uint16)
    pit, field = (slice(20, 50), slice(30, 80)), (slice(90, 140), slice(100, 160))
    image[(slice(None), *pit)] = np.array([4000, 4500])[:, None, None]
    image[(slice(None), *field)] = np.array([1500, 1700])[:, None, None]
    image[:, 10, 190] = 4000, 4500
    return image, [pit, field]


def random_classes(seed: int, shape: tuple[int, int] = (150, 170)) -> np.ndarray:
    """Blobs of all classes, with pixels that were not seen."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 3, (shape[0] // 5 + 1, shape[1] // 5 + 1)).astype(np.uint8)
    classes = np.kron(coarse, np.ones((5, 5), np.uint8))[: shape[0], : shape[1]]
    classes[random.random(shape) < 0.08] = 1
    classes[random.random(shape) < 0.02] = 255
    return classes


@pytest.mark.parametrize("radius_m", [0.0, 10.0, 25.0])
@pytest.mark.parametrize("tile", [16, 37, 64])
def test_candidates_do_not_depend_on_the_tiling(tile: int, radius_m: float) -> None:
    for seed in range(3):
        classes = random_classes(seed)
        options = {"resolution_m": 10.0, "radius_m": radius_m, "min_area_ha": 0.05}
        whole = find_zones(classes, NAMES, tile=10_000, **options)
        tiled = find_zones(classes, NAMES, tile=tile, **options)
        assert whole.zones
        assert tiled.zones == whole.zones
        np.testing.assert_array_equal(tiled.labels, whole.labels)


def test_every_piece_is_one_candidate_with_its_size_and_class() -> None:
    classes = np.zeros((60, 60), np.uint8)
    classes[5:40, 14:18] = 1  # a snake through four tiles of 16
    classes[36:40, 14:50] = 1
    classes[50:53, 50:53] = 1
    classes[5:8, 40:43] = 2
    found = find_zones(classes, NAMES, resolution_m=10.0, radius_m=0, min_area_ha=0.09, tile=16)
    assert [(z.top, z.left, z.bottom, z.right) for z in found.zones] == [(5, 14, 40, 50), (50, 50, 53, 53)]
    assert [z.area_ha for z in found.zones] == [pytest.approx(2.68), pytest.approx(0.09)]
    assert len(find_zones(classes, NAMES, resolution_m=10.0, radius_m=0, min_area_ha=0.1).zones) == 1
    both = find_zones(
        classes, NAMES, resolution_m=10.0, suspicious=("barren", "forest"), radius_m=0, min_area_ha=0.05, tile=16
    )
    assert [z.stage1_class for z in both.zones] == ["barren", "forest", "barren"]
    assert find_zones(np.zeros((9, 9), np.uint8), NAMES, resolution_m=10.0).zones == ()


def test_smoothing_takes_specks_and_moves_no_border_further_than_its_radius() -> None:
    random = np.random.default_rng(0)
    mask = np.zeros((120, 120), bool)
    mask[30:80, 40:90] = True
    mask[50, 60] = False
    specks = random.random(mask.shape) < 0.01
    smoothed = smooth(mask ^ specks, 2.0)
    step = np.arange(-2, 3)
    disc = step[:, None] ** 2 + step**2 <= 4
    opened, closed = (f(mask ^ specks, disc) for f in (binary_opening, binary_closing))
    inner = np.s_[5:-5, 5:-5]
    assert (smoothed[inner] >= opened[inner]).all()
    assert (smoothed[inner] <= closed[inner]).all()
    assert smoothed[55, 65]
    alone = smooth(specks & ~mask, 1.0)
    assert alone.sum() < 0.1 * (specks & ~mask).sum()
    # A block of 50 x 50 loses at most what lies within the radius of its outline.
    assert abs(int(smooth(mask, 2.0).sum()) - 2500) <= 2 * 4 * 50
    # Ground at the image's edge goes on beyond it.
    edge = np.zeros((40, 40), bool)
    edge[:, :6] = True
    np.testing.assert_array_equal(smooth(edge, 3.0), edge)
    np.testing.assert_array_equal(smooth(specks, 0.4), specks)


def test_unknown_classes_are_refused() -> None:
    classes = random_classes(0)
    with pytest.raises(UsageError, match="unknown suspicious class"):
        suspicious_mask(classes, NAMES, ("mine",))
    with pytest.raises(UsageError, match="none"):
        suspicious_mask(classes, NAMES, ())
    with pytest.raises(UsageError, match="sizes of 0 or more"):
        find_zones(classes, NAMES, resolution_m=0)
    assert not suspicious_mask(np.full((2, 2), 255, np.uint8), NAMES, NAMES).any()


def test_each_candidate_gets_a_verdict(stages: tuple[ModelPackage, ModelPackage]) -> None:
    image, _ = ground()
    first, second = (load_predictor(package) for package in stages)
    image[:, 120:125, 120:125] = 0  # no data inside the field
    classes = class_map(first, image)
    assert (classes[120:125, 120:125] == 255).all()
    zones = find_zones(classes, first.spec.classes, resolution_m=10.0)
    assert [z.stage1_class for z in zones.zones] == ["barren", "barren"]
    verdicts = judge(second, image[:1], zones)
    assert verdicts == pytest.approx([(0.4 - 0.1) / 0.4, (0.15 - 0.1) / 0.4], abs=1e-3)
    assert judge(second, image[:1], find_zones(np.zeros_like(classes), NAMES, resolution_m=10.0)).shape == (0,)
    with pytest.raises(UsageError, match="another image"):
        judge(second, image[:1, :50], zones)


def chip_classifier(folder: Path) -> ModelPackage:
    import torch

    from minescale.models.network import build_network, state_arrays

    spec = unet_spec(
        family="patchcnn",
        bands=("red", "nir"),
        mean=(0.1, 0.3),
        std=(0.1, 0.1),
        task="chips",
        chip=32,
        halo=48,
        patch=160,
        hyperparameters={"width": 8},
    )
    torch.manual_seed(3)
    return write_package(folder, spec, state_arrays(build_network(spec).eval()), "card", {})


def test_windows_of_a_chip_classifier_cover_large_zones(tmp_path: Path) -> None:
    classifier = load_predictor(chip_classifier(tmp_path / "chips"), "cpu")
    image, (pit, _) = ground()
    random = np.random.default_rng(5)
    image = (image * random.uniform(0.8, 1.2, image.shape)).astype(np.uint16)
    classes = np.zeros(image.shape[1:], np.uint8)
    classes[100:110, 60:70] = 1
    classes[(slice(0, 3), slice(0, 3))] = 1  # at the corner: its window is moved inwards
    classes[pit] = 1
    zones = find_zones(classes, NAMES, resolution_m=10.0, radius_m=0, min_area_ha=0)
    verdicts = judge(classifier, image, zones)
    reflectance = image * np.float32(1e-4)

    def chip(y: int, x: int) -> float:
        return float(classifier.classify(reflectance[np.newaxis, :, y : y + 32, x : x + 32])[0, 1])  # type: ignore[attr-defined]

    corner, large, small = verdicts
    assert small == pytest.approx(chip(105 - 16, 65 - 16), abs=1e-5)
    assert corner == pytest.approx(chip(0, 0), abs=1e-5)
    # 30 x 50 pixels are one row of two chips.
    assert large == pytest.approx(max(chip(19, 23), chip(19, 55)), abs=1e-5)


def test_a_classifier_that_gives_no_number_is_refused(tmp_path: Path) -> None:
    from minescale.evaluation.scored import score_dataset
    from tests.evaluation.models import chip_set

    good = load_predictor(chip_classifier(tmp_path / "chips"), "cpu")

    class Broken:
        spec = good.spec

        def predict(self, batch: np.ndarray) -> np.ndarray:
            return good.predict(batch)

        def classify(self, batch: np.ndarray) -> np.ndarray:
            return np.full((len(batch), 2), np.nan, np.float32)

    image, (pit, _) = ground()
    classes = np.zeros(image.shape[1:], np.uint8)
    classes[pit] = 1
    zones = find_zones(classes, NAMES, resolution_m=10.0, radius_m=0, min_area_ha=0)
    with pytest.raises(ModelError, match="no number where there is data"):
        judge(Broken(), image, zones)
    assert np.isnan(judge(Broken(), np.zeros_like(image), zones)).all()
    with pytest.raises(ModelError, match="gives no probabilities"):
        score_dataset(Broken(), chip_set())


def test_a_package_of_two_stages_draws_maps(stages: tuple[ModelPackage, ModelPackage], tmp_path: Path) -> None:
    package = write_two_stage(tmp_path / "both", *stages, name="bare-and-bright")
    again = load_package(package.path)
    assert again.spec == package.spec
    assert again.spec.bands == ("red", "nir")
    predictor = load_predictor(again)
    image, (pit, field) = ground()
    halo = again.spec.halo
    wide = np.pad(image, ((0, 0), (halo, halo), (halo, halo)), mode="edge")
    probability = predict_tile(predictor, wide, halo)
    assert probability[pit][2:-2, 2:-2] == pytest.approx(0.75, abs=1e-3)
    assert probability[field][2:-2, 2:-2] == pytest.approx(0.125, abs=1e-3)
    assert (probability[60:85] == 0).all()
    assert probability[10, 190] == 0, "a speck is no candidate"
    batch = image[np.newaxis] * np.float32(1e-4)
    assert predictor.predict(batch).sum(axis=1) == pytest.approx(1)


def test_stages_that_do_not_fit_are_refused(stages: tuple[ModelPackage, ModelPackage], tmp_path: Path) -> None:
    first, second = stages
    with pytest.raises(ModelError, match="no such class"):
        write_two_stage(tmp_path / "a", first, second, name="wrong", suspicious=("mine",))
    assert not (tmp_path / "a").exists()
    coarse = write_package(
        tmp_path / "coarse", second.spec.replace(resolution=80.0, resolutions=trained_range(80.0)), None, "card", {}
    )
    with pytest.raises(ModelError, match="different sizes"):
        write_two_stage(tmp_path / "b", first, coarse, name="wrong")
    here, there = (
        write_package(tmp_path / name, made.spec.replace(sensors=(name,)), None, "card", {})
        for made, name in ((first, "sentinel-2-l2a"), (second, "landsat-c2-l2"))
    )
    with pytest.raises(ModelError, match="share no sensor"):
        write_two_stage(tmp_path / "s", here, there, name="wrong")
    assert not (tmp_path / "s").exists()
    package = write_two_stage(tmp_path / "c", first, second, name="changed")
    write_package(package.path / "classifier", second.spec.replace(threshold=0.9), None, "card", {})
    with pytest.raises(ModelError, match="another than it was made with"):
        load_predictor(load_package(package.path))
    odd = write_package(
        tmp_path / "odd",
        package.spec.replace(hyperparameters={**package.spec.hyperparameters, "radios_m": 1}),
        None,
        "card",
        {},
    )
    with pytest.raises(ModelError, match="radius_m"):
        load_predictor(odd)
