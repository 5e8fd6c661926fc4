"""``minescale dataset``: the group of commands that build, check and describe training sets."""

from __future__ import annotations

from collections.abc import Mapping

import click

from minescale.cli.group import LazyGroup

COMMANDS: Mapping[str, str] = {
    "audit": "minescale.cli.dataset.audit:audit",
    "augment": "minescale.cli.dataset.augment:augment",
    "card": "minescale.cli.dataset.card:card",
    "cells": "minescale.cli.dataset.cells:cells",
    "export": "minescale.cli.dataset.export:export",
    "extract": "minescale.cli.dataset.extract:extract",
    "figures": "minescale.cli.dataset.figures:figures",
    "info": "minescale.cli.dataset.info:info",
    "label": "minescale.cli.dataset.label:label",
    "negatives": "minescale.cli.dataset.negatives:negatives",
    "polygons": "minescale.cli.dataset.polygons:polygons",
    "sandbox": "minescale.cli.dataset.sandbox:sandbox",
    "screen": "minescale.cli.dataset.screen:screen",
    "split": "minescale.cli.dataset.split:split",
    "stats": "minescale.cli.dataset.stats:stats",
    "validate": "minescale.cli.dataset.validate:validate",
}


@click.group(name="dataset", cls=LazyGroup, lazy=COMMANDS, short_help="Build, split and audit training sets.")
def dataset() -> None:
    """Build, split and audit training sets: from polygons and coordinates to samples that a model may learn from."""
