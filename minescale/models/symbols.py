"""From band names to the symbols that index formulas are written in."""

from __future__ import annotations

from minescale.errors import ModelError
from minescale.kernels.indices import ALIASES, INDICES
from minescale.models.spec import ModelSpec, nearest
from minescale.sensors import SENSORS, SENTINEL2_L2A


def band_symbols(spec: ModelSpec) -> tuple[str, ...]:
    """The awesome-spectral-indices symbol of each band, in order; a band without one keeps its name."""
    sensor = SENSORS[spec.sensors[0]] if spec.sensors else SENTINEL2_L2A
    return tuple(sensor.band(name).symbol or name for name in spec.bands)


def formula(name: str, model: str) -> str:
    """The expression of a named index.

    Raises
    ------
    ModelError
        naming the nearest index.
    """
    canonical = ALIASES.get(name, name)
    if canonical not in INDICES:
        raise ModelError(f"model {model}: unknown index", got=name, expected=nearest(name, {*INDICES, *ALIASES}))
    return INDICES[canonical]
