"""Run a plan: a bounded window of tile futures on Dask, the ledger after the data, a clean stop at any time."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import time as clock
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minescale.engine import events
from minescale.engine.agenda import FINISHED, Agenda
from minescale.engine.batches import Pace
from minescale.engine.cluster import connect, dashboard_link, has_gpus, worker_slots
from minescale.engine.seats import Seats
from minescale.engine.task import (
    FillJob,
    TileJob,
    TileResult,
    compose_tile,
    fill_pruned,
    infer_tile,
    process_batch,
    process_tile,
)
from minescale.errors import StoreError
from minescale.planning.plan import LOSSES_FILE, MOSAIC_FILE, ScanPlan
from minescale.planning.run_dir import RunDir
from minescale.sources.access import Access
from minescale.store.layout import MosaicLayout
from minescale.store.ledger import Ledger, TileState
from minescale.store.template import create_mosaic


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop early; everything finished by then is kept and the same command continues."""

    max_cost: float | None = None
    """Money, by the prices in the settings."""
    deadline: dt.datetime | None = None
    """Submit no tile after this moment (with time zone)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What one execution did (a resumed run has several)."""

    run_id: str
    done: int
    """Tiles finished by this execution, at every level."""
    failed: int
    remaining: int
    seconds: float
    cpu_seconds: float
    bytes_read: int
    requests: int
    peak_rss: int
    """Highest resident memory seen in one worker, in bytes."""
    workers: int
    stopped: str
    """Why it stopped early; empty at a regular end."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def layout_of(plan: ScanPlan) -> MosaicLayout:
    """The mosaic a plan writes."""
    return MosaicLayout(
        grid=plan.grid,
        periods=plan.periods,
        chunk=plan.config.store.chunk,
        shards=plan.config.store.shards,
        provenance={
            "run_id": plan.run_id,
            "model": plan.request.model,
            "model_digest": [level.model_digest for level in plan.levels],
            "scenes_digest": plan.scenes_digest,
            "catalog": plan.request.catalog,
            "sensor": plan.sensor,
            "threshold": plan.threshold,
        },
    )


def run_plan(
    plan: ScanPlan, folder: RunDir, *, limits: Limits | None = None, listeners: Sequence[events.Listener] = ()
) -> RunReport:
    """Run every tile that the ledger does not show as finished.

    Returns when all is done, a limit is reached or tiles have failed; the report says which.

    Raises
    ------
    StoreError
        where the mosaic cannot be written (full disk, read-only): what was written stays, and is in the ledger.
    KeyboardInterrupt
        after the ledger has been flushed.
    """
    create_mosaic(folder.path(MOSAIC_FILE), layout_of(plan))
    ledger = Ledger.open(folder.path(MOSAIC_FILE))
    with connect(plan.config.engine) as client:
        execution = _Execution(plan, folder, ledger, client, limits or Limits(), listeners)
        with execution.flushing():
            return execution.run()


class _Execution:
    def __init__(
        self,
        plan: ScanPlan,
        folder: RunDir,
        ledger: Ledger,
        client: Any,
        limits: Limits,
        listeners: Sequence[events.Listener],
    ) -> None:
        self.plan, self.folder, self.ledger, self.client = plan, folder, ledger, client
        self.limits, self.listeners = limits, listeners
        self.started = clock.monotonic()
        self.flushed = self.started
        self.done = self.failed = self.bytes_read = self.requests = self.peak_rss = 0
        self.cpu_seconds = 0.0
        self.workers = 1
        self.seats = Seats({}, plan.config.engine.in_flight)
        self.pace = Pace()
        self.again: deque[TileJob | FillJob] = deque()
        """Jobs of a batch that failed: each is tried again by itself."""
        self.losses: dict[tuple[object, ...], dict[str, Any]] = {}
        self.unmasked_told = False
        self.doubts: set[str] = set()

    def emit(self, event: events.Event) -> None:
        for listener in self.listeners:
            listener(event)

    def run(self) -> RunReport:
        self.seats.update(worker_slots(self.client))
        self.workers = sum(self.seats.slots.values())
        chained = has_gpus(self.client)
        self._announce()
        agenda = Agenda(
            self.plan,
            self.ledger,
            self.folder.root,
            Access.capture(self.plan.config.read),
            on_added=lambda level, tiles: self.emit(events.TilesAdded(level=level, tiles=tiles)),
        )
        stopped = self._drain(agenda, chained)
        self.ledger.flush()
        counts = [agenda.counts(level.level) for level in self.plan.levels]
        report = RunReport(
            run_id=self.plan.run_id,
            done=self.done,
            failed=sum(c[TileState.FAILED] for c in counts),
            remaining=sum(c[TileState.PENDING] for c in counts),
            seconds=clock.monotonic() - self.started,
            cpu_seconds=self.cpu_seconds,
            bytes_read=self.bytes_read,
            requests=self.requests,
            peak_rss=self.peak_rss,
            workers=self.workers,
            stopped=stopped,
        )
        self.emit(
            events.RunFinished(
                done=report.done,
                failed=report.failed,
                remaining=report.remaining,
                seconds=report.seconds,
                stopped=stopped,
            )
        )
        return report

    def _announce(self) -> None:
        states = [self.ledger.get(level.level, "state") for level in self.plan.levels]
        resumed = sum(int((s == state).sum()) for s in states for state in FINISHED)
        self.emit(
            events.RunStarted(
                run_id=self.plan.run_id,
                out=self.folder.root,
                workers=self.workers,
                dashboard=dashboard_link(self.client),
                resumed_tiles=resumed,
            )
        )
        for level in reversed(self.plan.levels):
            self.emit(events.LevelStarted(level=level.level, resolution=level.resolution, tiles=0))

    def _drain(self, agenda: Agenda, chained: bool) -> str:
        """Keep the window of futures full until nothing is left or a limit says stop; return why it stopped."""
        from distributed import as_completed

        running: dict[str, tuple[tuple[TileJob | FillJob, ...], str]] = {}
        # Results and states arrive with the futures: asking each for its own would wait for Dask's thread twice.
        completed = as_completed(with_results=True, raise_errors=False)
        stopped = ""
        waiting: list[str] = []
        known = agenda.added
        while True:
            stopped = stopped or self._limit_reached()
            while (self.again or agenda) and not stopped and (worker := self.seats.take()) is not None:
                jobs = self._next(agenda, worker, chained, alone=not running)
                if not jobs:
                    waiting.append(worker)
                    continue
                future = self._submit(jobs, worker, chained)
                running[future.key] = (jobs, worker)
                completed.add(future)
            if not running and waiting and not stopped:
                self._wake(waiting, len(waiting))
                continue
            if not running:
                return stopped
            future, found = next(completed)
            jobs, worker = running.pop(future.key)
            self.seats.free(worker)
            self._take(agenda, jobs, future, found)
            self._wake(waiting, agenda.added - known + len(self.again))
            known = agenda.added
            if clock.monotonic() - self.flushed > self.plan.config.engine.flush_s:
                self.flush()
                self.seats.update(worker_slots(self.client))

    def _wake(self, waiting: list[str], jobs: int) -> None:
        """Let as many waiting workers ask again as there are new jobs: asking all of a thousand takes longer."""
        for _ in range(min(jobs, len(waiting))):
            self.seats.free(waiting.pop())

    def _next(self, agenda: Agenda, worker: str, chained: bool, alone: bool) -> tuple[TileJob | FillJob, ...]:
        """What a worker's next task does: as a rule one job, more where tasks come too fast for the scheduler.

        None at all where it had better wait for the tasks of others; ``alone`` says that there are none.
        """
        if self.again:
            return (self.again.popleft(),)
        slots = self.seats.slots
        size = 1 if chained else self.pace.batch(len(agenda), sum(slots.values()), self.seats.share)
        jobs: list[TileJob | FillJob] = []
        while len(jobs) < size and agenda and (not jobs or isinstance(jobs[-1], TileJob)):
            job = agenda.pop(worker, whatever=alone)
            if job is None:
                break
            jobs.append(job)
        if slots[worker] > 1:
            # The next tile may go to another thread at once, which would read it a second time.
            jobs = [_alone(job) for job in jobs]
        return tuple(jobs)

    def _submit(self, jobs: tuple[TileJob | FillJob, ...], worker: str, chained: bool) -> Any:
        # A wish: Dask may still run it elsewhere, where the worker is gone or others would idle.
        options: dict[str, Any] = {"workers": [worker], "allow_other_workers": True} if worker else {}
        retries = self.plan.config.engine.retries
        job = jobs[0]
        if isinstance(job, FillJob):
            name = f"fill-{job.run_id}-{job.time}-{job.keys[0]}"
            return self.client.submit(fill_pruned, job, key=name, retries=retries, **options)
        name = f"{job.run_id}-{job.time}-{job.key}"
        options["priority"] = job.key.level  # the coarse level decides what the fine one may skip
        if len(jobs) > 1:
            name = f"tiles-{name}-{len(jobs)}"
            return self.client.submit(process_batch, jobs, key=name, retries=retries, **options)
        if not chained:
            return self.client.submit(process_tile, job, key=f"tile-{name}", retries=retries, **options)
        composed = self.client.submit(compose_tile, job, key=f"compose-{name}", retries=retries, **options)
        return self.client.submit(
            infer_tile,
            job,
            composed,
            key=f"tile-{name}",
            retries=retries,
            priority=job.key.level,
            resources={"GPU": 1},
        )

    def _take(self, agenda: Agenda, jobs: tuple[TileJob | FillJob, ...], future: Any, found: Any) -> None:
        error = None if future.status == "finished" else future.exception()
        if isinstance(error, StoreError):
            raise error
        if error is not None and len(jobs) > 1:
            # One of them is to blame, and all can be repeated.
            self.again.extend(_alone(job) for job in jobs)
            return
        if error is not None:
            (job,) = jobs
            self.failed += 1
            agenda.fail(job)
            key = job.keys[0] if isinstance(job, FillJob) else job.key
            self.emit(events.TileFailed(time=job.time, key=key, message=f"{type(error).__name__}: {error}"))
            return
        future.release()
        for result in found if len(jobs) > 1 else (found,):
            agenda.finish(result)
            if isinstance(result, TileResult):
                self._count(result)
                continue
            self.done += len(result.rows)
            self.cpu_seconds += result.cpu_seconds
            for key, _, _, highest in result.rows:
                self.emit(
                    events.TileDone(time=result.time, key=key, seconds=0.0, bytes_read=0, max_probability=highest)
                )

    def _count(self, result: TileResult) -> None:
        self.done += 1
        self.pace.note(result.seconds)
        self.bytes_read += result.bytes_read
        self.requests += result.requests
        self.cpu_seconds += result.cpu_seconds
        self.peak_rss = max(self.peak_rss, result.peak_rss)
        for loss in result.losses:
            lost = events.SceneLost(
                time=result.time,
                key=result.key,
                scene_id=loss.scene_id,
                band=loss.band,
                cause=loss.cause,
                attempts=loss.attempts,
                message=loss.message,
            )
            self.losses[result.time, str(result.key), loss.scene_id, loss.band] = events.event_dict(lost)
            self.emit(lost)
        for doubt in result.doubts:
            if doubt not in self.doubts:  # every worker process probes for itself
                self.doubts.add(doubt)
                self.emit(events.Notice(message=doubt))
        if result.unmasked and not self.unmasked_told:
            self.unmasked_told = True
            self.emit(
                events.Notice(
                    message=f"scenes without a quality band are used unmasked (such as {result.unmasked[0]}): "
                    "their clouds count as ground"
                )
            )
        self.emit(
            events.TileDone(
                time=result.time,
                key=result.key,
                seconds=result.seconds,
                bytes_read=result.bytes_read,
                max_probability=result.max_probability,
            )
        )

    def _limit_reached(self) -> str:
        if self.limits.deadline is not None and dt.datetime.now(dt.UTC) >= self.limits.deadline:
            return f"deadline {self.limits.deadline:%Y-%m-%d %H:%M:%S %Z} reached"
        if self.limits.max_cost is not None and self.spent() >= self.limits.max_cost:
            return f"cost limit {self.limits.max_cost:g} reached"
        return ""

    def spent(self) -> float:
        """Money spent by this execution, by the configured prices."""
        cost = self.plan.config.cost
        hours = (clock.monotonic() - self.started) / 3600 * self.workers
        return self.bytes_read / 1e9 * cost.price_per_gb + hours * cost.price_per_worker_hour

    def flush(self) -> None:
        self.ledger.flush()
        if self.losses:
            rows = [self.losses[key] for key in sorted(self.losses, key=str)]
            self.folder.write_text(LOSSES_FILE, "".join(json.dumps(row) + "\n" for row in rows))
        self.flushed = clock.monotonic()

    @contextlib.contextmanager
    def flushing(self) -> Iterator[None]:
        """Whatever ends the run, what is done goes into the ledger first."""
        if self.folder.exists(LOSSES_FILE):
            for line in self.folder.read_text(LOSSES_FILE).splitlines():
                row = json.loads(line)
                self.losses[row["time"], row["key"], row["scene_id"], row["band"]] = row
        try:
            yield
        finally:
            self.flush()


def _alone(job: TileJob | FillJob) -> TileJob | FillJob:
    """The job without the one that follows it."""
    return dataclasses.replace(job, following=None) if isinstance(job, TileJob) else job
