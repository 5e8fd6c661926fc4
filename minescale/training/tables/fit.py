"""From images and labels to a fitted model of single pixels, whatever its family."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from minescale.errors import UsageError
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.units import REFLECTANCE, saturation
from minescale.models.package import write_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec, trained_range
from minescale.training.fitted import Fitted
from minescale.training.origin import target_of, training_facts
from minescale.training.tables.clusters import fit_clusters
from minescale.training.tables.columns import distinct, feature_names
from minescale.training.tables.cost import pixel_cost
from minescale.training.tables.forests import fit_trees
from minescale.training.tables.linear import fit_linear
from minescale.training.tables.perceptron import fit_perceptron
from minescale.training.tables.settings import OPTIONS, Settings, TableConfig, settings_of
from minescale.training.tables.table import PixelTable, pixel_size, sample_table

TABLE_FAMILIES: tuple[str, ...] = tuple(OPTIONS)
_ON_DISTANCE = ("lasso", "elastic_net")


def fit_table(train: Dataset, val: Dataset, config: TableConfig, out: Path, *, source: Dataset | None = None) -> Fitted:
    """Sample both parts, fit the family, and say how it came about.

    Parameters
    ----------
    train, val : reflectance x 1e4 of the same bands (see :func:`minescale.labels.sets.units.as_reflectance`), labelled
        by masks, or as whole samples, of which the middle then counts. ``kmeans`` does without labels.
    config : its ``hyperparameters`` are those of :mod:`minescale.training.tables.settings`.
    out : folder for the files of linear models' paths; nothing else is written.
    source : the training part as it was opened, in its own units, which tell where its numbers end; default: ``train``,
        whose numbers then end nowhere.

    Raises
    ------
    UsageError
        for settings that cannot be, parts that differ in bands or units, or pixels of one side only.
    ModelError
        for features that the bands do not give, or where scikit-learn is not installed.
    """
    settings = settings_of(config)
    if train.bands != val.bands:
        raise UsageError("training and validation differ in bands", got=val.bands, expected=train.bands)
    for part in (train, val):
        if part.units != REFLECTANCE:
            raise UsageError(f"{part.name} is not reflectance x 1e4", got=part.units, fix="as_reflectance")
    if config.resolution is not None:
        train, val = (replace(part, resolution_m=config.resolution) for part in (train, val))
    looked_for = target_of(config.target, train.classes)
    target = train.classes.value(looked_for)
    draft = _draft(train, source or train, config, settings, looked_for)
    names, equal = distinct(feature_names(settings.sampling.features, draft), draft)
    supervised = config.family != "kmeans"
    distances = config.family in _ON_DISTANCE
    sample = partial(
        sample_table,
        features=names,
        spec=draft,
        sampling=settings.sampling,
        target=target,
        seed=config.seed,
        distances=distances,
        labelled=supervised,
    )
    table = sample(train)
    held_out = sample(val) if supervised else None
    fitted = _fit(config, settings, draft, table, held_out, out)
    sampling = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(settings.sampling).items()}
    described: dict[str, Any] = {
        "family": config.family,
        "seed": config.seed,
        "options": {key: list(v) if isinstance(v, tuple) else v for key, v in settings.options.items()},
        "sampling": sampling,
        "features": list(names),
        "equal_to_another": dict(equal),
        "train": _counts(table),
        "val": None if held_out is None else _counts(held_out),
        "cost": _cost(fitted),
    }
    return replace(fitted, facts={**fitted.facts, "table": described})


def _fit(
    config: TableConfig, settings: Settings, draft: ModelSpec, table: PixelTable, held_out: PixelTable | None, out: Path
) -> Fitted:
    if held_out is None:
        return fit_clusters(table, draft, settings, config.seed)
    if config.family in ("forest", "boosting"):
        return fit_trees(table, held_out, draft, config.family, settings, config.seed)
    if config.family == "mlp":
        return fit_perceptron(table, held_out, draft, settings, config.seed)
    return fit_linear(table, held_out, draft, config.family, settings, config.seed, out)


def _draft(train: Dataset, source: Dataset, config: TableConfig, settings: Settings, target: str) -> ModelSpec:
    """The specification but for what the fit decides: family, features, and for linear models the bands."""
    names = train.classes.names
    resolution = pixel_size(train) * settings.sampling.patch
    return ModelSpec(
        name=config.name,
        version="0.1.0",
        family="pixel",
        bands=train.bands,
        resolution=resolution,
        resolutions=trained_range(resolution),
        classes=names if len(names) == 2 else ("other", target),
        target=target,
        threshold=0.5,
        clip=saturation(source),
        training=training_facts(source),
        licence=train.licence,
        description=config.description,
    )


def _counts(table: PixelTable) -> dict[str, Any]:
    share = table.share[table.share == table.share]
    return {
        "pixels": len(table),
        "labelled": len(share),
        "prevalence": float((share >= 0.5).mean()) if len(share) else None,
        "groups": list(table.groups),
    }


def _cost(fitted: Fitted) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        package = write_package(Path(folder) / "model", fitted.spec, fitted.weights, "measured", {})
        return pixel_cost(load_predictor(package, "cpu"))
