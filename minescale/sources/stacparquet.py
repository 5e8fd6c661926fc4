"""stac-geoparquet files: filtered by column before a single item is made, row group by row group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pystac
from numpy.typing import NDArray

from minescale.errors import RemoteUnreachable, UsageError
from minescale.sources.items import resolve_href
from minescale.sources.selection import Selection, parse_time

_NEEDED = ("id", "collection", "assets")


def search_parquet(path: str, selection: Selection) -> list[pystac.Item]:
    """Items of a stac-geoparquet file (local path or fsspec URL) that match.

    Raises
    ------
    UsageError
        where the file does not exist or is no stac-geoparquet.
    RemoteUnreachable
        where the store does not answer.
    """
    from stac_geoparquet.arrow import stac_table_to_items

    items = []
    with _Opened(path) as file:
        names = file.schema_arrow.names
        filters = [n for n in ("collection", "datetime", "start_datetime", "end_datetime", "bbox") if n in names]
        filters += [c.name for c in selection.conditions if c.name in names]
        filters += ["geometry"] if "bbox" not in names else []
        for group in range(file.num_row_groups):
            keep = _mask(file.read_row_group(group, columns=filters), selection)
            if not keep.any():
                continue
            table = file.read_row_group(group).take(np.flatnonzero(keep))
            for node in stac_table_to_items(table):
                document = _clean(dict(node))
                if selection.matches(document):
                    items.append(_item(document, path))
    return items


def collections_of(path: str) -> tuple[str, ...]:
    """Collection ids in a stac-geoparquet file."""
    with _Opened(path) as file:
        column = file.read(columns=["collection"]).column(0)
        return tuple(sorted(str(v) for v in column.unique().to_pylist() if v))


class _Opened:
    """The file, checked to be what we can read; closed at the end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle: Any = None

    def __enter__(self) -> Any:
        import fsspec
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._handle = fsspec.open(self._path, "rb").open()
            file = pq.ParquetFile(self._handle)
        except FileNotFoundError as error:
            raise UsageError("catalogue does not exist", got=self._path, expected="a stac-geoparquet file") from error
        except pa.ArrowInvalid as error:
            raise UsageError("catalogue is not Parquet", got=f"{self._path}: {error}") from error
        except OSError as error:
            raise RemoteUnreachable("catalogue could not be read", got=f"{self._path}: {error}") from error
        missing = [name for name in _NEEDED if name not in file.schema_arrow.names]
        if missing:
            raise UsageError(
                "Parquet file is no stac-geoparquet", got=f"{self._path} without {', '.join(missing)}", expected=_NEEDED
            )
        return file

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.close()


def _mask(table: Any, selection: Selection) -> NDArray[np.bool_]:
    """Rows that may match: everything but the exact geometry."""
    import pyarrow.compute as pc

    keep = pc.is_in(table["collection"], value_set=_strings(selection.collections)).to_numpy(zero_copy_only=False)
    keep = keep.astype(bool) & _in_period(table, selection)
    for condition in selection.conditions:
        if condition.name in table.column_names and keep.any():
            values = table[condition.name].to_pylist()
            keep &= np.fromiter((condition.test(v) for v in values), bool, len(values))
    if keep.any():
        keep &= _in_area(table, selection)
    mask: NDArray[np.bool_] = keep
    return mask


def _in_period(table: Any, selection: Selection) -> NDArray[np.bool_]:
    names = table.column_names
    moment = _times(table["datetime"]) if "datetime" in names else np.full(len(table), np.nan)
    start = np.where(np.isnan(moment) & _has(names, "start_datetime"), _optional(table, "start_datetime"), moment)
    end = np.where(np.isnan(moment) & _has(names, "end_datetime"), _optional(table, "end_datetime"), moment)
    end = np.where(np.isnan(end), start, end)
    return (start <= selection.period.end.timestamp()) & (end >= selection.period.start.timestamp())


def _has(names: list[str], name: str) -> bool:
    return name in names


def _optional(table: Any, name: str) -> NDArray[np.float64]:
    return _times(table[name]) if name in table.column_names else np.full(len(table), np.nan)


def _times(column: Any) -> NDArray[np.float64]:
    """Seconds since the epoch, NaN where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        micros = pc.cast(pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=False), pa.int64())
        seconds: NDArray[np.float64] = pc.cast(micros, pa.float64()).to_numpy(zero_copy_only=False) / 1e6
        return seconds
    parsed = (parse_time(v) for v in column.to_pylist())
    return np.array([np.nan if t is None else t.timestamp() for t in parsed], np.float64)


def _in_area(table: Any, selection: Selection) -> NDArray[np.bool_]:
    import shapely

    if "bbox" in table.column_names:
        west, south, east, north = _box_columns(table["bbox"].combine_chunks())
        wraps = west > east
        boxes = shapely.box(np.where(wraps, -180.0, west), south, np.where(wraps, 180.0, east), north)
        return np.asarray(shapely.intersects(selection.area, boxes))
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    return np.asarray(shapely.intersects(selection.area, shapes))


def _box_columns(column: Any) -> tuple[NDArray[np.float64], ...]:
    import pyarrow as pa

    if pa.types.is_struct(column.type):
        fields = ("xmin", "ymin", "xmax", "ymax")
        return tuple(column.field(f).to_numpy(zero_copy_only=False).astype(float) for f in fields)
    rows = [v if v is not None else [np.nan] * 4 for v in column.to_pylist()]
    corners = [(v[0], v[1], v[len(v) // 2], v[len(v) // 2 + 1]) for v in rows]
    return tuple(np.array(corners, np.float64).T)


def _strings(values: tuple[str, ...]) -> Any:
    import pyarrow as pa

    return pa.array(list(values), pa.string())


def _clean(document: dict[str, Any]) -> dict[str, Any]:
    """Columns exist for every item of a file; a null means that this item does not have the field."""
    document["assets"] = {
        key: _without_nulls(asset) for key, asset in (document.get("assets") or {}).items() if asset is not None
    }
    document["links"] = [_without_nulls(link) for link in document.get("links") or ()]
    properties = document.get("properties") or {}
    document["properties"] = {k: v for k, v in properties.items() if v is not None or k == "datetime"}
    document["properties"].setdefault("datetime", None)
    return document


def _without_nulls(values: Any) -> Any:
    if isinstance(values, dict):
        return {k: _without_nulls(v) for k, v in values.items() if v is not None}
    if isinstance(values, list):
        return [_without_nulls(v) for v in values]
    return values


def _item(document: dict[str, Any], path: str) -> pystac.Item:
    for asset in document["assets"].values():
        if "href" in asset:
            asset["href"] = resolve_href(path, asset["href"])
    return pystac.Item.from_dict(document, preserve_dict=False)
