"""What certainly did not arrive is told from everything else, and no connection gives one request another's answer."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable

import pytest

from gateway.contract import HttpResponse, NotSent
from gateway.outbound import pool
from gateway.outbound.answers import InvalidAnswer
from gateway.outbound.client import HttpClient
from gateway.outbound.connection import ConnectionLost
from tests.outbound.provider import OK, Line, Provider, answer_all

CONNECTIONS = 4


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(connections=CONNECTIONS)
    yield client
    await client.close()


def post(client: HttpClient, provider: Provider, body: bytes = b"a") -> Awaitable[HttpResponse]:
    return client("POST", provider.url, body=body)


async def test_connections_are_kept_and_used_again(client: HttpClient) -> None:
    async with Provider(answer_all) as provider:
        for _ in range(20):
            assert (await post(client, provider)).body == b"ok"
        assert (provider.connections, len(provider.requests)) == (1, 20)


async def test_there_are_never_more_connections_than_were_allowed(client: HttpClient) -> None:
    gate = asyncio.Event()

    async def slow(line: Line) -> None:
        while await line.request():
            await gate.wait()
            line.write(OK)

    async with Provider(slow) as provider:
        calls = [asyncio.ensure_future(post(client, provider)) for _ in range(20)]
        await provider.until(lambda: len(provider.requests) == CONNECTIONS)
        gate.set()
        assert {answer.body for answer in await asyncio.gather(*calls)} == {b"ok"}
        assert provider.open_most == provider.connections == CONNECTIONS
        assert client.connections == CONNECTIONS


async def test_hosts_share_the_connections(client: HttpClient) -> None:
    async with Provider(answer_all) as one, Provider(answer_all) as other:
        for _ in range(3):
            await asyncio.gather(*(post(client, provider) for provider in (one, other) for _ in range(10)))
            assert client.connections <= CONNECTIONS
        assert (len(one.requests), len(other.requests)) == (30, 30)


async def test_a_kept_connection_that_was_closed_is_replaced_in_silence(client: HttpClient) -> None:
    """Also when its end is here already and the loop has not looked: nothing is awaited between the two requests."""

    async def once(line: Line) -> None:
        await line.request()
        line.write(OK)

    async with Provider(once) as provider:
        for turn in range(10):
            assert (await post(client, provider)).body == b"ok"
            await provider.until(lambda: provider.open == 0)
            assert provider.connections == len(provider.requests) == turn + 1


async def test_an_end_that_the_loop_has_not_seen_is_found_before_anything_is_written(client: HttpClient) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        """One exchange and the end of it, all before the loop of the test gets to its sockets again."""
        with listener.accept()[0] as accepted:
            accepted.recv(65_536)
            accepted.sendall(OK)

    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with listener:
        for _ in range(2):
            call = asyncio.ensure_future(client("POST", url, body=b"a"))
            await asyncio.to_thread(serve)
            assert (await call).body == b"ok"


@pytest.mark.parametrize("answered", [0, 1])
async def test_a_connection_that_dies_after_the_request_leaves_it_unknown_and_is_not_tried_again(
    client: HttpClient, answered: int
) -> None:
    """A new connection, and one that has served before."""

    async def die(line: Line) -> None:
        for _ in range(answered):
            await line.request()
            line.write(OK)
        await line.request()

    async with Provider(die) as provider:
        for _ in range(answered):
            await post(client, provider)
        with pytest.raises(ConnectionLost):
            await post(client, provider, b"precious")
        await provider.until(lambda: provider.open == 0)
        assert len([one for one in provider.requests if one.endswith(b"precious")]) == 1
        assert client.connections == 0


@pytest.mark.parametrize(
    ("wire", "reset", "error"),
    [
        (b"", True, ConnectionLost),
        (OK[:30], True, ConnectionLost),
        (OK[:30], False, InvalidAnswer),
        (OK[:-1], True, ConnectionLost),
        (OK[:-1], False, InvalidAnswer),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", False, InvalidAnswer),
        (b"HTTP/1.1 200 OK\r\n\r\nhel", True, ConnectionLost),
        (b"<html>login</html>\r\n\r\n", False, InvalidAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", False, InvalidAnswer),
    ],
)
async def test_half_an_answer_is_none(client: HttpClient, wire: bytes, reset: bool, error: type[Exception]) -> None:
    async def half(line: Line) -> None:
        await line.request()
        line.write(wire)
        if reset:
            await asyncio.sleep(0.01)  # so that the bytes are there before the end is
            line.reset()

    async with Provider(half) as provider:
        with pytest.raises(error) as raised:
            await post(client, provider)
        assert not isinstance(raised.value, NotSent)
        assert client.connections == 0


async def test_a_cancelled_request_closes_its_connection_so_that_a_late_answer_is_nobody_s(client: HttpClient) -> None:
    ended = asyncio.Event()

    async def late(line: Line) -> None:
        request = await line.request()
        if request.endswith(b"first"):
            assert await line.request() == b""
            ended.set()
        else:
            line.write(OK)
            await line.request()

    async with Provider(late) as provider:
        call = asyncio.ensure_future(post(client, provider, b"first"))
        await provider.until(lambda: len(provider.requests) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await post(client, provider, b"second")).body == b"ok"
        await asyncio.wait_for(ended.wait(), 10)
        assert provider.connections == 2


async def test_a_slow_answer_is_cut_at_the_deadline(client: HttpClient) -> None:
    async def dribble(line: Line) -> None:
        await line.request()
        for octet in OK * 100:
            line.write(bytes([octet]))
            await asyncio.sleep(0.05)

    async with Provider(dribble) as provider:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(client, provider), 0.2)
        assert client.connections == 0


async def test_cancelling_whoever_waits_for_a_place_loses_no_place(client: HttpClient) -> None:
    gate = asyncio.Event()

    async def slow(line: Line) -> None:
        while await line.request():
            await gate.wait()
            line.write(OK)

    async with Provider(slow) as provider:
        calls = [asyncio.ensure_future(post(client, provider)) for _ in range(40)]
        await provider.until(lambda: len(provider.requests) == CONNECTIONS)
        for call in calls[1::3]:
            call.cancel()
        gate.set()
        for call in calls[2::3]:
            await asyncio.sleep(0)
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(calls[at].result().body == b"ok" for at in range(0, 40, 3))
        answers = await asyncio.gather(*(post(client, provider) for _ in range(20)))
        assert {answer.body for answer in answers} == {b"ok"}
        assert client.connections <= CONNECTIONS


async def test_what_comes_unasked_makes_a_connection_useless(client: HttpClient) -> None:
    said = asyncio.Event()

    async def talkative(line: Line) -> None:
        await line.request()
        line.write(OK)
        await said.wait()
        line.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await line.request()

    async with Provider(talkative) as provider:
        assert (await post(client, provider)).status == 200
        said.set()
        await provider.until(lambda: provider.open == 0)
        assert (await post(client, provider)).status == 200
        assert provider.connections == 2


async def test_an_answer_before_the_whole_request_was_taken_is_an_answer_and_ends_the_connection(
    client: HttpClient,
) -> None:
    async def refuse(line: Line) -> None:
        await line.head()
        line.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await gate.wait()

    gate = asyncio.Event()
    async with Provider(refuse) as provider:
        answer = await post(client, provider, b"x" * 32 * 1024 * 1024)
        assert (answer.status, client.connections) == (413, 0)
        gate.set()


async def test_a_connection_is_kept_for_as_long_as_the_provider_says_and_no_longer(client: HttpClient) -> None:
    async def brief(line: Line) -> None:
        while await line.request():
            line.write(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n")

    async with Provider(brief) as provider:
        for _ in range(3):
            await post(client, provider)
        assert provider.connections == 3


async def test_idle_connections_are_closed_after_a_while(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)
    async with Provider(answer_all) as provider:
        await asyncio.gather(*(post(client, provider) for _ in range(CONNECTIONS)))
        assert client.connections > 0
        await provider.until(lambda: provider.open == 0 and client.connections == 0)


async def test_a_name_that_nobody_knows_is_certainly_not_sent(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def nobody(origin: pool.Origin) -> None:
        asked.append(origin.host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(pool, "look_up", nobody)
    for _ in range(2):  # a failure is not remembered
        with pytest.raises(NotSent):
            await client("GET", "http://nowhere.example/")
    assert (len(asked), client.connections) == (2, 0)


async def test_a_host_that_never_lets_anybody_in_is_certainly_not_sent(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener's queue is full, so that the handshake of TCP hangs; with TLS it is that of TLS which hangs."""
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(NotSent, match="within"):
        await client("POST", f"https://127.0.0.1:{listener.getsockname()[1]}/", body=b"a")
    assert client.connections == 0


