"""The clock is set an hour ahead or back, or changes for summer and winter: every slot once, and nobody at night."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.contract import Accepted, Misconfigured
from gateway.core.ids import IdSequence
from gateway.core.schedule import Drip, Schedule, parse_every
from gateway.store.codec import from_micros
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from tests.engine.world import World
from tests.faults.figures import Figures
from tests.stories.conftest import story_in

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
LATE = timedelta(minutes=20)  # the slot that was jumped over had passed so long ago

CHANGES = (
    # zone, day of the change, a time that is skipped or shown twice on that day
    ("Europe/London", date(2026, 3, 29), time(1, 30)),
    ("Europe/London", date(2026, 10, 25), time(1, 30)),
    ("America/New_York", date(2026, 3, 8), time(2, 30)),
    ("America/New_York", date(2026, 11, 1), time(1, 30)),
    ("Australia/Lord_Howe", date(2026, 10, 4), time(2, 15)),  # by half an hour
    ("Australia/Lord_Howe", date(2026, 4, 5), time(1, 45)),
    ("America/Santiago", date(2026, 9, 6), time(0, 30)),  # at midnight
    ("America/Santiago", date(2026, 4, 4), time(23, 30)),
    ("Africa/Cairo", date(2026, 4, 24), time(0, 30)),
    ("Africa/Cairo", date(2026, 10, 29), time(23, 30)),
)


def first_instant(zone: ZoneInfo, day: date, at: time) -> datetime:
    """Found by looking at the wall of that zone minute by minute: when it first shows the time, or a later one."""
    minute = datetime.combine(day, time(), UTC) - timedelta(hours=15)
    for _ in range(60 * 60):
        wall = minute.astimezone(zone)
        if wall.date() == day and wall.time() >= at:
            return minute
        minute += MINUTE
    raise AssertionError(f"{zone} never shows {day} {at}")


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    world = World(database, clock, ids)
    await world.start()
    yield world
    await world.assert_books_balance()
    await world.kill()


async def slots_of(world: World) -> list[datetime]:
    """When each batch was planned, in the order of release."""
    return [from_micros(at) for (at,) in await world.sql("SELECT planned_at FROM batches ORDER BY action, number")]


@pytest.mark.parametrize(("zone", "day", "at"), CHANGES, ids=[f"{zone} {day}" for zone, day, _ in CHANGES])
async def test_a_daily_drip_over_a_change_of_the_clocks_has_one_slot_a_day(
    zone: str, day: date, at: time, database: Database, ids: IdSequence, figures: Figures
) -> None:
    info = ZoneInfo(zone)
    slots = [first_instant(info, day + timedelta(days=offset), at) for offset in (-1, 0, 1, 2)]
    clock = FakeClock(slots[0] - HOUR)
    world = World(database, clock, ids)
    await world.start()
    await world.contacts(len(slots))
    drip = Drip(batch_quantity=1, repeat_after=parse_every("1d"))
    action = await world.create(Schedule(mode="drip", time_zone=zone, start_at=slots[0], drip=drip))
    early = 0
    for number, slot in enumerate(slots):
        for instant in (slot - MINUTE, slot, slot + HOUR, slot + 2 * HOUR):
            clock.move_to(instant)
            await world.settle()
            early += len(world.provider.sent) != number + (instant >= slot)
    planned = await slots_of(world)
    await world.assert_books_balance()
    states = await world.states(action)
    await world.kill()
    figures.hold(
        f"F9 {zone} {day}",
        "every slot exactly once",
        f"{sum(slot in planned for slot in slots)} of {len(slots)} slots, {len(planned)} batches, "
        f"{early} too early or late",
        planned == slots and early == 0 and states == {"succeeded": len(slots)},
    )


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_set_runs_every_slot_once_and_keeps_nobody_waiting(
    hours: int, world: World, figures: Figures
) -> None:
    people = 60
    await world.contacts(people)
    drip = Drip(batch_quantity=5, repeat_after=parse_every("1h"))
    action = await world.create(Schedule(mode="drip", time_zone="UTC", drip=drip))
    await world.advance(3 * HOUR + LATE, LATE)
    world.clock.step(timedelta(hours=hours))
    await world.advance(timedelta(seconds=1))  # within which every loop looks
    await world.advance(14 * HOUR, LATE)
    planned = await slots_of(world)
    states = await world.states(action)
    gaps = {later - earlier for earlier, later in pairwise(planned)}
    doubled = len(world.provider.sent) - len(world.provider.refs)
    figures.hold(
        f"F9 clock {hours:+d} h",
        "every slot exactly once",
        f"{len(planned)} batches, {min(gaps)} to {max(gaps)} apart, {states.get('succeeded', 0)} of {people} sent, "
        f"{doubled} doubled",
        len(planned) == 12
        and min(gaps) == HOUR  # never two for one slot
        and max(gaps) <= HOUR + LATE + MINUTE  # a batch that is late because of the jump starts the interval anew
        and (dict(states), doubled) == ({"succeeded": people}, 0),
    )


async def test_a_held_sender_is_probed_on_after_the_clock_was_set_back(world: World, figures: Figures) -> None:
    world.provider.healthy = "out of order"
    world.provider.answer = lambda message: Misconfigured("out of order")
    await world.contacts(3)
    action = await world.create(Schedule(mode="now", time_zone="UTC"))
    assert (await world.sql("SELECT held FROM senders")) == [("misconfigured",)]
    world.provider.healthy = None
    world.provider.answer = lambda message: Accepted()
    world.clock.step(-HOUR)
    await world.settle()
    waited = 0
    while await world.states(action) != {"succeeded": 3} and waited < 200:
        await world.advance(timedelta(seconds=10))
        waited += 10
    figures.hold(
        "F9 held sender, clock -1 h",
        "goes on within the minute after which it is probed",
        f"after {waited} s",
        waited <= 70,
    )


QUIET = """
[plugins.quiet_hours]
between = ["21:00", "08:00"]
"""
ZONES = ("Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo")


@pytest.mark.parametrize("hours", [1, -1])
async def test_quiet_hours_hold_for_each_by_the_own_clock_also_when_ours_is_set(
    hours: int, tmp_path: Path, figures: Figures
) -> None:
    """The night of the change in Lord Howe, with one hour more or less of ours in its middle."""
    clock = FakeClock(datetime(2026, 4, 4, 9, 50, tzinfo=UTC))
    async with story_in(tmp_path, more=QUIET, clock=clock) as story:
        for number, zone in enumerate(ZONES * 2):
            reply = await story.call(
                "PUT", f"/v1/contacts/m-{number}", {"email": f"m-{number}@example.org", "time_zone": zone}
            )
            assert reply.status == 201, reply.raw
        action = await story.mail_all()
        await story.advance(timedelta(hours=5), timedelta(minutes=30))
        clock.step(timedelta(hours=hours))
        await story.settle()
        await story.advance(timedelta(hours=22), timedelta(minutes=30))
        books = await story.books(action)
        rows = await story.installation.database.read(
            lambda conn: conn.execute(
                "SELECT c.time_zone, m.attempted_at FROM messages AS m JOIN contacts AS c ON c.id = m.contact"
            ).fetchall()
        )
        walls = [from_micros(at).astimezone(ZoneInfo(zone)) for zone, at in rows]
        at_night = sum(not time(8) <= wall.time() < time(21) for wall in walls)
        figures.hold(
            f"F9 quiet hours, clock {hours:+d} h",
            "right per contact, everybody once",
            f"{len(walls)} sent, {at_night} of them at night, in {len(ZONES)} zones",
            at_night == 0 and books["counts"] == {"total": 10, "succeeded": 10} and len(walls) == 10,
        )
