"""What needs no model, on the same samples: one band or index with one threshold, and acquisition data alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.evaluation.tally import Counts, Tally
from minescale.kernels.indices import normalized_differences, pair_names
from minescale.kernels.ranking import area_under_roc, average_precision, ratios, reached
from minescale.labels.auditing.confounding import metadata_score
from minescale.labels.sets.dataset import Dataset
from minescale.outputs.evaluation import PixelScore

OPTIMISTIC = "chosen on these samples: optimistic"
SUMMARIES = ("mean", "max", "std")
"""What a chip is boiled down to, per band and index."""
_BINS = 2001


@dataclass(frozen=True, slots=True)
class _Choice:
    """A feature, whether high values mean mining, and the value from which on (or up to which) it is called."""

    feature: int
    rising: bool
    threshold: float


@dataclass(frozen=True, slots=True)
class _Counted:
    """(feature, value) counts on shared values, rising."""

    values: NDArray[np.float64]
    """(feature, value)"""
    positives: Counts
    negatives: Counts


def best_single_index(
    dataset: Dataset, counted: Tally, positive: tuple[int, ...], reference: Dataset | None
) -> dict[str, Any] | None:
    """The band or normalised difference of two bands that orders the classes best, and how it scores on the set.

    Chosen by AUC, with direction and threshold (best F1), on ``reference`` where it holds both classes, else on the
    evaluated samples themselves, and then marked as optimistic. A chip is boiled down to mean, maximum and standard
    deviation first.

    Parameters
    ----------
    dataset : as reflectance x 1e4, all of its bands.
    counted : the set's samples that were scored: the same are compared here, but for pixels where any of the set's
        bands has no data.
    positive : class values that count as mining.
    reference : other samples with the same bands, as reflectance x 1e4; None: there are none.

    Returns
    -------
    ``feature``, ``direction``, ``threshold``, ``chosen_on``, ``auc``, ``auprc`` and the fields of
    :class:`minescale.outputs.evaluation.PixelScore`; None where no samples hold both classes to choose by.
    """
    count = _chips if counted.unit == "chip" else _pixels
    here = count(dataset, counted.rows, positive)
    names = _names(dataset.bands, chips=counted.unit == "chip")
    choice, chosen_on = None, OPTIMISTIC
    if reference is not None:
        choice, chosen_on = _choose(count(reference, np.arange(len(reference)), positive)), reference.name
    if choice is None:
        choice, chosen_on = _choose(here), OPTIMISTIC
    if choice is None:
        return None
    f = choice.feature
    pos, neg, values = here.positives[f], here.negatives[f], here.values[f]
    if not choice.rising:
        pos, neg, values = pos[::-1], neg[::-1], values[::-1]
    called = values >= choice.threshold if choice.rising else values <= choice.threshold
    tp, fp = pos[called].sum(), neg[called].sum()
    auc, auprc = float(area_under_roc(pos, neg)), float(average_precision(pos, neg))
    return {
        "feature": names[f],
        "direction": ">=" if choice.rising else "<=",
        "threshold": choice.threshold,
        "chosen_on": chosen_on,
        "auc": None if np.isnan(auc) else auc,
        "auprc": None if np.isnan(auc) else auprc,
        **asdict(PixelScore.of(tp, fp, pos.sum() - tp, neg.sum() - fp)),
    }


def metadata_only(dataset: Dataset, counted: Tally, threshold: float, seed: int) -> dict[str, Any] | None:
    """How well a classifier that sees acquisition columns and no pixel tells samples with mining from those without.

    Returns
    -------
    ``columns``, ``balanced_accuracy`` (cross-validated by site), ``chance``, ``allowed``, ``betrays``, and
    ``model_balanced_accuracy`` of the model on the same samples, at its threshold (a sample of pixels is called where
    any of its pixels is); None where there is nothing to find: one class, one site, or no such column.
    """
    truth = counted.holds()
    try:
        found = metadata_score(dataset.subset(counted.rows), truth.astype(float), seed=seed)
    except UsageError:  # columns that the set names and does not have: nothing to learn from
        return None
    if found is None:
        return None
    tp, fp, _, _ = counted.confusion(threshold).T
    called = tp + fp > 0
    hits, calls = (called & truth).sum(), (called & ~truth).sum()
    own = ratios(hits, calls, truth.sum() - hits, (~truth).sum() - calls)["balanced_accuracy"]
    return {
        "columns": list(found.columns),
        "balanced_accuracy": found.balanced_accuracy,
        "chance": found.chance,
        "allowed": found.allowed,
        "betrays": found.betrays,
        "model_balanced_accuracy": float(own),
    }


def _names(bands: tuple[str, ...], *, chips: bool) -> list[str]:
    single = [*bands, *pair_names(bands)]
    return [f"{summary} of {name}" for name in single for summary in SUMMARIES] if chips else single


def _features(image: NDArray[np.uint16]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(feature, pixel) bands as reflectance and differences of pairs, where all bands have data, and where that is."""
    seen = (image != 0).all(axis=0)
    bands = np.ascontiguousarray(image[:, seen][:, np.newaxis], np.float32) * np.float32(1e-4)
    if len(bands) < 2:
        return bands[:, 0], seen
    return np.concatenate([bands, normalized_differences(bands)])[:, 0], seen


