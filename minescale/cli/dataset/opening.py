"""How commands on a dataset find the set and its split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from minescale.labels.sets.dataset import Dataset
    from minescale.labels.sets.split import Split
    from minescale.labels.shapes.polygons import Polygons

F = TypeVar("F", bound=Callable[..., Any])


def split_option(function: F) -> F:
    """``--split``: which parts."""
    return click.option(
        "--split",
        "split_name",
        metavar="FILE|NAME",
        help="Split: a JSON file, or the name of one kept with the set; default: the one the set was published with.",
    )(function)


def open_both(path: str, split: str | None) -> tuple[Dataset, Split | None]:
    """The set at a path and its split; None where it has none and none was named.

    Raises
    ------
    UsageError
        where either is not there.
    """
    from minescale.labels.auditing.splitting import split_from_column
    from minescale.labels.formats.registry import open_dataset, open_split
    from minescale.labels.sets.folder_layout import read_split

    dataset = open_dataset(path)
    if split is not None:
        return dataset, read_json(Path(split)) if Path(split).is_file() else read_split(path, split)
    published = open_split(path)
    if published is None and "split" in dataset.samples and dataset.samples["split"].notna().any():
        published = split_from_column(dataset)
    return dataset, published


def read_json(path: Path) -> Split:
    """A split from its JSON file.

    Raises
    ------
    UsageError
        where it holds none.
    """
    from minescale.errors import UsageError
    from minescale.labels.sets.split import Split

    try:
        return Split.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"cannot read a split from {path}", got=error, expected="the JSON that dataset split writes"
        ) from error


def need_split(split: Split | None) -> Split:
    """The split.

    Raises
    ------
    UsageError
        where there is none.
    """
    from minescale.errors import UsageError

    if split is None:
        raise UsageError("the set came without a split", fix="minescale dataset split, then --split FILE")
    return split


def read_shapes(path: str | None) -> Polygons | None:
    """Polygons of a file; None where no file is named."""
    from minescale.labels.shapes.vectors import read_polygons

    return None if path is None else read_polygons(path)


def write_new(texts: Mapping[str, str], *, overwrite: bool) -> None:
    """Write text files, each whole or not at all, and none where one of them may not be replaced.

    Parameters
    ----------
    texts : content by path.

    Raises
    ------
    UsageError
        where one exists and may not be replaced.
    StoreError
        where one cannot be written.
    """
    from minescale.errors import StoreError, UsageError
    from minescale.labels.sets.folder_layout import replace_text

    for path in texts:
        if Path(path).exists() and not overwrite:
            raise UsageError(f"{path} exists", fix="another file name, or --overwrite")
    for path, text in texts.items():
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            replace_text(Path(path), text)
        except OSError as error:
            raise StoreError(f"cannot write {path}", got=error, fix="a writable folder") from error
