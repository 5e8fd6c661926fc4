"""Losses on logits, all with an ignore value, and sums of them such as ``cross_entropy + 0.5 dice``.

Every loss takes logits (n, class, ...) and labels int64 (n, ...), and computes in float32 at
least. Overlap losses look at the
target class where there are two classes, and average over all classes where there are more. Sums over pixels run over
the whole batch, so that an image without the class is no special case.

- ``cross_entropy``: mean of ``-w_y log p_y`` over labels that count, divided by the mean weight.
- ``bce``: the same for "target or not", on the log-odds of the target against all other classes together. For two
  classes, or one logit, it is the binary cross-entropy with logits.
- ``focal``: ``(1 - p_y) ** gamma`` times the cross-entropy (Lin et al. 2017, arXiv:1708.02002).
- ``tversky``: ``1 - (TP + s) / (TP + alpha FP + beta FN + s)`` on probabilities (Salehi et al. 2017,
  arXiv:1706.05721). ``alpha`` weighs false positives, ``beta`` false negatives; libraries differ in this.
- ``dice``: ``1 - (2 TP + 2 s) / (2 TP + FP + FN + 2 s)`` (Milletari et al. 2016, arXiv:1606.04797), which is Tversky's
  with 1/2 and 1/2.
- ``lovasz``: the Lovasz extension of the Jaccard loss of the probabilities' errors, over classes that are present
  (Berman et al. 2018, arXiv:1705.08790).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minescale.errors import ConfigError
from minescale.models.spec import nearest
from minescale.training.config import LossConfig

IGNORED = -100
"""Label that no loss sees; batches carry it wherever a set's own ignore value was, or there is no data."""
_TERM = re.compile(r"(?:(?P<weight>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*\*?\s*)?(?P<name>[a-z_]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A weighted sum of losses, ready to be called with (logits, labels)."""

    terms: tuple[tuple[float, str], ...]
    settings: LossConfig
    target: int
    """Value of the class that is looked for."""
    weights: Tensor | None = None
    """(class,) of the cross-entropy and its kin."""

    @classmethod
    def of(cls, settings: LossConfig, target: int, weights: Sequence[float] | None = None) -> Loss:
        """The loss that settings name.

        Raises
        ------
        ConfigError
            for an unknown term, naming the nearest.
        """
        given = None if weights is None else torch.tensor(list(weights), dtype=torch.float32)
        return cls(terms=parse_terms(settings.terms), settings=settings, target=target, weights=given)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, a scalar of at least float32; 0 with a gradient of 0 where no label counts."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        counted = labels != IGNORED
        flat = logits.movedim(1, -1)[counted]
        if not len(flat):
            return logits.sum() * 0.0
        truth = labels[counted]
        parts = [weight * _LOSSES[name](flat, truth, self) for weight, name in self.terms]
        return torch.stack(parts).sum()


def parse_terms(text: str) -> tuple[tuple[float, str], ...]:
    """``"cross_entropy + 0.5 dice"`` as weights and names.

    Raises
    ------
    ConfigError
        for an unknown loss, naming the nearest, or no loss at all.
    """
    found = []
    for part in text.split("+"):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise ConfigError(
                "setting loss.terms", got=text, expected=f"a sum such as cross_entropy + 0.5 dice, of {sorted(_LOSSES)}"
            )
        name = match["name"]
        if name not in _LOSSES:
            raise ConfigError("no loss of that name", got=name, expected=nearest(name, _LOSSES))
        found.append((float(match["weight"] or 1), name))
    return tuple(found)


def _cross_entropy(logits: Tensor, truth: Tensor, loss: Loss) -> Tensor:
    weights = None if loss.weights is None else loss.weights.to(logits.device, logits.dtype)
    return F.cross_entropy(logits, truth, weight=weights, label_smoothing=loss.settings.label_smoothing)


def _bce(logits: Tensor, truth: Tensor, loss: Loss) -> Tensor:
    odds = log_odds(logits, loss.target)
    wanted = (truth == loss.target).to(odds.dtype)
    smooth = loss.settings.label_smoothing
    each = F.binary_cross_entropy_with_logits(odds, wanted * (1 - smooth) + smooth / 2, reduction="none")
    if loss.weights is None:
        return each.mean()
    weights = loss.weights.to(logits.device, logits.dtype)[truth]
    return (each * weights).sum() / weights.sum()


def _focal(logits: Tensor, truth: Tensor, loss: Loss) -> Tensor:
    log_p = F.log_softmax(logits, dim=1).gather(1, truth[:, None])[:, 0]
    each = -((1 - log_p.exp()) ** loss.settings.gamma) * log_p
    if loss.weights is None:
        return each.mean()
    weights = loss.weights.to(logits.device, logits.dtype)[truth]
    return (each * weights).sum() / weights.sum()


def _dice(logits: Tensor, truth: Tensor, loss: Loss) -> Tensor:
    return _overlap_loss(logits, truth, loss, 0.5, 0.5)


def _tversky(logits: Tensor, truth: Tensor, loss: Loss) -> Tensor:
    return _overlap_loss(logits, truth, loss, loss.settings.alpha, loss.settings.beta)


def _overlap_loss(logits: Tensor, truth: Tensor, loss: Loss, alpha: float, beta: float) -> Tensor:
    smooth = loss.settings.smooth
    tp, fp, fn = _overlap(logits, truth, loss.target)
    return (1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth).clamp(min=1e-7)).mean()


def _overlap(logits: Tensor, truth: Tensor, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Soft counts (class,): of the target alone where there are two classes."""
    p = torch.softmax(logits, dim=1)
    if logits.shape[1] == 2:
        p, wanted = p[:, target : target + 1], (truth == target).to(p.dtype)[:, None]
    else:
        wanted = F.one_hot(truth, logits.shape[1]).to(p.dtype)
    tp = (p * wanted).sum(dim=0)
    return tp, p.sum(dim=0) - tp, wanted.sum(dim=0) - tp


def _lovasz(logits: Tensor, truth: Tensor, loss: Loss) -> Tensor:
    p = torch.softmax(logits, dim=1)
    classes = [loss.target] if logits.shape[1] == 2 else range(logits.shape[1])
    parts = []
    for value in classes:
        wanted = (truth == value).to(p.dtype)
        if not wanted.any() and logits.shape[1] > 2:
            continue
        errors, order = torch.sort((wanted - p[:, value]).abs(), descending=True)
        parts.append(torch.dot(errors, _jaccard_steps(wanted[order])))
    return torch.stack(parts).mean()


def _jaccard_steps(wanted: Tensor) -> Tensor:
    """Gradient of the Jaccard loss's Lovasz extension, for errors sorted from large to small; (n,)."""
    positives = wanted.sum()
    both = positives - wanted.cumsum(0)
    either = positives + (1 - wanted).cumsum(0)
    jaccard = 1 - both / either
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def log_odds(logits: Tensor, target: int) -> Tensor:
    """(n, class, ...) logits -> (n, ...) log-odds of one class against all others together."""
    others = [value for value in range(logits.shape[1]) if value != target]
    return logits[:, target] - torch.logsumexp(logits[:, others], dim=1)


_LOSSES: dict[str, Callable[[Tensor, Tensor, Loss], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "bce": _bce,
    "focal": _focal,
    "dice": _dice,
    "tversky": _tversky,
    "lovasz": _lovasz,
}
