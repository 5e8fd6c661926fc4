"""Features of a pixel model as a small program, so that one kernel can compute any of them.

A feature is a band (``swir16``), a normalised difference of two bands (``ND_nir_red``), a named index (``NDVI``)
or an expression in band symbols (``(S1 - S2) / N``).
Its formula becomes postfix code; the code of all features is one array that the kernel in
:mod:`minescale.models.pixel` runs on blocks of pixels.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.kernels.expressions import parse
from minescale.models.spec import ModelSpec
from minescale.models.symbols import band_symbols, formula

LOAD, CONST, ADD, SUB, MUL, DIV, NEG, POW, FEATURE, CONTRAST = range(10)
MOST_BANDS = 256
"""Bands a program can tell apart: CONTRAST packs two of their numbers into one argument."""
_BINARY: dict[type[ast.operator], int] = {ast.Add: ADD, ast.Sub: SUB, ast.Mult: MUL, ast.Div: DIV, ast.Pow: POW}
_EFFECT = {LOAD: 1, CONST: 1, NEG: 0, FEATURE: -1, CONTRAST: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    codes: NDArray[np.int64]
    """Operations in order; ``FEATURE`` takes the value from the stack as the feature of number ``arguments[i]``,
    ``CONTRAST`` puts ``(a - b) / (a + b)`` of two bands there."""
    arguments: NDArray[np.float32]
    """Band number, constant or feature number of each operation; ``MOST_BANDS * a + b`` of a CONTRAST; else 0."""
    depth: int
    """Largest number of values on the stack."""
    n_features: int


def compile_features(features: Sequence[str], spec: ModelSpec) -> Program:
    """Translate feature names to a program over the bands of ``spec``.

    Raises
    ------
    ModelError
        for an unknown name, or an index of a band the model does not read.
    """
    symbols = band_symbols(spec)
    operations: list[tuple[int, float]] = []
    for number, name in enumerate(features):
        operations += [*_shortened(_feature(name, spec, symbols)), (FEATURE, float(number))]
    depth = deepest = 0
    for code, _ in operations:
        depth += _EFFECT.get(code, -1)
        deepest = max(deepest, depth)
    return Program(
        codes=np.array([code for code, _ in operations], np.int64),
        arguments=np.array([argument for _, argument in operations], np.float32),
        depth=deepest,
        n_features=len(features),
    )


def _shortened(operations: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """One operation in place of the seven of a normalised difference, which most features are."""
    if [code for code, _ in operations] == [LOAD, LOAD, SUB, LOAD, LOAD, ADD, DIV]:
        first, second = operations[:2], operations[3:5]
        if first == second:
            return [(CONTRAST, MOST_BANDS * first[0][1] + first[1][1])]
    return operations


def _feature(name: str, spec: ModelSpec, symbols: Sequence[str]) -> list[tuple[int, float]]:
    if name in spec.bands:
        return [(LOAD, float(spec.bands.index(name)))]
    if name.startswith("ND_"):
        first, _, second = name[3:].partition("_")
        for band in (first, second):
            if band not in spec.bands:
                raise ModelError(f"model {spec.name}: feature {name}", got=band, expected=", ".join(spec.bands))
        a, b = float(spec.bands.index(first)), float(spec.bands.index(second))
        return [(LOAD, a), (LOAD, b), (SUB, 0.0), (LOAD, a), (LOAD, b), (ADD, 0.0), (DIV, 0.0)]
    expression = formula(name, spec.name)
    return _postfix(parse(expression), expression, spec, symbols)


def _postfix(node: ast.expr, expression: str, spec: ModelSpec, symbols: Sequence[str]) -> list[tuple[int, float]]:
    match node:
        case ast.Name(id=name) if name in symbols:
            return [(LOAD, float(symbols.index(name)))]
        case ast.Constant(value=int() | float() as value):
            return [(CONST, float(value))]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _postfix(operand, expression, spec, symbols)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return [*_postfix(operand, expression, spec, symbols), (NEG, 0.0)]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            sides = [*_postfix(left, expression, spec, symbols), *_postfix(right, expression, spec, symbols)]
            return [*sides, (_BINARY[type(op)], 0.0)]
        case _:
            raise ModelError(
                f"model {spec.name}: an index cannot be computed from its bands",
                got=f"{ast.unparse(node)} in {expression}",
                expected=f"{', '.join(symbols)}, numbers and + - * / **",
            )


def score_pixels(
    batch: NDArray[np.float32], target: int, score: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Probabilities of two classes, float32 (n, class, y, x), from a score of each pixel alone.

    Parameters
    ----------
    batch : float32 (n, band, y, x), reflectance 0-1.
    target : index of the class that is scored.
    score : (band, pixel) to (pixel,).
    """
    out = np.empty((len(batch), 2, *batch.shape[2:]), np.float32)
    for i, image in enumerate(batch):
        flat = np.ascontiguousarray(image).reshape(len(image), -1)
        out[i, target] = score(flat).reshape(image.shape[1:])
    np.subtract(1, out[:, target], out=out[:, 1 - target])
    return out
