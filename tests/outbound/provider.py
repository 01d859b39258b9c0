"""A server of raw bytes on loopback: each connection is served by a function, and everything that came is kept."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECONDS_MAX = 10.0  # for anything that a test waits for


class Line:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[bytes]) -> None:
        self._reader = reader
        self._writer = writer
        self._requests = requests

    async def request(self) -> bytes:
        """The next request, with its body; b"" at the end of the connection."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            _, found, after = head.lower().partition(b"content-length: ")
            body = await self._reader.readexactly(int(after.partition(b"\r")[0])) if found else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        self._requests.append(head + body)
        return head + body

    async def head(self) -> None:
        """The head of the next request; its body stays where it is."""
        await self._reader.readuntil(b"\r\n\r\n")

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def reset(self) -> None:
        """End it as a process that dies with bytes unread does."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass


class Provider:
    """`async with Provider(serve) as provider: provider.url ...`. A connection ends when `serve` returns."""

    def __init__(self, serve: Callable[[Line], Awaitable[None]], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0  # ever made
        self.open = 0
        self.open_most = 0
        self.port = 0
        self._serve = serve
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}/x"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until connections or requests are as they should be."""
        async with asyncio.timeout(SECONDS_MAX):
            while not condition():  # noqa: ASYNC110 - the condition may be the client's, which tells nobody
                await asyncio.sleep(0.002)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        self.open += 1
        self.open_most = max(self.open, self.open_most)
        line = Line(reader, writer, self.requests)
        try:
            await self._serve(line)
        finally:
            self.open -= 1
            self._serving.discard(task)
            await line.close()


async def answer_all(line: Line) -> None:
    """Every request in good order, for as long as the client wants."""
    while await line.request():
        line.write(OK)
