"""Any index of awesome-spectral-indices from its expression, without ever executing text as Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError

CONSTANTS: dict[str, float] = {
    "L": 1.0,
    "g": 2.5,
    "C1": 6.0,
    "C2": 7.5,
    "alpha": 0.1,
    "beta": 0.05,
    "gamma": 1.0,
    "sla": 1.0,
    "slb": 0.0,
    "nexp": 2.0,
    "cexp": 1.16,
    "omega": 2.0,
    "epsilon": 1.0,
    "eta": 0.5,
    "lmb": 1.0,
    "fdelta": 0.581,
    "k": 0.0,
    "n": 5.0,
    "c": 1.0,
    "p": 2.0,
    "sigma": 0.5,
}
"""Default values of the constants in awesome-spectral-indices expressions."""

_LONGEST, _DEEPEST, _LARGEST = 4000, 200, 1e30
_BINARY: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}


def evaluate(
    expression: str,
    symbols: Mapping[str, NDArray],
    constants: Mapping[str, float] | None = None,
) -> NDArray[np.float32]:
    """Compute an index from its expression, pixel by pixel.

    Only numbers, names, parentheses and ``+ - * / **`` are understood, which is all that awesome-spectral-indices
    uses; nothing is ever executed as Python. Works on any block of an image, so chunk by chunk equals all at once.

    Parameters
    ----------
    expression : such as ``g * (N - R) / (N + C1 * R - C2 * B + L)``.
    symbols : arrays of one shape per symbol, reflectance 0-1; NaN = no data.
    constants : values for other names; CONSTANTS stand in for what is not given.

    Returns
    -------
    float32 of the arrays' shape; NaN where something is divided by zero.

    Raises
    ------
    UsageError
        for anything else than arithmetic, unknown names, or arrays of several shapes.
    """
    tree, names = _read(expression)
    values: dict[str, NDArray] = {}
    for name in names:
        if name in symbols:
            values[name] = np.asarray(symbols[name], np.float32)
        elif name in (constants or {}) or name in CONSTANTS:
            values[name] = np.asarray({**CONSTANTS, **(constants or {})}[name], np.float32)
        else:
            raise UsageError(
                f"index expression {expression!r} needs a symbol that is not there",
                got=", ".join(symbols) or "no symbols",
                expected=name,
                fix="a band of that symbol, or a value for it in constants",
            )
    shapes = {values[name].shape for name in names if name in symbols}
    if len(shapes) > 1:
        raise UsageError("bands of an index differ in shape", got=sorted(shapes), expected="equal shapes")
    with np.errstate(all="ignore"):
        result = _compute(tree, values)
    shape = next(iter(shapes), ())
    return np.array(np.broadcast_to(result, shape), np.float32)


@lru_cache(maxsize=256)
def _read(expression: str) -> tuple[ast.expr, tuple[str, ...]]:
    """Tree and names, sorted: an index is computed for every block of a scan."""
    tree = parse(expression)
    return tree, tuple(sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}))


def parse(expression: str) -> ast.expr:
    """Syntax tree of an expression that holds nothing but arithmetic on numbers and names.

    Raises
    ------
    UsageError
        for anything else.
    """
    allowed = "numbers, band symbols, parentheses and + - * / **"
    if len(expression) > _LONGEST:
        raise UsageError("index expression is too long", got=f"{len(expression)} characters", expected=_LONGEST)
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError("index expression cannot be read", got=expression, expected=allowed) from error
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > _DEEPEST:
            raise UsageError("index expression is nested too deep", got=f"over {_DEEPEST} levels", expected=allowed)
        match node:
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow(), right=right):
                stack += [(left, depth + 1), (right, depth + 1)]
            case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
                stack.append((operand, depth + 1))
            case ast.Name():
                continue
            case ast.Constant(value=int() | float() as value) if type(value) is not bool and abs(value) < _LARGEST:
                continue
            case _:
                raise UsageError(
                    f"index expression {expression!r} holds more than arithmetic",
                    got=ast.unparse(node) if depth else type(node).__name__,
                    expected=allowed,
                )
    return tree


def _compute(node: ast.expr, values: Mapping[str, NDArray]) -> NDArray:
    match node:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            below = _compute(right, values)
            return np.where(below == 0, np.float32(np.nan), _compute(left, values) / below)
        case ast.BinOp(left=left, op=sign, right=right):
            result: NDArray = _BINARY[type(sign)](_compute(left, values), _compute(right, values))
            return result
        case ast.UnaryOp(op=sign, operand=operand):
            value = _compute(operand, values)
            return -value if isinstance(sign, ast.USub) else value
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=float() | int() as number):
            return np.asarray(number, np.float32)
    raise UsageError("index expression holds more than arithmetic", got=ast.dump(node))
