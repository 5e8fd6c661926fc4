"""Torch networks by family: how each is built from a specification, fed, loaded and run."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from minescale.errors import ModelError, UsageError
from minescale.models.package import ModelPackage
from minescale.models.plugins import brought, offered
from minescale.models.predictor import AT_ONCE_BYTES, find_family
from minescale.models.spec import ModelSpec, nearest
from minescale.models.turns import untie

_GPU_SHARE = 8
"""A GPU takes this many times the pixels that a CPU takes at once."""
_OUT_OF_MEMORY = (
    "not enough memory",  # the CPU's allocator on Windows, and on Linux
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
ENTRY_POINTS = "minescale.architectures"
"""Group of entry points by which other distributions add networks: each an :class:`Architecture`. A
:class:`minescale.models.predictor.Family` of the same name says what running it costs."""
COMMON_OPTIONS: Mapping[str, Any] = {"logarithm": False}
"""Hyperparameters that every network takes. ``logarithm``: feed ``ln(1 + 1e4 x) / 10`` of reflectance."""


class ChipNetwork(Protocol):
    """What networks of chips add: logits of whole chips."""

    def chip(self, x: Tensor) -> Tensor:
        """(n, channel, y, x) scaled -> (n, class) logits of the whole image."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A family of torch networks that a specification describes completely; nothing is ever downloaded.

    The module maps scaled input (n, channel, y, x) to logits (n, class, y, x) of the same edges; one of task ``chips``
    has the method of :class:`ChipNetwork` besides.
    """

    build: str
    """``"package.module:function"``, called with (spec): a network with random weights of torch's current seed."""
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Known hyperparameters and their defaults, those of :data:`COMMON_OPTIONS` apart."""
    halo: str = ""
    """``"package.module:function"``, called with (hyperparameters, chip): pixels of context that a map needs."""
    stride: int = 8
    """Edges of inputs are multiples of this; images are padded, of whole chips the middle is taken."""
    published: str = ""
    """``"package.module:CONSTANT"``: pairs (pattern, replacement) from published weights' tensor names to ours."""


ARCHITECTURES: dict[str, Architecture] = {
    "unet": Architecture(
        build="minescale.models.unet:from_spec",
        task="pixels",
        options={"width": 16, "depth": 3, "fold": 2, "residual": False, "symmetric": False},
        halo="minescale.models.unet:halo_of",
        stride=32,
    ),
    "patchcnn": Architecture(
        build="minescale.models.patchcnn:from_spec",
        task="chips",
        options={"width": 32, "blocks": 1, "dropout": 0.2, "symmetric": False, "encoder": None},
        halo="minescale.models.patchcnn:halo_of",
        published="minescale.models.patchcnn:PUBLISHED_FEATURES",
    ),
    "probe": Architecture(
        build="minescale.models.probe:from_spec",
        task="chips",
        options={"base": None, "l2": (0.03, 0.1, 0.3, 1.0, 3.0), "folds": 5},
        halo="minescale.models.probe:halo_of",
    ),
    "segformer": Architecture(
        build="minescale.models.segformer:from_spec",
        task="pixels",
        options={"size": "b0", "dropout": 0.1, "drop_path": 0.1},
        halo="minescale.models.segformer:halo_of",
        stride=32,
        published="minescale.models.segformer:PUBLISHED",
    ),
    "efficientunet": Architecture(
        build="minescale.models.efficientunet:from_spec",
        task="pixels",
        options={"size": "lite0", "dropout": 0.2, "drop_path": 0.1},
        halo="minescale.models.efficientunet:halo_of",
        stride=32,
        published="minescale.models.efficientunet:PUBLISHED_ENCODER",
    ),
    "sam": Architecture(
        build="minescale.models.sam:from_spec",
        task="pixels",
        options={"size": "mini", "image_px": 0, "enlarge": 1, "lora_rank": 8, "lora_alpha": 16},
        halo="minescale.models.sam:halo_of",
        published="minescale.models.sam:PUBLISHED",
    ),
    "resnet34": Architecture(
        build="minescale.models.resnet:from_spec",
        task="chips",
        options={"input_px": 224, "dropout": 0.5, "outputs": 0},
        halo="minescale.models.resnet:halo_of",
    ),
}


def architectures() -> tuple[str, ...]:
    """Names of the network families, those of installed plugins included."""
    return tuple(sorted({*ARCHITECTURES, *offered(ENTRY_POINTS)}))


