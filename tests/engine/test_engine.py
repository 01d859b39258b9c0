"""The loops together: batches leave by the schedule, everybody is accounted for, nothing is sent that must not be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from gateway.contract import (
    Accepted,
    Capabilities,
    Code,
    Misconfigured,
    NotSent,
    Outbound,
    Outcome,
    Rejected,
    Retry,
    Unknown,
)
from gateway.core.ids import IdSequence
from gateway.core.schedule import Drip, Schedule, parse_every, parse_window
from gateway.store.database import Database
from gateway.store.turn import Granted, Turn
from gateway.store.turns import TurnStore
from gateway.testing.clock import FakeClock
from tests.engine.world import World

NOW = Schedule(mode="now", time_zone="UTC")


def drip(quantity: int = 2, every: str = "1h", **more: object) -> Schedule:
    return Schedule(
        mode="drip",
        time_zone="UTC",
        drip=Drip(batch_quantity=quantity, repeat_after=parse_every(every), **more),  # type: ignore[arg-type]
    )


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    world = World(database, clock, ids)
    await world.start()
    yield world
    await world.assert_books_balance()
    await world.kill()


async def test_everybody_gets_a_message_at_once(world: World) -> None:
    await world.contacts(10)
    action = await world.create(NOW, body="Hi {{ id }}")
    assert await world.status(action) == "completed"
    assert await world.states(action) == {"succeeded": 10}
    assert {message.text for message in world.provider.sent} == {f"Hi c{n}" for n in range(1, 11)}
    assert set(world.provider.refs.values()) == {1}


async def test_a_drip_releases_one_batch_per_interval(world: World) -> None:
    await world.contacts(5)
    action = await world.create(drip())
    assert len(world.provider.sent) == 2
    await world.advance(timedelta(minutes=59))
    assert len(world.provider.sent) == 2
    await world.advance(timedelta(minutes=1))
    assert len(world.provider.sent) == 4
    assert await world.status(action) == "processing"
    await world.advance(timedelta(hours=1))
    assert await world.status(action) == "completed"
    batches = await world.sql("SELECT number, quantity, untried, succeeded FROM batches ORDER BY number")
    assert batches == [(1, 2, 0, 2), (2, 2, 0, 2), (3, 1, 0, 1)]


async def test_batches_missed_while_the_window_was_closed_are_dropped_not_owed(world: World) -> None:
    await world.contacts(10)
    await world.create(drip(process_between=parse_window(("09:00", "10:30"))))
    assert len(world.provider.sent) == 0  # 08:00
    await world.advance(timedelta(hours=1))
    assert len(world.provider.sent) == 2  # 09:00
    await world.advance(timedelta(hours=1))
    assert len(world.provider.sent) == 4  # 10:00
    await world.advance(timedelta(hours=22, minutes=59), step=timedelta(hours=1))
    assert len(world.provider.sent) == 4
    await world.advance(timedelta(minutes=1))
    assert len(world.provider.sent) == 6  # 09:00 the next day: one batch, not a pile


async def test_unreachable_people_take_no_place_in_a_batch(world: World) -> None:
    await world.contacts(2, email=None)
    await world.contacts(3)
    await world.change(
        "INSERT INTO opt_outs (id, org, channel, address, source, created_at) "
        "VALUES (1, 1, 'email', 'c3@example.org', 'api', 0)"
    )
    action = await world.create(drip())
    assert [message.to for message in world.provider.sent] == ["c4@example.org", "c5@example.org"]
    assert await world.states(action) == {"failed": 2, "skipped": 1, "succeeded": 2}
    assert await world.status(action) == "partial"


async def test_an_opt_out_between_two_batches_is_respected(world: World) -> None:
    await world.contacts(4)
    action = await world.create(drip())
    await world.change(
        "INSERT INTO opt_outs (id, org, channel, contact, source, created_at) VALUES (1, 1, 'email', 3, 'api', 0)"
    )
    await world.advance(timedelta(hours=1))
    assert [message.to for message in world.provider.sent] == ["c1@example.org", "c2@example.org", "c4@example.org"]
    rows = await world.sql("SELECT code, reason FROM recipients WHERE action = ? AND state = 5", action)
    assert rows == [("opted_out", "Opted out of e-mail")]


async def test_two_contacts_with_one_address_get_one_message(world: World) -> None:
    await world.contacts(3, email="shared@example.org")
    action = await world.create(NOW)
    assert len(world.provider.sent) == 1
    assert await world.states(action) == {"succeeded": 1, "skipped": 2}


async def test_who_is_tried_again_where_somebody_else_has_had_the_message_since_is_skipped(world: World) -> None:
    """The message goes where its first attempt went, whatever the contact's address is by now."""
    answers: Iterator[Outcome] = iter([Retry("busy", after=timedelta(hours=2)), Accepted()])
    world.provider.by_address["c1@example.org"] = lambda message: next(answers)
    await world.contacts(2)
    action = await world.create(drip(quantity=1))
    await world.change("UPDATE contacts SET email = 'moved@example.org', updated_at = updated_at + 1 WHERE id = 1")
    await world.change("UPDATE contacts SET email = 'c1@example.org', updated_at = updated_at + 1 WHERE id = 2")
    await world.advance(timedelta(hours=1))
    await world.advance(timedelta(hours=2))
    assert [message.to for message in world.provider.sent] == ["c1@example.org", "c1@example.org"]
    assert await world.states(action) == {"succeeded": 1, "skipped": 1}
    rows = await world.sql("SELECT seq, code FROM recipients WHERE action = ? AND state = 5", action)
    assert rows == [(1, "duplicate_address")]
    await world.assert_books_balance()


