"""What a scan saw, what it could not see, and what that cost: numbers from the ledger.

The unit is the pixel of level 0 inside tiles of the run. A tile that touches the area of interest counts with
all its pixels, so areas are those of the mosaic, slightly more than those of the bounding box. Ground that was
not seen is counted as such; it says nothing about mines.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.grid import MosaicGrid
from minescale.planning.plan import LOSSES_FILE, MOSAIC_FILE, ScanPlan
from minescale.planning.pyramid import AuditBound, audit_bound
from minescale.planning.run_dir import RunDir
from minescale.store.backend import storing
from minescale.store.ledger import Ledger, TileState
from minescale.store.mosaic import Mosaic
from minescale.types import Reason, TileKey

REASONS_UP_TO_PX = 200_000_000
"""Above this many pixels the ``reason`` array is not read for the table: it would take longer than a table may."""

NOT_SEEN = (Reason.NO_SCENE, Reason.NEVER_CLEAR, Reason.READ_FAILED)

_DECIDED = (TileState.DONE, TileState.AUDITED, TileState.PRUNED)
_USED = ("state", "seen_px", "mine_px", "n_failed", "bytes_read", "seconds", "cpu_seconds")

_Columns = dict[tuple[int, str], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One period of a scan, or all of them together. Areas in square kilometres of the mosaic's pixels."""

    label: str
    """``2024-01-01/2024-06-30``, or ``total``."""
    tiles: int
    """Level-0 tiles that touch the area of interest."""
    tiles_decided: int
    """Of these, tiles with a result: processed, or pruned by a coarser level."""
    tiles_failed: int
    area_km2: float
    """All tiles of the run."""
    scanned_km2: float
    """Tiles with a result."""
    seen_km2: float
    """Pixels with a probability."""
    not_seen_km2: float
    """Pixels of tiles with a result that carry none."""
    not_seen_by_reason: dict[str, float] | None
    """Square kilometres by ``Reason`` name in lower case; None where the mosaic is too large to look through."""
    pruned_km2: float
    """Decided by the coarse level alone."""
    tiles_pruned: int
    audit: AuditBound
    mine_km2: float
    """Seen pixels at or above the plan's threshold."""
    mine_screen_km2: float
    """The part of ``mine_km2`` that only the coarse level found."""

    @property
    def mine_ha(self) -> float:
        return self.mine_km2 * 100.0

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ``mine_ha`` beside ``mine_km2``, and ``audit`` as a mapping."""
        values = dataclasses.asdict(self)
        values["mine_ha"] = self.mine_ha
        values["audit"]["missed_tiles_upper"] = self.audit.missed_tiles_upper
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A scan in numbers, at its end or on the way."""

    run_id: str
    threshold: float
    """Probability from which a pixel counts as mine."""
    periods: tuple[Figures, ...]
    total: Figures
    """Sums over the periods: the same ground counts once per period."""
    levels: tuple[dict[str, Any], ...]
    """Per level, finest first: ``level``, ``resolution`` and ``tiles`` by state, periods together."""
    bytes_read: int
    work_seconds: float
    """Wall time of all tiles added up over workers and attempts that succeeded."""
    cpu_seconds: float
    tiles_with_losses: int
    """Tiles (all levels, periods) for which a scene could not be read."""
    scenes_lost: int
    """Different scenes that could not be read for at least one tile."""
    complete: bool
    """True where every tile of the run has a result."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: ``run_id, threshold, complete, total, periods, levels, bytes_read, work_seconds,
        cpu_seconds, tiles_with_losses, scenes_lost``; ``total`` and each of ``periods`` as in :class:`Figures`."""
        return {
            "run_id": self.run_id,
            "threshold": self.threshold,
            "complete": self.complete,
            "total": self.total.to_dict(),
            "periods": [figures.to_dict() for figures in self.periods],
            "levels": [dict(level) for level in self.levels],
            "bytes_read": self.bytes_read,
            "work_seconds": self.work_seconds,
            "cpu_seconds": self.cpu_seconds,
            "tiles_with_losses": self.tiles_with_losses,
            "scenes_lost": self.scenes_lost,
        }

    def published(self) -> dict[str, Any]:
        """What follows from the plan and the pixels alone: no clocks, so equal runs publish equal bytes."""
        clocks = {"work_seconds", "cpu_seconds", "bytes_read"}
        return {key: value for key, value in self.to_dict().items() if key not in clocks}


def summarise(plan: ScanPlan, folder: RunDir) -> Summary:
    """Read the ledger of a run, finished or not; before the first tile all figures are zero.

    Raises
    ------
    StoreError
        where there is a mosaic that cannot be read.
    """
    columns = _columns(plan, folder)
    reasons = _reason_counts(plan, folder, columns[0, "state"])
    periods = tuple(_figures(plan, columns, time, reasons) for time in range(len(plan.periods)))
    total = _sum(periods)
    sums = {
        name: sum(float(columns[level.level, name].sum(dtype=np.float64)) for level in plan.levels)
        for name in ("bytes_read", "seconds", "cpu_seconds")
    }
    return Summary(
        run_id=plan.run_id,
        threshold=plan.threshold,
        periods=periods,
        total=total,
        levels=tuple(_level(columns, level.level, level.resolution) for level in plan.levels),
        bytes_read=int(sums["bytes_read"]),
        work_seconds=sums["seconds"],
        cpu_seconds=sums["cpu_seconds"],
        tiles_with_losses=sum(int(np.count_nonzero(columns[level.level, "n_failed"])) for level in plan.levels),
        scenes_lost=_scenes_lost(folder),
        complete=total.tiles_decided == total.tiles,
    )


