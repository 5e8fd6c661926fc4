"""How workers reach the data: GDAL's options, and the credentials the client had.

Captured once on the client, shipped with the work, restored on the worker. ``sign`` makes signatures at read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from minescale.config import ReadConfig
from minescale.sources.signing import sign

__all__ = ["UNCACHED", "Access", "gdal_options", "sign"]

ENV_PREFIXES = ("AWS_", "AZURE_", "GDAL_", "GOOGLE_", "GS_", "CPL_", "VSI_", "PC_SDK_")
"""Environment variables that decide how object stores are reached."""

UNCACHED: Mapping[str, str] = {
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/{name}/" for name in ("vsicurl", "vsis3", "vsigs", "vsiaz", "vsiadls"))
}
"""GDAL option for retries: without it a failed open is remembered, and the retry makes no request at all."""

_restored: dict[str, str] = {}
_cache_limit: dict[str, tuple[int, int | None]] = {}
_lock = threading.Lock()
_held = threading.local()


def gdal_options(config: ReadConfig) -> dict[str, str]:
    """GDAL options for windowed reads of remote COGs."""
    return {
        # A COG's neighbours are never needed; listing them is a request per open, and is often forbidden.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        # One request brings a COG's header with the tables of its overviews.
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIPLEX": "YES",
        "GDAL_HTTP_VERSION": "2TLS",
        "GDAL_HTTP_TIMEOUT": f"{config.timeout_s:g}",
        "GDAL_HTTP_CONNECTTIMEOUT": f"{min(config.timeout_s, 10.0):g}",
        # Retries belong to the reader, which knows the cause: GDAL's own would sleep through a 403.
        "GDAL_HTTP_MAX_RETRY": "0",
        "CPL_VSIL_CURL_CACHE_SIZE": str(32 * 2**20),
        # A second cache per open file would cost memory per handle and bring nothing: windows are read once.
        "VSI_CACHE": "FALSE",
    }


@dataclass(frozen=True, kw_only=True)
class Access:
    """A picklable bundle of GDAL options and credentials. Its repr shows names, never values."""

    options: Mapping[str, str] = field(default_factory=dict)
    """GDAL options, by name."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables, credentials among them."""
    cache_mb: int | None = None
    """GDAL's block cache per process; None leaves GDAL's own choice."""

    @classmethod
    def capture(cls, config: ReadConfig | None = None) -> Access:
        """What this process has now. A GDAL option set in the environment wins over our default."""
        config = config or ReadConfig()
        environment = {name: value for name, value in sorted(os.environ.items()) if name.startswith(ENV_PREFIXES)}
        options = {k: v for k, v in gdal_options(config).items() if k not in environment}
        return cls(
            options=options,
            environment=environment,
            cache_mb=None if "GDAL_CACHEMAX" in environment else config.cache_mb,
        )

    def restore(self) -> None:
        """Set the captured variables in this process.

        A variable the worker has of its own stays: a rotated or machine-bound credential there is better than
        the client's copy. One that an earlier run brought along is brought up to date.
        """
        with _lock:
            for name, value in self.environment.items():
                if name not in os.environ or os.environ[name] == _restored.get(name):
                    os.environ[name] = value
                    _restored[name] = value

    def hold(self) -> None:
        """Keep this thread's GDAL settings from now on: entering and leaving them around each read costs as much as
        opening a file. For threads that do nothing but read.
        """
        if getattr(_held, "access", None) is self:
            return
        import rasterio
        from rasterio.session import DummySession

        self.restore()
        _limit_cache(self.cache_mb)
        previous = getattr(_held, "environment", None)
        if previous is not None:
            previous.__exit__(None, None, None)
        _held.environment = rasterio.Env(session=DummySession(), **self.options)
        _held.environment.__enter__()
        _held.access = self

    @contextmanager
    def restored(self, *, uncached: bool = False) -> Iterator[None]:
        """This thread's GDAL settings for the time of the block; ``uncached`` for retries."""
        import rasterio
        from rasterio.session import DummySession

        self.restore()
        _limit_cache(self.cache_mb)
        # The dummy session keeps rasterio from loading cloud SDKs: GDAL reads the same variables itself.
        with rasterio.Env(session=DummySession(), **{**self.options, **(UNCACHED if uncached else {})}):
            yield

    def sign(self, href: str, provider: str, *, refused: str | None = None) -> str:
        """See :func:`minescale.sources.signing.sign`."""
        self.restore()
        return sign(href, provider, refused=refused)

    def __repr__(self) -> str:
        return f"Access(options={sorted(self.options)}, environment={sorted(self.environment)})"


def _limit_cache(megabytes: int | None) -> None:
    """Set GDAL's block cache, which is one per process, once per process and size."""
    key = (os.getpid(), megabytes)
    if megabytes is None or _cache_limit.get("now") == key:
        return
    with _lock:
        if _cache_limit.get("now") == key:
            return
        # rasterio resets the size at the end of an Env; an Env that is never left, on a thread of its own, holds it.
        holder = threading.Thread(target=_enter_cache_env, args=(min(megabytes, 2047) * 2**20,))
        holder.start()
        holder.join()
        _cache_limit["now"] = key


def _enter_cache_env(size: int) -> None:
    import rasterio
    from rasterio.session import DummySession

    rasterio.Env(session=DummySession(), GDAL_CACHEMAX=size).__enter__()
