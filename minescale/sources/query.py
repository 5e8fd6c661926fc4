"""Property conditions such as ``eo:cloud_cover<40``: parsed once, sent to an API or checked here."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minescale.errors import UsageError

_OPERATORS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "<=": ("lte", operator.le),
    ">=": ("gte", operator.ge),
    "<>": ("neq", operator.ne),
    "!=": ("neq", operator.ne),
    "<": ("lt", operator.lt),
    ">": ("gt", operator.gt),
    "=": ("eq", operator.eq),
}
_CONDITION = re.compile(r"^\s*([A-Za-z0-9_:.\-]+?)\s*(<=|>=|<>|!=|<|>|=)\s*(.+?)\s*$")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of an item property with a constant."""

    name: str
    symbol: str
    value: str | float

    def matches(self, properties: Mapping[str, Any]) -> bool:
        """False where the property is missing or of another kind."""
        return bool(self.test(properties.get(self.name)))

    def test(self, value: Any) -> bool:
        """Compare one value."""
        if value is None:
            return False
        try:
            left = float(value) if isinstance(self.value, float) else str(value)
        except (TypeError, ValueError):
            return False
        return bool(_OPERATORS[self.symbol][1](left, self.value))


def parse_query(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Parse conditions; a value that reads as a number is one.

    Raises
    ------
    UsageError
        for text that is no condition.
    """
    conditions = []
    for text in texts:
        match = _CONDITION.match(text)
        if not match:
            raise UsageError("query is not understood", got=text, expected="property<value, such as eo:cloud_cover<40")
        name, symbol, raw = match.groups()
        conditions.append(Condition(name, symbol, _value(raw)))
    return tuple(conditions)


def api_query(conditions: Sequence[Condition]) -> dict[str, dict[str, Any]]:
    """The conditions in the form of the STAC API query extension."""
    query: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        query.setdefault(condition.name, {})[_OPERATORS[condition.symbol][0]] = condition.value
    return query


def _value(raw: str) -> str | float:
    try:
        return float(raw)
    except ValueError:
        pass
    try:
        parsed = json.loads(raw)
    except ValueError:
        return raw
    return parsed if isinstance(parsed, str) else raw
