"""How well a scan of a synthetic region finds its mines: proof that the machinery works, no evidence of skill."""

from __future__ import annotations

import ast
import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.cube.compose import compose
from minescale.grid import MosaicGrid
from minescale.kernels.expressions import evaluate, parse
from minescale.kernels.indices import INDICES, expression_of
from minescale.models.package import load_package
from minescale.outputs.evaluation import SYNTHETIC_LABEL, MapScore, PixelScore, score_map
from minescale.outputs.index_baseline import IndexBaseline, IndexChoice, IndexTally
from minescale.planning.plan import MOSAIC_FILE, ScanPlan
from minescale.planning.run_dir import RunDir
from minescale.sensors import SENSORS
from minescale.sources.access import Access
from minescale.sources.reader import Reader
from minescale.store.backend import storing
from minescale.store.mosaic import Mosaic
from minescale.synthetic.region import Region
from minescale.types import Period

BEST_INDEX = "best_single_index"
"""Key of the packages' metrics under which the index baseline chosen on training regions stands."""

FITTED_EVERY = 4
"""Where the index has to be fitted, on every so many tiles."""

_NO_TRUTH = 255
_BOUNDED = tuple(name for name in INDICES if name != "MSI")
"""Normalised differences; MSI is a plain ratio, and orders pixels as NDMI does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoScore:
    """A scan of a synthetic region against what is really there."""

    mined_by: dt.date
    """The truth is ground mined by this day, the middle of the period; the median composite shows it mined."""
    left_out_ha: float
    """Ground mined later in the period: half mine, half not, and compared with neither."""
    map: MapScore
    index: IndexBaseline

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.map.label,
            "mined_by": self.mined_by.isoformat(),
            "left_out_ha": self.left_out_ha,
            "map": self.map.to_dict(),
            "best_single_index": self.index.to_dict(),
        }


def score_demo(plan: ScanPlan, folder: RunDir, region: Region) -> DemoScore:
    """Score the last period of a scan of ``region``; composites the area once more for the index baseline.

    Raises
    ------
    StoreError
        where the mosaic cannot be read.
    """
    truth, valid, middle, late = region_truth(region, plan.grid, plan.periods[-1])
    path = folder.path(MOSAIC_FILE)
    with storing(path, "read the mosaic"):
        probability = np.asarray(Mosaic.open(path).array(0, "probability")[len(plan.periods) - 1])
    pixel_ha = plan.grid.pixel_area_ha()
    return DemoScore(
        mined_by=middle,
        left_out_ha=int(late.sum()) * pixel_ha,
        map=score_map(probability, truth, plan.threshold, valid, pixel_ha=pixel_ha, label=SYNTHETIC_LABEL),
        index=index_baseline(plan, truth, valid),
    )


def region_truth(
    region: Region, grid: MosaicGrid, period: Period
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], dt.date, NDArray[np.bool_]]:
    """(mined by the middle of the period, comparable, that day, mined later in the period), (y, x) on ``grid``."""
    import rasterio
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    first = np.full(grid.shape, _NO_TRUTH, np.uint8)
    with rasterio.open(region.truth_raster) as source:
        reproject(
            rasterio.band(source, 1),
            first,
            dst_transform=Affine(*tuple(grid.geobox.transform)[:6]),
            dst_crs=grid.crs,
            dst_nodata=_NO_TRUTH,
            resampling=Resampling.nearest,
            init_dest_nodata=True,
        )
    days = [day for day in region.dates if period.start.date() <= day <= period.end.date()]
    middle = days[(len(days) - 1) // 2]
    by_middle = sum(day <= middle for day in region.dates)
    by_end = sum(day <= days[-1] for day in region.dates)
    known = first != _NO_TRUTH
    mined = known & (first > 0) & (first <= by_middle)
    late = known & (first > by_middle) & (first <= by_end)
    return mined, known & ~late, middle, late


def index_baseline(plan: ScanPlan, truth: NDArray[np.bool_], valid: NDArray[np.bool_]) -> IndexBaseline:
    """The best single index on the scan's own composites: as the package knows it, else fitted on part of the truth."""
    choice = packaged_choice(plan.request.model)
    bands, formulas = _formulas(plan, choice)
    if not formulas:  # an index of bands that this plan does not read
        choice = None
        bands, formulas = _formulas(plan, None)
    tally = IndexTally()
    reader = Reader(Access.capture(plan.config.read), plan.config.read)
    index, time = plan.index(0), len(plan.periods) - 1
    sensor = SENSORS[plan.sensor]
    symbols = [sensor.band(band).symbol for band in bands]
    # Fitting needs all bands of every look, as the scan itself did: a fourth of the tiles is enough for that.
    every = FITTED_EVERY if choice is None else 1
    for key in list(index.keys())[::every]:
        scenes = [plan.scenes[i] for i in index.scenes(key, plan.periods[time])]
        made = compose(
            scenes,
            plan.grid.tile_geobox(key),
            bands,
            sensor=sensor,
            reader=reader,
            mask=plan.config.mask,
            composite=plan.config.composite,
        )
        where = plan.grid.window(key)
        use = (made.data != 0).all(axis=0) & valid[where]
        pixels = dict(zip(symbols, made.data[:, use].astype(np.float32) / np.float32(1e4), strict=True))
        for name, expression in formulas.items():
            tally.add(name, np.asarray(evaluate(expression, pixels), np.float32), truth[where][use])
    return tally.best() if choice is None else tally.known(choice)


