"""What adapters hand to the HTTP client becomes one request with the headers that were meant, or none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.contract import NotSent
from gateway.outbound.client import HttpClient

TRICKS = (
    "\r\nX-Evil: 1", "\nX-Evil: 1", "\rX-Evil: 1", "\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil.example\r\n\r\n", "\0",
    " HTTP/1.1\r\nHost: evil.example\r\nX-Evil: 1\r\n\r\n", "\r\n X-Evil: 1", "\x85X-Evil: 1", "\u2028X-Evil: 1",
    "嘊嘍X-Evil: 1", "%0d%0aX-Evil: 1", "\tX-Evil: 1", "\x0bX-Evil: 1", "\x7f", "\ud800", " ", "é", "#x", "\\", '"',
)  # fmt: skip
BEGINNINGS = (b"GET ", b"POST ", b"PUT ", b"EVIL")


@dataclass
class Ear:
    """A server that notes what it hears and answers each end of a head, as a proxy would that takes anything."""

    port: int = 0
    heard: bytearray = field(default_factory=bytearray)

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                self.heard += piece
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    ear = Ear()
    server = await asyncio.start_server(ear.listen, "127.0.0.1", 0)
    ear.port = server.sockets[0].getsockname()[1]
    yield ear
    server.close()
    await server.wait_closed()


Place = Callable[[str, str], Mapping[str, Any]]

PLACES: dict[str, Place] = {
    "the path": lambda url, trick: {"method": "GET", "url": f"{url}/a{trick}"},
    "the query": lambda url, trick: {"method": "GET", "url": f"{url}/a?to={trick}"},
    "the host": lambda url, trick: {"method": "GET", "url": f"{url}{trick}/a"},
    "the user": lambda url, trick: {"method": "GET", "url": url.replace("://", f"://ada{trick}:x@") + "/a"},
    "the method": lambda url, trick: {"method": f"GET{trick}", "url": f"{url}/a"},
    "a header": lambda url, trick: {"method": "GET", "url": f"{url}/a", "headers": {"X-Key": f"key{trick}"}},
    "a header's name": lambda url, trick: {"method": "GET", "url": f"{url}/a", "headers": {f"X-Key{trick}": "key"}},
    "a form": lambda url, trick: {"method": "POST", "url": f"{url}/a", "form": {f"to{trick}": f"a{trick}"}},
}


@pytest.mark.parametrize("place", PLACES)
async def test_nothing_that_is_given_begins_a_header_or_a_request_of_its_own(ear: Ear, place: str) -> None:
    sent = 0
    for trick in TRICKS:
        ear.heard.clear()
        client = HttpClient(connections=1)
        asked = dict(PLACES[place](f"http://127.0.0.1:{ear.port}", trick))
        try:
            await client(asked.pop("method"), asked.pop("url"), **asked)
            sent += 1
        except (NotSent, ValueError):
            assert not ear.heard, (trick, bytes(ear.heard))
            continue
        finally:
            await client.close()
        head, _, rest = bytes(ear.heard).partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert first.split(b" ")[0] in (b"GET", b"POST"), trick
        assert first.count(b" ") == 2, trick
        assert first.endswith(b" HTTP/1.1"), trick
        names = [line.partition(b":")[0].lower() for line in lines]
        assert b"x-evil" not in names, trick
        assert len(set(names)) == len(names), trick
        assert f"host: 127.0.0.1:{ear.port}".encode() in [line.lower() for line in lines], trick
        assert not any(octet in head.replace(b"\r\n", b"") for octet in b"\r\n\0"), trick
        assert not rest.startswith(BEGINNINGS), trick
        length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length")), 0)
        assert len(rest) == length, trick
    assert sent or place in ("the method", "the host", "a header's name"), "the client refuses everything"
