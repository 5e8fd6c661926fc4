"""Random forests and boosted trees as plain arrays: no pickles, the same numbers as the library that grew them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.kernels.trees import sum_trees, tree_depths
from minescale.models.features import compile_features, score_pixels
from minescale.models.package import ModelPackage
from minescale.models.pixel import features_of
from minescale.models.spec import ModelSpec

_PIXELS = 4096
"""Pixels whose features are held at once."""
_NODES = {"feature": np.int32, "left": np.int32, "threshold": np.float32, "value": np.float32}
COMBINE = ("mean", "logistic")


class TreesPredictor:
    """``mlm:hyperparameters``: ``features`` (see :mod:`minescale.models.features`), ``combine`` and ``trees``.

    ``combine``: ``mean`` of the trees' values, which are probabilities (a forest), or ``logistic`` of ``base`` and
    their sum (boosting). Tensors: ``start`` (tree,) int32, the root of each tree; by node ``feature`` and ``left``
    int32, ``threshold`` and ``value`` float32, see :func:`minescale.kernels.trees.sum_trees`; ``fill`` (feature,)
    float32, what stands for a feature without a value (0/0); ``base`` (1,) float32. Thread-safe: arrays are only read.
    """

    def __init__(self, package: ModelPackage, device: str = "cpu") -> None:  # noqa: ARG002  (families share a signature)
        spec = package.spec
        features, combine = spec.hyperparameters.get("features"), spec.hyperparameters.get("combine")
        if set(spec.hyperparameters) != {"features", "combine", "trees"} or not isinstance(features, list | tuple):
            raise ModelError(
                f"model {spec.name}: hyperparameters",
                got=", ".join(spec.hyperparameters),
                expected="features, combine, trees",
            )
        if combine not in COMBINE or len(spec.classes) != 2 or not features:
            raise ModelError(
                f"model {spec.name}: combine, classes and features",
                got=f"{combine}, {len(spec.classes)}, {len(features)}",
                expected=f"{' | '.join(COMBINE)}, 2, one or more",
            )
        self._spec = spec
        self._logistic = combine == "logistic"
        self._program = compile_features([str(f) for f in features], spec)
        self._arrays = _arrays(package, len(features))
        try:
            self._depth = tree_depths(
                self._arrays["start"], self._arrays["feature"], self._arrays["left"], len(features)
            )
        except UsageError as error:
            raise ModelError(f"weights of {spec.name}: {error.what}", got=error.got, expected=error.expected) from error

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`."""
        return score_pixels(batch, self._spec.target_index, self.score)

    def score(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of each pixel, float32 (pixel,), of (band, pixel) reflectance 0-1."""
        a = self._arrays
        out = np.empty(pixels.shape[1], np.float32)
        for begin in range(0, pixels.shape[1], _PIXELS):
            part = features_of(np.ascontiguousarray(pixels[:, begin : begin + _PIXELS]), self._program)
            np.copyto(part, a["fill"][:, None], where=np.isnan(part))
            total = sum_trees(part, a["start"], self._depth, a["feature"], a["threshold"], a["left"], a["value"])
            out[begin : begin + _PIXELS] = self._probability(total)
        return out

    def _probability(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._logistic:
            return 1 / (1 + np.exp(-(total + float(self._arrays["base"][0]))))
        return total / len(self._arrays["start"])


def _arrays(package: ModelPackage, features: int) -> dict[str, NDArray]:
    name, arrays = package.spec.name, package.weights()
    wanted = {*_NODES, "start", "fill", "base"}
    if set(arrays) != wanted:
        raise ModelError(f"weights of {name} are not those of trees", got=sorted(arrays), expected=sorted(wanted))
    nodes = len(arrays["left"])
    shapes = {**dict.fromkeys(_NODES, (nodes,)), "fill": (features,), "base": (1,)}
    shapes["start"] = (int(package.spec.hyperparameters["trees"]),)
    for key, shape in shapes.items():
        kind = np.dtype(_NODES.get(key, np.int32 if key == "start" else np.float32))
        if arrays[key].shape != shape or arrays[key].dtype != kind:
            raise ModelError(
                f"weights of {name}: {key}", got=f"{arrays[key].dtype} {arrays[key].shape}", expected=f"{kind} {shape}"
            )
    leaf = arrays["left"] == np.arange(nodes)
    finite = np.isfinite(arrays["value"]).all() and np.isfinite(arrays["fill"]).all()
    ends = (np.isposinf(arrays["threshold"]) == leaf).all() and not np.isnan(arrays["threshold"]).any()
    if not finite or not ends or not np.isfinite(arrays["base"]).all():
        raise ModelError(f"weights of {name}", got="not finite, or leaves that do not end", expected="whole trees")
    return {key: np.ascontiguousarray(array) for key, array in arrays.items()}
