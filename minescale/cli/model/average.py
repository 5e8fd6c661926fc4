"""``minescale model average``: several packages as one whose score is the mean of theirs."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Several models as their mean.")
@click.argument("members", metavar="PACKAGE...", nargs=-1, required=True)
@click.option("--name", required=True, help="Name of the package.")
@click.option(
    "--views",
    type=click.Choice(["1", "4", "8"]),
    default="1",
    show_default=True,
    help="Views of the image to average over: 4 are mirrored, 8 turned besides. So much more work for most models.",
)
@click.option("--out", "-o", required=True, metavar="DIR", help="New folder for the package.")
@json_option
@verbose_option
def average(
    members: tuple[str, ...],
    name: str,
    views: str,
    out: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Make a package whose map is the mean of the maps of PACKAGES of the same bands, classes and resolution.

    Its threshold is the mean of theirs, and it has no scores of its own: minescale evaluate measures them.
    """
    from minescale.labels.sets.new_folder import new_folder
    from minescale.models.ensemble import write_ensemble
    from minescale.models.package import load_package

    loaded = [load_package(member) for member in members]
    with new_folder(out) as folder:
        write_ensemble(folder, loaded, name=name, views=int(views))
    made = load_package(out)
    if as_json:
        echo_json({"package": out, "digest": made.digest, "members": len(loaded), "threshold": made.spec.threshold})
        return
    click.echo(out)
