"""Small HTTP requests to catalogues, with patience: retries with growing pauses, and a limit on waiting."""

from __future__ import annotations

import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from minescale.errors import RemoteUnreachable, UsageError

TIMEOUT_S = (10.0, 60.0)
"""Connect, and between two bytes of an answer."""
RETRIES = 5
TRANSIENT = (408, 429, 500, 502, 503, 504)

_local = threading.local()


def retry_policy() -> Retry:
    """Retry what is transient, POST searches too (they change nothing); give up on a dead host sooner."""
    return Retry(
        total=RETRIES,
        connect=2,
        backoff_factor=0.3,
        backoff_jitter=0.2,
        status_forcelist=TRANSIENT,
        allowed_methods=None,
        respect_retry_after_header=True,
    )


def get_json(url: str) -> dict[str, Any]:
    """The JSON object at ``url``.

    Raises
    ------
    RemoteUnreachable
        where the server does not answer or answers with an error.
    UsageError
        where there is nothing at the address, or no JSON object.
    """
    try:
        answer = _session().get(url, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise RemoteUnreachable(
            "catalogue did not answer", got=f"{url}: {error}", fix="check the address and the network"
        ) from error
    if answer.status_code == 404:
        raise UsageError("catalogue does not exist", got=url, expected="a STAC API or a static catalogue")
    if not answer.ok:
        raise RemoteUnreachable("catalogue answered with an error", got=f"{url}: HTTP {answer.status_code}")
    try:
        document = answer.json()
    except ValueError as error:
        raise UsageError("catalogue is not JSON", got=url, expected="STAC JSON") from error
    if not isinstance(document, dict):
        raise UsageError("catalogue is not a JSON object", got=url, expected="STAC JSON")
    return document


def _session() -> requests.Session:
    session = _local.__dict__.get("session")
    if session is None:
        session = requests.Session()
        for prefix in ("http://", "https://"):
            session.mount(prefix, HTTPAdapter(max_retries=retry_policy()))
        _local.session = session
    return session
