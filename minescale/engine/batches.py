"""How many tiles travel in one task: one, until tiles come faster than the scheduler can deal with them singly."""

from __future__ import annotations

import math

TASK_SECONDS = 0.003
"""What client and scheduler spend on one task; ``benchmarks/scale.py`` measures it."""
DRIVER_SHARE = 0.25
"""Share of the driver's time that tasks may take before they are batched."""
MOST = 16
"""A worker that dies takes its batches with it."""
_MEMORY = 0.02
"""Weight of the newest tile in the running mean."""


class Pace:
    """Seconds per tile, as tiles finish, and the batch that follows from them."""

    def __init__(self) -> None:
        self.seconds = math.inf
        """Running mean; infinite before the first tile."""

    def note(self, seconds: float) -> None:
        """Take in how long one tile took on its worker."""
        if math.isinf(self.seconds):
            self.seconds = seconds
        self.seconds += _MEMORY * (seconds - self.seconds)

    def batch(self, left: int, workers: int, in_flight: int) -> int:
        """Tiles for the next task.

        Parameters
        ----------
        left : jobs that wait; towards the end batches shrink, so that no worker is left with many.
        workers : threads of all workers together.
        in_flight : tasks that each of them may have waiting.
        """
        busy = TASK_SECONDS * workers / max(self.seconds, 1e-3)
        return max(1, min(math.ceil(busy / DRIVER_SHARE), MOST, left // (workers * in_flight)))
