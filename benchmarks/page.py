"""The results page from stored figures: ``python benchmarks/page.py [FOLDER]`` writes ``README.md`` beside them.

Without a folder it takes `results/`, and writes the project's README's table between its ``figures`` marks as well.

Every figure is a ratio or stands beside the one it is compared with; spreads are minimum and maximum over the rounds.
A part whose JSON is not there is left out.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS = "minescale flat"
BEGIN, END = "<!-- figures: idioms -->", "<!-- end of figures -->"


def spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def idioms(found: dict[str, Any], folder: Path) -> str:
    runs, case = found["runs"], found["case"]
    ours = runs[OURS]
    rows = []
    for name, values in runs.items():
        # Rounds are interleaved: ratios are taken within a round.
        ratio = {
            key: spread([other[key] / own[key] for other, own in zip(values, ours, strict=True)], 2)
            for key in ("wall_s", "cpu_s", "peak_rss")
        }
        share = found["agreement"][name]
        rows.append(
            [
                name,
                spread([v["wall_s"] for v in values]),
                spread([v["cpu_s"] for v in values]),
                f"{statistics.median(v['bytes'] for v in values) / 1e6:.0f}",
                f"{statistics.median(v['peak_rss'] for v in values) / 1e6:.0f}",
                ratio["wall_s"],
                ratio["cpu_s"],
                ratio["peak_rss"],
                f"{share['own_grid']:.5f} / {share['near']:.5f}",
            ]
        )
    _bars({name: [v["wall_s"] for v in values] for name, values in runs.items()}, folder / "idioms.png")
    head = ["variant", "wall s", "CPU s", "MB read", "peak MB", "wall ×", "CPU ×", "peak ×", "agrees"]
    rounds = len(ours)
    among = {"any": "of", "differing": "where variants differ, of"}
    exact = "Equal to the exact answer (`referee.py`: pyproj, rasterio and NumPy, pixel by pixel): " + "; ".join(
        f"{among[kind]} {shares['pixels']:.0f} warped pixels "
        + ", ".join(f"{name} {share:.3%}" for name, share in shares.items() if name != "pixels")
        for kind, shares in found["exact"].items()
    )
    return f"""## The whole job beside the usual idioms

{case["shape"][0]} x {case["shape"][1]} px, two UTM zones, 12 dates, five bands and the quality band, the same index
model for all, {case["workers"]} Dask workers of one thread, JIT warm for all; {rounds} interleaved rounds, median
(minimum-maximum). × is the variant over {OURS}, taken within a round. *Agrees*: share of pixels equal to ours where
nothing is warped / equal up to the neighbouring pixels' values where another zone is warped. From `idioms.py`.

{table(head, rows)}

{exact}.

![Wall seconds by variant](idioms.png)
"""


def floor(found: dict[str, Any], _: Path) -> str:
    runs, noted = found["runs"], found["amplification"]
    rows = [
        [name, spread([v["wall_s"] for v in values]), spread([v["cpu_s"] for v in values])]
        for name, values in runs.items()
    ]
    scans = runs["scan file"]
    outside = [v["cpu_s"] - v["stages"]["model"] for v in scans]
    ratios = {
        decoder: spread([own / other["cpu_s"] for own, other in zip(outside, runs[f"{decoder} file"], strict=True)], 2)
        for decoder in ("GDAL", "tifffile", "own")
        if runs.get(f"{decoder} file")
    }
    beside = ", ".join(f"{ratio} with {decoder}" for decoder, ratio in ratios.items())
    whole = statistics.median(v["cpu_s"] for v in scans)
    stages = {name: statistics.median(v["stages"].get(name, 0.0) for v in scans) / whole for name in scans[0]["stages"]}
    shares = sorted(stages.items(), key=lambda item: -item[1])
    late = {
        name: spread([a["wall_s"] / b["wall_s"] for a, b in zip(runs[f"{name} http 60 ms"], near, strict=True)], 2)
        for name in ("workers", "scan")
        for near in (runs[f"{name} http 0 ms"],)
    }
    seams = spread([v["bytes"] / noted["unique_bytes"] for v in runs["workers file"]], 2)
    return f"""## Beside the plain decode of the same windows

From `floor.py`: *scan* is one process that does everything, *workers* the same by a Dask worker of one thread per
core; the other rows are one process that only decodes the windows that the scan decodes. {found.get("remark", "")}

{table(["", "wall s", "CPU s"], rows)}

