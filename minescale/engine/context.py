"""What a worker process keeps between tiles: the plan, the scenes, the models, the mosaic, the reader.

Jobs travel as a few numbers; everything heavy is loaded once per process from the run's directory.
"""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass, field
from typing import Any

from minescale.cube import rooms
from minescale.cube.compose import Composing
from minescale.engine.heap import keep_freed_memory
from minescale.errors import ModelError
from minescale.models.package import ModelPackage, load_package
from minescale.models.predictor import Predictor, load_predictor
from minescale.planning.plan import MOSAIC_FILE, ScanPlan
from minescale.planning.run_dir import RunDir
from minescale.sources import reuse
from minescale.sources.access import Access
from minescale.sources.reader import Reader
from minescale.store.mosaic import Mosaic
from minescale.types import TileKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    plan: ScanPlan
    mosaic: Mosaic
    reader: Reader
    packages: tuple[ModelPackage, ...]
    """By level, finest first."""
    coming: dict[tuple[int, TileKey], Composing] = field(default_factory=dict)
    """Composites of tiles to come, by period and tile."""

    def expect(self, time: int, key: TileKey, composing: Composing) -> None:
        """Keep what was begun for a tile to come. What nobody came for in time, as it went elsewhere, is dropped."""
        self.coming[time, key] = composing
        while len(self.coming) > _EXPECTED:
            self.coming.pop(next(iter(self.coming)), None)

    def predictor(self, level: int) -> Predictor:
        return load_predictor(self.packages[level], self.plan.config.engine.device)


_EXPECTED = 2
"""Composites begun ahead that a process keeps."""
_contexts: dict[tuple[str, str], WorkerContext] = {}
_lock = threading.Lock()


def worker_context(run_dir: str, run_id: str, access: Access) -> WorkerContext:
    """The process's context for a run, loaded at its first tile."""
    with _lock:
        context = _contexts.get((run_dir, run_id))
        if context is None:
            _contexts.clear()  # one run at a time: a long-lived worker must not pile up scenes of old runs
            reuse.forget()
            rooms.forget()
            context = _load(run_dir, run_id, access)
            _contexts[run_dir, run_id] = context
        return context


def _load(run_dir: str, run_id: str, access: Access) -> WorkerContext:
    folder = RunDir(run_dir)
    plan = folder.load_plan()
    if plan.run_id != run_id:
        raise ModelError(
            "the worker runs another version of minescale or sees another plan", got=plan.run_id, expected=run_id
        )
    keep_freed_memory()
    context = WorkerContext(
        plan=plan,
        mosaic=Mosaic.open(folder.path(MOSAIC_FILE), mode="r+"),
        reader=Reader(access, plan.config.read, cores=_threads()),
        packages=level_packages(plan),
    )
    if _own_process():
        settle()
    return context


def settle() -> None:
    """Take what is there now, a country's scenes and all that was imported, out of garbage collections: it stays."""
    gc.collect()
    gc.freeze()


def _threads() -> int | None:
    """Threads of this Dask worker, which is one of several on its machine; None elsewhere."""
    worker = _worker()
    return worker.state.nthreads if worker else None


def _own_process() -> bool:
    """Whether a nanny started this process as a worker, so that nothing else lives in it."""
    worker = _worker()
    return worker is not None and worker.nanny is not None


def _worker() -> Any:
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def level_packages(plan: ScanPlan) -> tuple[ModelPackage, ...]:
    """The model package of each level, checked against the plan's digests.

    Raises
    ------
    ModelError
        where a package has changed since the plan was made.
    """
    package = load_package(plan.request.model)
    packages = [package]
    if plan.is_pyramid:
        if package.screen is None:
            raise ModelError("the plan has a coarse level, but the package has no screen", got=str(package.path))
        packages.append(package.screen)
    for level, found in zip(plan.levels, packages, strict=True):
        if found.digest != level.model_digest:
            raise ModelError(
                f"model package {found.spec.name} has changed since the plan was made",
                got=found.digest[:12],
                expected=level.model_digest[:12],
                fix="another --out for the new model",
            )
    return tuple(packages)
