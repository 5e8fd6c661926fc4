"""ZIP archives from strangers: unpacked only where they are whole and do not swell beyond reason."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from minescale.errors import UsageError

MAX_BYTES = 1 << 30
"""Unpacked size of an archive; global mining inventories take a tenth of it."""
MAX_RATIO = 250
"""Unpacked size over packed size from which on an archive is a bomb; coordinates as text pack about 10 to 1."""
_SMALL = 1 << 22
"""Below 4 MiB no ratio is dangerous."""


def check_archive(path: Path) -> list[str]:
    """Names in a ZIP archive whose sizes, as it states them, are harmless.

    Raises
    ------
    UsageError
        for a broken archive, or one that would unpack to more than `MAX_BYTES` or `MAX_RATIO`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError) as error:
        raise _broken(path, error) from error
    size = sum(member.file_size for member in members)
    packed = max(sum(member.compress_size for member in members), 1)
    if size > MAX_BYTES or (size > _SMALL and size / packed > MAX_RATIO):
        raise UsageError(
            f"{path.name} unpacks to more than a set of polygons may take",
            got=f"{size / 1e6:.0f} MB from {packed / 1e6:.3f} MB",
            expected=f"at most {MAX_BYTES / 1e6:.0f} MB and {MAX_RATIO} times its size",
            fix="unpack it yourself if you trust it",
        )
    return [member.filename for member in members]


def read_member(path: Path, name: str) -> bytes:
    """One file of an archive, after `check_archive`.

    Raises
    ------
    UsageError
        where it is broken, encrypted, or larger than the archive stated.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            content = member.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise _broken(path, error) from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path.name} unpacks to more than it says", expected=f"at most {MAX_BYTES} bytes")
    return content


def _broken(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path.name} is no whole archive", got=error, expected="a ZIP file", fix="download it again")