- CPU outside the model over the decode floor: {beside}; *own* is the scan's own decoder.
- Bytes read over distinct blocks: {noted["bytes"] / noted["unique_bytes"]:.2f} by one process
  (without the store of shared blocks {noted["touched_bytes"] / noted["unique_bytes"]:.2f}), {seams} by the workers,
  which meet at many seams on so few tiles.
- 60 ms before every answer: wall × {late["workers"]} on the workers, × {late["scan"]} in one process.

{table(["stage", "share of CPU"], [[name, f"{share:.1%}"] for name, share in shares])}
"""


def pyramid(found: dict[str, Any], _: Path) -> str:
    rows = []
    for region in found["regions"]:
        flat = region["flat"]
        for name, run in (("calibrated", region["calibrated"]), *((f"{r['asked']:.2f}", r) for r in region["recall"])):
            rows.append(
                [
                    f"{region['seed']} ({region['mine_share']:.2%})",
                    name,
                    f"{run['recall_of_mine_area']:.4f}",
                    f"{run['survivors']:.0%}",
                    f"{run['tiles_with_mines']:.0%}",
                    f"{run['coarse_bytes'] / flat['bytes']:.1%}",
                    f"{flat['bytes'] / run['bytes']:.2f}",
                    f"{flat['wall_s'] / run['wall_s']:.2f}",
                ]
            )
    head = [
        "region (mines)",
        "threshold for",
        "recall",
        "survivors",
        "hold a mine",
        "coarse bytes",
        "bytes ×",
        "wall ×",
    ]
    forced = []
    for model, swept in found["sweep"].items():
        flat_runs = swept["runs"]["flat"]
        for name, choice in swept["chosen"].items():
            runs = swept["runs"][name]
            # The large shares run in fewer rounds than the flat scan.
            ratios = [
                spread([f[key] / r[key] for f, r in zip(flat_runs, runs, strict=False)], 2)
                for key in ("bytes", "wall_s", "cpu_s")
            ]
            dear = " / ".join(f"{times:.1f}" for times in swept["bytes_per_pixel"][name].values())
            chosen = "pyramid" if choice["pyramid"] else "flat"
            coarse = f"{runs[0]['coarse_bytes'] / flat_runs[0]['bytes']:.1%}"
            survivors, refined = (runs[0][key] for key in ("survivors", "refined"))
            share = [f"{survivors:.1%}", f"{refined - survivors:.1%}"]
            forced.append([model, *share, coarse, *ratios, dear, chosen])
    text = f"""## Coarse to fine

The screen of the `demo` package in front of the index model, one run each; × is flat over pyramid. Recall is the share
of true mine area in tiles that ran at 10 m. *Calibrated* is the package's threshold; the others would just reach the
recall named, and were chosen with the truth. The regions are synthetic: recall here is no evidence of skill on real
ground. From `pyramid.py`.

{table(head, rows)}
"""
    if forced:
        head = ["fine model", "survivors", "audited", "coarse bytes", "bytes ×", "wall ×", "CPU ×"]
        head += ["own / other / both", "the plan chooses"]
        tiles = next(iter(found["sweep"].values()))["tiles"]
        amplified = ", ".join(
            f"{spread([run['bytes'] / swept['distinct_bytes'] for run in swept['runs']['flat']], 2)} with {model}"
            for model, swept in found["sweep"].items()
        )
        text += f"""
Forced shares of survivors over {tiles} tiles like the last region's, the small one without an audit of pruned tiles and
with the default one, at least four tiles; × is flat over pyramid within a round, median (minimum-maximum).
*Own / other / both*: bytes of a pixel that ran at 10 m over the flat scan's, where the scenes are of the mosaic's zone,
of another, or of both. The last column is what the plan chooses when it expects that share.

{table(head, forced)}

Bytes that the flat scan of this area reads, by {found["workers"]} workers, over its distinct blocks: {amplified}.
"""
    return text


def scale(found: dict[str, Any], _: Path) -> str:
    rows = [
        [
            f"{run['area']}, {'pyramid' if run['pyramid'] else 'flat'}",
            f"{run['workers']:,.0f}",
            f"{run['tiles']:,.0f}",
            f"{run['country_tiles']:,.0f}",
            f"{run['jobs']:,.0f}",
            f"{run['plan_cpu_s']:.1f} + {run['explain_cpu_s']:.1f}",
            f"{run['ms_per_tile']:.3f} + {run['ms_flush_per_tile']:.3f}",
            f"{run['driver_share']:.2%}",
            f"{run['peak_rss'] / 1e6:,.0f}",
        ]
        for run in found["runs"]
    ]
    head = ["bounding box", "workers", "tiles", "tiles of the country", "tasks", "plan + explain CPU s"]
    head += ["ms per tile + its flushes", "driver busy", "driver peak MB"]
    dask = [
        [
            f"{run['workers']}",
            f"{run['batch']}",
            f"{run['tiles']:,.0f}",
            f"{run['ms_per_tile']:.2f}",
            f"{run['ms_per_task']:.2f}",
        ]
        for run in found["dask"]
    ]
    return f"""## Countries, simulated

