"""Settings: one tree of frozen dataclasses.

Order of precedence: command-line flag > environment ``MINESCALE_<SECTION>__<KEY>`` > ``--config file.yaml``
> the defaults below. An unknown key is an error that names the nearest one. Credentials are never settings:
they stay in the standard variables of their owners.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from minescale.errors import ConfigError

ENV_PREFIX = "MINESCALE_"

CompositeMethod = Literal["median", "geomedian", "medoid", "percentile", "latest"]
Resampling = Literal["nearest", "bilinear", "cubic"]
PyramidMode = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskConfig:
    enabled: bool = True
    """Use the scenes' quality band. Off: every pixel with data counts as clear."""
    dilate_m: float = 60.0
    """Cloud and shadow grow by this many metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeConfig:
    method: CompositeMethod = "median"
    percentile: float = 50.0
    """Used by ``percentile`` only, 0-100."""
    max_scenes: int = 24
    """At most this many of the clearest acquisition days per tile and period."""
    resampling: Resampling = "nearest"
    """How reflectance is warped when a scene is not on the mosaic's grid. Quality bands are always nearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridConfig:
    crs: str = "auto"
    resolution: float | None = None
    """Pixel size in units of the CRS; default: the model's."""
    tile_size: int | None = None
    """Pixels per tile edge; default 512 with a pyramid, 1024 without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PyramidConfig:
    mode: PyramidMode = "auto"
    """auto: use it where the model package has a screen and the plan says it pays."""
    threshold: float | None = None
    """Keep tiles whose coarse score reaches this; default: the package's calibrated value. 0 keeps all."""
    survivors: float | None = None
    """Share of tiles that you expect to survive; planning alone asks. Default: what the package measured."""
    ring: int = 0
    """Survivors grow by this many tiles. Thresholds are calibrated for 0; more only adds tiles."""
    audit: float = 0.01
    """Share of pruned tiles that run at the fine level all the same."""
    audit_min: int = 4
    """At least this many audited tiles, where so many were pruned."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    chunk: int = 512
    """Pixels per chunk edge; a tile is a whole number of chunks."""
    shards: int = 0
    """Chunks per shard edge; 0 = unsharded, which GDAL below 3.13 needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig:
    threads: int = 40
    """Windows in flight per worker process: hides the latency of object stores."""
    retries: int = 4
    backoff_s: float = 0.5
    timeout_s: float = 30.0
    cache_mb: int = 64
    """GDAL block cache per worker process; it needs to hold a row of blocks for each thread."""
    reuse_mb: int = 160
    """What a worker keeps of decoded source blocks for its next tiles, at most; 0 keeps nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    cluster: str = "local"
    """local | inline (threads of this process) | tcp://scheduler:8786 | path of a scheduler file."""
    workers: int | None = None
    """Worker processes of a local cluster; default: one per core."""
    memory_limit_gb: float | None = None
    """Per worker; default: 90 % of the machine's memory shared out evenly."""
    in_flight: int = 2
    """Tiles in flight per worker: the one in work and the one after it, whose reads have begun."""
    retries: int = 2
    """Further attempts at a tile whose task failed or whose worker died."""
    flush_s: float = 10.0
    """Seconds between ledger flushes: a kill makes a run do their tiles again, and those in flight."""
    device: str = "auto"
    """What runs the models: auto | cpu | cuda | cuda:N | openvino | onnx (pip install 'minescale[fast]')."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostConfig:
    price_per_gb: float = 0.0
    """Money per GB read (egress), in a currency of your choice."""
    price_per_worker_hour: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    mask: MaskConfig = field(default_factory=MaskConfig)
    composite: CompositeConfig = field(default_factory=CompositeConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    read: ReadConfig = field(default_factory=ReadConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    cost: CostConfig = field(default_factory=CostConfig)

    IDENTITY: typing.ClassVar[tuple[str, ...]] = ("mask", "composite", "grid", "pyramid", "store")
    """Sections that decide the mosaic's bytes; the others only decide how it is made."""

    def identity(self) -> dict[str, Any]:
        """The settings that are part of a run's id."""
        return {name: dataclasses.asdict(getattr(self, name)) for name in self.IDENTITY}

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with ``{"section": {"key": value}}`` or ``{"section.key": value}`` applied and checked."""
        config = self
        for path, value in _flatten(changes).items():
            config = _set(config, path, value)
        return config


def load_config(file: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Defaults, then ``file``, then the environment, then ``overrides`` (``{"section.key": value}``)."""
    return _layered(file, overrides)[0]


def config_sources(file: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Where each ``section.key`` got its value: default, file, environment or flag."""
    return _layered(file, overrides)[1]


def _layered(file: str | Path | None, overrides: Mapping[str, Any] | None) -> tuple[Config, dict[str, str]]:
    config = Config()
    sources = dict.fromkeys(_flatten(dataclasses.asdict(config)), "default")
    layers = [
        (f"file {file}", _flatten(_read_yaml(Path(file))) if file else {}),
        ("environment", _from_environment()),
        ("flag", {k: v for k, v in _flatten(overrides or {}).items() if v is not None}),
    ]
    for origin, values in layers:
        for path, value in values.items():
            config = _set(config, path, value)
            sources[path] = origin
    return config, sources


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError("config file does not exist", got=path, fix="--config PATH of a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError("config file is not YAML", got=f"{path}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(
            "config file is not a mapping", got=f"{path}: {type(values).__name__}", expected="sections with keys"
        )
    return values


def _from_environment() -> dict[str, str]:
    values = {}
    for name, value in os.environ.items():
        if name.startswith(ENV_PREFIX) and "__" in name:
            values[name[len(ENV_PREFIX) :].lower().replace("__", ".")] = value
    return values


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{k}": v for k, v in value.items()})
        else:
            flat[key] = value
    return flat


def _set(config: Config, path: str, value: Any) -> Config:
    section_name, _, key = path.partition(".")
    sections = {f.name for f in dataclasses.fields(Config)}
    known = [f"{s}.{f.name}" for s in sorted(sections) for f in dataclasses.fields(getattr(config, s))]
    if path not in known:
        near = difflib.get_close_matches(path, known, n=1, cutoff=0.0)
        raise ConfigError("unknown setting", got=path, expected=f"{near[0]}?" if near else ", ".join(known))
    section = getattr(config, section_name)
    hint = typing.get_type_hints(type(section))[key]
    checked = coerce(path, value, hint)
    return dataclasses.replace(config, **{section_name: dataclasses.replace(section, **{key: checked})})


def coerce(path: str, value: Any, hint: Any) -> Any:
    """Check ``value`` against a field's type; text (from the environment) is converted."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options and (value is None or (isinstance(value, str) and value.lower() in {"", "none", "null"})):
        return None
    target = next(o for o in options if o is not type(None))
    if typing.get_origin(target) is Literal:
        choices = typing.get_args(target)
        # YAML 1.1 reads bare on/off as booleans.
        value = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        if value in choices:
            return value
        raise ConfigError(f"setting {path} has an unknown value", got=value, expected=" | ".join(choices))
    try:
        if target is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]
        if target in (int, float) and not isinstance(value, bool):
            number = target(value)
            if target is int and float(value) != number:
                raise ValueError(value)
            return number
        if target is str and isinstance(value, str):
            return value
    except (ValueError, KeyError, TypeError):
        pass
    raise ConfigError(f"setting {path} has a value of the wrong kind", got=repr(value), expected=target.__name__)
