"""``minescale demo``: a first scan, offline, with its score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minescale.cli.group import Command
from minescale.cli.params import (
    echo_json,
    json_option,
    make_config,
    progress_option,
    quiet_option,
    set_logging,
    setting_options,
    verbose_option,
)
from minescale.cli.scan import exit_code_of, result_dict, run_shown, tell_unfinished

PREFERRED = ("demo", "baseline")
"""Packages to use where the user names none, best first."""


@click.command(cls=Command, short_help="A first scan, offline, with its score.")
@click.option("--out", "-o", default="demo-scan", show_default=True, metavar="DIR", help="Directory of the scan.")
@click.option("--model", metavar="PKG", help="Default: demo where it is installed, else baseline.")
@click.option(
    "--region", type=click.Choice(["demo", "small"]), default="demo", show_default=True, help="41 or 10 km wide."
)
@setting_options
@json_option
@progress_option
@verbose_option
@quiet_option
def demo(
    out: str,
    model: str | None,
    region: str,
    config_file: Path | None,
    settings: tuple[tuple[str, str], ...],
    as_json: bool,
    progress: str,
    verbose: int,
    quiet: bool,
    **flags: Any,
) -> None:
    """Make a synthetic region (first use: about a minute), scan it, and score the map against the truth.

    Needs no internet. The scores show that the machinery works; they are no evidence of skill in the real world.
    """
    set_logging(verbose, quiet)
    settled = make_config(config_file, settings, flags)

    from minescale.api import request
    from minescale.outputs.demo_score import demo_text, score_demo
    from minescale.outputs.table import summary_text
    from minescale.planning.run_dir import RunDir
    from minescale.synthetic import DEMO, SMALL
    from minescale.synthetic.region import ensure_region

    spec = {"demo": DEMO, "small": SMALL}[region]
    if not quiet:
        click.echo(f"synthetic region {spec.name}: made on first use, then kept in the cache", err=True)
    made = ensure_region(spec)
    wanted = request(
        catalog="demo" if region == "demo" else str(made.catalog),
        bbox=made.bbox,
        datetime=made.period,
        model=model or preferred_model(),
    )
    result = run_shown(wanted, settled, out, None, None, "none" if quiet else progress)
    exit_code = exit_code_of(result)
    score = None if exit_code else score_demo(result.plan, RunDir(out), made)
    if as_json:
        values = result_dict(result, out, exit_code)
        echo_json({**values, "score": None if score is None else score.to_dict()})
    else:
        click.echo(summary_text(result.summary))
        if score is not None:
            click.echo(f"\n{demo_text(score)}\n\n{out}/quicklook.png")
    if exit_code:
        tell_unfinished(result)
        click.get_current_context().exit(exit_code)


def preferred_model() -> str:
    """The best built-in package for the demo."""
    from minescale.models.package import list_packages

    known = list_packages()
    return next(name for name in PREFERRED if name in known)
