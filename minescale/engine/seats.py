"""Which worker gets the next task: the one with the fewest in flight, found without asking every worker."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping


class Seats:
    """Places for tasks: ``share`` for each thread of each worker."""

    def __init__(self, slots: Mapping[str, int], share: int) -> None:
        self.share = share
        self._load = Counter[str]()
        self.update(slots)

    def update(self, slots: Mapping[str, int]) -> None:
        """Threads by worker address, as workers come and go."""
        self.slots = dict(slots)
        self._position = {worker: i for i, worker in enumerate(self.slots)}
        # A worker's load changes while older entries of it are still in the heap: `take` passes over those.
        self._idle = [self._entry(worker) for worker in self.slots]
        heapq.heapify(self._idle)

    def take(self) -> str | None:
        """The worker with the fewest tasks per thread, which has one more from now on; None where all are full."""
        while self._idle:
            _, _, load, worker = self._idle[0]
            if load != self._load[worker] or load >= self.share * self.slots[worker]:
                heapq.heappop(self._idle)
                continue
            self._load[worker] += 1
            heapq.heapreplace(self._idle, self._entry(worker))
            return worker
        return None

    def free(self, worker: str) -> None:
        """One task of a worker has ended."""
        self._load[worker] -= 1
        if worker in self.slots:
            heapq.heappush(self._idle, self._entry(worker))

    def _entry(self, worker: str) -> tuple[float, int, int, str]:
        load = self._load[worker]
        return (load / self.slots[worker], self._position[worker], load, worker)