def tile_pixels(grid: MosaicGrid) -> NDArray[np.int64]:
    """(tile_y, tile_x) pixels of each level-0 tile; those at the border are cut."""
    rows, cols = grid.tile_shape(0)
    ny, nx = grid.shape
    heights = np.minimum(np.arange(1, rows + 1) * grid.tile_size, ny) - np.arange(rows) * grid.tile_size
    widths = np.minimum(np.arange(1, cols + 1) * grid.tile_size, nx) - np.arange(cols) * grid.tile_size
    return np.asarray(np.outer(heights, widths), np.int64)


def _columns(plan: ScanPlan, folder: RunDir) -> _Columns:
    """Ledger columns by level and name, each (time, tile_y, tile_x); all zero before the run has begun."""
    if not folder.exists(MOSAIC_FILE):
        shapes = {level.level: (len(plan.periods), *plan.grid.tile_shape(level.level)) for level in plan.levels}
        return {(level, name): np.zeros(shape, np.int64) for level, shape in shapes.items() for name in _USED}
    ledger = Ledger.open(folder.path(MOSAIC_FILE), "r")
    columns = {(level.level, name): ledger.get(level.level, name) for level in plan.levels for name in _USED}
    for level in plan.levels:
        inside = plan.index(level.level).inside
        columns[level.level, "state"] = np.where(inside, columns[level.level, "state"], TileState.OUTSIDE)
    return columns


def _figures(plan: ScanPlan, columns: _Columns, time: int, reasons: list[dict[str, int]] | None) -> Figures:
    km2 = plan.grid.pixel_area_ha() / 100.0
    state, pixels = columns[0, "state"][time], tile_pixels(plan.grid)
    inside = state != TileState.OUTSIDE
    decided, pruned = np.isin(state, _DECIDED), state == TileState.PRUNED
    seen, mine = columns[0, "seen_px"][time], columns[0, "mine_px"][time]
    audited = state == TileState.AUDITED
    scanned_px, seen_px = int(pixels[decided].sum()), int(seen[decided].sum())
    return Figures(
        label=str(plan.periods[time]),
        tiles=int(inside.sum()),
        tiles_decided=int(decided.sum()),
        tiles_failed=int((state == TileState.FAILED).sum()),
        area_km2=int(pixels[inside].sum()) * km2,
        scanned_km2=scanned_px * km2,
        seen_km2=seen_px * km2,
        not_seen_km2=(scanned_px - seen_px) * km2,
        not_seen_by_reason=None if reasons is None else {name: n * km2 for name, n in reasons[time].items()},
        pruned_km2=int(pixels[pruned].sum()) * km2,
        tiles_pruned=int(pruned.sum()),
        audit=audit_bound(
            pruned=int((pruned | audited).sum()),
            audited=int(audited.sum()),
            missed=int((mine[audited] > 0).sum()),
        ),
        mine_km2=int(mine[decided].sum()) * km2,
        mine_screen_km2=int(mine[pruned].sum()) * km2,
    )


def _sum(periods: tuple[Figures, ...]) -> Figures:
    added = {
        field.name: sum(getattr(p, field.name) for p in periods)
        for field in dataclasses.fields(Figures)
        if field.name not in {"label", "audit", "not_seen_by_reason"}
    }
    by_reason = [p.not_seen_by_reason for p in periods]
    known = [reasons for reasons in by_reason if reasons is not None]
    audits = [p.audit for p in periods]
    return Figures(
        label="total",
        not_seen_by_reason=(
            {name: sum(r[name] for r in known) for name in known[0]} if len(known) == len(by_reason) else None
        ),
        # One pooled sample: periods are audited at one rate, so each pruned tile had the same chance to be drawn.
        audit=audit_bound(sum(a.pruned for a in audits), sum(a.audited for a in audits), sum(a.missed for a in audits)),
        **added,
    )


def _level(columns: _Columns, level: int, resolution: float) -> dict[str, Any]:
    counts = np.bincount(columns[level, "state"].ravel().astype(np.int64), minlength=len(TileState))
    return {
        "level": level,
        "resolution": resolution,
        "tiles": {s.name.lower(): int(counts[s]) for s in TileState},
    }


def _reason_counts(plan: ScanPlan, folder: RunDir, state: NDArray[Any]) -> list[dict[str, int]] | None:
    """Pixels by reason of not being seen, per period, over tiles with a result."""
    ny, nx = plan.grid.shape
    decided = np.isin(state, _DECIDED)
    if ny * nx * len(plan.periods) > REASONS_UP_TO_PX:
        return None
    found = np.zeros((len(plan.periods), 256), np.int64)
    if decided.any():
        path = folder.path(MOSAIC_FILE)
        array = Mosaic.open(path).array(0, "reason")
        with storing(path, "read why ground was not seen"):
            for time, y, x in np.argwhere(decided):
                rows, cols = plan.grid.window(TileKey(0, int(y), int(x)))
                found[time] += np.bincount(np.asarray(array[int(time), rows, cols]).ravel(), minlength=256)
    return [{reason.name.lower(): int(row[reason]) for reason in NOT_SEEN} for row in found]


def _scenes_lost(folder: RunDir) -> int:
    if not folder.exists(LOSSES_FILE):
        return 0
    return len({json.loads(line)["scene_id"] for line in folder.read_text(LOSSES_FILE).splitlines()})