def _chips(dataset: Dataset, rows: NDArray[np.intp], positive: tuple[int, ...]) -> _Counted:
    n_features = len(_names(dataset.bands, chips=True))
    table = np.full((len(rows), n_features), np.nan)
    for k, row in enumerate(rows.tolist()):
        pixels, _ = _features(dataset.reader.image(row))
        if pixels.shape[1]:
            table[k] = np.stack([pixels.mean(axis=1), pixels.max(axis=1), pixels.std(axis=1)], axis=1).reshape(-1)
    labels = dataset.samples["label"].to_numpy(float)[rows]
    kept = ~np.isnan(labels) & ~np.isnan(table[:, 0])
    table, truth = table[kept], np.isin(labels[kept], positive)
    order = np.argsort(table, axis=0, kind="stable")
    values = np.take_along_axis(table, order, axis=0).T
    pos = truth[order].T.astype(np.float64)
    return _merged(values, pos, 1 - pos)


def _merged(values: NDArray[np.float64], positives: Counts, negatives: Counts) -> _Counted:
    """Equal neighbours as one: their counts move to the last of them."""
    if values.shape[1]:
        last = np.concatenate([np.diff(values, axis=1) != 0, np.ones((len(values), 1), bool)], axis=1)
        for counts in (positives, negatives):
            run = np.cumsum(counts, axis=1)
            for f in range(len(values)):
                ends = np.flatnonzero(last[f])
                counts[f] = 0
                counts[f, ends] = np.diff(run[f, ends], prepend=0)
    return _Counted(values, positives, negatives)


def _pixels(dataset: Dataset, rows: NDArray[np.intp], positive: tuple[int, ...]) -> _Counted:
    n_bands = len(dataset.bands)
    n_features = len(_names(dataset.bands, chips=False))
    counts = np.zeros((2, n_features, _BINS))
    for row in rows.tolist():
        mask = dataset.reader.mask(row)
        if mask is None:
            continue
        pixels, seen = _features(dataset.reader.image(row))
        labels = mask[seen]
        known = labels != dataset.classes.ignore
        mine = np.isin(labels[known], positive)
        for f in range(n_features):
            # Reflectance from 0 to 1, differences from -1 to 1, on bins of one width each.
            share = pixels[f, known] if f < n_bands else (pixels[f, known] + 1) / 2
            bins = np.rint(np.clip(share, 0, 1) * (_BINS - 1)).astype(np.intp)
            counts[0, f] += np.bincount(bins[mine], minlength=_BINS)
            counts[1, f] += np.bincount(bins[~mine], minlength=_BINS)
    steps = np.linspace(0, 1, _BINS)
    values = np.stack([steps if f < n_bands else 2 * steps - 1 for f in range(n_features)])
    return _Counted(values, counts[0], counts[1])


def _choose(counted: _Counted) -> _Choice | None:
    auc = area_under_roc(counted.positives, counted.negatives)
    if np.isnan(auc).all():
        return None
    feature = int(np.nanargmax(np.abs(auc - 0.5)))
    rising = bool(auc[feature] >= 0.5)
    turn = 1 if rising else -1
    pos, neg = counted.positives[feature][::turn], counted.negatives[feature][::turn]
    values = counted.values[feature][::turn]
    true, false = reached(pos)[:-1], reached(neg)[:-1]
    # Within a run of equal values only its first place means "from this value on".
    first = np.append(True, np.diff(values) != 0)
    f1 = ratios(true, false, true[0] - true, false[0] - false)["f1"]
    return _Choice(feature, rising, float(values[int(np.argmax(np.where(first, f1, -1)))]))
