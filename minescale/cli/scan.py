"""``minescale scan``: plan and run, or continue."""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minescale.cli.group import Command
from minescale.cli.params import (
    Deadline,
    echo_json,
    json_option,
    make_config,
    make_request,
    progress_option,
    quiet_option,
    request_options,
    set_logging,
    setting_options,
    verbose_option,
)
from minescale.cli.plan import plan_or_kept
from minescale.errors import FinishedWithFailures, UsageError

if TYPE_CHECKING:
    from minescale.api import ScanResult


@click.command(cls=Command, short_help="Scan an area and period for mining, or continue.")
@request_options
@click.option(
    "--out", "-o", metavar="DIR", help="Directory of the scan, local or s3://, gs://, ...; needed unless --dry-run."
)
@click.option("--dry-run", is_flag=True, help="Say what would be read and what it would cost; write nothing.")
@setting_options
@click.option(
    "--max-cost", type=float, metavar="X", help="Stop before more than this is spent, by the cost.* settings."
)
@click.option("--deadline", type=Deadline(), metavar="2h|30m|ISO", help="Start no tile after this.")
@json_option
@progress_option
@verbose_option
@quiet_option
def scan(
    catalog: str,
    bbox: tuple[float, float, float, float] | None,
    when: str | None,
    period: str,
    collections: tuple[str, ...],
    query: tuple[str, ...],
    model: str,
    out: str | None,
    dry_run: bool,
    config_file: Path | None,
    settings: tuple[tuple[str, str], ...],
    max_cost: float | None,
    deadline: dt.datetime | None,
    as_json: bool,
    progress: str,
    verbose: int,
    quiet: bool,
    **flags: Any,
) -> None:
    """Scan an area and period for mining, and write the map to --out.

    Repeating the command continues an interrupted scan and does nothing where all is done. --out then holds
    mosaic.zarr, quicklook.png, collection.json, plan.json and scenes.parquet.

    \b
    Exit codes: 0 done; 2 wrong use; 3 tiles failed, or a limit left tiles over; 4 no scene matched;
    5 a remote does not answer; 130 interrupted. After 3, 5 and 130 the same command continues.
    """
    set_logging(verbose, quiet)
    if out is None and not dry_run:
        raise UsageError("a scan needs a place to write to", expected="--out DIR", fix="--out DIR, or --dry-run")
    settled = make_config(config_file, settings, flags)
    wanted = make_request(catalog, bbox, when, period, collections, query, model)
    if dry_run:
        explain_only(wanted, settled, out, as_json)
        return
    assert out is not None  # checked above; for the type checker  # noqa: S101
    result = run_shown(wanted, settled, out, max_cost, deadline, "none" if quiet else progress)
    exit_code = exit_code_of(result)
    if as_json:
        echo_json(result_dict(result, out, exit_code))
    else:
        from minescale.outputs.table import summary_text

        click.echo(summary_text(result.summary))
        click.echo(f"\n{out}/mosaic.zarr" + ("" if result.report.stopped else f"\n{out}/quicklook.png"))
    if exit_code:
        tell_unfinished(result)
        click.get_current_context().exit(exit_code)


def explain_only(wanted: Any, settled: Any, out: str | None, as_json: bool) -> None:
    """Plan, explain, write nothing."""
    from minescale.api import explain

    explanation = explain(plan_or_kept(wanted, settled, out, keep=False))
    if as_json:
        echo_json({**explanation.to_dict(), "dry_run": True})
    else:
        click.echo(explanation.text())


def run_shown(
    wanted: Any, settled: Any, out: str, max_cost: float | None, deadline: dt.datetime | None, progress: str
) -> ScanResult:
    """Scan with progress on stderr; SIGTERM ends it as cleanly as Ctrl-C does."""
    from minescale.api import scan as run_scan
    from minescale.engine.progress import progress as shown
    from minescale.engine.run import Limits

    quiet_dask()
    limits = Limits(max_cost=max_cost, deadline=deadline)
    with _terminable(), shown(progress) as listener:  # type: ignore[arg-type]  # click has checked the choice
        return run_scan(wanted, out, settled, limits=limits, listeners=(listener,))


def quiet_dask() -> None:
    """Dask tells of every connection it closes: only its errors are news to somebody who scans."""
    import logging

    import distributed  # noqa: F401  (sets its own log levels when it is imported, so before ours)

    logging.getLogger("distributed").setLevel(max(logging.ERROR, logging.getLogger().level))
    warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)


def exit_code_of(result: ScanResult) -> int:
    """0 where every tile has a result, else 3."""
    report = result.report
    unfinished = report.failed or report.remaining or report.stopped
    return FinishedWithFailures.exit_code if unfinished else 0


def result_dict(result: ScanResult, out: str, exit_code: int) -> dict[str, Any]:
    """The JSON summary object: ``run_id, out, exit_status, summary, report``."""
    return {
        "run_id": result.plan.run_id,
        "out": out,
        "exit_status": exit_code,
        "summary": result.summary.to_dict(),
        "report": result.report.to_dict(),
    }


def tell_unfinished(result: ScanResult) -> None:
    """Why the exit code is 3."""
    report = result.report
    if report.stopped:
        click.echo(f"stopped: {report.stopped}; {report.remaining} tile(s) remain", err=True)
    elif report.failed:
        click.echo(f"{report.failed} tile(s) failed, {report.remaining} wait for them", err=True)
    click.echo("the same command continues", err=True)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
