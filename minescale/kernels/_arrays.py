"""What every kernel asks of its arrays: element type, number of axes, C order, a fitting ``out``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minescale.errors import UsageError


class _Alias:
    """Lends the memory of a read-only array to NumPy as a writable one, and keeps the owner alive."""

    def __init__(self, array: NDArray) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self.owner = array


def given(array: Any, what: str, dtypes: tuple[DTypeLike, ...], ndim: int | tuple[int, ...] | None) -> NDArray:
    """``array`` as a C-contiguous, aligned array of one of ``dtypes``; copied only where its layout needs it.

    Read-only input (buffers that Dask received, memory maps) is lent to the kernel as if it were writable:
    numba would otherwise compile every kernel a second time for it. Kernels never write to their input.

    Raises
    ------
    UsageError
        for another element type or number of axes.
    """
    taken = np.asarray(array)
    if not any(taken.dtype == np.dtype(d) for d in dtypes):
        wanted = " or ".join(np.dtype(d).name for d in dtypes)
        raise UsageError(f"{what} has the wrong element type", got=taken.dtype, expected=wanted)
    axes = (ndim,) if isinstance(ndim, int) else ndim
    if axes is not None and taken.ndim not in axes:
        wanted = " or ".join(map(str, axes))
        raise UsageError(f"{what} has the wrong number of axes", got=taken.shape, expected=f"{wanted} axes")
    taken = np.require(taken, requirements=["C", "A"])
    return taken if taken.flags.writeable or taken.size == 0 else np.asarray(_Alias(taken))


def output(out: NDArray | None, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """``out`` checked, or a new array where it is None. A new array is not initialised.

    Raises
    ------
    UsageError
        where ``out`` has another shape or element type, is not C-contiguous, or cannot be written.
    """
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != np.dtype(dtype):
        raise UsageError(
            "out does not fit the result", got=f"{out.dtype} {out.shape}", expected=f"{np.dtype(dtype)} {shape}"
        )
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise UsageError("out cannot be written in place", got="a strided or read-only view", expected="C order")
    return out


def same_shape(first: NDArray, second: NDArray, what: str) -> None:
    """Raise UsageError where two arrays differ in shape."""
    if first.shape != second.shape:
        raise UsageError(f"{what} differ in shape", got=f"{first.shape} and {second.shape}", expected="equal shapes")
