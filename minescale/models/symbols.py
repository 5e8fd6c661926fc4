"""From band and index names to formulas in band symbols."""

from __future__ import annotations

from minescale.errors import ModelError, UsageError
from minescale.kernels.expressions import parse
from minescale.kernels.indices import ALIASES, GEOLOGY, INDICES, expression_of
from minescale.models.spec import ModelSpec, nearest
from minescale.sensors import SENSORS, SENTINEL2_L2A
from minescale.types import Channel


def band_symbols(spec: ModelSpec) -> tuple[str, ...]:
    """The awesome-spectral-indices symbol of each channel, in order; a band without one keeps its name.

    A percentile is marked behind it: ``N_p90`` for ``nir:p90``, so that indices by name are of the scan's composites.
    """
    sensor = SENSORS[spec.sensors[0]] if spec.sensors else SENTINEL2_L2A

    def symbol(channel: Channel) -> str:
        plain = sensor.band(channel.band).symbol or channel.band
        return plain if channel.percentile is None else f"{plain}_p{channel.percentile}"

    return tuple(symbol(Channel.parse(name)) for name in spec.bands)


def formula(name: str, model: str) -> str:
    """The expression of a named index; an expression in band symbols stands for itself.

    Raises
    ------
    ModelError
        for an unknown name, naming the nearest index, or an expression that is more than arithmetic.
    """
    if name.isidentifier():
        try:
            return expression_of(name)
        except UsageError as error:
            known = {*INDICES, *ALIASES, *GEOLOGY}
            raise ModelError(f"model {model}: unknown index", got=name, expected=nearest(name, known)) from error
    try:
        parse(name)
    except UsageError as error:
        raise ModelError(f"model {model}: feature is no index", got=name, expected="a name or arithmetic") from error
    return name
