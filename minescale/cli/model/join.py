"""``minescale model join``: a segmenter and a classifier as one package of two stages."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Two models as one of two stages.")
@click.argument("segmenter", metavar="SEGMENTER")
@click.argument("classifier", metavar="CLASSIFIER")
@click.option("--name", required=True, help="Name of the package.")
@click.option(
    "--suspicious", multiple=True, default=("barren",), show_default=True, metavar="CLASS", help="Class; repeatable."
)
@click.option("--radius-m", type=float, default=10.0, show_default=True, metavar="M", help="Of the smoothing disc.")
@click.option("--min-area-ha", type=float, default=0.1, show_default=True, metavar="HA", help="Of a candidate.")
@click.option("--out", "-o", required=True, metavar="DIR", help="New folder for the package.")
@json_option
@verbose_option
def join(
    segmenter: str,
    classifier: str,
    name: str,
    suspicious: tuple[str, ...],
    radius_m: float,
    min_area_ha: float,
    out: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Make a package whose map is CLASSIFIER's verdict on the suspicious ground that SEGMENTER finds, and 0 elsewhere.

    What the segmenter misses cannot be found: minescale model detect --truth measures that ceiling.
    """
    from minescale.labels.sets.new_folder import new_folder
    from minescale.models.cascade import write_two_stage
    from minescale.models.package import load_package

    first, second = load_package(segmenter), load_package(classifier)
    with new_folder(out) as folder:
        write_two_stage(
            folder, first, second, name=name, suspicious=suspicious, radius_m=radius_m, min_area_ha=min_area_ha
        )
    made = load_package(out)
    if as_json:
        echo_json({"package": out, "digest": made.digest, "channels": made.spec.channels, "halo": made.spec.halo})
        return
    click.echo(out)
