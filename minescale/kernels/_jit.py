"""The one way a kernel is compiled.

Kernels are plain loops over C-contiguous arrays. They release the interpreter lock and never start
threads of their own: the callers (Dask workers, reader pools) are threads already, and numba's parallel
targets are not safe below them. Nothing is compiled at import; the first call compiles, later processes
load the machine code from numba's cache on disk. No fast-math: NaN and infinity keep their meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable)


def kernel(function: F) -> F:
    """Compile ``function`` on its first call: no interpreter lock, cached on disk, division by zero as in NumPy."""
    try:
        return cast("F", njit(nogil=True, cache=True, error_model="numpy")(function))
    except RuntimeError:
        # numba found no folder that it may write its cache to (a locked-down container): compile per process.
        return cast("F", njit(nogil=True, error_model="numpy")(function))
