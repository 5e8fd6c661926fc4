"""How fast the kernels are, thread for thread, beside NumPy, bottleneck, xarray, and the decode of their own input.

    python benchmarks/kernels.py --rounds 5 --json benchmarks/results/kernels.json

Ways to one result run alternately and must agree before they are timed; ratios are taken within a round. JIT is warm.
The references of the median are given a float32 stack with NaN where masked, ready made; the kernel masks on its own.
``chain`` is mask, median of eight bands and fourteen indices, each way in a process of its own, whose peak memory is
noted; *strips* has its input cut into strips of rows beforehand, which shows what one fused pass could bring at best.
``each`` sets every kernel of the parity tests beside its NumPy twin, and beside GDAL's decode of as many bytes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from children import run, tell

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kernels"))

SYMBOLS = ("B", "G", "R", "RE1", "N", "N2", "S1", "S2")
CLEAR_CLASSES = (4, 5, 6, 7)
CHAINS = ("minescale", "minescale strips", "xarray")
STRIP_ROWS = 32
DN = 1e-4
"""Reflectance of one digital number."""

Way = Callable[[], Any]
Timed = dict[str, list[dict[str, float]]]


def interleaved(ways: dict[str, Way], rounds: int, at_least_s: float = 0.05) -> Timed:
    """Wall and CPU seconds of a call of each way, by round. A short way is called several times."""
    calls = {}
    for name, way in ways.items():
        for _ in range(2):  # the first call may compile
            before = time.perf_counter()
            way()
            seconds = time.perf_counter() - before
            if seconds > 10 * at_least_s and name != "minescale":
                break
        calls[name] = max(1, int(at_least_s / max(seconds, 1e-9)))
    found: Timed = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls[name]):
                way()
            spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            found[name].append({key: value / calls[name] for key, value in spent.items()})
    return found


def gate(what: str, got: Any, wanted: Any, tolerance: float = 0.0) -> float:
    """Ends the benchmark where two results differ; returns the largest difference."""
    got, wanted = (np.nan_to_num(np.asarray(v, np.float64), nan=-1.0) for v in (got, wanted))
    worst = float(np.abs(got - wanted).max()) if got.shape == wanted.shape else float("inf")
    if worst > tolerance:
        sys.exit(f"{what}: results differ by {worst:g}, allowed {tolerance:g}; shapes {got.shape}, {wanted.shape}")
    return worst


def looks(depth: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint16 (t, y, x) reflectance x 1e4 and uint8 states, about a third of them not clear."""
    rng = np.random.default_rng(seed)
    stack = rng.integers(1, 9000, (depth, size, size)).astype(np.uint16)
    return stack, np.where(rng.random(stack.shape) < 0.35, 2, 1).astype(np.uint8)


def half_up(values: Any) -> np.ndarray:
    return np.floor(np.nan_to_num(np.asarray(values), nan=0.0) + 0.5).astype(np.uint16)


def quiet(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args, **options)


def median_one_thread(depth: int, size: int, rounds: int) -> Timed:
    import bottleneck

    from minescale import kernels as K

    stack, states = looks(depth, size, depth)
    nan = np.where(states == 1, stack, np.nan).astype(np.float32)
    ways: dict[str, Way] = {
        "minescale": lambda: K.median(stack, states),
        "numpy": lambda: quiet(np.nanmedian, nan, axis=0),
        "bottleneck": lambda: quiet(bottleneck.nanmedian, nan, axis=0),
    }
    for name in ("numpy", "bottleneck"):
        gate(f"median of {depth}, {name}", ways["minescale"](), half_up(ways[name]()))
    return interleaved(ways, rounds)


def median_on_dask(depth: int, size: int, rounds: int, threads: int) -> Timed:
    """Four tiles on equally many threads: ours from a pool, as a worker has them, xarray's chunk by chunk on Dask."""
    import dask
    import xarray as xr

    from minescale import kernels as K

    tiles = [looks(depth, size, seed) for seed in range(4)]
    chunks = {"t": depth, "y": size, "x": size}
    data, clear = (
        xr.DataArray(np.concatenate([tile[i] for tile in tiles], axis=1), dims=("t", "y", "x")).chunk(chunks)
        for i in (0, 1)
    )

    def on_dask() -> Any:
        with dask.config.set(scheduler="threads", num_workers=threads):
            return quiet(lambda: data.where(clear == 1).median("t", skipna=True).to_numpy())

    with ThreadPoolExecutor(threads) as pool:
        ways: dict[str, Way] = {
            "minescale": lambda: list(pool.map(lambda tile: K.median(*tile), tiles)),
            "xarray + Dask": on_dask,
        }
        gate(f"median of {depth}, xarray", np.concatenate(ways["minescale"]()), half_up(on_dask()))
        return interleaved(ways, rounds)