The real planner, ledger and driver loop against a simulated catalogue and cluster, {found["tile_size"]} px tiles, two
seconds each, from `scale.py`. *Tiles* are those of the bounding box at all levels, *tiles of the country* what its own
area would take at the finest. CPU of the driver process without Dask; plan is without the catalogue's search.

{table(head, rows)}

The same loop over a real Dask cluster whose tiles do nothing: CPU of the driver process, with Dask's client and
scheduler in it. Tiles travel in batches where they would come too fast for one task each (`engine/batches.py`).

{table(["worker processes", "tiles per task", "tiles", "ms per tile", "ms per task"], dask)}
"""


def cost(found: dict[str, Any], _: Path) -> str:
    errors, unseen = found["errors"], found["unseen"]
    rows = [
        [
            name,
            f"{run['cpu_s']:.1f}",
            f"{errors[name]:+.1%}" if name in errors else f"{unseen[name]:+.1%}, never fitted",
            f"{run['priced_bytes'] / run['bytes']:.2f}",
        ]
        for name, run in found["runs"].items()
    ]
    worst, within = max(map(abs, errors.values())), sum(abs(error) <= 0.2 for error in errors.values())
    rates = ", ".join(f"{name} {rate:.2e}" for name, rate in found["rates"].items() if rate)
    return f"""## What a scan costs, foretold

Worker CPU seconds of scans, the least of {found["rounds"]} rounds, and the error with which rates fitted on all *other*
runs foretell each: {within} of {len(errors)} within 20%, largest {worst:.1%}. Runs *never fitted* are of a region that
had no part in choosing the terms. From `cost.py`. Fitted core seconds per unit: {rates}.

{table(["run", "CPU s", "foretold", "bytes priced over read"], rows)}
"""


def kernels(found: dict[str, Any], _: Path) -> str:
    rows = [
        [f"median of {depth}, one thread", other, *_ratios(runs, other)]
        for depth, runs in found["median"].items()
        for other in ("numpy", "bottleneck")
    ]
    threads, on_dask = found["threads"], "xarray + Dask"
    rows += [
        [f"median of {depth}, {threads} threads", on_dask, *_ratios(runs, on_dask)]
        for depth, runs in found["median_on_dask"].items()
    ]
    peak = {}
    for other in ("minescale strips", "xarray"):
        rows.append(["mask, median of 8 bands, 14 indices, one thread", other, *_ratios(found["chain"], other)])
        peak[other] = spread(_over(found["chain"], other, "peak_rss"))
    decode = statistics.median(found["decode_mb_per_s"])
    speeds = []
    for row in found["each"]:
        rate = row["bytes"] / 1e6 / statistics.median(row["cpu_s"])
        numpy = "" if row["over_numpy"] is None else spread(row["over_numpy"])
        speeds.append([row["name"], f"{rate:,.0f}", f"{rate / decode:.1f}", numpy])
    joint = found["geomedian"]
    return f"""## Kernels

{found["rounds"]} interleaved rounds, outputs equal; × is the other way over minescale, taken within a round. *strips*
is the same chain with its input cut into strips of rows that stay in cache: what fusing could bring. From
`kernels.py`.

{table(["", "beside", "wall ×", "CPU ×"], rows)}

- Peak memory of the chain: xarray's process × {peak["xarray"]}, strips × {peak["minescale strips"]}.
- Geomedian of 12 dates and 6 bands, {threads} threads: {spread(joint["mpx_per_s"])} Mpx/s;
  {joint["within_1e-4"]:.2%} of the pixels within 1e-4 of a converged float64 reference, mean distance to the looks at
  most {joint["distance_excess"]:.0e} longer.

GDAL decodes {decode:.0f} MB per CPU second here. Each kernel on 12 layers, MB of its own input per CPU second:

