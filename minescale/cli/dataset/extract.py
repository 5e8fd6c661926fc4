"""``minescale dataset extract``: imagery for places, as a dataset folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from minescale.cli.group import Command
from minescale.cli.params import (
    Setting,
    config_option,
    echo_json,
    json_option,
    make_config,
    progress_option,
    quiet_option,
    set_logging,
    verbose_option,
)
from minescale.errors import FinishedWithFailures, UsageError

if TYPE_CHECKING:
    from minescale.labels.imagery.extract import ExtractReport

F = TypeVar("F", bound=Callable[..., Any])
_TOLD = 10
"""Failed places that are named."""


def cluster_options(function: F) -> F:
    """Where it runs, and any setting."""
    options = [
        click.option("--cluster", metavar="C", help="local, inline, tcp://scheduler:8786 or a scheduler file."),
        click.option("--workers", type=int, metavar="N", help="Worker processes of a local cluster."),
        config_option,
        click.option("--set", "settings", multiple=True, type=Setting(), help="Any setting; repeatable."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command(cls=Command, short_help="Cut out imagery for places, as a dataset folder.")
@click.argument("places", required=False, metavar="[PLACES]")
@click.option("--bbox", nargs=4, type=float, metavar="W S E N", help="Tile this area instead of reading PLACES.")
@click.option(
    "--edge",
    type=click.Choice(["skip", "pad"]),
    default="skip",
    show_default=True,
    help="With --bbox: leave out tiles that stick out of it, or keep them whole.",
)
@click.option(
    "--catalog",
    required=True,
    metavar="C",
    help="planetary-computer, earth-search, demo, a STAC API, a catalog.json or a stac-geoparquet file.",
)
@click.option("--datetime", "when", metavar="A/B", help="Period; default: the year of --label-epoch.")
@click.option("--out", "-o", required=True, metavar="DIR", help="Folder of the set.")
@click.option(
    "--bands", default="L2A", show_default=True, metavar="LIST", help="Names with commas; or L2A, STACK12, RGB, TCI."
)
@click.option(
    "--mode",
    type=click.Choice(["composite", "scene"]),
    default="composite",
    show_default=True,
    help="One clear image of the period, or the least cloudy scenes.",
)
@click.option("--side", type=float, metavar="M", help="Edge of a window in metres, where PLACES does not say.")
@click.option("--resolution", type=float, metavar="M", help="Pixel edge in metres; default: the finest band's.")
@click.option("--native", is_flag=True, help="One set per native resolution, with the same ids.")
@click.option(
    "--resampling",
    type=click.Choice(["nearest", "bilinear", "cubic"]),
    default="nearest",
    show_default=True,
    help="Kernel for coarser bands.",
)
@click.option("--cloud-below", type=float, metavar="PCT", help="Scenes with as much cloud or more are not used.")
@click.option("--aoi-cloud-below", type=float, metavar="PCT", help="The same, measured within the window.")
@click.option("--label-epoch", type=int, metavar="YEAR", help="Year of the labels.")
@click.option("--max-epoch-gap", type=int, metavar="YEARS", help="Scenes further from their label are not used.")
@click.option("--polygons", metavar="FILE", help="Polygons that become masks: GeoPackage, GeoJSON, KML, ...")
@click.option("--all-touched", is_flag=True, help="Masks: every pixel that a polygon touches.")
@click.option("--min-valid", type=float, default=0.05, show_default=True, help="Windows with less seen are left out.")
@click.option(
    "--layout", type=click.Choice(["tif", "zarr"]), default="tif", show_default=True, help="GeoTIFFs, or one Zarr."
)
@click.option("--name", default="imagery", show_default=True, help="Of the set.")
@click.option("--licence", default="other", show_default=True, help="SPDX id of the set.")
@click.option("--collection", "collections", multiple=True, metavar="ID", help="Collection; repeatable.")
@click.option("--query", multiple=True, metavar='"eo:cloud_cover<60"', help="Filter on scenes; repeatable.")
@click.option("--previews", is_flag=True, help="Pictures too, polygons in semi-transparent red.")
@click.option("--accept-unread", is_flag=True, help="Finish without places whose scenes cannot be read.")
@cluster_options
@json_option
@progress_option
@verbose_option
@quiet_option
def extract(
    places: str | None,
    bbox: tuple[float, float, float, float] | None,
    edge: str,
    catalog: str,
    when: str | None,
    out: str,
    bands: str,
    side: float | None,
    polygons: str | None,
    previews: bool,
    accept_unread: bool,
    config_file: Path | None,
    settings: tuple[tuple[str, str], ...],
    as_json: bool,
    progress: str,
    verbose: int,
    quiet: bool,
    cluster: str | None,
    workers: int | None,
    **options: Any,
) -> None:
    """Cut a window of imagery for every place in PLACES and write them, with a table, to --out.

    PLACES is a CSV or Parquet table with lon and lat (and side_m), or west, south, east, north; or a layer of points.
    Repeating the command continues an interrupted run and does nothing where all is done.

    \b
    Exit codes: 0 done; 2 wrong use; 3 some places could not be read; 4 nothing matched; 5 a remote does not answer;
    130 interrupted. After 3, 5 and 130 the same command continues.
    """
    set_logging(verbose, quiet)
    if (places is None) == (bbox is None):
        raise UsageError(
            "one source of places is needed", got="both" if places else "none", expected="PLACES or --bbox"
        )
    settled = make_config(config_file, settings, {"cluster": cluster, "workers": workers})

    from minescale.cli.scan import quiet_dask
    from minescale.engine.progress import progress as shown
    from minescale.labels.imagery.extract import extract as run
    from minescale.labels.imagery.extract_plan import ExtractRequest
    from minescale.labels.pictures.previews import write_previews
    from minescale.labels.places.places import tile_area
    from minescale.labels.places.places_file import read_places
    from minescale.labels.sets.folder import open_folder
    from minescale.labels.shapes.vectors import read_polygons
    from minescale.types import BBox

    request = ExtractRequest(
        catalog=catalog, datetime=when, bands=tuple(b for b in bands.split(",") if b), side_m=side, **options
    )
    if places is not None:
        table = read_places(places)
    else:
        # Snapped to 60 m, so that bands of every native resolution nest in the tiles.
        table = tile_area(BBox.of(bbox or ()), side_m=side or 7680.0, pixel=60.0, edge=edge)  # type: ignore[arg-type]
    shapes = read_polygons(polygons, epoch=request.label_epoch) if polygons else None
    quiet_dask()
    with shown("none" if quiet else progress) as listener:  # type: ignore[arg-type]  # click has checked the choice
        report = run(
            table,
            request,
            out,
            polygons=shapes,
            config=settled,
            listeners=(listener,),
            accept_unread=accept_unread,
        )
    if previews and report.finished and not request.native:
        write_previews(open_folder(out), Path(out) / "previews")
    finish(report, out, as_json)


def finish(report: ExtractReport, out: str, as_json: bool) -> None:
    """Tell what was done, and end with exit code 3 where it is not all."""
    if as_json:
        echo_json({"out": out, **report.to_dict()})
    else:
        click.echo(f"{report.written} of {report.places} places, {report.bytes_read / 1e6:,.0f} MB read")
        for cause, count in report.excluded.items():
            click.echo(f"{count} left out: {cause}")
        for name, cause in report.absent.items():
            click.echo(f"band {name} is absent: {cause}")
        written = sorted(Path(out).glob("*m/dataset.json")) or [Path(out) / "dataset.json"]
        click.echo("\n" + "\n".join(str(path) for path in written) if report.finished else f"\n{out} is not finished")
    if not report.finished:
        for name, message in list(report.failed.items())[:_TOLD]:
            click.echo(f"{name}: {message}", err=True)
        click.echo(f"{len(report.failed)} place(s) could not be read; the same command continues", err=True)
        click.get_current_context().exit(FinishedWithFailures.exit_code)