def geomedian(size: int, rounds: int, threads: int) -> dict[str, Any]:
    """Twelve dates and six bands of changing ground under noise, haze and clouds that the mask missed."""
    from minescale import kernels as K

    rng = np.random.default_rng(3)
    ground = rng.integers(300, 4000, (1, 6, size, size))
    stack = ground * rng.normal(1, 0.04, (12, 1, size, size)) + rng.normal(0, 60, (12, 6, size, size))
    stack += np.where(rng.random((12, 1, size, size)) < 0.05, 3000, 0)
    layers = np.clip(stack, 1, 65535).astype(np.uint16)
    states = looks(12, size, 4)[1]
    part = np.s_[: min(size, 96), : min(size, 96)]
    exact = float64_geomedian(layers[(..., *part)], states[(..., *part)])
    agreement = _near(K.geomedian(layers, states)[(..., *part)], exact, layers[(..., *part)], states[(..., *part)])
    with ThreadPoolExecutor(threads) as pool:
        found = interleaved(
            {"minescale": lambda: list(pool.map(lambda _: K.geomedian(layers, states), range(4)))}, rounds
        )
    rates = [4 * size * size / 1e6 / turn["wall_s"] for turn in found["minescale"]]
    return {"threads": threads, "mpx_per_s": rates, **agreement, "runs": found["minescale"]}


def _near(got: np.ndarray, exact: np.ndarray, stack: np.ndarray, states: np.ndarray) -> dict[str, float]:
    """How near a geomedian is to the exact one, in reflectance: itself, and the mean distance that it minimises.

    Where the looks fall into two halves the minimum is a flat valley: far apart itself, equal in the distance.
    """
    ok = (states == 1) & (stack != 0).all(axis=1)
    own, best = (
        (np.sqrt(((stack - middle) ** 2).sum(axis=1)) * ok).sum(axis=0) / np.maximum(ok.sum(axis=0), 1)
        for middle in (got.astype(np.float64), exact)
    )
    excess = float((own - best).max()) * DN
    within = float((np.abs(got - exact).max(axis=0) <= 1).mean())
    if excess > 1e-4 or within < 0.99:
        sys.exit(f"geomedian: {within:.2%} of pixels within {DN} of float64, mean distance up to {excess:.1e} longer")
    return {"within_1e-4": within, "distance_excess": excess}