def packaged_choice(model: str) -> IndexChoice | None:
    """``best_single_index`` of the package's metrics, where it has one."""
    for file in sorted((load_package(model).path / "metrics").glob("*.json")):
        values = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(values, dict) and isinstance(values.get(BEST_INDEX), dict):
            return IndexChoice.from_metrics(values[BEST_INDEX])
    return None


def _formulas(plan: ScanPlan, choice: IndexChoice | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Bands to read, and the formula of each index they allow."""
    sensor = SENSORS[plan.sensor]
    by_symbol = {s: band for band in plan.levels[0].physical_bands if (s := sensor.band(band).symbol)}
    chosen, needed = {}, set()
    for name in _BOUNDED if choice is None else (choice.index,):
        expression = expression_of(name)
        symbols = {node.id for node in ast.walk(parse(expression)) if isinstance(node, ast.Name)}
        if symbols <= set(by_symbol):
            chosen[name] = expression
            needed |= symbols
    return tuple(by_symbol[symbol] for symbol in sorted(needed)), chosen


def demo_text(score: DemoScore) -> str:
    """The scores as a table, trivial maps beside them."""
    found = score.map
    rows: list[tuple[str, PixelScore]] = [("this scan", found.model)]
    index = score.index
    rows.append((f"{index.index} {index.direction} {index.threshold:g}", index.score))
    rows += [(name.replace("_", " "), value) for name, value in found.baselines.items()]
    width = max(len(name) for name, _ in rows)
    lines = [
        f"against the truth of the region ({found.label})",
        f"{'':<{width}}  precision  recall     F1    IoU    MCC",
    ]
    lines += [
        f"{name:<{width}}  {s.precision:>9.3f}  {s.recall:>6.3f}  {s.f1:>5.3f}  {s.iou:>5.3f}  {s.mcc:>5.3f}"
        for name, s in rows
    ]
    lines.append(
        f"AUPRC {found.auprc:.3f} (chance {found.prevalence:.4f}); mines of 0.5 ha or more found: "
        f"{found.objects_found} of {found.objects} ({found.object_recall:.0%})"
    )
    lines.append(
        f"truth: ground mined by {score.mined_by}; {score.left_out_ha:,.1f} ha mined later in the period are left out; "
        f"single index chosen on {index.fitted_on}"
    )
    if found.no_skill:
        lines.append("NO SKILL: this map is not better than the trivial ones")
    return "\n".join(lines)
