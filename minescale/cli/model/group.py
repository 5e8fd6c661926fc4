"""``minescale model``: the group of commands that describe, make and export model packages."""

from __future__ import annotations

from collections.abc import Mapping

import click

from minescale.cli.group import LazyGroup

COMMANDS: Mapping[str, str] = {
    "average": "minescale.cli.model.average:average",
    "band-math": "minescale.cli.model.band_math:band_math",
    "detect": "minescale.cli.model.detect:detect",
    "export": "minescale.cli.model.export:export",
    "info": "minescale.cli.model.info:info",
    "join": "minescale.cli.model.join:join",
    "package": "minescale.cli.model.package:package",
    "screen": "minescale.cli.model.screen:screen",
}


@click.group(name="model", cls=LazyGroup, lazy=COMMANDS, short_help="Describe, make and export model packages.")
def model() -> None:
    """Describe, make and export model packages; look at an image with two of them."""
