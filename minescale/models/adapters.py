"""What a frozen network learned, in a file of its own: its adapters and other trained tensors, without the rest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minescale.errors import ModelError
from minescale.models.spec import ModelSpec


def adapter_share(network: nn.Module) -> float:
    """Parameters that are trained, as a share of all."""
    counts = {True: 0, False: 0}
    for parameter in network.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return counts[True] / max(1, sum(counts.values()))


def save_adapter(network: nn.Module, spec: ModelSpec, path: str | Path) -> Path:
    """Write the trained tensors as safetensors, with family, hyperparameters and bands in the file's metadata.

    Raises
    ------
    ModelError
        where everything is trained, so that there is no adapter.
    """
    from safetensors.torch import save_file

    tensors = {n: p.detach().cpu().contiguous() for n, p in network.named_parameters() if p.requires_grad}
    if adapter_share(network) in {0.0, 1.0}:
        raise ModelError(
            f"model {spec.name} has no adapter",
            got=f"{len(tensors)} tensors are trained, of {len(list(network.parameters()))}",
            expected="a network of which a part is frozen, such as sam with lora_rank above 0",
        )
    save_file(tensors, path, metadata=_metadata(spec))
    return Path(path)


def load_adapter(network: nn.Module, spec: ModelSpec, path: str | Path) -> nn.Module:
    """Put an adapter's tensors into a network of the same specification; in place. The frozen part stays as it is.

    Raises
    ------
    ModelError
        for a file that is no adapter, was made for another network, or holds numbers that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError("adapter cannot be read", got=f"{path}: {error}", expected="safetensors") from error
    wanted = _metadata(spec)
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise ModelError(f"adapter was made for another {key}", got=metadata.get(key), expected=value)
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    wrong = [n for n in sorted(trained.keys() | tensors.keys()) if not _fits(trained.get(n), tensors.get(n))]
    if wrong:
        raise ModelError(
            "adapter does not fit the network", got=", ".join(wrong[:3]), expected=f"{len(trained)} tensors"
        )
    if not all(np.isfinite(tensor.float().numpy()).all() for tensor in tensors.values()):
        raise ModelError("adapter is not all finite", got=path, expected="numbers")
    network.load_state_dict(tensors, strict=False)
    return network


def _fits(parameter: torch.Tensor | None, tensor: torch.Tensor | None) -> bool:
    return parameter is not None and tensor is not None and parameter.shape == tensor.shape


def _metadata(spec: ModelSpec) -> dict[str, str]:
    return {
        "family": spec.family,
        "hyperparameters": json.dumps(dict(spec.hyperparameters), sort_keys=True),
        "bands": ",".join(spec.channels),
        "classes": ",".join(spec.classes),
    }
