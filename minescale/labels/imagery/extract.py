"""Imagery out: for every place a window from any catalogue, as a dataset folder, made on Dask.

A repeated call continues where an earlier one was killed, and does nothing where all is done.
"""

from __future__ import annotations

import dataclasses
import time as clock
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from minescale.config import Config
from minescale.engine import events
from minescale.engine.cluster import connect, dashboard_link, worker_slots
from minescale.engine.seats import Seats
from minescale.errors import NothingMatched, StoreError
from minescale.labels.imagery.extract_plan import Candidates, ExtractPlan, ExtractRequest, find_scenes, make_plan
from minescale.labels.imagery.extract_task import Setup, WindowJob, WindowResult, extract_batch, write_polygons
from minescale.labels.places.places import along_curve, batches, middles
from minescale.labels.sets.folder import FolderWriter
from minescale.labels.sets.folder_layout import replace_text
from minescale.labels.sets.whole import whole
from minescale.labels.shapes.polygons import Polygons
from minescale.sources.access import Access
from minescale.sources.freeze import read_scenes, write_scenes
from minescale.types import TileKey

SCENES, POLYGONS, EXCLUDED = "scenes.parquet", "polygons.parquet", "excluded.csv"
BATCH = 32
"""Neighbouring places of one task, at most: they share source blocks, and a kill makes their task begin again."""
_ROUNDS = 4
"""Tasks for each worker where places are few: workers that end early have nothing left to do."""
UNREAD = "could not be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What one execution did (a resumed run has several)."""

    places: int
    written: int
    """Samples in the set so far, by this execution and earlier ones."""
    resumed: int
    """Places that earlier executions had finished."""
    excluded: dict[str, int]
    """Places without a sample, by cause."""
    failed: dict[str, str]
    """Place to message; the same call tries them again."""
    absent: dict[str, str]
    """Bands that do not exist, and why."""
    finished: bool
    seconds: float
    bytes_read: int
    peak_rss: int
    """Highest resident memory seen in one worker, in bytes."""
    workers: int

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def extract(
    places: pd.DataFrame,
    request: ExtractRequest,
    out: str | Path,
    *,
    polygons: Polygons | None = None,
    config: Config | None = None,
    listeners: Sequence[events.Listener] = (),
    accept_unread: bool = False,
    batch: int = BATCH,
) -> ExtractReport:
    """Cut a window for every place into the dataset folder ``out``, or continue.

    The catalogue is searched once, and the scenes found are kept in ``scenes.parquet``; a repeated call does not search
    again. Workers write chips; the driver notes them. Memory does not grow with the number of places, but for their
    table. With ``request.native``, ``out`` holds one folder per resolution: ``10m``, ``20m``, ``60m``.

    Parameters
    ----------
    places : see :func:`minescale.labels.places.places.lay_windows`. Further columns go into the samples' table as
        they are.
    polygons : become masks; without them the set has none.
    accept_unread : finish without the places whose scenes cannot be read, and count them, instead of leaving the set
        unfinished.

    Raises
    ------
    NothingMatched
        where no scene fits, or no place is left.
    OutputMismatch
        where ``out`` holds something else or was begun with other settings.
    UsageError, RemoteUnreachable, StoreError
    """
    config, root = config or Config(), Path(out)
    places = places.reset_index(drop=True)
    kept = root / SCENES
    scenes = read_scenes(kept) if kept.is_file() else find_scenes(places, request)
    plan = make_plan(places, scenes, request, config, polygons)
    rows, cols = (int(n) for n in plan.windows.shape[0])
    writers = []
    for (size, _), spec in zip(plan.recipe.groups, plan.specs, strict=True):
        scale = size / plan.windows.pixel
        shape = (round(rows / scale), round(cols / scale))
        home = root if len(plan.specs) == 1 else root / f"{size:g}m"
        writers.append(FolderWriter(home, spec, capacity=len(places), shape=shape, beside=(SCENES, POLYGONS)))
    if not kept.is_file():
        _write_beside(kept, lambda path: write_scenes(path, plan.scenes))
    if polygons is not None and not (root / POLYGONS).is_file():
        _write_beside(root / POLYGONS, lambda path: write_polygons(polygons, path))
    return _Run(plan, places, root, writers, config, listeners, polygons is not None).run(accept_unread, batch)


