"""A plan in words and numbers before anything is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from minescale.models.package import load_package
from minescale.planning.cost import Cost, Prices, price_plan
from minescale.planning.make import most_layers, plan_memory
from minescale.planning.memory import MemoryProjection
from minescale.planning.plan import ScanPlan
from minescale.planning.pyramid import expected_survivors
from minescale.planning.rates import SOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a plan will read, need and cost."""

    plan: ScanPlan
    cost: Cost
    memory: MemoryProjection
    survivors: float
    """Share of fine tiles expected to run; 1 in a flat scan."""
    layers: int
    """Most acquisition days over one tile in one period."""

    def to_dict(self) -> dict[str, Any]:
        grid = self.plan.grid
        return {
            "run_id": self.plan.run_id,
            "sensor": self.plan.sensor,
            "scenes": len(self.plan.scenes),
            "excluded": len(self.plan.excluded),
            "periods": [str(p) for p in self.plan.periods],
            "crs": grid.crs,
            "shape": list(grid.shape),
            "tile_size": grid.tile_size,
            "pyramid": self.plan.is_pyramid,
            "pyramid_reason": self.plan.pyramid_reason,
            "expected_survivors": self.survivors,
            "layers_per_tile": self.layers,
            "levels": [asdict(level) for level in self.cost.levels],
            "bytes": self.cost.bytes,
            "requests": self.cost.requests,
            "seconds": self.cost.seconds,
            "workers": self.cost.workers,
            "money": self.cost.money,
            "memory_per_worker": self.memory.total,
        }

    def text(self) -> str:
        """A table for people."""
        plan, grid = self.plan, self.plan.grid
        crs = grid.crs if len(grid.crs) < 20 else "equal-area, centred"
        lines = [
            f"run {plan.run_id}: {len(plan.scenes)} scenes of {plan.sensor}, {len(plan.excluded)} found and not used",
            f"mosaic {grid.shape[0]} x {grid.shape[1]} px of {grid.resolution:g} in {crs}",
            f"{len(plan.periods)} period(s), up to {self.layers} days per tile",
            f"pyramid: {'yes' if plan.is_pyramid else 'no'} ({plan.pyramid_reason})",
            f"{'level':>6} {'pixel':>8} {'tiles':>9} {'requests':>10} {'GB read':>9} {'core-s':>9}",
        ]
        lines += [
            f"{c.level:>6} {c.resolution:>8g} {c.tiles:>9,.0f} {c.requests:>10,.0f} {c.bytes / 1e9:>9.3f}"
            f" {c.seconds:>9,.0f}"
            for c in reversed(self.cost.levels)
        ]
        lines.append(
            f"about {self.cost.seconds:,.0f} s on {self.cost.workers} worker(s),"
            f" up to {self.memory.total / 1e6:,.0f} MB each"
            + (f", cost {self.cost.money:,.2f}" if self.cost.money else "")
        )
        hours = sum(level.seconds for level in self.cost.levels) / 3600
        lines.append(f"{hours:,.2g} core-hours by rates that hold for the machine that measured them ({SOURCE})")
        return "\n".join(lines)


def explain_plan(plan: ScanPlan, *, workers: int) -> Explanation:
    """Explain by the selection code of the run itself. Opens the headers of a few scenes."""
    package = load_package(plan.request.model)
    survivors = 1.0
    if plan.is_pyramid:
        survivors = expected_survivors(
            plan.config.pyramid,
            plan.keep_threshold,
            package.screen.spec.expected_survivors if package.screen else None,
        )
    return Explanation(
        plan=plan,
        cost=price_plan(plan, Prices.sample(plan), survivors=survivors, workers=workers),
        memory=plan_memory(plan, package),
        survivors=survivors,
        layers=most_layers(plan, 0),
    )
