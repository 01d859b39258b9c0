"""The short way on real connections: who goes it, who does not, and both kinds on one connection in any order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from gateway.contract import CallbackAnswer, CallbackRequest
from gateway.core.ids import IdSequence
from gateway.errors import StoreUnavailable
from gateway.http.app import build_public_app, build_runner
from gateway.http.callbacks import CallbackDoor
from gateway.http.connections import EXPRESS
from gateway.http.express import Express
from gateway.http.plain_requests import PlainRequest
from gateway.http.reading import HttpLimits
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from tests.engine.world import World

PUBLIC = "https://gateway.example"
ANSWER_BYTES = 512 * 1024
REQUESTS = 60  # their answers are more than a kernel keeps for somebody who reads none
GET_NOTHING = b"GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n"


def post(body: bytes, more: bytes = b"", path: bytes = b"/callbacks/mail") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: here\r\n%bContent-Length: %d\r\n\r\n%b" % (path, more, len(body), body)


class Watched(Express):
    """Remembers what went the short way."""

    def __init__(self, door: CallbackDoor) -> None:
        super().__init__(door, None)
        self.bodies: list[bytes] = []

    async def answer(self, plain: PlainRequest) -> bytes:
        self.bodies.append(plain.body)
        return await super().answer(plain)


class Line:
    """One connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *pieces: bytes) -> None:
        """Each in a packet of its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)

    async def hear(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split()[1]), headers, body

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            return await self.reader.read() == b""


class Gate:
    """An adapter that judges nothing before it may."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.open = asyncio.Event()

    async def authenticate(self, request: CallbackRequest) -> bool:
        self.came.set()
        await self.open.wait()
        return True


@dataclass
class Front:
    """The door of a daemon, by its connections."""

    world: World
    express: Watched
    port: int
    runner: web.AppRunner
    lines: list[Line] = field(default_factory=list)

    async def connect(self) -> Line:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.lines.append(Line(reader, writer))
        return self.lines[-1]

    async def stored(self) -> list[bytes]:
        return [body for (body,) in await self.world.sql("SELECT body FROM callbacks ORDER BY id")]


@asynccontextmanager
async def opened(world: World, public: str | None = PUBLIC, limits: HttpLimits | None = None) -> AsyncIterator[Front]:
    door = CallbackDoor(world.engine.intake, world.catalogue, public)
    app = build_public_app([door])
    express = app[EXPRESS] = Watched(door)
    runner = build_runner(app, limits)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    front = Front(world, express, site.port, runner)
    try:
        yield front
    finally:
        for line in front.lines:
            line.writer.close()
        await runner.cleanup()


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    made = World(database, clock, ids)
    await made.start()
    yield made
    await made.kill()


@pytest.fixture
async def front(world: World) -> AsyncIterator[Front]:
    async with opened(world) as made:
        yield made


