"""Linear classifiers on fixed features: these are what the page says, and chips and maps agree."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_specs import unet_spec

from minescale.errors import ModelError
from minescale.models.network import InputScaling, build_network, default_halo, state_arrays
from minescale.models.package import load_package, write_package
from minescale.models.predictor import ENGINES, load_predictor
from minescale.models.probe import Probe, described
from minescale.models.spec import ModelSpec
from minescale.models.windows import predict_tile

BANDS = ("blue", "green", "red", "nir")
BASE = "amw-patch-rgb"


def spec_of(bands: tuple[str, ...] = BANDS, dates: int = 1, *, base: bool = False, **changes: Any) -> ModelSpec:
    options = {"base": described(load_package(BASE), bands)} if base else {}
    count = len(bands) * dates
    values = {"family": "probe", "task": "chips", "chip": 32, "bands": bands, "dates": dates, "patch": 256}
    scaling = {"mean": (0.0,) * count, "std": (1.0,) * count, "clip": 1.0}
    halo = default_halo("probe", options, 32)
    return unet_spec(**{**values, **scaling, "halo": halo, "hyperparameters": options, **changes})


def network_of(spec: ModelSpec) -> Probe:
    torch.manual_seed(5)
    network = build_network(spec).eval()
    assert isinstance(network, Probe)
    if network.base is not None:
        weights = load_package(BASE).weights()
        network.base.network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
    return network


def chips(n: int, channels: int, edge: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.uniform(0.001, 0.4, (n, channels, edge, edge)).astype(np.float32)
    found[0, :, :5, :9] = 0
    found[0, 1, 20, 20:] = 0
    return found


def expected(image: np.ndarray, bands: int) -> np.ndarray:
    """Statistics of one chip in float64, pixel by pixel as the page describes them."""
    seen = (image > 0).all(axis=0)
    values = []
    for date in image.astype(np.float64).reshape(-1, bands, *image.shape[1:]):
        logs = [np.log(np.maximum(band, 0.005)) for band in date]
        pairs = [(a - b) / (a + b + 1e-3) for a, b in combinations(date, 2)]
        values.append(np.stack(logs + pairs))
    if len(values) == 2:
        values.append(values[1] - values[0])
    pixels = np.concatenate(values)[:, seen]
    return np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)])


@pytest.mark.parametrize("dates", [1, 2])
def test_statistics_are_those_of_pixels_with_data(dates: int) -> None:
    spec = spec_of(dates=dates)
    images = chips(3, len(spec.channels))
    with torch.inference_mode():
        got = network_of(spec).features(InputScaling(spec)(torch.from_numpy(images)))
    wanted = np.stack([expected(image, len(BANDS)) for image in images])
    assert got.shape == wanted.shape == (3, 2 * 10 * (3 if dates == 2 else 1))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_features_of_the_base_are_those_of_its_package() -> None:
    spec = spec_of(dates=2, base=True)
    images = chips(2, 8)
    with torch.inference_mode():
        got = network_of(spec).features(InputScaling(spec)(torch.from_numpy(images)))[:, 60:]
        package = load_predictor(load_package(BASE), "cpu")
        parts = []
        seen = (images > 0).all(axis=1, keepdims=True)
        for date in (images[:, :4], images[:, 4:]):
            x = package.scaled((date * seen)[:, [2, 1, 0]])  # type: ignore[attr-defined]
            parts.append(package.network.features(x))  # type: ignore[attr-defined]
        deep = torch.cat(parts, dim=1)
    torch.testing.assert_close(got, torch.cat([deep.mean(dim=(2, 3)), deep.amax(dim=(2, 3))], dim=1))


@pytest.mark.parametrize("chip", [32, 40])
def test_a_map_says_of_a_square_what_the_chip_does(chip: int) -> None:
    """Squares begin at multiples of 8 pixels; with an even number of cells their middles lie between pixels."""
    network = network_of(spec_of(chip=chip))
    rng = np.random.default_rng(1)
    image = torch.from_numpy(rng.uniform(0.01, 0.4, (1, 4, 160, 160)).astype(np.float32))
    with torch.inference_mode():
        network.middle.copy_(network.features(image[:, :, :chip, :chip])[0])
        network.spread.fill_(0.5)
        found = network(image)
        corner, half = 64, chip // 2
        square = image[:, :, corner : corner + chip, corner : corner + chip]
        at = corner + half
        around = found[0, :, at - 1 : at + 1, at - 1 : at + 1].mean(dim=(1, 2))
        want = network.chip(square)[0]
    spread = float(found.std())
    assert spread > 0.001
    torch.testing.assert_close(around, want, atol=spread / 5, rtol=0)


def test_maps_do_not_depend_on_tiles(landscape: np.ndarray, tmp_path: Path) -> None:
    spec = spec_of(("blue", "green", "red", "nir", "swir16", "swir22"), base=True, patch=192)
    network = network_of(spec)
    with torch.no_grad():
        x = torch.from_numpy(landscape[None, :, :160, :160] * np.float32(1e-4))
        network.middle.copy_(network.features(x)[0])
        network.spread.fill_(0.5)
    predictor = load_predictor(write_package(tmp_path / "p", spec, state_arrays(network), "card", {}), "cpu")
    halo, size = spec.halo, 64
    whole = predict_tile(predictor, landscape[:, : 2 * halo + 2 * size, : 2 * halo + 2 * size], halo)
    part = predict_tile(predictor, landscape[:, size : 2 * halo + 2 * size, : 2 * halo + size], halo)
    assert np.nanstd(whole) > 0.01
    np.testing.assert_allclose(part, whole[size:, :size], atol=1e-4)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_other_engines_agree_with_a_base_and_two_dates(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ENGINES[engine]:
        pytest.importorskip(library, reason="minescale[fast] is not installed")
    monkeypatch.setenv("MINESCALE_CACHE", str(tmp_path / "cache"))
    spec = spec_of(dates=2, base=True)
    network, images = network_of(spec), chips(3, 8, 64)
    with torch.no_grad():
        network.middle.copy_(network.features(torch.from_numpy(images))[1])
        network.spread.fill_(0.3)
    package = write_package(tmp_path / "p", spec, state_arrays(network), "card", {})
    ours, theirs = load_predictor(package, "cpu"), load_predictor(package, engine)
    wanted = ours.predict(images)
    assert np.ptp(wanted[:, 0]) > 0.1
    np.testing.assert_allclose(theirs.predict(images), wanted, atol=1e-4)
    np.testing.assert_allclose(theirs.classify(images), ours.classify(images), atol=1e-4)  # type: ignore[attr-defined]


def test_the_base_is_never_trained() -> None:
    network = network_of(spec_of(base=True)).train()
    assert network.base is not None
    before = {k: v.clone() for k, v in network.base.state_dict().items()}
    loss = network.chip(torch.from_numpy(chips(4, 4))).square().sum()
    loss.backward()
    assert all(p.grad is None for p in network.base.parameters())
    assert network.head.weight.grad is not None
    assert all(torch.equal(before[k], v) for k, v in network.base.state_dict().items())


def test_what_cannot_be_a_base_is_refused() -> None:
    with pytest.raises(ModelError, match=r"(?s)patch classifier of one date.*family pixel"):
        described(load_package("amw-screen-rgb"), BANDS)
    with pytest.raises(ModelError, match=r"(?s)bands that the set lacks.*got: blue, nir"):
        described(load_package(BASE), ("blue", "nir"))
    about = described(load_package(BASE), BANDS)
    with pytest.raises(ModelError, match="reflectance as it is"):
        build_network(spec_of(hyperparameters={"logarithm": True}))
    with pytest.raises(ModelError, match="base reads"):
        build_network(spec_of(("red", "nir"), hyperparameters={"base": about}))
    with pytest.raises(ModelError, match="base"):
        build_network(spec_of(hyperparameters={"base": {"name": BASE}}))
