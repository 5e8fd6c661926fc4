"""Where pixels come from: catalogues, scenes, and the one read path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minescale.sources.access import Access as Access
    from minescale.sources.catalogs import search as search
    from minescale.sources.freeze import freeze as freeze
    from minescale.sources.freeze import read_scenes as read_scenes
    from minescale.sources.freeze import write_scenes as write_scenes
    from minescale.sources.reader import Reader as Reader
    from minescale.sources.scenes import Layer as Layer
    from minescale.sources.scenes import Scene as Scene

_HOMES = {
    "Access": "access",
    "Layer": "scenes",
    "Reader": "reader",
    "Scene": "scenes",
    "freeze": "freeze",
    "read_scenes": "freeze",
    "search": "catalogs",
    "write_scenes": "freeze",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing the package stays light.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
