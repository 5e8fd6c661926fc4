"""Options that commands share, their types, and how they become settings."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from minescale.config import CompositeMethod, Config, PyramidMode, load_config
from minescale.types import PERIOD_RULES

if TYPE_CHECKING:
    from minescale.planning.plan import ScanRequest

F = TypeVar("F", bound=Callable[..., Any])

PROGRESS_MODES = ("auto", "rich", "plain", "json", "none")

SETTINGS: dict[str, str] = {
    "resolution": "grid.resolution",
    "crs": "grid.crs",
    "tile_size": "grid.tile_size",
    "composite": "composite.method",
    "max_scenes": "composite.max_scenes",
    "pyramid": "pyramid.mode",
    "threshold": "pyramid.threshold",
    "audit": "pyramid.audit",
    "cluster": "engine.cluster",
    "workers": "engine.workers",
    "memory_limit": "engine.memory_limit_gb",
}
"""Which setting each flag sets."""


class Deadline(click.ParamType):
    """``2h``, ``30m``, ``90s`` from now, or an ISO date and time; a time without a zone is local."""

    name = "2h|30m|ISO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        if isinstance(value, dt.datetime):
            return value
        text = str(value).strip()
        relative = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text)
        if relative:
            unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[relative[2]]
            return dt.datetime.now(dt.UTC) + dt.timedelta(**{unit: float(relative[1])})
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is no span such as 2h or 30m and no time such as 2026-01-31T18:00", param, ctx)
        return moment.astimezone(dt.UTC)


class Setting(click.ParamType):
    """``section.key=value``."""

    name = "section.key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        path, equals, setting = str(value).partition("=")
        if not equals or "." not in path:
            self.fail(f"{value!r} is not of the form section.key=value", param, ctx)
        return path.strip(), setting.strip()


def _apply(options: list[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def request_options(function: F) -> F:
    """What to look for: catalogue, area, period, model."""
    return _apply(
        [
            click.option(
                "--catalog",
                required=True,
                metavar="C",
                help="planetary-computer, earth-search, demo, a STAC API, a catalog.json or a stac-geoparquet file.",
            ),
            click.option(
                "--bbox",
                nargs=4,
                type=float,
                metavar="W S E N",
                help="Area in degrees, longitude first; W > E crosses 180°.",
            ),
            click.option("--datetime", "when", metavar="A/B", help="Period, such as 2024, 2024-01/2024-06."),
            click.option(
                "--period",
                type=click.Choice(PERIOD_RULES),
                default="all",
                show_default=True,
                help="One map for all of it, or one per year, quarter or month.",
            ),
            click.option("--collection", "collections", multiple=True, metavar="ID", help="Collection; repeatable."),
            click.option("--query", multiple=True, metavar='"eo:cloud_cover<60"', help="Filter on scenes; repeatable."),
            click.option(
                "--model",
                default="baseline",
                show_default=True,
                metavar="PKG",
                help="Built-in package or folder of one.",
            ),
        ]
    )(function)


def setting_options(function: F) -> F:
    """Flags that are settings, and the ways to give any other setting."""
    return _apply(
        [
            click.option(
                "--resolution", type=float, metavar="M", help="Pixel size in units of the CRS; default: the model's."
            ),
            click.option("--crs", metavar="CRS", help="auto, EPSG:<code>, PROJ or WKT."),
            click.option("--tile-size", type=int, metavar="N", help="Pixels along a tile's edge."),
            click.option(
                "--composite", type=click.Choice(get_args(CompositeMethod)), help="How clear looks become one."
            ),
            click.option("--max-scenes", type=int, metavar="N", help="At most this many days per tile and period."),
            click.option("--pyramid", type=click.Choice(get_args(PyramidMode)), help="Coarse level first."),
            click.option(
                "--threshold",
                type=float,
                metavar="T",
                help="Coarse score from which a tile is refined; 0 refines all. Default: the model's calibrated value.",
            ),
            click.option(
                "--audit", type=float, metavar="SHARE", help="Share of pruned tiles that are checked all the same."
            ),
            click.option("--cluster", metavar="C", help="local, inline, tcp://scheduler:8786 or a scheduler file."),
            click.option("--workers", type=int, metavar="N", help="Worker processes of a local cluster."),
            click.option("--memory-limit", type=float, metavar="GB", help="Memory per worker."),
            config_option,
            click.option("--set", "settings", multiple=True, type=Setting(), help="Any other setting; repeatable."),
        ]
    )(function)


config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="YAML file with settings."
)

verbose_option = click.option("-v", "--verbose", count=True, help="Tell more; with errors, the traceback.")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, no messages but errors.")

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of a table.")

progress_option = click.option(
    "--progress", type=click.Choice(PROGRESS_MODES), default="auto", show_default=True, help="How to show progress."
)


def make_config(config_file: Path | None, settings: tuple[tuple[str, str], ...], flags: dict[str, Any]) -> Config:
    """Settings from flags over environment over file over defaults; ``--set`` counts as a flag.

    Raises
    ------
    ConfigError
    """
    overrides: dict[str, Any] = dict(settings)
    overrides.update({path: flags[name] for name, path in SETTINGS.items() if flags.get(name) is not None})
    return load_config(config_file, overrides)


def make_request(
    catalog: str,
    bbox: tuple[float, float, float, float] | None,
    when: str | None,
    period: str,
    collections: tuple[str, ...],
    query: tuple[str, ...],
    model: str,
) -> ScanRequest:
    """The checked request."""
    from minescale.api import request

    return request(
        catalog=catalog,
        bbox=bbox,
        datetime=when,
        period=period,  # type: ignore[arg-type]  # click has checked the choice
        collections=collections,
        query=query,
        model=model,
    )


def echo_json(values: Any) -> None:
    """One JSON object on stdout; what JSON cannot say (NaN, infinity) is null."""
    click.echo(json.dumps(_plain(values), indent=1, allow_nan=False, default=str))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def set_logging(verbose: int, quiet: bool) -> None:
    """Libraries' messages on stderr: warnings; with -v information, with -vv everything; with -q errors only."""
    import logging

    level = logging.ERROR if quiet else [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
