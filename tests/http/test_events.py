"""Events over HTTP: read page by page, and followed as they happen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from gateway.core.event_types import EVENT_TYPES
from gateway.core.ids import OrgId
from gateway.core.states import MessageStatus
from gateway.engine.catalogue import Catalogue
from gateway.http.auth import Authenticator
from gateway.http.events import STREAM_PAGE, STREAMS_MAX, EventStreams, event_routes
from gateway.http.reading import HttpLimits
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.events import EventStore
from gateway.store.keys import KeyStore
from gateway.store.outbox import publish, publish_statuses
from gateway.testing.clock import FakeClock
from tests.http.conftest import DEFAULT, OTHER, Api, StartApi

STEPS_MAX = 2_000


@dataclass
class Follower:
    """Somebody who reads a stream: what has arrived, and whether it has ended."""

    answer: aiohttp.ClientResponse
    task: asyncio.Task[None]
    raw: bytearray = field(default_factory=bytearray)

    @property
    def messages(self) -> list[dict[str, str]]:
        """What a browser's EventSource would see, and comments under the name ``."""
        blocks = self.raw.decode().split("\n\n")[:-1]
        return [dict(_fields(block)) for block in blocks]

    @property
    def events(self) -> list[Any]:
        return [json.loads(each["data"]) for each in self.messages if "id" in each]

    @property
    def comments(self) -> list[str]:
        return [each[""] for each in self.messages if "" in each]


def _fields(block: str) -> list[tuple[str, str]]:
    pairs = [line.partition(":") for line in block.split("\n")]
    return [(name, value.removeprefix(" ")) for name, _, value in pairs]


