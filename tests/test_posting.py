"""Posting to receivers that are well, unwell, and malicious."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from gateway.core.delivery import Reply
from gateway.posting import BODY_BYTES_MAX, Poster
from gateway.testing.clock import FakeClock

HEADERS = {"webhook-id": "evt_1"}


class Shop:
    """A server with a path for each way to behave, and what it was asked for."""

    url = ""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.written = 0
        self.hanging = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        behave: Callable[[web.Request], Awaitable[web.StreamResponse]] = getattr(self, request.match_info["what"])
        return await behave(request)

    async def status(self, request: web.Request) -> web.StreamResponse:
        headers = {"Retry-After": request.query["after"]} if "after" in request.query else {}
        return web.Response(status=int(request.query["is"]), text=request.query.get("text", ""), headers=headers)

    async def redirect(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("/status?is=200")

    async def hang(self, request: web.Request) -> web.StreamResponse:
        await self.hanging.wait()
        return web.Response()

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=int(request.query["is"]))
        await response.prepare(request)
        while self.written < 1024 * 1024 * 1024:
            await response.write(b"x" * 64 * 1024)
            self.written += 64 * 1024
        return response

    async def trickle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await self.hanging.wait()
        return response


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    app = web.Application()
    app.router.add_route("*", "/{what}", shop.handle)
    async with TestServer(app) as server:
        shop.url = str(server.make_url("")).rstrip("/")
        yield shop
        shop.hanging.set()


@pytest.fixture
async def post(clock: FakeClock) -> AsyncIterator[Poster]:
    poster = Poster(clock, allow_private=True, seconds=0.3)
    yield poster
    await poster.close()


async def test_the_body_is_posted_as_it_is_with_its_headers(post: Poster, shop: Shop) -> None:
    reply = await post(f"{shop.url}/status?is=200", b'{"a":1}', HEADERS)
    assert reply == Reply(status=200)
    (request,) = shop.asked
    assert (request.method, request.content_type, request.headers["webhook-id"]) == (
        "POST",
        "application/json",
        "evt_1",
    )
    assert shop.bodies == [b'{"a":1}']


async def test_a_failure_is_told_in_one_short_printable_line(post: Poster, shop: Shop) -> None:
    reply = await post(f"{shop.url}/status?is=500&text=No%0Aroom%07%1b[31m" + "x" * 500, b"{}", HEADERS)
    assert (reply.status, reply.ok) == (500, False)
    assert reply.detail.startswith("No room [31mxxx")
    assert len(reply.detail) == 200


async def test_a_receiver_that_hangs_is_left(post: Poster, shop: Shop) -> None:
    assert await post(f"{shop.url}/hang", b"{}", HEADERS) == Reply(status=None, detail="No answer within 0.3 s.")


async def test_a_redirect_is_a_failure_and_is_not_followed(post: Poster, shop: Shop) -> None:
    reply = await post(f"{shop.url}/redirect", b"{}", HEADERS)
    assert (reply.status, reply.ok) == (307, False)
    assert reply.detail == "Redirects are not followed; this one leads to /status?is=200"
    assert len(shop.asked) == 1


@pytest.mark.parametrize("status", [200, 500])
async def test_of_an_answer_of_a_gigabyte_little_is_read(post: Poster, shop: Shop, status: int) -> None:
    reply = await post(f"{shop.url}/endless?is={status}", b"{}", HEADERS)
    assert reply.status == status
    assert len(reply.detail) <= 200
    assert shop.written < 100 * BODY_BYTES_MAX, "what fits into the buffers on the way"
    assert (await post(f"{shop.url}/status?is=200", b"{}", HEADERS)).ok, "the next one is not disturbed"


async def test_an_answer_without_an_end_is_taken_by_its_status(
    post: Poster, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.posting.BODY_SECONDS", 0.1)
    assert (await post(f"{shop.url}/trickle", b"{}", HEADERS)).ok


async def test_nobody_listening_is_a_failure_with_its_reason(post: Poster) -> None:
    reply = await post("http://127.0.0.1:1/hook", b"{}", HEADERS)
    assert reply.status is None
    assert "Connect call failed" in reply.detail


async def test_no_answer_but_noise_is_a_failure(post: Poster) -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\x00\xffnot http\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(noise, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reply = await post(f"http://127.0.0.1:{port}/", b"{}", HEADERS)
    assert reply.status is None
    assert reply.detail


async def test_a_defect_of_the_library_is_a_failure_of_this_post(
    post: Poster, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: aiohttp.ClientSession, *args: object, **kwargs: object) -> None:
        raise RuntimeError("a state that cannot be")

    monkeypatch.setattr(aiohttp.ClientSession, "post", broken)
    with capture_logs() as logs:
        reply = await post(shop.url, b"{}", {})
    assert (reply.status, reply.detail) == (None, "RuntimeError: a state that cannot be")
    assert [line["event"] for line in logs] == ["post_raised"]


@pytest.mark.parametrize(("after", "expected"), [("7", timedelta(seconds=7)), ("soon", None)])
async def test_a_receiver_can_ask_for_patience(
    post: Poster, shop: Shop, after: str, expected: timedelta | None
) -> None:
    reply = await post(f"{shop.url}/status?is=429&after={after}", b"{}", HEADERS)
    assert reply.retry_after == expected


HOME = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "127.1", "2130706433", "0x7f000001", "127。0。0。1"]


@pytest.mark.parametrize("host", HOME)
async def test_no_spelling_of_this_machine_is_posted_to(shop: Shop, clock: FakeClock, host: str) -> None:
    port = shop.url.rpartition(":")[2]
    poster = Poster(clock, allow_private=False)
    try:
        reply = await poster(f"http://{host}:{port}/status?is=200", b"{}", HEADERS)
    finally:
        await poster.close()
    assert (reply.status, shop.asked) == (None, [])
    assert "public" in reply.detail


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://100.100.100.200/"])
async def test_the_cloud_s_own_addresses_are_not_posted_to(clock: FakeClock, url: str) -> None:
    poster = Poster(clock, allow_private=False)
    reply = await poster(url, b"{}", HEADERS)
    await poster.close()
    assert "not on the public internet" in reply.detail


@pytest.mark.parametrize("url", ["ftp://example.org/", "http://", "http://[", "mailto:a@example.org", "http://a b/"])
async def test_what_is_no_url_of_the_web_is_a_failure(post: Poster, url: str) -> None:
    reply = await post(url, b"{}", HEADERS)
    assert (reply.status, reply.ok) == (None, False)
    assert reply.detail
