"""Static STAC catalogues: a tree of JSON files, local or over HTTP, walked and filtered here.

Items are filtered as JSON and only those that match become pystac items: making one takes far longer than
looking at it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pystac

from minescale.errors import RemoteUnreachable, UsageError
from minescale.sources.http import get_json
from minescale.sources.items import resolve_href
from minescale.sources.selection import Selection

_FETCHERS = 16
_BATCH = 512


def walk_items(root: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(address, JSON) of every item below a catalogue or collection, in the order of its links.

    Raises
    ------
    UsageError
        where a local file is missing or is no STAC JSON.
    RemoteUnreachable
        where a server does not answer.
    """
    seen = set()
    queue = [root]
    items: list[str] = []
    with ThreadPoolExecutor(_FETCHERS) as pool:
        while queue:
            address = queue.pop(0)
            if address in seen:
                continue
            seen.add(address)
            node = read_json(address)
            if node.get("type") == "Feature":
                yield address, node
                continue
            for link in node.get("links", ()):
                target = resolve_href(address, str(link.get("href", "")))
                if link.get("rel") == "child":
                    queue.append(target)
                elif link.get("rel") == "item" and target not in seen:
                    seen.add(target)
                    items.append(target)
            while items and (len(items) >= _BATCH or not queue):
                batch, items = items[:_BATCH], items[_BATCH:]
                remote = urlsplit(batch[0]).scheme in {"http", "https"}
                yield from zip(batch, (pool.map if remote else map)(read_json, batch), strict=True)


def search_static(root: str, selection: Selection) -> list[pystac.Item]:
    """Items of a static catalogue that match, with their own address as self link."""
    found = []
    for address, node in walk_items(root):
        if selection.matches(node):
            item = pystac.Item.from_dict(dict(node), href=address, preserve_dict=True)
            item.set_self_href(address)
            found.append(item)
    return found


def collections_of(root: str) -> tuple[str, ...]:
    """Collection ids that the items of a static catalogue name."""
    return tuple(sorted({str(node.get("collection")) for _, node in walk_items(root) if node.get("collection")}))


def read_json(address: str) -> dict[str, Any]:
    """One JSON document, from a path, an HTTP address or an object store."""
    scheme = urlsplit(address).scheme
    if scheme in {"http", "https"}:
        return get_json(address)
    try:
        if scheme in {"", "file"}:
            text = Path(urlsplit(address).path if scheme else address).read_text(encoding="utf-8")
        else:
            import fsspec

            with fsspec.open(address, "rt", encoding="utf-8") as file:
                text = file.read()
        document = json.loads(text)
    except FileNotFoundError as error:
        raise UsageError("catalogue does not exist", got=address, expected="catalog.json or collection.json") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError("catalogue is not JSON", got=f"{address}: {error}", expected="STAC JSON") from error
    except OSError as error:
        raise RemoteUnreachable("catalogue could not be read", got=f"{address}: {error}") from error
    if not isinstance(document, dict):
        raise UsageError("catalogue is not a JSON object", got=address, expected="STAC JSON")
    return document
