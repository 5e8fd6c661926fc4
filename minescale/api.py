"""Plan, explain, run: the three verbs over one :class:`~minescale.planning.plan.ScanPlan`.

``scan`` is the three together, and continues where an earlier call with the same arguments stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minescale.config import Config
from minescale.engine.cluster import memory_limit_bytes, worker_count
from minescale.engine.context import level_packages
from minescale.engine.events import Listener, Notice
from minescale.engine.run import Limits, RunReport, run_plan
from minescale.errors import UsageError
from minescale.outputs.finish import finish_scan
from minescale.outputs.summary import Summary, summarise
from minescale.planning.explain import Explanation, explain_plan
from minescale.planning.make import make_plan
from minescale.planning.plan import ScanPlan, ScanRequest, refuse_other_run
from minescale.planning.run_dir import RunDir
from minescale.types import BBox, Period, PeriodRule

DEMO = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """A finished, or cleanly stopped, scan."""

    plan: ScanPlan
    report: RunReport
    summary: Summary


def request(
    *,
    catalog: str = DEMO,
    bbox: BBox | Sequence[float] | None = None,
    datetime: str | Period | None = None,
    period: PeriodRule = "all",
    collections: Sequence[str] = (),
    query: Sequence[str] = (),
    model: str | Path = "baseline",
) -> ScanRequest:
    """A checked request. The demo catalogue knows its own area and period; elsewhere both are needed."""
    if catalog == DEMO:
        from minescale.synthetic import ensure_region

        region = ensure_region()
        bbox = bbox if bbox is not None else region.bbox
        datetime = datetime if datetime is not None else region.period
    if bbox is None or datetime is None:
        raise UsageError(
            "an area and a period are needed",
            got=f"bbox {bbox}, datetime {datetime}",
            expected="--bbox W S E N --datetime A/B",
        )
    return ScanRequest(
        catalog=catalog,
        bbox=BBox.of(bbox),
        period=Period.parse(datetime),
        period_rule=period,
        collections=tuple(collections),
        query=tuple(query),
        model=str(model),
    )


def plan(wanted: ScanRequest, config: Config | None = None) -> ScanPlan:
    """Search once, resolve, and lay out the work. Reads headers at most, no pixels.

    Raises
    ------
    NothingMatched, RemoteUnreachable, UsageError, PlanTooLarge
    """
    config = config or Config()
    return make_plan(
        wanted, config, catalog=_catalog_href(wanted.catalog), memory_limit=memory_limit_bytes(config.engine)
    )


def explain(planned: ScanPlan) -> Explanation:
    """What the plan will read, write, need and cost, by the selection the run itself uses."""
    return explain_plan(planned, workers=worker_count(planned.config.engine))


def run(
    planned: ScanPlan, out: str | Path, *, limits: Limits | None = None, listeners: Sequence[Listener] = ()
) -> ScanResult:
    """Run a plan into ``out``; safe to repeat.

    Raises
    ------
    OutputMismatch
        where ``out`` belongs to another run.
    StoreError
        where ``out`` cannot be written; what was finished is kept.
    """
    folder = RunDir(str(out))
    if folder.has_plan():
        kept = folder.load_plan()
        refuse_other_run(kept, planned.request, planned.config, folder.root)
        planned = kept.with_runtime(planned.config)
    else:
        folder.save_plan(planned)
    return _execute(planned, folder, limits, listeners)


def scan(
    wanted: ScanRequest,
    out: str | Path,
    config: Config | None = None,
    *,
    limits: Limits | None = None,
    listeners: Sequence[Listener] = (),
) -> ScanResult:
    """Plan and run, or continue the run that ``out`` holds without searching again."""
    config = config or Config()
    folder = RunDir(str(out))
    if folder.has_plan():
        planned = folder.load_plan()
        refuse_other_run(planned, wanted, config, folder.root)
        planned = planned.with_runtime(config)
        level_packages(planned)
    else:
        planned = plan(wanted, config)
        folder.save_plan(planned)
    for scene_id, cause in planned.excluded[:20]:
        for listener in listeners:
            listener(Notice(message=f"scene {scene_id} is not used: {cause}"))
    return _execute(planned, folder, limits, listeners)


def status(out: str | Path) -> tuple[ScanPlan, Summary]:
    """The plan in a scan's directory and where it stands.

    Raises
    ------
    OutputMismatch
        where the directory holds no scan.
    """
    folder = RunDir(str(out))
    planned = folder.load_plan()
    return planned, summarise(planned, folder)


def _execute(planned: ScanPlan, folder: RunDir, limits: Limits | None, listeners: Sequence[Listener]) -> ScanResult:
    report = run_plan(planned, folder, limits=limits, listeners=listeners)
    summary = summarise(planned, folder)
    if not report.stopped:
        finish_scan(planned, folder, summary)
    return ScanResult(plan=planned, report=report, summary=summary)


def _catalog_href(catalog: str) -> str:
    if catalog != DEMO:
        return catalog
    from minescale.synthetic import ensure_region

    return str(ensure_region().catalog)
