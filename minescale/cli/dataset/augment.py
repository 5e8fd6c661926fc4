"""``minescale dataset augment``: copies of samples, turned, mirrored, lit, hazed and noisy."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Write augmented copies of samples.")
@click.argument("path", metavar="PATH")
@click.option("--out", "-o", required=True, metavar="DIR", help="Dataset folder to write; must not exist.")
@click.option(
    "--preset",
    type=click.Choice(["satellite", "flips"]),
    default="satellite",
    show_default=True,
    help="satellite: copies only, with light, haze and noise. flips: each sample as it is, three turns and a flip.",
)
@click.option("--copies", type=int, default=5, show_default=True, metavar="N", help="satellite: copies of each sample.")
@click.option("--seed", type=int, default=0, show_default=True, help="satellite: another seed, other copies.")
@click.option("--full-scale", type=float, metavar="V", help="satellite: the value that counts as 1.")
@click.option("--split", "split_name", metavar="FILE|NAME", help="Augment the training part of this split alone.")
@json_option
@verbose_option
def augment(
    path: str,
    out: str,
    preset: str,
    copies: int,
    seed: int,
    full_scale: float | None,
    split_name: str | None,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Write augmented copies of the samples of the dataset at PATH; each names the sample that it was made from.

    Labels are turned and mirrored alike. Split first: copies of one sample in two parts are a leak, which the audit
    finds.
    """
    from minescale.cli.dataset.opening import need_split, open_both
    from minescale.labels.formats.registry import write_dataset
    from minescale.labels.preparation.augment import augmented, flips_and_rotations

    dataset, split = open_both(path, split_name)
    chosen = dataset if split_name is None else need_split(split).of(dataset, "train")
    made = (
        flips_and_rotations(chosen)
        if preset == "flips"
        else augmented(chosen, copies, seed=seed, full_scale=full_scale)
    )
    written = write_dataset(made, out, format="folder")
    independent = int(written.parents().nunique())
    if as_json:
        echo_json({"folder": out, "samples": len(written), "independent": independent})
    else:
        click.echo(f"{out}: {len(written):,} samples made from {independent:,}")
