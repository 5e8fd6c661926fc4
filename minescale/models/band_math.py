"""A linear model of pixels as plain band math: text that other tools evaluate to the same probabilities.

Nothing of minescale is needed to run it: numexpr in Python, the raster calculator of QGIS, or Earth Engine's code
editor. A feature whose denominator is 0 counts as average and scaled features are cut at ±8, as in the scan; a
temperature that calibrates the model is part of the text. What has no data is not: mask it before or after.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from minescale.errors import ModelError, UsageError
from minescale.kernels.expressions import parse
from minescale.models.package import ModelPackage
from minescale.models.pixel import SCALED_LIMIT, PixelPredictor
from minescale.models.symbols import band_symbols, formula

Syntax = Literal["numexpr", "qgis", "earthengine"]
SYNTAXES = ("numexpr", "qgis", "earthengine")
_WIDTH = 100
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


@dataclass(frozen=True, slots=True)
class _Dialect:
    band: Callable[[str, int], str]
    """(name, number from 0) -> how a band is written."""
    is_zero: Callable[[str], str]
    """1 where a term is 0, else 0."""
    cut: Callable[[str], str]
    """A term between the limits of scaled features."""
    power: str
    exponential: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Term:
    """One feature of the sum: weight x cut((value - mean) / std), 0 where any of the denominators is."""

    weight: float
    scaled: str
    denominators: tuple[str, ...]


def band_math(package: ModelPackage, syntax: Syntax, *, unit: float = 1.0, layer: str = "composite") -> str:
    """The text of a linear model of the family ``pixel``.

    Parameters
    ----------
    syntax : ``numexpr``: lines ``name = expression`` to evaluate one after the other, bands by name (``nir_p90`` for
        ``nir:p90``), the result in ``probability``. ``qgis``: one expression for the raster calculator, bands as
        ``"layer@1"`` in the order of the model's. ``earthengine``: a JavaScript function from an image with the bands'
        names to an image with the band ``probability``.
    unit : reflectance of the number 1 in the image: 1 for reflectance 0-1, 1e-4 for reflectance x 1e4.
    layer : name of the layer in QGIS.

    Raises
    ------
    ModelError
        for a model that is not linear, or calibrated by isotonic regression, which is no formula.
    UsageError
        for an unknown syntax, a unit that is not above 0, or a layer's name that cannot be quoted.
    """
    if syntax not in SYNTAXES:
        raise UsageError("unknown syntax of band math", got=syntax, expected=" | ".join(SYNTAXES))
    if not 0 < unit < float("inf"):
        raise UsageError("unit", got=unit, expected="reflectance of the number 1, above 0")
    if not layer or set(layer) & set('"@\n'):
        raise UsageError("name of a layer", got=layer, expected='without ", @ and line breaks')
    spec = package.spec
    if spec.family != "pixel" or spec.hyperparameters.get("hidden", 0):
        raise ModelError(
            f"model {spec.name} is no formula", got=f"family {spec.family}", expected="a linear model of family pixel"
        )
    if spec.calibration and spec.calibration["method"] != "temperature":
        raise ModelError(
            f"model {spec.name} is calibrated by a table",
            got=spec.calibration["method"],
            fix="calibrate by temperature",
        )
    PixelPredictor(package)  # weights fit the features
    dialect = _dialect(syntax, layer)
    terms, bias = _terms(package, dialect, unit)
    temperature = float(spec.calibration.get("temperature", 1.0))
    if syntax == "numexpr":
        return _lines(terms, bias, temperature, dialect)
    total = " + ".join([_number(bias), *(_product(term, dialect.cut(term.scaled), dialect) for term in terms)])
    probability = _logistic(f"({total})", temperature, dialect)
    return probability + "\n" if syntax == "qgis" else _function(probability, spec.bands)


def _terms(package: ModelPackage, dialect: _Dialect, unit: float) -> tuple[list[_Term], float]:
    """The features with a weight, and the bias."""
    spec, arrays = package.spec, package.weights()
    symbols = band_symbols(spec)
    bands = [dialect.band(name.replace(":", "_"), i) for i, name in enumerate(spec.bands)]
    if unit != 1:
        bands = [f"({band} * {_number(unit)})" for band in bands]
    by_name = {**dict(zip(symbols, bands, strict=True)), **dict(zip(spec.bands, bands, strict=True))}
    terms = []
    for i, name in enumerate(spec.hyperparameters["features"]):
        weight = float(arrays["weight"][0, i])
        if not weight:
            continue
        denominators: list[str] = []
        value = _value(name, package, by_name, dialect, denominators)
        scaled = f"({value} - {_number(arrays['mean'][i])}) / {_number(arrays['std'][i])}"
        terms.append(_Term(weight, scaled, tuple(dict.fromkeys(denominators))))
    return terms, float(arrays["bias"][0])


def _value(name: str, package: ModelPackage, by_name: dict[str, str], dialect: _Dialect, below: list[str]) -> str:
    spec = package.spec
    if name in spec.bands:
        return by_name[name]
    if name.startswith("ND_"):
        first, _, second = name[3:].partition("_")
        a, b = by_name[first], by_name[second]
        return _quotient(f"({a} - {b})", f"({a} + {b})", dialect, below)
    return _text(parse(formula(name, spec.name)), by_name, dialect, below)


def _text(node: ast.expr, by_name: dict[str, str], dialect: _Dialect, below: list[str]) -> str:
    match node:
        case ast.Name(id=name):
            return by_name[name]
        case ast.Constant(value=int() | float() as value):
            return _number(value)
        case ast.UnaryOp(op=sign, operand=operand):
            inner = _text(operand, by_name, dialect, below)
            return f"(0 - {inner})" if isinstance(sign, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            one, two = (_text(side, by_name, dialect, below) for side in (left, right))
            if isinstance(op, ast.Div):
                return _quotient(one, two, dialect, below)
            return f"({one} {_SIGNS.get(type(op), dialect.power)} {two})"
    raise ModelError("a feature is more than arithmetic", got=ast.unparse(node))


def _quotient(above: str, under: str, dialect: _Dialect, below: list[str]) -> str:
    """A division that never is by zero; where it would be, the whole feature is dropped by its flag."""
    below.append(under)
    return f"({above} / ({under} + {dialect.is_zero(under)}))"


def _product(term: _Term, cut: str, dialect: _Dialect) -> str:
    flags = "".join(f" * (1 - {dialect.is_zero(text)})" for text in term.denominators)
    return f"{_number(term.weight)} * {cut}{flags}"


def _lines(terms: Sequence[_Term], bias: float, temperature: float, dialect: _Dialect) -> str:
    # One feature at a time: a single expression of many would have more constants than numexpr takes.
    lines = [f"z = {_number(bias)}"]
    for term in terms:
        lines += [f"v = {term.scaled}", f"z = z + {_product(term, dialect.cut('v'), dialect)}"]
    return "\n".join([*lines, f"probability = {_logistic('z', temperature, dialect)}"]) + "\n"


def _logistic(odds: str, temperature: float, dialect: _Dialect) -> str:
    scaled = odds if temperature == 1 else f"{odds} / {_number(temperature)}"
    return f"1 / (1 + {dialect.exponential(f'0 - {scaled}')})"


def _function(probability: str, bands: Sequence[str]) -> str:
    pieces, line = [], ""
    for word in probability.split(" "):
        if len(line) + len(word) > _WIDTH:
            pieces.append(line)
            line = ""
        line += word + " "
    pieces.append(line.rstrip())
    quoted = " +\n".join(f'    "{piece}"' for piece in pieces)
    names = ", ".join(name.replace(":", "_") for name in bands)
    return (
        f"// image: bands {names}\n"
        f"function probability(image) {{\n  return image.expression(\n{quoted}\n  ).rename('probability');\n}}\n"
    )


def _number(value: Any) -> str:
    """Without an exponent, which not every parser reads; as many digits as its type tells apart."""
    text = np.format_float_positional(value, unique=True, trim="-")
    return f"({text})" if text.startswith("-") else text


def _dialect(syntax: Syntax, layer: str) -> _Dialect:
    low, high = _number(-SCALED_LIMIT), _number(SCALED_LIMIT)

    def nested(text: str) -> str:
        return f"max({low}, min({high}, {text}))"

    if syntax == "numexpr":
        return _Dialect(
            band=lambda name, _: name,
            is_zero=lambda text: f"where({text} == 0, 1, 0)",
            cut=lambda text: f"where({text} > {high}, {high}, where({text} < {low}, {low}, {text}))",
            power="**",
            exponential=lambda text: f"exp({text})",
        )
    if syntax == "qgis":
        return _Dialect(
            band=lambda _, number: f'"{layer}@{number + 1}"',
            is_zero=lambda text: f"({text} = 0)",
            cut=nested,
            power="^",
            exponential=lambda text: f"2.718281828459045 ^ ({text})",
        )
    return _Dialect(
        band=lambda name, _: f"b('{name}')",
        is_zero=lambda text: f"({text} == 0)",
        cut=nested,
        power="**",
        exponential=lambda text: f"exp({text})",
    )
