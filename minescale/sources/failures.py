"""What can go wrong with one read, and what each cause deserves.

GDAL tells causes apart by the text of its errors only, and only once: it remembers a failed open, and the
second open of the same address fails without a request and with another text. So the first error decides, and
every retry runs outside GDAL's cache of failures (``minescale.sources.access.UNCACHED``).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

Cause = Literal["not_found", "forbidden", "throttled", "timeout", "unreachable", "corrupt", "other"]

MAX_BACKOFF_S = 30.0

_STATUS = re.compile(r"(?:HTTP response code|response_code|status code|HTTP error code)\D{0,4}(\d{3})", re.IGNORECASE)
_SECRETS = re.compile(r"\?[^\s'\")]+")
_TEXTS: tuple[tuple[Cause, tuple[str, ...]], ...] = (
    ("timeout", ("timed out", "timeout was reached", "operation too slow")),
    (
        "unreachable",
        (
            "could not resolve",
            "couldn't resolve",
            "failed to connect",
            "could not connect",
            "couldn't connect",
            "connection refused",
            "empty reply",
            "connection reset",
            "recv failure",
            "ssl",
        ),
    ),
    ("throttled", ("slowdown", "slow down", "server busy", "too many requests")),
    ("forbidden", ("accessdenied", "access denied", "authenticationfailed", "invalidaccesskeyid", "permission denied")),
    ("not_found", ("no such file", "does not exist", "nosuchkey", "blobnotfound", "specified key")),
    (
        "corrupt",
        (
            "not recognized as being in a supported",
            "not a tiff",
            "read failed",
            "ireadblock",
            "tifffilltile",
            "tiffreadencoded",
            "tiffreaddirectory",
            "decode",
            "decompress",
            "inflate",
            "zlib",
            "unexpected end of file",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFailure:
    """One band of one scene that could not be read; its pixels are left as nodata."""

    scene_id: str
    band: str
    href: str
    """Unsigned."""
    cause: Cause
    attempts: int
    message: str
    """The library's words, without signatures."""

    def __str__(self) -> str:
        return f"{self.scene_id} {self.band}: {self.cause} after {self.attempts} attempts ({self.message})"


def classify(error: BaseException) -> Cause:
    """The cause behind a GDAL error, from the texts of the whole chain of exceptions."""
    text = describe(error).lower()
    status = _STATUS.search(text)
    if status:
        return cause_of_status(int(status.group(1)))
    for cause, needles in _TEXTS:
        if any(needle in text for needle in needles):
            return cause
    return "other"


def cause_of_status(status: int) -> Cause:
    """What an HTTP status means for a read."""
    if status in {404, 410}:
        return "not_found"
    if status in {401, 403}:
        return "forbidden"
    if status in {408, 504}:
        return "timeout"
    if status == 429 or status >= 500:
        return "throttled"
    return "other"


def describe(error: BaseException) -> str:
    """The texts of an exception and its causes, each once, without query strings (they carry signatures)."""
    texts: list[str] = []
    cursor: BaseException | None = error
    while cursor is not None and len(texts) < 8:
        text = str(cursor).strip()
        if text and text not in texts:
            texts.append(text)
        cursor = cursor.__cause__ or cursor.__context__
    return _SECRETS.sub("", "; ".join(texts))


def ask_server(url: str, timeout_s: float) -> Cause:
    """Why a remote file that looked broken looked broken: one small request decides.

    GDAL reports a refused or dropped range request as "not recognized as a supported file format", the same
    words as for a truly broken file. ``corrupt`` means that the server answers properly.
    """
    import requests

    try:
        with requests.get(url, headers={"Range": "bytes=0-15"}, timeout=timeout_s, stream=True) as answer:
            return "corrupt" if answer.ok or answer.status_code == 416 else cause_of_status(answer.status_code)
    except requests.Timeout:
        return "timeout"
    except requests.RequestException:
        return "unreachable"


def max_attempts(cause: Cause, retries: int) -> int:
    """How often a read may be tried in all, given the cause of its last failure."""
    if cause == "not_found":
        return 1
    if cause in {"corrupt", "forbidden", "other"}:
        return min(2, retries + 1)
    return retries + 1


def backoff_s(cause: Cause, attempt: int, base_s: float) -> float:
    """Seconds to wait after failed attempt number ``attempt`` (from 1): exponential, with full jitter above half.

    A new signature or a second look at a broken file need no waiting.
    """
    if cause in {"forbidden", "corrupt", "other"}:
        return 0.0
    ceiling = min(base_s * 2.0 ** (attempt - 1), MAX_BACKOFF_S)
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret
