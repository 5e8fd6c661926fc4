"""``minescale dataset label``: images and outlines of mines to inputs and label rasters."""

from __future__ import annotations

from pathlib import Path

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Images and outlines of mines to label rasters.")
@click.argument("images", type=click.Path(path_type=Path), metavar="FOLDER")
@click.argument("outlines", type=click.Path(path_type=Path), metavar="POLYGONS")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to write.")
@click.option(
    "--bands",
    "band_order",
    metavar="ORDER",
    help="tm, oli, sentinel-2, sentinel-2-10; default: names in the files.",
)
@click.option(
    "--clouds",
    default="band",
    show_default=True,
    metavar="C",
    help="band: a last band of 0 and 1; none; or whose quality band it is: landsat-c2-l2, sentinel-2-l2a.",
)
@click.option(
    "--scheme", type=click.Choice(["three-class", "binary"]), default="three-class", show_default=True, help="Classes."
)
@click.option(
    "--match",
    type=click.Choice(["site", "place"]),
    default="site",
    show_default=True,
    help="Polygons named as the image's site, or all that it shows.",
)
@click.option("--ndvi", type=float, default=0.5, show_default=True, metavar="V", help="Greener pixels are no mine.")
@click.option("--no-ndvi", is_flag=True, help="Keep green pixels within the outlines.")
@click.option("--edge", "edge_m", type=float, default=0.0, metavar="M", help="Binary: ignore pixels nearer to an edge.")
@click.option("--inputs", type=int, default=7, show_default=True, metavar="N", help="Bands to keep, from the first.")
@click.option("--all-touched", is_flag=True, help="Label every pixel that a polygon touches, not only by its centre.")
@click.option("--allow-empty", is_flag=True, help="Accept that no image finds a polygon.")
@click.option(
    "--max-gap",
    type=int,
    metavar="DAYS",
    help="Refuse images farther than this from --epoch; default: any.",
)
@click.option("--layer", metavar="NAME", help="Layer of POLYGONS.")
@click.option("--name-column", metavar="COLUMN", help="Column of POLYGONS with the names of sites.")
@click.option("--epoch", type=int, metavar="YEAR", help="Year of the imagery that POLYGONS were drawn on.")
@json_option
@verbose_option
def label(
    images: Path,
    outlines: Path,
    out: Path,
    band_order: str | None,
    clouds: str,
    scheme: str,
    match: str,
    ndvi: float,
    no_ndvi: bool,
    edge_m: float,
    inputs: int,
    all_touched: bool,
    allow_empty: bool,
    max_gap: int | None,
    layer: str | None,
    name_column: str | None,
    epoch: int | None,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Label the GeoTIFFs in FOLDER by POLYGONS: mining inside, less what is green, clouds before both.

    DIR gets images/ (the first bands, named), labels/ (class values), statistics of every band and a report. It
    appears when all is written. Labels show mining, whoever may be allowed to do it.
    """
    from minescale.labels.rasters.labelling import LabelRules, label_images
    from minescale.labels.shapes.vectors import read_polygons

    rules = LabelRules(
        scheme=scheme,  # type: ignore[arg-type]  # click has checked the choice
        band_order=band_order,
        clouds=clouds,
        match=match,  # type: ignore[arg-type]
        ndvi_limit=None if no_ndvi else ndvi,
        inputs=inputs,
        all_touched=all_touched,
        edge_m=edge_m,
        allow_empty=allow_empty,
        max_gap_days=max_gap,
    )
    shapes = read_polygons(outlines, layer=layer, name_column=name_column, epoch=epoch)
    report = label_images(images, shapes, out, rules)
    if as_json:
        echo_json({"out": str(out), **report.to_dict()})
        return
    for name, counts in report.pixels.items():
        total = sum(counts.values())
        click.echo(f"{name}: " + ", ".join(f"{share / total:.1%} {what}" for what, share in counts.items()))
    if report.unmatched_images:
        click.echo(f"left out, no polygon of their site: {_some(report.unmatched_images)}")
    if report.unmatched_polygons:
        click.echo(f"polygons without an image: {_some(report.unmatched_polygons)}")
    click.echo(str(out))


def _some(names: list[str]) -> str:
    listed = ", ".join(name or "(no name)" for name in names[:5])
    return f"{len(names)} ({listed}{', ...' if len(names) > 5 else ''})"
