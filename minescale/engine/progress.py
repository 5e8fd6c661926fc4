"""Show a run as it goes: bars for people at a terminal, lines for log files, JSON for machines.

Each is a consumer of :mod:`minescale.engine.events` and writes to one text stream, standard error as a rule:
standard output belongs to results.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time as clock
from collections.abc import Callable, Iterator
from typing import IO, Any, Literal

from minescale.engine.events import (
    Event,
    LevelStarted,
    Listener,
    Notice,
    RunFinished,
    RunStarted,
    SceneLost,
    TileDone,
    TileFailed,
    TilesAdded,
    event_dict,
)
from minescale.errors import UsageError

Mode = Literal["auto", "rich", "plain", "json", "none"]
MODES: tuple[Mode, ...] = ("auto", "rich", "plain", "json", "none")


def settled(mode: Mode, stream: IO[str]) -> Mode:
    """What ``auto`` stands for on this stream: bars at a terminal, lines elsewhere; any other mode as it is.

    Raises
    ------
    UsageError
        for an unknown mode.
    """
    if mode not in MODES:
        raise UsageError("unknown kind of progress", got=mode, expected=" | ".join(MODES))
    if mode == "auto":
        return "rich" if stream.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    return mode


PLAIN_EVERY_S = 30.0
"""Seconds between lines where nobody watches a terminal."""

LOSSES_TOLD = 20
"""After this many lost scenes only their number is told; the ledger has them all."""


@contextlib.contextmanager
def progress(mode: Mode = "auto", stream: IO[str] | None = None) -> Iterator[Listener]:
    """A listener that shows events on ``stream`` (default: standard error) while the block runs.

    ``auto`` draws bars on a terminal and prints lines elsewhere. Bars are without colour where ``NO_COLOR`` is set.

    Raises
    ------
    UsageError
        for an unknown mode.
    """
    out = stream or sys.stderr
    mode = settled(mode, out)
    if mode == "rich":
        with _Bars(out) as bars:
            yield bars
    elif mode == "plain":
        yield Lines(out)
    elif mode == "json":
        yield JsonLines(out)
    else:
        yield _ignore


def _ignore(event: Event) -> None:
    """Listener that shows nothing."""


class JsonLines:
    """One JSON object per event."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def __call__(self, event: Event) -> None:
        self.stream.write(json.dumps(event_dict(event), allow_nan=False) + "\n")
        self.stream.flush()


class Tally:
    """Tiles by level, bytes and losses, as the events tell them."""

    def __init__(self) -> None:
        self.resolution: dict[int, float] = {}
        self.total: dict[int, int] = {}
        self.done: dict[int, int] = {}
        self.failed = self.bytes_read = self.losses = 0

    def add(self, event: Event) -> None:
        match event:
            case LevelStarted():
                self.resolution[event.level] = event.resolution
                self.total[event.level] = self.total.get(event.level, 0) + event.tiles
                self.done.setdefault(event.level, 0)
            case TilesAdded():
                self.total[event.level] = self.total.get(event.level, 0) + event.tiles
            case TileDone():
                level = event.key.level
                self.done[level] = self.done.get(level, 0) + 1
                if event.seconds == 0:
                    # Filled from the coarse level: finished without ever having been announced.
                    self.total[level] = self.total.get(level, 0) + 1
                self.bytes_read += event.bytes_read
            case TileFailed():
                self.failed += 1
            case SceneLost():
                self.losses += 1
            case _:
                return

    def text(self) -> str:
        """``10 m: 12/64 tiles`` for each level, coarsest first, then what was read and lost."""
        levels = sorted(self.total, reverse=True)
        parts = [f"{self.resolution.get(k, 0):g} m: {self.done.get(k, 0)}/{self.total[k]} tiles" for k in levels]
        parts.append(f"{self.bytes_read / 1e6:,.0f} MB read")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.losses:
            parts.append(f"{self.losses} scene reads lost")
        return ", ".join(parts)


def message(event: Event, losses: int = 0) -> str | None:
    """What to tell the user about an event at once; None where the figures are enough."""
    match event:
        case RunStarted():
            text = f"run {event.run_id} into {event.out} on {event.workers} worker(s)"
            if event.resumed_tiles:
                text += f", continuing after {event.resumed_tiles} finished tile(s)"
            return text + (f"\ndashboard: {event.dashboard}" if event.dashboard else "")
        case TileFailed():
            return f"tile {event.key} of period {event.time} failed: {event.message}"
        case SceneLost():
            if losses > LOSSES_TOLD:
                return None
            text = (
                f"scene {event.scene_id} left out of tile {event.key}: {event.cause} after {event.attempts} attempt(s)"
            )
            return f"{text}\nfurther losses are in the ledger" if losses == LOSSES_TOLD else text
        case Notice():
            return event.message
        case _:
            return None


def ending(event: RunFinished) -> str:
    """The last line of a run."""
    text = f"{event.done} tile(s) in {event.seconds:,.0f} s"
    if event.failed:
        text += f", {event.failed} failed"
    if event.remaining:
        text += f", {event.remaining} remaining"
    return f"{text}: stopped, {event.stopped}" if event.stopped else text


class Lines:
    """A line every half minute, one for whatever should be known at once, and one at the end."""

    def __init__(
        self, stream: IO[str], every_s: float = PLAIN_EVERY_S, now: Callable[[], float] = clock.monotonic
    ) -> None:
        self.stream, self.every_s, self.now = stream, every_s, now
        self.tally = Tally()
        self.told = now()

    def __call__(self, event: Event) -> None:
        self.tally.add(event)
        text = message(event, self.tally.losses)
        if text:
            self._write(text)
        if isinstance(event, RunFinished):
            self._write(f"{self.tally.text()}\n{ending(event)}")
        elif self.now() - self.told >= self.every_s:
            self._write(self.tally.text())
            self.told = self.now()

    def _write(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


class _Bars:
    """One bar per level, messages above them."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        # Rich honours NO_COLOR itself, and needs to be told that the stream it was given is a terminal.
        self.console = Console(file=stream, force_terminal=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("tiles"),
            TimeElapsedColumn(),
            Remaining(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=False,
        )
        self.tally = Tally()
        self.tasks: dict[int, Any] = {}

    def __enter__(self) -> _Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        self.tally.add(event)
        if isinstance(event, LevelStarted) and event.level not in self.tasks:
            self.tasks[event.level] = self.progress.add_task(f"{event.resolution:g} m", total=0, note="")
        for level, task in self.tasks.items():
            note = f"{self.tally.bytes_read / 1e6:,.0f} MB" if level == min(self.tasks) else ""
            self.progress.update(
                task, completed=self.tally.done.get(level, 0), total=self.tally.total.get(level, 0), note=note
            )
        text = message(event, self.tally.losses)
        if isinstance(event, RunFinished):
            text = ending(event)
        if text:
            self.console.print(text, markup=False)
