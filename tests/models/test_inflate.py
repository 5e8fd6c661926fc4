"""Weights of other bands: SegFormer equals the published network, kernels are spread by the rule, bad files refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_specs import SIX, unet_spec
from safetensors.numpy import save_file
from test_families import spec_of

from minescale.errors import ModelError
from minescale.models.efficientnet import Encoder
from minescale.models.inflate import inflate_kernel, load_initial
from minescale.models.network import build_network, state_arrays
from minescale.models.package import write_package
from minescale.models.spec import ModelSpec

RGB = ("red", "green", "blue")


def rgb_spec(family: str, **changes: Any) -> ModelSpec:
    return spec_of(family, bands=RGB, mean=None, std=None, **changes)


RESIDUAL: dict[str, Any] = {"hyperparameters": {"width": 8, "depth": 2, "residual": True}}

ENCODER: dict[str, Any] = {"hyperparameters": {"encoder": "lite0"}}


def symmetric(family: str) -> dict[str, Any]:
    return {"hyperparameters": {**spec_of(family).hyperparameters, "width": 16, "symmetric": True}}


@pytest.mark.parametrize(
    ("size", "millions"), [("b0", 3.8), ("b1", 13.7), ("b2", 27.5), ("b3", 47.3), ("b4", 64.1), ("b5", 84.7)]
)
def test_r116_parameters_are_as_many_as_published(size: str, millions: float) -> None:
    """Xie et al. 2021, table 1 with the decoder for ADE20K: 3 channels, 150 classes."""
    classes = tuple(f"class{i}" for i in range(150))
    spec = rgb_spec("segformer").replace(classes=classes, target="class0", hyperparameters={"size": size})
    with torch.device("meta"):
        network = build_network(spec)
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert abs(count - millions) <= 0.05 + 0.001 * millions


@pytest.mark.parametrize(("size", "millions"), [("lite0", 4.652), ("lite1", 5.417), ("lite2", 6.092)])
def test_encoders_have_as_many_parameters_as_published(size: str, millions: float) -> None:
    """EfficientNet-Lite with its own head: a convolution to 1,280 channels, a norm and a layer of 1,000 classes."""
    with torch.device("meta"):
        encoder = Encoder(3, size, 0.0)
    head = 1280 * (encoder.widths[-1] + 2) + 1280 * 1000 + 1000
    count = (sum(p.numel() for p in encoder.parameters()) + head) / 1e6
    assert count == pytest.approx(millions, abs=0.0006)


@pytest.mark.parametrize(
    ("family", "prefix"), [("efficientunet", "encoder."), ("encoder patchcnn", "features.encoder.")]
)
def test_encoders_take_weights_by_their_published_names(family: str, prefix: str, tmp_path: Path) -> None:
    spec = rgb_spec("efficientunet") if family == "efficientunet" else rgb_spec("patchcnn", **ENCODER)
    network = build_network(spec)
    encoder = network.get_submodule(prefix[:-1])
    published = {"stem.": "_conv_stem.", "stem_norm.": "_bn0."}
    of_blocks = {"widen": "_expand_conv", "depthwise": "_depthwise_conv", "narrow": "_project_conv"}
    of_blocks |= {f"{layer}_norm": f"_bn{i}" for i, layer in enumerate(("widen", "depthwise", "narrow"))}
    theirs = {"_fc.weight": np.ones((1000, 1280), np.float32)}
    rng = np.random.default_rng(5)
    for name, array in state_arrays(encoder).items():
        first, _, last = name.rpartition(".")
        if first.startswith("blocks."):
            block, layer = first.rsplit(".", 1)
            theirs[f"_{block}.{of_blocks[layer]}.{last}"] = rng.normal(size=array.shape).astype(np.float32)
        else:
            theirs[published[f"{first}."] + last] = rng.normal(size=array.shape).astype(np.float32)
    save_file(theirs, tmp_path / "published.safetensors")
    report = load_initial(network, spec, tmp_path / "published.safetensors")
    assert set(report.copied) == {prefix + name for name in state_arrays(encoder)}
    assert report.unused == ("_fc.weight",)
    assert not any(name.startswith(prefix) for name in report.random)
    loaded = state_arrays(encoder)
    assert np.array_equal(loaded["stem.weight"], theirs["_conv_stem.weight"])
    assert np.array_equal(loaded["blocks.0.depthwise_norm.running_var"], theirs["_blocks.0._bn1.running_var"])
    assert np.array_equal(loaded["blocks.15.narrow.weight"], theirs["_blocks.15._project_conv.weight"])


@pytest.mark.parametrize(("giver", "taker"), [("patchcnn", "efficientunet"), ("efficientunet", "patchcnn")])
def test_an_encoder_that_was_taught_one_task_starts_another(giver: str, taker: str, tmp_path: Path) -> None:
    specs = {"efficientunet": rgb_spec("efficientunet"), "patchcnn": rgb_spec("patchcnn", **ENCODER)}
    prefixes = {"efficientunet": "encoder.", "patchcnn": "features.encoder."}
    torch.manual_seed(1)
    given = state_arrays(build_network(specs[giver]))
    write_package(tmp_path / "given", specs[giver], given, "card", {})
    torch.manual_seed(2)
    network = build_network(specs[taker])
    report = load_initial(network, specs[taker], tmp_path / "given")
    assert {name for name in state_arrays(network) if name.startswith(prefixes[taker])} == set(report.copied)
    assert all(not name.startswith(prefixes[giver]) for name in report.unused)
    assert "head.bias" in report.random
    loaded = state_arrays(network)
    for name in report.copied:
        assert np.array_equal(loaded[name], given[prefixes[giver] + name.removeprefix(prefixes[taker])])


@pytest.mark.parametrize("shape", [(64, 64), (97, 129)])
def test_segformer_equals_the_library_that_publishes_it(tmp_path: Path, shape: tuple[int, int]) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(4)
    config = transformers.SegformerConfig(num_channels=3, num_labels=2)
    theirs = transformers.SegformerForSemanticSegmentation(config).train()
    x = torch.randn(2, 3, *shape)
    with torch.no_grad():
        theirs(x)  # so that the norm's statistics are not the trivial ones
        theirs.eval().save_pretrained(tmp_path)
        network = build_network(rgb_spec("segformer")).eval()
        report = load_initial(network, rgb_spec("segformer"), tmp_path / "model.safetensors")
        assert report.random == report.unused == report.inflated == ()
        expected = torch.nn.functional.interpolate(theirs(x).logits, size=shape, mode="bilinear")
        got = network(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_r117_kernels_are_spread_by_the_rule() -> None:
    kernel = np.random.default_rng(1).normal(size=(5, 3, 7, 7)).astype(np.float32)
    made = inflate_kernel(kernel, RGB, ("nir", "red", "swir16", "blue"))
    assert np.array_equal(made[:, 1], kernel[:, 0])
    assert np.array_equal(made[:, 3], kernel[:, 2])
    np.testing.assert_allclose(made[:, 0], kernel.mean(axis=1) * 3 / 4, rtol=1e-6)
    grey = inflate_kernel(kernel, RGB, ("nir", "nir08", "swir16", "swir22", "rededge1"))
    np.testing.assert_allclose(grey.sum(axis=1), kernel.sum(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    "family",
    [
        "unet",
        "residual unet",
        "patchcnn",
        "segformer",
        "resnet34",
        "efficientunet",
        "symmetric unet",
        "symmetric patchcnn",
        "encoder patchcnn",
    ],
)
def test_three_bands_go_into_six(family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(1)
    kind, _, family = family.rpartition(" ")
    changes = {"": {}, "symmetric": symmetric(family), "residual": RESIDUAL, "encoder": ENCODER}[kind]
    source = build_network(rgb_spec(family, **changes))
    save_file(state_arrays(source), tmp_path / "rgb.safetensors")
    spec = spec_of(family, **changes)
    network = build_network(spec)
    before = state_arrays(network)
    with caplog.at_level(logging.INFO, logger="minescale"):
        report = load_initial(network, spec, tmp_path / "rgb.safetensors")
    assert str(report) in caplog.text
    assert report.to_dict()["rule"] in str(report)
    assert len(report.inflated) == (2 if kind == "residual" else 1)
    assert report.random == report.unused == ()
    assert set(report.copied) | set(report.inflated) == set(before)
    # With 0 in the bands that the file lacks, the first convolution says what it said.
    x = torch.rand(1, 6, 96, 96)
    for band in ("nir", "swir16", "swir22"):
        x[:, SIX.index(band)] = 0
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    mine = next(m for m in source.modules() if isinstance(m, torch.nn.Conv2d))
    fold = 2 if family in {"unet", "patchcnn"} and kind != "encoder" else 1
    inputs = [torch.nn.functional.pixel_unshuffle(v, fold) for v in (x, x[:, [SIX.index(b) for b in RGB]])]
    torch.testing.assert_close(first(inputs[0]), mine(inputs[1]), atol=1e-5, rtol=1e-4)


def test_a_bias_goes_the_way_of_its_kernel_in_tied_networks_too(tmp_path: Path) -> None:
    first, second = (
        spec_of("unet", hyperparameters={"width": 16, "depth": 2, "symmetric": True, "fold": fold}) for fold in (2, 4)
    )
    save_file(state_arrays(build_network(first)), tmp_path / "w.safetensors")
    report = load_initial(build_network(second), second, tmp_path / "w.safetensors")
    assert {name for name in report.random if name.startswith("head.")} == {
        f"head.parametrizations.{kind}.original" for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("family", ["unet", "patchcnn"])
def test_tied_and_untied_weights_do_not_fit_each_other(family: str, tmp_path: Path) -> None:
    width = {"hyperparameters": {**spec_of(family).hyperparameters, "width": 16}}
    for first, second in ((width, symmetric(family)), (symmetric(family), width)):
        save_file(state_arrays(build_network(spec_of(family, **first))), tmp_path / "w.safetensors")
        spec = spec_of(family, **second)
        with pytest.raises(ModelError, match="fit nothing"):
            load_initial(build_network(spec), spec, tmp_path / "w.safetensors")


def test_ways_that_the_file_lacks_stay_random_and_are_told(tmp_path: Path) -> None:
    plain, residual = spec_of("unet"), spec_of("unet").replace(hyperparameters=RESIDUAL["hyperparameters"])
    assert {**plain.hyperparameters, "residual": True} == residual.hyperparameters
    for have, want in ((plain, residual), (residual, plain)):
        save_file(state_arrays(build_network(have)), tmp_path / "w.safetensors")
        report = load_initial(build_network(want), want, tmp_path / "w.safetensors")
        missing = report.random if want is residual else report.unused
        assert missing
        assert all(name.split(".")[0] in {"down_ways", "up_ways"} for name in missing)
        assert not (report.unused if want is residual else report.random)


def test_another_head_stays_random_and_is_told(tmp_path: Path) -> None:
    save_file(state_arrays(build_network(rgb_spec("segformer"))), tmp_path / "two.safetensors")
    spec = spec_of("segformer", classes=("background", "cloud", "mine"))
    network = build_network(spec)
    before = state_arrays(network)
    report = load_initial(network, spec, tmp_path / "two.safetensors")
    assert set(report.random) == {"head.weight", "head.bias"}
    assert set(report.unused) == {"head.weight", "head.bias"}
    assert np.array_equal(state_arrays(network)["head.weight"], before["head.weight"])


def test_a_package_tells_its_own_bands(tmp_path: Path) -> None:
    source = rgb_spec("unet").replace(bands=("nir", "red", "green"))
    folder = write_package(tmp_path / "p", source, state_arrays(build_network(source)), "card", {}).path
    spec = spec_of("unet")
    assert load_initial(build_network(spec), spec, folder).file_bands == ("nir", "red", "green")


def test_bands_come_from_the_file_or_must_be_told(tmp_path: Path) -> None:
    source = rgb_spec("unet").replace(bands=("nir", "red", "green", "blue"))
    arrays = state_arrays(build_network(source))
    save_file(arrays, tmp_path / "told.safetensors", metadata={"bands": "nir, red, green, blue"})
    save_file(arrays, tmp_path / "untold.safetensors")
    spec = spec_of("unet")
    network = build_network(spec)
    assert load_initial(network, spec, tmp_path / "told.safetensors").file_bands == source.bands
    with pytest.raises(ModelError, match="name for each of 4 bands"):
        load_initial(network, spec, tmp_path / "untold.safetensors")
    report = load_initial(network, spec, tmp_path / "untold.safetensors", bands=("blue", "green", "red", "nir"))
    assert report.file_bands[0] == "blue"


def test_what_is_no_weights_is_refused(tmp_path: Path) -> None:
    spec = unet_spec()
    network = build_network(spec)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}garbage")
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    arrays = state_arrays(network)
    save_file({**arrays, "head.bias": arrays["head.bias"] * np.nan}, tmp_path / "nan.safetensors")
    before = state_arrays(network)
    for name, message in (
        ("model.pth", "weights_only=True"),
        ("broken.safetensors", "cannot be read"),
        ("other.safetensors", "fit nothing of a unet"),
        ("nan.safetensors", "not all finite"),
        ("absent.safetensors", "not there"),
    ):
        with pytest.raises(ModelError, match=message):
            load_initial(network, spec, tmp_path / name)
    assert all(np.array_equal(before[k], v) for k, v in state_arrays(network).items())
