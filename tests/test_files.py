"""Files by URL, from real servers on loopback: what is fetched, what is refused, and what is never asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway import FileRefused, FileUnavailable, Media
from gateway.files import FileFetcher
from gateway.resolving import PublicOnly
from gateway.testing.clock import FakeClock

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100
SIZE_MAX = 10_000


@dataclass
class Shelf:
    """A file server, and how often each path was asked for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    shelf = Shelf()

    def counted(
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            shelf.asked.append(f"{request.method} {request.path}")
            return await handler(request)

        return handle

    async def png(request: web.Request) -> web.StreamResponse:
        return web.Response(body=PNG, content_type="image/png")

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(b"x" * 1_000)
        return response

    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.query["to"])

    async def status(request: web.Request) -> web.StreamResponse:
        return web.Response(status=int(request.match_info["status"]))

    app = web.Application()
    for path, handler in {"/a/logo.png": png, "/endless": endless, "/to": redirect, "/status/{status}": status}.items():
        app.router.add_get(path, counted(handler), allow_head=True)
    app.router.add_get("/get-only", counted(png), allow_head=False)
    async with TestServer(app) as server:
        shelf.url = str(server.make_url("/")).rstrip("/")
        yield shelf


@pytest.fixture
async def files(clock: FakeClock) -> AsyncIterator[FileFetcher]:
    fetcher = FileFetcher(clock, size_max=SIZE_MAX, allow_private=True)
    yield fetcher
    await fetcher.close()


async def test_a_file_comes_with_its_type_and_a_name(files: FileFetcher, shelf: Shelf) -> None:
    file = await files(Media(f"{shelf.url}/a/logo.png?v=2"))
    assert (file.body, file.content_type, file.filename) == (PNG, "image/png", "logo.png")


async def test_what_the_message_says_of_a_file_wins(files: FileFetcher, shelf: Shelf) -> None:
    file = await files(Media(f"{shelf.url}/a/logo.png", "image/x-own", "our.png"))
    assert (file.content_type, file.filename) == ("image/x-own", "our.png")


async def test_what_one_message_says_of_a_file_is_not_told_to_another_that_has_the_same(
    files: FileFetcher, shelf: Shelf
) -> None:
    url = f"{shelf.url}/a/logo.png"
    both = await asyncio.gather(files(Media(url, "image/x-own", "Invoice of Ada.png")), files(Media(url)))
    later = await files(Media(url, filename="another.png"))
    assert [(file.content_type, file.filename) for file in (*both, later)] == [
        ("image/x-own", "Invoice of Ada.png"),
        ("image/png", "logo.png"),
        ("image/png", "another.png"),
    ]
    assert shelf.asked == ["GET /a/logo.png"]


async def test_many_who_want_one_file_cause_one_request_and_it_is_kept_for_a_while(
    files: FileFetcher, shelf: Shelf, clock: FakeClock
) -> None:
    media = Media(f"{shelf.url}/a/logo.png")
    await asyncio.gather(*(files(media) for _ in range(50)))
    await files(media)
    assert shelf.asked == ["GET /a/logo.png"]
    clock.advance(timedelta(minutes=11))
    await files(media)
    assert len(shelf.asked) == 2


async def test_a_file_is_described_without_being_sent(files: FileFetcher, shelf: Shelf) -> None:
    described = await files.describe(f"{shelf.url}/a/logo.png")
    assert (described.content_type, described.size) == ("image/png", len(PNG))
    assert shelf.asked == ["HEAD /a/logo.png"]


async def test_a_server_that_knows_no_head_says_nothing(files: FileFetcher, shelf: Shelf) -> None:
    described = await files.describe(f"{shelf.url}/get-only")
    assert (described.content_type, described.size) == (None, None)


async def test_a_file_without_an_end_is_cut_off(files: FileFetcher, shelf: Shelf) -> None:
    with pytest.raises(FileRefused, match="larger than 10,000 octets"):
        await files(Media(f"{shelf.url}/endless"))


@pytest.mark.parametrize("status", [404, 403, 410])
async def test_a_file_that_is_not_there_is_refused(files: FileFetcher, shelf: Shelf, status: int) -> None:
    with pytest.raises(FileRefused, match=f"answers {status}"):
        await files(Media(f"{shelf.url}/status/{status}"))


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_server_in_trouble_may_be_asked_again(files: FileFetcher, shelf: Shelf, status: int) -> None:
    with pytest.raises(FileUnavailable):
        await files(Media(f"{shelf.url}/status/{status}"))
    with pytest.raises(FileUnavailable):
        await files(Media(f"{shelf.url}/status/{status}"))
    assert len(shelf.asked) == 2


async def test_no_server_at_all_is_unavailable(files: FileFetcher) -> None:
    with pytest.raises(FileUnavailable):
        await files(Media("http://127.0.0.1:1/x.png"))


async def test_redirects_are_followed_a_few_times_and_not_round_and_round(files: FileFetcher, shelf: Shelf) -> None:
    once = await files(Media(f"{shelf.url}/to?to=/a/logo.png"))
    assert once.body == PNG
    with pytest.raises(FileRefused, match="redirects more than"):
        await files(Media(f"{shelf.url}/to?to=%2Fto%3Fto%3D%2Fto%3Fto%3D%2Fto%3Fto%3D%2Fto%3Fto%3D/a"))


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "//"])
async def test_a_redirect_to_anything_but_the_web_is_refused(files: FileFetcher, shelf: Shelf, to: str) -> None:
    with pytest.raises(FileRefused):
        await files(Media(f"{shelf.url}/to?to={to}"))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "127。0。0。1",  # becomes the first by the rules of international names
        "①②⑦.⓪.⓪.①",
        "127.0.0.1.",
    ],
)
async def test_no_spelling_of_this_machine_is_asked(shelf: Shelf, clock: FakeClock, host: str) -> None:
    port = shelf.url.rpartition(":")[2]
    fetcher = FileFetcher(clock, size_max=SIZE_MAX, allow_private=False)
    try:
        with pytest.raises((FileRefused, FileUnavailable)):
            await fetcher(Media(f"http://{host}:{port}/a/logo.png"))
        with pytest.raises((FileRefused, FileUnavailable)):
            await fetcher.describe(f"http://{host}:{port}/a/logo.png")
    finally:
        await fetcher.close()
    assert shelf.asked == []


async def test_a_name_that_leads_home_has_no_address() -> None:
    resolver = PublicOnly()
    with pytest.raises(OSError, match="no public address"):
        await resolver.resolve("localhost", 80)
    await resolver.close()
