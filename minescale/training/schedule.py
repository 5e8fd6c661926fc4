"""The learning rate from step to step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from minescale.training.config import ScheduleConfig

_START, _END = 1 / 25, 1e-4
"""Of the largest rate, at both ends of one cycle (Smith and Topin 2018, arXiv:1708.07120)."""
_BETTER = 1e-4
"""Share by which a value has to be better than the best before it counts as better."""


@dataclass(slots=True)
class Schedule:
    """Sets the rate before each step; ``plateau`` reacts to epochs, the others know it beforehand."""

    settings: ScheduleConfig
    base: float
    total: int
    """Steps of the whole training."""
    rate: float = 0.0
    best: float | None = None
    bad: int = 0
    """Epochs since the best value."""

    def __post_init__(self) -> None:
        self.rate = self.rate or self.base

    def before_step(self, optimiser: Optimizer, step: int) -> None:
        """Set the rate for a step, from 0."""
        if self.settings.name != "plateau":
            self.rate = max(self.settings.min_lr, self.base * self._share(step))
        for group in optimiser.param_groups:
            group["lr"] = self.rate

    def after_epoch(self, value: float, *, rising: bool) -> None:
        """Learn the value of an epoch; ``rising`` says that more is better."""
        if self.settings.name != "plateau":
            return
        if better(value, self.best, rising=rising):
            self.best, self.bad = value, 0
            return
        self.bad += 1
        if self.bad > self.settings.patience:
            self.rate, self.bad = max(self.settings.min_lr, self.rate * self.settings.factor), 0

    def _share(self, step: int) -> float:
        settings = self.settings
        if settings.name == "constant":
            return 1.0
        warm = settings.warmup * self.total
        if step < warm:
            if settings.name == "cosine":
                return (step + 1) / (warm + 1)
            return _START + (1 - _START) * _rise(step / warm)
        done = (step - warm) / max(1.0, self.total - 1 - warm)
        low = _START * _END if settings.name == "one_cycle" else 0.0
        return low + (1 - low) * (1 - _rise(min(1.0, done)))

    def state(self) -> dict[str, Any]:
        return {"rate": self.rate, "best": self.best, "bad": self.bad}

    def load(self, state: Mapping[str, Any]) -> None:
        self.rate, self.best, self.bad = state["rate"], state["best"], state["bad"]


def better(value: float, best: float | None, *, rising: bool) -> bool:
    """Whether a value is better than the best so far by more than chance of rounding; NaN never is."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    margin = _BETTER * abs(best)
    return value > best + margin if rising else value < best - margin


def _rise(share: float) -> float:
    """Half a cosine from 0 to 1."""
    return (1 - math.cos(math.pi * share)) / 2
