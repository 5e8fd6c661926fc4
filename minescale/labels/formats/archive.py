"""A folder as one ``.tar.gz`` whose bytes depend on the files' names and contents alone."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path

from minescale.errors import UsageError
from minescale.labels.sets.whole import whole

LEVEL = 6
"""Of deflate; part of what the bytes depend on."""


def pack(folder: str | Path, out: str | Path, *, overwrite: bool = False) -> str:
    """Write the files below ``folder`` to ``out`` and return its SHA-256 in hexadecimal.

    Names are sorted; times, owners and access rights are the same for all; gzip's header has neither a name nor a
    time. The archive is streamed: memory does not grow with the folder.

    Raises
    ------
    UsageError
        where the folder is empty or holds links, or ``out`` exists.
    """
    source, target = Path(folder), Path(out)
    files = sorted((p for p in source.rglob("*") if not p.is_dir()), key=lambda p: p.relative_to(source).parts)
    strange = [str(p.relative_to(source)) for p in files if p.is_symlink() or not p.is_file()]
    if strange:
        raise UsageError("folder holds more than plain files", got=strange[:5], expected="no links, no devices")
    if not files:
        raise UsageError("nothing to pack", got=str(source), expected="a folder with files")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists", fix="another file name, or overwrite")
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target) as partial:
        with (
            partial.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in files:
                entry = tarfile.TarInfo(path.relative_to(source).as_posix())
                entry.size = path.stat().st_size
                entry.mode = 0o644
                with path.open("rb") as content:
                    tar.addfile(entry, content)
        return sha256(partial)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
