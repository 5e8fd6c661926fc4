"""How near samples come to each other: those of different parts of a split, and those that should be in one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split
from minescale.labels.shapes.polygons import GEODESIC

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the WGS 84 ellipsoid, for the search; distances that are reported are geodesic."""
_SLACK = 1.01
"""The sphere is off by at most 0.6 % of a distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """Two parts and the shortest way between middles of their samples."""

    first: str
    second: str
    metres: float
    """Geodesic distance on WGS 84 between the two nearest samples."""
    pair: tuple[str, str]
    """Their ids."""
    closer: int
    """Samples of ``second`` that have one of ``first`` within the distance that was asked for."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "parts": [self.first, self.second],
            "metres": round(self.metres, 1),
            "pair": list(self.pair),
            "closer": self.closer,
        }


def nearness(dataset: Dataset, split: Split, within_m: float = 0.0) -> list[Nearness]:
    """The nearest samples of each two parts; parts without a sample that has coordinates are left out.

    Parameters
    ----------
    within_m : samples that are nearer than this are counted in ``closer``.
    """
    places = {part: _placed(dataset, split.rows(dataset, part)) for part in PARTS}
    ids = dataset.samples["id"].to_numpy()
    found = []
    for first, second in itertools.combinations(PARTS, 2):
        rows, other = places[first], places[second]
        if not len(rows) or not len(other):
            continue
        chords, nearest = cKDTree(_sphere(dataset, rows)).query(_sphere(dataset, other))
        # Nearest by chord is nearest by arc; the ellipsoid decides among those that come close.
        reach = 2 * EARTH_RADIUS_M * np.arcsin(np.clip(chords / 2, 0, 1))
        near = np.flatnonzero(reach <= max(within_m, float(reach.min())) * _SLACK + 1)
        metres = _geodesic(dataset, rows[nearest[near]], other[near])
        k = int(np.argmin(metres))
        found.append(
            Nearness(
                first=first,
                second=second,
                metres=float(metres[k]),
                pair=(str(ids[rows[nearest[near[k]]]]), str(ids[other[near[k]]])),
                closer=int((metres < within_m).sum()),
            )
        )
    return found


def linked(dataset: Dataset, metres: float) -> NDArray[np.intp]:
    """(n,) number of the cluster of each sample: two that are nearer than ``metres`` are of one, and so in chains.

    A sample without coordinates is a cluster of its own.
    """
    n = len(dataset)
    rows = np.flatnonzero(~without_place(dataset))
    if not len(rows):
        return np.arange(n)
    chord = 2 * np.sin(min(metres * _SLACK / EARTH_RADIUS_M, np.pi) / 2)
    pairs = rows[cKDTree(_sphere(dataset, rows)).query_pairs(chord, output_type="ndarray")].reshape(-1, 2)
    pairs = pairs[_geodesic(dataset, pairs[:, 0], pairs[:, 1]) < metres]
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.intp)


def without_place(dataset: Dataset) -> NDArray[np.bool_]:
    """(n,) samples whose longitude or latitude nobody knows."""
    samples = dataset.samples
    if "lon" not in samples or "lat" not in samples:
        return np.ones(len(samples), bool)
    return samples[["lon", "lat"]].isna().any(axis=1).to_numpy()


def _placed(dataset: Dataset, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return rows[~without_place(dataset)[rows]]


def _sphere(dataset: Dataset, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """(row, 3) points on the unit sphere: no seam at the antimeridian, none at the poles."""
    lon, lat = (np.radians(dataset.samples[name].to_numpy(float)[rows]) for name in ("lon", "lat"))
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _geodesic(dataset: Dataset, a: NDArray[np.intp], b: NDArray[np.intp]) -> NDArray[np.float64]:
    lon, lat = (dataset.samples[name].to_numpy(float) for name in ("lon", "lat"))
    return np.asarray(GEODESIC.inv(lon[a], lat[a], lon[b], lat[b])[2])
