"""Running a model: one protocol, and a registry that finds the class for a family."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.models import costs
from minescale.models.package import ModelPackage
from minescale.models.plugins import brought, offered
from minescale.models.spec import HALO_STEP, ModelSpec, nearest

ENTRY_POINTS = "minescale.models"
"""Group of entry points by which other distributions add families: each a :class:`Family`."""


@runtime_checkable
class Predictor(Protocol):
    """A loaded model. Every implementation can be called from several threads at once."""

    @property
    def spec(self) -> ModelSpec: ...

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score a batch.

        Parameters
        ----------
        batch : float32 (n, band, y, x), reflectance 0-1, 0 where there is no data, bands as in ``spec.bands``.
            The same shape should come again and again: engines compile, tune or allocate per shape.

        Returns
        -------
        float32 (n, class, y, x), probabilities 0-1 that sum to 1 over the classes.
        """
        ...


@runtime_checkable
class ChipPredictor(Predictor, Protocol):
    """A loaded model that can score whole chips, where its task is ``chips``."""

    def classify(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, class) of whole chips, from reflectance float32 (n, channel, y, x)."""
        ...


AT_ONCE_BYTES = 256 << 20
"""Memory for the patches that go through a network at once on a CPU; more would not make it faster."""

Factory = Callable[[ModelPackage, str], Predictor]
"""(package, device) -> predictor; device is ``cpu``, ``cuda`` or ``cuda:N``."""
ENGINES: Mapping[str, tuple[str, ...]] = {
    "openvino": ("openvino", "onnx", "onnxscript"),
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
}
"""Names by which a network is run on the CPU in OpenVINO or ONNX Runtime, see :mod:`minescale.models.engines`, and the
libraries that each needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of model: how to load it and what running it costs."""

    factory: str | Factory
    """A callable, or ``"package.module:factory"``, whose libraries are imported when a model is loaded."""
    bytes_per_pixel: Callable[[ModelSpec], int]
    """Upper estimate of the memory ``predict`` needs per pixel of a patch, beyond its input; without loading it."""
    engines: bool = False
    """Whether the factory takes the names of :data:`ENGINES` for devices and hands them on."""
    torch: bool = True
    """Whether running it takes PyTorch, with the memory of its libraries; where not, it looks at each pixel alone."""
    together: bool = False
    """Whether ``predict`` takes patches together, up to :data:`AT_ONCE_BYTES`, not one after the other."""
    work: Callable[[ModelSpec], float] = lambda spec: 1.0  # noqa: ARG005
    """What a pixel costs, as a multiple of the U-Net of 16 channels that plans are priced by; of families without
    PyTorch, of an index model. Without loading it."""
    step: Callable[[ModelSpec], int] = lambda spec: HALO_STEP  # noqa: ARG005
    """Pixels that origins of patches are multiples of, so that strides lie on the same ground in every tile; a multiple
    of 8."""


_NETWORK = "minescale.models.network:NetworkPredictor"
_DEEPEST_STRIDE = 32
"""Of the networks whose features end at a thirty-second of the image's resolution."""
_FAMILIES: dict[str, Family] = {
    "ensemble": Family(
        factory="minescale.models.ensemble:EnsemblePredictor",
        bytes_per_pixel=costs.ensemble_bytes,
        engines=True,
        together=True,
        step=costs.ensemble_step,
        work=costs.ensemble_work,
    ),
    "index": Family(factory="minescale.models.index:IndexPredictor", bytes_per_pixel=costs.index_bytes, torch=False),
    "pixel": Family(factory="minescale.models.pixel:PixelPredictor", bytes_per_pixel=costs.pixel_bytes, torch=False),
    "kmeans": Family(
        factory="minescale.models.kmeans:KMeansPredictor", bytes_per_pixel=costs.feature_bytes, torch=False
    ),
    "trees": Family(
        factory="minescale.models.trees:TreesPredictor",
        bytes_per_pixel=costs.feature_bytes,
        torch=False,
        work=costs.trees_work,
    ),
    "patchcnn": Family(
        factory=_NETWORK,
        bytes_per_pixel=costs.patchcnn_bytes,
        together=True,
        step=costs.patchcnn_step,
        work=costs.patchcnn_work,
    ),
    "probe": Family(
        factory=_NETWORK,
        bytes_per_pixel=costs.probe_bytes,
        together=True,
        step=costs.probe_step,
        work=costs.probe_work,
    ),
    "resnet34": Family(factory=_NETWORK, bytes_per_pixel=costs.resnet34_bytes, together=True, work=costs.resnet34_work),
    "sam": Family(factory=_NETWORK, bytes_per_pixel=costs.sam_bytes, together=True, work=costs.sam_work),
    "segformer": Family(
        factory=_NETWORK,
        bytes_per_pixel=costs.segformer_bytes,
        together=True,
        step=lambda _: _DEEPEST_STRIDE,
        work=costs.segformer_work,
    ),
    "efficientunet": Family(
        factory=_NETWORK,
        bytes_per_pixel=costs.efficientunet_bytes,
        together=True,
        step=lambda _: _DEEPEST_STRIDE,
        work=costs.efficientunet_work,
    ),
    "two_stage": Family(
        factory="minescale.models.cascade:TwoStagePredictor",
        bytes_per_pixel=costs.two_stage_bytes,
        engines=True,
        work=costs.two_stage_work,
        step=lambda _: _DEEPEST_STRIDE,
    ),
    "unet": Family(
        factory="minescale.models.unet:UNetPredictor",
        bytes_per_pixel=costs.unet_bytes,
        step=costs.unet_step,
        work=costs.unet_work,
    ),
}
_CACHE: dict[tuple[str, str], Predictor] = {}
_LOCK = threading.RLock()  # a model may load others


