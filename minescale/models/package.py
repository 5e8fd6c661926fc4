"""Model packages: a folder with ``model.json``, ``weights.safetensors``, ``model_card.md`` and ``metrics/``.

A sub-folder ``screen/`` is itself a package: the cheap model of the pyramid's coarse level.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.models.item import from_item, to_item
from minescale.models.spec import ModelSpec, nearest
from minescale.sensors import Sensor
from minescale.types import physical_bands

ITEM, WEIGHTS, CARD, METRICS, SCREEN = "model.json", "weights.safetensors", "model_card.md", "metrics", "screen"
BUILTIN = Path(__file__).parent.parent / "packages"
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")
_MAX_JSON = 4_000_000
_CONVERT = (
    "convert it where you trust it: weights = torch.load(path, weights_only=True); safetensors.torch.save_file({k: "
    "v.contiguous() for k, v in weights.items()}, 'weights.safetensors'), then minescale.models.package.write_package"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPackage:
    """A checked model on disk. Its weights matched their checksum when it was loaded."""

    spec: ModelSpec
    path: Path
    digest: str
    """SHA-256 over model.json, the weights and the screen's digest: what decides the predictions."""
    screen: ModelPackage | None = None
    """The model of the pyramid's coarse level."""

    @property
    def weights_path(self) -> Path | None:
        path = self.path / WEIGHTS
        return path if path.is_file() else None

    def weights(self) -> dict[str, NDArray[Any]]:
        """Tensors by name; empty for a model without weights.

        Raises
        ------
        ModelError
            where the file is not safetensors.
        """
        if self.weights_path is None:
            return {}
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(self.weights_path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(
                f"weights of {self.spec.name} cannot be read", got=error, expected="safetensors"
            ) from error


def list_packages() -> tuple[str, ...]:
    """Names of the packages that come with minescale."""
    return tuple(sorted(p.parent.name for p in BUILTIN.glob(f"*/{ITEM}")))


def load_package(ref: str | Path) -> ModelPackage:
    """Load and check a package: the name of a built-in one, or a folder.

    Raises
    ------
    ModelError
        where it is missing, broken, tampered with, pickled, or asks for bands no sensor has.
    """
    if isinstance(ref, str) and ref in list_packages():
        return _load(BUILTIN / ref)
    path = Path(ref).expanduser()
    if path.suffix.lower() in PICKLES:
        raise ModelError("pickled weights run code when they are opened", got=path, expected=WEIGHTS, fix=_CONVERT)
    if path.name == ITEM and path.is_file():
        path = path.parent
    if not path.is_dir():
        known = list_packages()
        raise ModelError("model package does not exist", got=ref, expected=f"a folder, or {nearest(str(ref), known)}")
    return _load(path)


def _load(folder: Path, *, depth: int = 0) -> ModelPackage:
    item_path = folder / ITEM
    if not item_path.is_file():
        pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix.lower() in PICKLES]
        if pickles:
            raise ModelError("folder holds pickled weights and no model.json", got=pickles[0], fix=_CONVERT)
        raise ModelError("model package lacks a file", got=folder, expected=ITEM)
    if item_path.stat().st_size > _MAX_JSON:
        raise ModelError("model.json is too large", got=item_path.stat().st_size, expected=f"at most {_MAX_JSON} bytes")
    raw = item_path.read_bytes()
    try:
        item = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelError("model.json is not JSON", got=f"{item_path}: {error}") from error
    spec = from_item(item)
    assets = item.get("assets")
    if not isinstance(assets, dict) or not all(isinstance(a, dict) for a in assets.values()):
        raise ModelError(f"model {spec.name}: assets", got=type(assets).__name__, expected="an object of objects")
    if not any("mlm:model" in asset.get("roles", ()) for asset in assets.values()):
        raise ModelError(f"model {spec.name}: no asset has the role mlm:model", got=", ".join(assets) or "no assets")
    weights = b""
    for name, asset in sorted(assets.items()):
        content = _checked(folder, spec.name, name, asset)
        if name == "weights":
            weights = content
    if not weights and (folder / WEIGHTS).exists():
        raise ModelError(f"model {spec.name}: weights are there but not listed", got=WEIGHTS, expected="asset weights")
    screen = None
    if (folder / SCREEN).is_dir():
        if depth >= 3:
            raise ModelError("screens are nested too deep", got=folder / SCREEN, expected="at most 3 levels")
        screen = _load(folder / SCREEN, depth=depth + 1)
        if screen.spec.resolution <= spec.resolution:
            raise ModelError(
                f"screen of {spec.name} is not coarser than the model",
                got=f"{screen.spec.resolution} m",
                expected=f"more than {spec.resolution} m",
            )
    return ModelPackage(spec=spec, path=folder, digest=_digest(raw, weights, screen), screen=screen)


