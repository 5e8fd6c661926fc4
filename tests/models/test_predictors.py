"""The families: formulas against reference implementations, registry, cache, threads."""

from __future__ import annotations

import ast
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_specs import FEATURES, SIX, pixel_spec, pixel_weights, unet_spec

from minescale.errors import ModelError
from minescale.kernels.indices import INDICES, evaluate
from minescale.models import predictor as registry
from minescale.models.features import compile_features
from minescale.models.index import parse_rules
from minescale.models.package import ModelPackage, load_package, write_package
from minescale.models.pixel import BLOCK, features_of
from minescale.models.predictor import Family, Predictor, families, load_predictor, register_family, resolve_device
from minescale.models.spec import ModelSpec
from minescale.models.symbols import band_symbols

Packages = Callable[..., ModelPackage]
SPECTRA = {  # blue, green, red, nir, swir16, swir22
    "forest": (0.02, 0.04, 0.03, 0.35, 0.15, 0.07),
    "crop": (0.04, 0.08, 0.06, 0.40, 0.22, 0.12),
    "bare laterite": (0.07, 0.11, 0.18, 0.26, 0.34, 0.29),
    "sand": (0.18, 0.24, 0.30, 0.36, 0.44, 0.40),
    "clear lake": (0.05, 0.04, 0.02, 0.01, 0.005, 0.004),
    "turbid pond": (0.07, 0.11, 0.13, 0.10, 0.03, 0.02),
    "shadow": (0.01, 0.01, 0.01, 0.03, 0.02, 0.01),
}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.001, 0.6, (6, 3 * BLOCK + 17)).astype(np.float32)


def symbols_of(expression: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}


def numpy_features(names: list[str], spec: ModelSpec, pixels: np.ndarray) -> np.ndarray:
    """Independent of the product's postfix code: the catalogue's formulas by ``kernels.indices.evaluate``."""
    symbols = dict(zip(band_symbols(spec), pixels, strict=True))
    rows = []
    for name in names:
        if name in spec.bands:
            rows.append(pixels[spec.bands.index(name)])
        elif name.startswith("ND_"):
            a, b = (pixels[spec.bands.index(band)] for band in name[3:].split("_"))
            rows.append((a - b) / (a + b))
        else:
            rows.append(evaluate(INDICES.get(name, name), symbols))
    return np.array(rows, np.float32)


def test_features_equal_the_index_kernels(pixels: np.ndarray) -> None:
    spec = pixel_spec()
    bands = set(band_symbols(spec))
    usable = []
    for name in sorted(INDICES):
        try:
            compile_features([name], spec)
        except ModelError:
            continue
        usable.append(name)
    assert {"NDVI", "NBR2", "MSI", "MNDWI"} <= set(usable), bands
    names = [*SIX, "ND_blue_swir22", *usable, "-N ** 2 + 3 * (S1 - +S2) / 0.5"]
    got = features_of(pixels, compile_features(names, spec))
    np.testing.assert_allclose(got, numpy_features(names, spec, pixels), rtol=2e-5, atol=2e-6)


def test_statistics_are_features_and_symbols(pixels: np.ndarray) -> None:
    """``nir:p90`` by its name, and ``N_p90`` in a formula; an index by name is of the scan's own composites."""
    spec = pixel_spec(bands=("nir:p90", "red", "nir", "red:p10", "blue", "swir16"))
    assert band_symbols(spec) == ("N_p90", "R", "N", "R_p10", "B", "S1")
    names = ["nir:p90", "NDVI", "(N_p90 - R_p10) / (N_p90 + R_p10)", "ND_nir:p90_red"]
    got = features_of(pixels, compile_features(names, spec))
    high, red, nir, low = pixels[:4]
    expected = [high, (nir - red) / (nir + red), (high - low) / (high + low), (high - red) / (high + red)]
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


