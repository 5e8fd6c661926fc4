"""Mini-batch k-means on the pixel table: clusters without labels, and which of them stand for the target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.models.spec import ModelSpec
from minescale.training.fitted import Fitted
from minescale.training.tables.library import sklearn
from minescale.training.tables.scaling import Scaling
from minescale.training.tables.settings import Settings
from minescale.training.tables.table import PixelTable


def fit_clusters(train: PixelTable, spec: ModelSpec, settings: Settings, seed: int) -> Fitted:
    """Cluster the training pixels by mini-batches (Sculley 2010, doi:10.1145/1772690.1772862), the seed declared.

    Labels play no part in that. Afterwards the target's clusters are those that ``target_clusters`` names; where it is
    empty, those whose pixels overlap best with the labels, see :func:`overlapping`.

    Raises
    ------
    UsageError
        where there are fewer pixels than clusters, or neither labels nor numbers say which clusters count.
    """
    options = settings.options
    count, stated = options["clusters"], options["target_clusters"]
    if any(not 0 <= c < count for c in stated):
        raise UsageError("target_clusters are no clusters", got=list(stated), expected=f"0 to {count - 1}")
    if len(train) < count:
        raise UsageError("fewer pixels than clusters", got=len(train), expected=f"at least {count}")
    scaling = Scaling.of(train.x)
    x = scaling(train.x)
    model = (
        sklearn("cluster")
        .MiniBatchKMeans(n_clusters=count, batch_size=options["batch"], n_init=5, random_state=seed)
        .fit(x)
    )
    # Numbered by the mean of their features, so that numbers do not depend on the order they were found in.
    centres = model.cluster_centers_.astype(np.float32)
    centres = centres[np.argsort(centres.mean(axis=1), kind="stable")]
    squared = np.stack([((x - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    nearest = squared.argmin(axis=1)
    known = np.isfinite(train.share)
    shares = [_share(train.share[known & (nearest == c)]) for c in range(count)]
    chosen = tuple(stated) or overlapping(nearest[known], train.share[known] >= 0.5, count)
    if not chosen:
        raise UsageError(
            "no cluster stands for the target",
            got=f"{int(known.sum()):,} labelled pixels, none of the target",
            fix="hyperparameter target_clusters: look at the clusters, then name those that are mines",
        )
    spread = float(np.sqrt(max(float(squared.min(axis=1).mean()) / x.shape[1], 1e-12)))
    return Fitted(
        spec=spec.replace(
            family="kmeans",
            hyperparameters={"features": list(train.features), "clusters": count, "target_clusters": list(chosen)},
        ),
        weights={
            "mean": scaling.mean,
            "std": scaling.std,
            "centres": centres,
            "spread": np.array([spread], np.float32),
        },
        history={"iterations": int(model.n_iter_), "inertia": float(squared.min(axis=1).sum())},
        facts={
            "seed": seed,
            "target_clusters": list(chosen),
            "target_clusters_by": "stated" if stated else "overlap with labels (IoU)",
            "pixels": np.bincount(nearest, minlength=count).tolist(),
            "share_of_target": shares,
        },
    )


def overlapping(nearest: NDArray[np.intp], inside: NDArray[np.bool_], count: int) -> tuple[int, ...]:
    """Clusters whose union overlaps best with the target: clusters are added by falling share of it while the
    intersection over union grows. Empty where there is no pixel of the target.
    """
    size = np.bincount(nearest, minlength=count)
    hits = np.bincount(nearest[inside], minlength=count)
    total, taken, best = int(inside.sum()), [], 0.0
    order = np.argsort(-(hits / np.maximum(size, 1)), kind="stable")
    found = covered = 0
    for c in order:
        found, covered = found + int(hits[c]), covered + int(size[c])
        overlap = found / max(total + covered - found, 1)
        if overlap <= best:
            break
        best = overlap
        taken.append(int(c))
    return tuple(sorted(taken))


def _share(inside: NDArray[np.float32]) -> float | None:
    return float(inside.mean()) if len(inside) else None
