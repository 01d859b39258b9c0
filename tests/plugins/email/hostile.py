"""A server on loopback that answers each command with whatever bytes a test gives it, in order or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

USUAL: Final = {
    "GREETING": "220 hostile.example\r\n",
    "EHLO": "250-hostile.example\r\n250 PIPELINING\r\n",
    "MAIL": "250 fine\r\n",
    "RCPT": "250 fine\r\n",
    "DATA": "354 go ahead\r\n",
    "DOT": "250 taken\r\n",
    "RSET": "250 fine\r\n",
    "QUIT": "221 bye\r\n",
}
CLOSE: Final = "close"
SILENCE: Final = ""  # from now on on this connection, but for what the test itself says


class HostileServer:
    """Answers as `answers` says: one for every time, or a list of which each is for one time, the last for the rest."""

    def __init__(self, answers: Mapping[str, str | list[str]]) -> None:
        self.forgetful = False  # of commands that come together only the first one is heard
        self.answers: dict[str, str | list[str]] = {**USUAL, **answers}
        self.port = 0
        self.writes: list[str] = []  # what clients wrote, as it came
        self.dialogues: list[Dialogue] = []
        self.changed = asyncio.Event()

    @property
    def commands(self) -> list[str]:
        """The first words of all commands, and "DOT" for each end of a text."""
        return [command for dialogue in self.dialogues for command in dialogue.commands]

    def next(self, command: str) -> str:
        found = self.answers.get(command, "500 what\r\n")
        if isinstance(found, str):
            return found
        return found.pop(0) if len(found) > 1 else found[0]

    async def seen(self, command: str, times: int = 1) -> None:
        """Return as soon as a command has come so often."""
        while self.commands.count(command) < times:
            self.changed.clear()
            await self.changed.wait()


class Dialogue(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: HostileServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._rest = ""
        self._in_text = False
        self._silent = False
        self.commands: list[str] = []
        self.open = True
        server.dialogues.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.say(self._server.next("GREETING"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._server.changed.set()

    def data_received(self, data: bytes) -> None:
        self._server.writes.append(data.decode())
        *lines, self._rest = (self._rest + data.decode()).split("\r\n")
        if self._server.forgetful and not self._in_text:
            del lines[1:]
        for line in lines:
            if self._in_text and line != ".":
                continue
            command = "DOT" if self._in_text else line[:4].upper()
            self._in_text = False
            self.commands.append(command)
            answer = self._server.next(command)
            self._in_text = answer.startswith("354")
            self._silent = self._silent or answer == SILENCE
            if not self._silent:
                self.say(answer)
        self._server.changed.set()

    def say(self, answer: str) -> None:
        assert self._transport is not None
        if answer == CLOSE:
            self._transport.abort()
        else:
            self._transport.write(answer.encode())


@asynccontextmanager
async def hostile(**answers: str | list[str]) -> AsyncIterator[HostileServer]:
    """Listens while it is entered. At its end every connection must have been closed by the other side."""
    server = HostileServer(answers)
    listening = await asyncio.get_running_loop().create_server(lambda: Dialogue(server), "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
        async with asyncio.timeout(10):
            while any(dialogue.open for dialogue in server.dialogues):
                server.changed.clear()
                await server.changed.wait()
