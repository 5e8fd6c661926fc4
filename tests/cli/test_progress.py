"""Consumers of the engine's events."""

from __future__ import annotations

import io
import json

import pytest

from minescale.engine.events import (
    LevelStarted,
    Notice,
    RunFinished,
    RunStarted,
    SceneLost,
    TileDone,
    TileFailed,
    TilesAdded,
)
from minescale.engine.progress import LOSSES_TOLD, Lines, progress
from minescale.errors import UsageError
from minescale.types import TileKey

START = RunStarted(run_id="r", out="o", workers=2, dashboard="http://d", resumed_tiles=3)
END = RunFinished(done=3, failed=1, remaining=2, seconds=9.0, stopped="deadline reached")


def done(level: int, *, seconds: float = 1.0, size: int = 1_000_000) -> TileDone:
    return TileDone(time=0, key=TileKey(level, 0, 0), seconds=seconds, bytes_read=size, max_probability=float("nan"))


EVENTS = [
    START,
    LevelStarted(level=1, resolution=80.0, tiles=0),
    LevelStarted(level=0, resolution=10.0, tiles=0),
    TilesAdded(level=1, tiles=1),
    done(1),
    TilesAdded(level=0, tiles=2),
    done(0),
    done(0, seconds=0.0, size=0),
    TileFailed(time=0, key=TileKey(0, 0, 1), message="ValueError: broken"),
    Notice(message="scenes without a quality band"),
    END,
]


def test_plain_lines() -> None:
    out = io.StringIO()
    with progress("plain", out) as tell:
        for event in EVENTS:
            tell(event)
    text = out.getvalue()
    assert "run r into o on 2 worker(s), continuing after 3 finished tile(s)" in text
    assert "dashboard: http://d" in text
    assert "tile 0/0/1 of period 0 failed: ValueError: broken" in text
    assert "80 m: 1/1 tiles, 10 m: 2/3 tiles, 2 MB read, 1 failed" in text
    assert text.endswith("3 tile(s) in 9 s, 1 failed, 2 remaining: stopped, deadline reached\n")


def test_plain_says_little_between() -> None:
    now = 0.0
    out = io.StringIO()
    tell = Lines(out, every_s=30.0, now=lambda: now)
    for i in range(100):
        now = float(i)
        tell(done(0))
    assert out.getvalue().count("\n") == 3


def test_losses_are_not_told_without_end() -> None:
    out = io.StringIO()
    lost = SceneLost(time=0, key=TileKey(0, 0, 0), scene_id="S", band="red", cause="missing", attempts=2, message="404")
    with progress("plain", out) as tell:
        for _ in range(10 * LOSSES_TOLD):
            tell(lost)
    assert out.getvalue().count("scene S left out") == LOSSES_TOLD
    assert "further losses are in the ledger" in out.getvalue()


def test_json_lines_are_json() -> None:
    out = io.StringIO()
    with progress("json", out) as tell:
        for event in EVENTS:
            tell(event)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["event"] for row in rows] == [type(event).__name__ for event in EVENTS]
    assert rows[4]["max_probability"] is None


def test_bars_show_levels_and_messages_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    with progress("rich", out) as tell:
        for event in EVENTS:
            tell(event)
    text = out.getvalue()
    assert "80 m" in text
    assert "2/3" in text
    assert "ValueError: broken" in text
    assert "stopped, deadline reached" in text
    assert "\x1b[3" not in text.replace("\x1b[?25", ""), "no colour codes"


def test_auto_is_plain_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def kind(stream: io.StringIO) -> str:
        with progress("auto", stream) as tell:
            return type(tell).__name__

    monkeypatch.setenv("TERM", "xterm")
    assert kind(io.StringIO()) == "Lines"
    assert kind(Terminal()) == "_Bars"
    monkeypatch.setenv("TERM", "dumb")
    assert kind(Terminal()) == "Lines"


def test_none_is_silent_and_unknown_is_refused() -> None:
    out = io.StringIO()
    with progress("none", out) as tell:
        tell(START)
    assert out.getvalue() == ""
    with pytest.raises(UsageError, match="rich"), progress("loud", out):  # type: ignore[arg-type]
        pass
