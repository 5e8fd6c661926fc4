"""Leave one date out: how well models of quarries find them again on a date that they were not trained on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from minescale.labels.auditing.splitting import kfold
from minescale.labels.formats.registry import open_dataset
from minescale.training.config import load_config
from minescale.training.crossval import cross_validate
from minescale.training.progress import shown

MODELS = ("logistic", "unet", "segformer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of the dated catalogue with its labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of configurations beside this file")
    args = parser.parse_args()
    dataset = open_dataset(args.data)
    splits = kfold(dataset, "image", len(dataset), test=True)
    dates = [dataset.samples["image_date"].iloc[split.rows(dataset, "test")[0]] for split in splits]
    found = {}
    for name in args.models:
        config = load_config(Path(__file__).with_name(f"{name}.yaml"))
        # The audit fails, and says why: all dates are of one place. So every score carries its caveat.
        with shown("plain") as tell:
            made = cross_validate(dataset, splits, [config], args.out / name, force=True, tell=tell)
        folds = zip(dates, made.figures["folds"], strict=True)
        found[name] = {
            "iou": dict(sorted((date, fold["iou"]) for date, fold in folds)),
            **{part: made.figures[part] for part in ("pooled", "median", "caveats")},
        }
    (args.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
