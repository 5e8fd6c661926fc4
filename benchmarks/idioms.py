"""The same area through what a user would pick instead, in one interleaved run: wall, CPU, bytes, peak memory.

    python benchmarks/idioms.py --rounds 3 --json benchmarks/results/idioms.json

Every variant reads the same scenes of a synthetic region, masks clouds by SCL (no dilation), takes the median of
the clear looks, harmonises both radiometric baselines, runs the same weightless index model and writes a Zarr
array of uint8 probability. Each runs in a fresh process with a Dask cluster of the same workers; the cluster and
the JIT are warm before the clock starts.

Figures count only if the variant's output agrees with ours: to one code of 0.004 on every pixel whose scenes all
lie on the mosaic's grid; and where scenes of another zone are warped, to within what ours holds in the pixel and its
eight neighbours on 99.9 % of pixels, because GDAL's warp places pixels to an eighth of a pixel and so takes the
neighbour of some. Who is right there is decided by `referee.py`, which works out single pixels exactly: all of ours
must equal its answer. The run ends with an error where one does not.

Wall is elapsed time; CPU, peak memory (sum of resident sets) and bytes (``rchar``: what read calls returned) are
taken over the process tree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from children import run, tell

BANDS = ("blue", "red", "nir", "swir16", "swir22")
ASSETS = {"blue": "B02", "red": "B04", "nir": "B08", "swir16": "B11", "swir22": "B12"}
CLEAR_CLASSES = (2, 4, 5, 6, 7)
MODEL = "baseline"
CHUNK = 2048


@dataclass(frozen=True)
class Case:
    """What every variant is given."""

    catalog: str
    crs: str
    left: float
    top: float
    resolution: float
    shape: tuple[int, int]
    bbox: tuple[float, float, float, float]
    period: str
    workers: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        rows, cols = self.shape
        return (self.left, self.top - rows * self.resolution, self.left + cols * self.resolution, self.top)


def make_case(spec_name: str, workers: int) -> Case:
    """The grid that minescale plans for the region; everyone else is given the same."""
    from minescale import api, synthetic
    from minescale.config import load_config

    region = synthetic.ensure_region(getattr(synthetic, spec_name))
    wanted = api.request(catalog=str(region.catalog), bbox=region.bbox, datetime=region.period, model=MODEL)
    grid = api.plan(wanted, load_config(overrides={"pyramid.mode": "off"})).grid
    return Case(
        catalog=str(region.catalog),
        crs=grid.crs,
        left=grid.left,
        top=grid.top,
        resolution=grid.resolution,
        shape=grid.shape,
        bbox=region.bbox.as_tuple(),
        period=str(region.period),
        workers=workers,
    )


def _items(case: Case) -> list[Any]:
    import pystac

    catalog = pystac.Catalog.from_file(case.catalog)
    items = list(catalog.get_items(recursive=True))
    for item in items:
        item.make_asset_hrefs_absolute()
    return sorted(items, key=lambda item: (item.datetime, item.id))


def _offset(item: Any) -> int:
    """Added to reflectance x 1e4 by processing baseline 04.00 and later."""
    return 1000 if float(item.properties["s2:processing_baseline"]) >= 4 else 0


def _predict(composite: np.ndarray) -> np.ndarray:
    """(y, x, band) uint16 reflectance to uint8 probability codes: one function for every variant."""
    from minescale.models.package import load_package
    from minescale.models.predictor import load_predictor
    from minescale.models.windows import predict_tile
    from minescale.store.codes import encode_probability

    predictor = load_predictor(load_package(MODEL))
    return encode_probability(predict_tile(predictor, np.ascontiguousarray(np.moveaxis(composite, -1, 0)), 0))


def _finish(median: Any, out: str) -> None:
    """Float median (band, y, x), NaN where never clear, to a Zarr array of probability codes."""
    import xarray as xr

    composite = np.floor(median + 0.5).fillna(0).astype("uint16").chunk({"band": -1})
    probability = xr.apply_ufunc(
        _predict,
        composite,
        input_core_dims=[["band"]],
        dask="parallelized",
        output_dtypes=["uint8"],
    )
    probability.attrs = {}
    probability.drop_vars(list(probability.coords)).to_dataset(name="probability").to_zarr(out, mode="w")


def odc_stac(case: Case, out: str) -> None:
    import odc.stac
    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox

    items = _items(case)
    geobox = GeoBox(case.shape, Affine(case.resolution, 0, case.left, 0, -case.resolution, case.top), case.crs)
    cube = odc.stac.load(
        items,
        bands=[*ASSETS.values(), "SCL"],
        geobox=geobox,
        chunks={"x": CHUNK, "y": CHUNK},
        groupby="solar_day",
        resampling="nearest",
        dtype="uint16",
        nodata=0,
    )
    offsets = {str(item.datetime.date()): _offset(item) for item in items}
    shift = xr.DataArray([offsets[str(t)[:10]] for t in cube.time.values], dims="time", coords={"time": cube.time})
    clear = cube.SCL.isin(CLEAR_CLASSES)
    bands = cube[list(ASSETS.values())].to_dataarray("band")
    _finish(_median(bands, clear, shift), out)


def _median(bands: Any, clear: Any, shift: Any) -> Any:
    """Median over the clear looks; dark pixels stop at 1, which is the floor of valid data everywhere."""
    values = (bands.astype("float32") - shift).clip(min=1).where(clear & (bands > 0))
    return values.chunk({"time": -1}).median("time", skipna=True)


def stackstac_default(case: Case, out: str) -> None:
    _stackstac(case, out)


def stackstac_tuned(case: Case, out: str) -> None:
    _stackstac(case, out, dtype=np.dtype("uint16"), fill_value=np.uint16(0), rescale=False)


def _stackstac(case: Case, out: str, **options: Any) -> None:
    import pyproj
    import stackstac
    import xarray as xr
    from rasterio.enums import Resampling

    items = _items(case)
    plain = []
    for item in items:
        values = item.to_dict()
        code = values["properties"].get("proj:code") or f"EPSG:{values['properties']['proj:epsg']}"
        values["properties"]["proj:epsg"] = int(code.split(":")[1])
        plain.append(values)
    stack = stackstac.stack(
        plain,
        assets=[*ASSETS.values(), "SCL"],
        epsg=pyproj.CRS(case.crs).to_epsg(),
        resolution=case.resolution,
        bounds=case.bounds,
        snap_bounds=False,
        chunksize=CHUNK,
        resampling=Resampling.nearest,
        xy_coords="center",
        **options,
    )
    nodata = 0 if options else np.nan
    days = xr.DataArray([str(t)[:10] for t in stack.time.values], dims="time", coords={"time": stack.time})
    stack = stack.drop_vars([c for c in stack.coords if c not in stack.dims])
    # One look per day: neighbouring tiles of one pass overlap and must not count twice.
    daily = stack.groupby(days.rename("day")).map(lambda part: stackstac.mosaic(part, nodata=nodata))
    offsets = {str(item.datetime.date()): _offset(item) for item in items}
    daily = daily.rename(day="time")
    shift = xr.DataArray([offsets[str(t)] for t in daily.time.values], dims="time", coords={"time": daily.time})
    clear = daily.sel(band="SCL").isin(CLEAR_CLASSES)
    bands = daily.sel(band=list(ASSETS.values()))
    _finish(_median(bands, clear.drop_vars("band"), shift), out)


def _minescale(case: Case, out: str, overrides: dict[str, Any], model: str = MODEL) -> None:
    from distributed import get_client

    from minescale import api
    from minescale.config import load_config
    from minescale.engine.run import run_plan
    from minescale.planning.run_dir import RunDir

    address = get_client().scheduler.address
    settings = {"mask.dilate_m": 0, "grid.crs": case.crs, "grid.resolution": 10, "engine.cluster": address, **overrides}
    wanted = api.request(catalog=case.catalog, bbox=case.bbox, datetime=case.period, model=model)
    planned = api.plan(wanted, load_config(overrides=settings))
    folder = RunDir(out)
    folder.save_plan(planned)
    run_plan(planned, folder)


def minescale_flat(case: Case, out: str) -> None:
    _minescale(case, out, {"pyramid.mode": "off"})


VARIANTS: dict[str, Callable[[Case, str], None]] = {
    "odc-stac": odc_stac,
    "stackstac default": stackstac_default,
    "stackstac uint16": stackstac_tuned,
    "minescale flat": minescale_flat,
}


def read_output(variant: str, out: str) -> np.ndarray:
    import zarr

    if variant.startswith("minescale"):
        return np.asarray(zarr.open_array(f"{out}/mosaic.zarr/0/probability", mode="r")[0])
    return np.asarray(zarr.open_array(f"{out}/probability", mode="r")[...])


FORKED_S = 0.3


class Meter:
    """CPU seconds, bytes read and peak resident memory of this process and all below it."""

    def __enter__(self) -> Meter:
        self.root = psutil.Process()
        self.peak = 0
        self._stop = threading.Event()
        self._before = self._totals()
        self._started = time.perf_counter()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._started
        self._stop.set()
        self._thread.join()
        cpu, read = self._totals()
        self.cpu, self.read = cpu - self._before[0], read - self._before[1]

    def _processes(self) -> list[psutil.Process]:
        return [self.root, *self.root.children(recursive=True)]

    def _totals(self) -> tuple[float, int]:
        cpu, read = 0.0, 0
        for process in self._processes():
            times = process.cpu_times()
            cpu += times.user + times.system
            read += process.io_counters().read_chars
        return cpu, read

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            total = 0
            for process in self._processes():
                try:
                    # A process that was forked a moment ago shows its parent's pages as its own.
                    if time.time() - process.create_time() > FORKED_S:
                        total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


def run_one(variant: str, case: Case, out: str) -> dict[str, float]:
    """Run in this process: warm cluster and JIT on a small area, then measure the whole."""
    from dataclasses import replace

    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=case.workers, threads_per_worker=1, dashboard_address=None, silence_logs=40) as cluster,
        Client(cluster),
    ):
        from minescale.types import BBox

        w, s, e, n = case.bbox
        small = BBox(w + 0.45 * (e - w), s + 0.45 * (n - s), w + 0.55 * (e - w), s + 0.55 * (n - s)).as_tuple()
        rows, cols = (max(size // 8, 64) // 8 * 8 for size in case.shape)
        # The middle: beyond the edge of the scenes there would be nothing to warm up on.
        left = case.left + case.shape[1] // 2 * case.resolution
        top = case.top - case.shape[0] // 2 * case.resolution
        VARIANTS[variant](replace(case, shape=(rows, cols), bbox=small, left=left, top=top), out + "-warm")
        with Meter() as meter:
            VARIANTS[variant](case, out)
    return {"wall_s": meter.wall, "cpu_s": meter.cpu, "bytes": float(meter.read), "peak_rss": float(meter.peak)}


JUDGED = 50_000
"""Pixels that the referee works out, at most, of each kind."""
OWN_GRID, NEAR = 1.0, 0.999
"""Share of pixels that must agree where nothing is warped, and up to a neighbour's value where something is."""