async def test_a_rejection_fails_the_recipient_with_the_providers_reason(world: World) -> None:
    world.provider.by_address["c2@example.org"] = lambda message: Rejected(
        Code.INVALID_ADDRESS, "no such user", provider_code="550 5.1.1", address_dead=True
    )
    await world.contacts(3)
    action = await world.create(NOW)
    assert await world.status(action) == "partial"
    rows = await world.sql("SELECT code, reason FROM recipients WHERE action = ? AND state = 4", action)
    assert rows == [("invalid_address", "no such user")]
    assert await world.sql("SELECT address, source FROM opt_outs") == [("c2@example.org", "bounce")]


async def test_a_retry_waits_in_the_row_and_survives_a_restart(world: World) -> None:
    answers: Iterator[Outcome] = iter([Retry("greylisted"), Accepted()])
    world.provider.by_address["c1@example.org"] = lambda message: next(answers)
    await world.contacts(1)
    action = await world.create(NOW)
    assert await world.states(action) == {"pending": 1}
    await world.kill()
    await world.start()
    assert len(world.provider.sent) == 1
    await world.advance(timedelta(minutes=2))
    assert await world.states(action) == {"succeeded": 1}
    assert list(world.provider.refs.values()) == [2]  # the same ref on both attempts
    assert [message.attempt for message in world.provider.sent] == [1, 2]


async def test_bad_credentials_hold_the_sender_and_burn_nobody(world: World) -> None:
    world.provider.answer = lambda message: Misconfigured("535 bad credentials")
    world.provider.healthy = "535 bad credentials"
    await world.contacts(20)
    action = await world.create(NOW)
    assert await world.states(action) == {"pending": 20}
    assert await world.sql("SELECT held FROM senders") == [("misconfigured",)]
    assert await world.sql("SELECT wait_reason FROM bulk_actions") == [("sender_down",)]
    world.provider.answer = lambda message: Accepted()
    world.provider.healthy = None
    await world.advance(timedelta(minutes=1))
    assert await world.states(action) == {"succeeded": 20}


async def test_an_unreachable_provider_is_probed_and_its_backlog_drains(world: World) -> None:
    def refuse(message: Outbound) -> Accepted:
        raise NotSent("connection refused")

    world.provider.answer = refuse
    world.provider.healthy = "connection refused"
    await world.contacts(30)
    action = await world.create(NOW)
    assert await world.states(action) == {"pending": 30}
    attempts = len(world.provider.sent)
    assert attempts < 30
    await world.advance(timedelta(minutes=3), step=timedelta(seconds=10))
    assert len(world.provider.sent) == attempts
    world.provider.answer = lambda message: Accepted()
    world.provider.healthy = None
    await world.advance(timedelta(seconds=31))
    assert await world.states(action) == {"succeeded": 30}