def register_family(name: str, family: Family) -> None:
    """Add a family of models to this process.

    Raises
    ------
    ModelError
        where the name is taken by something else.
    """
    if _FAMILIES.get(name, family) != family:
        raise ModelError("model family is registered already", got=name, expected="a free name")
    _FAMILIES[name] = family


def families() -> tuple[str, ...]:
    """Names of the families that can be loaded, those of installed plugins included."""
    return tuple(sorted({*_FAMILIES, *offered(ENTRY_POINTS)}))


def load_predictor(package: ModelPackage, device: str = "auto") -> Predictor:
    """The predictor of a package; loaded once per process and device.

    Parameters
    ----------
    device : ``auto`` (a GPU for families that can use one, where there is one), ``cpu``, ``cuda`` or ``cuda:N``; or
        ``openvino`` or ``onnx``, which run networks on the CPU, faster where they are installed.

    Raises
    ------
    ModelError
        for an unknown family, an absent device, or weights that do not fit the specification.
    """
    resolved = resolve_device(package.spec, device)
    key = (package.digest, resolved)
    with _LOCK:
        if key not in _CACHE:
            family = find_family(package.spec.family)
            if resolved in ENGINES and not family.engines:
                family = _in_engine(package.spec, family)
            _CACHE[key] = _factory(family)(package, resolved)
        return _CACHE[key]


def _in_engine(spec: ModelSpec, family: Family) -> Family:
    """The family, run in another engine than torch."""
    from minescale.models.network import architectures

    if spec.family not in architectures():
        raise ModelError(
            f"model {spec.name} runs in no other engine",
            got=f"family {spec.family}",
            expected=", ".join(architectures()),
            fix="--device cpu",
        )
    return replace(family, factory="minescale.models.engines:EnginePredictor")


def resolve_device(spec: ModelSpec, device: str) -> str:
    """Name the device that ``auto`` stands for, and check one that was asked for.

    Raises
    ------
    ModelError
        where the device is unknown or absent.
    """
    if device not in {"auto", "cpu", *ENGINES} and not device.startswith("cuda"):
        raise ModelError("unknown device", got=device, expected="auto, cpu, cuda, cuda:N, openvino or onnx")
    if device == "cpu" or spec.pixelwise:
        return "cpu"
    if device in ENGINES:
        need_libraries(*ENGINES[device])
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    index = device.partition(":")[2] or "0"
    if not index.isdigit() or int(index) >= torch.cuda.device_count():
        raise ModelError(
            "device is not there", got=device, expected=f"one of {torch.cuda.device_count()} GPUs", fix="--device cpu"
        )
    return device


def need_libraries(*names: str) -> None:
    """Refuse to go on without optional libraries.

    Raises
    ------
    ModelError
        saying what to install.
    """
    absent = [name for name in names if find_spec(name) is None]
    if absent:
        raise ModelError("a library is not installed", got=", ".join(absent), fix="pip install 'minescale[fast]'")


def find_family(name: str) -> Family:
    """The family of that name: built in, registered, or offered by an installed plugin (a :class:`Family`).

    Raises
    ------
    ModelError
        naming the nearest family.
    """
    if name in _FAMILIES:
        return _FAMILIES[name]
    found = brought(ENTRY_POINTS, name, Family, "model family")
    if found is None:
        raise ModelError("unknown model family", got=name, expected=nearest(name, families()))
    return found


def _factory(family: Family) -> Factory:
    if not isinstance(family.factory, str):
        return family.factory
    module, _, attribute = family.factory.partition(":")
    return getattr(importlib.import_module(module), attribute)
