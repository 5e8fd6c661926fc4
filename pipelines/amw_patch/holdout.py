"""The geographic hold-out of the Amazon Mining Watch chips: mines of the Guianas, and negatives of sets kept whole.

Only positives say where they lie. Test: every positive north of 0.5° N and east of 62° W (Guyana, Suriname, French
Guiana, Amapá), and the negative sets in HARD, most of which models before theirs took for mines. Positives that do not
say where they lie may be of the Guianas too and are in no part. Of the rest, sites (for chips without a place: sets)
are dealt out to train and val.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from minescale.labels.auditing.splitting import split_by
from minescale.labels.formats.registry import open_dataset
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split

NORTH_OF, EAST_OF = 0.5, -62.0
HARD = (
    "v2.4_amazon_negatives",
    "v2.6_amazon_thresh_0.8_negatives",
    "v3.1_2023_negatives",
    "v3.5_2023_negatives",
    "ACAexpanded_amazon_negatives2025-08",
    "v0.xx-SSL4EO-2023combined-negatives",
)
VAL = 0.15


def hold_out(dataset: Dataset, seed: int = 11, *, unplaced: bool = False) -> Split:
    """Train, val and test as described above; sites that straddle the border go to none either.

    With ``unplaced``, positives without a place are in train or val all the same.
    """
    table = dataset.samples
    away = (table["lat"] > NORTH_OF) & (table["lon"] > EAST_OF)
    test = (away & (table["label"] == 1)) | (table["set"].isin(HARD) & (table["label"] == 0))
    mixed = set(table.loc[test, "site"]) & set(table.loc[~test, "site"])
    lost = (table["label"] == 1) & table["lat"].isna() & (not unplaced)
    rows = np.flatnonzero((~test & ~lost & ~table["site"].isin(mixed)).to_numpy())
    rest = split_by(dataset.subset(rows), "site", (1 - VAL, VAL, 0.0), seed=seed)
    parts = {**rest.parts, **dict.fromkeys(table.loc[test & ~table["site"].isin(mixed), "id"], "test")}
    settings = {"north_of": NORTH_OF, "east_of": EAST_OF, "negative_sets": list(HARD), "val": VAL, "seed": seed}
    return Split(parts=parts, rule="geographic hold-out", settings=settings)


if __name__ == "__main__":
    data, out = sys.argv[1:]
    Path(out).write_text(hold_out(open_dataset(data)).to_json() + "\n")
