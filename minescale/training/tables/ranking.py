"""Which combination of channels tells mines from other ground: ranked on held-out images, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.training.tables.paths import Path

_BINS = 2048
_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A combination of features and how well it ranks held-out pixels."""

    features: tuple[str, ...]
    kind: str
    """``single``: one feature as it is, its sign from the training part. ``path``: the model of the path."""
    auc: float
    """Area under the ROC curve of inside against outside, on held-out images; chance 0.5."""
    low: float | None
    """95 % interval over draws of held-out images; None with fewer than two of them."""
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "features": list(self.features), "count": len(self.features)}


def auc(score: NDArray[Any], inside: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a pixel inside scores higher than one outside, ties half.

    Raises
    ------
    UsageError
        where one side is empty.
    """
    from scipy.stats import rankdata

    n = int(inside.sum())
    if not 0 < n < len(inside):
        raise UsageError("no area under a curve of one side", got=f"{n} of {len(inside)} inside")
    return float((rankdata(score)[inside].sum() - n * (n + 1) / 2) / (n * (len(inside) - n)))


def auc_interval(
    score: NDArray[Any], inside: NDArray[np.bool_], group: NDArray[np.int64], *, draws: int, seed: int
) -> tuple[float, float] | None:
    """95 % interval of :func:`auc` over draws of whole groups with replacement.

    The bootstrap's percentiles (Efron 1979, doi:10.1214/aos/1176344552). Scores are sorted into 2048 bins of equal
    size first. Draws without one of the sides do not count.

    Returns
    -------
    None with fewer than two groups, or no draw that counts.
    """
    names, place = np.unique(group, return_inverse=True)
    if len(names) < 2 or draws < 1:
        return None
    edges = np.unique(np.quantile(score, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, score, side="right")
    width = len(edges) + 1
    counts = np.zeros((2, len(names), width))
    for side in (0, 1):
        chosen = inside == bool(side)
        counts[side] = np.bincount(place[chosen] * width + bins[chosen], minlength=len(names) * width).reshape(
            -1, width
        )
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws).astype(np.float64)
    out, hit = drawn @ counts[0], drawn @ counts[1]
    below = np.cumsum(out, axis=1) - out / 2
    pairs = out.sum(axis=1) * hit.sum(axis=1)
    areas = (hit * below).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
    if not len(areas):
        return None
    low, high = np.quantile(areas, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def rank_combinations(
    path: Path,
    features: Sequence[str],
    train: tuple[NDArray[np.float32], NDArray[np.bool_]],
    held_out: tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]],
    *,
    draws: int,
    seed: int,
) -> list[Ranked]:
    """Every feature on its own and every set of features along the path, best held-out area first.

    The best of many is flattered by having been picked: its interval speaks of images, not of that choice.

    Parameters
    ----------
    train : scaled x and side, for the sign of single features.
    held_out : scaled x, side and group of the held-out pixels.
    """
    x, inside, group = held_out
    train_x, train_inside = train
    sign = 1.0 if path.loss == "logistic" else -1.0  # a distance is negative inside
    found: list[tuple[tuple[str, ...], str, NDArray[Any]]] = []
    for i, name in enumerate(features):
        rising = auc(train_x[:, i], train_inside) >= 0.5
        found.append(((name,), "single", x[:, i] if rising else -x[:, i]))
    scores = path.predict(x)
    sets = {tuple(np.flatnonzero(weights).tolist()): step for step, weights in enumerate(path.weights)}
    for members, step in sets.items():
        # The last step that holds a set is the one that shrinks its weights least.
        if members:
            found.append((tuple(features[i] for i in members), "path", sign * scores[step]))
    ranked = []
    for names, kind, score in found:
        interval = auc_interval(score, inside, group, draws=draws, seed=seed)
        low, high = interval or (None, None)
        ranked.append(Ranked(features=names, kind=kind, auc=auc(score, inside), low=low, high=high))
    return sorted(ranked, key=lambda r: (-r.auc, len(r.features), r.features))
