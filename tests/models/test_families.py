"""What every family of networks must do: build, learn, come back from disk the same, draw maps, refuse bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from model_specs import SIX, unet_spec
from test_windows import _MEASURE
from torch.utils.flop_counter import FlopCounterMode

from minescale.errors import ModelError
from minescale.models import predictor as registry
from minescale.models.network import ARCHITECTURES, InputScaling, build_network, default_halo, state_arrays
from minescale.models.package import WEIGHTS, ModelPackage, load_package, write_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec
from minescale.models.turns import untie
from minescale.models.windows import predict_tile

FAMILIES: dict[str, dict[str, Any]] = {
    "unet": {"hyperparameters": {"width": 8, "depth": 2}},
    "patchcnn": {"hyperparameters": {"width": 8}, "chip": 48},
    "probe": {"hyperparameters": {}, "chip": 48, "mean": (0.0,) * 6, "std": (1.0,) * 6},
    "segformer": {"hyperparameters": {"size": "b0"}},
    "efficientunet": {"hyperparameters": {"drop_path": 0.0}},
    "sam": {"hyperparameters": {"image_px": 64}},
    "resnet34": {"hyperparameters": {"input_px": 32, "outputs": 1}, "chip": 8},
}


TWO_DATES: dict[str, Any] = {"bands": ("red", "green", "nir"), "dates": 2}
"""Of a probe, which holds the change besides; as many channels as the others' six bands."""


def spec_of(family: str, **changes: Any) -> ModelSpec:
    values = {"family": family, "task": ARCHITECTURES[family].task, **FAMILIES[family], **changes}
    values["halo"] = default_halo(family, values["hyperparameters"], values.get("chip"))
    values.setdefault("patch", max(160, 2 * values["halo"] + 64))
    return unet_spec(**values)


@pytest.fixture
def package_of(tmp_path: Path) -> Callable[..., ModelPackage]:
    """Builds packages with random weights that say something."""

    def build(family: str, **changes: Any) -> ModelPackage:
        spec = spec_of(family, **changes)
        torch.manual_seed(7)
        network = build_network(spec)
        with torch.no_grad():
            network.train()  # Norms take on the statistics of what they see, so that no logit overflows.
            edge = spec.chip or 64
            for _ in range(20):
                x = torch.randn(8, len(spec.channels), edge, edge)
                network.chip(x) if spec.task == "chips" else network(x)
        return write_package(
            tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}", spec, state_arrays(network), "c", {}
        )

    return build


