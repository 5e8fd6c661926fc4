"""Segment Anything with adapters: how much of it is trained, an adapter alone, masks for prompts, on the map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from model_specs import SIX
from odc.geo.geobox import GeoBox
from safetensors.numpy import load_file, save_file
from test_families import spec_of

from minescale.errors import ModelError
from minescale.models.adapters import adapter_share, load_adapter, save_adapter
from minescale.models.inflate import load_initial
from minescale.models.network import InputScaling, build_network, state_arrays
from minescale.models.package import write_package
from minescale.models.predictor import load_predictor
from minescale.models.prompted import segment
from minescale.models.spec import ModelSpec

pytest.importorskip("transformers")
pytest.importorskip("peft")


def sam_spec(**options: Any) -> ModelSpec:
    return spec_of("sam", hyperparameters={"image_px": 64, **options})


def test_r024_adapters_are_less_than_a_twentieth_of_the_published_size() -> None:
    with torch.device("meta"):
        network = build_network(spec_of("sam", hyperparameters={"size": "base"}, patch=1024))
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(93.7e6, rel=0.01)
    assert 0.005 < adapter_share(network) < 0.05
    trained = {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad}
    assert trained == {"projection", "vision_encoder", "mask_decoder"}
    assert all(".lora_" in n for n, p in network.vision_encoder.named_parameters() if p.requires_grad)


def trained_sam(spec: ModelSpec, steps: int = 3) -> torch.nn.Module:
    torch.manual_seed(2)
    network = build_network(spec)
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    x = InputScaling(spec)(0.1 + 0.1 * torch.rand(2, 6, 64, 64))
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(x), (x[:, 0] > 0).long()).backward()
        optimiser.step()
    return network.eval()


def test_r024_an_adapter_is_saved_and_loaded_alone(tmp_path: Path) -> None:
    spec = sam_spec()
    trained = trained_sam(spec)
    file = save_adapter(trained, spec, tmp_path / "adapter.safetensors")
    kept = load_file(file)
    assert not any("base_layer" in name for name in kept)
    torch.manual_seed(2)
    fresh = build_network(spec).eval()  # the same frozen encoder
    x = torch.randn(1, 6, 64, 64)
    with torch.no_grad():
        assert (fresh(x) - trained(x)).abs().max() > 1e-3
        assert torch.equal(load_adapter(fresh, spec, file)(x), trained(x))

    with pytest.raises(ModelError, match="another bands"):
        load_adapter(fresh, spec.replace(bands=SIX[::-1]), file)
    with pytest.raises(ModelError, match="another hyperparameters"):
        load_adapter(fresh, spec.replace(hyperparameters={"image_px": 64, "lora_rank": 4}), file)
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        metadata = opened.metadata()
    name = sorted(kept)[0]
    for changed, message in (
        ({k: v for k, v in kept.items() if k != name}, "does not fit"),
        ({**kept, name: kept[name] * np.nan}, "not all finite"),
    ):
        save_file(changed, tmp_path / "bad.safetensors", metadata=metadata)
        with pytest.raises(ModelError, match=message):
            load_adapter(fresh, spec, tmp_path / "bad.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        load_adapter(fresh, spec, tmp_path / "bad.safetensors")
    whole = sam_spec(lora_rank=0)
    unet = spec_of("unet")
    with pytest.raises(ModelError, match="no adapter"):
        save_adapter(build_network(unet), unet, tmp_path / "none.safetensors")
    assert adapter_share(build_network(whole)) > 0.9


def test_the_encoder_equals_the_library_that_publishes_it(tmp_path: Path) -> None:
    """Its weights come in under the published names, and three bands give the published network's masks."""
    import transformers

    spec = sam_spec().replace(bands=("red", "green", "blue"), mean=None, std=None)
    torch.manual_seed(1)
    from minescale.models.sam import SIZES, _parts

    theirs = _parts(SIZES["mini"], 64, 2).eval()
    assert isinstance(theirs, transformers.SamModel)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        theirs.save_pretrained(tmp_path)
        network: Any = build_network(spec).eval()
        report = load_initial(network, spec, tmp_path / "model.safetensors")
        assert {name for name in report.random if "lora" not in name} == {"projection.weight", "projection.bias"}
        assert report.unused == ()
        x = torch.randn(2, 3, 64, 64)
        expected = theirs(x, multimask_output=False).pred_masks[:, 0]
        got = network(x)
    wanted = torch.nn.functional.interpolate(expected, scale_factor=4.0, mode="bilinear")
    assert wanted.std() > 0.01
    torch.testing.assert_close(got[:, 1:], wanted, atol=2e-5, rtol=1e-4)
    assert (got[:, 0] == 0).all()


