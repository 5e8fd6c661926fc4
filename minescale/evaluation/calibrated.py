"""A calibrated keep-threshold put into a package, with what it promises, what it keeps and what that costs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minescale.errors import ModelError, UsageError
from minescale.evaluation.screening import ScreenThreshold
from minescale.labels.sets.new_folder import new_folder
from minescale.models.package import CARD, SCREEN, ModelPackage, load_package, write_package
from minescale.planning.cost import Prices, price_plan
from minescale.planning.plan import ScanPlan

_HEADING = "## Calibration as a screen"


def screen_of(package: ModelPackage, *, screen: bool) -> ModelPackage:
    """The package whose threshold is meant: itself, or its screen.

    Raises
    ------
    ModelError
        where it has no screen.
    UsageError
        where it has one, and its own threshold is meant, which no scan would read.
    """
    if not screen:
        if package.screen is not None:
            raise UsageError(
                f"package {package.spec.name} has a screen, and a scan reads the threshold of that alone",
                fix="--screen",
            )
        return package
    if package.screen is None:
        raise ModelError(
            f"package {package.spec.name} has no screen", expected=f"a folder {SCREEN}/", fix="without --screen"
        )
    return package.screen


def write_calibrated(
    package: ModelPackage, out: str | Path, found: ScreenThreshold, facts: Mapping[str, Any], *, screen: bool
) -> ModelPackage:
    """A copy of the package with the threshold in it; ``out`` appears whole or not at all.

    The threshold and the expected survivors go into ``model.json``, everything else into ``metrics/calibration.json``
    and the model card. The digest changes with them.

    Parameters
    ----------
    facts : what it was calibrated on, and with what cost; JSON values.
    screen : the package's screen is calibrated, not the package itself.

    Raises
    ------
    UsageError
        where ``out`` exists.
    """
    chosen = screen_of(package, screen=screen)
    spec = chosen.spec.replace(keep_threshold=found.threshold, expected_survivors=round(found.expected_survivors, 4))
    with new_folder(out) as partial:
        shutil.copytree(package.path, partial, dirs_exist_ok=True)
        folder = partial / SCREEN if screen else partial
        card = (folder / CARD).read_text(encoding="utf-8").partition(_HEADING)[0].rstrip()
        metrics = {"calibration": {**found.to_dict(), **facts}}
        write_package(folder, spec, chosen.weights() or None, f"{card}\n\n{_section(found, facts)}", metrics)
    return load_package(out)


def price(plan: ScanPlan, survivors: float) -> dict[str, float]:
    """Bytes and time of a planned pyramid scan with that share of survivors, as shares of the same scan without it.

    Raises
    ------
    UsageError
        where the plan has no coarse level.
    """
    if not plan.is_pyramid:
        raise UsageError(
            "the planned scan has no coarse level", got=plan.pyramid_reason, fix="plan it with --pyramid on"
        )
    prices = Prices.sample(plan)
    behind, alone = price_plan(plan, prices, survivors=survivors), price_plan(plan, prices, survivors=1.0).levels[0]
    return {
        "bytes_share": behind.bytes / max(alone.bytes, 1.0),
        "seconds_share": behind.seconds * behind.workers / max(alone.seconds, 1e-9),
        "tiles": float(len(plan.index(0)) * len(plan.periods)),
    }


def _section(found: ScreenThreshold, facts: Mapping[str, Any]) -> str:
    how = (
        "on average over sites"
        if found.confidence is None
        else f"in {found.confidence:.0%} of resamples of half the sites, and on average with the conformal bound"
    )
    return f"""{_HEADING}

A tile is refined where any of its pixels reaches {found.threshold:.3f}. Chosen for a recall of {found.recall:g} of mine
area, {how}, on {found.tiles} tiles of {found.sites} sites
({found.sites_with_mines} with mines) of {facts.get("data", "a set that was not named")}; {found.kept:.1%} of those
tiles are kept, with {found.recall_here:.4f} of their mine area. As many random tiles would hold {found.kept:.1%} of it.
{_survivors(found)}
The promise holds for sites like those, and the threshold has to be set on sites that no part of the model has seen.
"""


def _survivors(found: ScreenThreshold) -> str:
    """What survives in a scan, and on what evidence, in sentences."""
    said = f"In a scan {found.expected_survivors:.1%} of tiles are expected to survive"
    if found.survivors_from == "pieces":
        said += ", if the pieces of a tile, of which the set shows one at a time, are independent of one another"
    if found.whole_labels:
        said += ". Labels are of whole samples: one with a mine counts as mined all over, and the recall is of samples"
    return f"{said}."
