"""What a worker takes, by area and by number of dates.

    python benchmarks/memory.py --json benchmarks/results/memory.json

Every case is a scan by one Dask worker process of its own, 1024 px tiles, six bands, over two UTM zones; its figure
is the worker's own high-water mark (VmHWM). The areas hold 8 tiles or more: 100 km2 is a strip, as along a river. The
data is a patchwork (``patchwork.py``): real files over the whole area and up to 120 dates that repeat the blocks of
the demo region. Beside the peak stand what planning projected, and bytes read over the bytes that it predicted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from children import run, tell

AREAS = {"100 km2": (80.0, 1.25, 5.0), "1,000 km2": (50.0, 20.0, 0.0), "10,000 km2": (100.0, 100.0, 0.0)}
"""East-west and north-south kilometres, and kilometres north of the centre: the strip lies in one row of tiles."""
SMALL_AREAS = {"1 km2": (4.0, 0.25, 0.0), "16 km2": (4.0, 4.0, 0.0)}


def cases(quick: bool) -> list[dict[str, Any]]:
    """Area, dates, model and composite of each scan."""
    areas = SMALL_AREAS if quick else AREAS
    shortest, *deeper = (3, 12) if quick else (12, 24, 60, 120)
    strip = next(iter(areas))
    plain = {"dates": shortest, "model": "rules", "method": "median"}
    found = [{**plain, "area": area} for area in areas]
    found += [{**plain, "area": strip, "dates": dates} for dates in deeper]
    found += [{**plain, "area": strip, "dates": dates, "method": "geomedian"} for dates in (shortest, deeper[-2:][0])]
    return found if quick else [*found, {**plain, "area": strip, "model": "demo"}]


def six_bands(folder: Path) -> Path:
    """The baseline's rules in a package that asks for all six bands."""
    from minescale.models.package import load_package, write_package

    package = folder / "rules"
    if not package.exists():
        spec = load_package("baseline").spec
        bands = ("blue", "green", "red", "nir", "swir16", "swir22")
        write_package(package, spec.replace(name="rules", bands=bands), None, card="The baseline rules.", metrics={})
    return package


def scan(task: dict[str, Any]) -> dict[str, Any]:
    from minescale import api
    from minescale.config import load_config
    from minescale.engine.run import run_plan
    from minescale.planning.run_dir import RunDir

    settings = {
        "engine.workers": 1,
        "engine.memory_limit_gb": 16.0,
        "pyramid.mode": "off",
        "grid.tile_size": task["tile_px"],
        "store.chunk": min(512, task["tile_px"]),
        "composite.max_scenes": task["dates"],
        "composite.method": task["method"],
        **task["settings"],
    }
    with tempfile.TemporaryDirectory() as folder:
        wanted = api.request(
            catalog=task["catalog"], bbox=tuple(task["bbox"]), datetime=task["period"], model=task["package"]
        )
        plan = api.plan(wanted, load_config(overrides=settings))
        explained = api.explain(plan)
        out = RunDir(folder)
        out.save_plan(plan)
        report = run_plan(plan, out)
        return {
            "tiles": report.done,
            "layers": explained.layers,
            "peak_rss": report.peak_rss,
            "projected": explained.memory.total,
            "bytes": report.bytes_read,
            "predicted_bytes": explained.cost.bytes,
            "wall_s": report.seconds,
            "cpu_s": report.cpu_seconds,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small tiles, areas and stacks: does the script work?")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved rounds of all cases")
    parser.add_argument("--only", default="", help="cases whose description holds this text")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        tell(scan(args.child))
        return
    import patchwork

    from minescale import synthetic

    base = synthetic.ensure_region(synthetic.SMALL if args.quick else synthetic.DEMO)
    wanted = [case for case in cases(args.quick) if args.only in describe(case)]
    tile_px = 128 if args.quick else 1024
    runs = []
    with tempfile.TemporaryDirectory(dir=base.path.parent, prefix=".patchwork-") as name:
        folder = Path(name)
        edge = 1024 if args.quick else 10240
        data = patchwork.make(folder / "data", base, edge, max(case["dates"] for case in wanted))
        rules = six_bands(folder)
        areas = SMALL_AREAS if args.quick else AREAS
        for number in range(args.rounds):
            for place, case in enumerate(wanted):
                task = {
                    **case,
                    "tile_px": tile_px,
                    "catalog": str(data.catalog),
                    "bbox": data.bbox(*areas[case["area"]]),
                    "period": data.period(case["dates"]),
                    "package": str(rules) if case["model"] == "rules" else case["model"],
                    "settings": dict(pair.split("=", 1) for pair in args.set),
                }
                found = run(__file__, "--child", json.dumps(task))
                if number == 0:
                    runs.append({**case, **found, "peaks": []})
                runs[place]["peaks"].append(found["peak_rss"])
                print(report({**case, **found}), flush=True)
    if not runs:
        sys.exit(f"no case is described by {args.only!r}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"tile_px": tile_px, "runs": runs}, indent=1) + "\n")


def describe(case: dict[str, Any]) -> str:
    return f"{case['area']}, {case['dates']} dates, {case['model']}, {case['method']}"


def report(found: dict[str, Any]) -> str:
    return (
        f"{describe(found):<44} {found['tiles']:>4} tiles, peak {found['peak_rss'] / 1e6:>5.0f} MB"
        f" of {found['projected'] / 1e6:>5.0f} projected, {found['bytes'] / 1e6:>6.0f} MB read"
        f" ({found['bytes'] / found['predicted_bytes']:.2f} x predicted), cpu {found['cpu_s']:.1f} s"
    )


if __name__ == "__main__":
    main()
