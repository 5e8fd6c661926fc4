"""``minescale dataset screen``: leave out built-up negatives, list those that a scan takes for mines."""

from __future__ import annotations

from pathlib import Path

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

FILE = click.Path(path_type=Path)


@click.command(cls=Command, short_help="Leave out built-up negatives, list doubtful ones.")
@click.argument("table", type=FILE, metavar="TABLE")
@click.option(
    "--out", "-o", required=True, type=FILE, metavar="DIR", help="Folder for kept, removed and review tables."
)
@click.option("--built-up", metavar="SOURCE", help="Built-up ground: polygons, or RASTER:50 or RASTER:>=20.")
@click.option(
    "--max-built-up",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Of a negative's window.",
)
@click.option("--scan", type=FILE, metavar="DIR", help="A scan: negatives that it takes for mines are listed.")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    metavar="P",
    help="Probability from which a negative is listed.",
)
@click.option("--overwrite", is_flag=True, help="Replace tables that exist.")
@json_option
@verbose_option
def screen(
    table: Path,
    out: Path,
    built_up: str | None,
    max_built_up: float,
    scan: Path | None,
    min_score: float,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Look at the negatives of TABLE twice: over built-up ground, and where a scan sees mining.

    Writes kept.parquet and removed.parquet, and review.csv for a person to look at: a high score says that the label or
    the model is wrong, not which of them.
    """
    import numpy as np

    from minescale.cli.dataset.sources import source
    from minescale.errors import UsageError
    from minescale.labels.cells.cellfiles import read_boxes, write_table_set
    from minescale.labels.places.screening import leave_out_built_up, mosaic_scores, review_list
    from minescale.labels.shapes.points import Points
    from minescale.planning.plan import MOSAIC_FILE

    if built_up is None and scan is None:
        raise UsageError("nothing to screen by", fix="--built-up SOURCE, --scan DIR")
    samples = read_boxes(table, ("id", "lon", "lat", "side_m", "class"))
    counts: dict[str, int] = {"samples": len(samples)}
    tables = {"kept.parquet": samples}
    if built_up is not None:
        towns = source(built_up)
        if isinstance(towns, Points):
            raise UsageError("built-up ground is no points", got=built_up, expected="polygons, or RASTER:VALUES")
        screened = leave_out_built_up(samples, towns, limit=max_built_up)
        tables = {"kept.parquet": screened.kept, "removed.parquet": screened.removed}
        counts |= {"removed": len(screened.removed), "unknown": screened.unknown}
    if scan is not None:
        kept = tables["kept.parquet"]
        scores = mosaic_scores(kept, scan / MOSAIC_FILE)
        tables["review.csv"] = review_list(kept, scores, least=min_score)
        counts |= {"scored": int((~np.isnan(scores)).sum()), "to review": len(tables["review.csv"])}
    counts["kept"] = len(tables["kept.parquet"])
    files = write_table_set({out / name: made for name, made in tables.items()}, overwrite=overwrite)
    if as_json:
        echo_json({"counts": counts, "files": [str(file) for file in files]})
        return
    click.echo(", ".join(f"{n} {name}" for name, n in counts.items()))
    click.echo("\n".join(str(file) for file in files))