async def test_what_was_in_flight_at_a_crash_is_sent_again_under_the_same_ref(world: World) -> None:
    await world.contacts(10)
    world.provider.gate = asyncio.Event()
    action = await world.create(NOW)
    assert await world.states(action) == {"in_flight": 4, "pending": 6}
    await world.kill()
    world.provider.gate = None
    await world.start()
    assert await world.states(action) == {"succeeded": 10}
    history = await world.sql("SELECT count(*) FROM message_history WHERE status = 'unknown'")
    assert history == [(4,)]


async def test_pausing_stops_after_what_is_in_flight(world: World) -> None:
    await world.contacts(10)
    world.provider.gate = asyncio.Event()
    action = await world.create(NOW)
    await world.change("UPDATE bulk_actions SET status = 'paused', paused_from = 'processing', look_at = NULL")
    world.provider.gate.set()
    await world.settle()
    assert await world.states(action) == {"succeeded": 4, "pending": 6}
    world.provider.gate = None
    await world.change("UPDATE bulk_actions SET status = 'processing', look_at = 0")
    world.engine.nudge()
    await world.settle()
    assert await world.states(action) == {"succeeded": 10}


async def test_cancelling_accounts_for_everybody(world: World) -> None:
    await world.contacts(10)
    world.provider.gate = asyncio.Event()
    action = await world.create(NOW)
    await world.change("UPDATE bulk_actions SET status = 'cancelled', work = 'cancel', look_at = NULL")
    world.engine.nudge()
    await world.settle()
    world.provider.gate.set()
    await world.settle()
    assert await world.states(action) == {"succeeded": 4, "cancelled": 6}


async def test_who_was_in_flight_at_a_cancel_and_did_not_leave_is_cancelled_too(world: World) -> None:
    """The sweeper is through with the action when the answers come."""
    world.provider.by_address = {
        "c1@example.org": lambda message: Retry("busy", after=timedelta(hours=1)),
        "c2@example.org": lambda message: Misconfigured("the template is paused", scope="action"),
    }
    await world.contacts(6)
    world.provider.gate = asyncio.Event()
    action = await world.create(NOW)
    await world.change("UPDATE bulk_actions SET status = 'cancelled', work = 'cancel', look_at = NULL")
    world.engine.nudge()
    await world.settle()
    assert await world.sql("SELECT work FROM bulk_actions") == [(None,)]
    assert await world.states(action) == {"in_flight": 4, "cancelled": 2}
    world.provider.gate.set()
    await world.settle()
    await world.advance(timedelta(seconds=2))
    assert await world.states(action) == {"succeeded": 2, "cancelled": 4}
    assert await world.sql("SELECT count(*) FROM messages WHERE status IN (0, 1)") == [(0,)]


async def test_who_comes_back_behind_the_sweeper_of_a_cancelled_action_is_cancelled_too(world: World) -> None:
    """The sweep has passed them, and has not ended."""
    world.provider.answer = lambda message: Retry("busy", after=timedelta(hours=1))
    await world.contacts(4)
    world.provider.gate = asyncio.Event()
    action = await world.create(NOW)
    await world.change(
        "UPDATE bulk_actions SET status = 'cancelled', work = 'cancel', work_position = 4, look_at = NULL"
    )
    world.provider.gate.set()
    await world.settle()
    world.engine.nudge()
    await world.advance(timedelta(seconds=2))
    assert await world.states(action) == {"cancelled": 4}


async def test_a_contact_edited_after_preparation_is_read_again(world: World) -> None:
    await world.contacts(12, first_name="Old")
    world.provider.gate = asyncio.Event()
    await world.create(NOW, body="Hi {{ first_name }}")
    await world.change("UPDATE contacts SET first_name = 'New', updated_at = updated_at + 1 WHERE id = 12")
    world.provider.gate.set()
    await world.settle()
    texts = {message.to: message.text for message in world.provider.sent}
    assert texts["c12@example.org"] == "Hi New"
    assert texts["c1@example.org"] == "Hi Old"


