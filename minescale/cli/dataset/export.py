"""``minescale dataset export``: a dataset in another format."""

from __future__ import annotations

from typing import Any

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

FORMATS = ("gmd", "folders", "pixels", "bandtiles", "yolo", "coco", "seedtree", "folder", "zarr")


@click.command(cls=Command, short_help="Write a dataset in another format.")
@click.argument("path", metavar="PATH")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="Format to write.")
@click.option("--out", "-o", required=True, metavar="DIR", help="Folder to write; must not exist.")
@click.option("--split", metavar="FILE", help="Split as JSON; default: the parts that the set was published with.")
@click.option("--rgb", metavar="R,G,B", help="Bands to show in pictures; default: red,green,blue.")
@click.option("--polygons", metavar="FILE", help="Outlines: distances (pixels), objects (yolo, coco), maus (seedtree).")
@click.option("--cells", metavar="FILE", help="seedtree: Locations table of the cells, GeoParquet.")
@click.option("--buffer", "buffer_m", type=float, metavar="M", help="pixels: leave out what is nearer to an edge.")
@click.option("--table", type=click.Choice(["parquet", "csv"]), help="pixels: kind of table; default: parquet.")
@click.option("--task", type=click.Choice(["detect", "segment"]), help="yolo: boxes or segments; default: detect.")
@click.option("--min-visible", type=float, metavar="SHARE", help="yolo, coco: share of an outline a tile must show.")
@click.option("--native", is_flag=True, help="bandtiles: each band at its sensor's own pixel size.")
@click.option("--archive", metavar="FILE", help="Pack the set as .tar.gz as well, the same bytes every time.")
@click.option("--overwrite", is_flag=True, help="Replace DIR, where it is a dataset, and FILE.")
@json_option
@verbose_option
def export(
    path: str,
    form: str,
    out: str,
    split: str | None,
    archive: str | None,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
    **given: Any,
) -> None:
    """Write the dataset at PATH in another format, with a description and STAC documents beside it.

    gmd, yolo and coco need a split. Nothing half written is left behind.
    """
    from pathlib import Path

    from minescale.errors import UsageError
    from minescale.labels.formats.archive import pack
    from minescale.labels.formats.registry import open_dataset, open_split, write_dataset

    if archive is not None and Path(archive).exists() and not overwrite:
        raise UsageError(f"{archive} exists", fix="another file name, or --overwrite")
    dataset = open_dataset(path)
    chosen = open_split(path) if split is None else _split(split)
    written = write_dataset(dataset, out, format=form, split=chosen, overwrite=overwrite, **_options(form, given))
    facts: dict[str, Any] = {"folder": out, "format": form, "samples": len(written)}
    if archive is not None:
        facts |= {"archive": archive, "sha256": pack(out, archive, overwrite=overwrite)}
    if as_json:
        echo_json(facts)
        return
    click.echo(f"{out}: {len(written):,} of {len(dataset):,} samples as {form}")
    if archive is not None:
        click.echo(f"{archive}: sha256 {facts['sha256']}")


def _options(form: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as the writer takes them."""
    options = {name: value for name, value in given.items() if value not in (None, False)}
    if "rgb" in options:
        options["rgb"] = tuple(name.strip() for name in options["rgb"].split(","))
    if "polygons" in options:
        from minescale.labels.shapes.vectors import read_polygons

        outlines = read_polygons(options["polygons"])
        options["polygons"] = {"mining": outlines} if form in ("yolo", "coco") else outlines
    if "cells" in options:
        options["cells"] = _cells(options["cells"])
    return options


def _cells(path: str) -> Any:
    import geopandas as gpd

    from minescale.errors import UsageError

    try:
        return gpd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UsageError("cannot read the cells", got=str(error), expected="locations_*.parquet") from error


def _split(path: str) -> Any:
    from pathlib import Path

    from minescale.errors import UsageError
    from minescale.labels.sets.split import Split

    try:
        return Split.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"cannot read the split {path}", got=f"{type(error).__name__}: {error}", expected="JSON of a split"
        ) from error
