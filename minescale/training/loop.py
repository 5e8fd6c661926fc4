"""One loop for all torch families: steps, validation, the best weights kept, and a checkpoint to go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.labels.sets.whole import whole
from minescale.models.network import InputScaling, channels_last, out_of_memory
from minescale.models.spec import ModelSpec
from minescale.training.batches import Batch, TrainBatches, ValBatches
from minescale.training.checkpoint import Progress, read_checkpoint, write_checkpoint
from minescale.training.config import TrainConfig
from minescale.training.losses import Loss
from minescale.training.optimiser import Mean, make_optimiser, state_of
from minescale.training.parallel import World
from minescale.training.precision import Precision
from minescale.training.progress import EpochDone, Listener, Note, StepDone
from minescale.training.schedule import Schedule, better
from minescale.training.tally import Tally

BEST, FINAL = "best_model.safetensors", "final_model.safetensors"


@dataclass(slots=True, kw_only=True)
class Loop:
    """A training under way."""

    spec: ModelSpec
    network: nn.Module
    config: TrainConfig
    loss: Loss
    train: TrainBatches
    val: ValBatches
    folder: Path
    identity: str
    """Of settings, samples and split together."""
    world: World
    device: torch.device
    tell: Listener
    progress: Progress = field(init=False)
    mean: Mean | None = field(init=False, default=None)
    _forward: Callable[[Tensor], Tensor] = field(init=False)
    _scaling: InputScaling = field(init=False)
    _optimiser: torch.optim.Optimizer = field(init=False)
    _schedule: Schedule = field(init=False)
    _precision: Precision = field(init=False)

    def __post_init__(self) -> None:
        channels_last(self.network.to(self.device))
        self._scaling = InputScaling(self.spec, self.device)
        chips = self.spec.task == "chips"
        self._forward = self.network.chip if chips else self.network  # type: ignore[assignment]  # ChipNetwork
        self._optimiser = make_optimiser(self.network, self.config.optimiser)
        total = self.train.steps * self.config.run.epochs
        self._schedule = Schedule(self.config.schedule, self.config.optimiser.lr, total)
        self._precision = Precision.of(self.config.run.precision, self.device)
        if self.config.optimiser.ema:
            self.mean = Mean(self.network, self.config.optimiser.ema)
        self.progress = Progress(self.identity)

    @property
    def rising(self) -> bool:
        """Whether more of what is watched is better."""
        return self.config.run.monitor != "val_loss"

    def run(self, *, resume: bool = True) -> list[dict[str, Any]]:
        """Train to the end; with ``resume`` from where an earlier attempt stood.

        Returns
        -------
        A record for each epoch; the best weights lie in :data:`BEST`, the last in :data:`FINAL`.

        Raises
        ------
        ModelError
            for a loss that is no number, naming the samples; memory too short for one sample; a checkpoint of another
            training.
        """
        if resume:
            self._go_back()
        while self.progress.epochs < self.config.run.epochs and not self._stale():
            self._epoch()
        if self.world.first:
            self._save(FINAL, self._kept())
        self.world.wait()
        return self.progress.history

    def _go_back(self) -> None:
        kept = self.mean.state if self.mean else None
        found = read_checkpoint(self.folder, self.identity, self.network, kept, self._optimiser)
        if found is None:
            return
        self.progress = found
        self._schedule.load(found.schedule)
        self._precision.load(found.scaler)
        self.tell(Note(f"continuing after epoch {found.epochs}"))

    def _stale(self) -> bool:
        """Whether the best epoch is further back than patience allows."""
        patience = self.config.run.patience
        return bool(patience and self.progress.epochs and self.progress.epochs - self.progress.best_epoch >= patience)

    def _epoch(self) -> None:
        number, started = self.progress.epochs + 1, time.monotonic()
        # Dropout and the like follow from these too, whatever was run before.
        torch.manual_seed((self.config.seed * 1_000_003 + number * 1009 + self.world.rank) % 2**63)
        self.network.train()
        tally = Tally()
        for step, batches in enumerate(self.train.epoch(number), 1):
            self._schedule.before_step(self._optimiser, self.progress.steps)
            self._step(batches, tally)
            self.progress.steps += 1
            if self.mean:
                self.mean.update(self.network, self.progress.steps - 1)
            self.tell(StepDone(number, self.config.run.epochs, step, self.train.steps, tally.mean_loss))
        self.world.same_buffers(self.network)
        train, val = self._merged(tally), self._merged(self._validate())
        record = {
            "epoch": number,
            "lr": self._schedule.rate,
            "train_loss": train.mean_loss,
            "train_accuracy": train.accuracy,
            "val_loss": val.mean_loss,
            "val_accuracy": val.accuracy,
            "val_f1": _json(val.f1),
            "val_auc": _json(val.auc),
            "seconds": round(time.monotonic() - started, 2),
        }
        self._finish(number, record)

    def _finish(self, number: int, record: dict[str, Any]) -> None:
        watched = number if self.config.run.monitor == "last" else record[self.config.run.monitor]
        value = math.nan if watched is None else float(watched)
        progress = self.progress
        is_best = better(value, progress.best, rising=self.rising)
        if is_best:
            progress.best, progress.best_epoch = value, number
        self._schedule.after_epoch(value, rising=self.rising)
        progress.epochs = number
        progress.history.append(record)
        progress.schedule, progress.scaler = self._schedule.state(), self._precision.state()
        if self.world.first:
            if is_best or number == 1:
                self._save(BEST, self._kept())
            kept = self.mean.state if self.mean else None
            write_checkpoint(self.folder, progress, self.network, kept, self._optimiser)
        self.world.wait()
        self.tell(EpochDone(record, self.config.run.epochs, is_best))

    def _step(self, batches: Sequence[Batch], tally: Tally) -> None:
        """One step of the optimiser; where memory is short for a batch, in smaller parts from there on."""
        while True:
            failed: Exception | None = None
            counted = Tally()
            self._optimiser.zero_grad(set_to_none=True)
            try:
                for batch in batches:
                    self._backward(batch, len(batches), counted)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                failed = error
            if not self.world.any(failed is not None):
                break
            self._halve(batches, failed)
        self._precision.unscale(self._optimiser)
        self.world.average(self.network.parameters())
        if self.config.optimiser.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimiser.clip_norm)
        self._precision.step(self._optimiser)
        tally.merge(counted)

    def _halve(self, batches: Sequence[Batch], error: Exception | None, doing: str = "train") -> None:
        size = max(len(batch.names) for batch in batches)
        if self.progress.pieces >= size:
            raise ModelError(
                f"memory is too short to {doing} on one sample of {tuple(batches[0].images.shape[2:])} pixels",
                got=str(error).split("\n")[0],
                fix="--set batch.crop=..., or a smaller network",
            ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.progress.pieces *= 2
        text = f"out of memory: {-(-size // self.progress.pieces)} samples at once from here on, gradients accumulated"
        self.progress.notes.append(f"epoch {self.progress.epochs + 1}: {text}")
        self.tell(Note(text))

    def _backward(self, batch: Batch, share: int, tally: Tally) -> None:
        for piece in batch.pieces(self.progress.pieces):
            logits = self._logits(piece)
            loss = self.loss(logits, piece.labels)
            if piece.others is not None:
                loss = piece.share * loss + (1 - piece.share) * self.loss(logits, piece.others)
            value = self._number(loss, piece, "the loss")
            weight = len(piece.names) / len(batch.names) / share
            self._precision.scaled(loss * weight).backward()  # type: ignore[no-untyped-call]
            tally.add_loss(value, logits.detach(), piece.labels)

    def _number(self, loss: Tensor, batch: Batch, what: str) -> float:
        """A loss as a finite number, or an error that names the samples."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"{what} is no number in epoch {self.progress.epochs + 1}",
                got=f"{value} for samples {', '.join(dict.fromkeys(batch.names))}",
                fix="look at these samples, or a lower --set optimiser.lr",
            )
        return value

    def _logits(self, batch: Batch) -> Tensor:
        # Convolutions run up to twice as fast with channels last.
        scaled = self._scaling(batch.images).contiguous(memory_format=torch.channels_last)
        with self._precision.autocast():
            return self._forward(scaled)

    def _validate(self) -> Tally:
        tally = Tally()
        with self._averaged(), torch.inference_mode():
            self.network.eval()
            for batch in self.val:
                tally.merge(self._judged(batch))
        return tally

    def _judged(self, batch: Batch) -> Tally:
        """One batch of val; where memory is short for it, in smaller parts from there on."""
        while True:
            tally = Tally()
            try:
                for piece in batch.pieces(self.progress.pieces):
                    logits = self._logits(piece)
                    value = self._number(self.loss(logits, piece.labels), piece, "the loss on val")
                    tally.add(value, logits, piece.labels, self.loss.target)
                return tally
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                failed = error
            self._halve([batch], failed, "validate")

    def _merged(self, tally: Tally) -> Tally:
        whole_set = Tally()
        for part in self.world.gathered(tally):
            whole_set.merge(part)
        return whole_set

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The mean of weights in the network's place, where one is kept."""
        if self.mean is None:
            yield
            return
        trained = state_of(self.network)
        self.network.load_state_dict(self.mean.state)
        try:
            yield
        finally:
            self.network.load_state_dict(trained)

    def _kept(self) -> dict[str, Tensor]:
        return self.mean.state if self.mean else dict(self.network.state_dict())

    def _save(self, name: str, state: dict[str, Tensor]) -> None:
        with whole(self.folder / name) as partial:
            kept = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
            # With the bands' names, so that a training on other bands can start from the file.
            partial.write_bytes(save(kept, {"bands": ",".join(self.spec.channels)}))


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
