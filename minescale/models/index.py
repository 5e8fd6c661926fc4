"""Models without weights: fuzzy rules over spectral indices.

A rule is a list of ramps; a ramp maps an index from 0 at ``from`` to 1 at ``to`` (``from > to`` falls). A rule's
score is its lowest ramp, so every condition must hold; the model's score is the highest rule times its weight.
It screens; it is calibrated on nothing, and a score is no probability of anything.

The built-in package ``baseline`` uses it with limits taken from, or set round, published ones:

- bare, dry, bright ground: NDVI (Rouse et al. 1974) and NBR2 low, as in the bare-soil rule GEOS3 of
  Demattê et al. 2018 (doi:10.1016/j.rse.2018.04.047: NDVI -0.05..0.30, NBR2 -0.15..0.15), and the bare soil
  index BI high (Rikimaru et al. 2002, Tropical Ecology 43:39-47);
- no open water: swir16 above what water leaves of it (the idea of MNDWI, Xu 2006, doi:10.1080/01431160600589179,
  without the green band, which not every catalogue carries);
- turbid ponds: water by swir16, and red above blue, as suspended sediment does (the idea of NDTI,
  Lacaux et al. 2007, doi:10.1016/j.rse.2006.07.012, with blue in the place of green; as IKAW in
  Kawashima and Nakatani 1998, doi:10.1006/anbo.1997.0544). They count less, because rivers in flood look the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.kernels.indices import evaluate
from minescale.models.package import ModelPackage
from minescale.models.spec import ModelSpec, nearest
from minescale.models.symbols import band_symbols, formula


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    expression: str
    start: float
    """Value at which the score is 0."""
    end: float
    """Value at which the score is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str
    weight: float
    """Score of a pixel that meets every ramp, 0-1."""
    ramps: tuple[Ramp, ...]


class IndexPredictor:
    """Rules from ``mlm:hyperparameters`` (``{"rules": [{"name", "weight", "ramps": [{"index", "from", "to"}]}]}``).

    Thread-safe: it holds no state but its rules.
    """

    def __init__(self, package: ModelPackage, device: str = "cpu") -> None:  # noqa: ARG002  (families share a signature)
        self._spec = package.spec
        if len(self._spec.classes) != 2:
            raise ModelError(f"model {self._spec.name}: classes", got=len(self._spec.classes), expected=2)
        self._symbols = band_symbols(self._spec)
        self._rules = parse_rules(self._spec, self._symbols)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`. An index without a value (0/0) scores 0."""
        symbols = {name: np.ascontiguousarray(batch[:, i]) for i, name in enumerate(self._symbols)}
        score = np.zeros(batch[:, 0].shape, np.float32)
        values: dict[str, NDArray[np.float32]] = {}
        for rule in self._rules:
            met = np.full(score.shape, rule.weight, np.float32)
            for ramp in rule.ramps:
                if ramp.expression not in values:
                    values[ramp.expression] = evaluate(ramp.expression, symbols)
                step = values[ramp.expression] - np.float32(ramp.start)
                step *= np.float32(1 / (ramp.end - ramp.start))
                np.minimum(step, np.float32(1), out=step)
                np.fmax(step, np.float32(0), out=step)  # of a number and NaN, fmax takes the number
                step *= np.float32(rule.weight)
                np.minimum(met, step, out=met)
            np.maximum(score, met, out=score)
        out = np.empty((len(batch), 2, *score.shape[1:]), np.float32)
        out[:, self._spec.target_index] = score
        out[:, 1 - self._spec.target_index] = 1 - score
        return out


def parse_rules(spec: ModelSpec, symbols: Sequence[str]) -> tuple[Rule, ...]:
    """Read and check the rules of a specification.

    Raises
    ------
    ModelError
        for an unknown or missing key, an unknown index, or an index of bands the model does not read.
    """
    entries = spec.hyperparameters.get("rules")
    if set(spec.hyperparameters) != {"rules"} or not isinstance(entries, Sequence) or not entries:
        raise ModelError(
            f"model {spec.name}: hyperparameters", got=", ".join(spec.hyperparameters) or "none", expected="rules"
        )
    rules = tuple(_rule(spec, entry) for entry in entries)
    probe = {name: np.full((1, 1, 1), 0.1, np.float32) for name in symbols}
    for ramp in (ramp for rule in rules for ramp in rule.ramps):
        try:
            evaluate(ramp.expression, probe)
        except UsageError as error:
            raise ModelError(
                f"model {spec.name}: index needs another band",
                got=ramp.expression,
                expected=f"symbols {', '.join(symbols)}",
            ) from error
    return rules


def _rule(spec: ModelSpec, entry: Any) -> Rule:
    _keys(spec, entry, {"name", "weight", "ramps"})
    ramps = []
    for ramp in entry["ramps"]:
        _keys(spec, ramp, {"index", "from", "to"})
        name, start, end = str(ramp["index"]), float(ramp["from"]), float(ramp["to"])
        if start == end or not math.isfinite(start) or not math.isfinite(end):
            raise ModelError(f"model {spec.name}: ramp of {name}", got=f"{start}..{end}", expected="two numbers")
        expression = formula(name, spec.name) if name not in band_symbols(spec) else name
        ramps.append(Ramp(expression=expression, start=start, end=end))
    weight = float(entry["weight"])
    if not ramps or not 0 < weight <= 1:
        raise ModelError(f"model {spec.name}: rule {entry['name']}", got=weight, expected="ramps, weight in (0, 1]")
    return Rule(name=str(entry["name"]), weight=weight, ramps=tuple(ramps))


def _keys(spec: ModelSpec, entry: Any, wanted: set[str]) -> None:
    if not isinstance(entry, Mapping):
        raise ModelError(f"model {spec.name}: rules", got=type(entry).__name__, expected="an object")
    for key in entry:
        if key not in wanted:
            raise ModelError(f"model {spec.name}: unknown key in rules", got=key, expected=nearest(key, wanted))
    missing = wanted - set(entry)
    if missing:
        raise ModelError(f"model {spec.name}: rule lacks a key", got=", ".join(entry), expected=", ".join(missing))
