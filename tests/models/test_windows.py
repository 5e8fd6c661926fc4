"""Tiled prediction equals untiled prediction; no data stays no data; memory stays below the estimate."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_specs import pixel_spec, unet_spec

from minescale.errors import ModelError
from minescale.models.ensemble import write_ensemble
from minescale.models.package import ModelPackage, load_package
from minescale.models.predictor import Predictor, load_predictor
from minescale.models.spec import ModelSpec
from minescale.models.unet import default_halo
from minescale.models.windows import peak_bytes, predict_classes, predict_tile, work_of_tile

Packages = Callable[..., ModelPackage]


def tiled(predictor: Predictor, image: np.ndarray, size: int, halo: int) -> np.ndarray:
    """The image tile by tile; halos that leave the image hold no data, as at the border of a mosaic."""
    padded = np.pad(image, ((0, 0), (halo, halo), (halo, halo)))
    out = np.empty(image.shape[1:], np.float32)
    for y, x in itertools.product(range(0, out.shape[0], size), range(0, out.shape[1], size)):
        rows, cols = min(size, out.shape[0] - y), min(size, out.shape[1] - x)
        tile = padded[:, y : y + rows + 2 * halo, x : x + cols + 2 * halo]
        out[y : y + rows, x : x + cols] = predict_tile(predictor, tile, halo)
    return out


@pytest.mark.parametrize(("size", "patch"), [(512, 640), (256, 640), (256, 160), (768, 256)])
def test_unet_tiled_equals_untiled(unet_package: Packages, landscape: np.ndarray, size: int, patch: int) -> None:
    predictor = load_predictor(unet_package(patch=patch), "cpu")
    whole = load_predictor(unet_package(patch=1200), "cpu")
    image = landscape[:, :384, :384] if patch == 160 else landscape
    expected = tiled(whole, image, 1024, 48)
    got = tiled(predictor, image, size, 48)
    assert expected.std() > 0.05  # the network says something
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("size", "patch"), [(128, 640), (256, 216), (512, 312)])
def test_a_deeper_unet_tiled_equals_untiled(
    unet_package: Packages, landscape: np.ndarray, size: int, patch: int
) -> None:
    """Four resolutions need edges and origins that are multiples of 16, whatever tile or patch was asked for."""
    deep = {"hyperparameters": {"width": 4, "depth": 4}, "halo": 96}
    image = landscape[:, :504, :392]
    expected = tiled(load_predictor(unet_package(patch=1200, **deep), "cpu"), image, 1024, 96)
    got = tiled(load_predictor(unet_package(patch=patch, **deep), "cpu"), image, size, 96)
    assert expected.std() > 0.05
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)


def test_a_unet_that_folds_by_four_and_a_mean_with_one_tile_alike(
    unet_package: Packages, landscape: np.ndarray, tmp_path: Path
) -> None:
    """Strides of 16 pixels, by folding and as those of a member."""
    folded = {"hyperparameters": {"width": 4, "depth": 3, "fold": 4}, "halo": default_halo(3, 4)}
    image = landscape[:, :504, :392]

    def packages(patch: int) -> list[ModelPackage]:
        alone, shallow = unet_package(patch=patch, **folded), unet_package(patch=patch)
        return [alone, write_ensemble(tmp_path / f"mean-{patch}", [shallow, alone], name="mean")]

    for whole, cut in zip(packages(1200), packages(312), strict=True):
        halo = whole.spec.halo
        expected = tiled(load_predictor(whole, "cpu"), image, 1024, halo)
        np.testing.assert_allclose(tiled(load_predictor(cut, "cpu"), image, 256, halo), expected, atol=1e-4, rtol=0)


def test_a_unet_takes_images_of_any_edges(unet_package: Packages, landscape: np.ndarray) -> None:
    predictor = load_predictor(unet_package(hyperparameters={"width": 4, "depth": 4}, halo=96), "cpu")
    image = landscape[np.newaxis, :, :100, :75].astype(np.float32) * np.float32(1e-4)
    assert predictor.predict(image).shape == (1, 2, 100, 75)


def test_the_halo_is_what_makes_it_equal(unet_package: Packages, landscape: np.ndarray) -> None:
    """Without context the tiles differ: the test above can fail."""
    predictor = load_predictor(unet_package(patch=640), "cpu")
    image = landscape[:, :512, :512]
    assert np.abs(tiled(predictor, image, 256, 0) - tiled(predictor, image, 512, 48)).max() > 1e-3


@pytest.mark.parametrize("hidden", [0, 8])
def test_pixel_models_are_exactly_equal(pixel_package: Packages, landscape: np.ndarray, hidden: int) -> None:
    predictor = load_predictor(pixel_package(hidden))
    expected = tiled(predictor, landscape, 1024, 0)
    assert expected.std() > 0.05
    for size, halo in ((512, 0), (256, 48), (100, 8)):
        assert np.array_equal(tiled(predictor, landscape, size, halo), expected)


def test_baseline_is_exactly_equal(landscape: np.ndarray) -> None:
    predictor = load_predictor(load_package("baseline"))
    image = np.ascontiguousarray(landscape[1:])
    expected = tiled(predictor, image, 1024, 0)
    assert np.array_equal(tiled(predictor, image, 200, 16), expected)


def test_no_data_in_any_band_gives_nan(unet_package: Packages, pixel_package: Packages, landscape: np.ndarray) -> None:
    image = landscape[:, :176, :200].copy()
    image[2, 60:70, 80:90] = 0
    for package, halo in ((unet_package(), 48), (pixel_package(), 0)):
        score = predict_tile(load_predictor(package, "cpu"), image, halo)
        missing = np.zeros(image.shape[1:], bool)
        missing[60:70, 80:90] = True
        core = missing[halo : 176 - halo, halo : 200 - halo]
        assert np.array_equal(np.isnan(score), core)
        assert ((score[~core] >= 0) & (score[~core] <= 1)).all()


def test_nothing_seen_is_not_computed(landscape: np.ndarray) -> None:
    class Never:
        spec = unet_spec()

        def predict(self, batch: np.ndarray) -> np.ndarray:
            raise AssertionError("must not be called")

    assert np.isnan(predict_tile(Never(), np.zeros((6, 120, 120), np.uint16), 8)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_gives_no_number_is_no_missing_data(landscape: np.ndarray, value: float) -> None:
    class Broken:
        spec = unet_spec()

        def predict(self, batch: np.ndarray) -> np.ndarray:
            out = np.full((len(batch), len(self.spec.classes), *batch.shape[2:]), 0.5, np.float32)
            out[:, :, 70, 70] = value
            return out

    tile = landscape[:, :200, :200].copy()
    for predict in (predict_tile, predict_classes):
        with pytest.raises(ModelError, match="no number where there is data"):
            predict(Broken(), tile, 48)
    tile[0, 60:80, 60:80] = 0
    assert np.isnan(predict_tile(Broken(), tile, 48)).sum() == 400


def test_an_image_without_context_is_seen_as_in_training(unet_package: Packages, landscape: np.ndarray) -> None:
    """A frame of no data round it would change what the network says deep inside."""
    predictor = load_predictor(unet_package(patch=640), "cpu")
    image = landscape[:, :200, :152]
    scores = predict_classes(predictor, image, 0)
    assert np.array_equal(scores, predictor.predict(image[np.newaxis] * np.float32(1e-4))[0])
    framed = predict_classes(predictor, np.pad(image, ((0, 0), (48, 48), (48, 48))), 48)
    assert np.abs(scores - framed).max() > 0.01


@pytest.mark.parametrize("shape", [(97, 97), (100, 300), (105, 640), (500, 131)])
def test_odd_and_small_shapes(unet_package: Packages, landscape: np.ndarray, shape: tuple[int, int]) -> None:
    """Smaller than a patch, not a multiple of 8, longer than a patch in one direction only."""
    predictor = load_predictor(unet_package(patch=256), "cpu")
    rows, cols = shape
    image = landscape[:, :rows, :cols]
    score = predict_tile(predictor, image, 48)
    assert score.shape == (rows - 96, cols - 96)
    whole = load_predictor(unet_package(patch=1200), "cpu")
    np.testing.assert_allclose(score, predict_tile(whole, image, 48), atol=1e-4, rtol=0)


def test_a_halo_smaller_than_the_models_still_works(unet_package: Packages, landscape: np.ndarray) -> None:
    score = predict_tile(load_predictor(unet_package(), "cpu"), landscape[:, :256, :256], 8)
    assert score.shape == (240, 240)
    assert np.isfinite(score).all()


def test_what_does_not_fit_is_refused(pixel_package: Packages, landscape: np.ndarray) -> None:
    predictor = load_predictor(pixel_package())
    for image, halo in (
        (landscape[:5], 0),
        (landscape.astype(np.float32), 0),
        (landscape[0], 0),
        (landscape, 5),
        (landscape, 512),
        (landscape, -8),
    ):
        with pytest.raises(ModelError, match="does not fit"):
            predict_tile(predictor, image, halo)


_MEASURE = """
import json, pathlib, sys
import numpy as np
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.models.unet import default_halo
from minescale.models.spec import ModelSpec
from minescale.models.windows import peak_bytes, predict_classes, predict_tile, work_of_tile
import torch
torch.set_num_threads(1)
def peak():
    # ru_maxrss survives exec, so a child of a large process starts with its parent's peak; VmHWM does not.
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
package, size = load_package(sys.argv[1]), int(sys.argv[2])
predictor, halo = load_predictor(package, "cpu"), package.spec.halo
predict_tile(predictor, np.full((6, 8 + 2 * halo, 8 + 2 * halo), 900, np.uint16), halo)
before = peak()
predict_tile(predictor, np.full((6, size + 2 * halo, size + 2 * halo), 900, np.uint16), halo)
after = peak()
print(json.dumps({"used": after - before, "estimate": peak_bytes(package.spec, size, halo)}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak memory that Linux keeps per process")
@pytest.mark.parametrize(("kind", "size"), [("unet", 512), ("unet", 1536), ("pixel", 1536)])
def test_memory_stays_below_the_estimate(
    unet_package: Packages, pixel_package: Packages, tmp_path: Path, kind: str, size: int
) -> None:
    """Resident memory of a fresh process, composite included; the estimate may be generous, but not absurd."""
    package = unet_package(patch=640, hyperparameters={"width": 16, "depth": 3}) if kind == "unet" else pixel_package(8)
    found = []
    for _ in range(2):  # whether the system maps blocks in huge pages is chance, and makes a third of a difference
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(package.path), str(size)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found.append(json.loads(done.stdout))
    measured = min(found, key=lambda one: one["used"])
    assert 0.15 * measured["estimate"] < measured["used"] <= measured["estimate"], measured


class Counting:
    """Says nothing, and counts the pixels that it is asked about."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.pixels = spec, 0

    def predict(self, batch: np.ndarray) -> np.ndarray:
        self.pixels += batch.shape[0] * batch.shape[2] * batch.shape[3]
        return np.full((len(batch), 2, *batch.shape[2:]), 0.5, np.float32)


@pytest.mark.parametrize("tile", [128, 1024, 1500])
@pytest.mark.parametrize("halo", [48, 56, 192])
def test_overlap_of_patches_is_work(tile: int, halo: int) -> None:
    """Beside the U-Net that was timed: nothing more for one like it, more for a halo that makes patches overlap."""
    specs = [unet_spec(patch=640, halo=h, hyperparameters={"width": 16, "depth": 3}) for h in (halo, 48)]
    found = []
    for spec in specs:
        counting = Counting(spec)
        predict_tile(counting, np.full((6, tile + 2 * spec.halo, tile + 2 * spec.halo), 900, np.uint16), spec.halo)
        found.append(counting.pixels / (tile + 2 * spec.halo) ** 2)
    assert work_of_tile(specs[0], tile) == pytest.approx(found[0] / found[1])
    assert work_of_tile(pixel_spec(), tile) == 1.0


def test_estimate_grows_with_the_tile_and_the_halo() -> None:
    spec = unet_spec()
    assert peak_bytes(spec, 1024, 48) > peak_bytes(spec, 512, 48) > peak_bytes(spec, 512, 0)
