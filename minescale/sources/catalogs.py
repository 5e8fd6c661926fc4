"""Search a catalogue once: STAC API, static STAC catalogue or stac-geoparquet, behind one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pystac

from minescale.errors import NothingMatched, RemoteUnreachable, UsageError
from minescale.sensors import SENSORS, SENTINEL2_L2A, sensor_of
from minescale.sources import http, stacparquet, static
from minescale.sources.query import api_query, parse_query
from minescale.sources.selection import Selection
from minescale.types import BBox, Period

PAGE_SIZE = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A public STAC API under a short name."""

    url: str
    collection: str
    """Searched where the user names none."""


PRESETS: dict[str, Preset] = {
    "planetary-computer": Preset(
        url="https://planetarycomputer.microsoft.com/api/stac/v1", collection=SENTINEL2_L2A.collections[0]
    ),
    "earth-search": Preset(url="https://earth-search.aws.element84.com/v1", collection=SENTINEL2_L2A.collections[0]),
}
_HOSTS = {urlsplit(preset.url).netloc: name for name, preset in PRESETS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found."""

    items: list[pystac.Item]
    """Deduplicated by collection and id, in the order of (datetime, id)."""
    provider: str
    """planetary-computer, earth-search or other."""
    searched: str
    """The request in words, for reports and messages."""


def search(
    catalog: str,
    *,
    collections: Sequence[str] = (),
    bbox: BBox,
    period: Period,
    query: Sequence[str] = (),
) -> SearchResult:
    """Find the items of an area and a period.

    Parameters
    ----------
    catalog : ``planetary-computer``, ``earth-search``, the URL of a STAC API, the path or URL of a static
        ``catalog.json`` or ``collection.json`` (or its folder), or a stac-geoparquet file (``*.parquet``).
    collections : collection ids; default: the preset's own, or those a static catalogue has and minescale knows.
    query : conditions on item properties, such as ``eo:cloud_cover<40``.

    Raises
    ------
    UsageError
        for an unknown catalogue, collection or condition.
    NothingMatched
        where the catalogue answered and nothing fits.
    RemoteUnreachable
        where it did not answer.
    """
    for name in collections:
        sensor_of(name)
    kind, address = _resolve(catalog)
    wanted = tuple(collections) or _default_collections(catalog, kind)
    selection = Selection(bbox=bbox, period=period, collections=wanted, conditions=parse_query(query))
    backends: dict[str, Callable[[str, Selection], Iterable[pystac.Item]]] = {
        "api": _search_api,
        "static": static.search_static,
        "parquet": stacparquet.search_parquet,
    }
    found = {(item.collection_id or "", item.id): item for item in backends[kind](address, selection)}
    if not collections and kind != "api":
        found = _one_sensor(found) or _refuse_unknown(kind, address)
    searched = f"{catalog}, collections {', '.join(wanted)}, bbox {bbox}, period {period}" + (
        f", query {' and '.join(query)}" if query else ""
    )
    if not found:
        raise NothingMatched(
            "no scene matched", got=searched, expected="at least one scene", fix=_hint(bbox, bool(query))
        )
    items = sorted(found.values(), key=lambda item: (_when(item), item.id))
    return SearchResult(items=items, provider=_provider(catalog, address), searched=searched)


def _resolve(catalog: str) -> tuple[str, str]:
    """(kind, address) of a catalogue as the user wrote it."""
    if catalog in PRESETS:
        return "api", PRESETS[catalog].url
    scheme = urlsplit(catalog).scheme
    path = urlsplit(catalog).path if scheme else catalog
    if path.endswith((".parquet", ".geoparquet")):
        return "parquet", catalog if scheme else str(Path(catalog).resolve())
    if path.endswith((".json", ".geojson")):
        return "static", catalog if scheme else str(Path(catalog).resolve())
    if scheme in {"http", "https"}:
        landing = http.get_json(catalog)
        searches = any(link.get("rel") == "search" for link in landing.get("links", ()))
        return ("api" if searches or "conformsTo" in landing else "static"), catalog
    folder = Path(catalog)
    for name in ("catalog.json", "collection.json"):
        if (folder / name).is_file():
            return "static", str((folder / name).resolve())
    raise UsageError(
        "catalogue is not understood",
        got=catalog,
        expected=f"{', '.join(PRESETS)}, the URL of a STAC API, a catalog.json or a *.parquet file",
    )


_Found = dict[tuple[str, str], pystac.Item]


def _default_collections(catalog: str, kind: str) -> tuple[str, ...]:
    if catalog in PRESETS:
        return (PRESETS[catalog].collection,)
    if kind == "api":
        return (SENTINEL2_L2A.collections[0],)
    return tuple(c for sensor in SENSORS.values() for c in sensor.collections)


def _one_sensor(found: _Found) -> _Found:
    """Two sensors do not share a mosaic: of several, the finer one is the default."""
    sentinel = {key: item for key, item in found.items() if key[0] in SENTINEL2_L2A.collections}
    return sentinel or found


def _refuse_unknown(kind: str, address: str) -> _Found:
    """Nothing was found: an error where the catalogue holds no collection we know, else an empty answer."""
    present = static.collections_of(address) if kind == "static" else stacparquet.collections_of(address)
    known = [c for sensor in SENSORS.values() for c in sensor.collections]
    if present and not set(present) & set(known):
        raise UsageError(
            "catalogue has no collection minescale knows", got=", ".join(present), expected=", ".join(known)
        )
    return {}


def _search_api(url: str, selection: Selection) -> list[pystac.Item]:
    from pystac_client import Client
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO

    found: dict[str, dict[str, Any]] = {}
    try:
        client = Client.open(url, stac_io=StacApiIO(max_retries=http.retry_policy(), timeout=http.TIMEOUT_S))
        for part in selection.bbox.parts():
            answer = client.search(
                collections=list(selection.collections),
                bbox=part.as_tuple(),
                datetime=selection.period.isoformat(),
                query=api_query(selection.conditions) or None,
                limit=PAGE_SIZE,
            )
            for node in answer.items_as_dicts():
                # A page border can repeat an item, and so can the two halves of a box.
                found.setdefault(f"{node.get('collection')}/{node['id']}", node)
    except APIError as error:
        status = getattr(error, "status_code", None)
        if status in {400, 422}:
            raise UsageError("STAC API refused the search", got=f"{url}: {error}") from error
        cause = f"HTTP {status}: {error}" if status else str(error)
        raise RemoteUnreachable(
            "STAC API did not answer", got=f"{url}: {cause[:500]}", fix="check the address and the network, or retry"
        ) from error
    return [pystac.Item.from_dict(node, preserve_dict=False) for node in found.values()]


def _provider(catalog: str, address: str) -> str:
    if catalog in PRESETS:
        return catalog
    return _HOSTS.get(urlsplit(address).netloc, "other")


def _when(item: pystac.Item) -> str:
    moment = item.datetime or item.common_metadata.start_datetime
    return moment.isoformat() if moment else ""


def _hint(bbox: BBox, filtered: bool) -> str:
    swapped = f"{bbox.south:g} {bbox.west:g} {bbox.north:g} {bbox.east:g}"
    hints = ["a longer --datetime"]
    if filtered:
        hints.append("a wider --query")
    if abs(bbox.west) <= 90 and abs(bbox.east) <= 90:
        hints.append(f"--bbox {swapped}, if latitude came first")
    return ", ".join(hints)
