"""Cross-validate the segmenter of tailings ponds by groups of ponds.

Judged is the mean of all networks over mirrored views, with --nearby weighed with the highest nearby.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from minescale.errors import ModelError
from minescale.labels.auditing.splitting import kfold
from minescale.labels.formats.registry import open_dataset
from minescale.models.nearby import Nearby
from minescale.training.config import load_config
from minescale.training.crossval import cross_validate
from minescale.training.progress import shown

APART_M = 6400.0
"""Chips are 4.5 km wide: groups nearer than this share ground and stay together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of the published chips")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, nargs="+", default=[Path(__file__).with_name("config.yaml")])
    parser.add_argument("--weights", nargs="+", required=True, help="of each configuration's encoder: see the page")
    parser.add_argument(
        "--nearby", nargs=2, metavar=("PIXELS", "WEIGHT"), help="such as 64 0.8; else nothing nearby counts"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="of each configuration")
    args = parser.parse_args()
    if not len(args.config) == len(args.weights) == len(args.seeds):
        parser.error(
            f"{len(args.config)} --config, {len(args.weights)} --weights, {len(args.seeds)} --seeds: "
            "give as many of each, in the same order"
        )
    try:
        nearby = Nearby(int(args.nearby[0]), float(args.nearby[1])) if args.nearby else None
    except (ValueError, ModelError) as error:
        parser.error(f"--nearby {' '.join(args.nearby)}: {error}")
    dataset = open_dataset(args.data)
    splits = kfold(dataset, "site", args.folds, apart_m=APART_M, test=True)
    configs = [
        load_config(path).replace({"seed": seed, "initial_weights": weights})
        for path, weights, seed in zip(args.config, args.weights, args.seeds, strict=True)
    ]
    with shown("plain") as tell:
        found = cross_validate(dataset, splits, configs, args.out, views=4, nearby=nearby, pairs=True, tell=tell)
    sys.stdout.write(
        json.dumps({part: found.figures[part] for part in ("pooled", "median", "caveats")}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
