"""``minescale dataset negatives``: points of protected areas, of named kinds, or of a box."""

from __future__ import annotations

from pathlib import Path

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

FILE = click.Path(path_type=Path)


@click.command(cls=Command, short_help="Negatives from protected areas, named kinds or a box.")
@click.option("--out", "-o", required=True, type=FILE, metavar="FILE", help="Table to write: .parquet or .csv.")
@click.option("--protected", type=FILE, metavar="FILE", help="Polygons of protected areas: points of kind forest.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND=SOURCE",
    help="A kind and where it is known to be: polygons, a csv of points, RASTER:3,24 or RASTER:>=50; repeatable.",
)
@click.option(
    "--bbox",
    nargs=4,
    type=float,
    metavar="W S E N",
    help="Protected areas within this box only; without them, points anywhere in it.",
)
@click.option(
    "-n", "number", type=click.IntRange(min=1), default=None, metavar="N", help="Points, of each kind. Default: 800."
)
@click.option("--like", type=FILE, metavar="TABLE", help="As many points as this table has positives, instead of -n.")
@click.option("--avoid", type=FILE, metavar="FILE", help="Mining polygons that no window may reach into.")
@click.option(
    "--side",
    type=click.FloatRange(min=0, min_open=True),
    default=5000,
    show_default=True,
    metavar="M",
    help="Edge of the window round a point.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@json_option
@verbose_option
def negatives(
    out: Path,
    protected: Path | None,
    kinds: tuple[str, ...],
    bbox: tuple[float, float, float, float] | None,
    number: int | None,
    like: Path | None,
    avoid: Path | None,
    side: float,
    seed: int,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Draw negatives: points, uniform by area over protected areas or a box, and hard negatives by named kind.

    Kinds: agriculture, airstrip, aquaculture, barren, clearing, cloud, coal, forest, industrial, landslide, pond,
    quarry, riverbank, sandbar, town.
    """
    import pandas as pd

    from minescale.cli.dataset.sources import source
    from minescale.errors import UsageError
    from minescale.labels.cells.cellfiles import read_boxes, write_table
    from minescale.labels.places.hardnegatives import check_kind, hard_negatives
    from minescale.labels.places.negatives import FOREST_SAMPLES, generate_forest_samples, generate_random_samples
    from minescale.labels.shapes.vectors import read_polygons
    from minescale.types import BBox

    if number is not None and like is not None:
        raise UsageError("-n and --like both say how many", got=f"{number}, {like}", expected="one of them")
    if protected is None and not bbox and not kinds:
        raise UsageError(
            "nothing says where negatives are", fix="--protected FILE, --bbox W S E N or --kind KIND=SOURCE"
        )
    n = int(read_boxes(like)["class"].eq(1).sum()) if like is not None else number or FOREST_SAMPLES
    if not n:
        raise UsageError("table has no positives", got=like, expected="rows of class 1")
    sources = {}
    for text in kinds:
        kind, equals, where = text.partition("=")
        if not equals or not where:
            raise UsageError("a kind names no source", got=text, expected="KIND=SOURCE")
        if check_kind(kind) in sources:
            raise UsageError("a kind is named twice", got=kind, expected="one source each")
        sources[kind] = source(where)
    mines = None if avoid is None else read_polygons(avoid)
    box = BBox.of(bbox) if bbox else None
    tables, counts = [], {}
    if protected is not None:
        areas = read_polygons(protected)
        tables.append(generate_forest_samples(areas, n, seed, side_m=side, avoid=mines, within=box))
        counts["protected"] = {"wanted": n, "found": len(tables[-1])}
    elif box is not None:
        tables.append(generate_random_samples(box, n, seed, side_m=side, avoid=mines))
        counts["random"] = {"wanted": n, "found": len(tables[-1])}
    if sources:
        catalogue = hard_negatives(sources, n, seed, side_m=side, avoid=mines)
        tables.append(catalogue.table)
        counts |= catalogue.counts.set_index("kind").to_dict("index")
    table = pd.concat(tables, ignore_index=True)
    write_table(table, out, overwrite=overwrite)
    if as_json:
        echo_json({"file": str(out), "samples": len(table), "counts": counts})
        return
    for name, count in counts.items():
        click.echo(f"{name}: {count['found']} of {count['wanted']}")
    click.echo(f"{len(table)} samples in {out}")