def _digest(item: bytes, weights: bytes, screen: ModelPackage | None) -> str:
    digest = hashlib.sha256()
    for part in (item, weights, bytes.fromhex(screen.digest) if screen else b""):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _checked(folder: Path, model: str, name: str, asset: Mapping[str, Any]) -> bytes:
    """The bytes of an asset, after its place, size and checksum were checked."""
    href = asset.get("href")
    if not isinstance(href, str) or not href:
        raise ModelError(f"model {model}: asset {name} has no href", got=href)
    relative = href.removeprefix("./")
    inside = Path(relative)
    if inside.is_absolute() or ".." in inside.parts or ":" in relative or "\\" in relative or "\0" in relative:
        raise ModelError(f"model {model}: asset {name} lies outside its folder", got=href, expected=f"./{WEIGHTS}")
    if inside.suffix.lower() in PICKLES:
        raise ModelError(
            f"model {model}: asset {name} is pickled, which runs code when opened",
            got=href,
            expected=WEIGHTS,
            fix=_CONVERT,
        )
    if name == "weights" and relative != WEIGHTS:
        raise ModelError(f"model {model}: weights have another name", got=href, expected=f"./{WEIGHTS}")
    path = folder / inside
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"model {model}: asset {name} is a link out of its folder", got=href)
    if not path.is_file():
        raise ModelError(f"model {model}: a file is missing", got=path, expected=f"asset {name}")
    size, checksum = asset.get("file:size"), asset.get("file:checksum")
    if "mlm:model" in asset.get("roles", ()) and (size is None or checksum is None):
        raise ModelError(f"model {model}: asset {name} is not protected", expected="file:size and file:checksum")
    if size is not None and size != path.stat().st_size:
        raise ModelError(f"model {model}: {path.name} has another size", got=path.stat().st_size, expected=size)
    content = path.read_bytes()
    if checksum is not None and checksum != _multihash(content):
        raise ModelError(
            f"model {model}: {path.name} does not match its checksum",
            got=_multihash(content),
            expected=checksum,
            fix="fetch the package again; it is damaged or was changed",
        )
    return content


def _multihash(content: bytes) -> str:
    """Multihash of the file extension: code 0x12 (SHA-256), length 0x20, digest."""
    return "1220" + hashlib.sha256(content).hexdigest()


def write_package(
    folder: str | Path,
    spec: ModelSpec,
    weights: Mapping[str, NDArray[Any]] | None,
    card: str,
    metrics: Mapping[str, Any],
) -> ModelPackage:
    """Write a package. The same arguments give the same bytes.

    Parameters
    ----------
    weights : tensors by name; None for a model that is its own parameters (``mlm:hyperparameters``).
    card : text of ``model_card.md``.
    metrics : JSON values by file name (without ``.json``), written under ``metrics/``.

    Returns
    -------
    ModelPackage
        as :func:`load_package` reads it back.
    """
    folder = Path(folder)
    (folder / METRICS).mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text(card.rstrip() + "\n", encoding="utf-8")
    for name, values in metrics.items():
        (folder / METRICS / f"{name}.json").write_text(_dump(values), encoding="utf-8")
    assets = {"card": _asset(folder / CARD, "text/markdown", ["metadata"])}
    total = 0
    if weights:
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(weights.items())}
        (folder / WEIGHTS).write_bytes(save(arrays))
        total = sum(array.size for array in arrays.values())
        assets["weights"] = _asset(
            folder / WEIGHTS,
            "application/vnd.safetensors",
            ["mlm:model", "mlm:weights"],
            artifact="safetensors.numpy.save_file",
        )
    else:
        # The extension asks for one asset with this role; without weights the card describes the whole model.
        assets["card"] = _asset(folder / CARD, "text/markdown", ["mlm:model", "metadata"], artifact="minescale.rules")
    (folder / ITEM).write_text(_dump(to_item(spec, assets, total_parameters=total)), encoding="utf-8")
    return load_package(folder)


def _asset(path: Path, media: str, roles: list[str], *, artifact: str | None = None) -> dict[str, Any]:
    asset: dict[str, Any] = {"href": f"./{path.name}", "type": media, "roles": roles}
    if artifact:
        content = path.read_bytes()
        asset |= {"mlm:artifact_type": artifact, "file:size": len(content), "file:checksum": _multihash(content)}
    return asset


def _dump(values: Any) -> str:
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def check_fits(spec: ModelSpec, sensor: Sensor, resolution: float) -> None:
    """Refuse to run a model on bands it cannot have or at pixels it was not made for.

    Parameters
    ----------
    resolution : pixel size in metres.

    Raises
    ------
    ModelError
        saying what to pass instead.
    """
    if spec.sensors and sensor.name not in spec.sensors:
        raise ModelError(
            f"model {spec.name} was not made for this sensor",
            got=sensor.name,
            expected=", ".join(spec.sensors),
            fix="a collection of that sensor, or another --model",
        )
    for band in physical_bands(spec.bands):
        try:
            sensor.band(band)
        except UsageError as error:
            raise ModelError(
                f"model {spec.name} needs a band that {sensor.name} lacks",
                got=band,
                expected=", ".join(sensor.names),
                fix="another --collection, or another --model",
            ) from error
    if spec.dates != 1:
        raise ModelError(
            f"model {spec.name} compares {spec.dates} dates; a scan composites one period at a time",
            fix="evaluate it on a dataset of pairs, or scan with a model of one date",
        )
    low, high = spec.resolutions
    if not low * (1 - 1e-6) <= resolution <= high * (1 + 1e-6):
        allowed = f"{low:.4g} to {high:.4g} m"
        raise ModelError(
            f"model {spec.name} was not made for pixels of this size",
            got=f"{resolution:g} m",
            expected=allowed,
            fix=f"--resolution {_nearest_resolution(resolution, low, high, spec.resolution):g}",
        )


def _nearest_resolution(wanted: float, low: float, high: float, nominal: float) -> float:
    """A round pixel size inside the range, close to the wanted one; the nominal one where there is none."""
    bound = math.ceil(low) if wanted < low else math.floor(high)
    return float(bound) if low <= bound <= high else nominal
