"""The geographic hold-out of the Amazon Mining Watch chips: mines of the Guianas, and negatives of sets kept whole.

Only positives say where they lie. Test: every positive of the Guianas (Guyana, Suriname, French Guiana, Amapá), and
the negative sets in HARD, most of which models before theirs took for mines. Positives that do not say where they lie
may be of the Guianas too and are in no part. Val, which sets threshold and calibration: a tenth of the other places,
and the negative sets in WATCHED. All else trains: look-alikes that a model never saw are what it errs on. Any other
region can take the place of the Guianas, with the same negatives.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.labels.auditing.splitting import split_by
from minescale.labels.formats.registry import open_dataset
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split

HARD = (
    "v2.4_amazon_negatives",
    "v2.6_amazon_thresh_0.8_negatives",
    "v3.1_2023_negatives",
    "v3.5_2023_negatives",
    "ACAexpanded_amazon_negatives2025-08",
    "v0.xx-SSL4EO-2023combined-negatives",
)
WATCHED = ("amazonas_2020_thresh_0.5_2_negatives", "v3.2_2023_negatives")
VAL = 0.1
REGIONS = ("guianas", "andes", "south-west", "west", "east")
"""North of 0.5° N and east of 62° W; west of 75° W; of the rest, south of 10° S and west of 60° W; west of 60° W; all
others."""


def region(table: pd.DataFrame) -> NDArray[np.intp]:
    """(n,) number of the region of each sample, -1 where its place is not known."""
    lat, lon = (table[column].to_numpy(float) for column in ("lat", "lon"))
    rules = [np.isnan(lat), (lat > 0.5) & (lon > -62), lon < -75, (lat < -10) & (lon < -60), lon < -60]
    return np.asarray(np.select(rules, [-1, 0, 1, 2, 3], 4))


def hold_out(dataset: Dataset, seed: int = 11, *, where: str = REGIONS[0], unplaced: bool = False) -> Split:
    """Train, val and test as described above, with the positives of another region where that is asked for.

    Sites that straddle the border of the region go to none. With ``unplaced``, positives without a place are in train
    or val all the same.
    """
    table = dataset.samples
    found, positive = region(table), (table["label"] == 1).to_numpy()
    test = np.where(positive, found == REGIONS.index(where), table["set"].isin(HARD))
    mixed = set(table.loc[test, "site"]) & set(table.loc[~test, "site"])
    kept = ~table["site"].isin(mixed).to_numpy() & (~positive | (found >= 0) | unplaced)
    others = dataset.subset(np.flatnonzero(kept & ~test & positive))
    parts = split_by(others, "site", (1 - VAL, VAL, 0.0), seed=seed).parts
    parts |= dict.fromkeys(table.loc[kept & ~test & ~positive, "id"], "train")
    parts |= dict.fromkeys(table.loc[kept & ~positive & table["set"].isin(WATCHED), "id"], "val")
    parts |= dict.fromkeys(table.loc[kept & test, "id"], "test")
    settings = {"region": where, "test_sets": list(HARD), "val_sets": list(WATCHED), "val": VAL, "seed": seed}
    return Split(parts=parts, rule="geographic hold-out", settings=settings)


if __name__ == "__main__":
    data, out = sys.argv[1:]
    Path(out).write_text(hold_out(open_dataset(data)).to_json() + "\n")
