"""Who works where: tiles in an order, and on workers, that let neighbours share what was read.

Tiles are ordered along strips of some rows, column by column, so that the tile above and the tile to the left
were done just before by the same worker. Every worker has a lane of such tiles; one that runs out takes the next run
of tiles that nobody has, or else the far half of the longest lane, cut between columns. A few coarse tiles stay
together: at their resolution a source block is as large as a tile, and would be read on both sides of a cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from minescale.types import TileKey

T = TypeVar("T")

_FEW_COARSE = 4
_REACH = 2
"""Tiles this far apart may share a source block: 20 m blocks are larger than small tiles, and halos reach further."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A tile whose turn it is."""

    time: int
    key: TileKey
    ahead: tuple[TileKey, ...]
    """Neighbours that the same worker is to do next."""
    following: Turn | None = None
    """The tile after this one, where that is known."""


class Lanes(Generic[T]):
    """Tiles, and other jobs of type ``T``, on their way to the workers."""

    def __init__(self, strip: int = 4) -> None:
        self._strip = strip
        self._runs: deque[deque[tuple[int, TileKey] | T]] = deque()
        self._own: dict[str, deque[tuple[int, TileKey] | T]] = {}
        self._left = 0
        self.added = 0
        """Tiles and other jobs ever queued: as long as it stays, whoever had better wait still had better."""

    def __len__(self) -> int:
        return self._left

    def add_tiles(self, time: int, keys: Iterable[TileKey]) -> None:
        """Queue tiles of one period; those of one level and strip become one run."""
        runs: dict[tuple[int, int], list[TileKey]] = {}
        for key in keys:
            runs.setdefault((key.level, key.y // self._strip), []).append(key)
        for run in runs.values():
            run.sort(key=lambda key: (key.x, key.y))
            self._runs.append(deque((time, key) for key in run))
            self._left += len(run)
            self.added += len(run)

    def add_job(self, job: T) -> None:
        """Queue a job that has no neighbours."""
        self._runs.append(deque([job]))
        self._left += 1
        self.added += 1

    def pop(self, worker: str, *, whatever: bool = False) -> Turn | T | None:
        """What a worker does next; there must be something left.

        None where it had better wait: a few coarse tiles are left that another worker is at, and their survivors will
        be somebody's work soon. ``whatever``: take those as well, as nobody may be at them any more.
        """
        lane = self._own.get(worker)
        if not lane:
            found = self._runs.popleft() if self._runs else self._far_half(whatever)
            if found is None:
                return None
            lane = self._own[worker] = found
        self._left -= 1
        job = lane.popleft()
        if not isinstance(job, tuple):
            return job
        return self._turn(job, lane, 0, self._following(lane))

    def _following(self, lane: deque[tuple[int, TileKey] | T]) -> Turn | None:
        if not lane or not isinstance(lane[0], tuple):
            return None
        return self._turn(lane[0], lane, 1, None)

    def _turn(
        self, tile: tuple[int, TileKey], lane: deque[tuple[int, TileKey] | T], start: int, following: Turn | None
    ) -> Turn:
        """The turn of a tile that ``lane[start:]`` comes after."""
        soon = (lane[i] for i in range(start, min(len(lane), start + _REACH * self._strip + 1)))
        ahead = tuple(other[1] for other in soon if isinstance(other, tuple) and _near(tile, other))
        return Turn(*tile, ahead, following)

    def _far_half(self, whatever: bool) -> deque[tuple[int, TileKey] | T] | None:
        lanes = [lane for lane in self._own.values() if lane and (whatever or not _few_coarse(lane))]
        if not lanes:
            return None
        longest = max(lanes, key=len)
        # The first one is being read ahead by its worker: it goes only where nothing else is left.
        half = len(longest) - max(len(longest) // 2, 1)
        # What a column's tiles share would be read on both sides of a cut through it. Rather more than half is taken:
        # the other worker has a tile in work as well.
        near = (*range(half, half - self._strip, -1), *range(half + 1, half + self._strip))
        between = (i for i in near if 0 < i < len(longest) and _column(longest[i]) != _column(longest[i - 1]))
        cut = next(between, half)
        taken = [longest.pop() for _ in range(len(longest) - cut)]
        return deque(reversed(taken))


def _few_coarse(lane: deque[tuple[int, TileKey] | T]) -> bool:
    """Whether a lane is of coarse tiles that are not worth sharing."""
    return len(lane) < _FEW_COARSE and isinstance(lane[0], tuple) and lane[0][1].level > 0


def _column(job: object) -> object:
    """Period, level and column of a tile; any other job is one of its own."""
    if not isinstance(job, tuple):
        return job
    time, key = job
    return time, key.level, key.x


def _near(a: tuple[int, TileKey], b: tuple[int, TileKey]) -> bool:
    """Whether two tiles of one period and level may share source blocks."""
    (time, one), (other_time, other) = a, b
    apart = max(abs(one.y - other.y), abs(one.x - other.x))
    return (time, one.level) == (other_time, other.level) and apart <= _REACH
