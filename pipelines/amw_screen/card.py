"""What the card of the screen says of its threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minescale.evaluation.screening import ScreenThreshold
from minescale.models.spec import ModelSpec


def section(spec: ModelSpec, promise: ScreenThreshold, screening: Mapping[str, Any]) -> str:
    """What the threshold keeps on the geographic hold-out, in a table, and what that means for a scan."""
    rows = "\n".join(
        f"| {name} | {found['chips']:,} | {found['prevalence']:.1%} | {found['recall']:.3f} |"
        f" {found['recall_of_random_chips']:.3f} | {found['kept_without_mines']:.3f} |"
        f" {found['tiles_kept_without_mines']:.3f} |"
        for name, found in screening["test"].items()
    )
    worst = max(found["tiles_kept_without_mines"] for found in screening["test"].values())
    candidates = ", ".join(f"{name} {auc:.3f}" for name, auc in screening["val_auc"].items())
    verdict = (
        "**It prunes next to nothing.** A scan that runs it reads the coarse level for no gain, and a plan that weighs "
        "both chooses the flat scan. It is here to show what single pixels of three visible bands can do as a screen, "
        "and no package uses it unless somebody joins the two."
        if worst > PRUNES_BELOW
        else "It prunes tiles where the ground is as in these chips."
    )
    lowest = min(found["recall"] for found in screening["test"].values())
    if lowest < promise.recall:
        verdict += (
            f"\n\n**The recall does not carry over to the test chips**: there it is {lowest:.3f}, and not the"
            f" {promise.recall:g} that was set on other sites. Calibrate on ground like that of the scan."
        )
    return f"""## What it keeps and prunes

{verdict}

Test: mines of the Guianas, and sets of negatives kept whole, most of which earlier models took for mines (hard: other
ground would be pruned more often). Chips of 480 m, a tile is 5.12 km wide and survives where any
of its {(5120 / 480) ** 2:.0f} pieces would; the last column takes them as independent, the most that they can be.

| test chips | n | with a mine | recall of those | of random ones | kept without a mine | tiles kept without |
|---|---|---|---|---|---|---|
{rows}

The keep-threshold, {spec.keep_threshold:.3f}, was set for a recall of {promise.recall:g} of chips with a mine, on
{promise.sites_with_mines} sites with mines that no part of the model has seen: there {promise.recall_here:.3f} of their
area is kept, and {promise.kept_without_mines or 0:.3f} of chips without a mine. Candidates and their AUC on val:
{candidates}.
"""


PRUNES_BELOW = 0.9
"""Share of tiles without a mine above which a coarse level does not pay."""