def toy(spec: ModelSpec, n: int, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Reflectance (n, band, 64, 64) or chips, and the class: bright in the second band or not."""
    edge = spec.chip or 64
    generator = torch.Generator().manual_seed(seed)
    x = 0.1 + 0.02 * torch.rand((n, len(spec.channels), edge, edge), generator=generator)
    if spec.task == "chips":
        y = torch.arange(n) % 2
        x[:, 1] += 0.08 * y[:, None, None]
        return x, y
    y = torch.zeros(n, edge, edge, dtype=torch.long)
    y[:, : edge // 2, edge // 4 :] = 1
    x[:, 1] += 0.08 * y
    return x, y


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "probe"])  # which takes no steps
def test_a_few_steps_lower_the_loss(family: str) -> None:
    spec = spec_of(family)
    torch.manual_seed(1)
    network: Any = build_network(spec)
    forward = network.chip if spec.task == "chips" else network
    x, y = toy(spec, 8)
    scaled = InputScaling(spec)(x)
    optimiser = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad], lr=1e-2 if family == "sam" else 3e-3
    )
    losses = []
    for _ in range(25 if family == "sam" else 9):
        optimiser.zero_grad()
        loss = F.cross_entropy(forward(scaled), y)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    assert min(losses[-3:]) < 0.8 * losses[0], losses


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_it_is_the_same_to_the_bit(
    family: str, package_of: Callable[..., ModelPackage], landscape: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = package_of(family)
    predictor = load_predictor(package, "cpu")
    again = load_package(package.path)
    assert again.digest == package.digest
    image = landscape[:, :64, :64] * np.float32(1e-4)
    first = predictor.predict(image[np.newaxis])
    assert first.shape == (1, 2, 64, 64)
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-6)
    monkeypatch.setattr(registry, "_CACHE", {})
    second = load_predictor(again, "cpu")
    assert second is not predictor
    assert np.array_equal(second.predict(image[np.newaxis]), first)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_draws_a_map_of_any_size(
    family: str, package_of: Callable[..., ModelPackage], landscape: np.ndarray
) -> None:
    package = package_of(family)
    predictor, halo = load_predictor(package, "cpu"), package.spec.halo
    image = landscape[:, : 2 * halo + 50, : 2 * halo + 61].copy()
    image[:, halo : halo + 5, halo : halo + 9] = 0
    score = predict_tile(predictor, image, halo)
    assert score.shape == (50, 61)
    assert np.isnan(score[:5, :9]).all()
    assert np.isfinite(score[5:]).all()
    assert 0 <= np.nanmin(score) < np.nanmax(score) <= 1
    if package.spec.task == "chips":
        chips = landscape[:, : package.spec.chip, : package.spec.chip] * np.float32(1e-4)
        assert predictor.classify(chips[np.newaxis]).shape == (1, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_does_not_fit_is_refused(family: str, package_of: Callable[..., ModelPackage], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown hyperparameter"):
        build_network(spec_of(family).replace(hyperparameters={"sise": "b0"}))
    other = "chips" if ARCHITECTURES[family].task == "pixels" else "pixels"
    with pytest.raises(ModelError, match=f"a {family} is of"):
        build_network(spec_of(family).replace(task=other, chip=48 if other == "chips" else None))
    package = package_of(family)
    with pytest.raises(ModelError, match="composite does not fit"):
        predict_tile(load_predictor(package, "cpu"), np.ones((5, 400, 400), np.uint16), package.spec.halo)
    arrays = package.weights()
    name = sorted(arrays)[0]
    for changed, message in (
        ({k: v for k, v in arrays.items() if k != name}, f"{name}: absent"),
        ({**arrays, name: np.full_like(arrays[name], np.nan)}, "not all finite"),
        ({**arrays, "more": np.zeros(3, np.float32)}, "more: .* for nothing"),
    ):
        folder = tmp_path / f"changed-{len(list(tmp_path.iterdir()))}"
        with pytest.raises(ModelError, match=message):
            load_predictor(write_package(folder, package.spec, changed, "c", {}), "cpu")
    damaged = bytearray((package.path / WEIGHTS).read_bytes())
    damaged[-1] ^= 1
    (package.path / WEIGHTS).write_bytes(damaged)
    with pytest.raises(ModelError, match="does not match its checksum"):
        load_package(package.path)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("probe", {"base": "amw-patch-rgb"}, "base"),
        ("segformer", {"size": "b6"}, "got: b6"),
        ("segformer", {"drop_path": 1.0}, "drop_path 1.0"),
        ("efficientunet", {"size": "lite5"}, "got: lite5"),
        ("efficientunet", {"dropout": 1.0}, "dropout 1.0"),
        ("patchcnn", {"encoder": "lite5"}, "got: lite5"),
        ("patchcnn", {"encoder": "lite0", "width": 64, "symmetric": True}, "got: width, symmetric"),
        ("sam", {"size": "tiny"}, "got: tiny"),
        ("sam", {"image_px": 100}, "multiple of 16"),
        ("sam", {"lora_rank": -1}, "lora_rank -1"),
        ("resnet34", {"input_px": 100}, "multiple of 32"),
        ("resnet34", {"dropout": 1.5}, "dropout"),
        ("resnet34", {"outputs": 3}, "outputs of resnet34"),
    ],
)
def test_options_out_of_range_are_refused(family: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(spec_of(family).replace(hyperparameters=options))


def test_maps_of_chips_agree_where_features_share_their_ground(landscape: np.ndarray) -> None:
    """resnet34 enlarging by 4: features lie 8 pixels apart, as the origins of patches do, and the halo is enough."""
    spec = spec_of("resnet34")
    torch.manual_seed(3)
    network, halo = build_network(spec), spec.halo
    assert halo == 128
    x = InputScaling(spec)(torch.from_numpy(landscape[None, :, :288, :288] * np.float32(1e-4)))
    with torch.inference_mode():
        network.train()(x[:, :, :64, :64])
        network.eval()
        whole = network(x)
        part = network(x[:, :, 8:280, 16:])
    inside = whole[:, :, 8 + halo : 280 - halo, 16 + halo : 288 - halo].softmax(dim=1)
    assert inside.shape[2:] == (16, 16)
    torch.testing.assert_close(part[:, :, halo:-halo, halo:-halo].softmax(dim=1), inside, atol=1e-4, rtol=0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak memory that Linux keeps per process")
@pytest.mark.parametrize(
    ("family", "changes", "size"),
    [
        ("patchcnn", {"patch": 256, "hyperparameters": {"width": 32}}, 512),
        ("probe", {"patch": 256, **TWO_DATES}, 512),
        ("patchcnn", {"patch": 384, "hyperparameters": {"encoder": "lite0"}}, 256),
        ("segformer", {"patch": 384}, 256),
        ("efficientunet", {"patch": 640}, 256),
        ("resnet34", {"patch": 320}, 64),
    ],
)
def test_memory_stays_below_the_estimate(
    package_of: Callable[..., ModelPackage], family: str, changes: dict[str, Any], size: int
) -> None:
    package = package_of(family, **changes)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(package.path), str(size)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    measured = json.loads(done.stdout)
    assert 0.15 * measured["estimate"] < measured["used"] <= measured["estimate"], measured


@pytest.mark.parametrize(
    ("family", "changes", "edge"),
    [
        ("unet", {"hyperparameters": {}}, 640),
        ("unet", {"hyperparameters": {"width": 24, "depth": 4, "fold": 4}, "classes": ("a", "b", "mine")}, 640),
        ("unet", {"hyperparameters": {"width": 8, "depth": 1}}, 64),
        ("unet", {"hyperparameters": {"width": 32, "depth": 4, "fold": 4, "residual": True}}, 640),
        ("patchcnn", {"hyperparameters": {}, "bands": ("red", "green", "blue"), "mean": None, "std": None}, 640),
        ("patchcnn", {"hyperparameters": {"width": 64, "blocks": 2}}, 640),
        ("patchcnn", {"hyperparameters": {"encoder": "lite1"}}, 640),
        ("segformer", {"hyperparameters": {"size": "b0"}}, 640),
        ("efficientunet", {"hyperparameters": {"size": "lite2"}}, 640),
        ("segformer", {"hyperparameters": {"size": "b3"}}, 640),
        ("resnet34", {"hyperparameters": {"input_px": 64}, "chip": 48}, 96),
        ("sam", {"hyperparameters": {"size": "mini"}, "patch": 256}, 256),
        ("sam", {"hyperparameters": {"size": "base"}, "patch": 640}, 640),
    ],
)
def test_what_a_pixel_costs_is_what_torch_counts(family: str, changes: dict[str, Any], edge: int) -> None:
    spec = spec_of(family, **changes)
    with torch.device("meta"):  # no numbers, shapes only
        network, x = build_network(spec).eval(), torch.zeros(1, len(spec.channels), edge, edge)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        network(x)
    found = registry.find_family(family).work(spec)
    assert found == pytest.approx(counted.get_total_flops() / edge**2 / 11520, rel=0.1)


def test_patches_begin_where_the_coarsest_features_do() -> None:
    encoder = {"encoder": "lite0"}
    step = registry.find_family("patchcnn").step
    assert (step(spec_of("patchcnn")), step(spec_of("patchcnn", hyperparameters=encoder))) == (8, 16)
    on_encoder = spec_of("probe").replace(hyperparameters={"base": {"hyperparameters": encoder}})
    step = registry.find_family("probe").step
    assert (step(spec_of("probe")), step(on_encoder)) == (8, 16)
    torch.manual_seed(2)
    features: Any = build_network(spec_of("patchcnn", hyperparameters=encoder)).features
    x = torch.rand(2, 6, 96, 96)
    with torch.inference_mode():
        features.train()(x)  # so that norms are those of what they see
        whole, moved, off = (features.eval()(x[:1, :, start:, :]) for start in (0, 16, 8))
    near = (moved - whole[:, :, 2:])[:, :, 4:-1].abs().mean()
    assert near < 0.2 * (off - whole[:, :, 1:])[:, :, 5:-1].abs().mean()


def test_tied_weights_cost_what_their_kernels_do() -> None:
    spec = spec_of("patchcnn", hyperparameters={"symmetric": True})
    network = untie(build_network(spec).eval())
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        network(torch.zeros(1, 6, 128, 128))
    wanted = counted.get_total_flops() / 128**2 / 11520
    assert registry.find_family("patchcnn").work(spec) == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("bands", [("red", "green", "blue"), SIX])
def test_any_number_of_bands(bands: tuple[str, ...]) -> None:
    for family in FAMILIES:
        spec = spec_of(family, bands=bands, mean=None, std=None)
        x = torch.zeros(1, len(bands), spec.chip or 64, spec.chip or 64)
        assert build_network(spec).eval()(x).shape[1] == 2


@pytest.mark.parametrize("family", ["unet", "patchcnn"])
def test_a_package_that_does_not_say_how_input_is_scaled_is_refused(family: str, tmp_path: Path) -> None:
    spec = spec_of(family, mean=None, std=None)
    weights = state_arrays(build_network(spec))
    with pytest.raises(ModelError, match="missing normalisation"):
        load_predictor(write_package(tmp_path / "none", spec, weights, "card", {}), "cpu")
    count = len(spec.channels)
    explicit = spec.replace(mean=(0.0,) * count, std=(1.0,) * count)
    load_predictor(write_package(tmp_path / "explicit", explicit, weights, "card", {}), "cpu")
