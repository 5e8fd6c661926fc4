"""STAC items to scenes: bands by name, radiometry, grid, absolute unsigned addresses.

Catalogues disagree on asset keys, on where the projection is kept and on how a tile is called; this module is
where they are made one. The primary address of an asset is kept, also where an ``alternate`` exists: Landsat's
``s3://usgs-landsat`` wants ``AWS_REQUEST_PAYER=requester`` and its https alternate wants a login, so neither is
better without the user's own choice. An alternate is used only where the primary scheme cannot be read at all.
Item ids are never used as file names.
"""

from __future__ import annotations

import datetime as dt
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pystac
from shapely import box
from shapely.geometry import shape as to_geometry
from shapely.geometry.base import BaseGeometry
from shapely.validation import make_valid

from minescale.errors import UsageError
from minescale.sensors import MASK, Band, Sensor, sensor_of
from minescale.sources.access import Access
from minescale.sources.radiometry import resolve
from minescale.sources.scenes import BandAsset, Scene
from minescale.sources.signing import is_blob, unsigned

READABLE = ("http", "https", "s3", "gs", "az", "abfs", "file", "")

_PRODUCT_BASELINE = re.compile(r"_N(\d{2})\.?(\d{2})(?:_|\b)")
_PRODUCT_ORBIT = re.compile(r"_R(\d{3})_")
_PRODUCT_TILE = re.compile(r"_T?(\d{2}[C-X][A-Z]{2})_")
_PROVIDER_HOSTS = (
    ("earth-search", ("sentinel-cogs.s3", "e84-earth-search-sentinel-data.s3")),
    ("earth-search", ("earth-search.aws.element84.com",)),
)


def scene_from_item(
    item: pystac.Item, provider: str, *, access: Access | None = None, ancillary: Sequence[str] = ()
) -> Scene:
    """Resolve one item.

    Parameters
    ----------
    provider : planetary-computer, earth-search, demo or other; for ``other`` the assets' hosts are looked at, so
        that a saved copy of a provider's items is still signed and scaled as the provider's.
    access : used only where neither item nor asset names a CRS, and one file's header must be read.
    ancillary : by-products of the sensor to resolve as well, where the item has them.

    Raises
    ------
    UsageError
        for an unknown collection, no usable date, band or CRS.
    RadiometryError
        where digital numbers cannot be turned into reflectance with certainty.
    """
    collection = item.collection_id or ""
    sensor = sensor_of(collection)
    provider = provider_of(item) if provider == "other" else provider
    properties = item.properties
    baseline = _baseline(item)
    bands = {}
    for band in sensor.bands:
        asset = _find(item, band, sensor)
        if asset is not None:
            radiometry = resolve(provider, collection, properties, _raster_band(asset), baseline, scene_id=item.id)
            bands[band.name] = _band_asset(item, asset, radiometry.scale, radiometry.offset, radiometry.nodata)
    if not bands:
        raise UsageError(
            f"item {item.id} has none of the bands of {sensor.name}",
            got=", ".join(list(item.assets)[:12]),
            expected=", ".join(key for band in sensor.bands for key in band.assets),
        )
    for band in sensor.ancillary:
        asset = _find(item, band, sensor) if band.name in ancillary else None
        if asset is not None:
            # The reader stores 1e4 times what it decodes: with this scale a by-product stays the number that it is.
            bands[band.name] = _band_asset(item, asset, 1e-4, 0.0, 0)
    quality = next((item.assets[key] for key in sensor.mask.assets if key in item.assets), None)
    if quality is not None:
        bands[MASK] = _band_asset(item, quality, 1.0, 0.0, None)
    return Scene(
        id=item.id,
        collection=collection,
        provider=provider,
        sensor=sensor.name,
        platform=_platform(properties),
        datetime=acquired(item),
        crs=_crs(item, bands, provider, access),
        footprint=footprint(item),
        bands=bands,
        cloud_cover=_float(properties.get("eo:cloud_cover")),
        baseline=baseline,
        grid_tile=_grid_tile(item),
        orbit=_orbit(item),
    )


def provider_of(item: pystac.Item) -> str:
    """Whose files an item points at, by their hosts."""
    hosts = {urlsplit(asset.href).netloc.lower() for asset in item.assets.values()}
    if any(is_blob(f"https://{host}/") for host in hosts):
        return "planetary-computer"
    for name, needles in _PROVIDER_HOSTS:
        if any(host.startswith(needle) for host in hosts for needle in needles):
            return name
    return "other"


