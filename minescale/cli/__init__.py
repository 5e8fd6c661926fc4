"""The command line: ``minescale`` or ``python -m minescale``, and ``dask minescale`` where Dask is installed.

Only click is imported here; each command is loaded when it is asked for, and heavy libraries when it runs.
"""

from __future__ import annotations

from minescale.cli.group import LazyGroup, main

__all__ = ["LazyGroup", "main"]
