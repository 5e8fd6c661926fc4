"""Fit a torch family: the set becomes batches, the settings a network, and the loop runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minescale.engine.heap import keeping_all
from minescale.errors import ModelError
from minescale.labels.sets.dataset import Dataset
from minescale.models.inflate import load_initial
from minescale.models.network import architecture, build_network, state_arrays
from minescale.models.predictor import resolve_device
from minescale.models.spec import ModelSpec
from minescale.training.augmentation import Augmentation, check_airlight
from minescale.training.batches import TrainBatches, ValBatches
from minescale.training.checkpoint import check_checkpoint
from minescale.training.config import TrainConfig
from minescale.training.fitted import Fitted
from minescale.training.loop import BEST, Loop
from minescale.training.losses import Loss
from minescale.training.parallel import joined
from minescale.training.progress import Listener, silent
from minescale.training.samples import Samples, class_counts
from minescale.training.specification import make_spec


def fit_torch(
    source: Dataset,
    train: Dataset,
    val: Dataset,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = True,
    device: str = "auto",
    tell: Listener = silent,
    begin: Callable[[], None] = lambda: None,
) -> Fitted | None:
    """Train a network.

    Parameters
    ----------
    source : the training part as it was opened, in its own units.
    train, val : both parts as :func:`minescale.labels.sets.units.as_reflectance` gives them, in the model's channels.
    out : folder for checkpoint and weights, once ``begin`` has run.
    begin : called by the first process when all was checked, right before the training.

    Returns
    -------
    Fitted
        with the weights of the best epoch; None in processes of a group that are not the first.

    Raises
    ------
    ModelError
        for data, settings or a device that cannot be trained with.
    """
    family = architecture(config.family)
    check_airlight(config.augment)
    if {**family.options, **config.hyperparameters}.get("lora_rank") and not config.initial_weights:
        raise ModelError(
            "adapters beside a frozen encoder of random weights learn next to nothing",
            got="lora_rank above 0 without initial_weights",
            fix="--set initial_weights=FILE.safetensors, or --set hyperparameters.lora_rank=0 to train all of it",
        )
    train_samples, val_samples = (Samples.of(part, family.task) for part in (train, val))  # type: ignore[arg-type]
    counts, present, taught = class_counts(train_samples)
    spec = make_spec(config, source, train_samples)
    watched = _check_val(spec, val_samples)
    resolved = resolve_device(spec, device)
    with joined(resolved) as world:
        place = torch.device(f"cuda:{world.local_rank}" if resolved == "cuda" and world.size > 1 else resolved)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.manual_seed(config.seed)
        network = build_network(spec)
        start = load_initial(network, spec, config.initial_weights).to_dict() if config.initial_weights else {}
        identity = _identity(config, source, (train, val), (taught, watched), _checksum(network, start))
        if resume:
            check_checkpoint(out, identity)
        loop = Loop(
            spec=spec,
            network=network,
            config=config,
            loss=Loss.of(config.loss, spec.target_index, _weights(config, counts)),
            train=TrainBatches(
                samples=train_samples,
                has_target=present[:, spec.target_index],
                target=spec.target_index,
                settings=config.batch,
                augmentation=Augmentation(
                    settings=config.augment, bands=spec.channels, toa=source.units.startswith("toa")
                ),
                seed=config.seed,
                stride=family.stride,
                device=place,
                world=world,
            ),
            val=ValBatches(
                samples=val_samples, size=config.batch.size, stride=family.stride, device=place, world=world
            ),
            folder=out,
            identity=identity,
            world=world,
            device=place,
            tell=tell if world.first else silent,
        )
        if world.first:
            begin()
        world.wait()
        with keeping_all():
            history = loop.run(resume=resume)
        return _fitted(loop, history, counts, start, out) if world.first else None


def _fitted(loop: Loop, history: list[dict[str, Any]], counts: Any, start: dict[str, Any], out: Path) -> Fitted:
    from safetensors.torch import load_file

    loop.network.to("cpu").load_state_dict(load_file(out / BEST))
    names = loop.spec.classes
    facts = {
        "best_epoch": loop.progress.best_epoch or 1,
        "epochs": loop.progress.epochs,
        "monitor": loop.config.run.monitor,
        "labels": {name: int(n) for name, n in zip(names, counts, strict=True)},
        "device": str(loop.device),
        "processes": loop.world.size,
        "notes": loop.progress.notes,
        **({"initial_weights": start} if start else {}),
    }
    return Fitted(spec=loop.spec, weights=state_arrays(loop.network), history={"epochs": history}, facts=facts)


def _weights(config: TrainConfig, counts: np.ndarray[Any, Any]) -> list[float] | None:
    if config.loss.class_weights == "none":
        return None
    weights: list[float] = (counts.sum() / (len(counts) * counts)).tolist()
    return weights


def _check_val(spec: ModelSpec, val: Samples) -> str:
    """Refuse a val part that lacks a class: nothing could be watched, and no threshold or calibration set.

    Returns
    -------
    SHA-256 of its labels.
    """
    held, checksum = set(), hashlib.sha256()
    for _, label in val:
        checksum.update(label.tobytes())
        held |= set(np.unique(label).tolist())
    held.discard(val.ignore)
    if spec.target_index not in held or len(held) < 2:
        raise ModelError(
            "val holds one side only: nothing can be watched there, and no threshold be set",
            got=", ".join(spec.classes[value] for value in sorted(held)) or "no label",
            expected=f"{spec.target} and others",
            fix="another split",
        )
    return checksum.hexdigest()


def _identity(config: TrainConfig, source: Dataset, parts: Sequence[Dataset], labels: Sequence[str], start: str) -> str:
    """What a checkpoint has to agree with: settings, samples and their labels, and the weights it began with."""
    ids = [part.samples["id"].astype(str).tolist() for part in parts]
    classes = [list(source.classes.names), source.classes.ignore]
    told = [config.digest, source.name, source.units, list(parts[0].bands), classes, ids, list(labels), start]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _checksum(network: torch.nn.Module, start: Mapping[str, Any]) -> str:
    """SHA-256 of the tensors that initial weights were put into; empty where there are none."""
    if not start:
        return ""
    checksum, state = hashlib.sha256(), network.state_dict()
    for name in sorted({*start["copied"], *start["inflated"]}):
        checksum.update(name.encode() + state[name].detach().cpu().float().numpy().tobytes())
    return checksum.hexdigest()