{table(["kernel", "MB/s", "decode ×", "NumPy ×"], speeds)}
"""


def _over(runs: dict[str, Any], other: str, key: str) -> list[float]:
    return [theirs[key] / ours[key] for theirs, ours in zip(runs[other], runs["minescale"], strict=True)]


def _ratios(runs: dict[str, Any], other: str) -> tuple[str, str]:
    return spread(_over(runs, other, "wall_s")), spread(_over(runs, other, "cpu_s"))


def inference(found: dict[str, Any], _: Path) -> str:
    tiles = [
        [name, spread([found["size"] ** 2 / 1e6 / s for s in seconds])] for name, seconds in found["tile_cpu_s"].items()
    ]
    patch = found["patch_cpu_s"]
    ours = next(iter(patch.values()))
    engines = [
        [
            name,
            spread([found["edge"] ** 2 / 1e6 / s for s in seconds]),
            spread([own / s for own, s in zip(ours, seconds, strict=True)], 2),
        ]
        for name, seconds in patch.items()
    ]
    others = [
        [family, name, spread([o / s for o, s in zip(one["cpu_s"][first], seconds, strict=True)], 2)]
        for family, one in found.get("networks", {}).items()
        for first in [next(iter(one["cpu_s"]))]
        for name, seconds in one["cpu_s"].items()
        if name != first
    ]
    title = "Other families with random weights, patches of 256 px:"
    networks = f"{title}\n\n{table(['family', 'engine', '× eager torch'], others)}\n" if others else ""
    return f"""## Models on one thread

Mpx per CPU second, from `inference.py`: a whole tile of {found["size"]} px with its halo, windows and blending.

{table(["model", "Mpx/s"], tiles)}

The U-Net alone on a patch of {found["edge"]} px; probabilities agree to 1e-4, nothing runs in less than float32.

{table(["engine", "Mpx/s", "× ours"], engines)}

{networks}"""


def recall(found: dict[str, Any], _: Path) -> str:
    return f"""## Calibrated recall

{found["regions"]} synthetic regions ({found["tiles"]} tiles) scored by the demo's screen, from `recall.py`: half of
them calibrate, the other half is counted. The stated recall of {found["recall_stated"]:g} of mine area held in
{found["held"]} of {found["resamples"]} resamples (mean {found["recall_mean"]:.3f}, lowest
{found["recall_lowest"]:.3f}), with {found["kept_mean"]:.0%} of the tiles kept. {found["label"].capitalize()}.
"""


def write(found: dict[str, Any], _: Path) -> str:
    scan, rows = found["scan"], []
    for kind, layouts in found["layouts"].items():
        present = layouts["512 zstd 3"]
        for name, turns in layouts.items():
            middle = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
            ratio = [old["cpu_s"] / new["cpu_s"] for old, new in zip(present, turns, strict=True)]
            rows.append([kind, name, spread(ratio, 2), f"{middle['bytes'] / 1e6:.2f}", f"{middle['files']:.0f}"])
    return f"""## Writing the mosaic

Four arrays of 2048 x 2048 px, written tile by tile, from `write.py`; × is the speed over the present layout, chunks of
512 with zstd 3. In a scan of {scan["tiles"]} tiles by one process writing took
{scan["write_cpu_s"] / scan["cpu_s"]:.1%} of the CPU and {scan["write_wall_s"] / scan["wall_s"]:.1%} of the wall time;
blocks of the next tile were decoded during {scan["decoding_meanwhile"]:.0%} of it.

{table(["probability", "chunk, codec", "speed ×", "MB", "files"], rows)}
"""


def memory(found: dict[str, Any], _: Path) -> str:
    runs = found["runs"]
    peaks = [statistics.median(run["peaks"]) for run in runs]
    rows = [
        [
            run["area"].replace("km2", "km²"),
            f"{run['dates']}",
            f"{run['model']}, {run['method']}",
            f"{run['tiles']}",
            spread([peak / 1e6 for peak in run["peaks"]], 0),
            f"{middle / peaks[0]:.2f}",
            f"{run['projected'] / middle:.2f}",
            f"{run['bytes'] / 1e6:,.0f}",
            f"{run['bytes'] / run['predicted_bytes']:.2f}",
        ]
        for run, middle in zip(runs, peaks, strict=True)
    ]
    head = ["area", "dates", "model, composite", "tiles", "peak MB", "peak ×", "projected ×", "MB read", "read ×"]
    return f"""## Memory of a worker

One Dask worker process for each row, {found["tile_px"]} px tiles, six bands, two UTM zones; the peak is its own
high-water mark, median (minimum-maximum) of {len(runs[0]["peaks"])} interleaved rounds. *Peak ×*: over the first row;
*projected ×*: planning's projection over the peak; *read ×*: bytes read over those predicted. From `memory.py`; its
ground repeats, its reads are real.

