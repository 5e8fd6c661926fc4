"""Reads over a loopback server that fails on command: causes, retries, and what is left in the result."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from minescale.config import ReadConfig
from minescale.sources import failures, handles, signing
from minescale.sources.access import Access
from minescale.sources.failures import backoff_s, classify, max_attempts
from minescale.sources.reader import BandRead, Reader
from tests.faults import FaultServer
from tests.sources.source_imagery import layer, scene_of, smooth, write_cog

BOX = GeoBox((100, 100), Affine(10, 0, 501_000, 0, -10, 699_000), "EPSG:32630")


@pytest.fixture
def data() -> np.ndarray:
    # Noise does not compress: the file is far larger than what an open fetches.
    return np.random.default_rng(3).integers(1, 9000, (512, 512)).astype(np.uint16)


@pytest.fixture
def server(tmp_path: Path, data: np.ndarray) -> Iterator[FaultServer]:
    write_cog(tmp_path / "a.tif", data)
    with FaultServer(tmp_path) as running:
        yield running


def read(server: FaultServer, *, retries: int = 4, timeout_s: float = 5.0, path: str = "a.tif") -> BandRead:
    config = ReadConfig(threads=2, retries=retries, backoff_s=0.02, timeout_s=timeout_s)
    return Reader(Access.capture(config), config).read([layer(scene_of(server.url(path)))], BOX, "red")


def good(result: BandRead, data: np.ndarray) -> bool:
    return not result.failures and bool((result.data[0] == data[100:200, 100:200]).all())


def test_healthy_read_fetches_ranges_only(server, data):
    assert good(read(server), data)
    size = (server.root / "a.tif").stat().st_size
    assert all(r.range or r.method == "HEAD" for r in server.log)
    assert sum(r.sent for r in server.log) < size / 2


def test_burst_of_503_is_outlasted(server, data):
    server.fail("/a.tif", status=503, times=3)
    assert good(read(server), data)
    assert server.count("/a.tif", status=503) >= 3


@pytest.mark.parametrize("status", [429, 503])
def test_burst_after_the_header_is_told_from_a_broken_file(server, data, status):
    """GDAL then says "not recognized as a supported file format", as it does for garbage."""
    server.fail("/a.tif", status=status, times=2, after=1)
    assert good(read(server), data)


def test_lasting_503_is_reported_as_throttled(server):
    server.fail("/a.tif", status=503)
    (failure,) = read(server, retries=2).failures
    assert (failure.cause, failure.attempts) == ("throttled", 3)
    assert (failure.scene_id, failure.band) == ("scene", "red")
    # Every attempt reached the server: GDAL's memory of failed opens is out of the way.
    assert server.count("/a.tif", status=503) >= 3


def test_404_is_dropped_at_once(server):
    (failure,) = read(server, path="nothing.tif").failures
    assert (failure.cause, failure.attempts) == ("not_found", 1)
    assert server.count("/nothing.tif") == 1


def test_missing_local_file(tmp_path):
    result = Reader().read([layer(scene_of(tmp_path / "no.tif"))], BOX, "red")
    assert result.failures[0].cause == "not_found"
    assert not result.data.any()


def test_lasting_403_is_forbidden_after_one_new_try(server):
    server.fail("/a.tif", status=403)
    (failure,) = read(server).failures
    assert (failure.cause, failure.attempts) == ("forbidden", 2)


def test_truncated_file_is_corrupt_after_one_retry(server):
    server.truncate("/a.tif", 120_000)
    (failure,) = read(server).failures
    assert (failure.cause, failure.attempts) == ("corrupt", 2)


def test_empty_file_is_corrupt(server):
    server.truncate("/a.tif", 0)
    (failure,) = read(server).failures
    assert failure.cause == "corrupt"


def test_local_garbage_is_corrupt(tmp_path):
    (tmp_path / "g.tif").write_bytes(b"II*\x00" + b"\x07" * 400)
    (failure,) = Reader().read([layer(scene_of(tmp_path / "g.tif"))], BOX, "red").failures
    assert failure.cause == "corrupt"


def test_slow_socket_is_given_up_and_tried_again(server, data):
    server.delay("/a.tif", seconds=1.5, times=1)
    begin = time.monotonic()
    assert good(read(server, timeout_s=0.5), data)
    assert time.monotonic() - begin < 10


def test_lasting_slowness_is_a_timeout(server):
    server.delay("/a.tif", seconds=1.2)
    (failure,) = read(server, timeout_s=0.3, retries=1).failures
    assert (failure.cause, failure.attempts) == ("timeout", 2)


def test_dead_server_is_unreachable():
    with FaultServer(".") as gone:
        url = gone.url("/a.tif")
    config = ReadConfig(retries=1, backoff_s=0.01, timeout_s=2)
    (failure,) = Reader(Access.capture(config), config).read([layer(scene_of(url))], BOX, "red").failures
    assert failure.cause == "unreachable"


def test_dropped_connections_are_retried(server, data):
    server.drop("/a.tif", times=2)
    assert good(read(server), data)


def test_healed_file_is_read_again_by_later_reads(server, data):
    server.fail("/a.tif", status=503)
    assert read(server, retries=0).failures
    server.heal()
    assert good(read(server, retries=0), data)


def test_one_bad_scene_leaves_the_others(server, data, tmp_path):
    other = scene_of(write_cog(tmp_path / "b.tif", data), name="other")
    bad = scene_of(server.url("gone.tif"), name="bad")
    config = ReadConfig(threads=2)
    result = Reader(Access.capture(config), config).read([layer(bad, other), layer(bad)], BOX, "red")
    np.testing.assert_array_equal(result.data[0], data[100:200, 100:200])
    assert not result.data[1].any()
    assert [f.scene_id for f in result.failures] == ["bad", "bad"]


def test_same_faults_same_result(server, data):
    """The number of attempts and the outcome follow from the faults alone."""
    outcomes = set()
    for _ in range(3):
        handles._broken.clear()
        server.fail("/a.tif", status=503, times=2)
        result = read(server)
        # Bytes do depend on who read in the end: GDAL reads whole blocks, the inflater as far as rows are needed.
        outcomes.add((result.requests, good(result, data)))
    assert len(outcomes) == 1


def test_gdal_still_remembers_failed_opens(server):
    """The trap that UNCACHED is for. If this fails, GDAL has changed and the retry path can be simpler."""
    server.fail("/a.tif", status=503, times=1)

    def attempts() -> int:
        with Access.capture(ReadConfig()).restored():
            for _ in range(3):
                with pytest.raises(rasterio.errors.RasterioIOError):
                    rasterio.open(server.url("a.tif"))
        return server.count("/a.tif")

    seen: list[int] = []
    worker = threading.Thread(target=lambda: seen.append(attempts()))
    worker.start()
    worker.join()
    assert seen == [1]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("HTTP response code: 404", "not_found"),
        ("HTTP response code: 403", "forbidden"),
        ("HTTP response code: 503", "throttled"),
        ("HTTP response code: 429", "throttled"),
        ("CURL error: Operation timed out after 1001 milliseconds", "timeout"),
        ("CURL error: Could not resolve host: nosuch.invalid", "unreachable"),
        ("TIFFReadEncodedTile() failed", "corrupt"),
        ("'x' not recognized as being in a supported file format.", "corrupt"),
        ("x.tif: No such file or directory", "not_found"),
        ("something new", "other"),
    ],
)
def test_texts_are_classified(text, cause):
    assert classify(OSError(text)) == cause
    outer = OSError("the read did not succeed")
    outer.__cause__ = OSError(text)
    assert classify(outer) == cause


def test_messages_carry_no_signature():
    error = OSError("'/vsicurl/https://x.blob.core.windows.net/a.tif?sig=SECRET&se=2' does not exist")
    assert "SECRET" not in failures.describe(error)


def test_waiting_grows_and_is_bounded():
    assert max_attempts("not_found", 4) == 1
    assert max_attempts("corrupt", 4) == 2
    assert max_attempts("throttled", 4) == 5
    waits = [backoff_s("throttled", n, 0.5) for n in range(1, 12)]
    assert all(0.25 * 2 ** (n - 1) <= w or w >= 15 for n, w in enumerate(waits, 1))
    assert max(waits) <= failures.MAX_BACKOFF_S
    assert backoff_s("forbidden", 1, 0.5) == 0


class _Tokens(BaseHTTPRequestHandler):
    """The Planetary Computer's token service: a new token at every call."""

    issued = 0
    life_s = 3600.0

    def do_GET(self) -> None:
        cls = type(self)
        cls.issued += 1
        expiry = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=cls.life_s)
        body = json.dumps({"msft:expiry": expiry.isoformat(), "token": f"sig=token{cls.issued}"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Tokens]]:
    from planetary_computer.settings import Settings

    handler = type("Tokens", (_Tokens,), {"issued": 0})
    service = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("PC_SDK_SAS_URL", f"http://127.0.0.1:{service.server_address[1]}/token")
    Settings.get.cache_clear()
    signing.forget_tokens()
    yield handler
    service.shutdown()
    service.server_close()
    Settings.get.cache_clear()
    signing.forget_tokens()


BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/a.tif"


def test_tokens_are_shared_and_renewed_only_when_refused(tokens):
    first = signing.sign(BLOB, "planetary-computer")
    assert first == f"{BLOB}?sig=token1"
    assert signing.sign(BLOB + "x", "planetary-computer").endswith("token1")
    assert tokens.issued == 1
    renewed = signing.sign(BLOB, "planetary-computer", refused=first)
    assert renewed.endswith("token2")
    # A second thread that met the same refusal gets the new token without another call.
    assert signing.sign(BLOB, "planetary-computer", refused=first) == renewed
    assert tokens.issued == 2


def test_token_near_its_end_is_replaced(tokens):
    tokens.life_s = 60.0
    signing.sign(BLOB, "planetary-computer")
    signing.sign(BLOB, "planetary-computer")
    assert tokens.issued == 2


def test_others_are_not_signed(tokens):
    assert signing.sign(BLOB, "earth-search") == BLOB
    assert signing.sign("https://example.org/a.tif", "planetary-computer") == "https://example.org/a.tif"
    assert tokens.issued == 0
    assert signing.unsigned(BLOB + "?st=1&sig=x") == BLOB
    assert signing.unsigned("https://example.org/a.tif?v=2") == "https://example.org/a.tif?v=2"


def test_reader_signs_again_after_403(server, data, tokens, monkeypatch):
    """The container's server refuses the first token; the reader gets a second one and reads on."""
    monkeypatch.setattr(signing, "is_blob", lambda href: True)
    server.require("/container/a.tif", "sig=token2")
    (server.root / "container").mkdir()
    (server.root / "a.tif").rename(server.root / "container/a.tif")
    config = ReadConfig(retries=4, backoff_s=0.01)
    scene = scene_of(server.url("container/a.tif"), provider="planetary-computer")
    result = Reader(Access.capture(config), config).read([layer(scene)], BOX, "red")
    assert good(result, data)
    assert tokens.issued == 2
    assert {r.query for r in server.log if r.status == 403} == {"sig=token1"}


