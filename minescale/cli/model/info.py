"""``minescale model info``: what a package is, what it needs and which scores it carries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

if TYPE_CHECKING:
    from minescale.models.package import ModelPackage


@click.command(cls=Command, short_help="What a package is and needs.")
@click.argument("package", metavar="PKG")
@json_option
@verbose_option
def info(package: str, as_json: bool, verbose: int) -> None:  # noqa: ARG001  (read by Command)
    """Describe PKG, the name of a built-in package or the folder of one; its checksums are tested on the way."""
    from minescale.models.package import load_package

    facts = describe(load_package(package))
    if as_json:
        echo_json(facts)
        return
    screen = facts.pop("screen")
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):<19}{_text(value)}")
    if screen is not None:
        click.echo(
            f"{'screen':<19}{screen['name']} {screen['version']}, {screen['family']}, {screen['resolution_m']:g} m"
        )
        if screen["keep_threshold"] is not None:
            click.echo(f"{'  keep threshold':<19}{screen['keep_threshold']:.3f}")


def describe(package: ModelPackage) -> dict[str, Any]:
    """JSON values."""
    spec = package.spec
    metrics = package.path / "metrics"
    return {
        "name": spec.name,
        "version": spec.version,
        "family": spec.family,
        "task": spec.task,
        "description": spec.description,
        "channels": list(spec.channels),
        "classes": list(spec.classes),
        "target": spec.target,
        "threshold": spec.threshold,
        "keep_threshold": spec.keep_threshold,
        "expected_survivors": spec.expected_survivors,
        "resolution_m": spec.resolution,
        "patch": spec.patch,
        "halo": spec.halo,
        "calibration": spec.calibration.get("method", "none"),
        "sensors": list(spec.sensors) or "any with these bands",
        "parameters": sum(int(array.size) for array in package.weights().values()),
        "licence": spec.licence,
        "caveat": spec.training.get("caveat", ""),
        "metrics": [path.stem for path in sorted(metrics.glob("*.json"))] if metrics.is_dir() else [],
        "digest": package.digest,
        "path": str(package.path),
        "screen": None if package.screen is None else describe(package.screen),
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value) or "none"
    if isinstance(value, dict):
        return json.dumps(value)
    return "none" if value is None or value == "" else str(value)