{table(head, rows)}
"""


def dataset(found: dict[str, Any], _: Path) -> str:
    case, runs, ours = found["case"], found["runs"], found["runs"]["minescale"]

    def against(name: str, key: str) -> str:
        return spread([theirs[key] / mine[key] for theirs, mine in zip(runs[name], ours, strict=True)])

    rows = [
        [
            name,
            spread([run["wall_s"] for run in each]),
            against(name, "wall_s"),
            against(name, "cpu_s"),
            against(name, "bytes"),
            spread([run["peak_rss"] / 1e6 for run in each], 0),
            "" if name == "minescale" else f"{found['agreement'][name]['own_grid']:.4%}",
        ]
        for name, each in runs.items()
    ]
    fewer = "; ".join(
        f"{int(n):,} cells: {spread([run['peak_rss'] / 1e6 for run in each], 0)} MB"
        for n, each in found["fewer"].items()
    )
    return f"""## A training set of many cells

{case["cells"]:,} cells of {case["size"]} x {case["size"]} pixels, six bands, median of the clear looks of three dates,
{case["workers"]} workers; the rival makes one stackstac call for each cell. *×*: over ours in the same round. *Equal*:
pixels of cells that lie on the scenes' own grid. From `dataset.py`. Peak memory of ours with fewer cells: {fewer}.

{table(["variant", "wall s", "wall ×", "CPU ×", "bytes ×", "peak MB", "equal"], rows)}
"""


def _bars(values: dict[str, list[float]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
    middles = [statistics.median(v) for v in values.values()]
    low = [m - min(v) for m, v in zip(middles, values.values(), strict=True)]
    high = [max(v) - m for m, v in zip(middles, values.values(), strict=True)]
    colours = ["#1b6b93" if key == OURS else "#b5b5b5" for key in values]
    bars = axes.barh(list(values), middles, xerr=[low, high], color=colours, ecolor="#444444", capsize=3)
    axes.bar_label(bars, [f"{m:.0f} s" for m in middles], padding=8)
    axes.invert_yaxis()
    axes.set_xlabel("wall seconds")
    axes.set_xlim(0, max(map(max, values.values())) * 1.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120, metadata={"Software": None})
    plt.close(figure)


def readme_table(found: dict[str, Any]) -> str:
    """The project README's table: the whole job beside the idioms."""
    runs, case = found["runs"], found["case"]
    ours = runs[OURS]
    middle = {key: statistics.median(run[key] for run in ours) for key in ("wall_s", "cpu_s", "peak_rss")}
    rows = [
        [
            "minescale, flat",
            f"{middle['wall_s']:.1f} s",
            f"{middle['cpu_s']:.1f} s",
            f"{middle['peak_rss'] / 1e9:.1f} GB",
        ]
    ]
    for name, values in runs.items():
        if name != OURS:
            ratios = ([o[key] / own[key] for o, own in zip(values, ours, strict=True)] for key in middle)
            rows.append(
                [name, *(f"{statistics.median(ratio):.1f} × ({min(ratio):.1f}-{max(ratio):.1f})" for ratio in ratios)]
            )
    about = f"{case['workers']} cores, {len(ours)} interleaved rounds, median (minimum-maximum):"
    return f"{about}\n\n" + table(["", "wall", "CPU", "peak memory, all processes"], rows)


def write_readme(readme: Path, figures: str) -> None:
    text = readme.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    readme.write_text(f"{text[:begin]}\n{figures}\n{text[end:]}")


PARTS: dict[str, Callable[[dict[str, Any], Path], str]] = {
    "idioms": idioms,
    "floor": floor,
    "pyramid": pyramid,
    "scale": scale,
    "kernels": kernels,
    "inference": inference,
    "recall": recall,
    "write": write,
    "memory": memory,
    "dataset": dataset,
    "cost": cost,
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"
    sections = [
        part(json.loads(file.read_text()), folder)
        for name, part in PARTS.items()
        if (file := folder / f"{name}.json").exists()
    ]
    if not sections:
        sys.exit(f"{folder} holds none of {', '.join(f'{name}.json' for name in PARTS)}")
    machine = folder / "machine.txt"
    about = machine.read_text().strip() if machine.exists() else "not described"
    head = f"# Results\n\nWritten by `python benchmarks/page.py` from the JSON beside it. Machine: {about}\n\n"
    (folder / "README.md").write_text(head + "\n".join(sections))
    if len(sys.argv) == 1:
        idioms_found = json.loads((folder / "idioms.json").read_text())
        write_readme(Path(__file__).parent.parent / "README.md", readme_table(idioms_found))


if __name__ == "__main__":
    main()
