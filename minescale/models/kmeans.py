"""Clusters of pixels found without labels; those that stand for the target are named, and their share is the score."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.kernels.clusters import membership
from minescale.models.features import compile_features, score_pixels
from minescale.models.package import ModelPackage
from minescale.models.pixel import SCALED_LIMIT, features_of
from minescale.models.spec import ModelSpec

_PIXELS = 4096
_KEYS = {"features", "clusters", "target_clusters"}


class KMeansPredictor:
    """``mlm:hyperparameters``: ``features``, ``clusters`` (how many), ``target_clusters`` (numbers from 0).

    Tensors, float32: ``mean`` and ``std`` (feature,) scale the features as in the family ``pixel``, ``centres``
    (cluster, feature) lie among the scaled ones, ``spread`` (1,) is the root mean square distance to them per feature.
    The probability is that of the target's clusters, see :func:`minescale.kernels.clusters.membership`: nearness, not a
    rate of hits. Thread-safe: arrays are only read.
    """

    def __init__(self, package: ModelPackage, device: str = "cpu") -> None:  # noqa: ARG002  (families share a signature)
        spec = package.spec
        options = spec.hyperparameters
        if set(options) != _KEYS or not isinstance(options["features"], list | tuple) or not options["features"]:
            raise ModelError(
                f"model {spec.name}: hyperparameters", got=", ".join(options), expected=", ".join(sorted(_KEYS))
            )
        count, target = options["clusters"], options["target_clusters"]
        known = isinstance(count, int) and 0 < count < 256 and isinstance(target, list | tuple)
        if not known or not target or any(type(c) is not int or not 0 <= c < count for c in target):
            raise ModelError(
                f"model {spec.name}: clusters", got=f"{target} of {count}", expected="some of at most 255 clusters"
            )
        if len(spec.classes) != 2:
            raise ModelError(f"model {spec.name}: classes", got=len(spec.classes), expected=2)
        self._spec = spec
        self._program = compile_features([str(f) for f in options["features"]], spec)
        self._arrays = _arrays(package, len(options["features"]), count)
        self._chosen = np.isin(np.arange(count), target)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`."""
        return score_pixels(batch, self._spec.target_index, lambda pixels: self._run(pixels)[1])

    def clusters(self, batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Number of the nearest cluster, uint8 (n, y, x), of reflectance (n, band, y, x)."""
        flat = [np.ascontiguousarray(image).reshape(len(image), -1) for image in batch]
        found = [self._run(pixels)[0] for pixels in flat]
        return np.array(found, np.uint8).reshape(len(batch), *batch.shape[2:])

    def _run(self, pixels: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        a = self._arrays
        nearest, share = np.empty(pixels.shape[1], np.uint8), np.empty(pixels.shape[1], np.float32)
        for begin in range(0, pixels.shape[1], _PIXELS):
            part = features_of(np.ascontiguousarray(pixels[:, begin : begin + _PIXELS]), self._program)
            part -= a["mean"][:, None]
            part /= a["std"][:, None]
            np.copyto(part, np.float32(0), where=np.isnan(part))
            np.clip(part, -SCALED_LIMIT, SCALED_LIMIT, out=part)
            done = membership(part, a["centres"], float(a["spread"][0]), self._chosen)
            nearest[begin : begin + _PIXELS], share[begin : begin + _PIXELS] = done
        return nearest, share


def _arrays(package: ModelPackage, features: int, clusters: int) -> dict[str, NDArray[np.float32]]:
    wanted = {"mean": (features,), "std": (features,), "centres": (clusters, features), "spread": (1,)}
    arrays = package.weights()
    got = {name: array.shape for name, array in arrays.items()}
    if got != wanted:
        raise ModelError(f"weights of {package.spec.name} do not fit its clusters", got=got, expected=wanted)
    found = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    sound = all(np.isfinite(a).all() for a in found.values())
    if not sound or not (found["std"] > 0).all() or not 0 < float(found["spread"][0]) < math.inf:
        raise ModelError(f"weights of {package.spec.name}", got="not finite, or std or spread not above 0")
    return found
