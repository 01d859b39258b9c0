"""A mail server that falls for SMTP smuggling: any lone dot between any two ends of lines ends a mail.

Written from the tables of SEC Consult, "SMTP Smuggling" (2023-12-18), for the tests of what we send; `gateway.testing`
has a server for everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_END = rb"(?:\r\n|\n|\r|\xc2?\x85|\xe2\x80\xa8|\x0b|\x0c|\0)"
LINE_END = re.compile(_END)
FINAL_DOT = re.compile(rb"(?:^|" + _END + rb")\.[ \t\0]*" + _END)


@dataclass
class Letter:
    """What came between DATA and a dot that this server took for the last."""

    envelope: list[bytes]
    content: bytes


@dataclass
class LenientServer:
    """`commands`: all that it took for one, whoever meant it."""

    port: int = 0
    letters: list[Letter] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    two: asyncio.Event = field(default_factory=asyncio.Event)  # set when it took a second mail

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 lenient.example ESMTP\r\n")
        rest, envelope, reading = b"", list[bytes](), False
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                rest += piece
                rest, reading = self._take(rest, envelope, reading, writer)
        writer.close()

    def _take(
        self, rest: bytes, envelope: list[bytes], reading: bool, writer: asyncio.StreamWriter
    ) -> tuple[bytes, bool]:
        """Act on all that is there; what is left of it, and whether a mail is being read."""
        while True:
            # A CR at the end may be half of a CRLF: the other half may still come.
            whole = rest[:-1] if rest.endswith(b"\r") else rest
            found = (FINAL_DOT if reading else LINE_END).search(whole)
            if found is None:
                return rest, reading
            taken, rest = rest[: found.start()], rest[found.end() :]
            if reading:
                if self.letters:
                    self.two.set()
                self.letters.append(Letter(list(envelope), taken))
                envelope.clear()
                reading = False
                writer.write(b"250 2.0.0 Ok\r\n")
            else:
                reading = self._command(taken, envelope, writer)

    def _command(self, line: bytes, envelope: list[bytes], writer: asyncio.StreamWriter) -> bool:
        self.commands.append(line)
        verb = line[:4].upper()
        if verb == b"DATA":
            writer.write(b"354 Go on\r\n")
            return True
        if verb in (b"MAIL", b"RCPT"):
            envelope.append(line)
        answers = {
            b"EHLO": b"250-lenient.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8",
            b"QUIT": b"221 Bye",
        }
        writer.write(answers.get(verb, b"250 2.0.0 Ok") + b"\r\n")
        return False


@asynccontextmanager
async def lenient() -> AsyncIterator[LenientServer]:
    """One on loopback."""
    made = LenientServer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def speaking_to(port: int, seconds: float = 10.0) -> AsyncIterator[asyncio.StreamWriter]:
    """A raw connection, for whoever tests the server itself."""
    async with asyncio.timeout(seconds):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
