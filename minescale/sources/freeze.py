"""The frozen catalogue: scenes resolved once, deduplicated, written down. Workers never search.

``scenes.parquet`` is GeoParquet: one row per scene, bands as JSON, footprint as geometry. ``scenes_digest`` is
taken over the content, so it does not change with the Parquet library.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shapely import to_wkb

from minescale.errors import MinescaleError, NothingMatched, StoreError, UsageError
from minescale.sensors import MASK, SENSORS
from minescale.sources.access import Access
from minescale.sources.catalogs import SearchResult
from minescale.sources.dedupe import deduplicate
from minescale.sources.items import scene_from_item
from minescale.sources.scenes import BandAsset, Scene

_TEXTS = ("id", "collection", "provider", "sensor", "platform", "crs", "baseline", "grid_tile")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenCatalog:
    """Scenes of a run, and what was left out."""

    scenes: tuple[Scene, ...]
    """In the order of (datetime, id)."""
    excluded: tuple[tuple[str, str], ...]
    """(item id, cause)."""


def freeze(
    result: SearchResult,
    *,
    bands: Sequence[str] = (),
    provider: str | None = None,
    access: Access | None = None,
    ancillary: Sequence[str] = (),
) -> FrozenCatalog:
    """Resolve and deduplicate what a search found.

    Parameters
    ----------
    bands : STAC common names every scene must have; a scene without one is excluded with its cause.
    provider : overrides the search's, such as ``demo``.
    ancillary : by-products of the sensor, such as ``aot``, to keep the addresses of; a scene without one stays.

    Raises
    ------
    UsageError
        where every scene lacks a required band, or a band's name is unknown.
    NothingMatched
        where no item could be resolved at all.
    """
    scenes: list[Scene] = []
    excluded: list[tuple[str, str]] = []
    lacking: set[str] = set()
    for item in result.items:
        try:
            scene = scene_from_item(item, provider or result.provider, access=access, ancillary=ancillary)
        except MinescaleError as error:
            excluded.append((item.id, _one_line(error)))
            continue
        missing = missing_bands(scene, bands)
        if missing:
            lacking.update(missing)
            excluded.append((item.id, f"lacks {', '.join(missing)}"))
        else:
            scenes.append(scene)
    if not scenes and lacking:
        raise UsageError(
            "no scene has all the bands asked for",
            got=f"missing {', '.join(sorted(lacking))} in {len(excluded)} scenes ({result.searched})",
            expected=", ".join(bands),
            fix="another collection, or a model that needs fewer bands",
        )
    if not scenes:
        causes = "; ".join(f"{name}: {cause}" for name, cause in excluded[:3])
        raise NothingMatched(
            "no item could be used", got=f"{len(excluded)} items of {result.searched}", expected=causes or "items"
        )
    kept, dropped = deduplicate(scenes)
    return FrozenCatalog(scenes=kept, excluded=(*excluded, *dropped))


def missing_bands(scene: Scene, bands: Sequence[str]) -> tuple[str, ...]:
    """Bands of the list that a scene does not have.

    Raises
    ------
    UsageError
        for a name its sensor does not know.
    """
    sensor = SENSORS[scene.sensor]
    return tuple(b for b in bands if (b if b == MASK else sensor.band(b).name) not in scene.bands)


def write_scenes(path: str | Path, scenes: Sequence[Scene]) -> None:
    """Write GeoParquet to a local path or an fsspec URL.

    Raises
    ------
    StoreError
        where it cannot be written.
    """
    import geopandas
    import pandas as pd

    columns: dict[str, Any] = {name: [getattr(s, name) for s in scenes] for name in _TEXTS}
    columns["datetime"] = pd.to_datetime([s.datetime for s in scenes], utc=True)
    columns["cloud_cover"] = pd.array([s.cloud_cover for s in scenes], dtype="Float64")
    columns["orbit"] = pd.array([s.orbit for s in scenes], dtype="Int64")
    columns["bands"] = [json.dumps(_bands_document(s.bands), sort_keys=True) for s in scenes]
    frame = geopandas.GeoDataFrame(columns, geometry=[s.footprint for s in scenes], crs="EPSG:4326")
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    try:
        if urlsplit(str(path)).scheme:
            import fsspec

            with fsspec.open(str(path), "wb") as file:
                file.write(buffer.getvalue())
        else:
            Path(path).write_bytes(buffer.getvalue())
    except OSError as error:
        raise StoreError("scenes could not be written", got=f"{path}: {error}") from error


def read_scenes(path: str | Path) -> tuple[Scene, ...]:
    """Read what ``write_scenes`` wrote.

    Raises
    ------
    UsageError
        where there is no such file, or it is of another kind.
    """
    import geopandas
    import pyarrow as pa

    try:
        if urlsplit(str(path)).scheme:
            import fsspec

            with fsspec.open(str(path), "rb") as file:
                frame = geopandas.read_parquet(io.BytesIO(file.read()))
        else:
            frame = geopandas.read_parquet(path)
        return tuple(_scene(row) for row in frame.to_dict("records"))
    except FileNotFoundError as error:
        raise UsageError("scenes do not exist", got=path, expected="a scenes.parquet of minescale") from error
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise UsageError("scenes are not readable", got=f"{path}: {error}", expected="GeoParquet") from error


def scenes_digest(scenes: Iterable[Scene]) -> str:
    """SHA-256 (hex) of the scenes' content, in their order."""
    digest = hashlib.sha256()
    for scene in scenes:
        document = {
            **{name: getattr(scene, name) for name in _TEXTS},
            "datetime": scene.datetime.astimezone(dt.UTC).isoformat(),
            "cloud_cover": scene.cloud_cover,
            "orbit": scene.orbit,
            "bands": _bands_document(scene.bands),
            "footprint": to_wkb(scene.footprint, hex=True, byte_order=1),
        }
        digest.update(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _bands_document(bands: Mapping[str, BandAsset]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "href": asset.href,
            "scale": asset.scale,
            "offset": asset.offset,
            "nodata": asset.nodata,
            "transform": list(asset.transform) if asset.transform is not None else None,
            "shape": list(asset.shape) if asset.shape is not None else None,
        }
        for name, asset in bands.items()
    }


def _scene(row: Mapping[Any, Any]) -> Scene:
    import pandas as pd

    def optional(name: str) -> Any:
        return None if pd.isna(row[name]) else row[name]

    bands = {
        name: BandAsset(
            href=fields["href"],
            scale=fields["scale"],
            offset=fields["offset"],
            nodata=fields["nodata"],
            transform=tuple(fields["transform"]) if fields["transform"] is not None else None,
            shape=tuple(fields["shape"]) if fields["shape"] is not None else None,
        )
        for name, fields in json.loads(row["bands"]).items()
    }
    cloud, orbit = optional("cloud_cover"), optional("orbit")
    return Scene(
        id=row["id"],
        collection=row["collection"],
        provider=row["provider"],
        sensor=row["sensor"],
        platform=row["platform"],
        datetime=row["datetime"].to_pydatetime().astimezone(dt.UTC),
        crs=row["crs"],
        footprint=row["geometry"],
        bands=bands,
        cloud_cover=None if cloud is None else float(cloud),
        baseline=optional("baseline"),
        grid_tile=optional("grid_tile"),
        orbit=None if orbit is None else int(orbit),
    )


def _one_line(error: MinescaleError) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines())