@pytest.mark.parametrize(("shape", "enlarge"), [((64, 64), 1), ((40, 56), 2), ((96, 80), 1)])
def test_windows_smaller_and_larger_than_the_encoders_image(shape: tuple[int, int], enlarge: int) -> None:
    network = build_network(sam_spec(enlarge=enlarge)).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 6, *shape)).shape == (1, 2, *shape)


def test_r025_prompts_become_masks_on_the_map(tmp_path: Path) -> None:
    spec = sam_spec()
    predictor = load_predictor(write_package(tmp_path / "p", spec, state_arrays(trained_sam(spec)), "card", {}), "cpu")
    image = np.random.default_rng(5).integers(300, 3000, (6, 150, 200)).astype(np.uint16)
    image[:, 20:24, 30:35] = 0
    geobox = GeoBox((150, 200), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633")
    box = (500250.0, 4999700.0, 500450.0, 4999850.0)
    found = segment(predictor, image, geobox, boxes=[box, (501900.0, 4998500.0, 502000.0, 4998600.0)])
    assert len(found) == 2
    for one in found:
        assert one.probability.shape == (64, 64)
        assert one.probability.dtype == np.float32
        assert one.geobox.crs == geobox.crs
        assert one.geobox.resolution == geobox.resolution
        assert 0 <= np.nanmin(one.probability) <= np.nanmax(one.probability) <= 1
        assert 0 <= one.quality <= 1
    # The window lies round the prompt, on the image's own pixels and inside it.
    left, bottom, right, top = found[0].geobox.boundingbox
    assert left <= box[0] < box[2] <= right
    assert bottom <= box[1] < box[3] <= top
    assert ((left - 500000) / 10) % 1 == 0
    right_of_last, bottom_of_last = found[1].geobox.boundingbox.right, found[1].geobox.boundingbox.bottom
    assert (right_of_last, bottom_of_last) == (502000, 4998500)
    # No data stays no data.
    at = round((left - 500000) / 10), round((5000000 - top) / 10)
    rows, cols = slice(20 - at[1], 24 - at[1]), slice(30 - at[0], 35 - at[0])
    assert np.isnan(found[0].probability[rows, cols]).all()
    assert np.isfinite(found[0].probability).sum() == 64 * 64 - 20
    # A polygon lies where the pixels of its mask do.
    outlines = found[0].polygons(threshold=float(np.nanmedian(found[0].probability)))
    area = sum(p.area for p in outlines)
    assert area == pytest.approx(100 * (found[0].probability >= np.nanmedian(found[0].probability)).sum())
    assert all(p.bounds[0] >= left and p.bounds[3] <= top for p in outlines)
    # What is asked decides what is answered, and points are another question than boxes.
    points = segment(predictor, image, geobox, points=[(500350.0, 4999775.0), (500360.0, 4999700.0)])
    assert len(points) == 2
    assert not np.array_equal(points[0].probability, points[1].probability)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "boxes or points"),
        ({"boxes": [(500000.0, 4999000.0, 501900.0, 5000000.0)]}, "larger than the model's window"),
        ({"boxes": [(1.0, 2.0, 3.0, 4.0)]}, "outside the image"),
        ({"points": [(1.0, 2.0)]}, "outside the image"),
        ({"boxes": [(500300.0, 4999000.0, 500200.0, 4999100.0)]}, "no box"),
        ({"points": [(float("nan"), 2.0)]}, "no point"),
    ],
)
def test_prompts_that_cannot_be_are_refused(prompts: dict[str, Any], message: str, tmp_path: Path) -> None:
    spec = sam_spec()
    predictor = load_predictor(write_package(tmp_path / "p", spec, state_arrays(build_network(spec)), "c", {}), "cpu")
    geobox = GeoBox((150, 200), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633")
    with pytest.raises(ModelError, match=message):
        segment(predictor, np.full((6, 150, 200), 900, np.uint16), geobox, **prompts)


def test_only_sam_takes_prompts(unet_package: Any) -> None:
    geobox = GeoBox((80, 80), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633")
    with pytest.raises(ModelError, match="takes no prompts"):
        segment(
            load_predictor(unet_package(), "cpu"),
            np.ones((6, 80, 80), np.uint16),
            geobox,
            points=[(500100.0, 4999900.0)],
        )


def test_the_preset_fills_the_published_encoder() -> None:
    from minescale.training.config import load_preset

    config = load_preset("sam_lora")
    with torch.device("meta"):
        network: Any = build_network(spec_of("sam", hyperparameters=dict(config.hyperparameters), patch=config.patch))
    assert network.window == config.patch == config.batch.crop
