"""Train single-pixel models at 40 and 80 m on Amazon Mining Watch chips, calibrate the best, and say what it prunes."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from card import section
from products import both_products, product, splits

from minescale.evaluation.calibrated import write_calibrated
from minescale.evaluation.screening import ScreenThreshold, calibrate_screen, tile_scores
from minescale.labels.auditing.audit import audit
from minescale.labels.formats.registry import open_dataset
from minescale.labels.sets.dataset import Dataset
from minescale.models.package import CARD, ModelPackage, load_package, write_package
from minescale.models.predictor import load_predictor
from minescale.store.codes import PROBABILITY_STEPS
from minescale.training.api import train
from minescale.training.config import TrainConfig

PRODUCTS = {"top of the atmosphere": False, "surface": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the published chips: their folder or .npz file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.yaml"))
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    chips = open_dataset(args.data)
    fit, hold = splits(chips, config["fit_val"])
    both = both_products(chips)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "holdout.json").write_text(hold.to_json() + "\n", encoding="utf-8")
    # The audit fails, and says why: which set a chip is from tells its class. So every score carries its caveat.
    found = audit(both, fit)
    made: dict[str, ModelPackage] = {}
    chosen: dict[str, float] = {}
    for candidate in config["candidates"]:
        family, metres = candidate.pop("family"), 10 * candidate["patch"]
        name = f"{family}-{metres}m"
        settings = TrainConfig.of(
            {
                "name": config["name"],
                "family": family,
                "description": DESCRIPTION.format(metres=metres),
                "seed": config["seed"],
                "hyperparameters": {**config["table"], **candidate},
            }
        )
        result = train(both, fit, settings, args.out / name, force=True, audit=found)
        if result is not None:
            made[name], chosen[name] = result.package, result.metrics["val"]["auc"]
            sys.stdout.write(f"{name}: AUC on val {chosen[name]:.3f}\n")
    best = max(chosen, key=lambda name: chosen[name])
    promises = {}
    for name, surface in PRODUCTS.items():
        tiles = tile_scores(load_predictor(made[best], "cpu"), product(hold.of(both, "val"), surface=surface))
        promises[name] = calibrate_screen(tiles, **config["calibration"])
    stricter = min(promises, key=lambda name: promises[name].threshold)
    promise, data = promises[stricter], f"{chips.name}, val, {stricter}"
    facts = {"data": data, "licence_of_data": chips.licence, "tile_m": 5120.0, "cost": None}
    shutil.rmtree(args.out / "package", ignore_errors=True)
    package = write_calibrated(made[best], args.out / "package", promise, facts, screen=False)
    tested = hold.of(both, "test")
    kept = {name: kept_of(package, product(tested, surface=surface)) for name, surface in PRODUCTS.items()}
    screening = {"chosen": best, "val_auc": chosen, "test": kept, "attribution": chips.provenance["attribution"]}
    finish(package, promise, screening)
    sys.stdout.write(json.dumps(screening, indent=1) + "\n")


def kept_of(package: ModelPackage, chips: Dataset) -> dict[str, Any]:
    """What the keep-threshold keeps of chips that had no say in it: with a mine, without, and by set of negatives."""
    tiles = tile_scores(load_predictor(package, "cpu"), chips)
    keep = tiles.codes / PROBABILITY_STEPS >= (package.spec.keep_threshold or 0.0)
    mines, sets = tiles.hectares > 0, chips.samples["set"].astype(str).to_numpy()
    pieces = 1 / float(tiles.part.mean())
    negatives = {name: _share(keep[(sets == name) & ~mines]) for name in sorted(set(sets[~mines]))}
    return {
        "chips": len(keep),
        "prevalence": float(mines.mean()),
        "recall": _share(keep[mines]),
        # Trivial beside it: as many chips, picked at random, hold that share of those with a mine.
        "recall_of_random_chips": float(keep.mean()),
        "kept_without_mines": _share(keep[~mines]),
        "tiles_kept_without_mines": 1 - (1 - _share(keep[~mines])) ** pieces,
        "kept_of_negatives": negatives,
    }


def finish(package: ModelPackage, promise: ScreenThreshold, screening: Mapping[str, Any]) -> None:
    """Put what was found on the test part into the package's card and metrics."""
    text = (package.path / CARD).read_text(encoding="utf-8").rstrip()
    card = f"{text}\n\n{section(package.spec, promise, screening)}"
    write_package(package.path, package.spec, package.weights(), card, {"screening": screening})
    load_package(package.path)


def _share(kept: np.ndarray[Any, Any]) -> float:
    return float(kept.mean()) if kept.size else 0.0


DESCRIPTION = (
    "Single pixels of {metres} m, red, green and blue, top of the atmosphere or surface: the coarse level of a pyramid "
    "over what looks like Amazonian gold mining."
)

if __name__ == "__main__":
    main()
