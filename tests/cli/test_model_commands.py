"""``minescale model``: what packages are told, made of, and turned into."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from minescale.models.package import ModelPackage, load_package, write_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec, trained_range
from tests.cli.conftest import QUICK, run
from tests.stages import bare_and_bright

PLACE = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPackage, ModelPackage]:
    return bare_and_bright(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An image with a bright pit and a dark field, and where mines are: the pit, and one that is not bare."""
    folder = tmp_path_factory.mktemp("picture")
    pixels = np.stack([np.full((120, 140), 300), np.full((120, 140), 3500)]).astype(np.uint16)
    pixels[:, 20:40, 30:60] = np.array([4000, 4500])[:, None, None]
    pixels[:, 70:100, 80:120] = np.array([1500, 1700])[:, None, None]
    mines = np.zeros((1, 120, 140), np.uint8)
    mines[0, 20:40, 30:60] = mines[0, 5:10, 100:110] = 1
    for name, array, bands in (("image", pixels, ("red", "nir")), ("truth", mines, ("mine",))):
        size = {"count": len(array), "height": 120, "width": 140, "dtype": array.dtype}
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", **size, **PLACE) as target:
            target.write(array)
            for number, band in enumerate(bands, 1):
                target.set_band_description(number, band)
    return folder / "image.tif", folder / "truth.tif"


def tiny_unet(folder: Path) -> ModelPackage:
    import torch

    from minescale.models.network import build_network, state_arrays

    spec = ModelSpec(
        name="tiny-unet",
        version="1.0.0",
        family="unet",
        bands=("red", "nir"),
        resolution=10.0,
        resolutions=trained_range(10.0),
        classes=("background", "mining"),
        target="mining",
        threshold=0.5,
        patch=64,
        halo=16,
        mean=(0.1, 0.3),
        std=(0.1, 0.1),
        hyperparameters={"width": 4, "depth": 2},
        licence="Apache-2.0",
    )
    torch.manual_seed(1)
    return write_package(folder, spec, state_arrays(build_network(spec)), "# tiny\n\nscores", {"test": {"auc": 1}})


def test_info_tells_what_a_package_needs() -> None:
    told = json.loads(run("model", "info", "demo", "--json").stdout)
    demo = load_package("demo")
    assert told["digest"] == demo.digest
    assert told["channels"] == list(demo.spec.bands)
    assert demo.screen is not None
    assert told["screen"]["keep_threshold"] == demo.screen.spec.keep_threshold
    assert told["parameters"] == sum(a.size for a in demo.weights().values())
    text = run("model", "info", "demo").stdout
    assert demo.digest in text
    assert "keep threshold" in text


def test_pickles_are_refused_with_the_safe_way(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"\x80\x04.")
    for command in (("info",), ("package", "--out", tmp_path / "made"), ("export", "--out", tmp_path / "made")):
        done = run("model", command[0], tmp_path / "model.pth", *command[1:])
        assert done.exit_code == 2
        assert "pickled" in done.stderr
        assert "safetensors.torch.save_file" in done.stderr
    assert not (tmp_path / "made").exists()


