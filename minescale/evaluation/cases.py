"""Which samples to look at: the best, the middling and the worst, as pictures beside truth and prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.evaluation.evaluate import Evaluation
from minescale.kernels.ranking import ratios
from minescale.labels.pictures.previews import Stretch
from minescale.labels.pictures.rgb_png import stretch_of_set
from minescale.labels.sets.dataset import Dataset
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS

Picture = NDArray[np.uint8]
"""(y, x, 3)"""

_MAPS, _CHIPS = 3, 8
"""Cases in each group."""
RIGHT, WRONG, MISSED, UNKNOWN = (40, 150, 90), (214, 96, 20), (60, 110, 215), (128, 128, 128)
"""Colours of mining found, false alarm, mining missed, and ground that does not count."""
_EDGE = 256


@dataclass(frozen=True, slots=True)
class Case:
    """One sample as pictures."""

    id: str
    caption: str
    pictures: tuple[tuple[str, Picture], ...]
    """Title and picture, side by side."""


def find_cases(made: Evaluation) -> dict[str, list[Case]]:
    """Cases by group, worst first: of maps by IoU, of chips by score.

    Maps: samples that hold mining, by IoU at the threshold; and the samples without mining that raise most false alarm.
    Chips: false alarms with the highest scores, mining with the lowest, then what is told apart best.
    """
    groups = _map_groups(made) if made.tally.unit == "pixel" else _chip_groups(made)
    rows = np.array(sorted({row for group in groups.values() for row, _ in group}), np.intp)
    if not len(rows):
        return {}
    dataset = made.scored.dataset
    bands = _shown(dataset)
    stretches = [stretch_of_set(dataset, made.tally.rows[rows], names) for names in bands]
    return {
        title: [_case(made, row, caption, bands, stretches) for row, caption in group]
        for title, group in groups.items()
        if group
    }


def _map_groups(made: Evaluation) -> dict[str, list[tuple[int, str]]]:
    counts = made.tally.confusion(made.threshold)
    iou = ratios(*counts.T)["iou"]
    holds = made.tally.holds()
    order = np.flatnonzero(holds)[np.argsort(iou[holds], kind="stable")]
    k = min(_MAPS, len(order))
    middle = max(0, (len(order) - k) // 2)

    def of(rows: NDArray[np.intp]) -> list[tuple[int, str]]:
        return [(int(row), f"IoU {iou[row]:.2f}") for row in rows]

    alarms = counts[:, 1] / np.maximum(counts.sum(axis=1), 1)
    empty = np.flatnonzero(~holds & (alarms > 0))
    loud = empty[np.argsort(-alarms[empty], kind="stable")][:_MAPS]
    return {
        "Worst, by IoU": of(order[:k]),
        "Median, by IoU": of(order[middle : middle + k]) if len(order) > 2 * k else [],
        "Best, by IoU": of(order[::-1][:k]) if len(order) > k else [],
        "False alarms where nothing is mined": [(int(r), f"{alarms[r]:.1%} of it called") for r in loud],
    }


def _chip_groups(made: Evaluation) -> dict[str, list[tuple[int, str]]]:
    score, holds = _scores(made), made.tally.holds()
    rising = np.argsort(score, kind="stable")
    mining, other = rising[holds[rising]], rising[~holds[rising]]

    def of(rows: NDArray[np.intp]) -> list[tuple[int, str]]:
        kinds = made.tally.samples.get("kind")
        found = []
        for row in rows[:_CHIPS].tolist():
            kind = None if kinds is None or holds[row] else kinds.iloc[row]
            found.append((row, f"{score[row]:.3f}" + (f" {kind}" if isinstance(kind, str) else "")))
        return found

    return {
        "No mining, highest scores": of(other[::-1]),
        "Mining, lowest scores": of(mining),
        "Nearest to the threshold": of(np.argsort(np.abs(score - made.threshold), kind="stable")),
        "Mining, highest scores": of(mining[::-1]),
    }


def _scores(made: Evaluation) -> NDArray[np.float64]:
    found = made.scored.chips
    return np.zeros(0) if found is None else found[made.tally.rows].astype(np.float64)


def _shown(dataset: Dataset) -> list[tuple[str, str, str]]:
    """Bands to show as red, green and blue; for pairs of dates, of either date."""
    found = []
    for prefix in ("t0_", "t1_", ""):
        names = [f"{prefix}{colour}" for colour in ("red", "green", "blue")]
        if all(name in dataset.bands for name in names):
            found.append((names[0], names[1], names[2]))
    if not found:
        bands = (*dataset.bands, dataset.bands[-1], dataset.bands[-1])
        found = [(bands[0], bands[1], bands[2])]
    return found


def _case(
    made: Evaluation, row: int, caption: str, bands: list[tuple[str, str, str]], stretches: list[Stretch]
) -> Case:
    dataset, at = made.scored.dataset, int(made.tally.rows[row])
    image = dataset.reader.image(at)
    pictures: list[tuple[str, Picture]] = []
    for names, stretch in zip(bands, stretches, strict=True):
        title = "image" if len(bands) == 1 else "before" if names[0].startswith("t0") else "after"
        shown = image[[dataset.bands.index(name) for name in names]]
        pictures.append((title, _sized(stretch.apply(shown, dataset.nodata))))
    mask = dataset.reader.mask(at)
    if made.scored.codes is not None and mask is not None:
        code = made.scored.codes[at]
        known = mask != dataset.classes.ignore
        mine = np.isin(mask, made.scored.positive) & known
        pictures += [
            ("truth", _sized(_painted(known, {RIGHT: mine}), mix=False)),
            ("probability", _sized(_grey(code))),
            ("right and wrong", _sized(_verdicts(code, mine, known, made.threshold), mix=False)),
        ]
    return Case(str(dataset.samples["id"].iloc[at]), caption, tuple(pictures))


def _verdicts(code: NDArray[np.uint8], mine: NDArray[np.bool_], known: NDArray[np.bool_], threshold: float) -> Picture:
    seen = code != PROBABILITY_FILL
    called = seen & (code >= round(threshold * PROBABILITY_STEPS))
    paint = {RIGHT: called & mine, WRONG: called & ~mine, MISSED: seen & ~called & mine}
    return _painted(known & seen, paint)


def _painted(known: NDArray[np.bool_], paint: dict[tuple[int, int, int], NDArray[np.bool_]]) -> Picture:
    picture = np.full((*known.shape, 3), 24, np.uint8)
    for colour, where in paint.items():
        picture[where] = colour
    picture[~known] = UNKNOWN
    return picture


def _grey(code: NDArray[np.uint8]) -> Picture:
    """White is probability 1; grey-blue is not seen."""
    level = np.minimum(code, PROBABILITY_STEPS).astype(np.float64) * (255 / PROBABILITY_STEPS)
    picture = np.repeat(level.astype(np.uint8)[..., np.newaxis], 3, axis=2)
    picture[code == PROBABILITY_FILL] = (70, 80, 110)
    return picture


def _sized(picture: Picture, *, mix: bool = True) -> Picture:
    """At most 256 pixels along the longer edge, averaged down or, for colours that mean something, picked; small
    pictures larger by whole pixels."""
    from PIL import Image

    rows, cols = picture.shape[:2]
    longest = max(rows, cols)
    if longest <= _EDGE // 2:
        times = _EDGE // 2 // longest
        return np.repeat(np.repeat(picture, times, axis=0), times, axis=1)
    if longest <= _EDGE:
        return picture
    size = (max(1, cols * _EDGE // longest), max(1, rows * _EDGE // longest))
    return np.asarray(
        Image.fromarray(picture, "RGB").resize(size, Image.Resampling.BOX if mix else Image.Resampling.NEAREST)
    )
