"""Networks of tied weights: turned ground gives the turned answer, through training, saving and prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from minescale.errors import ModelError
from minescale.models.network import NetworkPredictor, build_network, state_arrays
from minescale.models.package import load_package, write_package
from minescale.models.predictor import ENGINES, load_predictor
from minescale.models.spec import ModelSpec
from minescale.models.turns import SYMMETRIES, turned, untie
from minescale.models.unet import UNetPredictor

SPECS: dict[str, dict[str, Any]] = {
    "patchcnn": {"task": "chips", "chip": 48, "patch": 256, "halo": 64, "hyperparameters": {"width": 16}},
    "unet": {"patch": 256, "halo": 48, "hyperparameters": {"width": 8, "depth": 3}},
    "residual unet": {"patch": 256, "halo": 48, "hyperparameters": {"width": 8, "depth": 3, "residual": True}},
    "folded residual unet": {
        "patch": 256,
        "halo": 96,
        "hyperparameters": {"width": 8, "depth": 3, "fold": 4, "residual": True},
    },
    "folded unet": {"patch": 256, "halo": 96, "hyperparameters": {"width": 8, "depth": 3, "fold": 4}},
}


def spec_of(name: str, **more: Any) -> ModelSpec:
    values = {**SPECS[name], **more}
    values["hyperparameters"] = {**values["hyperparameters"], "symmetric": True}
    return ModelSpec(
        name="tied",
        version="1.0.0",
        family=name.rsplit(maxsplit=1)[-1],
        bands=("red", "green", "blue"),
        resolution=10.0,
        resolutions=(6.7, 15.0),
        classes=("other", "mine"),
        target="mine",
        threshold=0.5,
        mean=(0.1, 0.2, 0.3),
        std=(0.1, 0.1, 0.2),
        licence="Apache-2.0",
        **values,
    )


def taught(spec: ModelSpec) -> torch.nn.Module:
    """A network with random weights whose norms have seen some data."""
    torch.manual_seed(3)
    network = build_network(spec)
    forward = network.chip if spec.task == "chips" else network
    with torch.no_grad():
        for _ in range(3):
            forward(torch.randn(2, 3, 48, 64) * 2 + 1)
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
def test_a_turned_image_gives_the_turned_map(name: str, symmetry: int) -> None:
    network, image = taught(spec_of(name)), torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(turned(image, symmetry)), turned(network(image), symmetry), rtol=1e-4, atol=1e-4
        )
        if name == "patchcnn":
            torch.testing.assert_close(network.chip(turned(image, symmetry)), network.chip(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SPECS)
def test_untied_networks_are_plain_and_say_the_same(name: str) -> None:
    network, image = taught(spec_of(name)), torch.randn(1, 3, 64, 64)
    plain = build_network(spec_of(name).replace(hyperparameters=SPECS[name]["hyperparameters"])).eval()
    tied = sum(p.numel() for p in network.parameters())
    with torch.inference_mode():
        wanted = network(image)
        torch.testing.assert_close(untie(network)(image), wanted)
    names = {name for name, _ in network.named_parameters()}
    assert names == {name for name, _ in plain.named_parameters()}
    assert sum(p.numel() for p in plain.parameters()) > 5 * tied


@pytest.mark.parametrize("name", SPECS)
def test_packages_keep_the_few_weights(name: str, tmp_path) -> None:
    spec = spec_of(name)
    network = taught(spec)
    write_package(tmp_path / "tied", spec, state_arrays(network), "# tied", {})
    package = load_package(tmp_path / "tied")
    predictor = (NetworkPredictor if name == "patchcnn" else UNetPredictor)(package, "cpu")
    image = np.random.default_rng(0).uniform(0.01, 0.4, (1, 3, 64, 64)).astype(np.float32)
    scaled = (torch.from_numpy(image) - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(
        1, 3, 1, 1
    )
    with torch.inference_mode():
        wanted = torch.softmax(network(scaled), 1).numpy()
    np.testing.assert_allclose(predictor.predict(image), wanted, atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_engines_run_tied_networks(engine: str, tmp_path, monkeypatch) -> None:
    for library in ENGINES[engine]:
        pytest.importorskip(library, reason="minescale[fast] is not installed")
    monkeypatch.setenv("MINESCALE_CACHE", str(tmp_path / "cache"))
    spec = spec_of("patchcnn")
    package = write_package(tmp_path / "tied", spec, state_arrays(taught(spec)), "# tied", {})
    image = np.random.default_rng(0).uniform(0.01, 0.4, (1, 3, 64, 64)).astype(np.float32)
    wanted = load_predictor(package, "cpu").predict(image)
    np.testing.assert_allclose(load_predictor(package, engine).predict(image), wanted, atol=1e-4)


def test_gradients_reach_every_weight() -> None:
    network = build_network(spec_of("patchcnn")).train()
    network.chip(torch.randn(4, 3, 48, 48))[:, 1].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_widths_that_cannot_be_tied_are_refused() -> None:
    with pytest.raises(ModelError, match="multiple of 8"):
        build_network(spec_of("patchcnn", hyperparameters={"width": 12}))
