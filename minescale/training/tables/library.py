"""scikit-learn, where it is installed: it is part of the extra ``train`` and slow to import."""

from __future__ import annotations

import importlib
from types import ModuleType

from minescale.errors import ModelError


def linear_model() -> ModuleType:
    """``sklearn.linear_model``; raises as :func:`sklearn`."""
    return sklearn("linear_model")


def sklearn(part: str) -> ModuleType:
    """A module of scikit-learn.

    Raises
    ------
    ModelError
        where it is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise ModelError(
            "this family is fitted by scikit-learn, which is not installed",
            got=error,
            fix="pip install 'minescale[train]'",
        ) from error
