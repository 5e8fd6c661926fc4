"""A loopback file server that fails on command: HTTP ranges, scripted faults per path, a request log.

    with FaultServer(folder) as server:
        server.fail("/a.tif", status=503, times=2)   # the first two requests, then it recovers
        server.require("/b.tif", "sig=2")            # 403 until the query carries the new signature
        server.truncate("/c.tif", 5000)              # the file ends early, for good
        server.delay("/d.tif", seconds=3)            # slow socket
        server.drop("/e.tif", times=1)               # connection closed without an answer
        read(server.url("/a.tif"))
        assert server.count("/a.tif") == 3

Plain Python, no test framework; listens on 127.0.0.1 only.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    method: str
    path: str
    query: str
    range: str | None
    status: int
    """0 where the connection was dropped."""
    sent: int


@dataclass(slots=True)
class _Script:
    """What happens to the requests of one path."""

    status: int = 0
    """Answer with this status; 0 = close the connection without a word."""
    times: float = 0
    """So many requests are hit ..."""
    after: int = 0
    """... once this many have passed."""
    needs_query: str | None = None
    size_limit: int | None = None
    delay_s: float = 0.0
    delay_times: float = 0
    seen: int = field(default=0)


class FaultServer:
    """Serves the files under ``root``; every fault is counted per path, under one lock, so runs repeat."""

    def __init__(self, root: str | Path, *, latency_s: float = 0.0) -> None:
        self.root = Path(root).resolve()
        self.latency_s = latency_s
        self.log: list[LoggedRequest] = []
        self._scripts: dict[str, _Script] = {}
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"faults": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> FaultServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}/{path.lstrip('/')}"

    def fail(self, path: str, *, status: int = 503, times: float = float("inf"), after: int = 0) -> None:
        """Answer ``times`` requests with ``status``, beginning after ``after`` good ones."""
        script = self._script(path)
        script.status, script.times, script.after, script.seen = status, times, after, 0

    def drop(self, path: str, *, times: float = float("inf"), after: int = 0) -> None:
        """Close the connection without an answer."""
        self.fail(path, status=0, times=times, after=after)

    def require(self, path: str, query: str) -> None:
        """403 unless the query string contains ``query``."""
        self._script(path).needs_query = query

    def truncate(self, path: str, size: int) -> None:
        """Serve the file as if it were ``size`` bytes long; 0 = an empty file."""
        self._script(path).size_limit = size

    def delay(self, path: str, *, seconds: float, times: float = float("inf")) -> None:
        """Wait before answering."""
        script = self._script(path)
        script.delay_s, script.delay_times = seconds, times

    def heal(self, path: str | None = None) -> None:
        """Forget the faults of one path, or of all."""
        with self._lock:
            if path is None:
                self._scripts.clear()
            else:
                self._scripts.pop(_key(path), None)

    def count(self, path: str | None = None, *, status: int | None = None) -> int:
        """Requests seen, of one path and one status where given."""
        with self._lock:
            return sum(
                (path is None or r.path == _key(path)) and (status is None or r.status == status) for r in self.log
            )

    def _script(self, path: str) -> _Script:
        with self._lock:
            return self._scripts.setdefault(_key(path), _Script())

    def verdict(self, path: str, query: str) -> tuple[int | None, float, int | None]:
        """(status to fail with or None, seconds to wait, size limit) for one request."""
        with self._lock:
            script = self._scripts.get(_key(path))
            if script is None:
                return None, self.latency_s, None
            wait = self.latency_s
            if script.delay_times > 0:
                script.delay_times -= 1
                wait += script.delay_s
            script.seen += 1
            if script.seen > script.after and script.times > 0:
                script.times -= 1
                return script.status, wait, script.size_limit
            if script.needs_query is not None and script.needs_query not in query:
                return 403, wait, script.size_limit
            return None, wait, script.size_limit

    def record(self, request: LoggedRequest) -> None:
        with self._lock:
            self.log.append(request)


def _key(path: str) -> str:
    return "/" + unquote(path).lstrip("/")


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the drill; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: FaultServer

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The log is a list, not a stream."""

    def _answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        path = _key(parts.path)
        status, wait, limit = self.faults.verdict(path, parts.query)
        if wait:
            time.sleep(wait)
        if status == 0:
            self._log(path, parts.query, 0, 0)
            self.close_connection = True
            return
        file = (self.faults.root / path.lstrip("/")).resolve()
        if status is None and not (file.is_relative_to(self.faults.root) and file.is_file()):
            status = 404
        if status is not None:
            self._send(path, parts.query, status, b"", {}, body=body)
            return
        content = file.read_bytes()[:limit]
        span = _RANGE.match(self.headers.get("Range", ""))
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if not span:
            self._send(path, parts.query, 200, content, headers, body=body)
            return
        size = len(content)
        first, last = span.groups()
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            self._send(path, parts.query, 416, b"", {"Content-Range": f"bytes */{size}"}, body=body)
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._send(path, parts.query, 206, content[start:stop], headers, body=body)

    def _send(self, path: str, query: str, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self._log(path, query, status, len(content) if body else 0)
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client gave up waiting: that is what slow sockets are for

    def _log(self, path: str, query: str, status: int, sent: int) -> None:
        self.faults.record(
            LoggedRequest(
                method=self.command,
                path=path,
                query=query,
                range=self.headers.get("Range"),
                status=status,
                sent=sent,
            )
        )