def acquired(item: pystac.Item) -> dt.datetime:
    """Acquisition time in UTC; the start of the range where an item has one instead."""
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        raise UsageError(f"item {item.id} has no datetime", expected="datetime or start_datetime")
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def footprint(item: pystac.Item) -> BaseGeometry:
    """Longitude/latitude geometry, made valid; the bbox where there is no geometry."""
    if item.geometry:
        geometry: BaseGeometry = to_geometry(item.geometry)
        valid: BaseGeometry = geometry if geometry.is_valid else make_valid(geometry)
        return valid
    if item.bbox and len(item.bbox) in {4, 6}:
        half = len(item.bbox) // 2
        corners: BaseGeometry = box(item.bbox[0], item.bbox[1], item.bbox[half], item.bbox[half + 1])
        return corners
    raise UsageError(f"item {item.id} has neither geometry nor bbox", expected="a footprint")


def _find(item: pystac.Item, band: Band, sensor: Sensor) -> pystac.Asset | None:
    """The band's asset by key, else the one asset that carries its common name."""
    for key in band.assets:
        if key in item.assets:
            return item.assets[key]
    names = {band.name} | {alias for alias, name in sensor.aliases.items() if name == band.name}
    named = [asset for asset in item.assets.values() if _common_names(asset) & names and _is_geotiff(asset)]
    return named[0] if len(named) == 1 else None


def _common_names(asset: pystac.Asset) -> set[str]:
    fields = asset.extra_fields
    entries = [*(fields.get("eo:bands") or ()), *(fields.get("bands") or ())]
    names = {entry.get("eo:common_name") or entry.get("common_name") for entry in entries if isinstance(entry, Mapping)}
    names.add(fields.get("eo:common_name"))
    # One asset with several bands (a true-colour image) is not the asset of any of them.
    return {name for name in names if name} if len(entries) <= 1 else set()


def _is_geotiff(asset: pystac.Asset) -> bool:
    kind = (asset.media_type or "").lower()
    return "tiff" in kind or (not kind and asset.href.lower().split("?")[0].endswith((".tif", ".tiff")))


def _raster_band(asset: pystac.Asset) -> Mapping[str, Any] | None:
    """First band's nodata, scale and offset, from ``raster:bands``, STAC 1.1 ``bands`` or the asset itself."""
    fields = asset.extra_fields
    for entry in (fields.get("raster:bands") or [None])[:1]:
        if isinstance(entry, Mapping):
            return entry
    merged: dict[str, Any] = {}
    sources = [fields, *[e for e in (fields.get("bands") or [])[:1] if isinstance(e, Mapping)]]
    for source in sources:
        for name in ("scale", "offset"):
            if source.get(f"raster:{name}") is not None:
                merged[name] = source[f"raster:{name}"]
        if source.get("nodata") is not None:
            merged["nodata"] = source["nodata"]
    return merged or None


def _band_asset(item: pystac.Item, asset: pystac.Asset, scale: float, offset: float, nodata: int | None) -> BandAsset:
    transform = _numbers(asset.extra_fields.get("proj:transform") or item.properties.get("proj:transform"))
    shape = _numbers(asset.extra_fields.get("proj:shape") or item.properties.get("proj:shape"))
    known = transform is not None and len(transform) in {6, 9} and shape is not None and len(shape) == 2
    return BandAsset(
        href=absolute_href(item, asset),
        scale=scale,
        offset=offset,
        nodata=nodata,
        transform=tuple(transform[:6]) if known and transform else None,  # type: ignore[arg-type]
        shape=(int(shape[0]), int(shape[1])) if known and shape else None,
    )


def absolute_href(item: pystac.Item, asset: pystac.Asset) -> str:
    """The asset's address: absolute, unsigned, readable; a local path for ``file://``."""
    href = asset.href
    if urlsplit(href).scheme not in READABLE:
        alternates = (asset.extra_fields.get("alternate") or {}).values()
        others = [a["href"] for a in alternates if urlsplit(a.get("href", "")).scheme in READABLE[:3]]
        href = others[0] if others else href
    if not urlsplit(href).scheme and not Path(href).is_absolute():
        base = item.get_self_href()
        if base is None:
            raise UsageError(
                f"item {item.id} has a relative href and no place of its own",
                got=href,
                expected="absolute hrefs, or an item with a self link",
            )
        href = resolve_href(base, href)
    parts = urlsplit(href)
    if parts.scheme == "file":
        href = unquote(parts.path)
    if not urlsplit(href).scheme:
        return str(Path(href).resolve())
    return unsigned(href)