@dataclass
class World:
    api: Api
    database: Database
    clock: FakeClock
    streams: EventStreams
    keys: KeyStore

    async def tell(self, *kinds: str, org: OrgId = DEFAULT.id) -> None:
        at = to_micros(self.clock.now())
        for kind in kinds:
            await self.database.write(lambda conn, kind=kind: publish(conn, org, kind, at, {"of": kind}))  # type: ignore[misc]

    async def tell_messages(self, number: int) -> None:
        at = to_micros(self.clock.now())
        await self.database.write(
            lambda conn: publish_statuses(
                conn, DEFAULT.id, MessageStatus.SENT, at, [*range(1, number + 1)], action=None
            )
        )

    async def until(self, reached: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
        """Half a second of the clock after the other, until something is the case."""
        for _ in range(STEPS_MAX):
            found = reached()
            if found if isinstance(found, bool) else await found:
                return
            self.clock.advance(timedelta(milliseconds=500))
            await asyncio.sleep(0.002)
        raise AssertionError("it was never reached")

    @asynccontextmanager
    async def follow(self, query: str = "", token: str | None = None, **headers: str) -> AsyncIterator[Follower]:
        sent = {"Authorization": f"Bearer {token or self.api.token}", **headers}
        async with self.api.session.get(f"{self.api.base}/v1/events/stream{query}", headers=sent) as answer:
            assert answer.status == 200, await answer.read()
            raw = bytearray()

            async def read() -> None:
                async for piece in answer.content.iter_any():
                    raw.extend(piece)

            follower = Follower(answer, asyncio.create_task(read()), raw)
            try:
                await self.until(lambda: bool(raw))
                yield follower
            finally:
                follower.task.cancel()
                await asyncio.wait({follower.task})


@pytest.fixture
async def world(
    start_api: StartApi, database: Database, clock: FakeClock, keys: KeyStore, catalogue: Catalogue
) -> World:
    events = EventStore(database)
    streams = EventStreams(events, Authenticator(keys, catalogue, clock), clock)
    api = await start_api(event_routes(events, streams), limits=HttpLimits(write_seconds=0.3))
    return World(api, database, clock, streams, keys)


# ---- pages


async def test_events_are_read_in_their_order_page_by_page(world: World) -> None:
    await world.tell("sender.held", "bulk_action.created", "sender.released", org=DEFAULT.id)
    first = (await world.api.get("/v1/events?limit=2")).json
    assert [event["seq"] for event in first["items"]] == [1, 2]
    assert (first["after"], first["newest"], first["truncated"]) == (2, 3, False)
    assert first["items"][0] == {
        "seq": 1,
        "id": first["items"][0]["id"],
        "type": "sender.held",
        "time": "2026-06-01T08:00:00Z",
        "data": {"of": "sender.held"},
    }
    second = (await world.api.get(f"/v1/events?limit=2&after={first['after']}")).json
    assert [event["type"] for event in second["items"]] == ["sender.released"]
    assert (await world.api.get(f"/v1/events?after={second['after']}")).json["items"] == []


async def test_only_the_types_asked_for_are_shown_and_the_place_moves_on_all_the_same(world: World) -> None:
    await world.tell("sender.held", "bulk_action.created", "message.received", "contact.created")
    shown = (await world.api.get("/v1/events?types=bulk_action.*,%20message.received")).json
    assert [event["type"] for event in shown["items"]] == ["bulk_action.created", "message.received"]
    assert shown["after"] == 4


async def test_another_org_s_events_are_not_shown(world: World) -> None:
    await world.tell("sender.held", org=OTHER.id)
    assert (await world.api.get("/v1/events")).json["items"] == []


async def test_what_is_no_longer_kept_is_said(world: World) -> None:
    await world.tell("sender.held", "sender.released")
    world.clock.advance(timedelta(days=1))
    await EventStore(world.database).purge(world.clock.now())
    await world.tell("sender.held")
    shown = (await world.api.get("/v1/events?after=1")).json
    assert (shown["truncated"], [event["seq"] for event in shown["items"]]) == (True, [3])
    assert not (await world.api.get("/v1/events?after=2")).json["truncated"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/stream"])
async def test_unknown_types_are_refused_with_those_that_there_are(world: World, path: str) -> None:
    reply = await world.api.get(f"{path}?types=message.recieved,bulk_action.*,nothing")
    assert (reply.status, reply.code, reply.pointers) == (422, "invalid", ["?types", "?types"])
    details = [error["detail"] for error in reply.json["errors"]]
    assert "Did you mean 'message.received'?" in details[0]
    assert all(name in details[1] for name in EVENT_TYPES)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/stream"])
async def test_a_place_ahead_of_everything_is_refused(world: World, path: str) -> None:
    await world.tell("sender.held")
    reply = await world.api.get(f"{path}?after=2")
    assert (reply.status, reply.pointers) == (422, ["?after"])
    assert "newest event, 1" in reply.json["detail"]


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "99", "9" * 30, "٣"])
async def test_a_last_event_id_that_is_none_is_refused(world: World, text: str) -> None:
    reply = await world.api.get("/v1/events/stream", headers={"Last-Event-ID": text})
    assert (reply.status, reply.pointers) == (422, ["Last-Event-ID"])


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/stream"])
async def test_events_need_the_right_to_read_messages(world: World, path: str) -> None:
    reply = await world.api.get(path, token=await world.api.key("members.read", "messaging.send"))
    assert (reply.status, reply.json["missing"]) == (403, ["messaging.read"])


# ---- streams


async def test_a_stream_tells_what_happens_from_now_on(world: World) -> None:
    await world.tell("bulk_action.created")
    async with world.follow() as follower:
        assert follower.answer.content_type == "text/event-stream"
        await world.tell("bulk_action.started", "sender.held", "opt_out.recorded")
        await world.until(lambda: len(follower.events) == 2)
        assert [(each["id"], each["event"]) for each in follower.messages if "id" in each] == [
            ("2", "bulk_action.started"),
            ("4", "opt_out.recorded"),
        ]
        assert follower.events[0]["data"] == {"of": "bulk_action.started"}


async def test_a_stream_goes_on_behind_the_last_event_that_its_reader_saw(world: World) -> None:
    await world.tell("sender.held", "sender.released", "sender.held")
    headers = {"Last-Event-ID": "1"}
    async with world.follow("?types=sender.*&after=3", **headers) as follower:
        await world.until(lambda: len(follower.events) == 2)
        assert [event["seq"] for event in follower.events] == [2, 3]


