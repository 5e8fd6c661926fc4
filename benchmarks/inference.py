"""Mpx/s of the shipped models on one thread, in the ways at hand, beside the decode of what they score.

    python benchmarks/inference.py --rounds 5 --json benchmarks/results/inference.json

``tile`` is `predict_tile` as a worker calls it, allocator included: 1024 px of core, halo, windows and blending.
``patch`` is the U-Net alone on one patch in other engines; each must agree with ours to 1e-4 before it is timed.
torch.compile needs a C compiler, ONNX Runtime and OpenVINO their packages (onnxruntime, onnx, onnxscript; openvino):
what is absent is left out. No way runs in less than float32.
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


def engines(edge: int, folder: Path, quick: bool) -> Iterator[tuple[str, Way]]:
    """The U-Net on one patch: (n, band, y, x) reflectance in, probabilities out."""
    import torch
    from torch import nn

    from minescale.models.network import scale
    from minescale.models.unet import UNetPredictor

    predictor = UNetPredictor(package_of("demo"), "cpu")
    patch = np.random.default_rng(1).uniform(0.01, 0.5, (1, len(predictor.spec.bands), edge, edge)).astype(np.float32)
    yield OURS, lambda: predictor.predict(patch)

    class Scorer(nn.Module):
        """Everything in torch, to be handed to other engines."""

        def __init__(self) -> None:
            super().__init__()
            self.net = predictor._net

        def forward(self, x: Any) -> Any:
            return torch.softmax(self.net(scale(x, predictor._mean, predictor._scale)), dim=1)

    scorer, example = Scorer().eval(), torch.from_numpy(patch)

    def called(module: Any, memory_format: Any) -> Way:
        def call() -> Any:
            with torch.inference_mode():
                return module(example.contiguous(memory_format=memory_format)).numpy()

        return call

    yield "torch eager, channels last", called(scorer, torch.channels_last)
    yield "torch eager, input as given", called(scorer, torch.contiguous_format)
    if not quick:
        yield "torch.compile", called(torch.compile(scorer), torch.channels_last)
    if all(find_spec(name) for name in ("onnxruntime", "onnx", "onnxscript")):
        import onnxruntime

        file = str(folder / "unet.onnx")
        torch.onnx.export(scorer, (example,), file, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        yield "ONNX Runtime", lambda: session.run(None, {session.get_inputs()[0].name: patch})[0]
    if find_spec("openvino"):
        yield "OpenVINO", _openvino(scorer, example, patch)


def _openvino(scorer: Any, example: Any, patch: np.ndarray) -> Way:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(scorer, example_input=example)  # has to outlive the conversion
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(patch.shape))
    # Two workers that pin their only thread would share a core.
    options = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.Core().compile_model(model, "CPU", options)
    return lambda: compiled(patch)[0]


def measure(size: int, rounds: int, quick: bool) -> dict[str, Any]:
    import torch

    from minescale.engine.heap import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    edge = package_of("demo").spec.patch if not quick else 128
    with tempfile.TemporaryDirectory() as folder:
        ways = dict(engines(edge, Path(folder), quick))
        wanted = ways[OURS]()
        for name, way in ways.items():
            worst = float(np.abs(way() - wanted).max())
            if worst > 1e-4:
                sys.exit(f"{name}: probabilities differ by {worst:g}, allowed 1e-4")
        patch = interleaved(ways, rounds)
    return {"size": size, "edge": edge, "tile_cpu_s": interleaved(tiles(size), rounds), "patch_cpu_s": patch}


def report(results: dict[str, Any]) -> None:
    floor = DECODE_MB_PER_S / (BYTES_PER_PIXEL_AND_DATE * DATES)
    print(f"a core decodes about {floor:.1f} Mpx/s of {DATES} dates")
    for name, seconds in results["tile_cpu_s"].items():
        rates = [results["size"] ** 2 / 1e6 / s for s in seconds]
        print(f"tile, {name:<24} {spread(rates)} Mpx/s, {statistics.median(rates) / floor:.1f} x the decode")
    ours = results["patch_cpu_s"][OURS]
    for name, seconds in results["patch_cpu_s"].items():
        rates = [results["edge"] ** 2 / 1e6 / s for s in seconds]
        ratios = [own / other for own, other in zip(ours, seconds, strict=True)]
        print(f"patch, {name:<28} {spread(rates)} Mpx/s, {spread(ratios)} x ours")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="pixels along the edge of a tile's core")
    parser.add_argument("--quick", action="store_true", help="a small tile, one round, no torch.compile: does it run?")
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    args = parser.parse_args()
    results = measure(256 if args.quick else args.size, 1 if args.quick else args.rounds, args.quick)
    report(results)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
