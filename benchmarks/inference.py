"""Mpx/s of the shipped models on one thread, in the ways at hand, beside the decode of what they score.

    python benchmarks/inference.py --rounds 5 --json benchmarks/results/inference.json

``tile`` is `predict_tile` as a worker calls it, allocator included: 1024 px of core, halo, windows and blending.
``patch`` is the demo's U-Net on one patch, ``networks`` are the other families with random weights on patches of 256
px, each by eager torch (as scans run it), torch.compile, and the engines of `minescale.models.engines` on the same one
thread; each must agree with eager torch to 1e-4 before it is timed. torch.compile needs a C compiler, the engines
`minescale[fast]`, SegFormer and ResNet `minescale[train]`: what is absent is left out. Nothing runs in less than
float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

MODELS = {"index (baseline)": "baseline", "pixel (screen of demo)": "screen", "U-Net (demo)": "demo"}
OURS = "torch, as scans run it"
BYTES_PER_PIXEL_AND_DATE = 9.25
"""Four bands of 10 m, four and the quality band of 20 m."""
DATES = 12
DECODE_MB_PER_S = 250
"""What a core decodes, see kernels.py."""

Way = Callable[[], Any]


def interleaved(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a call, by round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            before = time.process_time()
            way()
            found[name].append(time.process_time() - before)
    return found


def package_of(name: str) -> Any:
    from minescale.models.package import load_package

    if name != "screen":
        return load_package(name)
    screen = load_package("demo").screen
    assert screen is not None
    return screen


def tiles(size: int) -> dict[str, Way]:
    from minescale.models.predictor import load_predictor
    from minescale.models.windows import predict_tile

    rng = np.random.default_rng(0)
    ways: dict[str, Way] = {}
    for title, name in MODELS.items():
        predictor = load_predictor(package_of(name), "cpu")
        spec = predictor.spec
        edge = size + 2 * spec.halo
        image = rng.integers(200, 5000, (len(spec.bands), edge, edge)).astype(np.uint16)
        ways[title] = lambda p=predictor, i=image, h=spec.halo: predict_tile(p, i, h)
    return ways


def random_package(family: str, folder: Path) -> Any:
    """A network of a family with random weights: how fast it runs does not depend on them."""
    import torch

    from minescale.models.network import architecture, build_network, state_arrays
    from minescale.models.package import write_package
    from minescale.models.spec import ModelSpec

    chips = {"task": "chips", "chip": 48} if architecture(family).task == "chips" else {}
    bands = ("blue", "green", "red", "nir", "swir16", "swir22")
    spec = ModelSpec(
        name=f"random-{family}",
        version="1.0.0",
        family=family,
        bands=bands,
        resolution=10.0,
        resolutions=(7.0, 15.0),
        classes=("background", "mining"),
        target="mining",
        threshold=0.5,
        patch=256,
        halo=64,
        mean=(0.1,) * len(bands),
        std=(0.1,) * len(bands),
        **chips,
    )
    torch.manual_seed(0)
    return write_package(folder / family, spec, state_arrays(build_network(spec)), "random weights", {})


def engines(package: Any, edge: int, quick: bool) -> Iterator[tuple[str, Way]]:
    """A network on one patch: (n, band, y, x) reflectance in, probabilities out."""
    from minescale.models.predictor import ENGINES, load_predictor

    shape = (1, len(package.spec.channels), edge, edge)
    patch = np.random.default_rng(1).uniform(0.01, 0.5, shape).astype(np.float32)
    predictor = load_predictor(package, "cpu")
    yield OURS, lambda: predictor.predict(patch)
    if not quick:
        yield "torch.compile", compiled(package, patch)
    for device, title in (("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")):
        if all(find_spec(name) for name in ENGINES[device]):
            other = load_predictor(package, device)
            yield title, lambda p=other: p.predict(patch)


def compiled(package: Any, patch: np.ndarray) -> Way:
    import torch

    from minescale.models.exported import Scorer

    module, example = torch.compile(Scorer(package, chips=False)), torch.from_numpy(patch)

    def call() -> Any:
        with torch.inference_mode():
            return module(example.contiguous(memory_format=torch.channels_last)).numpy()

    return call


def timed(package: Any, edge: int, rounds: int, quick: bool) -> tuple[dict[str, list[float]], dict[str, float]]:
    """CPU seconds of a patch by round, and wall seconds until the first result, by way."""
    found, setup, wanted = {}, {}, None
    ways, began = engines(package, edge, quick), time.perf_counter()
    for name, way in ways:
        got = way()
        setup[name] = time.perf_counter() - began
        wanted = got if wanted is None else wanted
        # Networks whose edges are padded otherwise differ there, and scans do not look at it.
        inner = np.s_[..., package.spec.halo : -package.spec.halo, package.spec.halo : -package.spec.halo]
        worst = float(np.abs(got[inner] - wanted[inner]).max())
        if not worst <= 1e-4:
            sys.exit(f"{package.spec.name}, {name}: probabilities differ by {worst:g}, allowed 1e-4")
        found[name] = way
        began = time.perf_counter()
    return interleaved(found, rounds), setup


def measure(size: int, rounds: int, quick: bool, families: list[str]) -> dict[str, Any]:
    import torch

    from minescale.engine.heap import keep_freed_memory
    from minescale.models.network import architectures

    torch.set_num_threads(1)
    keep_freed_memory()
    edge = package_of("demo").spec.patch if not quick else 256
    others = [name for name in families if name in architectures()]
    if not find_spec("transformers"):
        others = [name for name in others if name not in {"segformer", "resnet34"}]
    networks = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINESCALE_CACHE"] = folder
        patch, setup = timed(package_of("demo"), edge, rounds, quick)
        for name in others:
            cpu_s, first_s = timed(random_package(name, Path(folder)), 256, rounds, quick)
            networks[name] = {"edge": 256, "cpu_s": cpu_s, "first_s": first_s}
    return {
        "size": size,
        "edge": edge,
        "tile_cpu_s": interleaved(tiles(size), rounds),
        "patch_cpu_s": patch,
        "patch_first_s": setup,
        "networks": networks,
    }


def report(results: dict[str, Any]) -> None:
    floor = DECODE_MB_PER_S / (BYTES_PER_PIXEL_AND_DATE * DATES)
    print(f"a core decodes about {floor:.1f} Mpx/s of {DATES} dates")
    for name, seconds in results["tile_cpu_s"].items():
        rates = [results["size"] ** 2 / 1e6 / s for s in seconds]
        print(f"tile, {name:<24} {spread(rates)} Mpx/s, {statistics.median(rates) / floor:.1f} x the decode")
    patches = {"U-Net (demo)": {"edge": results["edge"], "cpu_s": results["patch_cpu_s"]}, **results["networks"]}
    for network, found in patches.items():
        for name, seconds in found["cpu_s"].items():
            rates = [found["edge"] ** 2 / 1e6 / s for s in seconds]
            ratios = [own / other for own, other in zip(found["cpu_s"][OURS], seconds, strict=True)]
            print(f"patch, {network:<13} {name:<22} {spread(rates)} Mpx/s, {spread(ratios)} x ours")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="pixels along the edge of a tile's core")
    parser.add_argument("--quick", action="store_true", help="a small tile, one round, no torch.compile: does it run?")
    parser.add_argument("--networks", nargs="*", default=["patchcnn", "segformer", "resnet34"], metavar="FAMILY")
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    args = parser.parse_args()
    size, rounds = (256, 1) if args.quick else (args.size, args.rounds)
    results = measure(size, rounds, args.quick, ["patchcnn"] if args.quick else args.networks)
    report(results)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
