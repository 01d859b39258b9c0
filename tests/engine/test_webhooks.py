"""The delivery loop over a real store and real receivers on loopback; only time stands still."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from aiohttp import web

from gateway.core.delivery import RETRY_AFTER, Reply
from gateway.core.ids import IdSequence, OrgId, WebhookId
from gateway.core.states import MessageStatus
from gateway.engine.webhooks import AT_ONCE, Post, Webhooks
from gateway.errors import Invalid, NotFound, Refused, StoreUnavailable
from gateway.posting import Poster
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.deliveries import EVENTS_AT_ONCE, LOGGED_MAX, Delivery, DeliveryStore, Outcome
from gateway.store.events import EventStore
from gateway.store.housekeeping import Housekeeping
from gateway.store.outbox import publish, publish_statuses
from gateway.store.webhooks import IssuedWebhook, Webhook, WebhookSettings, WebhookStore
from gateway.testing.clock import FakeClock
from tests.receiver import Receiver, Taken, down, ok, receiving

T = TypeVar("T")

ROUNDS_MAX = 4_000
SENDERS = ("sender.*",)


@dataclass
class World:
    """One org, its webhooks and a loop that can be killed."""

    database: Database
    clock: FakeClock
    webhooks: WebhookStore
    deliveries: DeliveryStore
    post: Post
    org: OrgId
    loop: Webhooks
    task: asyncio.Task[None] | None = None
    numbers: int = 0
    issued: list[IssuedWebhook] = field(default_factory=list)

    def start(self) -> None:
        self.loop = Webhooks(self.deliveries, self.post, self.clock, lambda: 0.5)
        self.task = asyncio.create_task(self.loop.run())

    async def kill(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def add(self, url: str, *types: str) -> IssuedWebhook:
        settings = WebhookSettings(url=url, types=types or SENDERS)
        issued = await self.webhooks.create(self.org, settings, self.clock.now(), by="test")
        self.issued.append(issued)
        return issued

    async def tell(self, number: int = 1, kind: str = "sender.held") -> None:
        """Publish events; `data.number` counts them."""
        at = to_micros(self.clock.now())

        def operation(conn: sqlite3.Connection) -> None:
            for _ in range(number):
                self.numbers += 1
                publish(conn, self.org, kind, at, {"number": self.numbers})

        await self.database.write(operation)

    async def webhook(self, id: WebhookId | None = None) -> Webhook:
        return await self.webhooks.get(self.org, id or self.issued[0].webhook.id)

    async def log(self, id: WebhookId | None = None) -> list[Delivery]:
        chosen = id or self.issued[0].webhook.id
        return await self.deliveries.log(self.org, chosen, result=None, limit=10_000)

    async def until(self, reached: Callable[[], bool | Awaitable[bool]]) -> None:
        for _ in range(ROUNDS_MAX):
            if self.task is not None and self.task.done():
                self.task.result()
            found = reached()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.002)
        raise AssertionError("it was never reached")

    async def rest(self) -> None:
        """Until no webhook has anything to do now."""
        await asyncio.sleep(0.002)

        async def nothing_due() -> bool:
            return not await self.deliveries.due(self.clock.now()) and not self.loop._rounds

        await self.until(nothing_due)

    async def pass_time(self, by: timedelta = timedelta(seconds=1), step: timedelta | None = None) -> None:
        """Move time on, in steps, everything coming to rest after each."""
        end = self.clock.now() + by
        while self.clock.now() < end:
            self.clock.move_to(min(end, self.clock.now() + (step or by)))
            await self.rest()


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence, org: OrgId) -> AsyncIterator[World]:
    poster = Poster(clock, allow_private=True, seconds=1.0)
    deliveries = DeliveryStore(database)
    made = World(
        database=database,
        clock=clock,
        webhooks=WebhookStore(database, ids),
        deliveries=deliveries,
        post=poster,
        org=org,
        loop=Webhooks(deliveries, poster, clock, lambda: 0.5),
    )
    made.start()
    yield made
    await made.kill()
    await poster.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def fails(*seqs: int) -> Callable[[Taken], web.StreamResponse]:
    """A receiver that never takes some events."""
    return lambda taken: web.Response(status=500 if taken.seq in seqs else 200)


# ---- what is delivered


async def test_what_happens_after_its_creation_is_told_signed_and_in_order(world: World, receiver: Receiver) -> None:
    await world.tell(3)
    issued = await world.add(receiver.url)
    await world.tell(2)
    await world.tell(1, "contact.deleted")
    await world.tell(1, "sender.released")
    await world.pass_time()
    assert receiver.types == ["sender.held", "sender.held", "sender.released"]
    assert sorted(receiver.seqs) == [4, 5, 7]
    assert all(taken.signed_with(issued.secret) for taken in receiver.taken)
    first = min(receiver.taken, key=lambda taken: taken.seq)
    assert first.json == {
        "type": "sender.held",
        "timestamp": "2026-06-01T08:00:00Z",
        "data": {"number": 4},
        "seq": 4,
        "id": first.id,
    }
    assert first.id.startswith("evt_")
    assert first.timestamp == int(world.clock.now().timestamp())
    assert (await world.webhook()).position == 7


async def test_up_to_ten_are_under_way_at_once_in_order_of_start(world: World, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def slow(taken: Taken) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    world.post = Poster(world.clock, allow_private=True)
    await world.kill()
    world.start()
    receiver.behave = slow
    await world.add(receiver.url)
    await world.tell(25)
    world.clock.advance(timedelta(seconds=1))
    await world.until(lambda: len(receiver.asked) == AT_ONCE)
    assert sorted(taken.seq for taken in receiver.asked) == list(range(1, 11))
    gate.set()
    await world.rest()
    assert sorted(receiver.seqs) == list(range(1, 26))
    assert receiver.most_at_once == AT_ONCE
    assert isinstance(world.post, Poster)
    await world.post.close()


async def test_a_webhook_that_hangs_keeps_no_other_waiting(world: World, receiver: Receiver) -> None:
    hanging = asyncio.Event()

    async def hang(taken: Taken) -> web.StreamResponse:
        await hanging.wait()
        return web.Response()

    async with receiving(hang) as other:
        stuck = await world.add(other.url)
        well = await world.add(receiver.url)
        await world.tell(5)
        await world.pass_time()
        assert sorted(receiver.seqs) == [1, 2, 3, 4, 5]
        assert (await world.webhook(stuck.webhook.id)).health.held
        assert not (await world.webhook(well.webhook.id)).health.held
        assert {line.detail for line in await world.log(stuck.webhook.id)} == {"No answer within 1 s."}
        hanging.set()


async def test_both_secrets_sign_while_one_replaces_the_other(world: World, receiver: Receiver) -> None:
    old = await world.add(receiver.url)
    new = await world.webhooks.rotate(world.org, old.webhook.id, timedelta(hours=1), world.clock.now())
    await world.tell()
    await world.pass_time()
    assert [receiver.taken[0].signed_with(one.secret) for one in (old, new)] == [True, True]
    await world.pass_time(timedelta(hours=1))
    await world.tell()
    await world.pass_time()
    assert [receiver.taken[1].signed_with(one.secret) for one in (old, new)] == [False, True]
    assert len(receiver.taken[1].signatures) == 1


# ---- failures of single events


async def test_an_event_that_fails_is_tried_again_and_keeps_no_other_waiting(world: World, receiver: Receiver) -> None:
    receiver.behave = fails(2)
    await world.add(receiver.url)
    await world.tell(4)
    await world.pass_time()
    assert sorted(receiver.seqs) == [1, 3, 4]
    shown = await world.webhook()
    assert (shown.position, shown.retries) == (4, 1)
    receiver.behave = ok
    await world.pass_time(timedelta(seconds=4))
    assert 2 not in receiver.seqs
    await world.pass_time(timedelta(seconds=1))
    assert receiver.seqs[-1] == 2
    assert len({taken.id for taken in receiver.asked if taken.seq == 2}) == 1, "under the same id"
    assert (await world.webhook()).retries == 0


async def test_an_event_that_is_never_taken_is_given_up_after_three_days(world: World, receiver: Receiver) -> None:
    receiver.behave = fails(1)
    await world.add(receiver.url)
    await world.tell(2)
    await world.pass_time()
    for wait in RETRY_AFTER:
        await world.tell()  # others are taken: the receiver is not down
        await world.pass_time()
        await world.pass_time(wait)
    lines = [line for line in await world.log() if line.seq == 1]
    assert [line.attempt for line in lines] == list(range(10, 0, -1))
    assert [line.result for line in lines] == ["given_up", *["failed"] * 9]
    assert lines[0].again_at is None
    assert (await world.webhook()).retries == 0
    before = len(receiver.asked)
    await world.pass_time(timedelta(days=2), timedelta(hours=6))
    assert len(receiver.asked) == before


async def test_an_event_that_is_no_longer_kept_is_not_waited_for(world: World, receiver: Receiver) -> None:
    receiver.behave = fails(1)
    await world.add(receiver.url)
    await world.tell(2)
    await world.pass_time()
    await EventStore(world.database).purge(world.clock.now() + timedelta(seconds=1))
    await world.pass_time(timedelta(seconds=5))
    assert (await world.webhook()).retries == 0


# ---- receivers that are down


async def test_five_failures_in_a_row_hold_and_nothing_new_is_read(world: World, receiver: Receiver) -> None:
    receiver.behave = down
    await world.add(receiver.url)
    await world.tell(300)
    await world.pass_time()
    shown = await world.webhook()
    assert shown.health.held
    assert shown.waiting + shown.retries == 300
    assert len(receiver.asked) <= AT_ONCE + 4
    before = len(receiver.asked)
    for _ in range(3):
        await world.pass_time(timedelta(minutes=31))
    assert len(receiver.asked) == before + 3, "one probe at a time"
    assert receiver.most_at_once <= AT_ONCE


@pytest.mark.parametrize("away", [timedelta(hours=1), timedelta(days=1), timedelta(days=6, hours=20)])
async def test_a_receiver_that_is_down_misses_nothing(world: World, receiver: Receiver, away: timedelta) -> None:
    issued = await world.add(receiver.url)
    await world.tell(20)
    await world.pass_time()
    receiver.behave = down
    for _ in range(4):
        await world.tell(40)
        await world.pass_time(away / 4, away / 20)
    receiver.behave = ok
    await world.pass_time(timedelta(minutes=34), timedelta(minutes=2))
    assert sorted(receiver.seqs) == list(range(1, 181)), "every event, exactly once"
    assert all(taken.signed_with(issued.secret) for taken in receiver.taken)
    shown = await world.webhook()
    assert (shown.health.held, shown.retries, shown.waiting, shown.disabled) == (False, 0, 0, None)


async def test_an_event_that_is_never_taken_does_not_keep_a_held_webhook_waiting(
    world: World, receiver: Receiver
) -> None:
    receiver.behave = fails(1)
    await world.add(receiver.url)
    await world.tell()
    await world.pass_time(timedelta(hours=8), timedelta(minutes=20))
    assert (await world.webhook()).health.held, "that one event is all that the receiver was asked"
    await world.tell(3)
    await world.pass_time(timedelta(minutes=34), timedelta(minutes=2))
    assert sorted(receiver.seqs) == [2, 3, 4]
    assert not (await world.webhook()).health.held


async def test_a_week_without_a_success_disables_and_tells_so(world: World, receiver: Receiver) -> None:
    receiver.behave = down
    issued = await world.add(receiver.url)
    await world.tell(10)
    await world.pass_time()
    await world.pass_time(timedelta(days=6, hours=23), timedelta(hours=6))
    assert (await world.webhook()).settings.enabled
    await world.pass_time(timedelta(hours=2), timedelta(minutes=20))
    shown = await world.webhook()
    assert (shown.settings.enabled, shown.disabled) == (False, "failing")
    events = await EventStore(world.database).after(world.org, 10, (), 10)
    assert [(event.type, event.data["reason"]) for event in events.events] == [("webhook.disabled", "failing")]
    before = len(receiver.asked)
    await world.tell(10)
    await world.pass_time(timedelta(days=1), timedelta(hours=6))
    assert len(receiver.asked) == before
    receiver.behave = ok
    await world.webhooks.edit(world.org, issued.webhook.id, 1, shown_again(shown), world.clock.now())
    await world.pass_time()
    assert sorted(receiver.seqs) == [*range(1, 11), *range(12, 22)], "it goes on from where it stood"


def shown_again(shown: Webhook) -> WebhookSettings:
    """The same settings, enabled."""
    return WebhookSettings(url=shown.settings.url, types=shown.settings.types)


async def test_410_disables_at_once_and_nothing_is_lost(world: World, receiver: Receiver) -> None:
    receiver.behave = lambda taken: web.Response(status=410 if taken.seq == 3 else 200)
    issued = await world.add(receiver.url)
    await world.tell(200)
    await world.pass_time()
    shown = await world.webhook()
    assert (shown.settings.enabled, shown.disabled) == (False, "gone")
    assert len(receiver.asked) < 50
    receiver.behave = ok
    await world.webhooks.edit(world.org, issued.webhook.id, 1, shown_again(shown), world.clock.now())
    await world.pass_time()
    assert sorted(receiver.seqs) == list(range(1, 201))


async def test_a_receiver_that_asks_for_patience_gets_it(world: World, receiver: Receiver) -> None:
    receiver.behave = lambda taken: web.Response(status=429, headers={"Retry-After": "3600"})
    await world.add(receiver.url)
    await world.tell()
    await world.pass_time()
    (line,) = await world.log()
    assert line.again_at == line.at + timedelta(hours=1)


# ---- crashes, edits, replays


async def test_what_was_under_way_at_a_crash_comes_again_under_the_same_ids(world: World, receiver: Receiver) -> None:
    await world.add(receiver.url)
    await world.tell(5)
    broken = asyncio.Event()
    record = world.deliveries.record

    async def crash(outcome: Outcome, now: datetime) -> None:
        broken.set()
        await asyncio.Event().wait()

    world.deliveries.record = crash  # type: ignore[method-assign]
    world.clock.advance(timedelta(seconds=1))
    await broken.wait()
    await world.kill()
    world.deliveries.record = record  # type: ignore[method-assign]
    world.start()
    await world.rest()
    assert sorted(receiver.seqs) == sorted([*range(1, 6), *range(1, 6)])
    assert len({taken.id for taken in receiver.taken}) == 5


async def test_while_nothing_can_be_written_nothing_is_delivered_again(world: World, receiver: Receiver) -> None:
    await world.add(receiver.url)
    await world.tell(5)
    record, refusals = world.deliveries.record, 0

    async def full(outcome: Outcome, now: datetime) -> None:
        nonlocal refusals
        refusals += 1
        if refusals < 4:
            raise StoreUnavailable("The disk is full.")
        await record(outcome, now)

    world.deliveries.record = full  # type: ignore[method-assign]
    for expected in (1, 2, 3, 4):
        world.clock.advance(timedelta(seconds=1))
        await world.until(lambda expected=expected: refusals == expected)  # type: ignore[misc]
    await world.rest()
    assert sorted(receiver.seqs) == [1, 2, 3, 4, 5]


async def test_a_drain_finishes_what_was_started_and_starts_no_more(world: World, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def slow(taken: Taken) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    receiver.behave = slow
    await world.add(receiver.url)
    await world.tell(50)
    world.clock.advance(timedelta(seconds=1))
    await world.until(lambda: len(receiver.asked) == AT_ONCE)
    draining = asyncio.create_task(world.loop.drain())
    await asyncio.sleep(0)
    gate.set()
    await draining
    assert len(receiver.asked) == AT_ONCE
    assert (await world.webhook()).position == AT_ONCE


async def test_a_replay_in_the_middle_of_a_round_wins(world: World, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def slow(taken: Taken) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    issued = await world.add(receiver.url)
    await world.tell(3)
    await world.pass_time()
    receiver.behave = slow
    await world.tell(2)
    world.clock.advance(timedelta(seconds=1))
    await world.until(lambda: len(receiver.asked) == 5)
    await world.webhooks.replay_after(world.org, issued.webhook.id, 1)
    gate.set()
    receiver.behave = ok
    await world.rest()
    assert sorted(receiver.seqs) == [1, 2, 2, 3, 3, 4, 4, 5, 5]


async def test_an_edit_in_the_middle_of_a_round_is_not_judged_by_it(world: World, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def gone(taken: Taken) -> web.StreamResponse:
        await gate.wait()
        return web.Response(status=410)

    async with receiving(gone) as old:
        issued = await world.add(old.url)
        await world.tell(2)
        world.clock.advance(timedelta(seconds=1))
        await world.until(lambda: len(old.asked) == 2)
        moved = WebhookSettings(url=receiver.url, types=SENDERS)
        await world.webhooks.edit(world.org, issued.webhook.id, 1, moved, world.clock.now())
        gate.set()
        await world.pass_time()
    assert (await world.webhook()).settings.enabled
    assert sorted(receiver.seqs) == [1, 2]


async def test_a_webhook_deleted_in_the_middle_of_a_round_is_gone(world: World, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def slow(taken: Taken) -> web.StreamResponse:
        await gate.wait()
        return web.Response(status=500)

    receiver.behave = slow
    issued = await world.add(receiver.url)
    await world.tell()
    world.clock.advance(timedelta(seconds=1))
    await world.until(lambda: len(receiver.asked) == 1)
    await world.webhooks.delete(world.org, issued.webhook.id)
    gate.set()
    await world.rest()
    for table in ("webhooks", "webhook_retries", "webhook_deliveries"):
        rows = await world.database.read(lambda conn, table=table: conn.execute(f"SELECT * FROM {table}").fetchall())  # type: ignore[misc]
        assert rows == []


async def test_a_replay_from_an_instant_tells_what_happened_since(world: World, receiver: Receiver) -> None:
    issued = await world.add(receiver.url)
    await world.tell(2)
    await world.pass_time(timedelta(hours=1))
    since = world.clock.now()
    await world.tell(2)
    await world.pass_time()
    await world.webhooks.replay_from(world.org, issued.webhook.id, since)
    await world.pass_time()
    assert sorted(receiver.seqs) == [1, 2, 3, 3, 4, 4]
    later = await world.webhooks.replay_from(world.org, issued.webhook.id, since + timedelta(days=1))
    assert later.position == 4, "nothing has happened since then"


async def test_nobody_is_sent_ahead_or_back_to_what_is_no_longer_kept(world: World, receiver: Receiver) -> None:
    issued = await world.add(receiver.url)
    start = world.clock.now()
    await world.tell(2)
    await world.pass_time(timedelta(hours=1))
    await EventStore(world.database).purge(world.clock.now())
    await world.tell(2)
    await world.pass_time()
    for seq in (0, 1, 5):
        with pytest.raises(Invalid, match="the oldest event kept is 3"):
            await world.webhooks.replay_after(world.org, issued.webhook.id, seq)
    with pytest.raises(Invalid, match="not kept any more"):
        await world.webhooks.replay_from(world.org, issued.webhook.id, start)
    assert (await world.webhooks.replay_after(world.org, issued.webhook.id, 2)).position == 2


async def test_there_is_an_end_to_the_number_of_webhooks(world: World) -> None:
    for _ in range(20):
        await world.add("https://example.org/hook")
    with pytest.raises(Refused, match="20 webhooks already"):
        await world.add("https://example.org/hook")


# ---- tests


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_test_is_delivered_at_once_and_to_nobody_else(world: World, receiver: Receiver, enabled: bool) -> None:
    issued = await world.add(receiver.url, "*")
    await world.add(receiver.url, "webhook.*")
    if not enabled:
        off = WebhookSettings(url=receiver.url, types=("*",), enabled=False)
        await world.webhooks.edit(world.org, issued.webhook.id, 1, off, world.clock.now())
    line = await world.loop.test(world.org, issued.webhook.id)
    assert (line.type, line.result, line.status) == ("webhook.test", "delivered", 204)
    await world.pass_time()
    tests = [taken for taken in receiver.taken if taken.json["type"] == "webhook.test"]
    assert [taken.id for taken in tests] == [line.event_id]
    assert tests[0].signed_with(issued.secret)


async def test_a_test_that_is_taken_ends_a_hold(world: World, receiver: Receiver) -> None:
    receiver.behave = down
    issued = await world.add(receiver.url)
    await world.tell(10)
    await world.pass_time()
    await world.pass_time(timedelta(hours=3), timedelta(minutes=30))
    assert (await world.loop.test(world.org, issued.webhook.id)).result == "failed"
    await world.rest()
    assert (await world.webhook()).health.held
    receiver.behave = ok
    await world.loop.test(world.org, issued.webhook.id)
    await world.rest()
    assert not (await world.webhook()).health.held
    assert sorted(taken.seq for taken in receiver.taken if taken.json["type"] != "webhook.test") == list(range(1, 11))


async def test_nobody_tests_another_org_s_webhook(world: World, receiver: Receiver) -> None:
    issued = await world.add(receiver.url)
    with pytest.raises(NotFound):
        await world.loop.test(OrgId(2), issued.webhook.id)
    assert receiver.asked == []


# ---- crowds


class Counted(Database):
    """The same open database, counting what it is asked."""

    def __init__(self, opened: Database) -> None:
        self.__dict__ = opened.__dict__
        self._opened = opened
        self.reads = 0
        self.writes = 0

    async def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        self.writes += 1
        return await super().write(operation)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self.reads += 1
        return await super().read(query)


class Nearby:
    """Takes everything without a network between."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.ids.append(headers["webhook-id"])
        return Reply(status=200)


