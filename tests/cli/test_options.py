"""Every flag reaches the setting or the argument that it names."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click
import pytest

from minescale.cli.params import SETTINGS, Deadline, make_config
from minescale.cli.scan import scan
from minescale.config import Config
from minescale.errors import ConfigError
from tests.cli.conftest import run

ALL_FLAGS = [
    word
    for line in (
        "--catalog c --bbox -61.5 -10 -60 -9.25 --datetime 2024 --period month --collection a --collection b",
        "--query eo:cloud_cover<60 --model m --out o --resolution 20 --crs EPSG:32720 --tile-size 256",
        "--composite medoid --max-scenes 5 --pyramid on --threshold 0 --audit 0.1 --cluster inline --workers 3",
        "--memory-limit 1.5 --config f.yaml --set mask.dilate_m=20 --set read.threads=2 --max-cost 3 --deadline 2h",
        "--json --progress json -vv -q --dry-run",
    )
    for word in line.split()
]


def test_every_flag_parses_and_none_is_forgotten() -> None:
    context = scan.make_context("scan", list(ALL_FLAGS))
    given = context.params
    assert given["bbox"] == (-61.5, -10.0, -60.0, -9.25)
    assert given["collections"] == ("a", "b")
    assert given["settings"] == (("mask.dilate_m", "20"), ("read.threads", "2"))
    assert given["verbose"] == 2
    options = {
        o for p in scan.params if isinstance(p, click.Option) and p.name != "help" for o in p.opts if o[:2] == "--"
    }
    assert options - {"--verbose", "--quiet"} <= set(ALL_FLAGS)


def test_flags_become_settings() -> None:
    given = scan.make_context("scan", list(ALL_FLAGS)).params
    flags = {name: given[name] for name in SETTINGS}
    config = make_config(None, given["settings"], flags)
    assert (config.grid.resolution, config.grid.crs, config.grid.tile_size) == (20.0, "EPSG:32720", 256)
    assert (config.composite.method, config.composite.max_scenes) == ("medoid", 5)
    assert (config.pyramid.mode, config.pyramid.threshold, config.pyramid.audit) == ("on", 0.0, 0.1)
    assert (config.engine.cluster, config.engine.workers, config.engine.memory_limit_gb) == ("inline", 3, 1.5)
    assert (config.mask.dilate_m, config.read.threads) == (20.0, 2)
    assert make_config(None, (), dict.fromkeys(SETTINGS)) == Config()


def test_precedence_flag_environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("engine: {workers: 1, in_flight: 9}\nread: {threads: 1}\n")
    monkeypatch.setenv("MINESCALE_ENGINE__WORKERS", "2")
    config = make_config(file, (), {"workers": None})
    assert (config.engine.workers, config.engine.in_flight, config.read.threads) == (2, 9, 1)
    assert make_config(file, (), {"workers": 7}).engine.workers == 7


def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"engine\.workers"):
        make_config(None, (("engine.worker", "3"),), {})
    done = run("scan", "--catalog", "demo", "--out", "x", "--set", "engine.worker=3")
    assert done.exit_code == 2
    assert "engine.workers" in done.stderr
    assert not Path("x").exists()


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("30m", 1800), ("90s", 90), ("1.5h", 5400), ("1d", 86400)])
def test_deadline_from_now(text: str, seconds: float) -> None:
    moment = Deadline().convert(text, None, None)
    assert abs((moment - dt.datetime.now(dt.UTC)).total_seconds() - seconds) < 5


def test_deadline_by_the_clock() -> None:
    assert Deadline().convert("2026-01-31T18:00+02:00", None, None) == dt.datetime(2026, 1, 31, 16, tzinfo=dt.UTC)
    assert Deadline().convert("2026-01-31T18:00", None, None).tzinfo is not None
    with pytest.raises(click.BadParameter, match="2h or 30m"):
        Deadline().convert("tomorrow", None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scan",), "--catalog"),
        (("scan", "--catalog", "demo"), "--out"),
        (("scan", "--catalog", "c.json", "--out", "o"), "--bbox W S E N --datetime A/B"),
        (("scan", "--catalog", "c", "--bbox", 1, 2, 3, "--out", "o"), "bbox"),
        (("scan", "--catalog", "c", "--bbox", 10, 2, 3, 4, "--datetime", "2024", "--out", "o"), "antimeridian"),
        (("scan", "--catalog", "c", "--bbox", -6, 100, -5, 101, "--datetime", "2024", "--out", "o"), "swapped"),
        (("scan", "--catalog", "c", "--bbox", 1, 2, 3, 4, "--datetime", "May", "--out", "o"), "datetime"),
        (("scan", "--catalog", "c", "--period", "week", "--out", "o"), "period"),
        (("scan", "--catalog", "c", "--deadline", "soon", "--out", "o"), "deadline"),
        (("scan", "--catalog", "c", "--set", "workers", "--out", "o"), "section.key=value"),
        (("status", "no-such-folder"), "no-such-folder"),
        (("dig",), "dig"),
    ],
)
def test_wrong_use_is_2_with_a_reason_and_no_traceback(arguments: tuple[object, ...], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not Path("o").exists()
