"""``minescale model band-math``: a linear model as text for a raster calculator."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import verbose_option


@click.command(name="band-math", cls=Command, short_help="A linear model as text for a raster calculator.")
@click.argument("package", metavar="PKG")
@click.option("--screen", is_flag=True, help="The package's screen instead of the package itself.")
@click.option(
    "--syntax",
    type=click.Choice(["numexpr", "qgis", "earthengine"]),
    default="numexpr",
    show_default=True,
    help="For which program.",
)
@click.option(
    "--unit", type=float, default=1.0, show_default=True, metavar="U", help="Reflectance of the number 1 in the image."
)
@click.option("--layer", default="composite", show_default=True, metavar="NAME", help="Layer, in QGIS.")
@verbose_option
def band_math(package: str, screen: bool, syntax: str, unit: float, layer: str, verbose: int) -> None:  # noqa: ARG001
    """Print PKG, a linear model of the family pixel, as a formula that draws the same map."""
    from minescale.evaluation.calibrated import screen_of
    from minescale.models.band_math import band_math as text_of
    from minescale.models.package import load_package

    chosen = screen_of(load_package(package), screen=screen)
    click.echo(text_of(chosen, syntax, unit=unit, layer=layer), nl=False)  # type: ignore[arg-type]  # click checked it