def test_unet_reads_statistics_as_further_channels(unet_package: Packages) -> None:
    bands = ("red", "nir", "nir:p90", "red:p10")
    package = unet_package(bands=bands, mean=(0.1,) * 4, std=(0.1,) * 4)
    batch = np.random.default_rng(2).uniform(0.01, 0.5, (1, 4, 64, 64)).astype(np.float32)
    first = load_predictor(package, "cpu").predict(batch)
    batch[:, 2] += 0.1
    assert np.abs(load_predictor(package, "cpu").predict(batch) - first).max() > 1e-3


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(SIX), min_size=2, max_size=6, unique=True), st.data())
def test_r099_any_bands_and_indices_feed_a_pixel_model(bands: list[str], data: st.DataObject) -> None:
    """R099: any subset, in any order, with any of the indices and pairs that it allows."""
    spec = pixel_spec(bands=tuple(bands))
    symbols = set(band_symbols(spec))
    usable = [name for name in sorted(INDICES) if symbols_of(INDICES[name]) <= symbols]
    pairs = [f"ND_{a}_{b}" for a, b in itertools.combinations(bands, 2)]
    names = data.draw(st.lists(st.sampled_from([*bands, *usable, *pairs]), min_size=1, max_size=12, unique=True))
    values = np.random.default_rng(4).uniform(0.01, 0.6, (len(bands), 50)).astype(np.float32)
    got = features_of(values, compile_features(names, spec))
    np.testing.assert_allclose(got, numpy_features(names, spec, values), rtol=1e-4, atol=1e-5)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(SIX), min_size=1, max_size=6, unique=True))
def test_r099_any_bands_feed_a_network(unet_package: Packages, bands: list[str]) -> None:
    count = len(bands)
    package = unet_package(bands=tuple(bands), mean=(0.1,) * count, std=(0.1,) * count)
    network = load_predictor(package, "cpu")
    batch = np.random.default_rng(2).uniform(0.01, 0.5, (1, count, 32, 32)).astype(np.float32)
    first = network.predict(batch)
    for band in range(count):
        changed = batch.copy()
        changed[:, band] += 0.2
        assert np.abs(network.predict(changed) - first).max() > 1e-5, f"{bands[band]} is not looked at"


@pytest.mark.parametrize("hidden", [0, 16])
def test_pixel_model_equals_numpy(pixel_package: Packages, pixels: np.ndarray, hidden: int) -> None:
    package = pixel_package(hidden)
    w = pixel_weights(hidden)
    z = (numpy_features(FEATURES, package.spec, pixels) - w["mean"][:, None]) / w["std"][:, None]
    z = np.clip(np.nan_to_num(z), -8, 8)
    if hidden:
        z = np.maximum(w["hidden.weight"] @ z + w["hidden.bias"][:, None], 0)
    expected = 1 / (1 + np.exp(-(w["weight"] @ z + w["bias"])[0]))
    got = load_predictor(package).predict(pixels.reshape(1, 6, 1, -1))
    np.testing.assert_allclose(got[0, 1, 0], expected, atol=2e-5)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)


def test_pixel_model_survives_zeros(pixel_package: Packages) -> None:
    """0/0 in every ratio counts as average, never as NaN."""
    assert np.isfinite(load_predictor(pixel_package()).predict(np.zeros((1, 6, 4, 4), np.float32))).all()


def test_pixel_package_that_does_not_fit_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    def build(spec: ModelSpec, weights: dict[str, np.ndarray]) -> ModelPackage:
        return write_package(tmp_path_factory.mktemp("p") / "p", spec, weights, "card", {})

    good = pixel_weights()
    for spec, weights, message in (
        (pixel_spec(hyperparameters={"features": ["NDVII"]}), good, r"NDVI\?"),
        (pixel_spec(hyperparameters={"features": ["ND_red_rededge071"]}), good, "rededge071"),
        (pixel_spec(hyperparameters={"features": ["SeLI"]}), good, "cannot be computed"),
        (pixel_spec(hyperparameters={"features": ["__import__('os')"]}), good, "arithmetic"),
        (pixel_spec(hyperparameters={"features": ["red"], "hiden": 3}), good, "hiden"),
        (pixel_spec(), {**good, "weight": good["weight"][:, :3]}, "do not fit"),
        (pixel_spec(), {**good, "std": good["std"] * 0}, "std not above 0"),
        (pixel_spec(), {**good, "bias": good["bias"] * np.nan}, "not finite"),
        (pixel_spec(family="unett"), good, r"unet\?"),
    ):
        with pytest.raises(ModelError, match=message):
            load_predictor(build(spec, weights))


def test_baseline_orders_land_covers() -> None:
    package = load_package("baseline")
    predictor = load_predictor(package)
    columns = [SIX.index(band) for band in package.spec.bands]
    image = np.array([[SPECTRA[n][c] for n in SPECTRA] for c in columns], np.float32)[None, :, None]
    score = dict(zip(SPECTRA, predictor.predict(image)[0, 1, 0], strict=True))
    assert score["bare laterite"] > 0.9
    assert score["sand"] > 0.9
    assert 0.4 < score["turbid pond"] <= 0.6
    for name in ("forest", "crop", "clear lake", "shadow"):
        assert score[name] < 0.05, name
    assert np.isfinite(predictor.predict(np.zeros((1, 5, 2, 2), np.float32))).all()


