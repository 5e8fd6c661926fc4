"""What a worker does for an extraction: a run of neighbouring windows, read, judged and written as chips."""

from __future__ import annotations

import datetime as dt
import threading
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import ReadConfig
from minescale.engine.heap import give_back_gaps, keep_freed_memory
from minescale.engine.task import peak_rss
from minescale.labels.imagery.window import CompositeWindow, Recipe, SceneWindow, WindowImage, begin_window, resized
from minescale.labels.rasters.masks import rasterise
from minescale.labels.sets.chips import geo_columns
from minescale.labels.sets.folder import ChipWriter
from minescale.labels.shapes.polygons import Polygons, ReadReport
from minescale.sources import reuse
from minescale.sources.access import Access
from minescale.sources.failures import ReadFailure
from minescale.sources.freeze import read_scenes
from minescale.sources.reader import Reader
from minescale.sources.scenes import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all batches of a run share; small, and the same for every worker."""

    run: str
    """Digest of everything that decides the pixels."""
    recipe: Recipe
    chips: tuple[ChipWriter, ...]
    """One per group of the recipe."""
    scenes: str
    """Path of the frozen scenes."""
    polygons: str | None
    """Path of the polygons that become masks, as GeoParquet; None: no masks."""
    all_touched: bool
    min_valid: float
    """A window of which a feature has fewer pixels than this share is blank."""
    access: Access
    read: ReadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowJob:
    """One place."""

    id: str
    position: int
    """In the table of places."""
    crs: str
    left: float
    top: float
    shape: tuple[int, int]
    pixel: float
    scenes: tuple[int, ...]
    """Positions in the frozen scenes."""
    epoch: int | None
    """Year of its label."""

    @property
    def geobox(self) -> GeoBox:
        return GeoBox(self.shape, Affine(self.pixel, 0, self.left, 0, -self.pixel, self.top), self.crs)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """What the driver learns of a place: a few hundred bytes."""

    id: str
    position: int
    row: dict[str, Any]
    """For the sample table; or ``{"excluded": cause}`` where no chip was written."""
    unread: str
    """Why nothing could be said of the place, as scenes could not be read; empty where something could."""
    failures: tuple[ReadFailure, ...]
    unmasked: tuple[str, ...]
    bytes_read: int
    seconds: float
    peak_rss: int


def extract_batch(setup: Setup, jobs: tuple[WindowJob, ...]) -> tuple[WindowResult, ...]:
    """Windows one after the other: while one is composited, the next one's quality bands are read."""
    scenes, reader, polygons = _context(setup)
    geoboxes = [job.geobox for job in jobs]

    def start(i: int) -> CompositeWindow | SceneWindow:
        found = [scenes[k] for k in jobs[i].scenes]
        return begin_window(found, geoboxes[i], setup.recipe, reader, geoboxes[i + 1 :])

    results = []
    current = start(0)
    for i, job in enumerate(jobs):
        began = clock.perf_counter()
        following = start(i + 1) if i + 1 < len(jobs) else None
        made = current.finish(meanwhile=following.advance if following is not None else None)
        used = [scenes[k] for k in job.scenes]
        results.append(_judge(setup, job, made, used, polygons, began))
        current = following or current
    give_back_gaps()
    return tuple(results)


def _judge(
    setup: Setup, job: WindowJob, made: WindowImage, scenes: Sequence[Scene], polygons: Polygons | None, began: float
) -> WindowResult:
    """Write the chips of a window, or say why there are none."""
    lowest = min(made.valid, key=lambda name: made.valid[name])
    row: dict[str, Any] = {}
    unread = ""
    if made.valid[lowest] >= setup.min_valid:
        row = _row(job, made, scenes)
        _write(setup, job, made, polygons)
    elif made.unread:
        loss = made.failures[0]
        unread = f"scene {loss.scene_id} {loss.band}: {loss.cause} ({loss.message})"
    elif not made.figures["layers_used"] and setup.recipe.mode == "scene":
        row = {"excluded": "no scene within the cloud limit"}
    elif not made.figures["layers_seen"]:
        row = {"excluded": "no scene covers the window"}
    else:
        row = {"excluded": f"blank: under {setup.min_valid:g} of a band is seen"}
    return WindowResult(
        id=job.id,
        position=job.position,
        row=row,
        unread=unread,
        failures=made.failures,
        unmasked=made.unmasked,
        bytes_read=made.bytes_read,
        seconds=clock.perf_counter() - began,
        peak_rss=peak_rss(),
    )


def _write(setup: Setup, job: WindowJob, made: WindowImage, polygons: Polygons | None) -> None:
    for (pixel, _), writer, image in zip(setup.recipe.groups, setup.chips, made.images, strict=True):
        target = resized(job.geobox, pixel)
        mask: NDArray[np.uint8] | None = None
        if polygons is not None:
            mask = rasterise(polygons, target, all_touched=setup.all_touched).astype(np.uint8)
        writer.put(job.id, job.position, image, mask, target)


def _row(job: WindowJob, made: WindowImage, scenes: Sequence[Scene]) -> dict[str, Any]:
    days = [dt.date.fromisoformat(day) for day in made.dates]
    if not days:  # a composite: whatever its candidates span
        days = [scene.datetime.date() for scene in scenes]
    first, last = min(days), max(days)
    middle = first + (last - first) / 2
    row = {
        **made.figures,
        "valid": round(min(made.valid.values()), 4),
        "image_date": made.dates[0] if made.dates else str(first.year) if first.year == last.year else str(middle),
        "image_first": first.isoformat(),
        "image_last": last.isoformat(),
        "scenes": " ".join(made.scenes) if made.scenes else None,
        "losses": len({failure.scene_id for failure in made.failures}),
        "rows": job.shape[0],
        "cols": job.shape[1],
        **geo_columns(job.geobox),
    }
    if job.epoch is not None:
        row["label_epoch"] = job.epoch
        row["epoch_gap"] = max(abs(day.year - job.epoch) for day in (first, last))
    return row


_lock = threading.Lock()
_loaded: dict[str, tuple[tuple[Scene, ...], Reader, Polygons | None]] = {}


def _context(setup: Setup) -> tuple[tuple[Scene, ...], Reader, Polygons | None]:
    """The process's scenes, reader and polygons for a run, loaded at its first batch."""
    key = f"{setup.run} {setup.scenes}"
    with _lock:
        if key not in _loaded:
            _loaded.clear()
            reuse.forget()
            keep_freed_memory()
            polygons = None if setup.polygons is None else read_polygons(setup.polygons)
            _loaded[key] = (read_scenes(setup.scenes), Reader(setup.access, setup.read, cores=_threads()), polygons)
        return _loaded[key]


def _threads() -> int | None:
    from distributed import get_worker

    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return None


def read_polygons(path: str) -> Polygons:
    """Polygons as :func:`write_polygons` kept them."""
    import geopandas

    frame = geopandas.read_parquet(path)
    return Polygons(frame=frame, source="polygons.parquet", report=ReadReport(len(frame)))


def write_polygons(polygons: Polygons, path: str) -> None:
    """Keep what masks are made from beside them, as GeoParquet."""
    polygons.frame.to_parquet(path, index=False)
