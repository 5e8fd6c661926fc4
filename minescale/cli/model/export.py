"""``minescale model export``: a network as ONNX or OpenVINO files that other programs run."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="A network as ONNX or OpenVINO files.")
@click.argument("package", metavar="PKG")
@click.option("--format", "kind", type=click.Choice(["onnx", "openvino"]), default="onnx", show_default=True)
@click.option("--out", "-o", required=True, metavar="DIR", help="New folder.")
@json_option
@verbose_option
def export(
    package: str,
    kind: str,
    out: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Write the network of PKG: reflectance in, probabilities out, scaling included, for images of any number and size.

    It is held against torch before it is written. A model of chips gets a second file that scores whole chips.
    Scans need no such files: they keep their own with --set engine.device=openvino.
    """
    from minescale.models.package import load_package
    from minescale.training.exports import write_export

    facts = write_export(load_package(package), out, kind)
    if as_json:
        echo_json(facts)
        return
    for name, difference in facts["differences"].items():
        click.echo(f"{name:<14}differs from torch by {difference:.1e} at most")
    click.echo(out)
