"""``minescale dataset sandbox``: a few cells to play with, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minescale.cli.dataset.extract import cluster_options, finish
from minescale.cli.group import Command
from minescale.cli.params import (
    json_option,
    make_config,
    progress_option,
    quiet_option,
    set_logging,
    verbose_option,
)


@click.command(cls=Command, short_help="A few synthetic cells to play with, offline.")
@click.option("--out", "-o", default="sandbox", show_default=True, metavar="DIR", help="Folder of the set.")
@click.option("--cells", type=int, default=6, show_default=True, help="Half of them round mines.")
@click.option("--side", type=float, default=1280.0, show_default=True, metavar="M", help="Edge of a cell in metres.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the cells without a mine.")
@cluster_options
@json_option
@progress_option
@verbose_option
@quiet_option
def sandbox(
    out: str,
    cells: int,
    side: float,
    seed: int,
    config_file: Path | None,
    settings: tuple[tuple[str, str], ...],
    as_json: bool,
    progress: str,
    verbose: int,
    quiet: bool,
    **flags: Any,
) -> None:
    """Build a small training set from computer-generated imagery: images, masks, a table, pictures.

    Needs no internet. It shows the formats and feeds tests; what a model learns from it is worth nothing.
    """
    set_logging(verbose, quiet)
    settled = make_config(config_file, settings, flags)

    from minescale.cli.scan import quiet_dask
    from minescale.engine.progress import progress as shown
    from minescale.labels.imagery.sandbox import make_sandbox

    quiet_dask()
    with shown("none" if quiet else progress) as listener:  # type: ignore[arg-type]  # click has checked the choice
        report = make_sandbox(out, cells=cells, side_m=side, seed=seed, config=settled, listeners=(listener,))
    finish(report, out, as_json)
