"""What is left to do: the jobs of a run, coarse level first, as the ledger and finished tiles release them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minescale.engine.lanes import Lanes, Turn
from minescale.engine.task import FillJob, FillResult, TileJob, TileResult
from minescale.planning.plan import ScanPlan
from minescale.planning.pyramid import Survivors, audit_sample
from minescale.planning.tiles import strip_rows
from minescale.sources.access import Access
from minescale.store.ledger import Ledger, TileState
from minescale.types import TileKey

FINISHED = (TileState.DONE, TileState.PRUNED, TileState.AUDITED)


class Agenda:
    """Hands out jobs and takes in results. All state it needs to resume is in the ledger.

    A coarse tile that failed keeps its period open: nothing is pruned on half a picture, so its fine tiles
    stay pending until the same command runs again.
    """

    def __init__(
        self,
        plan: ScanPlan,
        ledger: Ledger,
        run_dir: str,
        access: Access,
        on_added: Callable[[int, int], None],
    ) -> None:
        self.plan, self.ledger = plan, ledger
        self._run_dir, self._access, self._on_added = run_dir, access, on_added
        self._ready = Lanes[FillJob](strip_rows(plan.grid.tile_size))
        self._fine = plan.index(0)
        self.audited: set[tuple[int, TileKey]] = set()
        self._mark_outside()
        if plan.is_pyramid:
            self._coarse = plan.index(1)
            self._survivors = [
                Survivors(self._fine.inside, plan.keep_threshold, plan.config.pyramid.ring) for _ in plan.periods
            ]
            self._waiting = [0] * len(plan.periods)
            for time in range(len(plan.periods)):
                self._start_pyramid(time)
        else:
            for time in range(len(plan.periods)):
                self._add_tiles(time, list(self._fine.keys()))

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._ready)

    @property
    def added(self) -> int:
        """Jobs ever queued."""
        return self._ready.added

    def pop(self, worker: str, *, whatever: bool = False) -> TileJob | FillJob | None:
        """The next job for a worker, by its address; None where it had better wait (:meth:`Lanes.pop`)."""
        turn = self._ready.pop(worker, whatever=whatever)
        if turn is None or isinstance(turn, FillJob):
            return turn
        return self._job(turn)

    def _job(self, turn: Turn) -> TileJob:
        index = self._fine if turn.key.level == 0 else self._coarse
        return TileJob(
            run_dir=self._run_dir,
            run_id=self.plan.run_id,
            access=self._access,
            time=turn.time,
            key=turn.key,
            scenes=index.scenes(turn.key, self.plan.periods[turn.time]),
            ahead=turn.ahead,
            following=self._job(turn.following) if turn.following else None,
        )

    def finish(self, result: TileResult | FillResult) -> None:
        """Record a result in the ledger and release what it makes possible."""
        if isinstance(result, FillResult):
            for key, seen, mine, highest in result.rows:
                self._record(result.time, key, TileState.PRUNED, seen_px=seen, mine_px=mine, max_probability=highest)
            return
        state = TileState.AUDITED if (result.time, result.key) in self.audited else TileState.DONE
        if result.scores is not None:
            # The children's scores go in before the parent's state: a resumed run reads them back.
            self._record_scores(result.time, result.key, result.scores)
        self._record(
            result.time,
            result.key,
            state,
            attempts=int(self.ledger.get(result.key.level, "attempts")[result.time, result.key.y, result.key.x]) + 1,
            n_scenes=result.n_scenes,
            n_failed=result.n_failed,
            bytes_read=result.bytes_read,
            seconds=result.seconds,
            cpu_seconds=result.cpu_seconds,
            max_probability=result.max_probability,
            clear_share=result.clear_share,
            seen_px=result.seen_px,
            mine_px=result.mine_px,
        )
        if result.scores is not None:
            self._release(result.time, result.key, result.scores)
            self._waiting[result.time] -= 1
            self._close_coarse(result.time)

    def fail(self, job: TileJob | FillJob) -> None:
        for key in job.keys if isinstance(job, FillJob) else (job.key,):
            attempts = int(self.ledger.get(key.level, "attempts")[job.time, key.y, key.x]) + 1
            self._record(job.time, key, TileState.FAILED, attempts=attempts)

    def counts(self, level: int) -> dict[TileState, int]:
        """Tiles of a level by state."""
        states = self.ledger.get(level, "state")
        return {state: int(np.count_nonzero(states == state)) for state in TileState}

    def _start_pyramid(self, time: int) -> None:
        states = self.ledger.get(1, "state")[time]
        keys = list(self._coarse.keys())
        open_keys = [key for key in keys if states[key.y, key.x] not in FINISHED]
        self._waiting[time] = len(open_keys)
        self._add_tiles(time, open_keys)
        for key in keys:
            if states[key.y, key.x] in FINISHED:
                self._release(time, key, self._recorded_scores(time, key))
        self._close_coarse(time)

    def _release(self, time: int, parent: TileKey, scores: NDArray[np.float32]) -> None:
        first = self.plan.grid.children(parent)[0]
        self._add_tiles(time, self._survivors[time].add(first, scores))

    def _close_coarse(self, time: int) -> None:
        """Once every coarse tile of a period is in: prune the rest, and audit a sample of it."""
        if self._waiting[time]:
            return
        pruned = self._survivors[time].pruned
        audit = audit_sample(pruned, self.plan.config.pyramid, time)
        self.audited.update((time, key) for key in audit)
        self._add_tiles(time, audit)
        rest = pruned.copy()
        for key in audit:
            rest[key.y, key.x] = False
        rest &= self.ledger.get(0, "state")[time] != TileState.PRUNED
        # A strip of a coarse tile each, so that one worker is not left with all of them at the end.
        strip = strip_rows(self.plan.grid.tile_size)
        parts: dict[tuple[TileKey, int], list[TileKey]] = {}
        for y, x in np.argwhere(rest):
            key = TileKey(0, int(y), int(x))
            parts.setdefault((self.plan.grid.parent(key), key.y // strip), []).append(key)
        for keys in parts.values():
            self._ready.add_job(
                FillJob(
                    run_dir=self._run_dir, run_id=self.plan.run_id, access=self._access, time=time, keys=tuple(keys)
                )
            )

    def _add_tiles(self, time: int, keys: list[TileKey]) -> None:
        if not keys:
            return
        level = keys[0].level
        states = self.ledger.get(level, "state")[time]
        todo = [key for key in keys if states[key.y, key.x] not in FINISHED]
        self._ready.add_tiles(time, todo)
        if todo:
            self._on_added(level, len(todo))

    def _mark_outside(self) -> None:
        for level in range(len(self.plan.levels)):
            inside = self.plan.index(level).inside
            states = self.ledger.get(level, "state")
            self.ledger.put(level, "state", np.where(inside, states, TileState.OUTSIDE))

    def _record(self, time: int, key: TileKey, state: TileState, **columns: float) -> None:
        self.ledger.record(time, key, state=int(state), **columns)

    def _record_scores(self, time: int, parent: TileKey, scores: NDArray[np.float32]) -> None:
        self.ledger.record_block(time, self.plan.grid.children(parent)[0], "score", scores)

    def _recorded_scores(self, time: int, parent: TileKey) -> NDArray[np.float32]:
        children = self.plan.grid.children(parent)
        first, last = children[0], children[-1]
        scores = self.ledger.get(0, "score")[time, first.y : last.y + 1, first.x : last.x + 1]
        return np.asarray(scores, np.float32)
