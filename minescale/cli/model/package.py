"""``minescale model package``: weights of a training as a package."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Weights of a training as a package.")
@click.argument("source", metavar="DIR|FILE")
@click.option(
    "--weights",
    type=click.Choice(["best", "final"]),
    default="best",
    show_default=True,
    help="Which weights of a training.",
)
@click.option("--like", metavar="PKG", help="Package whose specification the weights of FILE belong to.")
@click.option("--out", "-o", required=True, metavar="DIR", help="New folder for the package.")
@json_option
@verbose_option
def package(
    source: str,
    weights: str,
    like: str | None,
    out: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Make a package of a training's folder, or of a safetensors file and the package it belongs to (--like).

    Pickled weights (.pth, .pt) are refused: opening them runs code.
    """
    from minescale.training.repackage import repackage

    made = repackage(source, out, which=weights, like=like)
    if as_json:
        echo_json({"package": out, "name": made.spec.name, "digest": made.digest})
        return
    click.echo(out)