async def send_to_60_000(database: Database, org: OrgId, at: int) -> None:
    """What a bulk action publishes: rows of a hundred messages."""

    def operation(conn: sqlite3.Connection) -> None:
        for start in range(0, 60_000, 100):
            publish_statuses(conn, org, MessageStatus.SENT, at, [*range(start, start + 100)], action=1)

    await database.write(operation)


async def test_the_messages_of_a_large_send_pass_by_who_does_not_want_them(world: World) -> None:
    nearby = Nearby()
    await world.kill()
    counted = Counted(world.database)
    world.deliveries, world.post = DeliveryStore(counted), nearby
    world.start()
    await world.add("https://example.org/hook", "bulk_action.*")
    await send_to_60_000(world.database, world.org, to_micros(world.clock.now()))
    await world.pass_time()
    assert (await world.webhook()).position == 60_000
    assert nearby.ids == []
    assert counted.writes == 1


async def test_the_messages_of_a_large_send_are_told_in_bounded_steps(world: World) -> None:
    nearby = Nearby()
    await world.kill()
    counted = Counted(world.database)
    world.deliveries, world.post = DeliveryStore(counted), nearby
    await world.add("https://example.org/hook", "message.*")
    await send_to_60_000(world.database, world.org, to_micros(world.clock.now()))
    world.start()

    async def arrived() -> bool:
        return (await world.webhook()).waiting == 0

    await world.until(arrived)
    await world.rest()
    assert len(nearby.ids) == len(set(nearby.ids)) == 60_000
    rounds = 60_000 // EVENTS_AT_ONCE
    assert counted.writes == rounds
    assert len(await world.log()) == LOGGED_MAX
    await Housekeeping(world.database).purge(world.clock.now() + timedelta(days=31))
    assert await world.log() == []


async def test_a_defect_in_one_webhooks_round_keeps_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as one, receiving() as other:
        first, _ = await world.add(one.url), await world.add(other.url)
        plan, defective = DeliveryStore.plan, [first.webhook.id]
        asked = 0

        async def planned(self: DeliveryStore, id: WebhookId, now: datetime) -> object:
            nonlocal asked
            if id in defective:
                asked += 1
                raise KeyError("a row that nobody foresaw")
            return await plan(self, id, now)

        monkeypatch.setattr(DeliveryStore, "plan", planned)
        await world.tell()
        world.clock.advance(timedelta(seconds=1))
        await world.until(lambda: (asked, len(other.taken)) == (1, 1))
        assert [fault.partition(" ")[2] for fault in world.loop.faults] == ["cannot be served: KeyError"]
        for number in (2, 3):
            await world.tell()
            world.clock.advance(timedelta(seconds=1))
            await world.until(lambda number=number: len(other.taken) == number)  # type: ignore[misc]
        assert asked == 1  # it is not tried at full speed
        defective.clear()
        world.clock.advance(timedelta(minutes=1))
        await world.until(lambda: len(one.taken) == 3)
        await world.until(lambda: not world.loop.faults)
