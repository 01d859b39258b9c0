"""What goes wrong around the engine: policies that raise, a disk that is full, an operator who must hear of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway.contract import (
    Accepted,
    Allow,
    Code,
    Defer,
    Deny,
    Facts,
    Misconfigured,
    Outbound,
    Rejected,
    SendPolicy,
    Verdict,
)
from gateway.core.ids import IdSequence
from gateway.core.schedule import Drip, Schedule, parse_every
from gateway.engine.gatekeeper import Gatekeeper
from gateway.errors import StoreUnavailable
from gateway.store.database import Database, connect
from gateway.testing.clock import FakeClock
from tests.engine.world import FakeAdapter, World

NOW = Schedule(mode="now", time_zone="UTC")


class NoSettings(msgspec.Struct, frozen=True):
    """None."""


class Judge(SendPolicy[NoSettings]):
    """A policy that does what the test says."""

    name = "judge"
    settings_type = NoSettings

    def __init__(self) -> None:
        super().__init__(NoSettings())
        self.seen: list[Facts] = []
        self.verdicts: dict[str, Verdict | Exception] = {}

    def judge(self, facts: Facts) -> Verdict:
        self.seen.append(facts)
        verdict = self.verdicts.get(facts.address, self.verdicts.get("*", Allow()))
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence, judge: Judge) -> AsyncIterator[World]:
    world = World(database, clock, ids, policies=[judge], operator="ops@example.org")
    await world.start()
    yield world
    await world.assert_books_balance()
    await world.kill()


async def test_a_policy_denies_one_and_the_others_are_sent(world: World, judge: Judge) -> None:
    judge.verdicts["c2@example.org"] = Deny("frequency_cap", "Written to often enough")
    judge.verdicts["c3@example.org"] = Deny("blocked", "On the list", failed=True)
    await world.contacts(4)
    action = await world.create(NOW)
    assert await world.states(action) == {"succeeded": 2, "skipped": 1, "failed": 1}
    rows = await world.sql("SELECT code, reason FROM recipients WHERE state >= 4 ORDER BY seq")
    assert rows == [("frequency_cap", "Written to often enough"), ("blocked", "On the list")]


async def test_a_deferred_recipient_waits_and_is_judged_again(world: World, judge: Judge) -> None:
    judge.verdicts["c1@example.org"] = Defer(world.clock.now() + timedelta(hours=2), "quiet hours")
    await world.contacts(2)
    action = await world.create(NOW)
    assert await world.states(action) == {"succeeded": 1, "pending": 1}
    judge.verdicts.clear()
    await world.advance(timedelta(hours=2, seconds=1), step=timedelta(minutes=30))
    assert await world.states(action) == {"succeeded": 2}


async def test_a_deferred_recipient_of_a_drip_takes_a_later_place(world: World, judge: Judge) -> None:
    judge.verdicts["c1@example.org"] = Defer(world.clock.now() + timedelta(hours=1, minutes=30), "quiet hours")
    await world.contacts(5)
    drip = Drip(batch_quantity=2, repeat_after=parse_every("1h"))
    await world.create(Schedule(mode="drip", time_zone="UTC", drip=drip))
    judge.verdicts.clear()
    assert [message.to for message in world.provider.sent] == ["c2@example.org"]
    await world.advance(timedelta(hours=1))
    assert [message.to for message in world.provider.sent][1:] == ["c3@example.org", "c4@example.org"]
    await world.advance(timedelta(hours=1))
    assert {message.to for message in world.provider.sent[3:]} == {"c1@example.org", "c5@example.org"}


async def test_a_policy_that_raises_sends_nothing_spends_nobody_and_pauses_the_action(
    world: World, judge: Judge
) -> None:
    judge.verdicts["*"] = RuntimeError("no network")
    await world.contacts(3)
    action = await world.create(NOW)
    assert await world.status(action) == "paused"
    assert (await world.sql("SELECT pause_reason FROM bulk_actions"))[0] == ("policy_error",)
    assert await world.states(action) == {"pending": 3}
    assert all(message.to == "ops@example.org" for message in world.provider.sent)
    assert 5 <= len(judge.seen) <= 10


async def test_the_operator_is_told_of_a_pause_once(world: World) -> None:
    world.provider.by_address = {
        f"c{n}@example.org": lambda message: Rejected(Code.CONTENT, "spam") for n in range(1, 61)
    }
    await world.contacts(60)
    await world.create(NOW)
    told = [message for message in world.provider.sent if message.to == "ops@example.org"]
    assert [message.subject for message in told] == ["Paused: a bulk action"]
    assert "failing" in (told[0].text or "")


async def test_a_full_disk_stops_sending_before_the_intent_and_goes_on_by_itself(world: World) -> None:
    await world.contacts(50)
    drip = Drip(batch_quantity=25, repeat_after=parse_every("1h"))
    action = await world.create(Schedule(mode="drip", time_zone="UTC", drip=drip))
    assert len(world.provider.sent) == 25
    (pages,) = (await world.sql("PRAGMA page_count"))[0]
    await world.database.write(lambda conn: conn.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    filler = "x" * 3_000
    for _ in range(20):  # use up what is free inside the file
        try:
            await world.change("INSERT INTO message_history VALUES (1, 1, 'attempt', 'x', ?)", filler)
        except Exception:  # noqa: BLE001 - full is what is wanted
            continue
    await world.advance(timedelta(hours=1))
    intents = (await world.sql("SELECT count(*) FROM messages"))[0][0]
    assert len(world.provider.sent) <= intents  # nothing left without its intent on disk
    await world.database.write(lambda conn: conn.execute("PRAGMA max_page_count = 1000000").fetchone())
    await world.advance(timedelta(minutes=2), step=timedelta(seconds=20))
    assert await world.states(action) == {"succeeded": 50}
    assert set(world.provider.refs.values()) == {1}


async def test_who_could_not_be_judged_because_the_database_could_not_be_read_is_judged_again(
    world: World, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of three is; the facts about the second cannot be read, once."""
    opinions = Gatekeeper.opinions

    async def unread(self: Gatekeeper, *args: Any) -> Any:
        if len(judge.seen) == 1:
            monkeypatch.undo()
            raise StoreUnavailable("The disk does not answer.")
        return await opinions(self, *args)

    monkeypatch.setattr(Gatekeeper, "opinions", unread)
    await world.contacts(3)
    action = await world.create(NOW)
    await world.advance(timedelta(seconds=3), step=timedelta(seconds=1))
    assert await world.states(action) == {"succeeded": 3}


