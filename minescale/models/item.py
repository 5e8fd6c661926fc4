"""The JSON form of a model's specification: a STAC 1.1 Item with the Machine Learning Model extension 1.5.2.

https://github.com/stac-extensions/mlm. What that extension has no field for stands under ``minescale:``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minescale.errors import ModelError
from minescale.models.spec import ModelSpec, nearest

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
FILE_SCHEMA = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
PREFIX = "minescale:"

_INPUT_ORDER = ["batch", "bands", "height", "width"]
_OUTPUT_ORDER = ["batch", "class", "height", "width"]
_OWN = ("family", "resolution", "resolutions", "target", "threshold", "patch", "halo")
_OWN_OPTIONAL = (
    "keep_threshold",
    "expected_survivors",
    "sensors",
    "training",
    "task",
    "chip",
    "dates",
    "clip",
    "calibration",
)
_DEFAULTS = {"task": "pixels", "dates": 1, "calibration": {}, "chip": None, "clip": None}
"""Values that need no line of their own in ``model.json``."""
_MLM = ("name", "architecture", "tasks", "input", "output")
_MLM_OPTIONAL = (
    "framework",
    "framework_version",
    "memory_size",
    "total_parameters",
    "pretrained",
    "pretrained_source",
    "batch_size_suggestion",
    "accelerator",
    "accelerator_constrained",
    "accelerator_summary",
    "accelerator_count",
    "hyperparameters",
)
_TASKS = {"pixels": "semantic-segmentation", "chips": "classification"}
_ARCHITECTURES = {
    "efficientunet": "U-Net on EfficientNet-Lite",
    "index": "Spectral index rules",
    "kmeans": "Clusters of pixels",
    "patchcnn": "Residual patch classifier",
    "pixel": "Per-pixel linear model",
    "probe": "Linear classifier of chips on fixed features",
    "trees": "Decision trees on pixels",
    "two_stage": "Segmenter and classifier",
    "ensemble": "Mean of several models",
    "unet": "U-Net",
}


def to_item(spec: ModelSpec, assets: Mapping[str, Any], *, total_parameters: int) -> dict[str, Any]:
    """The STAC MLM item of a model.

    Parameters
    ----------
    assets : STAC assets, one of them with the role ``mlm:model``.
    total_parameters : number of weights.
    """
    bbox = spec.training.get("bbox")
    scaling = None
    if spec.mean is not None and spec.std is not None:
        scaling = [{"type": "z-score", "mean": m, "stddev": s} for m, s in zip(spec.mean, spec.std, strict=True)]
    properties: dict[str, Any] = {
        "datetime": None,
        "start_datetime": spec.training.get("start", "1900-01-01T00:00:00Z"),
        "end_datetime": spec.training.get("end", "9999-12-31T23:59:59Z"),
        "description": spec.description,
        "license": spec.licence,
        "version": spec.version,
        "bands": [{"name": band} for band in spec.bands],
        "mlm:name": spec.name,
        "mlm:architecture": _ARCHITECTURES.get(spec.family, spec.family),
        "mlm:tasks": [_TASKS[spec.task]],
        "mlm:framework": "minescale" if spec.pixelwise else "PyTorch",
        "mlm:total_parameters": total_parameters,
        "mlm:pretrained": total_parameters > 0,
        "mlm:input": [
            {
                "name": "Surface reflectance 0-1, no data 0",
                "bands": list(spec.bands),
                "input": {
                    "shape": [-1, len(spec.channels), _edge(spec), _edge(spec)],
                    "dim_order": _INPUT_ORDER,
                    "data_type": "float32",
                },
                "value_scaling": scaling,
                "resize_type": None,
            }
        ],
        "mlm:output": [
            {
                "name": "Class probabilities",
                "tasks": [_TASKS[spec.task]],
                "result": {
                    "shape": [-1, len(spec.classes), _edge(spec), _edge(spec)],
                    "dim_order": _OUTPUT_ORDER,
                    "data_type": "float32",
                },
                "classification:classes": [{"value": i, "name": name} for i, name in enumerate(spec.classes)],
            }
        ],
    }
    if spec.hyperparameters.get("logarithm"):
        function = {"format": "python", "expression": "minescale.models.network:logarithm"}
        properties["mlm:input"][0]["pre_processing_function"] = function
    if spec.hyperparameters:
        properties["mlm:hyperparameters"] = dict(spec.hyperparameters)
    for key in (*_OWN, *_OWN_OPTIONAL):
        value = getattr(spec, key)
        if key in _DEFAULTS and value == _DEFAULTS[key]:
            continue
        properties[PREFIX + key] = list(value) if isinstance(value, tuple) else value
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM_SCHEMA, FILE_SCHEMA],
        "id": f"{spec.name}-{spec.version}",
        "geometry": _polygon(bbox) if bbox else None,
        **({"bbox": list(bbox)} if bbox else {}),
        "properties": properties,
        "links": [],
        "assets": {key: _with_bands(asset, properties["bands"]) for key, asset in assets.items()},
    }


def _with_bands(asset: Mapping[str, Any], bands: Any) -> dict[str, Any]:
    """STAC 1.1 takes bands in an item's properties only where an asset has them too."""
    return {**asset, "bands": bands} if "mlm:model" in asset.get("roles", ()) else dict(asset)


