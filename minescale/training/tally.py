"""The figures that are watched while a model trains: loss, accuracy, best F1 and AUC of the target class.

They choose epochs and end trainings; what a model is worth says :mod:`minescale.evaluation`, on whole images with
baselines beside it. Scores are counted in bins of log-odds, 1/64 wide, so that parts of a set add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minescale.kernels.ranking import area_under_roc, ratios, reached
from minescale.training.losses import IGNORED, log_odds

_PER_UNIT = 64
_LIMIT = 16
_BINS = 2 * _LIMIT * _PER_UNIT + 1


def _bins() -> NDArray[np.int64]:
    return np.zeros((2, _BINS), np.int64)


@dataclass(slots=True)
class Tally:
    """Counts over the batches seen so far."""

    loss: float = 0.0
    """Sum over samples."""
    samples: int = 0
    right: int = 0
    """Labels whose class has the highest probability."""
    labels: int = 0
    scores: NDArray[np.int64] = field(default_factory=_bins)
    """(2, bin) labels by log-odds of the target: others, and the target."""

    def add(self, loss: float, logits: Tensor, labels: Tensor, target: int) -> None:
        """Count a batch: its mean loss, logits (n, class, ...) and labels (n, ...)."""
        self.loss += loss * len(labels)
        self.samples += len(labels)
        counted = labels != IGNORED
        self.right += int(((_likeliest(logits) == labels) & counted).sum())
        self.labels += int(counted.sum())
        odds = log_odds(logits.float(), target)[counted].clamp(-_LIMIT, _LIMIT)
        place = torch.round((odds + _LIMIT) * _PER_UNIT).long() + _BINS * (labels[counted] == target)
        self.scores += torch.bincount(place, minlength=2 * _BINS).cpu().numpy().reshape(2, _BINS)

    def add_loss(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        """Count a training batch: loss and accuracy only."""
        self.loss += loss * len(labels)
        self.samples += len(labels)
        counted = labels != IGNORED
        self.right += int(((_likeliest(logits) == labels) & counted).sum())
        self.labels += int(counted.sum())

    def merge(self, other: Tally) -> None:
        self.loss += other.loss
        self.samples += other.samples
        self.right += other.right
        self.labels += other.labels
        self.scores += other.scores

    @property
    def mean_loss(self) -> float:
        return self.loss / max(1, self.samples)

    @property
    def accuracy(self) -> float:
        return self.right / max(1, self.labels)

    @property
    def f1(self) -> float:
        """The highest F1 that any threshold reaches; NaN without a label of the target."""
        others, wanted = (reached(counts) for counts in self.scores)
        if not wanted[0]:
            return math.nan
        return float(ratios(wanted, others, wanted[0] - wanted, 0)["f1"][:-1].max())

    @property
    def auc(self) -> float:
        """Area under the ROC curve, ties counted half; NaN where only one side has labels."""
        others, wanted = self.scores
        return float(area_under_roc(wanted, others))


def _likeliest(logits: Tensor) -> Tensor:
    """(n, class, ...) -> (n, ...) the class of the highest logit, the first of equal ones.

    Of two classes by comparison: an argmax over so short an axis takes a CPU longer than a small network's layers.
    """
    return (logits[:, 1] > logits[:, 0]).long() if logits.shape[1] == 2 else logits.argmax(dim=1)
