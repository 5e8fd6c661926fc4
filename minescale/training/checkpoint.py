"""Where a training stands, in one file that is there whole or not at all: tensors, and the rest as JSON beside them.

A safetensors file holds both, so that weights and counters cannot be of different epochs. Random numbers follow from
seed, epoch and step, so that no generator's state has to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from minescale.errors import ModelError, StoreError
from minescale.labels.sets.whole import whole

CHECKPOINT = "checkpoint.safetensors"
_STATE = "state"


@dataclass(slots=True)
class Progress:
    """What is not tensors."""

    identity: str
    """Of settings, samples, labels and initial weights: a checkpoint of another training is refused."""
    epochs: int = 0
    """Finished."""
    steps: int = 0
    best: float | None = None
    best_epoch: int = 0
    pieces: int = 1
    """Parts that batches are cut into, where memory is short."""
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    schedule: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(
    folder: Path,
    progress: Progress,
    network: nn.Module,
    mean: Mapping[str, Tensor] | None,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write where a training stands.

    Raises
    ------
    StoreError
        where it cannot be written; the one before stays.
    """
    tensors = {f"model.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"mean.{k}": v for k, v in (mean or {}).items()}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{key}"] = value
            elif value is not None:
                numbers.setdefault(str(index), {})[key] = value
    values = {name: getattr(progress, name) for name in progress.__slots__}
    text = json.dumps({"progress": values, "optimiser": numbers})
    try:
        with whole(folder / CHECKPOINT) as partial:
            kept = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
            partial.write_bytes(save(kept, {_STATE: text}))
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write {folder / CHECKPOINT}", got=error, fix="free space, or write access") from error


def read_checkpoint(
    folder: Path, identity: str, network: nn.Module, mean: Mapping[str, Tensor] | None, optimiser: torch.optim.Optimizer
) -> Progress | None:
    """Go back to where a training stood; None where it had not come far enough to leave a checkpoint.

    Raises
    ------
    ModelError
        where the checkpoint is of another training, or broken.
    """
    found = _read(folder, identity)
    if found is None:
        return None
    progress, numbers, tensors = found
    network.load_state_dict(_under("model.", tensors))
    if mean is not None:
        for name, kept in _under("mean.", tensors).items():
            mean[name].copy_(kept)
    saved: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in numbers.items()}
    for name, tensor in _under("optimiser.", tensors).items():
        index, _, key = name.partition(".")
        saved.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": saved, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


def check_checkpoint(folder: Path, identity: str) -> None:
    """Refuse a folder whose checkpoint cannot be continued, before anything in it is changed.

    Raises
    ------
    ModelError
        where the checkpoint is of another training, or broken.
    """
    _read(folder, identity)


def _read(folder: Path, identity: str) -> tuple[Progress, dict[str, Any], dict[str, Tensor]] | None:
    """Progress, the optimiser's numbers and all tensors of a checkpoint; None where there is none."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})[_STATE])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        progress, numbers = Progress(**state["progress"]), dict(state["optimiser"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read", got=error, fix="start anew: --no-resume, or another --out"
        ) from error
    if progress.identity != identity:
        raise ModelError(
            f"{folder} holds a training with other settings, data or split",
            fix="start anew: --no-resume, or another --out",
        )
    return progress, numbers, tensors


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
