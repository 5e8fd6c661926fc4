"""Networks on a CPU by OpenVINO or ONNX Runtime: exported once per package, kept in the cache, run like any other."""

from __future__ import annotations

import hashlib
import importlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minescale._version import __version__
from minescale.cache import cache_root, locked
from minescale.errors import ModelError, StoreError
from minescale.models.exported import INPUT, Scorer, example_input, write_onnx
from minescale.models.network import NetworkPredictor, architecture
from minescale.models.package import ModelPackage
from minescale.models.predictor import ENGINES, need_libraries

PARITY = 1e-4
"""Largest difference of a probability from eager torch; an export that differs more is not used."""
_PIXELS = 1 << 16
"""Pixels that go through at once: what a layer writes stays in the cache until the next one reads it."""
_PROGRAMS = 4
"""Shapes for which a compiled program is kept; a scan has one or two."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class EnginePredictor(NetworkPredictor):
    """A network of a package in one of :data:`minescale.models.predictor.ENGINES`. Thread-safe.

    Float32 throughout, with as many threads as torch would take.
    """

    def __init__(self, package: ModelPackage, device: str) -> None:
        self._spec = package.spec
        self._stride = architecture(package.spec.family).stride
        self._pixels = _PIXELS
        self._net: Any = _Graphs(package, device)

    def _forward(self, part: NDArray[np.float32], step: int, forward: Run) -> NDArray[np.float32]:  # type: ignore[override]
        images = np.ascontiguousarray(part)
        if len(part) < step:
            images = np.concatenate([images, np.zeros((step - len(part), *part.shape[1:]), np.float32)])
        return forward(images)[: len(part)]


class _Graphs:
    """The two things a network can be asked for, each exported when it first is."""

    def __init__(self, package: ModelPackage, device: str) -> None:
        self._package, self._device = package, device
        self._loaded: dict[bool, Run] = {}
        self._lock = threading.Lock()

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._run(images, chips=False)

    def chip(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._run(images, chips=True)

    def _run(self, images: NDArray[np.float32], *, chips: bool) -> NDArray[np.float32]:
        with self._lock:
            if chips not in self._loaded:
                self._loaded[chips] = start(kept_export(self._package, self._device, chips=chips), self._device)
        return self._loaded[chips](images)


def kept_export(package: ModelPackage, device: str, *, chips: bool = False) -> Path:
    """The ONNX file of a package in the cache folder; made, and held against eager torch, where it is not there.

    Its name holds its checksum: one that was damaged is made again.

    Raises
    ------
    ModelError
        where the network cannot be exported, a library is missing, or the export computes something else.
    StoreError
        where the cache cannot be written.
    """
    kind = "chips" if chips else "pixels"
    versions = f"minescale-{__version__}-torch-{torch.__version__.partition('+')[0]}"
    folder = cache_root() / "exports" / package.digest[:40] / versions
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{kind}.lock"):
            for path in sorted(folder.glob(f"{kind}-*.onnx")):
                if path.stem.removeprefix(f"{kind}-") == _checksum(path):
                    return path
                path.unlink()
            return export(package, folder, device, chips=chips)
    except OSError as error:
        raise StoreError(
            "an export cannot be kept", got=f"{folder}: {error}", fix="MINESCALE_CACHE naming a writable folder"
        ) from error


def export(package: ModelPackage, folder: Path, device: str, *, chips: bool = False) -> Path:
    """Write ``<kind>-<checksum>.onnx`` into ``folder``, whole or not at all, once it was held against eager torch.

    Parameters
    ----------
    device : the engine of :data:`minescale.models.predictor.ENGINES` that it is tried in.

    Raises
    ------
    ModelError
        where the network cannot be exported, or computes something else in that engine.
    """
    need_libraries(*ENGINES[device])
    kind = "chips" if chips else "pixels"
    partial = folder / f".{kind}.partial.onnx"
    try:
        scorer = Scorer(package, chips=chips)
        write_onnx(scorer, package, partial)
        difference = worst_difference(scorer, package, partial, device)
        # Written this way round, a number that is none is refused as well.
        if not difference <= PARITY:
            raise ModelError(
                f"model {package.spec.name} computes something else in {device}",
                got=f"probabilities differ by {difference:.2g}",
                expected=f"at most {PARITY:g}",
                fix="--device cpu",
            )
        return partial.replace(folder / f"{kind}-{_checksum(partial)}.onnx")
    finally:
        partial.unlink(missing_ok=True)


def worst_difference(scorer: Scorer, package: ModelPackage, path: Path, device: str) -> float:
    """Largest difference between a probability of the file at ``path`` and of eager torch, on two small images."""
    images = example_input(package)
    with torch.inference_mode():
        wanted = scorer(images).numpy()
    return float(np.abs(start(path, device)(images.numpy()) - wanted).max())


def start(path: Path, device: str) -> Run:
    """A function that runs the ONNX file: float32 (n, channel, y, x) -> its probabilities."""
    # Workers are told by OMP_NUM_THREADS how many threads are theirs; torch has read it, or was told otherwise.
    threads = torch.get_num_threads()
    return _onnxruntime(path, threads) if device == "onnx" else _openvino(path, threads)


def _onnxruntime(path: Path, threads: int) -> Run:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin while they wait take the core from another worker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: images})[0]


def _openvino(path: Path, threads: int) -> Run:
    # Importing it sends usage statistics, unless the package for that is absent: then it does without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    openvino: Any = importlib.import_module("openvino")
    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        # Two workers that pin their only thread would share a core.
        "ENABLE_CPU_PINNING": False,
    }
    programs: dict[tuple[int, ...], Any] = {}
    lock = threading.Lock()

    def compiled(shape: tuple[int, ...]) -> Any:
        # A program for one shape runs up to twice as fast as one for any.
        with lock:
            if shape not in programs:
                model = core.read_model(path)
                model.reshape(list(shape))
                while len(programs) >= _PROGRAMS:
                    programs.pop(next(iter(programs)))
                programs[shape] = core.compile_model(model, "CPU", options)
            return programs[shape]

    # A request of its own for every call: those of several threads do not wait for, or write over, each other.
    return lambda images: compiled(images.shape).infer_new_request({0: images})[0]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]