def warped_area(case: Case) -> np.ndarray:
    """(y, x) True where a scene of another zone reaches: everything a variant reads there is resampled."""
    from affine import Affine
    from rasterio.features import geometry_mask
    from rasterio.warp import transform_geom

    foreign = []
    for item in _items(case):
        code = item.properties.get("proj:code") or f"EPSG:{item.properties['proj:epsg']}"
        if code != case.crs:
            foreign.append(transform_geom("EPSG:4326", case.crs, item.geometry))
    if not foreign:
        return np.zeros(case.shape, bool)
    lattice = Affine(case.resolution, 0, case.left, 0, -case.resolution, case.top)
    return geometry_mask(foreign, case.shape, lattice, all_touched=True, invert=True)


def agreement(reference: np.ndarray, other: np.ndarray, warped: np.ndarray) -> dict[str, float]:
    """Share of pixels that are both unseen, or both seen and within one code (0.004)."""
    from scipy.ndimage import maximum_filter, minimum_filter

    ours, theirs = reference.astype(np.int16), other.astype(np.int16)
    same = (np.abs(ours - theirs) <= 1) & ((ours == 255) == (theirs == 255))
    near = (theirs >= minimum_filter(ours, 3) - 1) & (theirs <= maximum_filter(ours, 3) + 1)
    return {
        "own_grid": float(np.mean(same[~warped])) if not warped.all() else 1.0,
        "warped": float(np.mean(same[warped])) if warped.any() else 1.0,
        "near": float(np.mean(near[warped])) if warped.any() else 1.0,
        "warped_share": float(warped.mean()),
    }


