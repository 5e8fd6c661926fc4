"""What a scan costs in core seconds: rates fitted on measured runs, and how well they foretell a run left out.

    python benchmarks/cost.py --json benchmarks/results/cost.json

Scans of different areas, tile sizes, models, levels and numbers of dates run on one warm worker process, which has
run each model once before. Measured are the worker's CPU seconds; foretold is the sum of the plan's own amounts of
work (`planning/rates.py`) times one rate each, fitted by non-negative least squares on relative errors. Every run is
foretold once by the rates of all the others; two runs of a region that had no part in choosing the terms are foretold
and never fitted. For pyramids the plan's amounts are those of the tiles that survived,
because a plan can only assume that share. Printed at the end is what belongs into `planning/rates.py`. The regions
are synthetic and lie on the local disk: waiting for a network is no core second, but its TLS would be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

RUNS: dict[str, dict[str, Any]] = {
    "baseline 1024": {},
    "baseline 512": {"tile": 512},
    "baseline, half the area": {"part": 0.49},
    "baseline, six dates": {"datetime": "2024-01/2024-06"},
    "baseline, three dates, 512": {"datetime": "2024-04/2024-06", "tile": 512},
    "baseline, quarters of a year": {"part": 0.74, "rule": "quarter"},
    "baseline, quarter of the area, 512": {"part": 0.245, "tile": 512},
    "demo 1024": {"part": 0.245, "model": "demo"},
    "demo 512": {"part": 0.245, "model": "demo", "tile": 512},
    "demo, four dates": {"part": 0.49, "model": "demo", "datetime": "2024-05/2024-08"},
    "demo pyramid": {"part": 0.49, "model": "demo", "mode": "on", "tile": 512},
    "demo pyramid, six dates": {
        "part": 0.49,
        "model": "demo",
        "mode": "on",
        "tile": 512,
        "datetime": "2024-07/2024-12",
    },
    "another region, baseline 1024": {"region": 101},
    "another region, demo 512": {"region": 101, "part": 0.245, "model": "demo", "tile": 512},
}
"""Settings that differ from a flat scan of the whole demo region. Parts are northern strips over the whole width: then
the seam and the last, incomplete blocks, which hold fewer bytes than a plan reckons with, keep their share."""
UNSEEN: dict[str, dict[str, Any]] = {
    "unseen region, baseline 1024, nine dates": {"region": 103, "part": 0.74, "datetime": "2024-03/2024-11"},
    "unseen region, demo 512, eight dates": {
        "region": 103,
        "part": 0.37,
        "model": "demo",
        "tile": 512,
        "datetime": "2024-01/2024-08",
    },
}
"""Never fitted, and not looked at while terms were chosen."""
TERMS = ("reads", "decoded_bytes", "index_pixels", "unet_pixels")
"""Amounts of work that a rate is fitted for. A tile by itself, and the samples composited, go with these: with a rate
of their own they only take from each other's."""
QUICK: dict[str, dict[str, Any]] = {
    "small, baseline 512": {"region": "SMALL", "tile": 512},
    "small, demo 512": {"region": "SMALL", "model": "demo", "tile": 512},
}
"""Too small for the fit: of one or two CPU seconds a first tile's start is most."""
OTHER_SHARE = 0.0008
"""Mines of the other regions, as in `pyramid.py`."""


def region_of(name: str | int) -> Any:
    """A region by its spec's name, or one like DEMO by its seed."""
    from minescale import synthetic

    if isinstance(name, str):
        return synthetic.ensure_region(getattr(synthetic, name))
    return synthetic.ensure_region(replace(synthetic.DEMO, seed=name, mine_share=OTHER_SHARE, name=f"demo-{name}"))


def plan_of(case: dict[str, Any], address: str) -> Any:
    from minescale import api
    from minescale.config import load_config

    region = region_of(case.get("region", "DEMO"))
    west, south, east, north = region.bbox.as_tuple()
    bbox = (west, north - (north - south) * case.get("part", 1.0), east, north)
    settings = {
        "engine.cluster": address,
        "pyramid.mode": case.get("mode", "off"),
        "grid.tile_size": case.get("tile", 1024),
    }
    wanted = api.request(
        catalog=str(region.catalog),
        bbox=bbox,
        datetime=case.get("datetime", region.period),
        period=case.get("rule", "all"),
        model=case.get("model", "baseline"),
    )
    return api.plan(wanted, load_config(overrides=settings))


def measure(case: dict[str, Any], address: str, folder: Path) -> dict[str, Any]:
    """One scan: its amounts of work, as planned, and the worker's CPU seconds."""
    from minescale.engine.run import run_plan
    from minescale.planning.run_dir import RunDir
    from minescale.store.ledger import Ledger, TileState

    plan, out = plan_of(case, address), RunDir(str(folder))
    out.save_plan(plan)
    report = run_plan(plan, out)
    assert report.failed == report.remaining == 0, report
    survivors = 1.0
    if plan.is_pyramid:
        states = Ledger.open(folder / "mosaic.zarr", mode="r").get(0, "state")
        fine, inside = np.isin(states, (TileState.DONE, TileState.AUDITED)), states != TileState.OUTSIDE
        audit = plan.config.pyramid.audit
        survivors = max(0.0, (fine.sum() / inside.sum() - audit) / (1 - audit))
    return {
        **amounts(plan, survivors),
        "cpu_s": report.cpu_seconds,
        "requests": report.requests,
        "bytes": report.bytes_read,
        "survivors": survivors,
    }