def architecture(family: str) -> Architecture:
    """The network family of that name: built in, or offered by an installed plugin (an :class:`Architecture`).

    Raises
    ------
    ModelError
        naming the nearest.
    """
    if family in ARCHITECTURES:
        return ARCHITECTURES[family]
    found = brought(ENTRY_POINTS, family, Architecture, "architecture")
    if found is None:
        raise ModelError("no network family of that name", got=family, expected=nearest(family, architectures()))
    return found


def options_of(spec: ModelSpec) -> dict[str, Any]:
    """Hyperparameters of a network with defaults filled in.

    Raises
    ------
    ModelError
        for an unknown one, naming the nearest, or a task that the family does not have.
    """
    found = architecture(spec.family)
    known = {**COMMON_OPTIONS, **found.options}
    for key in spec.hyperparameters:
        if key not in known:
            raise ModelError(f"model {spec.name}: unknown hyperparameter", got=key, expected=nearest(key, known))
    if spec.task != found.task:
        raise ModelError(f"model {spec.name}: a {spec.family} is of {found.task}", got=spec.task, expected=found.task)
    return {**known, **spec.hyperparameters}


def default_halo(family: str, hyperparameters: Mapping[str, Any], chip: int | None) -> int:
    """Pixels of context that a map of this network needs, a multiple of 8."""
    found = architecture(family)
    return int(_named(found.halo)({**found.options, **hyperparameters}, chip))


def build_network(spec: ModelSpec) -> nn.Module:
    """The network of a specification with random weights, in training mode.

    Raises
    ------
    ModelError
        for hyperparameters that are unknown or out of range, or a library that is not installed.
    """
    options_of(spec)
    network: nn.Module = _named(architecture(spec.family).build)(spec)
    return network


def published_names(family: str) -> tuple[tuple[str, str], ...]:
    """Pairs (pattern, replacement) that turn the tensor names of a family's published weights into ours."""
    path = architecture(family).published
    return _named(path) if path else ()


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class InputScaling:
    """Reflectance to what the network is fed: cut, logarithm, ``(x - mean) / std``, 0 where there is no data."""

    def __init__(self, spec: ModelSpec, device: torch.device | str = "cpu") -> None:
        shape = (1, len(spec.channels), 1, 1)
        self.clip = spec.clip
        self.logarithm = bool(spec.hyperparameters.get("logarithm", False))
        self.mean = torch.tensor(spec.mean or [0.0] * len(spec.channels), device=device).reshape(shape)
        self.inverse_std = 1 / torch.tensor(spec.std or [1.0] * len(spec.channels), device=device).reshape(shape)

    def __call__(self, x: Tensor) -> Tensor:
        """(n, channel, y, x) reflectance 0-1, 0 = no data -> the same shape."""
        if self.clip is not None:
            x = x.clamp(max=self.clip)
        return scale(logarithm(x) if self.logarithm else x, self.mean, self.inverse_std)


def logarithm(x: Tensor) -> Tensor:
    """``ln(1 + 1e4 x) / 10`` of reflectance: what differs between grounds are ratios of bands. No data stays 0."""
    return torch.log1p(x * 1e4).mul_(0.1)


def scale(x: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
    """``(x - mean) / std``, and 0 (an average pixel) where any band is 0, that is, has no data."""
    seen = x.amin(dim=1, keepdim=True) > 0
    return torch.sub(x, mean).mul_(inverse_std).mul_(seen)


def state_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """The weights as float32 arrays for :func:`minescale.models.package.write_package`."""
    state = network.state_dict()
    return {k: v.detach().cpu().numpy().astype(np.float32) for k, v in state.items() if is_weight(k)}


def load_weights(network: nn.Module, spec: ModelSpec, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
    """Put a package's weights into its network.

    Raises
    ------
    ModelError
        where the specification does not say how input is scaled, or tensors are missing, of another shape, or not
        finite.
    """
    if spec.mean is None:
        raise ModelError(
            f"model {spec.name}: missing normalisation",
            got="no mean and std of the bands",
            expected="those it was trained with",
            fix="mean 0 and std 1 for each channel, if it was trained on reflectance as it is",
        )
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items() if is_weight(k)}
    wrong = _differences(expected, {k: v.shape for k, v in arrays.items()})
    if wrong:
        raise ModelError(
            f"weights of {spec.name} do not fit the network", got=wrong, expected="the shapes model.json implies"
        )
    if not all(np.isfinite(a).all() for a in arrays.values()):
        raise ModelError(f"weights of {spec.name} are not all finite", expected="numbers")
    network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}, strict=False)
    return network