def judged(case: Case, outputs: dict[str, np.ndarray], warped: np.ndarray) -> dict[str, dict[str, float]]:
    """Shares of pixels that equal the exact answer: of warped ones, and of those among them that variants differ on."""
    from referee import exact_medians

    ours = outputs["minescale flat"].astype(np.int16)
    differ = np.zeros_like(warped)
    for image in outputs.values():
        differ |= warped & (np.abs(ours - image.astype(np.int16)) > 1)
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for kind, among in (("any", warped), ("differing", differ)):
        pixels = np.flatnonzero(among)
        if not len(pixels):
            continue
        rows, cols = np.divmod(rng.choice(pixels, min(len(pixels), JUDGED), replace=False), case.shape[1])

        x, y = case.left + (cols + 0.5) * case.resolution, case.top - (rows + 0.5) * case.resolution
        medians, certain = exact_medians(
            _items(case), list(ASSETS.values()), "SCL", CLEAR_CLASSES, _offset, x, y, case.crs
        )
        # One row of pixels: the model looks at each by itself.
        composite = np.nan_to_num(np.floor(medians + 0.5)).astype(np.uint16).T[None]
        exact = _predict(composite)[0].astype(np.int16)
        found[kind] = {"pixels": float(certain.sum())}
        for name, image in outputs.items():
            right = np.abs(image[rows, cols].astype(np.int16) - exact) <= 1
            found[kind][name] = float(np.mean(right[certain])) if certain.any() else 1.0
    return found


