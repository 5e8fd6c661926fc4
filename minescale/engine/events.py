"""What happens in a run, as typed events. Progress bars, JSON lines and reports only consume them."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minescale.types import TileKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    run_id: str
    out: str
    workers: int
    dashboard: str
    """URL of the Dask dashboard; empty where there is none."""
    resumed_tiles: int
    """Tiles already finished by an earlier attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelStarted:
    level: int
    resolution: float
    tiles: int
    """Tiles to run now; a fine level behind a coarse one starts at 0 and grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TilesAdded:
    """The coarse level released tiles for the fine one."""

    level: int
    tiles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TileDone:
    time: int
    key: TileKey
    seconds: float
    bytes_read: int
    max_probability: float
    """NaN where nothing was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFailed:
    time: int
    key: TileKey
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneLost:
    """A scene could not be read for a tile and was left out."""

    time: int
    key: TileKey
    scene_id: str
    band: str
    cause: str
    attempts: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the user should know, once."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    done: int
    failed: int
    remaining: int
    seconds: float
    stopped: str
    """Why the run stopped before its end (budget, deadline, interrupt); empty at a regular end."""


Event = RunStarted | LevelStarted | TilesAdded | TileDone | TileFailed | SceneLost | Notice | RunFinished
Listener = Callable[[Event], None]


def event_dict(event: Event) -> dict[str, Any]:
    """``{"event": name, ...fields}`` with JSON types."""
    values: dict[str, Any] = {"event": type(event).__name__}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, TileKey | enum.Enum):
            value = str(value)
        elif isinstance(value, float) and math.isnan(value):
            value = None
        values[field.name] = value
    return values