def test_access_travels_without_showing_secrets(monkeypatch):
    name = "AWS_SECRET_ACCESS_KEY"
    monkeypatch.setenv(name, "hunter2")
    access = Access.capture()
    assert "hunter2" not in repr(access)
    assert name in repr(access)
    sent = pickle.loads(pickle.dumps(access))  # noqa: S301
    monkeypatch.delenv(name)
    sent.restore()
    assert os.environ[name] == "hunter2"
    # What an earlier run brought along follows the next run; what is the worker's own stays.
    Access(environment={name: "hunter3"}).restore()
    assert os.environ[name] == "hunter3"
    monkeypatch.setenv(name, "own")
    sent.restore()
    assert os.environ[name] == "own"


def test_captured_options_hold_for_the_block_only():
    from rasterio._env import get_gdal_config

    def inside() -> tuple[object, object]:
        with Access.capture(ReadConfig(timeout_s=12)).restored(uncached=True):
            return get_gdal_config("GDAL_HTTP_TIMEOUT"), get_gdal_config("CPL_VSIL_CURL_NON_CACHED")

    results: list[tuple[object, object]] = []
    worker = threading.Thread(target=lambda: results.append(inside()))
    worker.start()
    worker.join()
    assert str(results[0][0]) == "12"
    assert "/vsicurl/" in str(results[0][1])
    assert get_gdal_config("CPL_VSIL_CURL_NON_CACHED") is None


def test_smooth_field_has_no_nodata():
    """The other tests lean on it."""
    assert smooth((64, 64)).min() > 0
