"""Several models of the same bands and classes as one: the mean of their probabilities.

Members may be of different families. Each is a package in a folder of its own, run as it would be alone, its
calibration included. If asked for, the mean is over mirrored and turned views of the image as well, and is weighed with
the highest mean nearby.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.models.nearby import BYTES_PER_PIXEL, Nearby
from minescale.models.package import ModelPackage, load_package, write_package
from minescale.models.predictor import ChipPredictor, Predictor, find_family, load_predictor
from minescale.models.recalibration import recalibrate
from minescale.models.spec import HALO_STEP, ModelSpec, nearest

FAMILY = "ensemble"
_OPTIONS = ("members", "views", "nearby", "bytes_per_pixel", "work", "step")
VIEWS = (1, 4, 8)
"""Views of an image that a mean can be over: as it is; its mirror images and half turn; quarter turns of these too."""
ALONE = 0.26
"""What a pixel costs an index model beside the U-Net that plans price networks by (:mod:`minescale.planning.rates`)."""
_ALIKE = ("channels", "classes", "target", "task", "chip", "dates", "resolution")
"""What members agree in."""


class EnsemblePredictor:
    """Mean of the members' probabilities. As thread-safe as they are."""

    def __init__(self, package: ModelPackage, device: str) -> None:
        spec = package.spec
        for key in spec.hyperparameters:
            if key not in _OPTIONS:
                raise ModelError(
                    f"model {spec.name}: unknown hyperparameter",
                    got=key,
                    expected=nearest(key, _OPTIONS),
                    fix="minescale model average, to make the package again",
                )
        members = []
        for number, digest in enumerate(spec.hyperparameters.get("members", ())):
            loaded = load_package(package.path / folder_of(number))
            if loaded.digest != digest:
                raise ModelError(
                    f"member {number} of {spec.name} is another than it was made with",
                    got=loaded.digest[:16],
                    expected=str(digest)[:16],
                    fix="minescale model average, to make the package again",
                )
            members.append(load_predictor(loaded, device))
        if not members:
            raise ModelError(f"model {spec.name} has no members", expected="digests of one or more packages")
        self._spec = spec
        self._members: tuple[Predictor, ...] = tuple(members)
        self._views = checked_views(spec.hyperparameters.get("views", 1))
        self._nearby = Nearby.of(spec.hyperparameters.get("nearby"), spec.name)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`."""
        scores = self._mean(batch, lambda member, view: member.predict(view))
        if self._nearby is None:
            return scores
        target = self._spec.target_index
        # What is scored where there is no data is nobody's neighbour.
        seen = np.where((batch != 0).all(axis=1), scores[:, target], np.float32("nan"))
        weighed = np.stack([self._nearby.weighed(score) for score in seen])
        return _corrected(scores, np.nan_to_num(weighed, copy=False), target)

    def classify(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of whole chips, float32 (n, class), from reflectance (n, channel, y, x).

        Raises
        ------
        UsageError
            for members that were taught pixels.
        """
        return self._mean(batch, _classified)

    def _mean(
        self, batch: NDArray[np.float32], run: Callable[[Predictor, NDArray[np.float32]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        total: NDArray[np.float32] | None = None
        for number in range(max(views_of(member.spec, self._views) for member in self._members)):
            view = _seen(batch, number)
            for member in self._members:
                spec = member.spec
                count = views_of(spec, self._views)
                if number >= count:
                    continue
                # A model of single pixels leaves the cut at the specification's limit to its caller.
                cut = np.minimum(view, np.float32(spec.clip)) if spec.pixelwise and spec.clip else view
                scores = _calibrated(run(member, cut), spec)
                scores = (_back(scores, number) if scores.ndim == 4 else scores) / np.float32(count)
                total = scores if total is None else np.add(total, scores, out=total)
        assert total is not None  # noqa: S101  (one member at least)
        return np.divide(total, np.float32(len(self._members)), out=total)


def write_ensemble(
    folder: str | Path,
    members: Sequence[ModelPackage],
    *,
    name: str,
    views: int = 1,
    nearby: Nearby | None = None,
    version: str = "1.0.0",
) -> ModelPackage:
    """A package whose score is the mean of its members', with copies of them.

    Its threshold is the mean of theirs.

    Parameters
    ----------
    views : of each image, see :data:`VIEWS`, which is so many times the work; a model of single pixels, or of weights
        tied over turns, says the same of each and is run once.
    nearby : weighs the mean with the highest one nearby, see :mod:`minescale.models.nearby`, and widens the halo.
        Scores rise: they are probabilities again once they are calibrated, as by
        :func:`minescale.training.api.train_members`, and the mean of the members' thresholds is too low for them.

    Raises
    ------
    ModelError
        for no members, some that differ in what they take or give, another number of views, or ``nearby`` with members
        that score chips or single pixels.
    """
    spec = ensemble_spec(members, name=name, views=views, nearby=nearby, version=version)
    copy_members(folder, members)
    facts = {"names": [member.spec.name for member in members], **spec.hyperparameters}
    return write_package(Path(folder), spec, None, _card(spec, members), {"members": facts})


def ensemble_spec(
    members: Sequence[ModelPackage],
    *,
    name: str,
    views: int = 1,
    nearby: Nearby | None = None,
    version: str = "1.0.0",
) -> ModelSpec:
    """The specification of an ensemble; parameters and errors as of :func:`write_ensemble`."""
    if not members:
        raise ModelError(f"ensemble {name} has no members", expected="one package or more")
    views = checked_views(views)
    specs = [member.spec for member in members]
    first = specs[0]
    for other in specs[1:]:
        for key in _ALIKE:
            if getattr(other, key) != getattr(first, key):
                raise ModelError(
                    f"members of ensemble {name} differ in {key}",
                    got=f"{getattr(first, key)} of {first.name}, {getattr(other, key)} of {other.name}",
                    expected="the same",
                )
    windowed = [spec for spec in specs if not spec.pixelwise]
    if nearby is not None and (first.task == "chips" or not windowed):
        raise ModelError(
            f"ensemble {name} has no pixels to weigh with what is nearby",
            got="members that score " + ("chips" if first.task == "chips" else "each pixel alone"),
            expected="a network of pixels among them",
            fix="leave nearby out",
        )
    # Strides are powers of two: the widest fits all.
    step = max(find_family(spec.family).step(spec) for spec in specs)
    halo = max(spec.halo for spec in specs)
    if nearby is not None:
        halo = -(-(halo + nearby.radius) // step) * step
    inner = max((spec.patch - 2 * spec.halo for spec in windowed), default=0)
    named = [set(spec.sensors) for spec in specs if spec.sensors]
    sensors = tuple(sorted(set.intersection(*named))) if named else ()
    if named and not sensors:
        raise ModelError(
            f"members of ensemble {name} share no sensor",
            got=" and ".join(", ".join(spec.sensors) for spec in specs if spec.sensors),
            expected="one sensor or more that all take",
        )
    licences = {spec.licence for spec in specs}
    taught = first.training if all(spec.training == first.training for spec in specs) else {}
    return first.replace(
        name=name,
        version=version,
        family=FAMILY,
        resolutions=(max(spec.resolutions[0] for spec in specs), min(spec.resolutions[1] for spec in specs)),
        threshold=float(np.mean([spec.threshold for spec in specs])),
        keep_threshold=None,
        expected_survivors=None,
        patch=max(inner + 2 * halo, 2 * halo + HALO_STEP) if windowed else 1,
        halo=halo,
        mean=None,
        std=None,
        clip=None,
        calibration={},
        sensors=sensors,
        hyperparameters={
            "members": [member.digest for member in members],
            "views": views,
            **({"nearby": nearby.to_dict()} if nearby else {}),
            "bytes_per_pixel": max(find_family(spec.family).bytes_per_pixel(spec) for spec in specs)
            + (BYTES_PER_PIXEL if nearby else 0),
            "work": sum(views_of(spec, views) * _work(spec) for spec in specs),
            "step": step,
        },
        # Who may not pass on one member may not pass on the whole.
        licence="none" if "none" in licences else first.licence if len(licences) == 1 else "other",
        training=taught,
        description=f"Mean of {len(specs)} models{_how(views, nearby)}: "
        f"{', '.join(dict.fromkeys(spec.name for spec in specs))}.",
    )


def checked_views(views: Any) -> int:
    """The number of views, as it is written into files.

    Raises
    ------
    ModelError
        for one that is not of :data:`VIEWS`.
    """
    if isinstance(views, bool | str) or views not in VIEWS:
        raise ModelError("views of an image to average over", got=repr(views), expected=", ".join(map(str, VIEWS)))
    return int(views)


def views_of(spec: ModelSpec, views: int) -> int:
    """How many of the views a member is run on: one, where it says the same of all (edges that are multiples of its
    stride, as those of windows are)."""
    return 1 if spec.pixelwise or spec.hyperparameters.get("symmetric") else views


def _seen(batch: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """View ``number`` of images (..., y, x): 1 to 3 mirrored, 4 to 7 the same with rows and columns exchanged."""
    view = batch[..., :: -1 if number & 1 else 1, :: -1 if number & 2 else 1]
    return np.ascontiguousarray(view.swapaxes(-1, -2) if number & 4 else view)


def _back(scores: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """Scores of a view as they lie in the image."""
    turned = scores.swapaxes(-1, -2) if number & 4 else scores
    return np.ascontiguousarray(turned[..., :: -1 if number & 1 else 1, :: -1 if number & 2 else 1])


def _work(spec: ModelSpec) -> float:
    """Of a member, in the units of networks, which an ensemble is priced as."""
    family = find_family(spec.family)
    return family.work(spec) * (1.0 if family.torch else ALONE)


def copy_members(folder: str | Path, members: Sequence[ModelPackage]) -> None:
    """Put copies of the members where an ensemble's package looks for them."""
    for number, member in enumerate(members):
        shutil.copytree(member.path, Path(folder) / folder_of(number))


def folder_of(number: int) -> str:
    """Name of a member's folder in the package."""
    return f"member-{number}"


def _classified(member: Predictor, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    if member.spec.task != "chips" or not isinstance(member, ChipPredictor):
        raise UsageError(f"model {member.spec.name} scores pixels, not chips", fix="predict")
    return member.classify(batch)


def _calibrated(scores: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Probabilities (n, class, ...) with the target's corrected by the specification's calibration."""
    if not spec.calibration:
        return scores
    target = spec.target_index
    return _corrected(scores, recalibrate(scores[:, target], spec.calibration), target)


def _corrected(scores: NDArray[np.float32], after: NDArray[np.float32], target: int) -> NDArray[np.float32]:
    """Probabilities (n, class, ...) with another one of the target, the others scaled so that the sum stays 1."""
    rest = 1 - scores[:, target]
    factor: NDArray[Any] = np.divide(1 - after, rest, out=np.zeros_like(rest), where=rest > 0)
    out = scores * factor[:, np.newaxis]
    out[:, target] = after
    if scores.shape[1] == 2:
        out[:, 1 - target] = 1 - after
    return out


def _how(views: int, nearby: Nearby | None) -> str:
    """How members are averaged, where it is not plainly, as a part of a sentence."""
    said = f" over {views} mirrored{' and turned' if views > 4 else ''} views of the image" if views > 1 else ""
    if nearby is not None:
        said += f", weighed {nearby.weight:g} with the highest mean within {nearby.radius} pixels"
    return said


def _card(spec: ModelSpec, members: Sequence[ModelPackage]) -> str:
    names = "\n".join(f"- `{m.spec.name}` {m.spec.version}, {m.spec.family}, licence {m.spec.licence}" for m in members)
    how = _how(spec.hyperparameters["views"], Nearby.of(spec.hyperparameters.get("nearby"), spec.name))
    return f"""# {spec.name}

The mean of the probabilities of {len(members)} models{how}:

{names}

Data, scores and limits are those of the members' cards (`{folder_of(0)}/` and so on). The mean's own scores are in
`metrics/` where they were measured.
"""
