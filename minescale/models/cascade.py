"""Two stages: a segmenter finds suspicious ground, a classifier looks at each piece; together one model for a map."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.models.package import ModelPackage, load_package, write_package
from minescale.models.predictor import ChipPredictor, Predictor, find_family, load_predictor
from minescale.models.recalibration import recalibrate
from minescale.models.spec import HALO_STEP, RESOLUTION_TOLERANCE, ModelSpec, nearest
from minescale.models.windows import REFLECTANCE, not_finite, predict_classes, predict_tile
from minescale.models.zones import BARREN, MIN_AREA_HA, RADIUS_M, Zone, Zones, find_zones

FAMILY, SEGMENTER, CLASSIFIER = "two_stage", "segmenter", "classifier"
_CHIPS = 128
_OPTIONS: Mapping[str, Any] = {"suspicious": BARREN, "radius_m": RADIUS_M, "min_area_ha": MIN_AREA_HA}


class TwoStagePredictor:
    """Probability of the classifier's target within candidate zones, 0 elsewhere. As thread-safe as its two models.

    A zone that reaches beyond a patch is judged by the part of it in the patch; :func:`judge` sees zones whole.
    """

    def __init__(self, package: ModelPackage, device: str) -> None:
        self._spec = package.spec
        options = _options(package.spec)
        parts = {}
        for part in (SEGMENTER, CLASSIFIER):
            loaded = load_package(package.path / part)
            if loaded.digest != package.spec.hyperparameters.get(part):
                raise ModelError(
                    f"the {part} of {package.spec.name} is another than it was made with",
                    got=loaded.digest[:16],
                    expected=str(package.spec.hyperparameters.get(part))[:16],
                    fix="minescale model join, to make the package again",
                )
            parts[part] = load_predictor(loaded, device)
        self._segmenter, self._classifier = parts[SEGMENTER], parts[CLASSIFIER]
        self._options = options

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`."""
        out = np.zeros((len(batch), 2, *batch.shape[2:]), np.float32)
        for image, scores in zip(batch, out, strict=True):
            composite = np.clip(np.rint(image / REFLECTANCE), 0, 65535).astype(np.uint16)
            classes = class_map(self._segmenter, _bands(composite, self._spec, self._segmenter.spec))
            zones = find_zones(
                classes, self._segmenter.spec.classes, resolution_m=self._spec.resolution, **self._options
            )
            verdicts = judge(self._classifier, _bands(composite, self._spec, self._classifier.spec), zones)
            scores[self._spec.target_index] = np.concatenate([[0.0], np.nan_to_num(verdicts)])[zones.labels]
        out[:, 1 - self._spec.target_index] = 1 - out[:, self._spec.target_index]
        return out


