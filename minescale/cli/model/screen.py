"""``minescale model screen``: a coarse model as the screen of a package."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="A coarse model as the screen of a package.")
@click.argument("package", metavar="PKG")
@click.argument("coarse", metavar="SCREEN")
@click.option("--replace", is_flag=True, help="PKG has a screen already: take this one in its place.")
@click.option("--out", "-o", required=True, metavar="DIR", help="New folder for the package.")
@json_option
@verbose_option
def screen(
    package: str,
    coarse: str,
    replace: bool,
    out: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Make a copy of PKG in which SCREEN, a calibrated package of coarser pixels, decides which tiles are looked at.

    \b
    minescale calibrate --model coarse/package --data sites/ --recall 0.95 --out coarse-calibrated
    minescale model screen PKG coarse-calibrated --out PKG-screened
    """
    from minescale.labels.sets.new_folder import new_folder
    from minescale.models.package import load_package
    from minescale.models.screened import write_screened

    fine, screening = load_package(package), load_package(coarse)
    with new_folder(out) as folder:
        write_screened(folder, fine, screening, replace=replace)
    made = load_package(out)
    if as_json:
        spec = screening.spec
        echo_json(
            {
                "package": out,
                "digest": made.digest,
                "screen": spec.name,
                "resolution": spec.resolution,
                "keep_threshold": spec.keep_threshold,
                "expected_survivors": spec.expected_survivors,
            }
        )
        return
    click.echo(out)
