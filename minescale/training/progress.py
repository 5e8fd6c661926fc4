"""Show a training as it goes: a bar for people at a terminal, a line per epoch for log files, JSON for machines."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from minescale.engine.progress import Mode, settled


@dataclass(frozen=True, slots=True)
class StepDone:
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    """Mean of the epoch so far."""


@dataclass(frozen=True, slots=True)
class EpochDone:
    record: dict[str, Any]
    """As ``training_history.json`` keeps it."""
    epochs: int
    best: bool


@dataclass(frozen=True, slots=True)
class Note:
    message: str


Event = StepDone | EpochDone | Note
Listener = Callable[[Event], None]
_EVERY_S = 60.0


def silent(event: Event) -> None:
    """A listener that shows nothing."""


@contextlib.contextmanager
def shown(mode: Mode = "auto", stream: IO[str] | None = None) -> Iterator[Listener]:
    """A listener that shows events on ``stream`` (default: standard error) while the block runs.

    Raises
    ------
    UsageError
        for an unknown mode.
    """
    out = stream or sys.stderr
    mode = settled(mode, out)
    if mode == "rich":
        with _bar(out) as listener:
            yield listener
    else:
        listeners: dict[str, Listener] = {"plain": _Lines(out), "json": _json_lines(out)}
        yield listeners.get(mode, silent)


def line(event: EpochDone) -> str:
    """An epoch in a line: losses, then what validation says."""
    record = event.record
    parts = [f"epoch {record['epoch']}/{event.epochs}", f"loss {record['train_loss']:.4f}"]
    for name in ("val_loss", "val_accuracy", "val_f1", "val_auc"):
        value = record[name]
        parts.append(f"{name} {'-' if value is None else format(value, '.4f')}")
    parts.append(f"{record['seconds']:.0f} s")
    return ", ".join(parts) + (" *" if event.best else "")


class _Lines:
    """A line per epoch; within long epochs one a minute."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream, self.told = stream, time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            if time.monotonic() - self.told < _EVERY_S:
                return
            text = f"epoch {event.epoch}/{event.epochs}, step {event.step}/{event.steps}, loss {event.loss:.4f}"
        else:
            text = line(event) if isinstance(event, EpochDone) else event.message
        self.told = time.monotonic()
        self.stream.write(text + "\n")
        self.stream.flush()


def _json_lines(stream: IO[str]) -> Listener:
    def write(event: Event) -> None:
        if isinstance(event, StepDone):
            return
        stream.write(json.dumps({"event": type(event).__name__, **asdict(event)}) + "\n")
        stream.flush()

    return write


@contextlib.contextmanager
def _bar(stream: IO[str]) -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=stream, force_terminal=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("training")

        def show(event: Event) -> None:
            if isinstance(event, StepDone):
                text = f"epoch {event.epoch}/{event.epochs} loss {event.loss:.4f}"
                bars.update(task, description=text, completed=event.step, total=event.steps)
            else:
                console.print(line(event) if isinstance(event, EpochDone) else event.message, markup=False)

        yield show