def agrees(share: dict[str, float]) -> bool:
    return share["own_grid"] >= OWN_GRID and share["near"] >= NEAR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", default="DEMO", help="DEMO or SMALL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=psutil.cpu_count() or 1)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    parser.add_argument("--child", nargs=3, metavar=("VARIANT", "CASE", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        variant, case_file, out = args.child
        values = json.loads(Path(case_file).read_text())
        case = Case(**{**values, "shape": tuple(values["shape"]), "bbox": tuple(values["bbox"])})
        tell(run_one(variant, case, out))
        return
    case = make_case(args.region, args.workers)
    with tempfile.TemporaryDirectory() as folder:
        case_file = Path(folder) / "case.json"
        case_file.write_text(json.dumps(asdict(case)))
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in args.variants}
        outputs: dict[str, np.ndarray] = {}
        for number in range(args.rounds):
            for variant in args.variants:
                out = f"{folder}/{variant.replace(' ', '-')}-{number}"
                figures[variant].append(run(__file__, "--child", variant, str(case_file), out))
                outputs.setdefault(variant, read_output(variant, out))
                print(f"round {number + 1} {variant}: {figures[variant][-1]}", flush=True)
    report(case, figures, outputs, args.json)


def report(
    case: Case, figures: dict[str, list[dict[str, float]]], outputs: dict[str, np.ndarray], file: Path | None
) -> None:
    ours = "minescale flat"
    warped = warped_area(case)
    same = {name: agreement(outputs[ours], image, warped) for name, image in outputs.items()} if ours in outputs else {}
    rounds = len(next(iter(figures.values())))
    print(f"\n{case.shape[0]} x {case.shape[1]} px, {case.workers} workers, {rounds} rounds: median [min, max]")
    print(f"{'variant':<19}{'wall s':>21}{'cpu s':>21}{'MB read':>9}{'peak MB':>9}", end="")
    print(f"{'wall x':>8}{'cpu x':>8}{'peak x':>8}{'own grid':>10}{'warped':>9}{'near':>9}")
    for name, runs in figures.items():
        base = figures.get(ours, runs)
        share = same.get(name, dict.fromkeys(("own_grid", "warped", "near"), float("nan")))
        print(f"{name:<19}{_spread(runs, 'wall_s'):>21}{_spread(runs, 'cpu_s'):>21}", end="")
        print(f"{_middle(runs, 'bytes') / 1e6:>9.0f}{_middle(runs, 'peak_rss') / 1e6:>9.0f}", end="")
        ratios = (_middle(runs, key) / _middle(base, key) for key in ("wall_s", "cpu_s", "peak_rss"))
        print("".join(f"{ratio:>8.2f}" for ratio in ratios), end="")
        print(f"{share['own_grid']:>10.5f}{share['warped']:>9.4f}{share['near']:>9.4f}")
    exact = judged(case, outputs, warped) if ours in outputs else {}
    for kind, shares in exact.items():
        right = ", ".join(f"{name} {share:.5f}" for name, share in shares.items() if name != "pixels")
        print(f"equal to the exact answer, {shares['pixels']:.0f} warped pixels, {kind}: {right}")
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {"case": asdict(case) | {"catalog": ""}, "runs": figures, "agreement": same, "exact": exact}
        file.write_text(json.dumps(kept, indent=1) + "\n")
    if any(shares[ours] < 1 for shares in exact.values()):
        sys.exit(f"{ours} differs from the exact answer: {exact}")
    wrong = [name for name, share in same.items() if not agrees(share)]
    if wrong:
        sys.exit(f"outputs differ from {ours}: {', '.join(wrong)}; its figures do not count")


def _middle(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _spread(runs: list[dict[str, float]], key: str) -> str:
    values = [run[key] for run in runs]
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


if __name__ == "__main__":
    main()