def amounts(plan: Any, survivors: float) -> dict[str, Any]:
    """What one worker has to do, as planned."""
    from minescale.planning.cost import Prices, price_plan

    cost = price_plan(plan, Prices.sample(plan), survivors=survivors, workers=1)
    names = list(asdict(cost.levels[0].work))
    totals = np.sum([list(asdict(level.work).values()) for level in cost.levels], axis=0)
    return {
        "work": dict(zip(names, map(float, totals), strict=True)),
        "priced_bytes": cost.bytes,
        "with_present_rates_s": sum(level.seconds for level in cost.levels),
    }


def fit(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Core seconds per unit of work: non-negative, with the least squared relative errors."""
    from scipy.optimize import nnls

    names = list(TERMS)
    amounts = np.array([[run["work"][name] for name in names] for run in runs])
    scale = np.maximum(amounts.max(axis=0), 1e-12)  # columns of like size, for a well-posed fit
    rows = amounts / scale / np.array([[run["cpu_s"]] for run in runs])
    rates, _ = nnls(rows, np.ones(len(runs)))
    return {name: float(rate) for name, rate in zip(names, rates / scale, strict=True)}


def foretell(rates: dict[str, float], run: dict[str, Any]) -> float:
    return sum(rate * run["work"][name] for name, rate in rates.items())


def leave_one_out(runs: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Relative error of each run, foretold by the rates of all others."""
    errors = {}
    for name, run in runs.items():
        others = [other for key, other in runs.items() if key != name]
        errors[name] = foretell(fit(others), run) / run["cpu_s"] - 1
    return errors


def measure_all(chosen: dict[str, dict[str, Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """The least CPU of some rounds of each run, on one warm worker."""
    from distributed import Client, LocalCluster

    found: dict[str, dict[str, Any]] = {}
    preload = ["minescale.engine.worker_setup"]
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=40, preload=preload
        ) as cluster,
        Client(cluster),
        tempfile.TemporaryDirectory() as temporary,
    ):
        folder, address = Path(temporary), cluster.scheduler_address
        for model in {case.get("model", "baseline") for case in chosen.values()}:
            mode = "off" if model == "baseline" else "on"
            warm = {"region": "SMALL", "model": model, "tile": 512, "mode": mode}
            measure(warm, address, folder / f"warm-{model}")
        for number, (name, case) in enumerate(chosen.items()):
            runs = [measure(case, address, folder / f"{number}-{i}") for i in range(rounds)]
            print(f"{name} done", file=sys.stderr, flush=True)
            found[name] = min(runs, key=lambda run: run["cpu_s"]) | {"each_cpu_s": [run["cpu_s"] for run in runs]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = RUNS | UNSEEN
    parser.add_argument("--runs", nargs="*", default=list(every), choices=list(every), metavar="RUN")
    parser.add_argument("--rounds", type=int, default=1, help="the least CPU of so many scans counts")
    parser.add_argument("--again", type=Path, help="price the runs of this JSON anew instead of measuring any")
    parser.add_argument("--quick", action="store_true", help="two runs of the small region, for tests")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chosen = QUICK if args.quick else {name: every[name] for name in args.runs}
    rounds = args.rounds
    if args.again:
        stored = json.loads(args.again.read_text())
        found, rounds = stored["runs"], stored["rounds"]
        for name, run in found.items():
            run.update(amounts(plan_of((every | QUICK)[name], "inline"), run["survivors"]))
    else:
        found = measure_all(chosen, rounds)
    for name, run in found.items():
        print(
            f"{name:<42} {run['cpu_s']:7.1f} CPU s, present rates {run['with_present_rates_s']:7.1f},"
            f" bytes priced {run['priced_bytes'] / max(run['bytes'], 1):.2f} x read",
            flush=True,
        )
    fitted = {name: run for name, run in found.items() if name not in UNSEEN}
    rates, errors = fit(list(fitted.values())), leave_one_out(fitted)
    unseen = {name: foretell(rates, run) / run["cpu_s"] - 1 for name, run in found.items() if name in UNSEEN}
    print("\nnever fitted:")
    for name, error in unseen.items():
        print(f"  {name:<32} {error:+.1%}")
    print("\nforetold by the other runs:")
    for name, error in errors.items():
        print(f"  {name:<32} {error:+.1%}")
    print(f"largest error {max(map(abs, errors.values())):.1%}\n\nRATES = {{")
    for name, rate in rates.items():
        print(f'    "{name}": {rate:.3e},')
    print("}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps({"runs": found, "rates": rates, "errors": errors, "unseen": unseen, "rounds": rounds}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
