"""``minescale config``: every setting, its value and where it comes from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from minescale.cli.group import Command
from minescale.cli.params import Setting, config_option, echo_json, json_option, verbose_option


@click.group()
def config() -> None:
    """Show settings and how to change them.

    \b
    A setting is, first match first:
      a flag, or --set section.key=value
      the environment variable MINESCALE_<SECTION>__<KEY>
      section: {key: value} in the YAML file of --config
      the default
    """


@config.command(cls=Command)
@config_option
@click.option("--set", "settings", multiple=True, type=Setting(), help="As in scan; repeatable.")
@json_option
@verbose_option
def show(config_file: Path | None, settings: tuple[tuple[str, str], ...], as_json: bool, verbose: int) -> None:  # noqa: ARG001
    """Print every setting with its value and origin."""
    from minescale.config import config_sources, load_config

    values = dataclasses.asdict(load_config(config_file, dict(settings)))
    sources = config_sources(config_file, dict(settings))
    rows = [(path, values[path.partition(".")[0]][path.partition(".")[2]], origin) for path, origin in sources.items()]
    if as_json:
        echo_json({path: {"value": value, "origin": origin} for path, value, origin in rows})
        return
    widths = [max(len(str(row[i])) for row in rows) for i in range(2)]
    for path, value, origin in rows:
        click.echo(f"{path:<{widths[0]}}  {'' if value is None else value!s:<{widths[1]}}  {origin}".rstrip())


@config.command(cls=Command)
@json_option
@verbose_option
def path(as_json: bool, verbose: int) -> None:  # noqa: ARG001
    """Print the folders that minescale uses: its installation, built-in models, cache."""
    folders = paths()
    if as_json:
        echo_json(folders)
        return
    width = max(len(name) for name in folders)
    for name, folder in folders.items():
        click.echo(f"{name:<{width}}  {folder}")


def paths() -> dict[str, str]:
    """Folders by what they are for."""
    import minescale
    from minescale.cache import cache_root

    root = Path(minescale.__file__).parent
    return {"installation": str(root), "models": str(root / "packages"), "cache": str(cache_root())}
