"""The plan of a scan: a frozen value that says everything the run needs; its digest is the run's id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from minescale._version import __version__
from minescale.config import Config
from minescale.errors import OutputMismatch
from minescale.grid import MosaicGrid, project_bbox
from minescale.planning.tiles import TileIndex
from minescale.sources.scenes import Scene
from minescale.types import BBox, Period, PeriodRule, physical_bands

PLAN_FILE, SCENES_FILE, MOSAIC_FILE, LOSSES_FILE = "plan.json", "scenes.parquet", "mosaic.zarr", "losses.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """What the user asked for."""

    catalog: str
    bbox: BBox
    period: Period
    period_rule: PeriodRule = "all"
    collections: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    model: str = "baseline"
    """Name of a built-in package or path of one."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "catalog": self.catalog,
            "bbox": list(self.bbox.as_tuple()),
            "datetime": self.period.isoformat(),
            "period": self.period_rule,
            "collections": list(self.collections),
            "query": list(self.query),
            "model": self.model,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScanRequest:
        return cls(
            catalog=values["catalog"],
            bbox=BBox.of(values["bbox"]),
            period=Period.parse(values["datetime"]),
            period_rule=values["period"],
            collections=tuple(values["collections"]),
            query=tuple(values["query"]),
            model=values["model"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSpec:
    """One level of the pyramid: its model input and how it is run."""

    level: int
    resolution: float
    family: str
    """Model family, such as ``pixel`` or ``unet``."""
    bands: tuple[str, ...]
    """Channels of the model, such as ``nir`` and ``nir:p90``; see :class:`minescale.types.Channel`."""
    halo: int
    """Pixels read beyond each edge of a tile for the model."""
    model_digest: str
    work: float = 1.0
    """What the model costs for a pixel of a tile, see :func:`minescale.models.windows.work_of_tile`."""

    @property
    def physical_bands(self) -> tuple[str, ...]:
        """Bands that are read, each once however many channels it has."""
        return physical_bands(self.bands)


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """Everything a run needs, and nothing about how it is executed."""

    request: ScanRequest
    config: Config
    sensor: str
    grid: MosaicGrid
    periods: tuple[Period, ...]
    levels: tuple[LevelSpec, ...]
    """Finest first. One level = a flat scan."""
    threshold: float
    """Probability from which a pixel counts as mine in tables."""
    keep_threshold: float
    """Coarse score from which a tile is refined; unused in a flat scan."""
    pyramid_reason: str
    """Why the plan uses a pyramid, or not."""
    scenes_digest: str
    scenes: tuple[Scene, ...] = field(repr=False, compare=False)
    excluded: tuple[tuple[str, str], ...] = ()
    """(scene id, cause) of scenes found and not used."""

    @property
    def is_pyramid(self) -> bool:
        return len(self.levels) > 1

    @cached_property
    def run_id(self) -> str:
        """Digest of scenes, settings that decide the pixels, and models: same id, same bytes on CPU."""
        return hashlib.sha256(_canonical(self._identity())).hexdigest()[:16]

    def _identity(self) -> dict[str, Any]:
        return {
            "minescale": __version__,
            "bbox": list(self.request.bbox.as_tuple()),
            "periods": [p.isoformat() for p in self.periods],
            "config": self.config.identity(),
            "sensor": self.sensor,
            "grid": self.grid.to_dict(),
            # What a model costs decides no pixel.
            "levels": [{k: v for k, v in asdict(level).items() if k != "work"} for level in self.levels],
            "threshold": self.threshold,
            "keep_threshold": self.keep_threshold,
            "scenes": self.scenes_digest,
        }

    def with_runtime(self, config: Config) -> ScanPlan:
        """The same plan executed with other runtime settings (workers, read threads, prices)."""
        runtime = {f.name: getattr(config, f.name) for f in fields(Config) if f.name not in Config.IDENTITY}
        return self._of_same_tiles(config=replace(self.config, **runtime))

    def because(self, reason: str) -> ScanPlan:
        """The same plan with another reason for its levels."""
        return self._of_same_tiles(pyramid_reason=reason)

    def index(self, level: int) -> TileIndex:
        """Tiles of a level and their scenes: the selection that both :func:`explain` and the run use.

        Made at the first call and kept: a country's takes seconds.
        """
        if level not in self._indexes:
            area = project_bbox(self.request.bbox, self.grid.crs)
            self._indexes[level] = TileIndex(self.grid, level, self.scenes, area, self.levels[level].halo)
        return self._indexes[level]

    @cached_property
    def _indexes(self) -> dict[int, TileIndex]:
        return {}

    def _of_same_tiles(self, **changes: Any) -> ScanPlan:
        """A copy that differs in nothing that an index depends on, and so keeps those that were made."""
        plan = replace(self, **changes)
        plan._indexes.update(self._indexes)
        return plan

    def to_json(self) -> str:
        values = {
            "run_id": self.run_id,
            "request": self.request.to_dict(),
            "config": asdict(self.config),
            "excluded": [list(row) for row in self.excluded],
            "pyramid_reason": self.pyramid_reason,
            "n_scenes": len(self.scenes),
            **{k: v for k, v in self._identity().items() if k not in {"config", "bbox"}},
            "levels": [asdict(level) for level in self.levels],
        }
        return json.dumps(values, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, scenes: tuple[Scene, ...]) -> ScanPlan:
        values = json.loads(text)
        return cls(
            request=ScanRequest.from_dict(values["request"]),
            config=Config().replace(values["config"]),
            sensor=values["sensor"],
            grid=MosaicGrid.from_dict(values["grid"]),
            periods=tuple(Period.parse(p) for p in values["periods"]),
            levels=tuple(LevelSpec(**{**level, "bands": tuple(level["bands"])}) for level in values["levels"]),
            threshold=values["threshold"],
            keep_threshold=values["keep_threshold"],
            pyramid_reason=values["pyramid_reason"],
            scenes_digest=values["scenes"],
            scenes=scenes,
            excluded=tuple((row[0], row[1]) for row in values["excluded"]),
        )


def request_difference(plan: ScanPlan, request: ScanRequest, config: Config) -> list[str]:
    """Human-readable differences between what a plan was made for and what is asked now; empty if none."""
    mine = {**_flat(plan.request.to_dict()), **_flat(plan.config.identity())}
    asked = {**_flat(request.to_dict()), **_flat(config.identity())}
    return [f"{key}: {mine.get(key)!r} -> {asked.get(key)!r}" for key in sorted(mine) if mine[key] != asked.get(key)]


def refuse_other_run(plan: ScanPlan, request: ScanRequest, config: Config, out: str) -> None:
    """Raise :class:`OutputMismatch` unless ``out``'s plan was made for this very request."""
    differences = request_difference(plan, request, config)
    if differences:
        raise OutputMismatch(
            f"output directory {out} belongs to another run",
            got="; ".join(differences[:5]),
            expected=f"the same request as run {plan.run_id}",
            fix="another --out, or the same options as before",
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
