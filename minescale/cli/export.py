"""``minescale export``: one period as a GeoTIFF."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

VARIABLES = ("probability", "clear_count", "reason", "level")


@click.command(cls=Command, short_help="Export one period as a GeoTIFF.")
@click.argument("directory", metavar="DIR")
@click.option("--out", "-o", required=True, metavar="FILE", help="GeoTIFF to write.")
@click.option(
    "--variable", type=click.Choice(VARIABLES), default=VARIABLES[0], show_default=True, help="What to export."
)
@click.option("--time", metavar="DATE", help="How the period begins, such as 2024 or 2024-03; default: the last.")
@click.option("--index", type=int, metavar="N", help="The period by its position, from 0; negative from the end.")
@click.option("--format", "form", type=click.Choice(["cog", "gtiff"]), default="cog", show_default=True, help="Layout.")
@click.option("--level", type=int, default=0, show_default=True, metavar="K", help="0 full resolution, K overview.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@json_option
@verbose_option
def export(
    directory: str,
    out: str,
    variable: str,
    time: str | None,
    index: int | None,
    form: str,
    level: int,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Export one period of the scan in DIR as a Cloud Optimized GeoTIFF or a plain one.

    Ground that was not seen is nodata; probability has scale 0.004.
    """
    from minescale.errors import UsageError
    from minescale.outputs.cog import export_raster

    if time is not None and index is not None:
        raise UsageError("--time and --index both name a period", got=f"{time}, {index}", expected="one of them")
    chosen = time if index is None else index
    written = export_raster(
        directory,
        out,
        variable=variable,
        time=chosen,
        format=form,  # type: ignore[arg-type]  # click has checked the choice
        level=level,
        overwrite=overwrite,
    )
    if as_json:
        echo_json({"file": str(written), "bytes": written.stat().st_size, "variable": variable, "format": form})
    else:
        click.echo(str(written))
