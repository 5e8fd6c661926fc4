"""``minescale plan``: search, lay out and price a scan, and keep the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minescale.cli.group import Command
from minescale.cli.params import (
    echo_json,
    json_option,
    make_config,
    make_request,
    request_options,
    set_logging,
    setting_options,
    verbose_option,
)


@click.command(cls=Command, short_help="Search, lay out and price a scan; keep the plan.")
@request_options
@setting_options
@click.option("--out", "-o", required=True, metavar="DIR", help="Directory of the scan, local or s3://, gs://, ...")
@json_option
@verbose_option
def plan(
    catalog: str,
    bbox: tuple[float, float, float, float] | None,
    when: str | None,
    period: str,
    collections: tuple[str, ...],
    query: tuple[str, ...],
    model: str,
    config_file: Path | None,
    settings: tuple[tuple[str, str], ...],
    out: str,
    as_json: bool,
    verbose: int,
    **flags: Any,
) -> None:
    """Search once, lay out the tiles, say what a scan will read and cost, and write plan.json and scenes.parquet.

    A later "scan" with the same options and --out runs this very plan, without searching again.
    """
    set_logging(verbose, quiet=False)
    settled = make_config(config_file, settings, flags)
    wanted = make_request(catalog, bbox, when, period, collections, query, model)
    planned = plan_or_kept(wanted, settled, out, keep=True)
    from minescale.api import explain

    explanation = explain(planned)
    if as_json:
        echo_json({**explanation.to_dict(), "out": out})
    else:
        click.echo(explanation.text())


def plan_or_kept(wanted: Any, settled: Any, out: str | None, *, keep: bool) -> Any:
    """The plan that ``out`` holds for the same request, or a new one; ``keep`` writes a new one there.

    Raises
    ------
    OutputMismatch
        where ``out`` holds the plan of another request.
    """
    from minescale.api import plan as make
    from minescale.planning.plan import refuse_other_run
    from minescale.planning.run_dir import RunDir

    folder = RunDir(out) if out is not None else None
    if folder is not None and folder.has_plan():
        kept = folder.load_plan()
        refuse_other_run(kept, wanted, settled, folder.root)
        return kept.with_runtime(settled)
    planned = make(wanted, settled)
    if keep and folder is not None:
        folder.save_plan(planned)
    return planned