def from_item(item: Mapping[str, Any]) -> ModelSpec:
    """Read a model's item.

    Raises
    ------
    ModelError
        for a missing or an unknown key (naming the nearest one), or values that contradict each other.
    """
    if not isinstance(item, Mapping) or item.get("type") != "Feature" or "properties" not in item:
        raise ModelError(
            "model.json is not a STAC item", expected="a JSON object of type Feature with properties and assets"
        )
    if not any(str(e).startswith("https://stac-extensions.github.io/mlm/v1.") for e in item.get("stac_extensions", ())):
        raise ModelError("model.json does not use the MLM extension", expected=MLM_SCHEMA)
    properties = item["properties"]
    _check_keys(properties)
    try:
        return _spec(properties)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError("model.json has a value of the wrong kind", got=f"{type(error).__name__}: {error}") from error


def _spec(properties: Mapping[str, Any]) -> ModelSpec:
    bands, mean, std = _input(_only(properties, "mlm:input"))
    classes = _classes(_only(properties, "mlm:output"))
    own: dict[str, Any] = {key: properties.get(PREFIX + key) for key in (*_OWN, *_OWN_OPTIONAL)}
    low, high = own["resolutions"]
    return ModelSpec(
        name=str(properties["mlm:name"]),
        version=str(properties["version"]),
        family=str(own["family"]),
        bands=bands,
        resolution=float(own["resolution"]),
        resolutions=(float(low), float(high)),
        classes=classes,
        target=str(own["target"]),
        threshold=float(own["threshold"]),
        keep_threshold=_optional(own["keep_threshold"]),
        expected_survivors=_optional(own["expected_survivors"]),
        patch=_whole(own["patch"], "patch"),
        halo=_whole(own["halo"], "halo"),
        mean=mean,
        std=std,
        task=own["task"] or "pixels",
        chip=None if own["chip"] is None else _whole(own["chip"], "chip"),
        dates=1 if own["dates"] is None else _whole(own["dates"], "dates"),
        clip=_optional(own["clip"]),
        calibration=dict(own["calibration"] or {}),
        sensors=tuple(own["sensors"] or ()),
        hyperparameters=dict(properties.get("mlm:hyperparameters") or {}),
        training=dict(own["training"] or {}),
        licence=str(properties["license"]),
        description=str(properties.get("description", "")),
    )


def _check_keys(properties: Mapping[str, Any]) -> None:
    required = [*(f"mlm:{k}" for k in _MLM), *(PREFIX + k for k in _OWN), "version", "license"]
    known = {*required, *(f"mlm:{k}" for k in _MLM_OPTIONAL), *(PREFIX + k for k in _OWN_OPTIONAL)}
    known |= {
        "bands",
        "datetime",
        "start_datetime",
        "end_datetime",
        "description",
        "title",
        "created",
        "updated",
        "providers",
    }
    for key in properties:
        if key not in known:
            raise ModelError("model.json has an unknown property", got=key, expected=nearest(key, known))
    for key in required:
        if key not in properties:
            raise ModelError("model.json lacks a property", got=nearest(key, properties), expected=key)


def _only(properties: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    entries = properties[key]
    if not isinstance(entries, list) or len(entries) != 1:
        raise ModelError(f"model.json: {key}", got=entries, expected="a list with one entry")
    entry = entries[0]
    part = "input" if key == "mlm:input" else "result"
    order, wanted = entry[part]["dim_order"], _INPUT_ORDER if part == "input" else _OUTPUT_ORDER
    if list(order) != wanted or entry[part]["data_type"] != "float32":
        raise ModelError(
            f"model.json: {key} has another layout",
            got=f"{order} {entry[part]['data_type']}",
            expected=f"{wanted} float32",
        )
    names = entry["bands"] if part == "input" else entry["classification:classes"]
    dates = int(properties.get(f"{PREFIX}dates") or 1) if part == "input" else 1
    if entry[part]["shape"][1] != dates * len(names):
        raise ModelError(
            f"model.json: {key} has a shape that contradicts its names", got=entry[part]["shape"], expected=len(names)
        )
    return entry


def _input(
    entry: Mapping[str, Any],
) -> tuple[tuple[str, ...], tuple[float, ...] | None, tuple[float, ...] | None]:
    bands = tuple(str(b["name"] if isinstance(b, Mapping) else b) for b in entry["bands"])
    scaling = entry.get("value_scaling")
    if scaling is None:
        return bands, None, None
    if any(s.get("type") != "z-score" for s in scaling):
        raise ModelError("model.json: unknown value_scaling", got=[s.get("type") for s in scaling], expected="z-score")
    if entry.get("resize_type") is not None:
        raise ModelError("model.json: inputs are never resized", got=entry["resize_type"], expected=None)
    return bands, tuple(float(s["mean"]) for s in scaling), tuple(float(s["stddev"]) for s in scaling)


def _classes(entry: Mapping[str, Any]) -> tuple[str, ...]:
    ordered = sorted(entry["classification:classes"], key=lambda c: int(c["value"]))
    if [int(c["value"]) for c in ordered] != list(range(len(ordered))):
        raise ModelError("model.json: class values", got=[c["value"] for c in ordered], expected="0, 1, 2 ...")
    return tuple(str(c["name"]) for c in ordered)


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ModelError(f"model.json: {name}", got=value, expected="a whole number of pixels")
    return int(value)


def _edge(spec: ModelSpec) -> int:
    return -1 if spec.pixelwise else spec.patch


def _polygon(bbox: Iterable[float]) -> dict[str, Any]:
    w, s, e, n = bbox
    return {"type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]}
