"""One table of kernels and what they are compared with. It drives the parity tests and the benchmarks.

An entry makes its input from a shape (layers, rows, columns) and a random generator, and names the kernel, the NumPy
twin, and other libraries' ways to the same result. All are called with the same arguments and must agree: exactly,
or to ``tolerance``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
import twins

from minescale import kernels as K
from minescale.kernels.distances import distance_to_segments

Arguments = tuple[Any, ...]
SMALL = ((1, 4, 8), (2, 8, 4), (5, 16, 24), (12, 8, 40), (24, 12, 20), (25, 8, 36), (61, 4, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    name: str
    make: Callable[[tuple[int, int, int], np.random.Generator], Arguments]
    kernel: Callable[..., Any]
    twin: Callable[..., Any]
    others: dict[str, Callable[..., Any]] = field(default_factory=dict)
    tolerance: float = 0.0
    slow_twin: bool = False
    """The twin loops over pixels in Python: not for benchmarks."""


def samples(shape, rng, states_shape=None, low=0, high=60):
    """A stack with many ties and zeros, and states of all four kinds."""
    stack = rng.integers(low, high, shape).astype(np.uint16)
    states = rng.choice(np.array([0, 1, 1, 1, 1, 2, 3], np.uint8), states_shape or shape)
    return stack, states


def _stack(factor, high=60):
    def make(shape, rng):
        t, y, x = shape
        stack, states = samples(shape, rng, (t, y // factor, x // factor), high=high)
        return stack, states, factor

    return make


def _spectra(shape, rng):
    t, y, x = shape
    base = rng.integers(300, 4000, (1, 6, y, x))
    stack = np.clip(base + rng.normal(0, 150, (t, 6, y, x)), 0, 65535).astype(np.uint16)
    stack[rng.random(stack.shape) < 0.01] = 0
    return stack, samples(shape, rng)[1]


def _places(shape, rng):
    """Pixel centres on a lattice that is slightly bent, and segments round it, some of length 0."""
    t, y, x = shape
    down, across = np.mgrid[:y, :x] + 0.5
    segments = rng.uniform(-5, max(y, x) + 5, (4 * t, 4))
    segments[::5, 2:] = segments[::5, :2]
    return across + 0.01 * down, down - 0.001 * across**2, segments


def _shapely_distance(x, y, segments):
    lines = shapely.linestrings(segments.reshape(-1, 2, 2))
    return shapely.distance(shapely.points(x, y)[..., None], lines).min(axis=-1)


def _layers(shape, rng):
    return (samples(shape, rng)[1],)


def _codes(dtype, high):
    return lambda shape, rng: (rng.integers(0, high, shape).astype(dtype),)


def _fused(kernel, dtype):
    def make(shape, rng):
        return tuple(rng.integers(0, 3, shape).astype(dtype) for _ in range(2))

    def call(dst, src):
        out = dst.copy()
        kernel(out, src)
        return out

    return make, call


def _composite(shape, rng):
    return (
        (rng.integers(0, 9000, (7, *shape[1:])).astype(np.uint16) * (rng.random((7, *shape[1:])) > 0.1)).astype(
            np.uint16
        ),
        (6, 0, 3),
        (2, 1, 3),
        (False, True, False),
    )


def _window(shape, rng):
    acc = rng.random((2, *shape[1:])).astype(np.float32)
    pred = rng.random((2, 6, 6)).astype(np.float32)
    return acc, acc[0].copy(), pred, K.hann_weights(6, 2), shape[1] - 4, -2


def _scaled(shape, rng):
    image = rng.uniform(0.001, 0.6, (5, *shape[1:])) * (rng.random((5, *shape[1:])) > 0.05)
    return image.astype(np.float32), rng.random(5).astype(np.float32), rng.uniform(5, 50, 5).astype(np.float32)


def _add_window(acc, weight, pred, win, y, x):
    acc, weight = acc.copy(), weight.copy()
    K.add_window(acc, weight, pred, win, y, x)
    return acc, weight


def _bottleneck_median(stack, states, factor):
    import bottleneck

    return twins.half_up(bottleneck.nanmedian(twins.masked(stack, states, factor, np.float32), axis=0)).astype(
        np.uint16
    )


def _numpy_median_float32(stack, states, factor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        median = np.nanmedian(twins.masked(stack, states, factor, np.float32), axis=0)
    return twins.half_up(median).astype(np.uint16)


def _xarray_median(stack, states, factor):
    import xarray as xr

    data = xr.DataArray(stack, dims=("t", "y", "x"))
    clear = xr.DataArray(twins.fine(states, factor), dims=("t", "y", "x"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        median = data.where((clear == 1) & (data != 0)).median("t", skipna=True)
    return twins.half_up(median.to_numpy()).astype(np.uint16)


_MEDIANS = {"bottleneck": _bottleneck_median, "numpy-float32": _numpy_median_float32, "xarray": _xarray_median}
_BITS = (1, 0b11110, 0b100000)
_TABLE = K.class_table({0: 0, 4: 1, 5: 1, 8: 2, 11: 3})
_REFLECTANCE = K.reflectance_table(1e-4, -0.1, 0)
_FUSE8, _FUSE8_CALL = _fused(K.fuse, np.uint8)
_FUSE16, _FUSE16_CALL = _fused(K.fuse, np.uint16)

COMPARISONS: tuple[Comparison, ...] = (
    Comparison(name="median", make=_stack(1), kernel=K.median, twin=twins.median, others=_MEDIANS),
    Comparison(name="median-values", make=_stack(1, 65536), kernel=K.median, twin=twins.median),
    Comparison(name="median-factor2", make=_stack(2), kernel=K.median, twin=twins.median, others=_MEDIANS),
    Comparison(name="median-factor4", make=_stack(4), kernel=K.median, twin=twins.median),
    *(
        Comparison(
            name=f"percentile-{q}",
            make=_stack(2, 9000),
            kernel=lambda s, m, f, q=q: K.percentile(s, m, f, q),
            twin=lambda s, m, f, q=q: twins.percentile(s, m, f, q),
        )
        for q in (0, 10, 37.5, 50, 90, 100)
    ),
    Comparison(name="latest", make=_stack(2), kernel=K.latest, twin=twins.latest),
    Comparison(name="geomedian", make=_spectra, kernel=K.geomedian, twin=twins.geomedian, tolerance=1, slow_twin=True),
    Comparison(name="medoid", make=_spectra, kernel=K.medoid, twin=twins.medoid, slow_twin=True),
    Comparison(
        name="distance",
        make=_places,
        kernel=distance_to_segments,
        twin=twins.distance_to_segments,
        others={"shapely": _shapely_distance},
        tolerance=1e-9,
        slow_twin=True,
    ),
    Comparison(
        name="decode-classes8",
        make=_codes(np.uint8, 256),
        kernel=lambda qa: K.decode_classes(qa, _TABLE),
        twin=lambda qa: twins.decode_classes(qa, _TABLE),
    ),
    Comparison(
        name="decode-classes16",
        make=_codes(np.uint16, 400),
        kernel=lambda qa: K.decode_classes(qa, _TABLE),
        twin=lambda qa: twins.decode_classes(qa, _TABLE),
    ),
    Comparison(
        name="decode-bits",
        make=_codes(np.uint16, 65536),
        kernel=lambda qa: K.decode_bits(qa, *_BITS),
        twin=lambda qa: twins.decode_bits(qa, *_BITS),
    ),
    *(
        Comparison(
            name=f"dilate-{radius}",
            make=_layers,
            kernel=lambda s, r=radius: K.dilate(s, r),
            twin=lambda s, r=radius: twins.dilate(s, r),
        )
        for radius in (0, 1, 3, 8)
    ),
    Comparison(
        name="clear-count", make=_layers, kernel=K.clear_count, twin=lambda s: (s == 1).sum(axis=0).astype(np.uint16)
    ),
    Comparison(name="observed", make=_layers, kernel=K.observed, twin=lambda s: (s != 0).any(axis=0)),
    Comparison(
        name="clear-per-layer", make=_layers, kernel=K.clear_per_layer, twin=lambda s: (s == 1).sum(axis=(1, 2))
    ),
    Comparison(name="fuse8", make=_FUSE8, kernel=_FUSE8_CALL, twin=twins.fuse),
    Comparison(name="fuse16", make=_FUSE16, kernel=_FUSE16_CALL, twin=twins.fuse),
    Comparison(
        name="apply-table",
        make=_codes(np.uint16, 65536),
        kernel=lambda dn: K.apply_table(dn, _REFLECTANCE),
        twin=lambda dn: _REFLECTANCE[dn],
    ),
    Comparison(
        name="block-mean",
        make=_codes(np.uint16, 4),
        kernel=lambda a: K.block_mean(a, 2),
        twin=lambda a: twins.block_mean(a, 2),
    ),
    Comparison(
        name="block-max",
        make=lambda shape, rng: (rng.choice(np.array([3, 7, 255, 255], np.uint8), shape),),
        kernel=lambda a: K.block_max(a, 2),
        twin=lambda a: twins.block_extreme(a, 2, 255, np.nanmax),
    ),
    Comparison(
        name="block-min8",
        make=_codes(np.uint8, 4),
        kernel=lambda a: K.block_min(a, 4, 0),
        twin=lambda a: twins.block_extreme(a, 4, 0, np.nanmin),
    ),
    Comparison(
        name="block-min16",
        make=_codes(np.uint16, 3),
        kernel=lambda a: K.block_min(a, 2, 0),
        twin=lambda a: twins.block_extreme(a, 2, 0, np.nanmin),
    ),
    Comparison(
        name="block-mode",
        make=_codes(np.uint8, 4),
        kernel=lambda a: K.block_mode(a, 4, 0),
        twin=lambda a: twins.block_mode(a, 4, 0),
        slow_twin=True,
    ),
    Comparison(
        name="repeat", make=_codes(np.uint16, 99), kernel=lambda a: K.repeat(a, 3), twin=lambda a: twins.fine(a, 3)
    ),
    Comparison(
        name="normalized-differences",
        make=lambda shape, rng: (rng.integers(-1, 3, (6, *shape[1:])).astype(np.float32),),
        kernel=K.normalized_differences,
        twin=twins.normalized_differences,
    ),
    Comparison(name="fused-indices", make=_composite, kernel=K.fused_indices, twin=twins.fused_indices, tolerance=1e-6),
    Comparison(name="scale-and-fold", make=_scaled, kernel=K.scale_and_fold, twin=twins.scale_and_fold),
    Comparison(
        name="add-window", make=_window, kernel=_add_window, twin=twins.add_window, tolerance=1e-6, slow_twin=True
    ),
    Comparison(
        name="cooccurrence",
        make=lambda shape, rng: (rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), shape[1:]),),
        kernel=lambda c: K.cooccurrence(c, 4, -2, 3, 255),
        twin=lambda c: twins.cooccurrence(c, 4, -2, 3, 255),
        slow_twin=True,
    ),
    Comparison(
        name="label8",
        make=lambda shape, rng: ((rng.random(shape[1:]) < 0.5).astype(np.uint8),),
        kernel=K.label,
        twin=twins.label,
    ),
    Comparison(
        name="label4",
        make=lambda shape, rng: (rng.random(shape[1:]) < 0.6,),
        kernel=lambda m: K.label(m, 4),
        twin=lambda m: twins.label(m, 4),
    ),
)


def agree(got: Any, wanted: Any, tolerance: float) -> None:
    """Assert equal values, shapes and element types."""
    if isinstance(wanted, tuple):
        assert len(got) == len(wanted)
        for g, w in zip(got, wanted, strict=True):
            agree(g, w, tolerance)
        return
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    if tolerance:
        np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(got, wanted)
