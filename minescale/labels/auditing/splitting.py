"""Making splits: groups of samples that must stay together, dealt out to train, val and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyproj
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from minescale.errors import UsageError
from minescale.labels.auditing.nearness import linked
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split

ValMode = Literal["unseen", "seen"]
FRACTIONS = (0.6, 0.2, 0.2)
BLOCK_KM = 10.0
EQUAL_AREA = "EPSG:6933"
"""WGS 84 / NSIDC EASE-Grid 2.0: equal-area, so that blocks hold the same ground at every latitude."""


def split_by(
    dataset: Dataset,
    by: str,
    fractions: Sequence[float] = FRACTIONS,
    *,
    seed: int = 0,
    block_km: float = BLOCK_KM,
    apart_m: float = 0.0,
    val_mode: ValMode = "unseen",
    within: Sequence[str] = (),
) -> Split:
    """Deal the samples out by groups, as close to ``fractions`` as the sizes of the groups allow.

    Parameters
    ----------
    by : ``site``; ``block``, squares of ``block_km`` in an equal-area frame; ``image``, every sample with its augmented
        siblings, whatever its site; or any other column, of which samples without a value are one group.
        But for ``image``, samples of one site stay together whatever ``by`` is.
    fractions : shares of train, val and test, that add up to 1; a share of 0 leaves the part empty.
    seed : another seed deals other groups.
    apart_m : metres; samples that are nearer to each other stay together, so that parts are at least this far apart.
    val_mode : ``seen``: only the test is dealt out by groups; the rest is split into train and val sample by sample, so
        that val holds sites that train has seen, and its scores say so.
    within : columns of acquisition; samples whose combination of them is found in one class only are left out of the
        split (:func:`minescale.labels.auditing.confounding.common_support`).

    Raises
    ------
    UsageError
        for fractions that cannot be, an unknown column, samples without coordinates (``block``), or fewer groups than
        parts.
    """
    shares = _shares(fractions)
    if val_mode not in get_args(ValMode):
        raise UsageError("unknown val_mode", got=val_mode, expected=" | ".join(get_args(ValMode)))
    rows = np.arange(len(dataset))
    if within:
        from minescale.labels.auditing.confounding import common_support

        rows = common_support(dataset, within)
    groups = group_numbers(dataset, by, block_km, apart_m)[rows]
    rng = np.random.default_rng(seed)
    if val_mode == "unseen":
        dealt = deal(groups, shares, rng)
    else:
        dealt = deal(groups, [shares[0] + shares[1], 0.0, shares[2]], rng)
        rest = np.flatnonzero(dealt == 0)
        images = group_numbers(dataset, "image", block_km)[rows][rest]
        dealt[rest] = deal(images, [shares[0], shares[1]], rng)
    ids = dataset.samples["id"].to_numpy()[rows]
    settings: dict[str, Any] = {
        "fractions": list(shares),
        "seed": seed,
        "val_mode": "seen" if by == "image" else val_mode,
        "groups": len(np.unique(groups)),
    }
    if by == "block":
        settings["block_km"] = block_km
    if apart_m:
        settings["apart_m"] = apart_m
    if within:
        settings |= {"within": list(within), "left_out": len(dataset) - len(rows)}
    parts = {str(i): PARTS[part] for i, part in zip(ids, dealt.tolist(), strict=True)}
    return Split(parts=parts, rule=_rule(by), settings=settings)


def kfold(
    dataset: Dataset,
    by: str,
    k: int = 5,
    *,
    seed: int = 0,
    block_km: float = BLOCK_KM,
    apart_m: float = 0.0,
    test: bool = False,
) -> tuple[Split, ...]:
    """``k`` splits whose held-out parts are disjoint and together the whole set; groups as in `split_by`.

    Parameters
    ----------
    test : False: a split holds train and val, val held out. True: test is held out, and the fold after it is val, so
        that what is decided on val is decided without the samples that it is judged on.

    Raises
    ------
    UsageError
        for fewer than 2 folds (3 with a test), or fewer groups than folds.
    """
    least = 3 if test else 2
    if k < least:
        raise UsageError("number of folds", got=k, expected=f"{least} or more")
    groups = group_numbers(dataset, by, block_km, apart_m)
    fold = deal(groups, [1 / k] * k, np.random.default_rng(seed))
    ids = [str(i) for i in dataset.samples["id"]]
    mode = "seen" if by == "image" else "unseen"
    settings: dict[str, Any] = {"folds": k, "seed": seed, "val_mode": mode}
    if by == "block":
        settings["block_km"] = block_km
    if apart_m:
        settings["apart_m"] = apart_m

    def part(turn: int) -> str:
        """Of the fold ``turn`` after the one that is held out."""
        if turn == 0:
            return "test" if test else "val"
        return "val" if test and turn == 1 else "train"

    return tuple(
        Split(
            parts={name: part((f - number) % k) for name, f in zip(ids, fold.tolist(), strict=True)},
            rule=_rule(by),
            settings={"fold": number, **settings},
        )
        for number in range(k)
    )


def split_from_column(dataset: Dataset, column: str = "split") -> Split:
    """The split that a set was published with: a column of train, val and test; null belongs to no part.

    Raises
    ------
    UsageError
        where there is no such column, or it holds other words.
    """
    if column not in dataset.samples:
        raise UsageError(f"dataset {dataset.name} has no column {column}", got=", ".join(dataset.samples))
    named = dataset.samples[["id", column]].dropna()
    parts = dict(zip(named["id"].astype(str), named[column].astype(str), strict=True))
    return Split(parts=parts, rule="published", settings={"column": column, "val_mode": "unseen"})


def group_numbers(dataset: Dataset, by: str, block_km: float = BLOCK_KM, apart_m: float = 0.0) -> NDArray[np.intp]:
    """(n,) the number of the group that each sample cannot be parted from; see `split_by`."""
    samples = dataset.samples
    keys = [pd.factorize(dataset.parents())[0]]
    if by != "image":
        keys.append(pd.factorize(samples["site"])[0])
    if by == "block":
        keys.append(_blocks(dataset, block_km))
    elif by not in ("site", "image"):
        if by not in samples:
            raise UsageError(
                f"dataset {dataset.name} has no column to split by",
                got=by,
                expected="site | block | image | " + " | ".join(samples),
            )
        keys.append(pd.factorize(samples[by], use_na_sentinel=False)[0])
    if apart_m > 0:
        keys.append(linked(dataset, apart_m))
    n = len(samples)
    # Samples are joined to a node of every key: what hangs together is one group.
    offsets = np.cumsum([n, *(int(key.max()) + 1 for key in keys)])
    first = np.tile(np.arange(n), len(keys))
    second = np.concatenate([key + start for key, start in zip(keys, offsets, strict=False)])
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(offsets[-1], offsets[-1]))
    return connected_components(graph, directed=False)[1][:n].astype(np.intp)


def deal(groups: NDArray[np.intp], shares: Sequence[float], rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) the part of each sample: groups dealt out by chance, then moved and swapped while that comes closer.

    Raises
    ------
    UsageError
        where there are fewer groups than parts.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    used = [p for p, share in enumerate(shares) if share > 0]
    if len(sizes) < len(used):
        raise UsageError(
            "too few groups to fill every part",
            got=f"{len(sizes)} groups of samples that must stay together",
            expected=f"{len(used)} or more",
            fix="another column, smaller blocks, or fewer parts",
        )
    targets = np.array([shares[p] / sum(shares) * len(groups) for p in used])
    # Larger groups first, roughly, so that small ones can even out; but where a large one goes is chance, or the test
    # would consist of small sites.
    order = np.argsort(-sizes * rng.uniform(0.5, 1.0, len(sizes)), kind="stable")
    part = np.empty(len(sizes), np.intp)
    have = np.zeros(len(used))
    for turn, g in enumerate(order):
        lacking = targets - have
        empty = np.flatnonzero(have == 0)
        if len(order) - turn <= len(empty):  # the last groups fill parts that are still empty
            part[g] = empty[0]
        elif (fits := lacking >= sizes[g]).any():
            chances = np.where(fits, lacking, 0.0)
            part[g] = rng.choice(len(used), p=chances / chances.sum())
        else:
            part[g] = np.argmax(lacking)
        have[part[g]] += sizes[g]
    while _improve(part, sizes, targets, have, order):
        continue
    return np.asarray(used)[part[group]]


def _improve(
    part: NDArray[np.intp], sizes: NDArray[np.intp], targets: NDArray[Any], have: NDArray[Any], order: NDArray[np.intp]
) -> bool:
    """Make the move of a group, or swap of two, that brings parts closest to their targets; False: none does."""
    kinds = [{int(s): g for g in order[::-1] if part[g] == p for s in (sizes[g],)} for p in range(len(targets))]
    alone = np.bincount(part, minlength=len(targets)) == 1
    off = have - targets
    best, chosen = -1e-9, None
    for a in range(len(targets)):
        for b in range(len(targets)):
            if a == b:
                continue
            for given in kinds[a]:
                for back in (0, *kinds[b]):
                    step = given - back
                    if step <= 0 or (back == 0 and alone[a]):
                        continue
                    gain = (off[a] - step) ** 2 + (off[b] + step) ** 2 - off[a] ** 2 - off[b] ** 2
                    if gain < best:
                        best, chosen = gain, (a, b, given, back)
    if chosen is None:
        return False
    a, b, given, back = chosen
    one, other = kinds[a][given], kinds[b].get(back)
    part[one] = b
    if other is not None:
        part[other] = a
    have[a] += back - given
    have[b] += given - back
    return True


def _blocks(dataset: Dataset, block_km: float) -> NDArray[np.intp]:
    samples = dataset.samples
    if not block_km > 0:
        raise UsageError("size of blocks", got=block_km, expected="kilometres above 0")
    known = "lon" in samples and "lat" in samples
    absent = int(samples[["lon", "lat"]].isna().any(axis=1).sum()) if known else len(samples)
    if absent:
        raise UsageError(
            f"dataset {dataset.name}: samples without coordinates lie in no block",
            got=f"{absent} of {len(samples)}",
            fix="split by site, or by a column",
        )
    x, y = pyproj.Transformer.from_crs(4326, EQUAL_AREA, always_xy=True).transform(samples["lon"], samples["lat"])
    cells = np.floor(np.column_stack([x, y]) / (1000 * block_km)).astype(np.int64)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def _shares(fractions: Sequence[float]) -> tuple[float, ...]:
    shares = tuple(float(f) for f in fractions)
    if len(shares) != len(PARTS) or any(not 0 <= f <= 1 for f in shares) or abs(sum(shares) - 1) > 1e-6:
        raise UsageError("fractions of train, val and test", got=shares, expected="three numbers that add up to 1")
    return shares


def _rule(by: str) -> str:
    return by if by in ("site", "block", "image") else f"column:{by}"