async def test_an_adapter_that_raises_when_it_is_asked_what_it_refuses_is_held_like_a_policy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FakeAdapter, message: Outbound) -> Rejected | None:
        raise KeyError("a bug of the adapter")

    monkeypatch.setattr(FakeAdapter, "refuse", broken)
    await world.contacts(3)
    action = await world.create(NOW)
    assert await world.status(action) == "paused"
    assert await world.states(action) == {"pending": 3}
    rows = await world.sql("SELECT pause_reason, pause_detail FROM bulk_actions WHERE id = ?", action)
    assert rows == [("policy_error", "Policy 'adapter fake' failed: KeyError: 'a bug of the adapter'")]


async def test_a_held_sender_is_probed_on_while_the_database_cannot_be_written(world: World) -> None:
    world.provider.answer = lambda message: Misconfigured("wrong password")
    world.provider.healthy = "wrong password"
    await world.contacts(3)
    action = await world.create(NOW)
    assert await world.sql("SELECT held FROM senders") == [("misconfigured",)]
    await world.database.write(lambda conn: conn.execute("PRAGMA busy_timeout = 1"))
    with closing(connect(world.database.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        # No loop dies of it, and none turns without waiting: this would raise.
        await world.advance(timedelta(minutes=6), timedelta(seconds=30))
    world.provider.answer = lambda message: Accepted()
    world.provider.healthy = None
    await world.advance(timedelta(minutes=2), timedelta(seconds=30))
    assert await world.states(action) == {"succeeded": 3}
