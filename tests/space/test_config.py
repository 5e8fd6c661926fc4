"""Settings: precedence, checking, and errors that name the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest

from minescale.config import Config, config_sources, load_config
from minescale.errors import ConfigError


def test_flags_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scan.yaml"
    file.write_text("mask:\n  dilate_m: 40\ncomposite:\n  max_scenes: 6\n  method: medoid\npyramid:\n  mode: off\n")
    monkeypatch.setenv("MINESCALE_COMPOSITE__MAX_SCENES", "8")
    overrides = {"composite.method": "geomedian", "read.threads": None}
    config = load_config(file, overrides)
    assert (config.mask.dilate_m, config.composite.max_scenes, config.composite.method) == (40.0, 8, "geomedian")
    assert config.pyramid.mode == "off"
    assert config.read.threads == Config().read.threads
    origin = config_sources(file, overrides)
    assert origin["mask.dilate_m"].startswith("file")
    assert origin["composite.max_scenes"] == "environment"
    assert origin["composite.method"] == "flag"
    assert origin["store.chunk"] == "default"


@pytest.mark.parametrize(
    ("overrides", "tells"),
    [
        ({"mask.dilate": 3}, "mask.dilate_m"),
        ({"composit.method": "median"}, "composite.method"),
        ({"composite.method": "mean"}, "geomedian"),
        ({"composite.max_scenes": "many"}, "int"),
        ({"composite.max_scenes": 2.5}, "int"),
        ({"mask.enabled": "maybe"}, "bool"),
    ],
)
def test_wrong_settings_are_named(overrides: dict[str, object], tells: str) -> None:
    with pytest.raises(ConfigError, match=tells):
        load_config(overrides=overrides)


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("mask: [1, 2\n")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(broken)
    broken.write_text("- 1\n")
    with pytest.raises(ConfigError, match="not a mapping"):
        load_config(broken)


def test_identity_leaves_out_how_a_run_is_executed() -> None:
    fast = load_config(overrides={"read.threads": 32, "engine.workers": 7, "cost.price_per_gb": 1})
    assert fast.identity() == Config().identity()
    assert load_config(overrides={"mask.dilate_m": 0}).identity() != Config().identity()


def test_settings_round_trip_through_plain_values() -> None:
    import dataclasses

    config = load_config(overrides={"grid.resolution": 20, "pyramid.threshold": 0.1})
    assert Config().replace(dataclasses.asdict(config)) == config