def class_map(segmenter: Predictor, composite: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The likeliest class of each pixel, uint8 (y, x), positions in the model's classes; 255 where there is no data.

    Parameters
    ----------
    composite : uint16 (channel, y, x) reflectance x 1e4, 0 = no data, channels as the model's.
    """
    scores = predict_classes(segmenter, composite, 0)
    unseen = np.isnan(scores[0])
    return np.where(unseen, 255, np.nan_to_num(scores).argmax(axis=0)).astype(np.uint8)


def judge(classifier: Predictor, composite: NDArray[np.uint16], zones: Zones) -> NDArray[np.float32]:
    """Probability of the classifier's target for every zone, float32 (zone,), in the order of ``zones.zones``.

    A model of chips scores a window round the zone; a zone larger than a chip is covered with windows, and the highest
    score counts. One of pixels counts by its highest probability within the zone. NaN where there is no data.

    Parameters
    ----------
    composite : uint16 (channel, y, x) of the image that the zones were found in, channels as the classifier's.

    Raises
    ------
    ModelError
        where the classifier gives no number where there is data.
    """
    spec = classifier.spec
    if composite.shape[1:] != zones.labels.shape:
        raise UsageError("zones are of another image", got=zones.labels.shape, expected=composite.shape[1:])
    if not zones.zones:
        return np.zeros(0, np.float32)
    verdicts = np.full(len(zones.zones), np.nan, np.float32)
    if spec.task != "chips" or not isinstance(classifier, ChipPredictor) or spec.chip is None:
        for row, zone in enumerate(zones.zones):
            top, left, part = _with_context(composite, zone, spec.halo)
            scores = predict_tile(classifier, part, 0)
            inside = zones.labels[top : top + part.shape[1], left : left + part.shape[2]] == zone.id
            verdicts[row] = _highest(scores[inside])
        return verdicts
    windows = [(row, y, x) for row, zone in enumerate(zones.zones) for y, x in _windows(zones, zone, spec.chip)]
    for start in range(0, len(windows), _CHIPS):
        group = windows[start : start + _CHIPS]
        chips = np.stack([_chip(composite, y, x, spec.chip) for _, y, x in group])
        seen = (chips != 0).all(axis=1).any(axis=(1, 2))
        scores = recalibrate(classifier.classify(chips * REFLECTANCE)[:, spec.target_index], spec.calibration)
        if not np.isfinite(scores[seen]).all():
            raise not_finite(spec, f"{np.count_nonzero(~np.isfinite(scores[seen]))} of {seen.sum()} chips with data")
        for (row, _, _), score, known in zip(group, scores, seen, strict=True):
            verdicts[row] = np.fmax(verdicts[row], score if known else np.nan)
    return verdicts


def write_two_stage(
    folder: str | Path,
    segmenter: ModelPackage,
    classifier: ModelPackage,
    *,
    name: str,
    suspicious: Sequence[str] = BARREN,
    radius_m: float = RADIUS_M,
    min_area_ha: float = MIN_AREA_HA,
    version: str = "1.0.0",
) -> ModelPackage:
    """A package of two stages, with both models in folders of their own.

    Raises
    ------
    ModelError
        where the two work at different resolutions or dates, share no sensor, or the segmenter has no such class.
    """
    first, second = segmenter.spec, classifier.spec
    bands = tuple(dict.fromkeys((*first.bands, *second.bands)))
    if max(first.resolution, second.resolution) > RESOLUTION_TOLERANCE * min(first.resolution, second.resolution):
        raise ModelError(
            "the two stages see pixels of different sizes",
            got=f"{first.resolution:g} and {second.resolution:g} m",
            expected=f"within a factor of {RESOLUTION_TOLERANCE}",
        )
    if first.dates != 1 or second.dates != 1:
        raise ModelError("two stages compare no dates", got=f"{first.dates} and {second.dates}", expected="1 and 1")
    if first.sensors and second.sensors and not set(first.sensors) & set(second.sensors):
        raise ModelError(
            "the two stages share no sensor",
            got=f"{', '.join(first.sensors)} and {', '.join(second.sensors)}",
            expected="one sensor or more that both take",
        )
    # A zone in the middle of a patch has the classifier's whole window beside it.
    reach = first.halo + 4 * round(radius_m / first.resolution) + max(second.halo, second.chip or 0)
    halo = -(-reach // HALO_STEP) * HALO_STEP
    spec = ModelSpec(
        name=name,
        version=version,
        family=FAMILY,
        bands=bands,
        resolution=first.resolution,
        resolutions=(
            max(first.resolutions[0], second.resolutions[0]),
            min(first.resolutions[1], second.resolutions[1]),
        ),
        classes=("background", second.target),
        target=second.target,
        threshold=second.threshold,
        patch=max(first.patch + 2 * (halo - first.halo), 4 * halo, 512) // HALO_STEP * HALO_STEP,
        halo=halo,
        sensors=tuple(s for s in first.sensors if not second.sensors or s in second.sensors) or second.sensors,
        hyperparameters={
            "suspicious": list(suspicious),
            "radius_m": radius_m,
            "min_area_ha": min_area_ha,
            SEGMENTER: segmenter.digest,
            CLASSIFIER: classifier.digest,
            # Of the first stage; the second looks at what that one finds.
            "work": find_family(first.family).work(first),
        },
        licence=first.licence if first.licence == second.licence else "other",
        description=f"{first.name} finds {', '.join(suspicious)}; {second.name} judges each piece.",
    )
    _check(spec, first)
    folder = Path(folder)
    for part, package in ((SEGMENTER, segmenter), (CLASSIFIER, classifier)):
        shutil.copytree(package.path, folder / part)
    facts = {"segmenter": first.name, "classifier": second.name, **spec.hyperparameters}
    return write_package(folder, spec, None, _card(spec, first, second), {"stages": facts})


def _options(spec: ModelSpec) -> dict[str, Any]:
    known = {*_OPTIONS, SEGMENTER, CLASSIFIER, "work"}
    for key in spec.hyperparameters:
        if key not in known:
            raise ModelError(f"model {spec.name}: unknown hyperparameter", got=key, expected=nearest(key, known))
    return {key: spec.hyperparameters.get(key, default) for key, default in _OPTIONS.items()}


def _check(spec: ModelSpec, segmenter: ModelSpec) -> None:
    strange = [name for name in spec.hyperparameters["suspicious"] if name not in segmenter.classes]
    if strange or not spec.hyperparameters["suspicious"]:
        raise ModelError(
            f"segmenter {segmenter.name} has no such class",
            got=", ".join(strange) or "no suspicious class",
            expected=", ".join(segmenter.classes),
        )


def _bands(composite: NDArray[np.uint16], spec: ModelSpec, part: ModelSpec) -> NDArray[np.uint16]:
    return np.ascontiguousarray(composite[[spec.bands.index(band) for band in part.bands]])


def _windows(zones: Zones, zone: Zone, chip: int) -> list[tuple[int, int]]:
    """Upper left corners of chips round the zone's middle; where it is larger, of all cells that hold some of it."""
    down, across = (max(1, -(-size // chip)) for size in (zone.bottom - zone.top, zone.right - zone.left))
    middle_y, middle_x = (zone.top + zone.bottom) // 2, (zone.left + zone.right) // 2
    top, left = middle_y - down * chip // 2, middle_x - across * chip // 2
    corners = [(top + i * chip, left + j * chip) for i in range(down) for j in range(across)]
    if len(corners) == 1:
        return corners
    held = [(_chip(zones.labels[np.newaxis], y, x, chip) == zone.id).any() for y, x in corners]
    return [corner for corner, holds in zip(corners, held, strict=True) if holds]


def _chip(image: NDArray[Any], y: int, x: int, chip: int) -> NDArray[Any]:
    """(n, chip, chip) at a corner that may lie outside: moved inwards where the image is large enough, else with 0s."""
    y, x = (min(max(start, 0), max(size - chip, 0)) for start, size in zip((y, x), image.shape[1:], strict=True))
    part = image[:, y : y + chip, x : x + chip]
    return np.pad(part, ((0, 0), (0, chip - part.shape[1]), (0, chip - part.shape[2])))


def _with_context(composite: NDArray[np.uint16], zone: Zone, halo: int) -> tuple[int, int, NDArray[np.uint16]]:
    top, left = max(zone.top - halo, 0), max(zone.left - halo, 0)
    return top, left, np.ascontiguousarray(composite[:, top : zone.bottom + halo, left : zone.right + halo])


def _highest(scores: NDArray[np.float32]) -> float:
    known = scores[~np.isnan(scores)]
    return float(known.max()) if known.size else float("nan")


def _card(spec: ModelSpec, first: ModelSpec, second: ModelSpec) -> str:
    options = _options(spec)
    return f"""# {spec.name}

Two stages. `{first.name}` gives every pixel a class; connected ground of {", ".join(options["suspicious"])},
smoothed by {options["radius_m"]:g} m, of at least {options["min_area_ha"]:g} ha is a candidate;
`{second.name}` gives each candidate a probability of looking like {spec.target}. Outside candidates the map is 0.

What stage one misses cannot be found: recall is that of stage one times that of stage two among its candidates.
A high score says that a place looks like those the classifier was taught. It says nothing about permits or law.
"""
