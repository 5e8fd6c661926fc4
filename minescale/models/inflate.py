"""Start from weights that somebody trained on other bands: what is copied, spread over the bands, or left random.

The rule for convolutions that the image is fed to, given kernels of k bands and a network of n: a band that the file
has keeps its own kernel; every other band gets the mean of the file's kernels times k / n, so that where no band is
shared the response to a grey scene stays what it was (after Carreira and Zisserman 2017,
doi:10.1109/CVPR.2017.502, who spread kernels over time). Tensors whose shapes differ otherwise, such as the head of
other classes, stay random, and so do biases beside such kernels.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from minescale.errors import ModelError
from minescale.models.network import is_weight, published_names
from minescale.models.package import ITEM, PICKLES, WEIGHTS, load_package
from minescale.models.spec import ModelSpec

RULE = "a shared band keeps its kernel, every other gets the mean of the k kernels times k / n"
_RGB = ("red", "green", "blue")
_BIAS = re.compile(r"(\.parametrizations)?\.bias(\.original)?$")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inflation:
    """Where each tensor of a network came from. Names are the network's."""

    file: str
    file_bands: tuple[str, ...]
    bands: tuple[str, ...]
    copied: tuple[str, ...]
    inflated: tuple[str, ...]
    """Kernels that the image is fed to, by :data:`RULE`."""
    random: tuple[str, ...]
    """Tensors that the file lacks or has in another shape, and biases of such kernels; as they were."""
    unused: tuple[str, ...]
    """Tensors of the file that the network has no place for, by their names in the file."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values, the rule included."""
        return {**asdict(self), "rule": RULE}

    def __str__(self) -> str:
        return (
            f"{self.file}: {len(self.copied)} tensors copied, {len(self.inflated)} inflated from "
            f"{len(self.file_bands)} to {len(self.bands)} bands ({RULE}), {len(self.random)} random, "
            f"{len(self.unused)} of the file unused"
        )


def load_initial(
    network: nn.Module, spec: ModelSpec, path: str | Path, bands: Iterable[str] | None = None
) -> Inflation:
    """Put weights of a file into a network of any bands and classes; in place. Logged.

    Parameters
    ----------
    network : of ``spec``, as :func:`minescale.models.network.build_network` makes it.
    path : a safetensors file, or the folder of a package.
    bands : names of the file's input channels. Left out: the package's, those in the file's metadata (key ``bands``,
        separated by commas), ``spec``'s own where their number is the same, or red, green, blue for three.

    Raises
    ------
    ModelError
        for pickles and broken files, bands that cannot be told, numbers that are not finite, or a file of which no
        tensor fits.
    """
    file, told = _find(Path(path).expanduser())
    arrays, metadata = _read(file)
    own = {name: tensor for name, tensor in network.state_dict().items() if is_weight(name)}
    rename = published_names(spec.family)
    given = {_ours(name, rename, own): (name, array) for name, array in arrays.items() if is_weight(name)}
    entrances, groups = _entrances(network, spec)
    first = next((given[name] for name in entrances if name in given), None)
    file_bands = _bands_of(spec, first, groups, bands or told or _listed(metadata.get("bands")))
    copied, inflated, state = [], [], {}
    for name, tensor in own.items():
        if name not in given:
            continue
        array = given[name][1]
        if name in entrances and file_bands != spec.channels:
            if (array.ndim, array.shape[0], array.shape[2:]) != (tensor.ndim, tensor.shape[0], tuple(tensor.shape[2:])):
                continue
            array = inflate_kernel(array, file_bands, spec.channels)
            inflated.append(name)
        elif array.shape == tuple(tensor.shape):
            copied.append(name)
        else:
            continue
        if not np.isfinite(array).all():
            raise ModelError("initial weights are not all finite", got=f"{file}: {name}", expected="numbers")
        state[name] = torch.from_numpy(np.array(array, np.float32))
    # A bias is of its kernel: it means nothing to another.
    for name in [name for name in state if _BIAS.search(name)]:
        kernels = {_BIAS.sub(ending, name) for ending in (".weight", ".parametrizations.weight.original")}
        if any(own[kernel].ndim > 1 for kernel in kernels & own.keys() - state.keys()):
            del state[name]
            copied.remove(name)
    report = Inflation(
        file=file.name,
        file_bands=file_bands,
        bands=spec.channels,
        copied=tuple(copied),
        inflated=tuple(inflated),
        random=tuple(n for n in own if n not in state),
        unused=tuple(sorted(name for ours, (name, _) in given.items() if ours not in state)),
    )
    # What norms hold fits any network of that width, however its kernels are made.
    if not any(tensor.ndim > 1 for tensor in state.values()):
        raise ModelError(
            f"initial weights fit nothing of a {spec.family}",
            got=f"{file}: {', '.join(sorted(arrays)[:3])} ...",
            expected=", ".join(list(own)[:3]) + " ...",
            fix="weights of the same family and size",
        )
    network.load_state_dict(state, strict=False)
    _LOG.info("%s", report)
    return report