async def test_waiting_for_a_place_ends_and_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.2)
    client = HttpClient(connections=1)

    async def silent(line: Line) -> None:
        await line.request()
        await line.request()

    async with Provider(silent) as provider:
        first = asyncio.ensure_future(post(client, provider))
        await provider.until(lambda: len(provider.requests) == 1)
        with pytest.raises(NotSent):
            await post(client, provider)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (len(provider.requests), client.connections) == (1, 0)
    await client.close()


async def test_a_host_that_hangs_up_at_once_gives_an_error_and_takes_no_place(client: HttpClient) -> None:
    """Which error depends on who was quicker: its end, or the request."""

    async def hang_up(line: Line) -> None:
        line.write(b"")

    async with Provider(hang_up) as provider:
        for _ in range(10):
            with pytest.raises((NotSent, ConnectionLost)):
                await post(client, provider)
        assert client.connections == 0


async def test_no_descriptor_is_left_behind_by_any_trouble(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.3)  # of TLS with a server that does not speak it

    async def troubled(line: Line) -> None:
        request = await line.request()
        kind = request.rpartition(b"\r\n")[2]
        if kind == b"fine":
            line.write(OK)
            await line.request()
        elif kind == b"half":
            line.write(OK[:-1])
        elif kind == b"huge":
            line.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000000\r\n\r\n" + b"x" * 2_000_000)
            await line.request()
        elif kind == b"silent":
            await line.request()
        else:
            line.reset()

    async def one_round(client: HttpClient, provider: Provider) -> None:
        calls = [
            asyncio.wait_for(post(client, provider, kind), 0.3)
            for kind in (b"fine", b"half", b"huge", b"silent", b"reset")
        ]
        refused = client("GET", f"http://127.0.0.1:{unused_tcp_port}/")
        in_clear = client("GET", f"https://127.0.0.1:{provider.port}/")
        await asyncio.gather(*calls, refused, in_clear, return_exceptions=True)

    async with Provider(troubled) as provider:
        warm = HttpClient(connections=CONNECTIONS)
        await one_round(warm, provider)
        await warm.close()
        await provider.until(lambda: provider.open == 0)
        before = descriptors()
        client = HttpClient(connections=CONNECTIONS)
        for _ in range(5):
            await one_round(client, provider)
        await client.close()
        await provider.until(lambda: provider.open == 0)
        await provider.until(lambda: descriptors() <= before)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, no paths
