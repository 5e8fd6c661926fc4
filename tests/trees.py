"""Compare mosaics byte by byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

from minescale.store.ledger import VOLATILE


def mosaic_digests(mosaic: Path) -> dict[str, str]:
    """SHA-256 of every file of a mosaic but the ledger's columns that time and luck decide."""
    digests = {}
    for file in sorted(p for p in mosaic.rglob("*") if p.is_file()):
        name = str(file.relative_to(mosaic))
        parts = name.split("/")
        if parts[0] == "tiles" and len(parts) > 3 and parts[2] in VOLATILE:
            continue
        digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests
