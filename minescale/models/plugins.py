"""What other distributions bring: looked up by entry point, and checked to be what it says it is."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from minescale.errors import ModelError

T = TypeVar("T")


def offered(group: str) -> set[str]:
    """Names that installed distributions offer in a group of entry points."""
    return {plugin.name for plugin in entry_points(group=group)}


def brought(
    group: str, name: str, kind: type[T], what: str, make: Callable[[Any], Any] = lambda loaded: loaded
) -> T | None:
    """The object that a distribution offers under ``name``; None where none does.

    Parameters
    ----------
    kind : type or runtime protocol that it has to be of.
    what : says so in words.
    make : makes the object of what the entry point names.

    Raises
    ------
    ModelError
        where it is something else.
    """
    for plugin in entry_points(group=group):
        if plugin.name == name:
            made = make(plugin.load())
            if not isinstance(made, kind):
                raise ModelError(f"plugin {plugin.value} is no {what}", got=type(made).__name__, expected=kind.__name__)
            return made
    return None
