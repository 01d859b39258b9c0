"""URLs of callers lead to the public internet and nowhere else, whatever they look like: files and webhooks.

A canary listens on this machine and counts connections, on every one of its addresses: nobody may ever reach it. Names
are resolved by a resolver of the tests, which knows the tricks, and never asks the network.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult

from gateway import FileRefused, FileUnavailable, Media
from gateway.core.public import is_public
from gateway.files import FileFetcher
from gateway.posting import Poster
from gateway.resolving import PublicOnly
from gateway.testing.clock import FakeClock
from tests.stories.conftest import Story

OUTSIDE = "127.0.0.2"  # stands for the public internet where a test needs one: it is declared public there
HOME = "127.0.0.1"


@dataclass
class Canary:
    """Sits on one port of this machine's loopback addresses, and counts who comes."""

    port: int = 0
    visits: list[str] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)

    async def sit(self) -> None:
        await self._listen(HOME)
        await self._listen("::1")

    async def _listen(self, address: str) -> None:
        async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.visits.append(address)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
            writer.close()

        try:
            self.servers.append(await asyncio.start_server(visited, address, self.port))
        except OSError:
            if address == HOME:  # without IPv6 nobody can come that way
                raise
            return
        self.port = self.servers[0].sockets[0].getsockname()[1]


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    await canary.sit()
    yield canary
    for server in canary.servers:
        server.close()
        await server.wait_closed()
    assert canary.visits == []