def float64_geomedian(stack: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Weiszfeld in float64 until nothing moves by a millionth of a digital number; (band, y, x), 0 without a look."""
    depth, bands, *shape = stack.shape
    points = stack.reshape(depth, bands, -1).astype(np.float64)
    ok = ((states.reshape(depth, 1, -1) == 1) & (points != 0).all(axis=1, keepdims=True)).astype(np.float64)
    middle = (points * ok).sum(axis=0) / np.maximum(ok.sum(axis=0), 1)
    open_ = np.flatnonzero(ok.sum(axis=(0, 1)) > 2)
    for _ in range(20_000):
        away = points[..., open_] - middle[:, open_]
        weight = ok[..., open_] / np.sqrt(np.maximum((away**2).sum(axis=1, keepdims=True), 1e-12))
        step = (weight * away).sum(axis=0) / weight.sum(axis=0)
        middle[:, open_] += step
        open_ = open_[np.abs(step).max(axis=0) >= 1e-6]
        if not open_.size:
            break
    return middle.reshape(bands, *shape)


def chain_input(size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint16 (band, t, y, x) and classes uint8 (t, y / 2, x / 2): 10 m bands under a 20 m quality band."""
    rng = np.random.default_rng(8)
    stack = np.empty((len(SYMBOLS), 12, size, size), np.uint16)
    for band in stack:
        band[:] = rng.integers(1, 9000, band.shape, np.uint16)
    return stack, rng.choice(np.array([4, 4, 5, 5, 6, 8, 9, 3], np.uint8), (12, size // 2, size // 2))


def chain(way: str, size: int, out: Path) -> dict[str, Any]:
    """In a child: mask, median and indices by one way, timed after a call on a corner; the result kept in a file."""
    work = {"minescale": _chain_whole, "minescale strips": _chain_strips, "xarray": _chain_xarray}[way]
    stack, classes = chain_input(size)
    if way == "minescale strips":
        cuts = [
            (np.ascontiguousarray(stack[:, :, top : top + STRIP_ROWS]),
             np.ascontiguousarray(classes[:, top // 2 : (top + STRIP_ROWS) // 2]))
            for top in range(0, size, STRIP_ROWS)
        ]  # fmt: skip
        del stack, classes
        work(cuts[:1])
        given: Any = cuts
    else:
        work((np.ascontiguousarray(stack[..., :64, :64]), np.ascontiguousarray(classes[:, :32, :32])))
        given = (stack, classes)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    wall, cpu = time.perf_counter(), time.process_time()
    indices = work(given)
    spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = _memory("VmHWM")
    np.save(out, indices)
    return {**spent, "peak_rss": peak, "peak_above_input": peak - before}


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def _chain_whole(given: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    from minescale import kernels as K
    from minescale.sensors import CLEAR

    stack, classes = given
    states = K.decode_classes(classes, K.class_table(dict.fromkeys(CLEAR_CLASSES, CLEAR)))
    composite = np.empty((len(stack), *stack.shape[2:]), np.uint16)
    for band, image in zip(stack, composite, strict=True):
        K.median(band, states, 2, image)
    return K.index_kernel(K.SEED_INDICES, SYMBOLS)(composite)


def _chain_strips(given: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    from minescale import kernels as K

    indices = np.empty((len(K.SEED_INDICES), len(given) * STRIP_ROWS, given[0][0].shape[-1]), np.float32)
    for number, strip in enumerate(given):
        rows = np.s_[:, number * STRIP_ROWS : (number + 1) * STRIP_ROWS]
        indices[rows] = _chain_whole(strip)
    return indices


def _chain_xarray(given: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    import xarray as xr

    from minescale import kernels as K
    from minescale.kernels.indices import expression_of

    stack, classes = given
    data = xr.DataArray(stack, dims=("band", "t", "y", "x"), coords={"band": list(SYMBOLS)})
    clear = xr.DataArray(np.isin(classes, CLEAR_CLASSES).repeat(2, 1).repeat(2, 2), dims=("t", "y", "x"))
    median = quiet(lambda: data.where(clear).median("t", skipna=True))
    bands = {symbol: np.floor(median.sel(band=symbol, drop=True) + 0.5) for symbol in SYMBOLS}
    found = [eval(expression_of(name), {"__builtins__": {}}, bands) for name in K.SEED_INDICES]  # noqa: S307
    return np.asarray(xr.concat(found, "index").transpose("index", "y", "x").to_numpy())


def chains(size: int, rounds: int, folder: Path) -> dict[str, Any]:
    found: dict[str, list[Any]] = {way: [] for way in CHAINS}
    for number in range(rounds):
        for way in CHAINS:
            task = {"way": way, "size": size, "out": str(folder / f"{way}.npy")}
            found[way].append(run(__file__, "--child", json.dumps(task)))
        if number == 0:
            results = [np.load(folder / f"{way}.npy", mmap_mode="r") for way in CHAINS]
            gate("indices in strips", results[1], results[0])
            gate("indices, xarray", results[2], results[0], tolerance=1e-6)
    return found


def each(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Every kernel of the parity tests: CPU seconds, bytes of its input, and how much longer NumPy takes."""
    from comparisons import COMPARISONS, agree

    for comparison in COMPARISONS:
        if comparison.name.startswith("percentile") and comparison.name != "percentile-50":
            continue  # the same kernel, and NumPy takes long
        given = comparison.make((12, size, size), np.random.default_rng(0))
        ways: dict[str, Way] = {"minescale": lambda c=comparison, g=given: c.kernel(*g)}
        if not comparison.slow_twin:
            ways["numpy"] = lambda c=comparison, g=given: c.twin(*g)
            agree(ways["minescale"](), ways["numpy"](), comparison.tolerance)
        found = interleaved(ways, rounds, 0.01)
        yield {
            "name": comparison.name,
            "bytes": sum(a.nbytes for a in given if isinstance(a, np.ndarray)),
            "cpu_s": [turn["cpu_s"] for turn in found["minescale"]],
            "over_numpy": ratios(found, "numpy") if "numpy" in found else None,
        }


def decode_rate(size: int, rounds: int) -> list[float]:
    """MB that GDAL decodes per CPU second: deflate with predictor 2 in blocks of 512, smooth ground under noise."""
    import rasterio
    from rasterio.io import MemoryFile

    rng = np.random.default_rng(1)
    smooth = rng.normal(1500, 400, (size // 16, size // 16)).repeat(16, 0).repeat(16, 1)
    pixels = np.clip(smooth + rng.normal(0, 25, (size, size)), 1, 9000).astype(np.uint16)
    options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2}
    with MemoryFile() as file:
        with file.open(driver="GTiff", width=size, height=size, count=1, dtype="uint16", **options) as target:
            target.write(pixels, 1)

        def decode() -> None:
            # A cache of 0 MB, or the second read would come from it.
            with rasterio.Env(GDAL_CACHEMAX=0), file.open() as source:
                source.read(1)

        found = interleaved({"decode": decode}, rounds)["decode"]
    return [pixels.nbytes / 1e6 / turn["cpu_s"] for turn in found]


def ratios(found: Timed, other: str, key: str = "cpu_s") -> list[float]:
    return [theirs[key] / ours[key] for theirs, ours in zip(found[other], found["minescale"], strict=True)]


def measure(size: int, rounds: int, folder: Path) -> dict[str, Any]:
    threads = 2
    results: dict[str, Any] = {"size": size, "rounds": rounds, "threads": threads}
    results["median"] = {str(depth): median_one_thread(depth, size // 2, rounds) for depth in (12, 24)}
    results["median_on_dask"] = {"60": median_on_dask(60, size // 4, rounds, threads)}
    results["geomedian"] = geomedian(size // 4, rounds, threads)
    results["chain"] = chains(size, rounds, folder)
    results["decode_mb_per_s"] = decode_rate(2 * size, rounds)
    results["each"] = list(each(size // 4, rounds))
    return results


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="pixels along an edge of the chain's image")
    parser.add_argument("--quick", action="store_true", help="small images, one round: does it run?")
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        tell(chain(args.child["way"], args.child["size"], Path(args.child["out"])))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measure(256 if args.quick else args.size, 1 if args.quick else args.rounds, Path(folder))
    report(results)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def report(results: dict[str, Any]) -> None:
    for depth, found in results["median"].items():
        for other in ("numpy", "bottleneck"):
            print(f"median of {depth}, one thread: {spread(ratios(found, other))} x {other}")
    for depth, found in results["median_on_dask"].items():
        both = (spread(ratios(found, "xarray + Dask", key)) for key in ("wall_s", "cpu_s"))
        print(
            "median of {}, {} threads: {} x xarray on Dask in wall, {} in CPU".format(depth, results["threads"], *both)
        )
    found = results["geomedian"]
    near = (
        f"{found['within_1e-4']:.2%} of pixels within 1e-4, mean distance up to {found['distance_excess']:.0e} longer"
    )
    print(f"geomedian, {found['threads']} threads: {spread(found['mpx_per_s'])} Mpx/s; {near}")
    found = results["chain"]
    for other in CHAINS[1:]:
        memory = statistics.median(ratios(found, other, "peak_rss"))
        print(f"chain beside {other}: {spread(ratios(found, other))} x in CPU, {memory:.1f} x in peak memory")
    rate = statistics.median(results["decode_mb_per_s"])
    print(f"decode: {rate:.0f} MB per CPU second; kernels beside the decode of their own input:")
    for row in results["each"]:
        speed = row["bytes"] / 1e6 / statistics.median(row["cpu_s"])
        numpy = "" if row["over_numpy"] is None else f", {statistics.median(row['over_numpy']):.1f} x NumPy"
        print(f"  {row['name']:<24} {speed / rate:7.1f} x{numpy}")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


if __name__ == "__main__":
    main()