def test_baseline_runs_on_every_sensor_and_needs_no_green() -> None:
    from minescale.models.package import check_fits
    from minescale.sensors import SENSORS

    spec = load_package("baseline").spec
    assert "green" not in spec.bands
    for sensor in SENSORS.values():
        for resolution in (10, 30, 80, 500):
            check_fits(spec, sensor, resolution)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"rules": [{"name": "a", "weight": 1, "ramps": [{"index": "NDVI", "form": 0, "to": 1}]}]}, r"from\?"),
        ({"rules": [{"name": "a", "weight": 1, "ramps": [{"index": "NDVI", "from": 0, "to": 0}]}]}, "two numbers"),
        ({"rules": [{"name": "a", "weight": 2, "ramps": [{"index": "NDVI", "from": 0, "to": 1}]}]}, "weight in"),
        ({"rules": [{"name": "a", "weight": 1, "ramps": [{"index": "MNDWI", "from": 0, "to": 1}]}]}, "another band"),
        ({"rules": []}, "rules"),
        ({"rulez": []}, "expected: rules"),
    ],
)
def test_rules_are_checked(rules: dict[str, object], message: str) -> None:
    spec = load_package("baseline").spec.replace(hyperparameters=rules)
    with pytest.raises(ModelError, match=message):
        parse_rules(spec, band_symbols(spec))


def test_unet_receptive_radius_is_exact() -> None:
    """Against gradients: no input pixel further away matters, and one at that distance does."""
    import torch

    from minescale.models.unet import build_unet, default_halo, receptive_radius, stride_of

    for depth, fold, residual in ((2, 2, False), (3, 2, False), (2, 4, False), (3, 2, True)):
        torch.manual_seed(0)
        network = build_unet(2, 2, 8, depth, fold, residual=residual).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                torch.nn.init.uniform_(module.weight, 0.01, 0.02)  # no cancellation, no dead units
        stride = stride_of(depth, fold)
        n, farthest = 16 * stride, 0
        for _ in range(2):  # max-pooling hides a different pixel each time
            x = torch.rand(1, 2, n, n, requires_grad=True)
            y = network(x)
            for position in range(stride):
                centre = n // 2 + position
                (gradient,) = torch.autograd.grad(y[0, 0, centre, centre], x, retain_graph=True)
                farthest = max(farthest, int((gradient.abs().sum((0, 1)).nonzero() - centre).abs().max()))
        assert farthest == receptive_radius(depth, fold)
        assert default_halo(depth, fold) >= farthest
        assert default_halo(depth, fold) % 8 == 0


@pytest.mark.parametrize(("depth", "fold"), [(4, 2), (3, 4)])
def test_unet_takes_edges_that_are_no_multiple_of_its_stride(tmp_path: Path, depth: int, fold: int) -> None:
    """A deep one once failed on tiles whose edge is a multiple of 8 and not of 16."""
    from minescale.models.network import state_arrays
    from minescale.models.unet import build_unet, default_halo, stride_of

    halo = default_halo(depth, fold)
    spec = unet_spec(hyperparameters={"width": 8, "depth": depth, "fold": fold}, halo=halo, patch=2 * halo + 64)
    arrays = state_arrays(build_unet(len(spec.bands), len(spec.classes), 8, depth, fold))
    predictor = load_predictor(write_package(tmp_path / "deep", spec, arrays, "card", {}), "cpu")
    batch = np.random.default_rng(0).uniform(0.05, 0.4, (1, len(spec.bands), 72, 40)).astype(np.float32)
    found = predictor.predict(batch)
    assert found.shape == (1, len(spec.classes), 72, 40)
    stride = stride_of(depth, fold)
    padded = np.pad(batch, [(0, 0), (0, 0), (0, -72 % stride), (0, -40 % stride)])
    np.testing.assert_array_equal(found, predictor.predict(padded)[:, :, :72, :40])


@pytest.mark.parametrize(("depth", "fold"), [(3, 3), (5, 4)])
def test_unet_refuses_folds_that_it_does_not_have(depth: int, fold: int) -> None:
    from minescale.models.unet import build_unet

    with pytest.raises(ModelError, match="fold"):
        build_unet(3, 2, 8, depth, fold)