@pytest.fixture
def gate(world: World, monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(world.catalogue.senders["mail"].adapter, "authenticate", made.authenticate)
    return made


async def test_plain_callbacks_go_the_short_way_on_one_connection(front: Front) -> None:
    line = await front.connect()
    for body in (b"one", b"two"):
        await line.say(post(body))
        status, headers, said = await line.hear()
        assert (status, said) == (200, b"")
        assert headers["server"] == "dripgate"
        assert headers["x-content-type-options"] == "nosniff"
        assert "date" in headers
    assert front.express.bodies == await front.stored() == [b"one", b"two"]


async def test_a_body_behind_its_head_is_waited_for(front: Front) -> None:
    line = await front.connect()
    request = post(b"in pieces")
    await line.say(request[:-9], request[-9:-4], request[-4:])
    assert (await line.hear())[0] == 200
    assert front.express.bodies == await front.stored() == [b"in pieces"]


async def test_a_body_that_takes_its_time_is_waited_for_by_aiohttp(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.connections.HOLD_SECONDS", 0.001)
    line = await front.connect()
    request = post(b"late")
    await line.say(request[:-4], b"la", b"te", post(b"again"))
    assert [(await line.hear())[0], (await line.hear())[0]] == [200, 200]
    assert (front.express.bodies, await front.stored()) == ([], [b"late", b"again"])


async def test_a_head_in_pieces_is_aiohttps(front: Front) -> None:
    line = await front.connect()
    request = post(b"x")
    await line.say(request[:30], request[30:])
    assert (await line.hear())[0] == 200
    assert (front.express.bodies, await front.stored()) == ([], [b"x"])


async def test_other_paths_and_callbacks_share_a_connection(front: Front) -> None:
    line = await front.connect()
    statuses = []
    for request in (GET_NOTHING, post(b"1"), post(b"2", path=b"/callbacks/nobody"), GET_NOTHING, post(b"3")):
        await line.say(request)
        statuses.append((await line.hear())[0])
    assert statuses == [404, 200, 404, 404, 200]
    assert front.express.bodies == [b"1", b"2", b"3"]
    assert await front.stored() == [b"1", b"3"]


async def test_requests_that_do_not_wait_for_answers_are_answered_in_order(front: Front) -> None:
    line = await front.connect()
    await line.say(post(b"1"), post(b"forged") + GET_NOTHING, post(b"3"))
    assert [(await line.hear())[0] for _ in range(4)] == [200, 403, 404, 200]
    assert await front.stored() == [b"1", b"3"]


async def test_whoever_sends_on_while_one_is_stored_waits_for_its_answer(front: Front, gate: Gate) -> None:
    line = await front.connect()
    await line.say(post(b"1"), post(b"2"), post(b"3"))
    assert front.express.bodies == [b"1"]
    gate.open.set()
    assert [(await line.hear())[0] for _ in range(3)] == [200, 200, 200]
    assert await front.stored() == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "path", [b"/callbacks/ma%69l", b"/callbacks/mail/", b"/callbacks//mail", b"/callbacks/../mail"]
)
async def test_unusual_spellings_of_the_path_are_aiohttps(front: Front, path: bytes) -> None:
    line = await front.connect()
    await line.say(post(b"x", path=path))
    assert (await line.hear())[0] in (200, 404)
    assert front.express.bodies == []


async def test_a_forged_one_and_a_sender_that_is_not_there_are_problems(front: Front) -> None:
    line = await front.connect()
    await line.say(post(b"forged"))
    status, headers, body = await line.hear()
    assert (status, headers["content-type"]) == (403, "application/problem+json")
    assert b"callback_refused" in body
    await line.say(post(b"x", path=b"/callbacks/nobody"))
    assert (await line.hear())[0] == 404


async def test_a_database_that_cannot_store_it_asks_for_a_repetition(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise StoreUnavailable("locked")

    monkeypatch.setattr(front.world.database, "write", fails)
    line = await front.connect()
    await line.say(post(b"x"))
    status, headers, _ = await line.hear()
    assert (status, headers["retry-after"]) == (503, "5")


async def test_an_answer_without_a_body_has_none(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = front.world.catalogue.senders["mail"].adapter
    monkeypatch.setattr(adapter, "answer", lambda _: CallbackAnswer(204, b"", "text/plain"))
    line = await front.connect()
    await line.say(post(b"x"))
    status, headers, _ = await line.hear()
    assert status == 204
    assert "content-length" not in headers
    await line.say(post(b"y"))
    assert (await line.hear())[0] == 204


async def test_a_media_type_that_is_no_header_is_an_error_of_ours(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = front.world.catalogue.senders["mail"].adapter
    monkeypatch.setattr(adapter, "answer", lambda _: CallbackAnswer(200, b"", "text/plain\r\nX-Injected: yes"))
    line = await front.connect()
    await line.say(post(b"x"))
    status, headers, _ = await line.hear()
    assert status == 500
    assert "x-injected" not in headers


async def test_whoever_wants_it_closed_has_it_closed_behind_the_answer(front: Front) -> None:
    line = await front.connect()
    await line.say(post(b"x", b"Connection: close\r\n"))
    status, headers, _ = await line.hear()
    assert (status, headers["connection"]) == (200, "close")
    assert await line.ended()
    assert front.express.bodies == [b"x"]


async def test_without_a_public_url_each_request_has_to_say_it(world: World) -> None:
    async with opened(world, public=None) as front:
        line = await front.connect()
        await line.say(post(b"x"))
        assert (await line.hear())[0] == 200
        assert (front.express.bodies, await front.stored()) == ([], [b"x"])


async def test_one_that_hung_up_is_stored_all_the_same(front: Front, gate: Gate) -> None:
    line = await front.connect()
    await line.say(post(b"x"))
    async with asyncio.timeout(10):
        await gate.came.wait()
    line.writer.transport.abort()
    gate.open.set()
    await front.world.settle()
    assert await front.stored() == [b"x"]


async def test_a_daemon_that_ends_answers_what_it_has_taken(front: Front, gate: Gate) -> None:
    line = await front.connect()
    await line.say(post(b"x"))
    async with asyncio.timeout(10):
        await gate.came.wait()
    ending = asyncio.create_task(front.runner.cleanup())
    await asyncio.sleep(0.01)
    gate.open.set()
    assert (await line.hear())[0] == 200
    assert await line.ended()
    await ending
    assert await front.stored() == [b"x"]


async def test_a_connection_is_idle_from_its_last_callback_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = world.catalogue.senders["mail"].adapter

    async def slowly(request: CallbackRequest) -> bool:
        await asyncio.sleep(0.3)
        return True

    monkeypatch.setattr(adapter, "authenticate", slowly)
    async with opened(world, limits=HttpLimits(idle_seconds=0.1)) as front:
        line = await front.connect()
        await line.say(post(b"takes three times as long"))
        assert (await line.hear())[0] == 200
        assert await line.ended()


async def test_whoever_reads_no_answers_is_read_no_further(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = front.world.catalogue.senders["mail"].adapter
    monkeypatch.setattr(adapter, "answer", lambda _: CallbackAnswer(200, b"x" * ANSWER_BYTES, "text/plain"))
    line = await front.connect()
    line.reader._transport.pause_reading()  # type: ignore[attr-defined]
    for number in range(REQUESTS):
        line.writer.write(post(b"%d" % number))
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while len(front.express.bodies) == number:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.002)
        if len(front.express.bodies) == number:
            break
    assert 0 < number < REQUESTS - 1
    line.reader._transport.resume_reading()  # type: ignore[attr-defined]
    assert {(await line.hear())[0] for _ in range(number + 1)} == {200}
