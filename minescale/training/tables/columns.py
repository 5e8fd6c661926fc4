"""The columns of the pixel table: bands, named indices, all normalised differences, none of them twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.kernels.indices import INDICES, pair_names
from minescale.models.features import compile_features
from minescale.models.pixel import features_of
from minescale.models.spec import ModelSpec
from minescale.models.windows import REFLECTANCE

GROUPS = ("bands", "indices", "pairs")
_PROBES = 257
_SAME = 1e-5


def feature_names(choice: Sequence[str], spec: ModelSpec) -> tuple[str, ...]:
    """Names of the features that a choice stands for, each once, in the order of the choice.

    Parameters
    ----------
    choice : words of :data:`GROUPS` and names of single features.

    Raises
    ------
    UsageError
        where nothing is left.
    ModelError
        for a feature that cannot be computed from the bands of ``spec``.
    """
    names: list[str] = []
    for word in choice:
        if word == "bands":
            names += spec.bands
        elif word == "pairs":
            names += pair_names(spec.bands)
        elif word == "indices":
            names += [name for name in INDICES if _possible(name, spec)]
        else:
            names.append(word)
    unique = tuple(dict.fromkeys(names))
    if not unique:
        raise UsageError(f"model {spec.name} has no features", got=list(choice), expected=", ".join(GROUPS))
    compile_features(unique, spec)
    return unique


def distinct(names: Sequence[str], spec: ModelSpec) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Features without those that equal an earlier one, or its negative, on any ground.

    Decided on random reflectances: NDSI is MNDWI, NDMI is -NDBI, and every two-band index is one of the pairs. Twice
    the same column would share one weight between two names, and which of them comes first would be chance.

    Returns
    -------
    The features that are kept, and for each other one what it equals: ``{"NDSI": "MNDWI", "NDMI": "-NDBI"}``.
    """
    probes = np.random.default_rng(0).uniform(0.02, 0.6, (len(spec.bands), _PROBES)).astype(np.float32)
    values = features_of(probes, compile_features(names, spec))
    kept: list[int] = []
    equal: dict[str, str] = {}
    for i, name in enumerate(names):
        for j in kept:
            if _close(values[i], values[j]):
                equal[name] = names[j]
            elif _close(values[i], -values[j]):
                equal[name] = f"-{names[j]}"
            else:
                continue
            break
        else:
            kept.append(i)
    return tuple(names[i] for i in kept), equal


def columns(pixels: NDArray[np.uint16], names: Sequence[str], spec: ModelSpec) -> NDArray[np.float32]:
    """Features float32 (pixel, feature), NaN for no value (0/0), of uint16 (band, pixel) reflectance x 1e4.

    Reflectance is cut where the specification says, as it is in a scan.
    """
    reflectance = np.ascontiguousarray(pixels * REFLECTANCE)
    if spec.clip is not None:
        np.minimum(reflectance, np.float32(spec.clip), out=reflectance)
    values = features_of(reflectance, compile_features(names, spec))
    return np.ascontiguousarray(values.T)


def bands_of(names: Sequence[str], spec: ModelSpec) -> tuple[str, ...]:
    """The bands that features read, in the order of the specification."""
    needed = []
    for band in spec.bands:
        rest = tuple(b for b in spec.bands if b != band)
        try:
            if rest:
                compile_features(names, spec.replace(bands=rest))
                continue
        except ModelError:
            pass
        needed.append(band)
    return tuple(needed)


def _possible(name: str, spec: ModelSpec) -> bool:
    try:
        compile_features((name,), spec)
    except ModelError:
        return False
    return True


def _close(one: NDArray[np.float32], two: NDArray[np.float32]) -> bool:
    return bool(np.allclose(one, two, rtol=_SAME, atol=_SAME))
