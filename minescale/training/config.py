"""A training's settings as one frozen tree: presets, files, single changes, and a digest that knows every value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from minescale.config import coerce
from minescale.errors import ConfigError
from minescale.models.spec import nearest

_FOLDER = "presets"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingConfig:
    """How reflectance becomes what the network is fed; everything here ends up in the model's specification."""

    clip: float | None = None
    """Reflectance above this is taken for this. Default: where the set's numbers end, else 1."""
    mean: tuple[float, ...] = ()
    """Fixed constants, one for each channel; empty: from the training part alone."""
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    size: int = 16
    """Samples that one process puts through the network at once."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one step."""
    crop: int = 0
    """Edge in pixels of a random square of each training image; 0: whole images, which then are of one size."""
    crops: int = 1
    """Times that each training sample is drawn in an epoch."""
    positive_share: float = 0.0
    """Share of crops whose middle is a pixel of the target class, where the image has one."""
    positives: float = 0.0
    """Share of samples with the target class among those drawn; 0: as they are in the set, each once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Changes to training samples, on reflectance from 0 to 1, before it is scaled for the network."""

    turns: bool = True
    """Flips and quarter turns, all eight equally likely."""
    brightness: float = 0.0
    """Factor from 1 - this to 1 + this for all bands alike."""
    contrast: float = 0.0
    """Distance from each band's mean, times a factor from 1 - this to 1 + this."""
    haze: float = 0.0
    """Probability of ``x t + A (1 - t)``, one transmission and airlight for all bands."""
    transmission: tuple[float, ...] = (0.7, 1.0)
    airlight: tuple[float, ...] = (0.8, 1.0)
    band_gain: float = 0.0
    """Standard deviation of a factor drawn for each band."""
    band_offset: float = 0.0
    """Standard deviation of a summand drawn for each band, in reflectance."""
    noise: float = 0.0
    """Standard deviation of noise drawn for each pixel and band, in reflectance."""
    zoom: float = 0.0
    """Standard deviation of the logarithm of the scale."""
    atmosphere: float = 0.0
    """Probability that top-of-atmosphere reflectance becomes that of a surface, or the other way round."""
    mixup: float = 0.0
    """Both parameters of the beta distribution that two samples' shares in a mixture are drawn from; 0: no mixtures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    terms: str = "cross_entropy"
    """Losses of :mod:`minescale.training.losses`, weighted if need be: ``cross_entropy + 0.5 dice``."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced``: inversely proportional to the share of each class in the training part."""
    alpha: float = 0.5
    """Tversky: weight of false positives."""
    beta: float = 0.5
    """Tversky: weight of false negatives."""
    gamma: float = 2.0
    """Focal: power of the probability that is missing."""
    smooth: float = 1.0
    """Dice and Tversky: added to numerator and denominator."""
    label_smoothing: float = 0.0
    """Cross-entropy: share of the label that is spread over all classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    """Of matrices and kernels; biases and norms are not decayed."""
    momentum: float = 0.9
    """Of ``sgd``."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0: any."""
    ema: float = 0.0
    """Decay per step of the mean of weights that is validated and kept; 0: the weights themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    name: Literal["constant", "plateau", "cosine", "one_cycle"] = "cosine"
    warmup: float = 0.05
    """Share of all steps in which the rate rises, for ``cosine`` and ``one_cycle``."""
    factor: float = 0.1
    """``plateau``: what the rate is multiplied with."""
    patience: int = 10
    """``plateau``: epochs without a better value before that."""
    min_lr: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    epochs: int = 50
    patience: int = 0
    """Epochs without a better value before the training ends; 0: never before the last."""
    monitor: Literal["val_loss", "val_f1", "val_auc", "last"] = "val_loss"
    """What decides which epoch's weights are kept. ``last``: those of the last, whatever val says; where val is small,
    its best epoch is chance."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto``: bfloat16 on a GPU that has it, float32 elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """Used where no split is given and one is to be made on the fly."""

    by: str = ""
    """Rule of :func:`minescale.labels.auditing.splitting.split_by`; empty: none."""
    fractions: tuple[float, ...] = (0.6, 0.2, 0.2)
    seed: int = 0
    """Of the split alone, so that trainings of several seeds are judged on the same samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training, but the data and its split.

    Raises
    ------
    ConfigError
        for a value that is out of range.
    """

    name: str
    family: str
    description: str = ""
    bands: tuple[str, ...] = ()
    """Channels by the names of the set's bands; empty: all of the set's."""
    target: str = ""
    """The class that is looked for; empty: the only one that stands for mining."""
    resolution: float | None = None
    """Metres; needed where the set does not tell."""
    patch: int = 0
    """Edge of the windows that a scan feeds the model with; 0: derived."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """Of the family."""
    initial_weights: str = ""
    """Where to start from: a safetensors file, or a package's folder, of any bands; empty: random weights."""
    seed: int = 0
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run: RunConfig = field(default_factory=RunConfig)
    split: SplitConfig = field(default_factory=SplitConfig)

    def __post_init__(self) -> None:
        for path, low, high in _RANGES:
            value = _get(self, path)
            if not low <= value <= high:
                raise ConfigError(f"setting {path}", got=value, expected=f"{low:g} to {high:g}")
        for path, entries in (("augment.transmission", 2), ("augment.airlight", 2), ("split.fractions", 3)):
            if len(_get(self, path)) != entries:
                raise ConfigError(f"setting {path}", got=_get(self, path), expected=f"{entries} numbers")
        if self.run.monitor == "last" and (self.schedule.name == "plateau" or self.run.patience):
            raise ConfigError(
                "without a value to watch, no epoch is better than another",
                got=f"run.monitor last, schedule.name {self.schedule.name}, run.patience {self.run.patience}",
                expected="schedule.name constant, cosine or one_cycle, and run.patience 0",
                fix="run.monitor val_loss",
            )
        if len(self.scaling.mean) != len(self.scaling.std):
            raise ConfigError("settings scaling.mean and scaling.std", expected="one of each for each channel, or none")

    @property
    def digest(self) -> str:
        """SHA-256 of all settings: another value anywhere, another digest."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as :meth:`of` takes them."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Settings from nested mappings, as a preset's file holds them.

        Raises
        ------
        ConfigError
            for an unknown key, naming the nearest, a missing one, or a value of the wrong kind.
        """
        for key in ("name", "family"):
            if not isinstance(values.get(key), str) or not values[key]:
                raise ConfigError(f"settings of a training lack {key}", got=values.get(key), expected="a word")
        blank = cls(name=values["name"], family=values["family"])
        return blank.replace({k: v for k, v in values.items() if k not in {"name", "family"}})

    def replace(self, changes: Mapping[str, Any]) -> TrainConfig:
        """A copy with ``{"run": {"epochs": 3}}`` or ``{"run.epochs": "3"}`` applied; text is converted.

        Raises
        ------
        ConfigError
            for an unknown key, naming the nearest, or a value of the wrong kind.
        """
        tree: dict[str, Any] = {}
        sections: dict[str, dict[str, Any]] = {}
        for path, value in _flatten(changes).items():
            section, _, key = path.partition(".")
            if section == "hyperparameters" and key:
                parsed = _parsed(value)
                tree["hyperparameters"] = {**tree.get("hyperparameters", self.hyperparameters), key: parsed}
            elif path not in _SETTINGS:
                raise ConfigError("unknown setting of a training", got=path, expected=nearest(path, _SETTINGS))
            elif key:
                sections.setdefault(section, {})[key] = _checked(path, value)
            else:
                tree[section] = _checked(path, value)
        for section, values in sections.items():
            tree[section] = dataclasses.replace(getattr(self, section), **values)
        return dataclasses.replace(self, **tree)


