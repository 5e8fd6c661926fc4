"""Per-pixel models: logistic regression, or a network of one small hidden layer, on bands, indices and pairs.

One numba kernel computes features and score block by block of pixels. A cube of features, which for 66 pairs
would be ten times the composite, never exists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.models.features import (
    ADD,
    CONST,
    CONTRAST,
    DIV,
    FEATURE,
    LOAD,
    MOST_BANDS,
    MUL,
    NEG,
    SUB,
    Program,
    compile_features,
    score_pixels,
)
from minescale.models.package import ModelPackage
from minescale.models.spec import ModelSpec

BLOCK = 512
"""Pixels per block: a block of every stack level stays in the first-level cache."""
GROUP = 4
"""Features that are added to the hidden units' sums together: the sums travel to memory and back that much less."""
MAX_HIDDEN = 64
SCALED_LIMIT = 8.0
"""Scaled features are cut at plus and minus this."""


class PixelPredictor:
    """``mlm:hyperparameters``: ``features`` (names, see :mod:`minescale.models.features`) and ``hidden`` (0: linear).

    Tensors, float32: ``mean`` and ``std`` (feature,) scale the features, then a linear model has ``weight``
    (1, feature) and ``bias`` (1,); a hidden layer adds ``hidden.weight`` (hidden, feature) and ``hidden.bias``
    (hidden,) with ReLU in front of ``weight`` (1, hidden). Scaled features are cut at ±8; a feature without a
    value (0/0) counts as average. Thread-safe: the kernel releases the GIL and shares nothing.
    """

    def __init__(self, package: ModelPackage, device: str = "cpu") -> None:  # noqa: ARG002  (families share a signature)
        spec = package.spec
        options = dict(spec.hyperparameters)
        features, hidden = options.pop("features", None), options.pop("hidden", 0)
        if options or not isinstance(features, list | tuple) or not features:
            raise ModelError(
                f"model {spec.name}: hyperparameters", got=", ".join(spec.hyperparameters), expected="features, hidden"
            )
        if not isinstance(hidden, int) or not 0 <= hidden <= MAX_HIDDEN or len(spec.classes) != 2:
            raise ModelError(
                f"model {spec.name}: hidden units and classes",
                got=f"{hidden}, {len(spec.classes)}",
                expected=f"0..{MAX_HIDDEN}, 2",
            )
        self._spec = spec
        self._program = compile_features([str(f) for f in features], spec)
        self._weights = _weights(package, len(features), hidden)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`."""
        return score_pixels(batch, self._spec.target_index, lambda pixels: score(pixels, self._program, self._weights))


Weights = dict[str, NDArray[np.float32]]


def score(pixels: NDArray[np.float32], program: Program, weights: Weights) -> NDArray[np.float32]:
    """Probability of each pixel.

    Parameters
    ----------
    pixels : float32 (band, pixel), reflectance 0-1.

    Returns
    -------
    float32 (pixel,)
    """
    hidden = weights.get("hidden.weight")
    linear = hidden is None
    if hidden is None:
        hidden, bias = weights["weight"], weights["bias"]
    else:
        bias = weights["hidden.bias"]
    return _score(
        pixels,
        program.codes,
        program.arguments,
        program.depth,
        weights["mean"],
        (1 / weights["std"]).astype(np.float32),
        hidden,
        bias,
        weights["weight"][0],
        weights["bias"][0],
        linear,
    )


def features_of(pixels: NDArray[np.float32], program: Program) -> NDArray[np.float32]:
    """The features themselves, float32 (feature, pixel), unscaled, NaN for no value. For training and tests."""
    return _features(pixels, program.codes, program.arguments, program.depth, program.n_features)


@njit(nogil=True, cache=True, error_model="numpy")
def _run(  # noqa: PLR0912
    code: int, stack: NDArray[np.float32], top: int, pixels: Any, argument: float, start: int, stop: int
) -> int:
    """One operation on a block; returns the new top of the stack."""
    if code == LOAD:
        stack[top, : stop - start] = pixels[int(argument), start:stop]
        return top + 1
    if code == CONST:
        stack[top] = argument
        return top + 1
    if code == CONTRAST:
        pair = int(argument)
        one, two = pixels[pair // MOST_BANDS, start:stop], pixels[pair % MOST_BANDS, start:stop]
        ratio = stack[top]
        for i in range(stop - start):
            total = one[i] + two[i]
            ratio[i] = (one[i] - two[i]) / total if total != 0 else np.float32(np.nan)
        return top + 1
    if code == NEG:
        stack[top - 1] = -stack[top - 1]
        return top
    a, b = stack[top - 2], stack[top - 1]
    if code == ADD:
        for i in range(BLOCK):
            a[i] += b[i]
    elif code == SUB:
        for i in range(BLOCK):
            a[i] -= b[i]
    elif code == MUL:
        for i in range(BLOCK):
            a[i] *= b[i]
    elif code == DIV:
        for i in range(BLOCK):
            a[i] = a[i] / b[i] if b[i] != 0 else np.float32(np.nan)
    else:
        for i in range(BLOCK):
            a[i] = a[i] ** b[i]
    return top - 1


@njit(nogil=True, cache=True, error_model="numpy")
def _add_group(group: Any, weight: Any, first: int, held: int, sums: Any) -> None:
    """Add ``held`` scaled features, the first of number ``first``, to the sums of all units, in their order."""
    a, b, c, d = group[0], group[1], group[2], group[3]
    zero = np.float32(0)
    for h in range(sums.shape[0]):
        # A feature that is not there weighs nothing, which leaves a sum as it is.
        p = weight[h, first]
        q = weight[h, first + 1] if held > 1 else zero
        r = weight[h, first + 2] if held > 2 else zero
        s = weight[h, first + 3] if held > 3 else zero
        total = sums[h]
        for i in range(BLOCK):
            total[i] = total[i] + p * a[i] + q * b[i] + r * c[i] + s * d[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _score(
    pixels: Any,
    codes: Any,
    arguments: Any,
    depth: int,
    mean: Any,
    inverse_std: Any,
    weight: Any,
    bias: Any,
    output: Any,
    output_bias: float,
    linear: bool,
) -> Any:
    n = pixels.shape[1]
    units = weight.shape[0]
    out = np.empty(n, np.float32)
    stack = np.zeros((depth, BLOCK), np.float32)
    group = np.zeros((GROUP, BLOCK), np.float32)
    sums = np.empty((units, BLOCK), np.float32)
    total = np.empty(BLOCK, np.float32)
    clip, zero = np.float32(SCALED_LIMIT), np.float32(0)
    last = mean.shape[0] - 1
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        for h in range(units):
            sums[h] = bias[h]
        top = 0
        held = 0
        for k in range(codes.shape[0]):
            if codes[k] != FEATURE:
                top = _run(codes[k], stack, top, pixels, arguments[k], start, stop)
                continue
            f = int(arguments[k])
            top -= 1
            value, scaled = stack[top], group[held]
            for i in range(BLOCK):
                v = (value[i] - mean[f]) * inverse_std[f]
                # A comparison with NaN is false, so that no value becomes the average.
                v = v if v == v else zero  # noqa: PLR0124
                scaled[i] = min(max(v, -clip), clip)
            held += 1
            if held == GROUP or f == last:
                _add_group(group, weight, f + 1 - held, held, sums)
                held = 0
        if linear:
            total[:] = sums[0]
        else:
            total[:] = output_bias
            for h in range(units):
                for i in range(BLOCK):
                    total[i] += output[h] * max(sums[h, i], zero)
        for i in range(stop - start):
            out[start + i] = np.float32(1) / (np.float32(1) + np.exp(-total[i]))
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _features(pixels: Any, codes: Any, arguments: Any, depth: int, n_features: int) -> Any:
    n = pixels.shape[1]
    out = np.empty((n_features, n), np.float32)
    stack = np.zeros((depth, BLOCK), np.float32)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        top = 0
        for k in range(codes.shape[0]):
            if codes[k] == FEATURE:
                top -= 1
                out[int(arguments[k]), start:stop] = stack[top, : stop - start]
            else:
                top = _run(codes[k], stack, top, pixels, arguments[k], start, stop)
    return out


def _weights(package: ModelPackage, features: int, hidden: int) -> Weights:
    wanted: dict[str, tuple[int, ...]] = {"mean": (features,), "std": (features,), "bias": (1,)}
    wanted["weight"] = (1, hidden or features)
    if hidden:
        wanted |= {"hidden.weight": (hidden, features), "hidden.bias": (hidden,)}
    arrays = package.weights()
    got = {name: array.shape for name, array in arrays.items()}
    if got != wanted:
        raise ModelError(f"weights of {package.spec.name} do not fit its features", got=got, expected=wanted)
    weights = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    if not all(np.isfinite(w).all() for w in weights.values()) or not (weights["std"] > 0).all():
        raise ModelError(f"weights of {package.spec.name}", got="not finite, or std not above 0", expected="numbers")
    return weights
