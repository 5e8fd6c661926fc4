"""``minescale status``: where a scan stands."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Say where a scan stands.")
@click.argument("directory", metavar="DIR")
@json_option
@verbose_option
def status(directory: str, as_json: bool, verbose: int) -> None:  # noqa: ARG001  (-v is read by Command)
    """Say where the scan in DIR stands: tiles by state, what was seen, what was found."""
    from minescale.api import status as state_of
    from minescale.outputs.table import summary_text

    plan, summary = state_of(directory)
    if as_json:
        echo_json({"run_id": plan.run_id, "out": directory, "summary": summary.to_dict()})
        return
    click.echo(f"run {plan.run_id} of {plan.request.period}, {'complete' if summary.complete else 'not complete'}")
    for level in reversed(summary.levels):
        states = ", ".join(f"{count} {name}" for name, count in level["tiles"].items() if count)
        click.echo(f"level {level['level']} ({level['resolution']:g}): {states}")
    click.echo(f"\n{summary_text(summary)}")
