"""``minescale dataset audit``: may a model be trained on this split?"""

from __future__ import annotations

import click

from minescale.cli.dataset.opening import split_option
from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="May a model be trained on this split?")
@click.argument("path", metavar="PATH")
@split_option
@click.option("--near", "near_m", type=float, metavar="M", help="Least distance of parts; default: a sample's edge.")
@click.option(
    "--max-gap",
    "max_gap_days",
    type=int,
    default=365,
    show_default=True,
    metavar="DAYS",
    help="Between label and image.",
)
@click.option("--acquisition", metavar="A,B", help="Columns that say how samples were acquired.")
@click.option("--no-pixels", is_flag=True, help="Do not compare images; reads labels only.")
@click.option("--force", is_flag=True, help="Exit with 0 all the same; prints what every score must then say.")
@json_option
@verbose_option
def audit(
    path: str,
    split_name: str | None,
    near_m: float | None,
    max_gap_days: int,
    acquisition: str | None,
    no_pixels: bool,
    force: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Look for whatever would make the scores of a split of the dataset at PATH better than the model.

    Shared sites, near neighbours, augmented siblings and equal pixels in several parts, acquisition that betrays the
    class, labels of another time, parts without a class. Exit code 2 where the audit fails.
    """
    from minescale.cli.dataset.opening import need_split, open_both
    from minescale.labels.auditing.audit import audit as examine

    dataset, split = open_both(path, split_name)
    found = examine(
        dataset,
        need_split(split),
        near_m=near_m,
        max_gap_days=max_gap_days,
        acquisition=[name.strip() for name in acquisition.split(",")] if acquisition else None,
        pixels=not no_pixels,
    )
    if as_json:
        echo_json(found.to_dict())
    else:
        click.echo(found.to_text())
    caveat = found.require(force=force)
    if caveat and not as_json:
        click.echo(f"every score must say: {caveat}")
