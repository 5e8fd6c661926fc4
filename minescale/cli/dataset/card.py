"""``minescale dataset card``: what a set holds, counted."""

from __future__ import annotations

import click

from minescale.cli.dataset.opening import split_option
from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Count what a set holds.")
@click.argument("path", metavar="PATH")
@split_option
@click.option("--audit", "audited", is_flag=True, help="Audit the split as well; reads every image.")
@click.option("--out", "-o", metavar="FILE", help="Write Markdown to FILE, and the same as JSON beside it.")
@click.option("--overwrite", is_flag=True, help="Replace them.")
@json_option
@verbose_option
def card(
    path: str,
    split_name: str | None,
    audited: bool,
    out: str | None,
    overwrite: bool,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Count the dataset at PATH: samples by split, continent, country and site, classes, sources, negatives by kind."""
    import json
    from pathlib import Path

    from minescale.cli.dataset.opening import need_split, open_both, write_new
    from minescale.labels.auditing.audit import audit
    from minescale.labels.auditing.card import make_card

    dataset, split = open_both(path, split_name)
    made = make_card(dataset, split, audit(dataset, need_split(split)) if audited else None)
    if out is not None:
        values = json.dumps(made.to_dict(), indent=1, allow_nan=False, default=str) + "\n"
        write_new({out: made.to_markdown(), str(Path(out).with_suffix(".json")): values}, overwrite=overwrite)
    if as_json:
        echo_json(made.to_dict())
    else:
        click.echo(out if out is not None else made.to_markdown())
