"""Train the patch classifier of Amazon Mining Watch chips with several seeds, and judge each on the same hold-out.

With several configurations, or several networks of each, a run is judged by their mean over turned and mirrored views.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from holdout import WATCHED, hold_out

from minescale.labels.formats.registry import open_dataset
from minescale.models.package import CARD, load_package, write_package
from minescale.training.api import train, train_members
from minescale.training.config import load_config
from minescale.training.progress import shown

FIGURES = ("auc", "auprc", "prevalence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the published chips: their folder or .npz file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, nargs="+", default=[Path(__file__).with_name("config.yaml")])
    parser.add_argument("--weights", help="of EfficientNet-Lite0, as safetensors: where a configuration has an encoder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--each", type=int, default=1, help="seeds of each configuration in a run (default 1)")
    args = parser.parse_args()
    dataset, configs = open_dataset(args.data), [load_config(path) for path in args.config]
    encoders = [bool(config.hyperparameters.get("encoder")) for config in configs]
    if any(encoders) and not args.weights:
        parser.error("a configuration has an encoder: --weights FILE.safetensors, see docs/models/families.md")
    runs = len(args.seeds) // max(args.each, 1)
    if args.each < 1 or runs * args.each != len(args.seeds):
        parser.error(f"--each {args.each} does not divide {len(args.seeds)} --seeds")
    split = hold_out(dataset)
    found: dict[str, dict[str, Any]] = {}
    for number, seed in enumerate(args.seeds[:runs]):
        # The audit fails, and says why: which set a chip is from tells its class. So every score carries its caveat.
        with shown("plain") as tell:
            settings = [
                config.replace({"seed": own, **({"initial_weights": args.weights} if encoder else {})})
                for own in args.seeds[number::runs]
                for config, encoder in zip(configs, encoders, strict=True)
            ]
            out = args.out / f"seed-{seed}"
            if len(settings) == 1:
                result = train(dataset, split, settings[0], out, force=True, tell=tell)
            else:
                name = f"{settings[0].name}-mean"
                result = train_members(dataset, split, settings, out, name=name, views=8, force=True, tell=tell)
        if result is not None:
            test = result.metrics["test"]
            found[str(seed)] = {name: test[name] for name in (*FIGURES, "sensitivity_at_specificity", "baselines")}
    middle = {name: statistics.median(run[name] for run in found.values()) for name in FIGURES}
    levels = next(iter(found.values()))["sensitivity_at_specificity"]
    middle["sensitivity_at_specificity"] = {
        level: statistics.median(run["sensitivity_at_specificity"][level] for run in found.values()) for level in levels
    }
    summary = {"median": middle, "seeds": found, "split": {"rule": split.rule, **split.settings}}
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(middle, indent=1) + "\n")
    # What started from weights taught on photographs is not ours to pass on.
    if len(configs) == args.each == 1 and not any(encoders):
        ship(args.out, summary)


def ship(out: Path, summary: dict[str, Any]) -> None:
    """The package of the seed in the middle, with what the other seeds reached on its card, as ``out/package``."""
    seeds = summary["seeds"]
    chosen = sorted(seeds, key=lambda seed: seeds[seed]["auc"])[(len(seeds) - 1) // 2]
    shutil.rmtree(out / "package", ignore_errors=True)
    shutil.copytree(out / f"seed-{chosen}" / "package", out / "package")
    package = load_package(out / "package")
    text = (package.path / CARD).read_text(encoding="utf-8").rstrip()
    write_package(
        package.path,
        package.spec,
        package.weights(),
        f"{text}\n\n{section(seeds, chosen, len(WATCHED))}",
        {"seeds": summary},
    )


def section(seeds: dict[str, Any], chosen: str, sets: int) -> str:
    """What the card says beside the scores of one training."""
    rows = "\n".join(
        f"| {seed} | {run['auc']:.3f} | {run['auprc']:.3f} | "
        + " | ".join(f"{share:.3f}" for share in run["sensitivity_at_specificity"].values())
        + " |"
        for seed, run in seeds.items()
    )
    levels = " | ".join(f"at {level}" for level in seeds[chosen]["sensitivity_at_specificity"])
    return f"""## Seeds, products and places

| seed, on test | AUC | AUPRC | sensitivity {levels} |
|---|---|---|---|{"---|" * (len(seeds[chosen]["sensitivity_at_specificity"]) - 1)}
{rows}

These weights are of seed {chosen}, the one in the middle. The same test part was looked at to choose it, and in earlier
versions before colours were varied more, look-alikes moved from val to train, and weights were tied: these scores are
a little kinder than they should be. Positives that do not say where they lie are in no part. Threshold and calibration
are of a val of which a third are mines, and the rest {sets} sets of places that were mostly once taken for some:
elsewhere most ground is easier, and mines are much rarer.

Taught on top-of-atmosphere chips cut at reflectance 0.30, half of them with the atmosphere taken off: it takes L1C and
L2A.
"""


if __name__ == "__main__":
    main()