def inflate_kernel(kernel: NDArray[Any], have: tuple[str, ...], want: tuple[str, ...]) -> NDArray[np.float32]:
    """Kernels that an image is fed to, (out, k groups, y, x), for other bands: (out, n groups, y, x), see the module.

    A network that folds squares of pixels into channels has several (a group) for every band, next to one another.
    """
    by_band = kernel.astype(np.float32).reshape(kernel.shape[0], len(have), -1, *kernel.shape[2:])
    rest = by_band.mean(axis=1) * np.float32(len(have) / len(want))
    made = np.stack([by_band[:, have.index(band)] if band in have else rest for band in want], axis=1)
    return np.ascontiguousarray(made.reshape(kernel.shape[0], -1, *kernel.shape[2:]))


def _find(path: Path) -> tuple[Path, tuple[str, ...] | None]:
    """The file of weights, and its bands where it is a package's."""
    if path.is_dir() and (path / ITEM).is_file():
        return path / WEIGHTS, load_package(path).spec.channels
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            "pickled weights run code when they are opened",
            got=path,
            expected="safetensors",
            fix='convert them where you trust them: python -c "import torch, safetensors.torch as s; '
            f"w = torch.load('{path.name}', weights_only=True); "
            f"s.save_file({{k: v.contiguous() for k, v in w.items()}}, '{path.stem}.safetensors')\"",
        )
    if not path.is_file():
        raise ModelError("initial weights are not there", got=path, expected="a safetensors file or a package's folder")
    return path, None


def _read(file: Path) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            # By way of torch: numpy has no bfloat16.
            arrays = {name: opened.get_tensor(name).float().numpy() for name in opened.keys()}  # noqa: SIM118
            return arrays, opened.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError("initial weights cannot be read", got=f"{file}: {error}", expected="safetensors") from error


def _ours(name: str, rename: Iterable[tuple[str, str]], own: Mapping[str, Any]) -> str:
    """The network's name of a file's tensor."""
    if name in own:
        return name
    for pattern, replacement in rename:
        name = re.sub(pattern, replacement, name)
    return name


def _entrances(network: nn.Module, spec: ModelSpec) -> tuple[tuple[str, ...], int]:
    """Names of the kernels that the image is fed to, and how many channels they have for a band; none: ``((), 1)``."""
    convolutions = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    fed = getattr(network, "entrances", None) or [module for _, module in convolutions[:1]]
    names, groups = [], 1
    for name, module in convolutions:
        if not any(module is entrance for entrance in fed):
            continue
        if is_parametrized(module, "weight"):
            names.append(f"{name}.parametrizations.weight.original")  # tied kernels lie there, one for each band
        elif module.groups == 1 and module.in_channels % len(spec.channels) == 0:
            names.append(f"{name}.weight")
            groups = module.in_channels // len(spec.channels)
    return tuple(names), groups


def _bands_of(
    spec: ModelSpec, first: tuple[str, NDArray[Any]] | None, groups: int, told: Iterable[str] | None
) -> tuple[str, ...]:
    """Names of the file's bands; the model's own where the file has no kernel that the image is fed to."""
    if first is None or first[1].ndim != 4:
        return spec.channels
    count, rest = divmod(first[1].shape[1], groups)
    names = tuple(told) if told is not None else None
    if names is None:
        names = spec.channels if count == len(spec.channels) else _RGB if count == 3 else None
    if names is None or len(names) != count or rest:
        raise ModelError(
            "bands of the initial weights",
            got=f"{first[0]} of {first[1].shape[1]} channels, bands {', '.join(names) if names else 'not told'}",
            expected=f"a name for each of {count} bands",
            fix="pass their names, or write them into the file's metadata under 'bands'",
        )
    return names


def _listed(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",")) if text else None
