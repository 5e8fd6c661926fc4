"""``minescale dataset stats``: what the bands and classes of a set look like in numbers."""

from __future__ import annotations

import click

from minescale.cli.dataset.opening import split_option
from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Percentiles, means and classes of a set.")
@click.argument("path", metavar="PATH")
@split_option
@click.option("--offset", nargs=2, type=int, metavar="DY DX", help="Co-occurrence of classes at this offset as well.")
@click.option("--store", is_flag=True, help="Keep the normalisation constants with the set (its own folder only).")
@click.option("--out", "-o", metavar="FILE", help="Write all of it, histograms included, as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@json_option
@verbose_option
def stats(
    path: str,
    split_name: str | None,
    offset: tuple[int, int] | None,
    store: bool,
    out: str | None,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Percentiles, mean and deviation of each band of the dataset at PATH, and its classes by part.

    With a split, bands are measured on its training part alone: constants that scale a model's input must not know the
    test.
    """
    import json

    from minescale.cli.dataset.opening import open_both, write_new
    from minescale.labels.auditing.classstats import class_table, total_cooccurrence
    from minescale.labels.preparation.normalisation import Normalisation, store_normalisation
    from minescale.labels.preparation.statistics import extract_statistics

    dataset, split = open_both(path, split_name)
    measured = dataset if split is None else split.of(dataset, "train")
    found = extract_statistics(measured)
    classes = class_table(dataset, split)
    facts = {
        "part": "all" if split is None else "train",
        **found.to_dict(),
        "classes": classes.astype(object).where(classes.notna(), None).reset_index().to_dict("records"),
    }
    if offset is not None:
        facts["cooccurrence"] = {"offset": list(offset), "counts": total_cooccurrence(dataset, *offset).tolist()}
    if out is not None:
        write_new({out: json.dumps(facts, indent=1, allow_nan=False, default=float) + "\n"}, overwrite=overwrite)
    if store:
        store_normalisation(path, Normalisation.of(found, facts["part"]))
    if as_json:
        echo_json(facts)
        return
    click.echo(f"{found.images:,} images ({facts['part']}), {dataset.units}")
    click.echo(f"{'band':<14}{'P2':>11}{'P98':>11}{'mean':>11}{'std':>11}{'no data':>11}")
    for band, n in facts["bands"].items():
        values = "".join(f"{n[key]:>11.5g}" for key in ("p2", "p98", "mean", "std")) if n["observations"] else ""
        share = n["nodata"] / max(n["nodata"] + n["observations"], 1)
        click.echo(f"{band:<14}{values:<44}{share:>11.2%}")
    click.echo(classes.to_string(float_format=lambda v: f"{v:.4g}"))
    if offset is not None:
        click.echo(f"co-occurrence at {offset[0]}, {offset[1]}: {facts['cooccurrence']['counts']}")
