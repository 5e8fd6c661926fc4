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
    step: Callable[[ModelSpec], int] = lambda spec: HALO_STEP  # noqa: ARG005
    """Pixels that origins of patches are multiples of, so that strides lie on the same ground in every tile; a multiple
    of 8."""


def _unet_bytes(spec: ModelSpec) -> int:
    # Scaled input and its folded copy, features at half the resolution (input, output, joined, workspace, and half as
    # much again that huge pages waste), scores. Folded by 4 there is a quarter of the features.
    width = int(spec.hyperparameters.get("width", 16))
    copies = 5 if spec.hyperparameters.get("logarithm") else 4
    return 4 * (copies * len(spec.channels) + 3 * width + 6 * len(spec.classes))


def _unet_step(spec: ModelSpec) -> int:
    options = spec.hyperparameters
    return max(HALO_STEP, int(options.get("fold", 2)) << (int(options.get("depth", 3)) - 1))


def _index_bytes(spec: ModelSpec) -> int:
    rules = spec.hyperparameters.get("rules", ())
    return 4 * (2 * len(spec.bands) + sum(len(rule["ramps"]) for rule in rules) + 8)


def _pixel_bytes(spec: ModelSpec) -> int:
    return 4 * (2 * len(spec.bands) + 6)


def _patchcnn_bytes(spec: ModelSpec) -> int:
    # Scaled input, the widest features with their workspace, logits and scores.
    width = int(spec.hyperparameters.get("width", 32))
    return 4 * (5 * len(spec.channels) + 3 * width + 6 * len(spec.classes))


def _probe_bytes(spec: ModelSpec) -> int:
    # Logarithms and pairs of each date, their change and squares; a packaged network's features; logits and scores.
    base = spec.hyperparameters.get("base") or {}
    bands = len(spec.bands)
    values = bands * (bands + 1) // 2 * (3 if spec.dates == 2 else 1)
    features = 5 * len(base["bands"]) + 3 * int(base["hyperparameters"].get("width", 32)) if base else 0
    return 4 * (4 * len(spec.channels) + 5 * values + features + 6 * len(spec.classes))


def _feature_bytes(spec: ModelSpec) -> int:
    # The stripe and its scores; features are held for a few thousand pixels at a time.
    return 4 * (2 * len(spec.bands) + 8 + len(spec.hyperparameters.get("features", ())))


def _segformer_bytes(spec: ModelSpec) -> int:
    # At a quarter of the resolution: four copies of the first stage's widened features, or five of the decoder's.
    size = str(spec.hyperparameters.get("size", "b0"))
    first, decoder = (32 if size == "b0" else 64), (256 if size in {"b0", "b1"} else 768)
    features = max(4 * 4 * first + 6 * first, 5 * decoder + 2 * first) // 16
    return 4 * (5 * len(spec.channels) + features + 6 * len(spec.classes))


def _resnet34_bytes(spec: ModelSpec) -> int:
    # The enlarged input with its padded copy, and two of the first layer's 64 features at half the resolution.
    input_px = int(spec.hyperparameters.get("input_px", 224))
    area = (input_px / (spec.chip or input_px)) ** 2
    return int(4 * (5 * len(spec.channels) + area * (4 * len(spec.channels) + 3 * 16) + 6 * len(spec.classes)))


def _two_stage_bytes(spec: ModelSpec) -> int:
    # The larger of two networks as wide as ours get, a class map, labels, and the image once more for each stage.
    return 4 * (8 * len(spec.channels) + 3 * 64 + 6 * 8 + 4)


def _ensemble_bytes(spec: ModelSpec) -> int:
    # Members run one after the other, on a mirrored copy; beside them the sum of scores, and one that is corrected.
    member = spec.hyperparameters.get("bytes_per_pixel", 0)
    return int(member) + 4 * (len(spec.channels) + 4 * len(spec.classes))


def _ensemble_step(spec: ModelSpec) -> int:
    return int(spec.hyperparameters.get("step", HALO_STEP))


def _sam_bytes(spec: ModelSpec) -> int:
    # Attention over all tokens, with its bias, of every head; or the widened features of a layer.
    options = spec.hyperparameters
    width, heads, image_px = _SAM_SIZES.get(str(options.get("size", "mini")), _SAM_SIZES["huge"])
    enlarge = int(options.get("enlarge", 1))
    image_px = int(options.get("image_px", 0)) or image_px
    edge = max(spec.patch * enlarge, image_px)
    tokens = (edge / 16) ** 2
    network = 4 * tokens * (3 * heads * tokens + 12 * width + 256 * 3)
    return int(4 * (5 * len(spec.channels) + 9 * enlarge**2 + 6 * len(spec.classes)) + network / spec.patch**2)


_SAM_SIZES = {"mini": (64, 4, 256), "base": (768, 12, 1024), "large": (1024, 16, 1024), "huge": (1280, 16, 1024)}
"""Width, heads and edge of the image, as in :mod:`minescale.models.sam`, which imports torch."""
_NETWORK = "minescale.models.network:NetworkPredictor"
_DEEPEST_STRIDE = 32
"""Of the networks whose features end at a thirty-second of the image's resolution."""
_FAMILIES: dict[str, Family] = {
    "ensemble": Family(
        factory="minescale.models.ensemble:EnsemblePredictor",
        bytes_per_pixel=_ensemble_bytes,
        engines=True,
        together=True,
        step=_ensemble_step,
    ),
    "index": Family(factory="minescale.models.index:IndexPredictor", bytes_per_pixel=_index_bytes, torch=False),
    "pixel": Family(factory="minescale.models.pixel:PixelPredictor", bytes_per_pixel=_pixel_bytes, torch=False),
    "kmeans": Family(factory="minescale.models.kmeans:KMeansPredictor", bytes_per_pixel=_feature_bytes, torch=False),
    "trees": Family(factory="minescale.models.trees:TreesPredictor", bytes_per_pixel=_feature_bytes, torch=False),
    "patchcnn": Family(factory=_NETWORK, bytes_per_pixel=_patchcnn_bytes, together=True),
    "probe": Family(factory=_NETWORK, bytes_per_pixel=_probe_bytes, together=True),
    "resnet34": Family(factory=_NETWORK, bytes_per_pixel=_resnet34_bytes, together=True),
    "sam": Family(factory=_NETWORK, bytes_per_pixel=_sam_bytes, together=True),
    "segformer": Family(
        factory=_NETWORK, bytes_per_pixel=_segformer_bytes, together=True, step=lambda _: _DEEPEST_STRIDE
    ),
    "two_stage": Family(
        factory="minescale.models.cascade:TwoStagePredictor",
        bytes_per_pixel=_two_stage_bytes,
        engines=True,
        step=lambda _: _DEEPEST_STRIDE,
    ),
    "unet": Family(factory="minescale.models.unet:UNetPredictor", bytes_per_pixel=_unet_bytes, step=_unet_step),
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
