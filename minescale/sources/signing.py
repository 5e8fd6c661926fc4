"""Signatures, made when a file is read: Planetary Computer's expire within the hour.

One token per storage container and process, refreshed when it nears its end, or at once when a server has
refused it. Everything that is not a Planetary Computer blob is returned as it came.
"""

from __future__ import annotations

import threading
import time
from urllib.parse import urlsplit, urlunsplit

from minescale.errors import RemoteUnreachable

PLANETARY_COMPUTER = "planetary-computer"
BLOB_DOMAIN = ".blob.core.windows.net"
PUBLIC_ACCOUNTS = frozenset({"ai4edatasetspublicassets"})

SLACK_S = 300.0
"""A token that ends within this time is renewed, so that no read outlives its signature."""

_lock = threading.Lock()
_container_locks: dict[tuple[str, str], threading.Lock] = {}
_tokens: dict[tuple[str, str], tuple[str, float]] = {}
"""(account, container) -> (query string, expiry in seconds since the epoch)."""


def sign(href: str, provider: str, *, refused: str | None = None) -> str:
    """The address to open now.

    Parameters
    ----------
    href : absolute and unsigned.
    provider : ``Scene.provider``; only ``planetary-computer`` signs.
    refused : a signed address that a server has just refused. Its token is not used again; of many threads
        that meet the same refusal only one fetches a new token.

    Raises
    ------
    RemoteUnreachable
        if the token service does not answer.
    """
    if provider != PLANETARY_COMPUTER or not is_blob(href):
        return href
    parts = urlsplit(href)
    account = parts.netloc.split(".", 1)[0]
    container = parts.path.lstrip("/").split("/", 1)[0]
    token = _token(account, container, urlsplit(refused).query if refused else None)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, token, ""))


def is_blob(href: str) -> bool:
    """Whether an address is an Azure blob that needs a signature."""
    host = urlsplit(href).hostname or ""
    return host.endswith(BLOB_DOMAIN) and host.split(".", 1)[0] not in PUBLIC_ACCOUNTS


def unsigned(href: str) -> str:
    """The address without its signature; other query strings are kept, they may name the file."""
    if not is_blob(href):
        return href
    parts = urlsplit(href)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def forget_tokens() -> None:
    """Drop every cached token of this process."""
    with _lock:
        _tokens.clear()


def _token(account: str, container: str, refused: str | None) -> str:
    key = (account, container)
    with _lock:
        gate = _container_locks.setdefault(key, threading.Lock())
    with gate:
        known = _tokens.get(key)
        if known is not None and known[0] != refused and known[1] - time.time() > SLACK_S:
            return known[0]
        _tokens[key] = _fetch(account, container)
        return _tokens[key][0]


def _fetch(account: str, container: str) -> tuple[str, float]:
    import requests
    from planetary_computer import sas
    from planetary_computer.settings import Settings

    # The SDK caches too, until the last minute and even after a refusal: make it ask.
    url = f"{Settings.get().sas_url}/{account}/{container}"
    sas.TOKEN_CACHE.pop(url, None)
    try:
        token = sas.get_token(account, container, retry_total=5)
    except requests.RequestException as error:
        raise RemoteUnreachable(
            "token service of the Planetary Computer did not answer",
            got=f"{url}: {type(error).__name__}",
            expected="a signature for the storage container",
            fix="try again later, or set PC_SDK_SUBSCRIPTION_KEY for a higher rate",
        ) from error
    return token.token, token.expiry.timestamp()