async def test_a_stream_catches_up_with_thousands_of_events(world: World) -> None:
    await world.tell_messages(5 * STREAM_PAGE + 7)
    async with world.follow("?types=*&after=0") as follower:
        await world.until(lambda: len(follower.events) == 5 * STREAM_PAGE + 7)
        assert [event["seq"] for event in follower.events] == list(range(1, 5 * STREAM_PAGE + 8))


async def test_a_silent_stream_says_every_15_seconds_that_it_lives(world: World) -> None:
    async with world.follow() as follower:
        start = world.clock.now()
        await world.until(lambda: len(follower.comments) == 4)
        assert timedelta(seconds=44) <= world.clock.now() - start < timedelta(seconds=50)
        assert follower.events == []


async def test_a_stream_says_that_events_are_missing(world: World) -> None:
    await world.tell("bulk_action.created", "bulk_action.started")
    world.clock.advance(timedelta(days=1))
    await EventStore(world.database).purge(world.clock.now())
    await world.tell("bulk_action.paused")
    async with world.follow("?after=1") as follower:
        await world.until(lambda: len(follower.events) == 1)
        kinds = [each["event"] for each in follower.messages if "event" in each]
        assert kinds == ["truncated", "bulk_action.paused"]
        assert json.loads(follower.messages[1]["data"]) == {"first": 3}
        assert "id" not in follower.messages[1]


async def test_a_stream_ends_when_its_key_is_revoked(world: World) -> None:
    issued = await world.keys.create(DEFAULT.id, "follower", ["messaging.read"])
    async with world.follow(token=issued.token) as follower:
        await world.keys.revoke(DEFAULT.id, issued.key.id)
        await world.until(follower.task.done)
        follower.task.result()


async def test_a_stream_ends_when_its_key_may_read_no_longer(world: World) -> None:
    issued = await world.keys.create(DEFAULT.id, "follower", ["messaging.read", "members.read"])
    async with world.follow(token=issued.token) as follower:
        assert await world.keys.change(DEFAULT.id, issued.key.id, permissions=["members.read"]) is not None
        await world.until(follower.task.done)
        follower.task.result()


async def test_streams_end_cleanly_when_the_daemon_stops(world: World) -> None:
    async with world.follow() as one, world.follow() as other:
        world.streams.close()
        for follower in (one, other):
            await asyncio.wait_for(follower.task, 5)


async def test_there_is_an_end_to_the_number_of_streams_of_an_org(world: World) -> None:
    held = [world.follow() for _ in range(STREAMS_MAX)]
    for each in held:
        await each.__aenter__()
    reply = await world.api.get("/v1/events/stream")
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "too_many_streams", "15")
    other = await world.api.key("messaging.read", org=OTHER.id)
    async with world.follow(token=other):
        pass
    await held[0].__aexit__(None, None, None)

    async def free() -> bool:
        """The gateway notices with the next comment that somebody has gone."""
        await world.tell("bulk_action.created")
        sent = {"Authorization": f"Bearer {world.api.token}"}
        async with world.api.session.get(f"{world.api.base}/v1/events/stream", headers=sent) as answer:
            return answer.status == 200

    await world.until(free)
    for each in held[1:]:
        await each.__aexit__(None, None, None)


async def test_a_reader_that_does_not_read_is_left_behind(world: World) -> None:
    host, _, port = world.api.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_024)
    writer.write(
        f"GET /v1/events/stream?types=*&after=0 HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {world.api.token}\r\n\r\n".encode()
    )
    await reader.readline()
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()
    async with world.follow("?types=*&after=0") as other:
        number = 0

        async def left() -> bool:
            nonlocal number
            if number < 60_000:  # more than all buffers on the way hold
                await world.tell_messages(1_000)
                number += 1_000
            return len(world.streams._open[DEFAULT.id]) == 1

        await world.until(left)
        await world.until(lambda: other.raw.count(b"event: message.sent") == number)
        assert len(other.events) == number
    writer.transport.abort()
    await asyncio.sleep(0)