async def test_a_missing_variable_fails_that_recipient_only(world: World) -> None:
    await world.contacts(1, first_name="Ada")
    await world.contacts(1)
    action = await world.create(NOW, body="Hi {{ first_name }}")
    assert await world.states(action) == {"succeeded": 1, "failed": 1}
    assert await world.sql("SELECT code FROM recipients WHERE state = 4") == [("missing_variable",)]


async def test_twenty_failures_in_a_row_pause_the_action(world: World) -> None:
    world.provider.answer = lambda message: Rejected(Code.CONTENT, "spam")
    await world.contacts(100)
    action = await world.create(NOW)
    assert await world.status(action) == "paused"
    assert (await world.sql("SELECT pause_reason FROM bulk_actions"))[0] == ("failing",)
    assert len(world.provider.sent) < 100


async def test_a_one_off_that_is_late_by_more_than_an_hour_asks(world: World) -> None:
    await world.contacts(3)
    start = world.clock.now() + timedelta(hours=1)
    action = await world.create(Schedule(mode="at", time_zone="UTC", start_at=start))
    await world.kill()
    world.clock.advance(timedelta(hours=3))
    await world.start()
    assert await world.status(action) == "paused"
    assert (await world.sql("SELECT pause_reason FROM bulk_actions"))[0] == ("missed_schedule",)
    assert world.provider.sent == []


