"""A provider that speaks HTTP as badly as one can, byte by byte: what an ordinary server does not let one do."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl

from tests.faults.sockets import read_by_the_other

GIGABYTE: Final = 1_000_000_000
PIECE: Final = b"x" * 64_000
TRICKLE_SECONDS: Final = 0.1  # between two bytes
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB_BYTES: Final = 50_000_000
ACCOUNT_SID: Final = "AC0123456789abcdef0123456789abcdef"
ACCOUNT: Final = json.dumps({"sid": ACCOUNT_SID, "status": "active", "type": "Full"}).encode()

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RoughProvider:
    """Listens on 127.0.0.1 while it is entered. The last two digits of a number say how it answers."""

    def __init__(self) -> None:
        self.port = 0
        self.elsewhere = 0  # requests that followed the redirect
        self.taken: list[str] = []
        self.longest_seconds = 0.0  # that a connection was kept after the request which was answered badly
        self.most_bytes = 0  # of one answer that the other side has read: of a body,
        self.most_head_bytes = 0  # and of a head
        self._servers: list[asyncio.Server] = []
        self._bomb = gzip.compress(b"0" * BOMB_BYTES)
        self._floods: dict[str, Behaviour] = {
            "a gigabyte": self._flood(OK + b"Content-Length: %d\r\n\r\n" % GIGABYTE, PIECE),
            "chunks without an end": self._flood(CHUNKED, b"%x\r\n%b\r\n" % (len(PIECE), PIECE)),
            "a body without an end": self._flood(OK + b"\r\n", PIECE),
            "a head without an end": self._flood(OK, b"X-Line: %b\r\n" % (b"x" * 1_000)),
        }
        self._behaviours: dict[str, Behaviour] = {
            "silence": self._silence,
            "a byte at a time": self._trickle,
            "reset in mid-body": self._reset,
            "HTML": self._bytes(OK + b"Content-Length: 15\r\n\r\n<html>Hi</html>"),
            "too short": self._bytes(OK + b'Content-Length: 500\r\n\r\n{"sid": "SM'),
            "too long": self._bytes(OK + b'Content-Length: 5\r\n\r\n{"sid": "SM00"}'),
            "two lengths": self._bytes(OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
            "a bad chunk": self._bytes(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
            "no HTTP": self._bytes(b"\x00\x7f 220 smtp.example ESMTP\r\n"),
            "a bomb": self._bytes_of_bomb,
            "a redirect": self._redirect,
            **self._floods,
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """The ways to misbehave; number `n` of them is for telephone numbers that end with `n`."""
        return tuple(self._behaviours)

    @property
    def floods(self) -> int:
        """How many of them, the last ones, say more than anybody wants to read."""
        return len(self._floods)

    async def __aenter__(self) -> Self:
        answering = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        redirected = await asyncio.start_server(self._followed, "127.0.0.1", 0)
        self._servers = [answering, redirected]
        self.port, self._other_port = (server.sockets[0].getsockname()[1] for server in self._servers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection can take another."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET "):  # whether it is well; it says so, whatever it does with messages
            writer.write(OK + b"Content-Length: %d\r\n\r\n%s" % (len(ACCOUNT), ACCOUNT))
            return True
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        form = dict(parse_qsl((await reader.readexactly(length)).decode()))
        number = int(form.get("To", "99")[-2:])
        if number >= len(self._behaviours):
            self.taken.append(form.get("To", ""))
            body = json.dumps({"sid": f"SM{len(self.taken):032x}", "status": "queued"}).encode()
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return True
        started = time.monotonic()
        try:
            await self._behaviours[self.kinds[number]](writer)
            while await reader.read(1_000):  # until the other side gives up
                pass
        finally:
            if self.kinds[number] not in self._floods:  # which last until their limit, however slow the machine
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
        return False

    async def _silence(self, writer: asyncio.StreamWriter) -> None:
        pass

    async def _trickle(self, writer: asyncio.StreamWriter) -> None:
        for byte in OK + b"Content-Length: 1000\r\n\r\n" + b" " * 1_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(TRICKLE_SECONDS)

    async def _reset(self, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b'Content-Length: 500\r\n\r\n{"sid": "SM')
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def _bytes(self, answer: bytes) -> Behaviour:
        async def answering(writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()
            writer.write_eof()

        return answering

    async def _bytes_of_bomb(self, writer: asyncio.StreamWriter) -> None:
        head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(self._bomb)
        await self._bytes(head + self._bomb)(writer)

    def _flood(self, head: bytes, piece: bytes) -> Behaviour:
        """A gigabyte in pieces, the next one only when the one before has been read: no buffer takes any beforehand."""

        async def flooding(writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            offered = 0
            try:
                while offered < GIGABYTE and await read_by_the_other(writer):
                    writer.write(piece)
                    offered += len(piece)  # the last one may have been read, in part at least
            finally:
                if head.endswith(b"\r\n\r\n"):
                    self.most_bytes = max(self.most_bytes, offered)
                else:
                    self.most_head_bytes = max(self.most_head_bytes, offered)

        return flooding

    async def _redirect(self, writer: asyncio.StreamWriter) -> None:
        where = f"http://127.0.0.1:{self._other_port}/elsewhere"
        await self._bytes(f"HTTP/1.1 307 Away\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())(writer)

    async def _followed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.elsewhere += 1
        writer.close()


class SilentTls:
    """Takes connections and says nothing: no handshake ever ends."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._wait, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    async def _wait(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            pass
        writer.close()
