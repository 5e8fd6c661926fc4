"""``minescale dataset info``: what lies there."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Say what a dataset holds.")
@click.argument("path", metavar="PATH")
@json_option
@verbose_option
def info(
    path: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Say what the dataset at PATH holds: format, samples, sites, bands, classes, parts, licence.

    PATH is a folder in any of the formats, or a published set.
    """
    from minescale.labels.formats.registry import open_dataset, recognise

    name, dataset = recognise(path), open_dataset(path)
    samples, image = dataset.samples, dataset.reader.image(0)
    facts = {
        "name": dataset.name,
        "format": name,
        "samples": len(dataset),
        "sites": int(samples["site"].nunique()),
        "sources": int(samples["source"].nunique()),
        "image": [str(image.dtype), *image.shape],
        "bands": list(dataset.bands),
        "labels": "whole samples" if dataset.reader.mask(0) is None else "pixels",
        "classes": list(dataset.classes.names),
        "ignore": dataset.classes.ignore,
        "units": dataset.units,
        "nodata": dataset.nodata,
        "resolution_m": dataset.resolution_m,
        "licence": dataset.licence,
        "parts": samples["split"].value_counts().to_dict() if "split" in samples else {},
        "columns": list(samples.columns),
    }
    if "label" in samples:
        counts = samples["label"].dropna().astype(int).value_counts().sort_index()
        facts["samples_by_class"] = {dataset.classes.names[value]: int(n) for value, n in counts.items()}
    if as_json:
        echo_json(facts)
        return
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' '):<18}{_words(value)}")


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry:,}" for key, entry in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else str(value)
