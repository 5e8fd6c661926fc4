"""``minescale doctor``: does everything a scan needs work here?"""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Check that everything a scan needs works here.")
@click.option("--online", is_flag=True, help="Also ask the public catalogues for an answer.")
@click.option("--out", "-o", metavar="DIR", help="Also test that a scan could write here.")
@json_option
@verbose_option
def doctor(online: bool, out: str | None, as_json: bool, verbose: int) -> None:  # noqa: ARG001  (-v is read by Command)
    """Check versions, GDAL, numba, torch and memory; with --out a place to write, with --online the catalogues.

    Ends with 1 where something a scan needs is missing, with 5 where a catalogue does not answer.
    """
    from minescale.cli import checks

    found = [*checks.installation(), *([checks.writing(out)] if out else []), *(checks.catalogues() if online else [])]
    if as_json:
        echo_json({"ok": all(c.ok for c in found), "checks": [c.to_dict() for c in found]})
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            mark = "ok  " if check.ok else ("FAIL" if check.needed else "note")
            click.echo(f"{mark}  {check.name:<{width}}  {check.text}")
    if any(not check.ok and check.needed for check in found):
        remote_only = all(check.remote for check in found if not check.ok and check.needed)
        click.get_current_context().exit(5 if remote_only else 1)
