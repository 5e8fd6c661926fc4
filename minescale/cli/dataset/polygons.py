"""``minescale dataset polygons``: read, repair, clip and rewrite outlines of mines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Read, repair, clip and rewrite outlines of mines.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--out", "-o", type=click.Path(path_type=Path), metavar="FILE", help=".gpkg, .geojson, .kml or .parquet.")
@click.option("--inventory", metavar="NAME", help="maus, tang-werner or amazon-mining-watch: its columns and epoch.")
@click.option("--layer", metavar="NAME", help="Layer of a file that has several.")
@click.option("--name-column", metavar="COLUMN", help="Column with the names of sites; default: name.")
@click.option("--crs", metavar="CRS", help="Coordinate system of a file that does not say its own.")
@click.option("--epoch", type=int, metavar="YEAR", help="Year of the imagery that the outlines were drawn on.")
@click.option("--clip", "boundary", type=click.Path(path_type=Path), metavar="FILE", help="Keep what lies within.")
@click.option("--clip-where", metavar="COLUMN=VALUE", help="One of several boundaries, such as ADMIN=Ghana.")
@click.option("--points", type=click.Path(path_type=Path), metavar="FILE", help="Join points by containment.")
@click.option("--overwrite", is_flag=True, help="Replace the file that --out names.")
@json_option
@verbose_option
def polygons(
    file: Path,
    out: Path | None,
    inventory: str | None,
    layer: str | None,
    name_column: str | None,
    crs: str | None,
    epoch: int | None,
    boundary: Path | None,
    clip_where: str | None,
    points: Path | None,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Read outlines of mines from FILE, say what had to be repaired or left out, and write them in degrees.

    FILE is KML, KMZ, GeoPackage, Shapefile (zipped too), GeoJSON or GeoParquet. Areas are geodesic.
    """
    from minescale.errors import UsageError
    from minescale.labels.shapes.clip import clip, select
    from minescale.labels.shapes.inventories import join_points, read_inventory
    from minescale.labels.shapes.points import read_points
    from minescale.labels.shapes.polygons import Polygons
    from minescale.labels.shapes.vectors import read_polygons, write_polygons

    if clip_where and not boundary:
        raise UsageError("--clip-where without --clip", got=clip_where, expected="a file of boundaries")
    options: dict[str, Any] = {"layer": layer, "name_column": name_column, "crs": crs}
    if epoch is not None:
        options["epoch"] = epoch
    found = read_inventory(inventory, file, **options) if inventory else read_polygons(file, **options)
    if not isinstance(found, Polygons):
        raise UsageError("inventory of points, not of polygons", got=inventory)
    values: dict[str, Any] = {"source": found.source}
    if boundary:
        borders = read_polygons(boundary)
        if clip_where:
            column, equals, value = clip_where.partition("=")
            if not equals:
                raise UsageError("--clip-where is not understood", got=clip_where, expected="COLUMN=VALUE")
            borders = select(borders, column.strip(), value.strip())
        found, coverage = clip(found, borders)
        values["clip"] = {"boundary": borders.source, **asdict(coverage), "share": coverage.share}
    if points:
        found, alone = join_points(found, read_points(points))
        values["points_outside"] = alone
    values |= {**asdict(found.report), "kept": len(found), "area_km2": sum(found.areas_km2()), "epoch": found.epoch}
    values["out"] = str(write_polygons(found, out, overwrite=overwrite)) if out else None
    if as_json:
        echo_json(values)
    else:
        _tell(values)


def _tell(values: dict[str, Any]) -> None:
    year = f", drawn on imagery of {values['epoch']}" if values["epoch"] else ""
    kept = f"{values['kept']} of {values['read']} shapes kept"
    click.echo(f"{values['source']}: {kept}, {values['area_km2']:,.1f} km²{year}")
    for what, count in (("repaired", values["repaired"]), ("cut at the antimeridian", values["cut"])):
        if count:
            click.echo(f"  {count} {what}")
    for cause, count in values["dropped"].items():
        click.echo(f"  {count} left out: {cause}")
    if "clip" in values:
        within = values["clip"]
        click.echo(
            f"  within {within['boundary']}: {within['covered_km2']:,.1f} of {within['boundary_km2']:,.0f} km² "
            f"({within['share']:.3%}), {within['cut']} cut at the border"
        )
    if "points_outside" in values:
        click.echo(f"  {values['points_outside']} points in no polygon")
    if values["out"]:
        click.echo(values["out"])
