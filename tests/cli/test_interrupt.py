"""Ctrl-C and SIGTERM: a clean end with 130, and the same command finishes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from minescale.store.ledger import Ledger, TileState
from tests.cli.conftest import spawn


@pytest.mark.drill
@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["Ctrl-C in a terminal, which reaches the workers too", "SIGTERM"],
)
def test_interrupted_scan_flushes_and_continues(
    where: tuple[str, ...], tmp_path: Path, number: signal.Signals, whole_group: bool
) -> None:
    out = tmp_path / "scan"
    command = ("scan", *where, "--out", out, "--workers", 1, "--tile-size", 256, "--set", "store.chunk=128", "--json")
    process = spawn(*command, "--progress", "json", "--set", "engine.flush_s=3600", start_new_session=True)
    assert process.stderr is not None
    done = 0
    for line in process.stderr:
        done += '"TileDone"' in line
        if done == 3:
            (os.killpg if whole_group else os.kill)(process.pid, number)
            break
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "the same command continues" in stderr
    assert "Traceback" not in stderr
    states = Ledger.open(out / "mosaic.zarr", "r").get(0, "state")
    kept = int((states == TileState.DONE).sum())
    assert kept >= 3, "what was finished is in the ledger, although no regular flush was due"
    assert kept < states.size

    again = spawn(*command, "--progress", "none")
    stdout, stderr = again.communicate(timeout=200)
    assert again.returncode == 0, stderr
    values = json.loads(stdout)
    assert values["summary"]["complete"] is True
    assert values["report"]["done"] == values["summary"]["total"]["tiles"] - kept
