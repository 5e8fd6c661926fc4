"""Packages: round trip, STAC MLM structure, and everything the loader must refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_specs import pixel_spec, pixel_weights, unet_spec

from minescale.errors import ModelError
from minescale.models.item import from_item, to_item
from minescale.models.package import ModelPackage, check_fits, list_packages, load_package, write_package
from minescale.models.spec import ModelSpec
from minescale.sensors import LANDSAT_C2_L2, SENTINEL2_L2A

# The fields of the MLM extension 1.5.2 for items, from its README.
MLM_FIELDS = {
    "mlm:name", "mlm:architecture", "mlm:tasks", "mlm:framework", "mlm:framework_version", "mlm:memory_size",
    "mlm:total_parameters", "mlm:pretrained", "mlm:pretrained_source", "mlm:batch_size_suggestion", "mlm:accelerator",
    "mlm:accelerator_constrained", "mlm:accelerator_summary", "mlm:accelerator_count", "mlm:input", "mlm:output",
    "mlm:hyperparameters",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_package(tmp_path / "p", pixel_spec(), pixel_weights(), "# card", {"test": {"f1": 0.5}})
    return tmp_path / "p"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.json"
    item = json.loads(path.read_text())
    change(item)
    path.write_text(json.dumps(item))


def test_round_trip_keeps_the_specification_and_the_weights(folder: Path) -> None:
    package = load_package(folder)
    assert package.spec == pixel_spec()
    assert package.screen is None
    weights = pixel_weights()
    assert package.weights().keys() == weights.keys()
    assert all(np.array_equal(package.weights()[k], weights[k]) for k in weights)
    assert json.loads((folder / "metrics" / "test.json").read_text()) == {"f1": 0.5}
    assert load_package(folder / "model.json").digest == package.digest


@pytest.mark.parametrize(
    "spec",
    [
        unet_spec(),
        pixel_spec(training={"bbox": [1.0, 2.0, 3.0, 4.0], "start": "2024-01-01T00:00:00Z", "prevalence": 0.01}),
        pixel_spec(bands=("nir:p10", "red", "nir:p90", "nir")),
        pixel_spec(sensors=("landsat-c2-l2",), bands=("red", "nir08"), keep_threshold=None, description="x y"),
    ],
)
def test_item_round_trip(spec: ModelSpec) -> None:
    item = to_item(spec, {}, total_parameters=1)
    again = from_item(json.loads(json.dumps(item)))
    assert again == spec


def test_writing_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    shuffled = dict(reversed(pixel_weights().items()))
    write_package(tmp_path / "q", pixel_spec(), shuffled, "# card", {"test": {"f1": 0.5}})
    for name in ("model.json", "weights.safetensors", "model_card.md", "metrics/test.json"):
        assert (folder / name).read_bytes() == (tmp_path / "q" / name).read_bytes()
    assert load_package(folder).digest == load_package(tmp_path / "q").digest


def test_digest_follows_weights_item_and_screen(folder: Path, tmp_path: Path) -> None:
    plain = load_package(folder).digest
    other = write_package(tmp_path / "w", pixel_spec(), pixel_weights(seed=4), "# card", {}).digest
    renamed = write_package(tmp_path / "n", pixel_spec(version="0.2.0"), pixel_weights(), "# card", {}).digest
    screen = pixel_spec(resolution=320.0, resolutions=(300.0, 400.0))
    write_package(folder / "screen", screen, pixel_weights(), "card", {})
    screened = load_package(folder)
    assert screened.screen is not None
    assert screened.screen.spec == screen
    assert len({plain, other, renamed, screened.digest}) == 4


@pytest.mark.parametrize("which", ["folder", "baseline"])
def test_item_has_what_stac_mlm_asks_for(which: str, folder: Path) -> None:
    package = load_package(folder if which == "folder" else which)
    item = json.loads((package.path / "model.json").read_text())
    properties = item["properties"]
    assert item["type"] == "Feature"
    assert item["stac_version"] == "1.1.0"
    assert "https://stac-extensions.github.io/mlm/v1.5.2/schema.json" in item["stac_extensions"]
    assert {k for k in properties if k.startswith("mlm:")} <= MLM_FIELDS
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= properties.keys()
    assert properties["mlm:tasks"] == ["semantic-segmentation"]
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    entry = properties["mlm:input"][0]
    assert {"name", "bands", "input", "value_scaling", "resize_type"} <= entry.keys()
    assert entry["bands"] == [b["name"] for b in properties["bands"]] == list(package.spec.bands)
    for part in (entry["input"], properties["mlm:output"][0]["result"]):
        assert len(part["shape"]) == len(part["dim_order"]) == 4
        assert part["data_type"] == "float32"
    classes = properties["mlm:output"][0]["classification:classes"]
    assert [c["name"] for c in classes] == list(package.spec.classes)
    models = [a for a in item["assets"].values() if "mlm:model" in a["roles"]]
    assert len(models) == 1
    assert models[0]["bands"] == properties["bands"], "STAC 1.1 wants bands on an asset"
    assert {"mlm:artifact_type", "file:checksum", "file:size", "href", "type"} <= models[0].keys()
    assert all(re.fullmatch(r"[0-9a-zA-Z_.-]+", k) for k in properties["mlm:hyperparameters"])
    # Dates are required of every STAC item: a null datetime needs both ends.
    assert properties["datetime"] is None
    assert properties["start_datetime"] < properties["end_datetime"]


def test_scaling_is_written_as_z_score() -> None:
    scaling = to_item(unet_spec(), {}, total_parameters=1)["properties"]["mlm:input"][0]["value_scaling"]
    assert scaling[0] == {"type": "z-score", "mean": 0.06, "stddev": 0.03}
    assert len(scaling) == 6


def test_pystac_reads_the_item(folder: Path) -> None:
    import pystac

    item = pystac.Item.from_file(str(folder / "model.json"))
    assert item.id == "tiny-pixel-0.1.0"
    assert item.assets["weights"].roles == ["mlm:model", "mlm:weights"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i["properties"].pop("minescale:halo"), "minescale:halo"),
        (lambda i: i["properties"].update({"minescale:treshold": 1}), r"minescale:threshold\?"),
        (lambda i: i["properties"].update({"mlm:artifact_type": "x"}), "unknown property"),
        (lambda i: i["properties"]["mlm:input"][0].update({"bands": ["B04"] * 6}), "expected: red"),
        (lambda i: i["properties"]["mlm:input"][0]["bands"].__setitem__(0, "bleu"), r"blue\?"),
        (lambda i: i["properties"]["mlm:input"][0]["bands"].pop(), "contradicts"),
        (lambda i: i["properties"]["mlm:input"][0].update({"value_scaling": [{"type": "min-max"}]}), "z-score"),
        (lambda i: i["properties"]["mlm:input"][0]["input"].update({"data_type": "uint8"}), "float32"),
        (lambda i: i["properties"].update({"minescale:target": "gold"}), "background, mine"),
        (lambda i: i["properties"].update({"minescale:threshold": 7}), "0 to 1"),
        (lambda i: i["properties"].update({"minescale:threshold": "high"}), "wrong kind"),
        (lambda i: i["properties"].update({"minescale:halo": 12, "minescale:patch": 64}), "multiple of 8"),
        (lambda i: i["properties"].update({"minescale:patch": 12}), "multiple of 8"),
        (lambda i: i["properties"].update({"minescale:resolutions": [1, 2]}), "outside its own range"),
        (lambda i: i["properties"].update({"minescale:resolutions": None}), "wrong kind"),
        (lambda i: i["properties"].update({"minescale:sensors": ["sentinel-2-l2b"]}), r"sentinel-2-l2a\?"),
        (lambda i: i.update({"stac_extensions": []}), "MLM"),
        (lambda i: i.update({"assets": {}}), "mlm:model"),
        (lambda i: i.update({"assets": {"weights": i["assets"]["card"]}}), "another name|no asset"),
        (lambda i: i["assets"].pop("weights"), "no asset has the role"),
        (lambda i: i["assets"]["weights"].pop("file:checksum"), "not protected"),
        (lambda i: i["assets"]["weights"].update({"file:size": 3}), "another size"),
        (lambda i: i["assets"]["weights"].update({"href": "weights.pth"}), "torch.load"),
        (lambda i: i["assets"]["weights"].update({"href": "../p/weights.safetensors"}), "outside its folder"),
        (lambda i: i["assets"]["weights"].update({"href": "/etc/passwd"}), "outside its folder"),
        (lambda i: i["assets"]["weights"].update({"href": "file:///etc/passwd"}), "outside its folder"),
        (lambda i: i["assets"]["weights"].update({"href": "..\\weights.safetensors"}), "outside its folder"),
        (lambda i: i["assets"]["card"].update({"href": "https://example.com/card.md"}), "outside its folder"),
        (lambda i: i["assets"]["card"].update({"href": None}), "no href"),
    ],
)
def test_loader_refuses(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit(folder, change)
    with pytest.raises(ModelError, match=message):
        load_package(folder)


def test_changed_weights_are_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ModelError, match="checksum"):
        load_package(folder)
    path.unlink()
    with pytest.raises(ModelError, match="missing"):
        load_package(folder)


def test_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes((folder / "weights.safetensors").read_bytes())
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="link out"):
        load_package(folder)


def test_pickles_are_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    (tmp_path / "best_model.pth").write_bytes(b"\x80\x04.")
    for ref in (tmp_path / "best_model.pth", tmp_path):
        with pytest.raises(ModelError, match="save_file"):
            load_package(ref)


def test_broken_json_and_absent_packages(folder: Path, tmp_path: Path) -> None:
    (folder / "model.json").write_text("{" * 10)
    with pytest.raises(ModelError, match="not JSON"):
        load_package(folder)
    (folder / "model.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="not JSON"):
        load_package(folder)
    with pytest.raises(ModelError, match=r"baseline\?"):
        load_package("basline")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"model\.json"):
        load_package(tmp_path / "empty")


def test_screen_must_be_coarser(folder: Path) -> None:
    write_package(folder / "screen", pixel_spec(), pixel_weights(), "card", {})
    with pytest.raises(ModelError, match="coarser"):
        load_package(folder)


def test_specifications_that_contradict_themselves() -> None:
    for changes, message in (
        ({"mean": (0.1,), "std": (0.1,)}, "does not fit the bands"),
        ({"mean": None}, "mean and std"),
        ({"std": (0.0,) * 6}, "above 0"),
        ({"patch": 1}, "no halo"),
        ({"patch": 64}, "larger than twice"),
        ({"bands": ()}, "none"),
        ({"bands": ("red", "red")}, "none twice"),
        ({"bands": ("red:p10", "red", "red:p10")}, "none twice"),
        ({"bands": ("red", "nirr:p10")}, r"nirr[\s\S]*nir\?"),
        ({"bands": ("red", "nir:max")}, r"tiny-unet: unknown statistic[\s\S]*nir:max[\s\S]*p0 to p100"),
        ({"name": "9"}, "not usable"),
    ):
        with pytest.raises(ModelError, match=message):
            unet_spec(**changes)


def test_check_fits() -> None:
    spec = unet_spec()
    check_fits(spec, SENTINEL2_L2A, 10)
    check_fits(spec, SENTINEL2_L2A, 15)
    check_fits(spec, LANDSAT_C2_L2, 10)  # nir is an alias there
    check_fits(pixel_spec(bands=("red", "nir:p90")), LANDSAT_C2_L2, 80)
    with pytest.raises(ModelError, match="rededge071"):
        check_fits(pixel_spec(bands=("red", "rededge071:p10")), LANDSAT_C2_L2, 80)
    for resolution, fix in ((30, "--resolution 15"), (5, "--resolution 7")):
        with pytest.raises(ModelError, match=fix):
            check_fits(spec, SENTINEL2_L2A, resolution)
    with pytest.raises(ModelError, match="rededge071"):
        check_fits(pixel_spec(bands=("red", "rededge071")), LANDSAT_C2_L2, 80)
    with pytest.raises(ModelError, match="not made for this sensor"):
        check_fits(unet_spec(sensors=("sentinel-2-l2a",)), LANDSAT_C2_L2, 10)


def test_builtin_packages_load() -> None:
    assert "baseline" in list_packages()
    for name in list_packages():
        package: ModelPackage = load_package(name)
        assert package.spec.name
        assert (package.path / "model_card.md").stat().st_size > 500
        assert list((package.path / "metrics").glob("*.json"))