async def test_unknown_with_hold_waits_for_a_person_and_settles_at_its_deadline(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    world = World(database, clock, ids, capabilities=Capabilities(), on_unknown="hold")
    await world.start()
    world.provider.answer = lambda message: Unknown("reset")
    await world.contacts(2)
    action = await world.create(NOW)
    assert await world.states(action) == {"unknown": 2}
    assert await world.status(action) == "delegated"
    await world.advance(timedelta(hours=25), step=timedelta(hours=5))
    assert await world.status(action) == "partial"
    assert await world.states(action) == {"unknown": 2}
    assert set(world.provider.refs.values()) == {1}
    await world.assert_books_balance()
    await world.kill()


async def test_without_a_receipt_by_the_deadline_the_recipient_is_unconfirmed(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    world = World(database, clock, ids, capabilities=Capabilities(receipts=True))
    await world.start()
    await world.contacts(2)
    action = await world.create(NOW)
    assert await world.states(action) == {"handed_over": 2}
    assert await world.status(action) == "delegated"
    await world.advance(timedelta(hours=24, seconds=1), step=timedelta(hours=8))
    assert await world.status(action) == "completed"
    assert await world.sql("SELECT succeeded, unconfirmed FROM action_counts") == [(2, 2)]
    await world.assert_books_balance()
    await world.kill()


async def test_a_drip_in_which_nobody_can_be_reached_ends_at_its_start(world: World) -> None:
    """There is no first batch that could start it."""
    await world.contacts(3, email=None)
    action = await world.create(drip())
    assert await world.status(action) == "failed"
    assert await world.states(action) == {"failed": 3}
    assert await world.sql("SELECT count(*) FROM batches") == [(0,)]


async def test_the_rate_is_kept(database: Database, clock: FakeClock, ids: IdSequence) -> None:
    world = World(database, clock, ids, rate=2.0, burst=2.0)
    await world.start()
    await world.contacts(10)
    await world.create(NOW)
    assert len(world.provider.sent) == 2
    await world.advance(timedelta(seconds=2), step=timedelta(milliseconds=500))
    assert len(world.provider.sent) == 6
    await world.kill()
    await world.start()
    assert len(world.provider.sent) == 6  # the bucket survives a restart
    await world.kill()


async def test_the_daily_cap_stops_until_the_next_local_day(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    world = World(database, clock, ids, daily_cap=3)
    await world.start()
    await world.contacts(5)
    action = await world.create(NOW)
    assert len(world.provider.sent) == 3
    await world.advance(timedelta(hours=15), step=timedelta(hours=5))
    assert len(world.provider.sent) == 3
    await world.advance(timedelta(hours=2))
    assert await world.states(action) == {"succeeded": 5}
    await world.kill()


async def test_the_day_of_a_cap_begins_at_midnight_not_at_the_next_poll(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    world = World(database, clock, ids, daily_cap=3)
    await world.start()
    await world.contacts(5)
    await world.create(NOW)
    await world.advance(timedelta(hours=16) - timedelta(milliseconds=400))
    assert len(world.provider.sent) == 3
    await world.advance(timedelta(milliseconds=400))
    assert len(world.provider.sent) == 5
    await world.kill()


async def test_a_day_that_a_clock_goes_back_to_has_spent_what_it_has_spent(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    world = World(database, clock, ids, daily_cap=2)
    await world.start()
    await world.contacts(9)
    await world.create(NOW)
    await world.advance(timedelta(hours=16, minutes=10))
    assert len(world.provider.sent) == 4
    clock.step(timedelta(hours=-1))
    await world.advance(timedelta(seconds=2))
    await world.advance(timedelta(hours=1))
    assert len(world.provider.sent) == 4
    assert await world.sql("SELECT day, sent FROM sender_days") == [("2026-06-01", 2), ("2026-06-02", 2)]
    await world.kill()


async def test_a_token_is_used_in_the_microsecond_in_which_it_comes(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    """A third of a second is no whole number of them: what is rounded must not cost a second until the next poll."""
    world = World(database, clock, ids, rate=3.0, burst=1.0)
    await world.start()
    await world.contacts(4)
    await world.create(NOW)
    for micros in (333_333, 333_333, 333_334):
        await world.advance(timedelta(microseconds=micros))
    assert len(world.provider.sent) == 4
    await world.kill()


async def test_a_window_that_closes_takes_back_who_was_not_tried(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    world = World(database, clock, ids, rate=1 / 600, burst=1.0)  # a message every ten minutes
    await world.start()
    await world.contacts(10)
    await world.create(drip(quantity=10, every="1d", process_between=parse_window(("08:00", "08:30"))))
    await world.advance(timedelta(hours=1), step=timedelta(minutes=10))
    assert len(world.provider.sent) == 3
    assert await world.sql("SELECT quantity, untried, pending FROM batches") == [(3, 0, 0)]
    assert await world.sql("SELECT pending, unreleased FROM action_counts") == [(7, 7)]
    await world.assert_books_balance()
    await world.advance(timedelta(hours=24), step=timedelta(minutes=10))
    assert len(world.provider.sent) == 6
    assert await world.sql("SELECT quantity FROM batches ORDER BY number") == [(3,), (3,)]
    await world.assert_books_balance()
    await world.kill()


async def test_who_is_in_flight_when_the_window_closes_keeps_the_scheduler_from_nothing_else(world: World) -> None:
    """It looked again and again, as fast as it could, until the provider had answered."""
    world.provider.gate = asyncio.Event()
    await world.contacts(3)
    action = await world.create(drip(quantity=2, process_between=parse_window(("08:00", "08:30"))))
    await world.advance(timedelta(minutes=40))
    assert await world.states(action) == {"in_flight": 2, "pending": 1}
    world.provider.answer = lambda message: Misconfigured("bad password")
    world.provider.gate.set()
    await world.settle()
    assert await world.states(action) == {"pending": 3}
    assert await world.sql("SELECT pending, unreleased FROM action_counts") == [(3, 3)]


async def test_who_is_refused_while_their_batch_is_taken_back_is_judged_anew_with_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window closes between the judgement and the turn that settles it: the batch's books are closed to them."""
    take, held, closed = TurnStore.take, asyncio.Event(), asyncio.Event()

    async def taken(self: TurnStore, turn: Turn) -> Granted:
        if turn.refused:
            held.set()
            await asyncio.wait_for(closed.wait(), 10)
        return await take(self, turn)

    monkeypatch.setattr(TurnStore, "take", taken)
    await world.contacts(3)
    schedule = drip(quantity=3, every="1d", process_between=parse_window(("08:00", "08:30")))
    action = await world.create(schedule, body="Hi {{ first_name }}")
    assert held.is_set()
    await world.advance(timedelta(hours=1))
    assert await world.sql("SELECT quantity, untried FROM batches") == [(0, 0)]
    closed.set()
    await world.settle()
    await world.assert_books_balance()
    assert await world.states(action) == {"pending": 3}
    await world.advance(timedelta(hours=24), step=timedelta(hours=1))
    assert await world.states(action) == {"failed": 3}
    assert await world.sql("SELECT number, quantity, untried, failed FROM batches") == [(1, 0, 0, 0), (2, 3, 0, 3)]


async def test_in_the_recipients_own_zones_each_is_written_to_inside_its_window(world: World) -> None:
    await world.contacts(2, time_zone="Asia/Tokyo")
    await world.contacts(2, time_zone="Europe/London")
    await world.contacts(2, time_zone="America/New_York")
    await world.contacts(1, time_zone="Not/AZone")
    schedule = drip(quantity=10, every="1h", process_between=parse_window(("09:00", "12:00")), time_zone_mode="contact")
    action = await world.create(schedule)  # 08:00 UTC: 17:00 in Tokyo, 09:00 in London, 04:00 in New York
    assert [message.to for message in world.provider.sent] == ["c3@example.org", "c4@example.org"]
    await world.advance(timedelta(hours=1))  # 09:00 UTC: the unknown zone counts as the action's
    assert [message.to for message in world.provider.sent][2:] == ["c7@example.org"]
    await world.advance(timedelta(hours=4), step=timedelta(hours=1))
    assert [message.to for message in world.provider.sent][3:] == ["c5@example.org", "c6@example.org"]
    await world.advance(timedelta(hours=12), step=timedelta(hours=1))
    assert await world.states(action) == {"succeeded": 7}


async def test_a_one_off_that_stood_still_in_its_middle_asks(world: World) -> None:
    await world.contacts(10)
    world.provider.gate = asyncio.Event()
    action = await world.create(NOW)
    await world.kill()
    world.provider.gate = None
    world.clock.advance(timedelta(hours=2))
    await world.start()
    assert await world.status(action) == "paused"
    assert (await world.sql("SELECT pause_reason FROM bulk_actions"))[0] == ("missed_schedule",)


async def test_who_is_in_doubt_when_an_action_is_cancelled_is_not_called_cancelled(world: World) -> None:
    await world.contacts(6)
    world.provider.gate = asyncio.Event()
    action = await world.create(NOW)
    await world.kill()
    await world.change("UPDATE senders SET held = 'manual'")
    await world.start()  # the four in flight are in doubt, and wait to be sent again
    assert await world.states(action) == {"pending": 6}
    await world.change("UPDATE bulk_actions SET status = 'cancelled', work = 'cancel', look_at = NULL")
    world.engine.nudge()
    await world.settle()
    assert await world.states(action) == {"unknown": 4, "cancelled": 2}


async def test_an_opt_out_holds_however_the_address_is_written(world: World) -> None:
    await world.contacts(1, email="Ada@example.org")
    await world.change(
        "INSERT INTO opt_outs (id, org, channel, address, source, created_at) "
        "VALUES (1, 1, 'email', 'ada@example.org', 'api', 0)"
    )
    action = await world.create(NOW)
    assert await world.states(action) == {"skipped": 1}


async def test_the_last_batch_of_a_drip_says_that_its_sender_is_down(world: World) -> None:
    world.provider.answer = lambda message: Misconfigured("535 bad credentials")
    world.provider.healthy = "535 bad credentials"
    await world.contacts(2)
    await world.create(drip(quantity=10))
    assert await world.sql("SELECT wait_reason FROM bulk_actions") == [("sender_down",)]
    world.provider.answer = lambda message: Accepted()
    world.provider.healthy = None
    await world.advance(timedelta(minutes=1))
    assert await world.sql("SELECT status, wait_reason FROM bulk_actions") == [("completed", None)]