@pytest.mark.parametrize("log", [False, True])
def test_unet_predictor_equals_the_plain_network(unet_package: Packages, log: bool) -> None:
    """Folded norms, channels-last and micro-batches change nothing; a logarithm is taken before the scaling."""
    import torch

    from minescale.models.unet import build_unet

    package = unet_package()
    network = build_unet(6, 2, **package.spec.hyperparameters).eval()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in package.weights().items()}, strict=False)
    batch = np.random.default_rng(1).uniform(0.01, 0.5, (3, 6, 64, 96)).astype(np.float32)
    batch[1, 2, :8, :8] = 0
    mean, std = (np.array(v, np.float32).reshape(1, 6, 1, 1) for v in (package.spec.mean, package.spec.std))
    if log:
        mean, std = mean + 0.5, std + 0.1
        spec = package.spec.replace(
            hyperparameters={**package.spec.hyperparameters, "logarithm": True},
            mean=tuple(mean.ravel().tolist()),
            std=tuple(std.ravel().tolist()),
        )
        package = write_package(package.path.parent / "log", spec, package.weights(), "card", {})
        assert load_package(str(package.path)).spec == package.spec
    values = np.log(1 + batch.astype(float) * 1e4) / 10 if log else batch
    scaled = np.where((batch > 0).all(axis=1, keepdims=True), (values - mean) / std, 0)
    with torch.inference_mode():
        expected = torch.softmax(network(torch.from_numpy(scaled.astype(np.float32))), 1).numpy()
    np.testing.assert_allclose(load_predictor(package, "cpu").predict(batch), expected, atol=2e-5)


def test_unet_stays_small() -> None:
    from minescale.models.unet import build_unet

    assert sum(p.numel() for p in build_unet(6, 2, 16, 3).parameters()) * 4 < 1_000_000


def test_unet_refuses_wrong_weights_and_options(tmp_path_factory: pytest.TempPathFactory) -> None:
    from minescale.models.network import state_arrays
    from minescale.models.unet import build_unet

    def build(arrays: dict[str, np.ndarray], **changes: object) -> ModelPackage:
        return write_package(tmp_path_factory.mktemp("u") / "u", unet_spec(**changes), arrays, "card", {})

    arrays = state_arrays(build_unet(6, 2, 8, 3))
    name = "head.weight"
    for package, message in (
        (build({**arrays, name: arrays[name][:2]}), name),
        (build({k: v for k, v in arrays.items() if k != name}), "absent"),
        (build({**arrays, "extra": arrays[name]}), "extra"),
        (build({**arrays, name: arrays[name] * np.nan}), "finite"),
        (build(arrays, hyperparameters={"width": 8, "depht": 3}), "depht"),
        (build(arrays, hyperparameters={"width": 4096, "depth": 3}), "1 to 128"),
    ):
        with pytest.raises(ModelError, match=message):
            load_predictor(package, "cpu")


def test_predictors_are_cached_and_shared_between_threads(unet_package: Packages) -> None:
    package = unet_package()
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: load_predictor(package, "cpu"), range(16)))
    assert len({id(p) for p in loaded}) == 1
    batch = np.random.default_rng(2).uniform(0.01, 0.5, (1, 6, 64, 64)).astype(np.float32)
    expected = loaded[0].predict(batch)
    barrier = threading.Barrier(4)

    def work(_: int) -> np.ndarray:
        barrier.wait()
        return loaded[0].predict(batch)

    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(r, expected) for r in pool.map(work, range(4)))


def test_devices() -> None:
    import torch

    assert resolve_device(pixel_spec(), "auto") == "cpu"
    assert resolve_device(unet_spec(), "auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    for device in ("gpu", "cuda:99", "cuda:x"):
        with pytest.raises(ModelError, match="device"):
            resolve_device(unet_spec(), device)


def test_a_family_can_be_added(
    monkeypatch: pytest.MonkeyPatch, pixel_package: Packages, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))

    class Half:
        def __init__(self, package: ModelPackage, device: str) -> None:
            self.spec = package.spec

        def predict(self, batch: np.ndarray) -> np.ndarray:
            return np.full((len(batch), 2, *batch.shape[2:]), 0.5, np.float32)

    family = Family(factory=Half, bytes_per_pixel=lambda spec: 8)
    register_family("half", family)
    assert "half" in families()
    folder = tmp_path_factory.mktemp("h") / "half"
    predictor = load_predictor(write_package(folder, pixel_spec(family="half"), None, "card", {}))
    assert isinstance(predictor, Predictor)
    assert predictor.predict(np.zeros((1, 6, 2, 2), np.float32)).mean() == 0.5
    with pytest.raises(ModelError, match="registered already"):
        register_family("unet", family)
