"""Bytes on a connection, as no client would write them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Answers:
    """Everything that came back on one connection."""

    raw: bytes

    @property
    def statuses(self) -> list[int]:
        """Of the answers, in their order."""
        return [int(piece.split(b" ", 2)[1]) for piece in self._pieces()]

    @property
    def heads(self) -> list[bytes]:
        return [piece.partition(b"\r\n\r\n")[0].lower() for piece in self._pieces()]

    def _pieces(self) -> Iterator[bytes]:
        for piece in self.raw.split(b"HTTP/1.")[1:]:
            yield b"HTTP/1." + piece


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def exchange(port: int, sent: bytes) -> Answers:
    """Send it, and read until the server hangs up."""
    async with connected(port) as (reader, writer), asyncio.timeout(ANSWER_SECONDS):
        writer.write(sent)
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                received += piece
        return Answers(bytes(received))


async def trickle(port: int, beginning: bytes, seconds: float) -> bytes:
    """Send `beginning`, then one octet every `seconds` until the server hangs up; what it said before."""
    async with connected(port) as (reader, writer):
        writer.write(beginning)
        answer = asyncio.create_task(reader.read(65_536))
        while not answer.done():
            writer.write(b"a")
            await asyncio.wait({answer}, timeout=seconds)
        return b"" if answer.exception() is not None else answer.result()
