"""Settings: presets as the seeds published them, changes, and a digest that knows every value."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from minescale.errors import ConfigError
from minescale.training.config import TrainConfig, list_presets, load_config, load_preset
from minescale.training.losses import parse_terms

PRESETS = {
    "amw_patchcnn",
    "brazil_resnet34",
    "efficientunet",
    "ghana_segformer",
    "gmd_unet3",
    "indonesia_unet",
    "sam_lora",
    "segformer_b0",
    "siam_lasso",
    "unet_small",
}


def test_presets_can_be_read() -> None:
    assert set(list_presets()) >= PRESETS
    digests = set()
    for name in list_presets():
        config = load_preset(name)
        assert config.description
        assert parse_terms(config.loss.terms)
        assert TrainConfig.of(config.to_dict()) == config
        digests.add(config.digest)
    assert len(digests) == len(list_presets())


def test_the_second_seeds_values() -> None:
    config = load_preset("brazil_resnet34")
    assert (config.batch.size, config.optimiser.lr, config.run.epochs, config.run.patience) == (16, 1e-4, 300, 10)
    assert (config.optimiser.name, config.schedule.name, config.loss.terms) == ("adam", "plateau", "bce")
    assert config.split.fractions == (0.85, 0.15, 0.0)
    assert config.hyperparameters == {"outputs": 1, "dropout": 0.5, "input_px": 224}
    # On a constant picture of grey value g the network is fed ImageNet's (g - mean) / std.
    for band, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        fed = (0.7 * 0.3 - config.scaling.mean[band]) / config.scaling.std[band]
        assert fed == pytest.approx((0.7 - mean) / std)


def test_the_fourth_seeds_values() -> None:
    config = load_preset("ghana_segformer")
    assert (config.run.epochs, config.batch.size, config.batch.crop) == (1000, 8, 512)
    assert (config.optimiser.name, config.optimiser.lr) == ("adamw", 1e-4)
    schedule = config.schedule
    assert (schedule.name, schedule.factor, schedule.patience, schedule.min_lr) == ("plateau", 0.8, 8, 1e-5)
    assert (config.loss.terms, config.loss.alpha, config.loss.beta) == ("tversky", 0.3, 0.7)
    assert config.run.monitor == "val_f1"
    assert config.hyperparameters["size"] == "b3"


def test_the_fifth_seeds_tiles_are_seen_five_times() -> None:
    config = load_preset("indonesia_unet")
    assert (config.batch.crop, 39 * config.batch.crops, config.augment.turns) == (256, 195, True)


def leaves(config: TrainConfig) -> list[tuple[str, Any]]:
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found += [(f"{field.name}.{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)]
        else:
            found.append((field.name, value))
    return found


def test_another_value_anywhere_is_another_digest() -> None:
    config = load_preset("brazil_resnet34")
    other = {
        bool: lambda v: not v,
        int: lambda v: v + 1,
        float: lambda v: v * 0.9 + 0.02,
        tuple: lambda v: tuple(e * 0.9 if isinstance(e, float) else f"{e}x" for e in v),
        type(None): lambda v: 0.5,
    }
    words = {
        "run.monitor": "val_f1",
        "run.precision": "float32",
        "schedule.name": "cosine",
        "optimiser.name": "sgd",
        "loss.class_weights": "balanced",
    }
    for path, value in leaves(config):
        if path == "hyperparameters":
            changed = config.replace({"hyperparameters.dropout": 0.4})
        elif isinstance(value, str):
            changed = dataclasses.replace(config, name="n2") if path == "name" else None
            changed = changed or config.replace({path: words.get(path, value + "x")})
        else:
            changed = config.replace({path: other[type(value)](value)})
        assert changed.digest != config.digest, path
        assert changed != config, path


def test_changes_may_be_text() -> None:
    config = load_preset("unet_small").replace(
        {
            "run.epochs": "3",
            "optimiser.lr": "1e-4",
            "augment.turns": "false",
            "bands": "red, nir",
            "hyperparameters.width": "8",
            "hyperparameters.names": "a,b",
            "scaling.clip": "none",
        }
    )
    assert (config.run.epochs, config.optimiser.lr, config.augment.turns) == (3, 1e-4, False)
    assert config.bands == ("red", "nir")
    assert config.hyperparameters == {"width": 8, "depth": 4, "names": ["a", "b"]}
    assert config.scaling.clip is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run.epoch": 3}, "run.epochs"),
        ({"optimizer.lr": 3}, "optimiser.lr"),
        ({"bacth": {"size": 2}}, "batch.size"),
        ({"run.epochs": 0}, "run.epochs"),
        ({"run.epochs": "many"}, "run.epochs"),
        ({"batch.size": 2.5}, "batch.size"),
        ({"loss.class_weights": "some"}, "balanced"),
        ({"split.fractions": [0.5, 0.5]}, "3 numbers"),
        ({"scaling.mean": [0.1]}, "scaling.std"),
        ({"run.monitor": "last", "run.patience": 3}, "no epoch is better"),
        ({"run.monitor": "last", "schedule.name": "plateau"}, "no epoch is better"),
    ],
)
def test_changes_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_preset("unet_small").replace(changes)


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preset: unet_small\nname: mine\nrun: {epochs: 4}\nhyperparameters: {width: 8}\n")
    config = load_config(file)
    assert (config.name, config.run.epochs, config.run.monitor) == ("mine", 4, "val_f1")
    assert config.hyperparameters == {"width": 8, "depth": 4}
    written = tmp_path / "config.json"
    written.write_text(json.dumps(config.to_dict()))
    assert load_config(written) == config


@pytest.mark.parametrize("text", ["", "- a", "name: x", "name: x\nfamily: unet\nrun: [", "preset: unet_smal"])
def test_files_that_hold_no_settings(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="unet_small"):
        load_preset("unet_smal")