def test_weights_of_a_training_become_a_package(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    from minescale.training.folder import CONFIG
    from minescale.training.loop import BEST, FINAL

    training = tmp_path / "training"
    made = tiny_unet(training / "package")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    for folder in (training, unfinished):
        (folder / CONFIG).write_text("{}")
    other = {name: array + np.float32(0.01) for name, array in made.weights().items()}
    save_file(made.weights(), training / BEST)
    save_file({**other, "encoders.0.0.1.num_batches_tracked": np.array(7)}, training / FINAL)

    best = run("model", "package", training, "--out", tmp_path / "best", "--json")
    assert json.loads(best.stdout)["digest"] == made.digest
    assert run("model", "package", training, "--weights", "final", "--out", tmp_path / "final").exit_code == 0
    final = load_package(tmp_path / "final")
    np.testing.assert_array_equal(final.weights()["head.bias"], other["head.bias"])
    assert "were not measured with these weights" in (final.path / "model_card.md").read_text()
    assert [p.stem for p in (final.path / "metrics").iterdir()] == ["weights"]
    file = training / FINAL
    assert "--like" in run("model", "package", file, "--out", tmp_path / "x").stderr
    assert run("model", "package", file, "--like", training / "package", "--out", tmp_path / "like").exit_code == 0
    assert "do not fit" in run("model", "package", file, "--like", "demo", "--out", tmp_path / "x").stderr
    assert "not finished" in run("model", "package", unfinished, "--out", tmp_path / "x").stderr
    screen = write_package(
        tmp_path / "screen",
        made.spec.replace(keep_threshold=0.2, expected_survivors=0.1),
        made.weights(),
        "# screen",
        {},
    )
    assert run("model", "package", file, "--like", screen.path, "--out", tmp_path / "other").exit_code == 0
    other_screen = load_package(tmp_path / "other")
    assert (other_screen.spec.keep_threshold, other_screen.spec.expected_survivors) == (None, None)
    assert "no keep-threshold is set" in (other_screen.path / "model_card.md").read_text()
    file.write_bytes(b"no tensors")
    broken = run("model", "package", file, "--like", training / "package", "--out", tmp_path / "x")
    assert "cannot be read" in broken.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_an_export_runs_elsewhere(tmp_path: Path, kind: str) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(library, reason="minescale[fast] is not installed")
    package = tiny_unet(tmp_path / "tiny")
    done = run("model", "export", package.path, "--format", kind, "--out", tmp_path / "made", "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads((tmp_path / "made" / "export.json").read_text())
    assert facts["differences"]["pixels"] <= 1e-4
    batch = np.random.default_rng(0).uniform(0.01, 0.5, (2, 2, 32, 64)).astype(np.float32)
    if kind == "onnx":
        import onnxruntime

        got = onnxruntime.InferenceSession(tmp_path / "made" / "pixels.onnx").run(None, {"reflectance": batch})[0]
    else:
        import openvino

        got = openvino.Core().compile_model(tmp_path / "made" / "pixels.xml", "CPU", facts["settings"])(batch)[0]
    np.testing.assert_allclose(got, load_predictor(package, "cpu").predict(batch), atol=1e-4)
    assert {p.name for p in (tmp_path / "made").iterdir()} >= {"model.json", "model_card.md"}
    assert "exists" in run("model", "export", package.path, "--format", kind, "--out", tmp_path / "made").stderr


def test_what_is_no_network_is_not_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="minescale[fast] is not installed")
    done = run("model", "export", "baseline", "--out", tmp_path / "made")
    assert done.exit_code == 2
    assert "no network" in done.stderr
    assert "band-math" in done.stderr


def test_band_math_is_printed_for_linear_models_only(tmp_path: Path) -> None:
    weights = {
        "mean": np.zeros(1, np.float32),
        "std": np.ones(1, np.float32),
        "weight": np.ones((1, 1), np.float32),
        "bias": np.zeros(1, np.float32),
    }
    spec = ModelSpec(
        name="linear",
        version="1.0.0",
        family="pixel",
        bands=("red", "nir"),
        resolution=10.0,
        resolutions=trained_range(10.0),
        classes=("background", "mining"),
        target="mining",
        threshold=0.5,
        hyperparameters={"features": ["ND_nir_red"], "hidden": 0},
        licence="Apache-2.0",
    )
    package = write_package(tmp_path / "linear", spec, weights, "card", {})
    done = run("model", "band-math", package.path)
    assert done.exit_code == 0, done.stderr
    assert "nir" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("probability = ")
    assert run("model", "band-math", "demo").exit_code == 2


def test_two_models_become_one(stages: tuple[ModelPackage, ModelPackage], tmp_path: Path) -> None:
    paths = [package.path for package in stages]
    done = run("model", "join", *paths, "--name", "bare-and-bright", "--out", tmp_path / "both", "--json")
    assert done.exit_code == 0, done.stderr
    made = load_package(tmp_path / "both")
    assert json.loads(done.stdout)["digest"] == made.digest
    assert load_predictor(made).spec.family == "two_stage"
    wrong = run("model", "join", *paths, "--name", "bad", "--suspicious", "mine", "--out", tmp_path / "bad")
    assert wrong.exit_code == 2
    assert not (tmp_path / "bad").exists()


def test_several_models_become_their_mean(tmp_path: Path) -> None:
    done = run(
        "model", "average", "demo", "demo", "--name", "twice", "--views", "4", "--out", tmp_path / "mean", "--json"
    )
    assert done.exit_code == 0, done.stderr
    made = load_package(tmp_path / "mean")
    told = json.loads(done.stdout)
    assert (told["digest"], told["members"]) == (made.digest, 2)
    assert load_predictor(made, "cpu").spec.family == "ensemble"
    assert made.spec.hyperparameters["views"] == 4
    assert made.spec.threshold == pytest.approx(load_package("demo").spec.threshold)
    wrong = run("model", "average", "demo", "amw-patch-rgb", "--name", "bad", "--out", tmp_path / "bad")
    assert wrong.exit_code == 2
    assert "differ in channels" in wrong.stderr
    assert not (tmp_path / "bad").exists()


def test_an_image_is_looked_at_twice(
    stages: tuple[ModelPackage, ModelPackage], picture: tuple[Path, Path], tmp_path: Path
) -> None:
    models = ("--segmenter", stages[0].path, "--classifier", stages[1].path)
    done = run("model", "detect", picture[0], *models, "--truth", picture[1], "--out", tmp_path / "found")
    assert done.exit_code == 0, done.stderr
    assert "2 candidates, 1 mining-like" in done.stdout
    assert "recall of stage one 0.500 (the ceiling) x of stage two 1.000 = of both 0.500" in done.stdout
    features = json.loads((tmp_path / "found" / "candidates.geojson").read_text())["features"]
    assert [f["properties"]["class"] for f in features] == ["mining-like", "not mining-like"]
    assert all(8.9 < f["geometry"]["coordinates"][0][0][0] < 9.1 for f in features)
    assert json.loads((tmp_path / "found" / "recall.json").read_text())["cascade"] == 0.5
    assert len(list((tmp_path / "found").glob("*.pgw"))) == 3
    again = run("model", "detect", picture[0], *models, "--out", tmp_path / "found")
    assert "exists" in again.stderr
    lacking = run("model", "detect", picture[0], *models, "--bands", "green,nir", "--out", tmp_path / "no")
    assert "lacks bands" in lacking.stderr
    missing = run("model", "detect", tmp_path / "none.tif", *models, "--out", tmp_path / "no")
    assert missing.exit_code == 2
    assert not (tmp_path / "no").exists()


def test_a_scan_looks_twice(stages: tuple[ModelPackage, ModelPackage], where: tuple[str, ...], tmp_path: Path) -> None:
    """A package of two stages is a model like any other: high where ground is bare and bright, else 0."""
    import zarr

    paths = [package.path for package in stages]
    assert run("model", "join", *paths, "--name", "bare-and-bright", "--out", tmp_path / "both").exit_code == 0
    done = run("scan", *where, "--model", tmp_path / "both", "--out", tmp_path / "scan", *QUICK, "--progress", "none")
    assert done.exit_code == 0, done.stderr
    codes = zarr.open_group(tmp_path / "scan" / "mosaic.zarr", mode="r")["0/probability"][:]
    seen = codes[codes != 255]
    assert (seen == 0).mean() > 0.5
    assert (seen > 0).any()


def test_a_coarse_model_becomes_a_screen_that_a_scan_runs(
    stages: tuple[ModelPackage, ModelPackage], where: tuple[str, ...], tmp_path: Path
) -> None:
    fine = stages[0]
    coarse = fine.spec.replace(name="bare-80", resolution=80.0, resolutions=trained_range(80.0))
    write_package(tmp_path / "uncalibrated", coarse, None, "# bare-80", {})
    refused = run("model", "screen", fine.path, tmp_path / "uncalibrated", "--out", tmp_path / "no")
    assert refused.exit_code == 2
    assert "minescale calibrate" in refused.stderr
    calibrated = coarse.replace(keep_threshold=0.9, expected_survivors=0.25)
    made = write_package(tmp_path / "coarse", calibrated, None, "# bare-80", {"calibration": {"recall": 0.9}})
    done = run("model", "screen", fine.path, made.path, "--out", tmp_path / "both", "--json")
    assert done.exit_code == 0, done.stderr
    both = load_package(tmp_path / "both")
    told = json.loads(done.stdout)
    assert (told["digest"], told["keep_threshold"], told["expected_survivors"]) == (both.digest, 0.9, 0.25)
    assert both.spec == fine.spec
    assert both.screen is not None
    assert both.screen.digest == made.digest
    assert (both.path / "screen" / "metrics" / "calibration.json").is_file()
    assert "bare-80 at 80 m" in (both.path / "model_card.md").read_text()
    scan = run(
        "scan", *where, "--model", both.path, "--out", tmp_path / "scan", *QUICK,
        "--pyramid", "on", "--set", "grid.tile_size=256", "--progress", "none",
    )  # fmt: skip
    assert scan.exit_code == 0, scan.stderr
    again = run("model", "screen", both.path, made.path, "--out", tmp_path / "again")
    assert "has a screen" in again.stderr
    assert run("model", "screen", both.path, made.path, "--replace", "--out", tmp_path / "again").exit_code == 0
    assert (tmp_path / "again" / "model_card.md").read_text().count("## Screen") == 1


def test_screens_that_do_not_fit_are_refused(stages: tuple[ModelPackage, ModelPackage], tmp_path: Path) -> None:
    spec = stages[0].spec.replace(sensors=("sentinel-2-l2a",))
    fine = write_package(tmp_path / "fine", spec, None, "# fine", {}).path
    coarse = spec.replace(resolution=80.0, resolutions=trained_range(80.0), keep_threshold=0.5)
    wrong = {
        "not coarser": coarse.replace(resolution=10.0, resolutions=trained_range(10.0)),
        "no sensor has": coarse.replace(sensors=("landsat-c2-l2",)),
        "not made for pixels of this size": coarse.replace(resolutions=(94.0, 96.0), resolution=95.0),
    }
    for number, (said, changed) in enumerate(wrong.items()):
        made = write_package(tmp_path / f"screen{number}", changed, None, "# screen", {})
        done = run("model", "screen", fine, made.path, "--out", tmp_path / "no")
        assert done.exit_code == 2
        assert said in done.stderr
    nested = run("model", "screen", fine, load_package("demo").path, "--out", tmp_path / "no")
    assert "screen of its own" in nested.stderr
    assert not (tmp_path / "no").exists()


def test_a_scan_in_an_engine_that_is_not_there_is_refused_before_it_starts(
    where: tuple[str, ...], tmp_path: Path
) -> None:
    done = run("scan", *where, "--model", "demo", "--out", tmp_path / "scan", *QUICK, "--set", "engine.device=tpu")
    assert done.exit_code == 2
    assert "unknown device" in done.stderr
    assert not (tmp_path / "scan" / "mosaic.zarr").exists()
