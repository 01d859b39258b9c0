"""Whom a policy tells to wait: where they wait, what the action says meanwhile, and how they come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.contract import Accepted, Allow, Defer, Facts, Outbound, Outcome, Retry, SendPolicy, Verdict
from gateway.core.ids import ActionId, IdSequence
from gateway.core.schedule import Drip, Schedule, parse_every
from gateway.engine import feed
from gateway.store.codec import instant_or_none
from gateway.store.database import Database
from gateway.store.turn import Granted, Turn
from gateway.store.turns import TurnStore
from gateway.testing.clock import FakeClock
from tests.engine.world import World

NOW = Schedule(mode="now", time_zone="UTC")
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class NoSettings(msgspec.Struct, frozen=True):
    """None."""


class Nights(SendPolicy[NoSettings]):
    """Everybody has a night of their own: until an instant that the test sets by address, or by "*"."""

    name = "nights"
    settings_type = NoSettings

    def __init__(self) -> None:
        super().__init__(NoSettings())
        self.until: dict[str, datetime] = {}
        self.asked = 0

    def judge(self, facts: Facts) -> Verdict:
        self.asked += 1
        until = self.until.get(facts.address, self.until.get("*", facts.now))
        return Defer(until, "Night") if until > facts.now else Allow()


@pytest.fixture
def nights() -> Nights:
    return Nights()


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence, nights: Nights) -> AsyncIterator[World]:
    world = World(database, clock, ids, policies=[nights])
    await world.start()
    yield world
    await world.assert_books_balance()
    await world.kill()


async def says(world: World, action: ActionId) -> tuple[str | None, datetime | None]:
    """What the action shows: `wait_reason` and `next_batch_at`."""
    ((reason, at),) = await world.sql("SELECT wait_reason, next_batch_at FROM bulk_actions WHERE id = ?", action)
    return reason, instant_or_none(at)


async def test_while_everybody_waits_the_action_says_so_and_until_when(world: World, nights: Nights) -> None:
    morning = world.clock.now() + 2 * HOUR
    nights.until = {"*": morning, "c1@example.org": morning + HOUR}
    await world.contacts(3)
    action = await world.create(NOW)
    assert await world.states(action) == {"pending": 3}
    assert await says(world, action) == ("quiet_hours", morning)

    await world.advance(2 * HOUR, step=30 * timedelta(minutes=1))
    await world.advance(SECOND)
    assert await world.states(action) == {"succeeded": 2, "pending": 1}
    assert await says(world, action) == ("quiet_hours", morning + HOUR)

    await world.advance(HOUR)
    assert await world.states(action) == {"succeeded": 3}
    assert await says(world, action) == (None, None)


async def test_as_long_as_somebody_is_sent_to_the_action_does_not_say_that_it_waits(
    world: World, nights: Nights
) -> None:
    morning = world.clock.now() + HOUR
    nights.until = {"c1@example.org": morning}
    world.provider.by_address = {"c2@example.org": slow_once()}
    await world.contacts(2)
    action = await world.create(NOW)
    assert await world.states(action) == {"pending": 2}
    assert (await says(world, action))[0] is None
    await world.advance(timedelta(minutes=10), step=timedelta(minutes=1))
    assert await world.states(action) == {"pending": 1, "succeeded": 1}
    assert await says(world, action) == ("quiet_hours", morning)


async def test_a_restart_at_night_changes_nothing(world: World, nights: Nights) -> None:
    morning = world.clock.now() + 2 * HOUR
    nights.until = {"*": morning}
    await world.contacts(2)
    action = await world.create(NOW)
    await world.kill()
    await world.start()
    await world.advance(HOUR, step=timedelta(minutes=10))
    assert await says(world, action) == ("quiet_hours", morning)
    await world.advance(HOUR + SECOND, step=timedelta(minutes=10))
    assert await world.states(action) == {"succeeded": 2}


async def test_who_waits_is_not_asked_about_again_before_the_time(world: World, nights: Nights) -> None:
    nights.until = {"*": world.clock.now() + HOUR}
    await world.contacts(20)
    await world.create(NOW)
    asked = nights.asked
    await world.advance(timedelta(minutes=50), step=timedelta(minutes=5))
    assert nights.asked == asked == 20


async def test_who_is_judged_while_a_turn_is_written_is_settled_by_the_next(
    world: World, nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two is deferred in a turn; the second is judged between its start and its commit."""
    take, writing, read = TurnStore.take, asyncio.Event(), asyncio.Event()

    async def rest(_seconds: float) -> None:
        """The feed's, between the first and the second."""
        if nights.asked == 1:
            await writing.wait()
            read.set()

    async def taken(self: TurnStore, turn: Turn) -> Granted:
        if turn.deferred:
            writing.set()
            await asyncio.wait_for(read.wait(), 10)
        return await take(self, turn)

    monkeypatch.setattr(feed, "AT_ONCE", 1)
    monkeypatch.setattr(feed, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": rest}))
    monkeypatch.setattr(TurnStore, "take", taken)
    nights.until = {"*": world.clock.now() + HOUR}
    await world.contacts(2)
    action = await world.create(NOW)
    world.engine.nudge()
    await world.settle()
    assert await world.sql("SELECT count(not_before) FROM recipients") == [(2,)]
    assert nights.asked == 2
    await world.advance(HOUR + SECOND)
    assert await world.states(action) == {"succeeded": 2}


async def test_who_is_in_another_batch_by_the_time_the_deferral_is_written_is_judged_anew(
    world: World, nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deferral is not written then, and the reading has gone by."""
    take = TurnStore.take

    async def taken(self: TurnStore, turn: Turn) -> Granted:
        if turn.deferred:
            await world.change("UPDATE recipients SET batch = 1 WHERE batch IS NULL")
            nights.until.clear()
        return await take(self, turn)

    monkeypatch.setattr(TurnStore, "take", taken)
    nights.until = {"*": world.clock.now() + HOUR}
    await world.contacts(1)
    action = await world.create(NOW)
    await world.advance(3 * SECOND, step=SECOND)
    assert await world.states(action) == {"succeeded": 1}


async def test_an_attempt_that_is_repeated_at_night_waits_for_the_morning(world: World, nights: Nights) -> None:
    world.provider.by_address = {"c1@example.org": slow_once()}
    await world.contacts(1)
    action = await world.create(NOW)
    morning = world.clock.now() + 3 * HOUR
    nights.until = {"*": morning}
    await world.advance(2 * HOUR, step=timedelta(minutes=5))
    assert len(world.provider.sent) == 1
    assert nights.asked == 2, "once before each attempt"
    await world.advance(HOUR + SECOND, step=timedelta(minutes=5))
    assert await world.states(action) == {"succeeded": 1}
    assert len(world.provider.refs) == 1


async def test_in_a_drip_a_repeated_attempt_keeps_its_batch_and_holds_nobody_up(world: World, nights: Nights) -> None:
    world.provider.by_address = {"c1@example.org": slow_once()}
    await world.contacts(4)
    action = await world.create(dripping(2))
    nights.until = {"c1@example.org": world.clock.now() + 2 * HOUR}
    await world.advance(HOUR, step=timedelta(minutes=5))
    assert sorted(message.to for message in world.provider.sent) == [f"c{n}@example.org" for n in (1, 2, 3, 4)]
    assert await batches(world, action) == [(1, 2, 0), (2, 2, 0)]
    await world.advance(2 * HOUR, step=timedelta(minutes=5))
    assert await world.states(action) == {"succeeded": 4}
    assert await world.sql("SELECT batch FROM recipients WHERE action = ? ORDER BY seq", action) == [
        (1,), (1,), (2,), (2,)
    ]  # fmt: skip


async def test_in_a_drip_a_night_for_all_empties_the_batches_and_loses_nobody(world: World, nights: Nights) -> None:
    morning = world.clock.now() + timedelta(hours=2, minutes=30)
    nights.until = {"*": morning}
    await world.contacts(6)
    action = await world.create(dripping(2))
    await world.advance(2 * HOUR, step=timedelta(minutes=30))
    assert await world.states(action) == {"pending": 6}
    assert await says(world, action) == ("quiet_hours", morning)
    assert world.provider.sent == []
    await world.advance(6 * HOUR, step=timedelta(minutes=30))
    assert [message.to for message in world.provider.sent] == [f"c{n}@example.org" for n in range(1, 7)]
    assert [untried for _, _, untried in await batches(world, action)] == [0] * 6


def slow_once() -> Any:
    """The provider wants the first attempt to be repeated."""
    attempts: list[str] = []

    def answer(message: Outbound) -> Outcome:
        attempts.append(message.ref)
        return Retry("busy", after=timedelta(minutes=3)) if len(attempts) == 1 else Accepted()

    return answer


def dripping(quantity: int) -> Schedule:
    return Schedule(mode="drip", time_zone="UTC", drip=Drip(batch_quantity=quantity, repeat_after=parse_every("1h")))


async def batches(world: World, action: ActionId) -> list[tuple[Any, ...]]:
    return await world.sql("SELECT number, quantity, untried FROM batches WHERE action = ? ORDER BY number", action)


async def test_who_was_judged_by_day_and_could_not_leave_does_not_leave_at_night(
    database: Database, clock: FakeClock, ids: IdSequence, nights: Nights
) -> None:
    world = World(database, clock, ids, policies=[nights], daily_cap=2)
    await world.start()
    await world.contacts(5)
    action = await world.create(NOW)
    assert len(world.provider.sent) == 2
    await world.advance(4 * HOUR, step=HOUR)
    morning = datetime.fromisoformat("2026-06-02T08:00Z")
    nights.until = {"*": morning}
    await world.advance(morning - SECOND - clock.now(), step=HOUR)
    assert len(world.provider.sent) == 2, "the cap begins anew at midnight, and the night is not over"
    await world.advance(2 * SECOND, step=SECOND)
    assert len(world.provider.sent) == 4
    await world.advance(26 * HOUR, step=HOUR)
    assert await world.states(action) == {"succeeded": 5}
    await world.assert_books_balance()
    await world.kill()


async def test_a_slow_sender_stops_soon_after_the_night_has_begun(
    database: Database, clock: FakeClock, ids: IdSequence, nights: Nights
) -> None:
    world = World(database, clock, ids, policies=[nights], rate=1.0, burst=1.0)
    await world.start()
    await world.contacts(60)
    action = await world.create(NOW)
    await world.advance(20 * SECOND, step=SECOND)
    sent = len(world.provider.sent)
    assert sent >= 20
    nights.until = {"*": clock.now() + 2 * HOUR}
    await world.advance(60 * SECOND, step=SECOND)
    assert len(world.provider.sent) - sent <= 11, "a judgement is good for ten seconds"
    await world.advance(2 * HOUR, step=HOUR)
    await world.advance(60 * SECOND, step=SECOND)
    assert await world.states(action) == {"succeeded": 60}
    assert set(world.provider.refs.values()) == {1}
    await world.kill()


async def test_people_who_are_due_and_cannot_leave_are_read_once(
    database: Database, clock: FakeClock, ids: IdSequence, nights: Nights
) -> None:
    world = World(database, clock, ids, policies=[nights], daily_cap=1)
    await world.start()
    nights.until = {"*": clock.now() + HOUR}
    await world.contacts(10)
    await world.create(NOW)
    await world.advance(HOUR, step=10 * timedelta(minutes=1))
    await world.advance(2 * SECOND, step=SECOND)
    assert len(world.provider.sent) == 1
    asked = nights.asked
    await world.advance(HOUR, step=timedelta(minutes=1))
    assert nights.asked == asked
    await world.kill()


async def test_a_look_of_the_scheduler_does_not_forget_why_the_sender_waits(
    database: Database, clock: FakeClock, ids: IdSequence, nights: Nights
) -> None:
    world = World(database, clock, ids, policies=[nights], daily_cap=1)
    await world.start()
    morning = clock.now() + HOUR
    nights.until = {"c1@example.org": morning}
    await world.contacts(4)
    action = await world.create(NOW)
    await world.advance(SECOND)
    midnight = datetime.fromisoformat("2026-06-02T00:00Z")
    assert await says(world, action) == ("daily_cap", midnight)
    await world.change("UPDATE bulk_actions SET look_at = 0")
    world.engine.nudge()
    await world.settle()
    assert await says(world, action) == ("daily_cap", midnight)

    await world.kill()
    world = World(database, clock, ids, policies=[nights])  # without the cap
    await world.start()
    await world.advance(SECOND)
    assert await world.states(action) == {"succeeded": 3, "pending": 1}
    assert await says(world, action) == ("quiet_hours", morning)
    await world.kill()
