"""Networks in other engines: the same numbers as torch, from one export that is kept, checked and made again."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from model_specs import SIX, pixel_spec, pixel_weights, unet_spec

from minescale.errors import ModelError, StoreError
from minescale.models import engines
from minescale.models import predictor as registry
from minescale.models.package import ModelPackage, write_package
from minescale.models.predictor import ENGINES, load_predictor, resolve_device
from minescale.models.spec import ModelSpec
from minescale.models.windows import predict_tile

for _library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(_library, reason="minescale[fast] is not installed")

FAMILIES = {
    "unet": {
        "halo": 16,
        "patch": 64,
        "hyperparameters": {"width": 8, "depth": 2, "residual": True, "logarithm": True},
        "clip": 0.3,
    },
    "patchcnn": {"task": "chips", "chip": 32, "halo": 48, "patch": 160, "hyperparameters": {"width": 8}},
    "probe": {
        "task": "chips",
        "chip": 32,
        "halo": 24,
        "patch": 160,
        "hyperparameters": {},
        "mean": (0.0,) * 6,
        "std": (1.0,) * 6,
    },
}
LARGE = {
    "patchcnn on lite0": {
        "family": "patchcnn",
        "task": "chips",
        "chip": 32,
        "halo": 120,
        "patch": 320,
        "hyperparameters": {"encoder": "lite0"},
    },
    "efficientunet": {"halo": 192, "patch": 512, "hyperparameters": {}},
    "segformer": {"halo": 64, "patch": 192, "hyperparameters": {}},
    "resnet34": {"task": "chips", "chip": 32, "halo": 64, "patch": 192, "hyperparameters": {"input_px": 64}},
}


def random_package(folder: Path, family: str, **changes: object) -> ModelPackage:
    import torch

    from minescale.models.network import build_network, state_arrays

    spec = unet_spec(**{"family": family, **(FAMILIES | LARGE)[family], **changes})
    torch.manual_seed(7)
    network = build_network(spec)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Norms of a trained network are not the identity.
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.05, 0.3)
    if family == "probe":
        # Features of noise differ as little as this from each other.
        network.middle.copy_(network.features(torch.from_numpy(images(spec, 1, 64, 64)))[0])
        network.spread.fill_(0.02)
    return write_package(folder, spec, state_arrays(network), "card", {})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Exports take seconds: those of this module share one cache."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINESCALE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def packages(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelPackage]:
    folder = tmp_path_factory.mktemp("packages")
    return {family: random_package(folder / family, family) for family in FAMILIES}


def images(spec: ModelSpec, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    found = rng.uniform(0.005, 0.5, (shape[0], len(spec.channels), *shape[1:])).astype(np.float32)
    found[:, :, :5, :7] = 0
    found[0, 1, 20, 20:] = 0
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_are_those_of_torch(packages: dict[str, ModelPackage], family: str, engine: str) -> None:
    package = packages[family]
    ours, theirs = load_predictor(package, "cpu"), load_predictor(package, engine)
    # One image and several, more than fit at once, and, but for U-Nets, which take whole strides, edges to be padded.
    for shape in ((1, 64, 96), (20, 64, 64), (3, 50, 41) if family != "unet" else (3, 32, 64)):
        batch = images(package.spec, *shape)
        got = theirs.predict(batch)
        assert got.dtype == np.float32
        assert np.ptp(got[:, 0]) > 0.05, "a flat map would agree with anything flat"
        np.testing.assert_allclose(got, ours.predict(batch), atol=1e-4)


@pytest.mark.drill
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", LARGE)
def test_large_networks_agree_too(cache: Path, tmp_path: Path, family: str) -> None:
    """Exports of these take half a minute each."""
    pytest.importorskip("transformers", reason="minescale[train] is not installed")
    package = random_package(tmp_path / family, family)
    ours = load_predictor(package, "cpu")
    for engine in ENGINES:
        theirs = load_predictor(package, engine)
        for shape in ((1, 64, 96), (5, 64, 64)):
            batch = images(package.spec, *shape)
            np.testing.assert_allclose(theirs.predict(batch), ours.predict(batch), atol=1e-4)
        if package.spec.task == "chips":
            chips = images(package.spec, 5, 32, 32)
            np.testing.assert_allclose(theirs.classify(chips), ours.classify(chips), atol=1e-4)  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", ["patchcnn", "probe"])
def test_chips_are_classified_as_by_torch(packages: dict[str, ModelPackage], family: str, engine: str) -> None:
    package = packages[family]
    batch = images(package.spec, 9, 32, 32)
    ours, theirs = load_predictor(package, "cpu"), load_predictor(package, engine)
    got = theirs.classify(batch)  # type: ignore[attr-defined]
    assert got.shape == (9, 2)
    np.testing.assert_allclose(got, ours.classify(batch), atol=1e-4)  # type: ignore[attr-defined]


def test_a_tile_is_the_same_by_any_way(packages: dict[str, ModelPackage], landscape: np.ndarray) -> None:
    package = packages["unet"]
    tile = np.ascontiguousarray(landscape[:, :200, :216])
    halo = package.spec.halo
    whole, fast = (predict_tile(load_predictor(package, d), tile, halo) for d in ("cpu", "openvino"))
    np.testing.assert_allclose(fast, whole, atol=1e-4)


def test_threads_do_not_disturb_each_other(packages: dict[str, ModelPackage]) -> None:
    predictor = load_predictor(packages["unet"], "openvino")
    batches = [images(predictor.spec, 1, 64, 64) * (1 + i / 10) for i in range(8)]
    alone = [predictor.predict(b) for b in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(predictor.predict, batches * 4))
    for got, wanted in zip(together, alone * 4, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_export_is_made_once_and_again_when_damaged(
    packages: dict[str, ModelPackage], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = packages["unet"]
    path = engines.kept_export(package, "onnx")
    made = path.stat().st_mtime_ns
    assert engines.kept_export(package, "openvino").stat().st_mtime_ns == made
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    again = engines.kept_export(package, "onnx")
    assert again.stat().st_mtime_ns > made
    assert again.stem.partition("-")[2] == engines._checksum(again)
    assert [p.name for p in again.parent.glob("*.onnx")] == [again.name]


def test_the_file_says_what_it_is(packages: dict[str, ModelPackage]) -> None:
    import onnx

    model = onnx.load(engines.kept_export(packages["unet"], "onnx"))
    onnx.checker.check_model(model)
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}["minescale"])
    assert facts["channels"] == list(SIX)
    assert facts["digest"] == packages["unet"].digest
    assert facts["stride"] == 32


def test_an_export_that_computes_something_else_is_not_used(
    packages: dict[str, ModelPackage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engines.kept_export(packages["unet"], "onnx")
    monkeypatch.setattr(engines, "write_onnx", lambda scorer, package, path: shutil.copy(made, path))
    right = engines._onnxruntime

    def wrong(path: Path, threads: int) -> engines.Run:
        run = right(path, threads)
        return lambda batch: run(batch) + np.float32(2e-4)

    monkeypatch.setattr(engines, "_onnxruntime", wrong)
    with pytest.raises(ModelError, match="computes something else"):
        engines.export(packages["unet"], tmp_path, "onnx")
    assert not list(tmp_path.iterdir())


def test_nobody_is_told_that_a_model_runs(packages: dict[str, ModelPackage]) -> None:
    path = engines.kept_export(packages["unet"], "openvino")
    code = (
        "import sys; from pathlib import Path; from minescale.models import engines\n"
        f"engines.start(Path({str(path)!r}), 'openvino')\n"
        "print('loaded:', *(name for name, module in sys.modules.items() if 'telemetry' in name and module))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.partition("loaded:")[2].split()
    assert loaded, "OpenVINO's own stub is what it falls back to"
    assert not [name for name in loaded if name.startswith("openvino_telemetry")]


def test_pixel_models_stay_where_they_are(tmp_path: Path) -> None:
    package = write_package(tmp_path / "pixel", pixel_spec(), pixel_weights(), "card", {})
    assert resolve_device(package.spec, "openvino") == "cpu"
    assert load_predictor(package, "openvino") is load_predictor(package, "cpu")


def test_what_is_missing_is_named(packages: dict[str, ModelPackage], monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "openvino" else real(name))
    with pytest.raises(ModelError, match=r"openvino(.|\n)*pip install 'minescale\[fast\]'"):
        load_predictor(packages["unet"], "openvino")
    with pytest.raises(ModelError, match="unknown device"):
        load_predictor(packages["unet"], "tensorrt")


def test_a_family_that_is_no_network_is_refused(
    packages: dict[str, ModelPackage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minescale.models.network.ARCHITECTURES", {})
    with pytest.raises(ModelError, match="runs in no other engine"):
        registry._in_engine(packages["unet"].spec, registry.find_family("unet"))


def test_a_cache_that_cannot_be_written_is_named(
    packages: dict[str, ModelPackage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MINESCALE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="MINESCALE_CACHE"):
        engines.kept_export(packages["unet"], "onnx")


def test_a_network_onnx_cannot_say_is_a_model_error(
    packages: dict[str, ModelPackage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    class Odd(torch.nn.Module):
        chips = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            # What is computed depends on a value: no graph can hold that.
            return x if float(x.sum()) > 0 else -x

    monkeypatch.setattr(engines, "Scorer", lambda package, chips: Odd())
    with pytest.raises(ModelError, match="cannot be exported"):
        engines.export(packages["unet"], tmp_path, "onnx")
    assert not list(tmp_path.iterdir())