def resolve_href(base: str, href: str) -> str:
    """``href`` as seen from the document at ``base``: a URL, an object-store address or a local path."""
    if urlsplit(href).scheme or Path(href).is_absolute():
        return href
    scheme, separator, rest = base.partition("://")
    if scheme in {"http", "https"}:
        return urljoin(base, href)
    if separator:
        bucket, _, key = rest.partition("/")
        return f"{scheme}://{bucket}/{posixpath.normpath(posixpath.join(posixpath.dirname(key), href)).lstrip('/')}"
    return str((Path(base).parent / href).resolve())


def _crs(item: pystac.Item, bands: Mapping[str, BandAsset], provider: str, access: Access | None) -> str:
    for fields in (item.properties, *(asset.extra_fields for asset in item.assets.values())):
        if fields.get("proj:code"):
            return str(fields["proj:code"])
        if fields.get("proj:epsg"):
            return f"EPSG:{int(fields['proj:epsg'])}"
    for fields in (item.properties, *(asset.extra_fields for asset in item.assets.values())):
        if fields.get("proj:wkt2"):
            return str(fields["proj:wkt2"])
    return _crs_of_header(item.id, next(iter(bands.values())).href, provider, access or Access.capture())


def _crs_of_header(item_id: str, href: str, provider: str, access: Access) -> str:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with access.restored(), rasterio.open(access.sign(href, provider)) as image:
            crs = image.crs
    except RasterioError as error:
        raise UsageError(
            f"item {item_id} names no CRS and its file could not be opened", got=href, expected="proj:code"
        ) from error
    if not crs:
        raise UsageError(f"item {item_id} names no CRS and neither does its file", got=href, expected="proj:code")
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _product_names(item: pystac.Item) -> tuple[str, ...]:
    names = (item.properties.get(key) for key in ("s2:product_uri", "sentinel:product_id", "s2:granule_id"))
    return (*(str(name) for name in names if name), item.id)


def _baseline(item: pystac.Item) -> str | None:
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        if item.properties.get(key):
            return str(item.properties[key])
    for name in _product_names(item):
        match = _PRODUCT_BASELINE.search(name)
        if match:
            return f"{match.group(1)}.{match.group(2)}"
    return None


def _grid_tile(item: pystac.Item) -> str | None:
    properties = item.properties
    if properties.get("s2:mgrs_tile"):
        return str(properties["s2:mgrs_tile"]).removeprefix("T")
    if properties.get("grid:code"):
        return str(properties["grid:code"]).split("-", 1)[-1]
    for prefix in ("mgrs", "sentinel"):
        parts = [properties.get(f"{prefix}:{name}") for name in ("utm_zone", "latitude_band", "grid_square")]
        if all(part is not None for part in parts):
            zone, latitude_band, square = (str(part) for part in parts)
            return f"{int(zone):02d}{latitude_band}{square}"
    path, row = properties.get("landsat:wrs_path"), properties.get("landsat:wrs_row")
    if path is not None and row is not None:
        return f"{int(path):03d}{int(row):03d}"
    for name in _product_names(item):
        match = _PRODUCT_TILE.search(name)
        if match:
            return match.group(1)
    return None


def _orbit(item: pystac.Item) -> int | None:
    value = item.properties.get("sat:relative_orbit")
    if value is not None:
        return int(value)
    for name in _product_names(item):
        match = _PRODUCT_ORBIT.search(name)
        if match:
            return int(match.group(1))
    return None


def _platform(properties: Mapping[str, Any]) -> str:
    name = properties.get("platform") or properties.get("constellation") or "unknown"
    return str(name).lower().replace("_", "-")


def _numbers(values: Any) -> tuple[float, ...] | None:
    try:
        return tuple(float(v) for v in values) if values is not None else None
    except (TypeError, ValueError):
        return None


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number == number else None  # noqa: PLR0124 - NaN
