"""What an adapter may rely on, of the daemon's client and of the one that tests intercept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.contract import NotSent
from gateway.outbound.answers import BODY_BYTES_MAX
from gateway.outbound.client import HttpClient
from gateway.testing.aiohttp_client import AiohttpClient

Client = HttpClient | AiohttpClient
Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture(params=[HttpClient, AiohttpClient])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    client: Client = request.param(connections=4)
    yield client
    await client.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/x"))

    yield start
    for server in servers:
        await server.close()


async def test_a_request_carries_what_it_was_given(client: Client, serve: Serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        return web.Response(text=f"{request.method} {request.content_type} {request.headers.get('X-Key')} {body}")

    url = await serve(echo)
    posted = await client("POST", url, json={"to": "a"}, headers={"X-Key": "k"})
    assert (posted.status, posted.body) == (200, b'POST application/json k {"to":"a"}')
    form = await client("POST", url, form={"to": "a b"})
    assert form.body == b"POST application/x-www-form-urlencoded None to=a+b"
    raw = await client("PUT", url, body=b"raw")
    assert raw.body.endswith(b"raw")
    assert "content-type" in raw.headers


async def test_a_redirect_is_an_answer_and_not_followed(client: Client, serve: Serve) -> None:
    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/elsewhere")

    answer = await client("GET", await serve(away), headers={"Authorization": "Bearer secret"})
    assert (answer.status, answer.headers["location"]) == (302, "http://127.0.0.1:1/elsewhere")


async def test_no_more_than_a_megabyte_of_an_answer_is_read(client: Client, serve: Serve) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(b"x" * 65_536)
        return response

    answer = await client("GET", await serve(endless))
    assert len(answer.body) == BODY_BYTES_MAX


async def test_a_refused_connection_is_certainly_not_sent(client: Client, unused_tcp_port: int) -> None:
    with pytest.raises(NotSent):
        await client("POST", f"http://127.0.0.1:{unused_tcp_port}/", json={})


async def test_a_url_that_is_none_is_certainly_not_sent(client: Client) -> None:
    with pytest.raises(NotSent):
        await client("POST", "no url at all", json={})


async def test_a_connection_that_ends_without_an_answer_is_not_called_unsent(client: Client) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is, it must not be NotSent
        await client("POST", f"http://127.0.0.1:{port}/", json={})
    assert not isinstance(raised.value, NotSent)
    server.close()
    await server.wait_closed()
