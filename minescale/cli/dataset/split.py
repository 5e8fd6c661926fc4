"""``minescale dataset split``: deal samples out to train, val and test."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Deal samples out to train, val and test.")
@click.argument("path", metavar="PATH")
@click.option("--out", "-o", required=True, metavar="FILE", help="JSON file to write.")
@click.option("--by", default="block", show_default=True, metavar="RULE", help="site, block, image or a column.")
@click.option("--published", metavar="NAME", help="Instead: a split that was published, such as gmd_v1.")
@click.option(
    "--fractions", nargs=3, type=float, default=(0.6, 0.2, 0.2), show_default=True, help="Of train, val and test."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed deals other groups.")
@click.option("--block-km", type=float, default=10.0, show_default=True, metavar="KM", help="Edge of spatial blocks.")
@click.option(
    "--apart", "apart_m", type=float, default=0.0, metavar="M", help="Samples nearer than this stay together."
)
@click.option(
    "--val-mode",
    type=click.Choice(["unseen", "seen"]),
    default="unseen",
    show_default=True,
    help="Whether val may hold sites that train has seen.",
)
@click.option(
    "--within",
    metavar="A,B",
    help="Leave out samples whose acquisition, by these columns, is found in one class only.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@json_option
@verbose_option
def split(
    path: str,
    out: str,
    by: str,
    published: str | None,
    fractions: tuple[float, float, float],
    seed: int,
    block_km: float,
    apart_m: float,
    val_mode: str,
    within: str | None,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Deal the samples of the dataset at PATH out to train, val and test, by groups that stay together.

    Samples of one site, and augmented copies of one sample, are never parted, but for --by image.
    """
    from minescale.cli.dataset.opening import write_new
    from minescale.labels.auditing.nearness import nearness
    from minescale.labels.auditing.published import published_split
    from minescale.labels.auditing.splitting import split_by
    from minescale.labels.formats.registry import open_dataset
    from minescale.labels.sets.split import PARTS

    dataset = open_dataset(path)
    made = (
        published_split(dataset, published)
        if published is not None
        else split_by(
            dataset,
            by,
            fractions,
            seed=seed,
            block_km=block_km,
            apart_m=apart_m,
            val_mode=val_mode,  # type: ignore[arg-type]  # click has checked the choice
            within=_names(within),
        )
    )
    write_new({out: made.to_json() + "\n"}, overwrite=overwrite)
    sizes = {part: len(made.rows(dataset, part)) for part in PARTS}
    found = nearness(dataset, made)
    if as_json:
        echo_json(
            {
                "file": out,
                "rule": made.rule,
                "settings": made.settings,
                "samples": sizes,
                "distances": [n.to_dict() for n in found],
            }
        )
        return
    total = max(sum(sizes.values()), 1)
    for part, size in sizes.items():
        click.echo(f"{part:<6}{size:>9,} samples{size / total:>8.2%}")
    if sum(sizes.values()) < len(dataset):
        click.echo(f"none  {len(dataset) - sum(sizes.values()):>9,} samples")
    for n in found:
        click.echo(f"{n.first} and {n.second}: {n.metres:,.0f} m apart")
    click.echo(f"val: {made.settings.get('val_mode', 'unseen')} sites")
    click.echo(out)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()