class _Run:
    def __init__(
        self,
        plan: ExtractPlan,
        places: pd.DataFrame,
        root: Path,
        writers: list[FolderWriter],
        config: Config,
        listeners: Sequence[events.Listener],
        masks: bool,
    ) -> None:
        self.plan, self.places, self.root, self.writers = plan, places, root, writers
        self.config, self.listeners = config, listeners
        self.setup = Setup(
            run=plan.run,
            recipe=plan.recipe,
            chips=tuple(writer.chips for writer in writers),
            scenes=str((root / SCENES).absolute()),
            polygons=str((root / POLYGONS).absolute()) if masks else None,
            all_touched=plan.request.all_touched,
            min_valid=plan.request.min_valid,
            access=Access.capture(config.read),
            read=config.read,
        )
        self.failed: dict[str, str] = {}
        self.bytes_read = self.peak_rss = 0
        self.workers = 1
        self.unmasked_told = False
        self.started = clock.monotonic()

    def emit(self, event: events.Event) -> None:
        for listener in self.listeners:
            listener(event)

    def run(self, accept_unread: bool, batch: int) -> ExtractReport:
        # All groups are noted together, the first one last: what it knows is done everywhere.
        first = self.writers[0]
        resumed = len(first.done) if not first.complete else len(self.places)
        if not all(writer.complete for writer in self.writers):
            if len(first.done) < len(self.places) and not first.complete:
                self._drain(batch, first.done)
            if accept_unread and self.failed:
                self._note([_lost(i, name) for i, name in enumerate(self.plan.windows.ids) if name in self.failed])
                self.failed = {}
        finished = not self.failed
        excluded = self._finish() if finished else self._causes()
        written = len(self.places) - sum(excluded.values()) - len(self.failed)
        report = ExtractReport(
            places=len(self.places),
            written=written,
            resumed=resumed,
            excluded=excluded,
            failed=self.failed,
            absent=self.plan.recipe.groups[0][1].absent,
            finished=finished,
            seconds=clock.monotonic() - self.started,
            bytes_read=self.bytes_read,
            peak_rss=self.peak_rss,
            workers=self.workers,
        )
        self.emit(
            events.RunFinished(done=written, failed=len(self.failed), remaining=0, seconds=report.seconds, stopped="")
        )
        return report

    def _jobs(self, size: int, done: set[str]) -> Iterator[tuple[WindowJob, ...]]:
        """Batches of what is left, neighbours together. Places that no scene can show are noted at once."""
        windows, request = self.plan.windows, self.plan.request
        near = Candidates(self.plan.scenes, windows, request.max_epoch_gap)
        order = along_curve(*middles(self.places, windows))
        left = order[[windows.ids[i] not in done for i in order]]
        for part in batches(left, size):
            jobs = []
            for i in (int(k) for k in part):
                scenes = near.of(i, self.plan.epochs[i])
                if scenes:
                    jobs.append(self._job(i, scenes))
                else:
                    gap = request.max_epoch_gap
                    cause = "no scene covers the window" + ("" if gap is None else f" within {gap} years of its label")
                    self._note([{"id": windows.ids[i], "position": i, "excluded": cause}])
            if jobs:
                yield tuple(jobs)

    def _job(self, i: int, scenes: tuple[int, ...]) -> WindowJob:
        windows, epoch = self.plan.windows, self.plan.epochs[i]
        return WindowJob(
            id=windows.ids[i],
            position=i,
            crs=windows.crs[i],
            left=float(windows.left[i]),
            top=float(windows.top[i]),
            shape=(int(windows.shape[i, 0]), int(windows.shape[i, 1])),
            pixel=windows.pixel,
            scenes=scenes,
            epoch=None if np.isnan(epoch) else int(epoch),
        )

    def _drain(self, size: int, done: set[str]) -> None:
        """A bounded window of batches in flight, whatever the number of places."""
        from distributed import as_completed

        again: list[tuple[WindowJob, ...]] = []
        running: dict[str, tuple[tuple[WindowJob, ...], str]] = {}
        with connect(self.config.engine) as client:
            seats = Seats(worker_slots(client), self.config.engine.in_flight)
            self.workers = sum(seats.slots.values())
            self._announce(client, len(done))
            few = -(-(len(self.places) - len(done)) // (_ROUNDS * self.workers))
            coming = self._jobs(max(1, min(size, few)), set(done))
            completed = as_completed(with_results=True, raise_errors=False)
            exhausted = False
            while True:
                while not exhausted or again:
                    worker = seats.take()
                    if worker is None:
                        break
                    jobs = again.pop() if again else next(coming, None)
                    if jobs is None:
                        exhausted = True
                        seats.free(worker)
                        break
                    options: dict[str, Any] = {"workers": [worker], "allow_other_workers": True} if worker else {}
                    future = client.submit(
                        extract_batch,
                        self.setup,
                        jobs,
                        key=f"windows-{self.plan.run}-{jobs[0].position}-{len(jobs)}",
                        retries=self.config.engine.retries,
                        **options,
                    )
                    running[future.key] = (jobs, worker)
                    completed.add(future)
                if not running:
                    return
                future, found = next(completed)
                jobs, worker = running.pop(future.key)
                seats.free(worker)
                again += self._take(jobs, future, found)
                seats.update(worker_slots(client))

    def _take(self, jobs: tuple[WindowJob, ...], future: Any, found: Any) -> list[tuple[WindowJob, ...]]:
        """Note a batch's results; returns what is to be tried again, place by place."""
        error = None if future.status == "finished" else future.exception()
        if isinstance(error, StoreError):
            raise error
        if error is not None and len(jobs) > 1:
            return [(job,) for job in jobs]  # one of them is to blame
        if error is not None:
            self._fail(jobs[0], f"{type(error).__name__}: {error}")
            return []
        future.release()
        results: tuple[WindowResult, ...] = found
        self._note([{"id": r.id, "position": r.position, **r.row} for r in results if not r.unread])
        for job, result in zip(jobs, results, strict=True):
            self._count(job, result)
        return []

    def _count(self, job: WindowJob, result: WindowResult) -> None:
        self.bytes_read += result.bytes_read
        self.peak_rss = max(self.peak_rss, result.peak_rss)
        key = TileKey(0, 0, result.position)
        for loss in result.failures:
            self.emit(
                events.SceneLost(
                    time=0,
                    key=key,
                    scene_id=loss.scene_id,
                    band=loss.band,
                    cause=loss.cause,
                    attempts=loss.attempts,
                    message=loss.message,
                )
            )
        if result.unmasked and not self.unmasked_told:
            self.unmasked_told = True
            self.emit(
                events.Notice(
                    message=f"scenes without a quality band are used unmasked (such as {result.unmasked[0]}): "
                    "their clouds count as ground"
                )
            )
        if result.unread:
            self._fail(job, result.unread)
            return
        self.emit(
            events.TileDone(
                time=0, key=key, seconds=result.seconds, bytes_read=result.bytes_read, max_probability=float("nan")
            )
        )

    def _fail(self, job: WindowJob, message: str) -> None:
        self.failed[job.id] = message
        self.emit(events.TileFailed(time=0, key=TileKey(0, 0, job.position), message=f"{job.id}: {message}"))

    def _announce(self, client: Any, resumed: int) -> None:
        self.emit(
            events.RunStarted(
                run_id=self.plan.run,
                out=str(self.root),
                workers=self.workers,
                dashboard=dashboard_link(client),
                resumed_tiles=resumed,
            )
        )
        left = len(self.places) - resumed
        self.emit(events.LevelStarted(level=0, resolution=self.plan.windows.pixel, tiles=left))
        for name, cause in self.plan.recipe.groups[0][1].absent.items():
            self.emit(events.Notice(message=f"band {name} is absent: {cause}"))

    def _note(self, rows: list[dict[str, Any]]) -> None:
        for writer in reversed(self.writers):
            writer.record(rows)

    def _causes(self) -> dict[str, int]:
        return dict(sorted(Counter(r["excluded"] for r in self.writers[0].recorded() if "excluded" in r).items()))

    def _finish(self) -> dict[str, int]:
        """Tables, reports, and the documents that make the folders datasets; returns places left out, by cause."""
        if all(writer.complete for writer in self.writers):
            excluded = pd.read_csv(self.root / EXCLUDED)["cause"].value_counts()
            return {str(cause): int(n) for cause, n in sorted(excluded.items())}
        rows = sorted(self._rows(), key=lambda row: int(row["position"]))
        gone = pd.DataFrame(
            [(row["id"], row["excluded"]) for row in rows if "excluded" in row], columns=["id", "cause"], dtype=object
        )
        replace_text(self.root / EXCLUDED, gone.to_csv(index=False))
        kept = [row for row in rows if "excluded" not in row]
        causes = {str(cause): int(n) for cause, n in sorted(gone["cause"].value_counts().items())}
        if not kept:
            raise NothingMatched(
                "no place has an image",
                got="; ".join(f"{n} {cause}" for cause, n in causes.items()),
                expected="1 place",
            )
        table = self._table(kept)
        for (size, _), writer in zip(reversed(self.plan.recipe.groups), reversed(self.writers), strict=True):
            scale = size / self.plan.windows.pixel
            sized = table.assign(
                pixel_x=size,
                pixel_y=size,
                rows=(table["rows"] / scale).astype(int),
                cols=(table["cols"] / scale).astype(int),
            )
            if not writer.complete:
                writer.finish(sized)
        return causes

    def _rows(self) -> Iterator[dict[str, Any]]:
        return next(writer for writer in self.writers if not writer.complete).recorded()

    def _table(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """The sample table: what the places said, then what was found out."""
        found = pd.DataFrame(rows).drop(columns="id").set_index("position")
        found = found.dropna(axis=1, how="all")
        given = self.places.loc[found.index].assign(id=lambda t: t["id"].astype(str))
        lon, lat = middles(self.places, self.plan.windows)
        given["lon"], given["lat"] = lon[found.index], lat[found.index]
        for name, default in (("site", given["id"]), ("source", "places")):
            if name not in given:
                given[name] = default
        table = given.drop(columns=[name for name in found if name in given]).join(found)
        if self.plan.request.layout == "zarr":
            table["chip"] = found.index.to_numpy()
        return table.reset_index(drop=True)


def _lost(position: int, name: str) -> dict[str, Any]:
    return {"id": name, "position": position, "excluded": UNREAD}


def _write_beside(path: Path, write: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        write(str(partial))