def middle(shape: Sequence[int], stride: int) -> tuple[slice, slice]:
    """The middle of a chip (y, x) with edges that are multiples of ``stride``, as training and prediction take it.

    Raises
    ------
    ModelError
        for a chip that is smaller than one stride.
    """
    rows, cols = shape
    if min(rows, cols) < stride:
        raise ModelError("a chip is too small for the network", got=f"{rows} x {cols} pixels", expected=f">= {stride}")
    down, across = (edge % stride // 2 for edge in (rows, cols))
    return slice(down, down + rows // stride * stride), slice(across, across + cols // stride * stride)


class Sometimes(nn.Module):
    """Stochastic depth (Huang et al. 2016, arXiv:1603.09382): in training, a block adds nothing for a share of images.

    The caller adds what goes round the block.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop == 0:
            return x
        kept = torch.rand((x.shape[0], *[1] * (x.ndim - 1)), device=x.device) >= self.drop
        return x * (kept / (1 - self.drop)).to(x.dtype)


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with its convolutions' weights in the layout that they run fastest in."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def is_weight(name: str) -> bool:
    """Whether a tensor of a network is part of its package: counters of batches are no weights."""
    return "num_batches" not in name


def _differences(expected: Mapping[str, tuple[int, ...]], got: Mapping[str, Any]) -> str:
    names = sorted(k for k in expected.keys() | got.keys() if expected.get(k) != got.get(k))
    return ", ".join(f"{k}: {got.get(k, 'absent')} for {expected.get(k, 'nothing')}" for k in names[:3])


class NetworkPredictor:
    """A trained network on one device. Thread-safe: weights are only read, PyTorch serialises what it must."""

    def __init__(self, package: ModelPackage, device: str) -> None:
        self._spec = package.spec
        self._device = torch.device(device)
        network = load_weights(build_network(package.spec), package.spec, package.weights())
        self._net: Any = channels_last(untie(network.eval()).to(self._device))
        self._scaling = InputScaling(package.spec, self._device)
        self._stride = architecture(package.spec.family).stride
        self._pixels = AT_ONCE_BYTES // find_family(package.spec.family).bytes_per_pixel(package.spec)
        if self._device.type == "cuda":
            self._pixels *= _GPU_SHARE

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def network(self) -> nn.Module:
        """The module itself, in evaluation mode, on its device."""
        return self._net

    def scaled(self, batch: NDArray[np.float32]) -> Tensor:
        """What the network is fed, on its device: reflectance (n, channel, y, x) scaled by the specification."""
        return self._scaling(torch.from_numpy(np.ascontiguousarray(batch)).to(self._device))

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`.

        Edges are padded with no data to what the network needs.
        """
        rows, cols = batch.shape[2:]
        pad = [(0, 0), (0, 0), (0, -rows % self._stride), (0, -cols % self._stride)]
        padded = np.pad(batch, pad) if pad[2][1] or pad[3][1] else batch
        return self._run(padded, self._net)[:, :, :rows, :cols]

    def classify(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of whole chips, float32 (n, class), from reflectance (n, channel, y, x).

        Of edges that are no multiples of what the network needs, the middle counts.

        Raises
        ------
        UsageError
            for a model that was taught pixels.
        ModelError
            for chips that are too small.
        """
        if self._spec.task != "chips":
            raise UsageError(f"model {self._spec.name} scores pixels, not chips", fix="predict")
        down, across = middle(batch.shape[2:], self._stride)
        return self._run(batch[:, :, down, across], self._net.chip)

    def _run(self, batch: NDArray[np.float32], forward: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        """Softmax of logits in micro-batches of one shape; half as many images where memory is short."""
        with torch.inference_mode():
            while True:
                step = max(1, min(len(batch), self._pixels // (batch.shape[2] * batch.shape[3])))
                try:
                    parts = [self._forward(batch[i : i + step], step, forward) for i in range(0, len(batch), step)]
                    return np.concatenate(parts)
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not out_of_memory(error):
                        raise
                    if step == 1:
                        raise ModelError(
                            f"memory is too short for one image of {batch.shape[2:]}", got=str(error).split("\n")[0]
                        ) from error
                    self._pixels = (step // 2) * batch.shape[2] * batch.shape[3]
                    warnings.warn(f"out of memory: {step // 2} images at once from here on", stacklevel=3)

    def _forward(
        self, part: NDArray[np.float32], step: int, forward: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float32]:
        images = torch.from_numpy(np.ascontiguousarray(part))
        if len(part) < step:
            images = torch.cat([images, images.new_zeros((step - len(part), *images.shape[1:]))])
        x = self._scaling(images.to(self._device)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._device.type == "cuda"):
            logits = forward(x)
        scores: NDArray[np.float32] = torch.softmax(logits.float(), dim=1).cpu().numpy()
        return scores[: len(part)]


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the CPU's allocator had no more memory to give."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)
