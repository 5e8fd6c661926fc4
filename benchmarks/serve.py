"""A folder over HTTP on loopback, with byte ranges and a delay before every answer, as an object store has.

    with Server(folder, delay_s=0.06) as server:
        server.url("catalog.json")

It runs in a process of its own, so that its CPU time is not taken for the reader's.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import urllib.parse
from multiprocessing.connection import Connection
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Server:
    def __init__(self, folder: Path, delay_s: float = 0.0) -> None:
        self.folder, self.delay_s = folder, delay_s

    def __enter__(self) -> Server:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self._process = context.Process(target=_run, args=(str(self.folder), self.delay_s, there), daemon=True)
        self._process.start()
        self.port = here.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


def _run(folder: str, delay_s: float, port: Connection) -> None:
    asyncio.run(_serve(Path(folder), delay_s, port))


async def _serve(folder: Path, delay_s: float, port: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                await asyncio.sleep(delay_s)
                await _send(folder, head, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _head(reader: asyncio.StreamReader) -> list[str]:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return []


async def _send(folder: Path, head: list[str], writer: asyncio.StreamWriter) -> None:
    method, target, _ = head[0].split(" ", 2)
    file = folder / urllib.parse.unquote(target.split("?")[0]).lstrip("/")
    if not file.is_file():
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return
    size = file.stat().st_size
    first, last, status = 0, size - 1, "200 OK"
    wanted = next((_RANGE.search(line) for line in head if line.lower().startswith("range:")), None)
    if wanted:
        first, last, status = int(wanted[1]), min(int(wanted[2] or last), last), "206 Partial Content"
    headers = [
        f"HTTP/1.1 {status}",
        "Accept-Ranges: bytes",
        f"Content-Length: {last - first + 1}",
        "Content-Type: application/octet-stream",
    ]
    if wanted:
        headers.append(f"Content-Range: bytes {first}-{last}/{size}")
    writer.write("\r\n".join([*headers, "", ""]).encode())
    if method != "HEAD":
        with file.open("rb") as content:
            loop = asyncio.get_running_loop()
            await writer.drain()
            await loop.sendfile(writer.transport, content, first, last - first + 1)
    await writer.drain()
