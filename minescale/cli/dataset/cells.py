"""``minescale dataset cells``: polygons to cells, their negatives and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

if TYPE_CHECKING:
    from minescale.labels.cells.cells import CellReport

FILE = click.Path(path_type=Path)


@click.command(cls=Command, short_help="Polygons to cells, negatives and tables.")
@click.argument("polygons", type=FILE, metavar="POLYGONS")
@click.option("--out", "-o", required=True, type=FILE, metavar="DIR", help="Folder for Data/Input and Data/Output.")
@click.option("--layer", metavar="NAME", help="Layer of POLYGONS, where it has several.")
@click.option("--crs", metavar="CRS", help="Coordinate system of a file that does not say its own.")
@click.option("--epoch", type=int, metavar="YEAR", help="Year of the imagery that the polygons were drawn on.")
@click.option(
    "--zoom",
    "zooms",
    type=click.IntRange(8, 22),
    multiple=True,
    metavar="Z",
    help="Zoom; repeatable. Default: 14, 15, 16 (5500, 2750, 1375 m).",
)
@click.option(
    "--side", "sides", type=float, multiple=True, metavar="M", help="Another cell size in metres; repeatable."
)
@click.option("--roi", type=FILE, metavar="FILE", help="Polygons of the area to look at. Default: the globe.")
@click.option("--roi-where", metavar="COLUMN=VALUE", help="Which polygons of --roi, such as iso_a3=GHA.")
@click.option("--roi-layer", metavar="NAME", help="Layer of --roi, where it has several.")
@click.option(
    "--whole", is_flag=True, help="Only cells wholly within the area, such as the images that polygons were drawn on."
)
@click.option("--bbox", nargs=4, type=float, metavar="W S E N", help="The area as a box, instead of --roi.")
@click.option(
    "--min-overlap",
    type=float,
    default=0.001,
    show_default=True,
    metavar="SHARE",
    help="Share of a cell under polygons from which it is positive.",
)
@click.option(
    "--random",
    "n_random",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Random negatives of the area, beside those paired.",
)
@click.option("--strata", metavar="FILE:COLUMN", help="Draw them stratum by stratum.")
@click.option(
    "--allocation",
    type=click.Choice(["proportional", "equal"]),
    default="proportional",
    show_default=True,
    help="How many of each stratum.",
)
@click.option(
    "--join",
    "joins",
    multiple=True,
    metavar="FILE:COLUMN",
    help="Add a column of the polygon that a cell lies in; repeatable.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the random negatives.")
@click.option("--overwrite", is_flag=True, help="Replace tables that exist.")
@json_option
@verbose_option
def cells(
    polygons: Path,
    out: Path,
    layer: str | None,
    crs: str | None,
    epoch: int | None,
    zooms: tuple[int, ...],
    sides: tuple[float, ...],
    roi: Path | None,
    roi_where: str | None,
    roi_layer: str | None,
    whole: bool,
    bbox: tuple[float, float, float, float] | None,
    min_overlap: float,
    n_random: int,
    strata: str | None,
    allocation: str,
    joins: tuple[str, ...],
    seed: int,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Cut POLYGONS into cells of the global grid, give each positive its nearest free negative, write tables.

    A cell is positive from an overlap of --min-overlap on; with less it is neither positive nor negative. Boxes
    (middles) go to DIR/Data/Input/Boxes, Locations (all columns) to DIR/Data/Output/Locations, as parquet and csv.
    """
    import pandas as pd

    from minescale.cli.dataset.sources import area_of, file_and_column
    from minescale.labels.cells.ancillary import join
    from minescale.labels.cells.cellfiles import write_tables
    from minescale.labels.cells.cells import make_cells
    from minescale.labels.cells.grid import CellGrid
    from minescale.labels.cells.stratified import Strata
    from minescale.labels.shapes.vectors import read_polygons

    grids = [*(CellGrid.of_zoom(zoom) for zoom in zooms), *(CellGrid(side) for side in sides)]
    shapes = read_polygons(polygons, layer=layer, crs=crs, epoch=epoch)
    area = area_of(roi, roi_layer, roi_where, bbox)
    named = [file_and_column(text) for text in ([strata] if strata else [])]
    layers = [(read_polygons(file).frame, column) for file, column in map(file_and_column, joins)]
    kinds = [Strata(layer=read_polygons(file).frame, column=column) for file, column in named]
    made = []
    for grid in grids or [CellGrid.of_zoom(zoom) for zoom in (14, 15, 16)]:
        table, report = make_cells(
            shapes,
            grid,
            area=area,
            whole=whole,
            min_overlap=min_overlap,
            random=n_random,
            strata=kinds[0] if kinds else None,
            allocation=allocation,  # type: ignore[arg-type]  # click has checked the choice
            seed=seed,
        )
        for frame, column in layers:
            table = join(table, frame, {column: column})
        made.append((table, report))
    # Only when all sizes are made, so that an error leaves no part of them.
    files = write_tables(pd.concat([table for table, _ in made], ignore_index=True), out, overwrite=overwrite)
    reading: dict[str, Any] = {
        "read": shapes.report.read,
        "kept": len(shapes),
        "repaired": shapes.report.repaired,
        "cut": shapes.report.cut,
        "dropped": dict(shapes.report.dropped),
    }
    if as_json:
        echo_json(
            {"polygons": reading, "cells": [report.to_dict() for _, report in made], "files": [str(f) for f in files]}
        )
        return
    click.echo(f"{reading['kept']} polygons of {reading['read']} shapes, {reading['repaired']} repaired")
    for _, report in made:
        click.echo(_sentence(report))
    click.echo("\n".join(str(file) for file in files))


def _sentence(report: CellReport) -> str:
    """Counts of one cell size in a line."""
    apart = ""
    if report.pair_distance_m is not None:
        median, most = report.pair_distance_m
        apart = f", {median / 1000:.1f} km away by median, {most / 1000:.1f} km at most"
    eligible = sum(report.eligible.values())
    drawn = ", ".join(f"{name} {n} of {report.eligible[name]}" for name, n in report.drawn.items())
    return (
        f"zoom {report.zoom} ({report.side_m:g} m): {report.positive} positive, {report.dropped} dropped; "
        f"{report.paired} paired{apart}, {report.contested} contested, {report.unpaired} unpaired"
        + (f"; {report.random} random of {eligible} cells ({drawn})" if report.random else "")
    )
