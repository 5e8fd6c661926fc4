"""Hold out each region of the Amazon Mining Watch chips in its turn: how it goes where the model has never been."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from holdout import REGIONS, hold_out

from minescale.labels.formats.registry import open_dataset
from minescale.training.api import train
from minescale.training.config import load_config
from minescale.training.progress import shown

FIGURES = ("n", "auc", "auprc", "prevalence", "sensitivity_at_specificity", "baselines")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the published chips: their folder or .npz file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.yaml"))
    parser.add_argument("--regions", nargs="+", choices=REGIONS, default=list(REGIONS))
    args = parser.parse_args()
    dataset, config = open_dataset(args.data), load_config(args.config)
    found = {}
    for where in args.regions:
        # The audit fails, and says why: which set a chip is from tells its class. So every score carries its caveat.
        with shown("plain") as tell:
            result = train(dataset, hold_out(dataset, where=where), config, args.out / where, force=True, tell=tell)
        if result is not None:
            found[where] = {name: result.metrics["test"][name] for name in FIGURES}
    levels = next(iter(found.values()))["sensitivity_at_specificity"]
    median = {name: statistics.median(each[name] for each in found.values()) for name in ("auc", "prevalence")}
    at = {k: statistics.median(each["sensitivity_at_specificity"][k] for each in found.values()) for k in levels}
    summary = {"median": {**median, "sensitivity_at_specificity": at}, "regions": found}
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary["median"], indent=1) + "\n")


if __name__ == "__main__":
    main()