Answers = dict[str, Iterator[Sequence[str]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What each name resolves to, lookup after lookup. Numbers and this machine's own name are looked up for real."""
    answers: Answers = {}
    really = socket.getaddrinfo

    def look_up(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name in answers:
            found = next(answers[name])
            return [
                (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
                for each in found
            ]
        if name.rstrip(".").lower() == "localhost" or all(letter in "0123456789abcdefxX.:%" for letter in name):
            return really(host, port, *more, **named)
        raise socket.gaierror(socket.EAI_NONAME, f"{name} is not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


def always(*addresses: str) -> Iterator[Sequence[str]]:
    while True:
        yield addresses


Try = Callable[[str], Awaitable[None]]


async def fetch(url: str) -> None:
    fetcher = FileFetcher(FakeClock(), size_max=1_000, allow_private=False)
    try:
        with pytest.raises((FileRefused, FileUnavailable)):
            await fetcher(Media(url))
    finally:
        await fetcher.close()


async def describe(url: str) -> None:
    fetcher = FileFetcher(FakeClock(), size_max=1_000, allow_private=False)
    try:
        with pytest.raises((FileRefused, FileUnavailable)):
            await fetcher.describe(url)
    finally:
        await fetcher.close()


async def post(url: str) -> None:
    poster = Poster(FakeClock(), allow_private=False)
    try:
        reply = await poster(url, b"{}", {})
    finally:
        await poster.close()
    assert reply.status is None
    assert reply.detail


WAYS: Sequence[Try] = (fetch, describe, post)

SPELLINGS = [
    # addresses in other numbers
    "http://127.0.0.1:{port}/", "http://127.1:{port}/", "http://127.0.1:{port}/", "http://2130706433:{port}/",
    "http://0x7f000001:{port}/", "http://0x7f.0x0.0x0.0x1:{port}/", "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/", "http://017700000001:{port}/", "http://0000000177.0.0.1:{port}/",
    "http://127.000.000.001:{port}/", "http://0:{port}/", "http://0.0.0.0:{port}/", "http://127.255.255.254:{port}/",
    "http://127.0.0.1.:{port}/", "http://127.1.:{port}/", "http://6425673729:{port}/", "http://256.0.0.1:{port}/",
    # IPv6 and what is carried in it
    "http://[::1]:{port}/", "http://[0:0:0:0:0:0:0:1]:{port}/", "http://[::]:{port}/", "http://[::1%25lo]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/", "http://[64:ff9b::127.0.0.1]:{port}/", "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[64:ff9b:1:7f00:0:100:808:808]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://[fe80::1]:{port}/",
    "http://[fec0::1]:{port}/", "http://[fd00::1]:{port}/", "http://[2001:0:7f00:1::]:{port}/", "http://[::1:{port}/",
    # names
    "http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://localhost.:{port}/", "http://a.localhost:{port}/",
    "http://ｌｏｃａｌｈｏｓｔ:{port}/", "http://loc%61lhost:{port}/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://localhost%00.example.org:{port}/", "http://localhost%2eexample.org:{port}/",
    # signs that become dots and digits
    "http://127。0。0。1:{port}/", "http://127．0．0．1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://１２７.0.0.1:{port}/",
    "http://٠:{port}/", "http://٢١٣٠٧٠٦٤٣٣:{port}/", "http://127%2e0%2e0%2e1:{port}/", "http://%31%32%37.0.0.1:{port}/",
    # who is the user, who is the host
    "http://example.org@127.0.0.1:{port}/", "http://example.org:80@127.0.0.1:{port}/",
    "http://example.org#@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@example.org/",
    "http://127.0.0.1:{port}\\@example.org/", "http://example.org\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}%2f@example.org/", "http://a@b@127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}\\",
    "http:///127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/", "http://\t127.0.0.1:{port}/", "ht\ntp://127.0.0.1:{port}/",
    "http://127.0.0.1\r\nHost: example.org:{port}/", "http://127.0.0.1 :{port}/", "http://127.0.0.1:{port}\0.example.org/",
    "HTTP://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "http://127.0.0.1:0{port}/",
    # other ways than the web's
    "file:///etc/passwd", "file://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/", "unix:///run/gateway/api.sock", "data:text/plain,hello", "jar:http://127.0.0.1:{port}!/",
    "ws://127.0.0.1:{port}/", "javascript:alert(1)", "", "/", "?",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_leads_to_this_machine(canary: Canary, names: Answers, way: Try, spelling: str) -> None:
    await way(spelling.format(port=canary.port))
    assert canary.visits == []


NOT_PUBLIC = [
    "127.0.0.1", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254",
    "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fe80::a9fe:a9fe", "224.0.0.1", "ff02::1",
    "255.255.255.255", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_that_stands_for_an_address_inside_is_asked_for_nothing(
    canary: Canary, names: Answers, monkeypatch: pytest.MonkeyPatch, way: Try, address: str
) -> None:
    """Nor is the address itself. No socket is made at all, so this asks nobody's network."""
    made: list[object] = []
    names["inside.example"] = always(address)
    monkeypatch.setattr("gateway.resolving.socket.socket", lambda *args, **named: made.append(args))
    await way(f"http://inside.example:{canary.port}/latest/meta-data/")
    await way(f"http://{f'[{address}]' if ':' in address else address}:{canary.port}/latest/meta-data/")
    assert made == []


@pytest.fixture
async def outside(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """A web server on the canary's port at an address that counts as public here; the paths that it was asked for."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if "to" in request.query:
            raise web.HTTPFound(request.query["to"])
        return web.Response(body=b"a file", content_type="image/png")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, OUTSIDE, canary.port).start()
    monkeypatch.setattr("gateway.resolving.is_public", lambda text: text == OUTSIDE or is_public(text))
    yield asked
    await runner.cleanup()


async def fetched(url: str) -> bytes | None:
    """The file; None if it is refused."""
    fetcher = FileFetcher(FakeClock(), size_max=1_000, allow_private=False)
    try:
        return (await fetcher(Media(url))).body
    except (FileRefused, FileUnavailable):
        return None
    finally:
        await fetcher.close()


async def test_a_name_that_is_rebound_between_two_lookups_never_leads_home(
    canary: Canary, names: Answers, outside: list[str]
) -> None:
    """The first answer is public, all later ones are not: what was looked at is what is connected to."""
    for number in range(20):
        names["rebound.example"] = iter([(OUTSIDE,), *[(HOME,)] * 20])
        assert await fetched(f"http://rebound.example:{canary.port}/{number}") == b"a file"
        assert await fetched(f"http://rebound.example:{canary.port}/{number}") is None
    assert len(outside) == 20


@pytest.mark.parametrize("order", [(OUTSIDE, HOME), (HOME, OUTSIDE), (HOME, "::1", OUTSIDE, "169.254.169.254")])
async def test_of_several_answers_only_public_ones_are_used(
    canary: Canary, names: Answers, outside: list[str], order: Sequence[str]
) -> None:
    names["both.example"] = always(*order)
    found = await PublicOnly().resolve("both.example", canary.port)
    assert [each["host"] for each in found] == [OUTSIDE]
    assert await fetched(f"http://both.example:{canary.port}/a") == b"a file"


INWARD = [
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/", "http://inside.example:{port}/",
    "http://2130706433:{port}/", "//127.0.0.1:{port}/", "http://0/", "file:///etc/passwd", "http://example.org@127.1:{port}/",
    "https://127.0.0.1:{port}/", "\\\\127.0.0.1:{port}\\",
]  # fmt: skip


@pytest.mark.parametrize("target", INWARD)
@pytest.mark.parametrize("hops", [1, 2])
async def test_a_redirect_from_outside_leads_no_further_in(
    canary: Canary, names: Answers, outside: list[str], target: str, hops: int
) -> None:
    names["outside.example"] = always(OUTSIDE)
    names["inside.example"] = always(HOME)
    url = target.format(port=canary.port)
    for _ in range(hops):
        url = f"http://outside.example:{canary.port}/?to={_quoted(url)}"
    await fetched(url)
    assert len(outside) >= hops
    assert canary.visits == []


async def test_a_receiver_s_redirect_is_not_followed_even_outside(
    canary: Canary, names: Answers, outside: list[str]
) -> None:
    names["outside.example"] = always(OUTSIDE)
    poster = Poster(FakeClock(), allow_private=False)
    reply = await poster(f"http://outside.example:{canary.port}/hook?to=/other", b"{}", {})
    await poster.close()
    assert (reply.status, outside) == (302, ["/hook"])


@pytest.mark.parametrize("way", WAYS)
async def test_whatever_resolved_a_name_its_socket_is_looked_at_once_more(
    canary: Canary, monkeypatch: pytest.MonkeyPatch, way: Try
) -> None:
    """The second wall: a resolver that lets everything pass, as a defect of ours or of a library would."""

    async def resolve(self: PublicOnly, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=HOME, port=port, family=socket.AF_INET, proto=0, flags=0),
        ]

    monkeypatch.setattr(PublicOnly, "resolve", resolve)
    await way(f"http://anything.example:{canary.port}/")


async def test_proxies_of_the_environment_are_not_asked(
    canary: Canary, names: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    for way in WAYS:
        await way("http://unknown.example/")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/", "http://[::1]:{port}/", "http://localhost:{port}/x"])
async def test_a_webhook_to_this_machine_is_refused_when_it_is_made(story: Story, canary: Canary, url: str) -> None:
    reply = await story.call("POST", "/v1/webhooks", {"url": url.format(port=canary.port)})
    assert (reply.status, reply.code) == (422, "invalid")


def _quoted(url: str) -> str:
    return "".join(f"%{octet:02X}" for octet in url.encode())
