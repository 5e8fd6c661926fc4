"""Real runs on the small region through the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import rasterio
from click.testing import Result

from tests.cli.conftest import QUICK, run

TILES = 25
"""Tiles of 256 px over the small region."""


def test_scan_ends_with_a_table_and_leaves_its_directory(scanned: tuple[Path, Result]) -> None:
    out, done = scanned
    assert done.exit_code == 0, done.stderr
    assert "area scanned" in done.stdout
    assert "mine area where seen" in done.stdout
    assert f"{TILES} of {TILES} tiles" in done.stdout
    for name in ("mosaic.zarr", "scenes.parquet", "plan.json", "collection.json", "quicklook.png"):
        assert (out / name).exists(), name
    assert "tile(s) in" in done.stderr
    assert "tiles," not in done.stdout.splitlines()[-1]


def test_same_command_again_does_nothing_and_prints_one_json_object(
    scanned: tuple[Path, Result], where: tuple[str, ...]
) -> None:
    out, _ = scanned
    before = (out / "quicklook.png").stat().st_mtime_ns
    done = run("scan", *where, "--out", out, *QUICK, "--json", "-q")
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    assert set(values) == {"run_id", "out", "exit_status", "summary", "report"}
    assert (values["exit_status"], values["report"]["done"], values["summary"]["complete"]) == (0, 0, True)
    assert values["out"] == str(out)
    assert before == (out / "quicklook.png").stat().st_mtime_ns, "nothing is drawn again"
    assert done.stderr == ""


def test_another_request_into_the_same_directory_is_refused(
    scanned: tuple[Path, Result], where: tuple[str, ...]
) -> None:
    out, _ = scanned
    done = run("scan", *where, "--out", out, *QUICK, "--max-scenes", 2)
    assert done.exit_code == 2
    assert "composite.max_scenes: 24 -> 2" in done.stderr


def test_status_in_words_and_json(scanned: tuple[Path, Result]) -> None:
    out, _ = scanned
    done = run("status", out)
    assert done.exit_code == 0
    assert "complete" in done.stdout
    assert f"{TILES} done" in done.stdout
    values = json.loads(run("status", out, "--json").stdout)
    assert values["summary"]["total"]["tiles"] == TILES


def test_export(scanned: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = scanned
    target = tmp_path / "p.tif"
    done = run("export", out, "--out", target)
    assert (done.exit_code, done.stdout.strip()) == (0, str(target))
    with rasterio.open(target) as image:
        assert image.nodata == 255
        assert (image.read(1) != 255).mean() > 0.9
    assert run("export", out, "--out", target).exit_code == 2
    again = run("export", out, "--out", target, "--overwrite", "--json", "--variable", "reason", "--index", "-1")
    assert json.loads(again.stdout)["variable"] == "reason"
    assert run("export", out, "--out", target, "--time", "2024", "--index", 0).exit_code == 2


def test_dry_run_and_plan(where: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "scan"
    dry = run("scan", *where, "--dry-run", "--out", out, *QUICK)
    assert dry.exit_code == 0, dry.stderr
    assert "GB read" in dry.stdout
    assert not out.exists()
    values = json.loads(run("scan", *where, "--dry-run", "--json", *QUICK).stdout)
    assert values["dry_run"] is True
    assert values["bytes"] > 0
    planned = run("plan", *where, "--out", out, *QUICK)
    assert planned.exit_code == 0, planned.stderr
    assert planned.stdout == dry.stdout
    assert {p.name for p in out.iterdir()} == {"plan.json", "scenes.parquet"}
    again = json.loads(run("plan", *where, "--out", out, *QUICK, "--json").stdout)
    assert again["run_id"] == values["run_id"]
    assert run("plan", *where, "--out", out, *QUICK, "--composite", "latest").exit_code == 2


def test_a_limit_ends_with_3_and_the_same_command_continues(where: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "scan"
    late = run("scan", *where, "--out", out, *QUICK, "--deadline", "2020-01-01T00:00Z", "--json", "--progress", "json")
    assert late.exit_code == 3
    values = json.loads(late.stdout)
    assert values["exit_status"] == 3
    assert values["report"]["remaining"] == TILES
    assert "deadline" in late.stderr
    assert "the same command continues" in late.stderr
    events = [json.loads(line)["event"] for line in late.stderr.splitlines() if line.startswith("{")]
    assert events[0] == "RunStarted"
    assert events[-1] == "RunFinished"
    assert run("status", out).stdout.startswith("run ")
    done = run("scan", *where, "--out", out, *QUICK, "--json", "-q")
    assert json.loads(done.stdout)["summary"]["complete"] is True


def test_nothing_matched_is_4(where: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "scan"
    done = run("scan", *where[:-1], "1999-01", "--out", out, *QUICK)
    assert done.exit_code == 4
    assert "1999-01" in done.stderr
    assert not (out / "plan.json").exists()


def test_unreachable_catalogue_is_5(where: tuple[str, ...], tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses at once
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/stac/v1"
        done = run("scan", "--catalog", address, *where[2:], "--out", tmp_path / "o", "--set", "read.retries=0")
    assert done.exit_code == 5, done.stderr
    assert "127.0.0.1" in done.stderr


def test_unknown_model_is_2_and_verbose_shows_the_traceback(where: tuple[str, ...], tmp_path: Path) -> None:
    done = run("scan", *where, "--out", tmp_path / "o", "--model", "basline")
    assert done.exit_code == 2
    assert "baseline" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in run("scan", *where, "--out", tmp_path / "o", "--model", "basline", "-v").stderr


def test_unexpected_errors_are_1_without_traceback(
    where: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import minescale.api

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(minescale.api, "scan", broken)
    done = run("scan", *where, "--out", tmp_path / "o", *QUICK)
    assert done.exit_code == 1
    assert "unexpected ZeroDivisionError: of all things" in done.stderr
    assert "Traceback" not in done.stderr


def test_config_show_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINESCALE_READ__THREADS", "3")
    file = tmp_path / "c.yaml"
    file.write_text("composite: {max_scenes: 7}\n")
    shown = run("config", "show", "--config", file, "--set", "engine.workers=4").stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines()}
    assert rows["read.threads"] == ["3", "environment"]
    assert rows["composite.max_scenes"] == ["7", "file", str(file)]
    assert rows["engine.workers"] == ["4", "flag"]
    assert rows["mask.enabled"] == ["True", "default"]
    assert json.loads(run("config", "show", "--json").stdout)["grid.crs"] == {"value": "auto", "origin": "default"}
    folders = json.loads(run("config", "path", "--json").stdout)
    assert Path(folders["models"]).is_dir()


def test_doctor(tmp_path: Path) -> None:
    done = run("doctor", "--json", "--out", tmp_path / "scan")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 0
    assert all(check["ok"] for check in found.values() if check["needed"])
    assert found["write test"]["ok"]
    assert not (tmp_path / "scan").exists(), "it leaves nothing behind"
    zarr = found["GDAL and Zarr"]
    assert zarr["ok"] or "cannot open Zarr v3" in zarr["text"]
    assert "write test" in run("doctor", "--out", tmp_path).stdout


def test_doctor_ends_with_1_where_a_scan_could_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("doctor", "--out", tmp_path / "file" / "scan")
    assert done.exit_code == 1
    assert "FAIL  write test" in done.stdout


def test_demo_scores_against_the_truth(tmp_path: Path) -> None:
    done = run(
        "demo", "--region", "small", "--model", "baseline", "--out", tmp_path / "demo", *QUICK, "--progress", "none"
    )
    assert done.exit_code == 0, done.stderr
    assert "synthetic, no evidence of skill" in done.stdout
    for row in ("this scan", "all positive", "all negative", "prevalence random"):
        assert row in done.stdout
    assert "AUPRC" in done.stdout
    rows = {line[:17].strip(): line[17:].split() for line in done.stdout.splitlines() if line[:4] in ("this", "prev")}
    assert float(rows["this scan"][1]) > 10 * float(rows["prevalence random"][1]), "recall"
    assert re.search(r"mines of 0.5 ha or more found: \d+ of \d+", done.stdout)
    assert re.search(r"ground mined by 2024-\d\d-\d\d", done.stdout)