def list_presets() -> tuple[str, ...]:
    """Names of the presets that come with minescale."""
    folder = files(__package__) / _FOLDER
    return tuple(sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")))


def load_preset(name: str) -> TrainConfig:
    """The settings of a preset.

    Raises
    ------
    ConfigError
        naming the nearest preset.
    """
    if name not in list_presets():
        raise ConfigError("no preset of that name", got=name, expected=nearest(name, list_presets()))
    return _parse((files(__package__) / _FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), f"preset {name}")


def load_config(path: str | Path) -> TrainConfig:
    """The settings in a YAML or JSON file; ``preset: NAME`` in it starts from that preset.

    Raises
    ------
    ConfigError
        where it cannot be read, or for a setting that is unknown or wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", got=error, fix="--config FILE of YAML") from error
    return _parse(text, str(path))


def _parse(text: str, where: str) -> TrainConfig:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML", got=error) from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} holds no settings", got=type(values).__name__, expected="keys with values")
    if "preset" not in values:
        return TrainConfig.of(values)
    start = load_preset(str(values["preset"]))
    return start.replace({key: value for key, value in values.items() if key != "preset"})


def _flatten(changes: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": entry for inner, entry in value.items()})
        else:
            flat[str(key)] = value
    return flat


def _get(config: TrainConfig, path: str) -> Any:
    section, _, key = path.partition(".")
    value = getattr(config, section)
    return getattr(value, key) if key else value


def _checked(path: str, value: Any) -> Any:
    """A value of the type of its field; numbers in YAML such as ``1e-4`` are text to the parser."""
    hint = _SETTINGS[path]
    if typing.get_origin(hint) is tuple:
        entries = _parsed(value) if value else ()
        entries = [entries] if isinstance(entries, str | int | float) else entries
        if not isinstance(entries, list | tuple):
            raise ConfigError(f"setting {path} has a value of the wrong kind", got=repr(value), expected="a list")
        return tuple(coerce(path, entry, typing.get_args(hint)[0]) for entry in entries)
    return coerce(path, value, hint)


def _parsed(value: Any) -> Any:
    """Text from a command line as YAML reads it: numbers, lists, true and false; ``a, b`` is a list as well."""
    if not isinstance(value, str):
        return value
    try:
        parsed = yaml.safe_load(f"[{value}]" if "," in value and not value.startswith(("[", "{")) else value)
    except yaml.YAMLError:
        return value
    if isinstance(parsed, str):
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed


def _settings() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(TrainConfig).items():
        if name == "hyperparameters":
            continue
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found.update({f"{name}.{key}": kind for key, kind in typing.get_type_hints(hint).items()})
        else:
            found[name] = hint
    return found


_SETTINGS: Mapping[str, Any] = types.MappingProxyType(_settings())
"""Type of each setting by its path."""
_RANGES = (
    ("seed", 0, 2**31 - 1),
    ("split.seed", 0, 2**31 - 1),
    ("patch", 0, 8192),
    ("batch.size", 1, 65536),
    ("batch.accumulate", 1, 4096),
    ("batch.crop", 0, 8192),
    ("batch.crops", 1, 10_000),
    ("batch.positive_share", 0, 1),
    ("batch.positives", 0, 0.95),
    ("augment.brightness", 0, 0.9),
    ("augment.contrast", 0, 0.9),
    ("augment.haze", 0, 1),
    ("augment.band_gain", 0, 0.5),
    ("augment.band_offset", 0, 0.5),
    ("augment.noise", 0, 0.5),
    ("augment.zoom", 0, 0.5),
    ("augment.atmosphere", 0, 1),
    ("augment.mixup", 0, 10),
    ("loss.alpha", 0, 100),
    ("loss.beta", 0, 100),
    ("loss.gamma", 0, 10),
    ("loss.smooth", 0, 1e6),
    ("loss.label_smoothing", 0, 0.5),
    ("optimiser.lr", 1e-9, 10),
    ("optimiser.weight_decay", 0, 1),
    ("optimiser.momentum", 0, 1),
    ("optimiser.clip_norm", 0, 1e6),
    ("optimiser.ema", 0, 0.99999),
    ("schedule.warmup", 0, 0.9),
    ("schedule.factor", 0.001, 0.999),
    ("schedule.patience", 0, 100_000),
    ("schedule.min_lr", 0, 10),
    ("run.epochs", 1, 100_000),
    ("run.patience", 0, 100_000),
)
