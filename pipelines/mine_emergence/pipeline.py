"""Cross-validate the classifier of mine emergence by blocks of two degrees."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from minescale.labels.auditing.splitting import kfold
from minescale.labels.formats.registry import open_dataset
from minescale.labels.sets.dataset import Dataset
from minescale.training.config import load_config
from minescale.training.crossval import cross_validate
from minescale.training.progress import shown

APART_M = 1000.0


def away(dataset: Dataset, taught: Dataset) -> Dataset:
    """Samples that lie further than 1 km from every place of another set; distances on a sphere (haversine)."""
    here, there = (np.radians(part.samples[["lat", "lon"]].to_numpy(float)) for part in (dataset, taught))
    there = there[np.isfinite(there).all(axis=1)]
    half = np.sin((here[:, None] - there[None]) / 2) ** 2
    chord = half[..., 0] + np.cos(here[:, None, 0]) * np.cos(there[None, :, 0]) * half[..., 1]
    nearest = 2 * 6_371_000 * np.arcsin(np.sqrt(chord)).min(axis=1)
    return dataset.subset(np.flatnonzero(nearest > APART_M))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the published pairs: their folder or .npz file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.yaml"))
    parser.add_argument(
        "--away-from", help="the chips that amw-patch-rgb was taught: leaves out pairs within 1 km of one"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    dataset, config = open_dataset(args.data), load_config(args.config)
    if args.away_from:
        dataset = away(dataset, open_dataset(args.away_from))
    splits = kfold(dataset, "block", args.folds, test=True)
    configs = [config.replace({"seed": seed}) for seed in args.seeds]
    # The audit fails, and says why: one pair of periods holds nothing but emergence. So every score carries its caveat,
    # and figures are given once more within the pair of periods that holds both.
    with shown("plain") as tell:
        found = cross_validate(dataset, splits, configs, args.out, within=["source"], force=True, tell=tell)
    sys.stdout.write(json.dumps({part: found.figures[part] for part in ("pooled", "mean", "within")}, indent=1) + "\n")


if __name__ == "__main__":
    main()
