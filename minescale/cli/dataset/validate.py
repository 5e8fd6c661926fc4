"""``minescale dataset validate``: does a set hold to its format?"""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

SHOWN = 50


@click.command(cls=Command, short_help="Check that a set holds to its format.")
@click.argument("path", metavar="PATH")
@json_option
@verbose_option
def validate(
    path: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Read every file of the set at PATH and name what departs from its format.

    Ends with exit code 1 where something is wrong; notes alone do not count.
    """
    from minescale.labels.formats.registry import recognise
    from minescale.labels.formats.registry import validate as check

    name, found = recognise(path), check(path)
    errors = sum(finding.severe for finding in found)
    if as_json:
        findings = [{"where": f.where, "what": f.what, "severe": f.severe} for f in found]
        echo_json({"format": name, "errors": errors, "notes": len(found) - errors, "findings": findings})
    else:
        for finding in found[:SHOWN]:
            click.echo(str(finding))
        if len(found) > SHOWN:
            click.echo(f"... and {len(found) - SHOWN} more")
        click.echo(f"{name}: {errors} errors, {len(found) - errors} notes")
    if errors:
        raise click.exceptions.Exit(1)
