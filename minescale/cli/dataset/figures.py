"""``minescale dataset figures``: the pictures that describe a set."""

from __future__ import annotations

from typing import Any

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Draw the pictures that describe a set.")
@click.argument("path", metavar="PATH")
@click.option("--out", "-o", required=True, metavar="DIR", help="Folder for the PNG files.")
@click.option("--sample", metavar="ID", help="The sample to show; default: the one with most mining.")
@click.option("--roi", metavar="FILE", help="Polygons of the maps' area; default: the box round the samples.")
@click.option("--polygons", metavar="FILE", help="Mines of the maps; default: the samples that hold mining.")
@click.option("--cell", "cell_m", type=float, metavar="M", help="Edge of the maps' cells; default: that of a sample.")
@click.option(
    "--max-background", type=float, default=0.99, show_default=True, help="Share of class 0 above which tiles go."
)
@click.option("--model", default="baseline", show_default=True, metavar="PKG", help="Model that predicts the sample.")
@click.option("--score", metavar="FILE", help="Instead: its probability of mining, 0-1, as a GeoTIFF of one band.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the augmented copies.")
@json_option
@verbose_option
def figures(
    path: str,
    out: str,
    sample: str | None,
    roi: str | None,
    polygons: str | None,
    cell_m: float | None,
    max_background: float,
    model: str,
    score: str | None,
    seed: int,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Draw the dataset at PATH: country grid, cells with mining, label, classes, bands, overlay, prediction, and the
    augmented copies and the preparation of a sample.
    """
    from minescale.cli.dataset.opening import read_shapes
    from minescale.errors import UsageError
    from minescale.labels.formats.registry import open_dataset
    from minescale.labels.pictures.figures import draw_figures

    dataset = open_dataset(path)
    row = None
    if sample is not None:
        ids = dataset.samples["id"].astype(str).tolist()
        if sample not in ids:
            raise UsageError("no such sample", got=sample, expected=", ".join(ids[:5]) + ", ...")
        row = ids.index(sample)
    drawn = draw_figures(
        dataset,
        out,
        row=row,
        boundary=read_shapes(roi),
        polygons=read_shapes(polygons),
        cell_m=cell_m,
        max_background=max_background,
        model=model,
        score=None if score is None else _read(score),
        seed=seed,
    )
    if as_json:
        echo_json({"files": [str(f) for f in drawn.files], "left_out": drawn.left_out})
        return
    for file in drawn.files:
        click.echo(str(file))
    for name, cause in drawn.left_out.items():
        click.echo(f"no {name}: {cause}", err=True)


def _read(path: str) -> Any:
    """The score as float32 (y, x), NaN where it is masked."""
    import numpy as np
    import rasterio

    from minescale.errors import UsageError

    try:
        with rasterio.open(path) as source:
            values = source.read(1, masked=True).astype(np.float32)
            scale = source.scales[0]
    except rasterio.errors.RasterioIOError as error:
        raise UsageError("cannot read the score", got=error, expected="a raster of one band") from error
    return (values * np.float32(scale)).filled(np.nan)
