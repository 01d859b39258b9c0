"""What a forecast says at the start, held against the batches that the loops then really release."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.core.forecast import Forecast
from gateway.core.ids import ActionId
from gateway.engine.action_requests import (
    ActionRequest,
    DripRequest,
    MessageRequest,
    RecipientsRequest,
    ScheduleRequest,
)
from gateway.engine.pace import next_midnight
from gateway.store.codec import from_micros, to_micros
from tests.simulation.disk import Disk
from tests.simulation.world import OPERATOR, ORG, Conditions, World

ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo")
WINDOWS: Final = (None, ["09:00", "17:00"], ["22:00", "02:00"], ["01:30", "03:30"], ["00:00", "06:00"])
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Nights on which clocks are changed, on both halves of the earth, and days on which nothing happens.
STARTS: Final = ("2026-03-06", "2026-03-27", "2026-04-03", "2026-06-12", "2026-10-02", "2026-10-23", "2026-10-30")
JUMPS_MAX: Final = 50_000
ASKED_MAX: Final = 6  # forecasts of one run
ASKED_OFTEN: Final = 0.02
WATCHED: Final = timedelta(seconds=5)  # after a message, or an instant that was due: longer than the rate keeps it up


Batches = list[tuple[datetime, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A forecast, when it was asked for, and the batches that came after it."""

    at: datetime
    said: Batches
    came: Batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One random schedule: what was said at its start and later on, what came, and what it was."""

    told: list[Told]
    about: str

    @property
    def wrong(self) -> list[Told]:
        """To the contact and the microsecond."""
        return [told for told in self.told if told.said != told.came]


def compare(seed: int, disk: Disk) -> Compared:
    """Create a drip, take its forecast, let everything run, and take it again here and there."""
    chance = random.Random(f"forecast {seed}")
    world = World(disk, chance, _conditions(chance))
    try:
        start = datetime.fromisoformat(f"{chance.choice(STARTS)}T00:00:00+00:00")
        start += timedelta(microseconds=chance.randrange(48 * 3_600_000_000))
        world.timeline.jump(start - world.timeline.wall)
        _do(world, world.life.database.write(_people(chance, to_micros(world.timeline.wall))))
        schedule = _schedule(chance, world.timeline.wall)
        action = _do(world, world.life.actions.create(OPERATOR, _request(schedule))).id
        world.settle()
        if world.invariants.last.bulk_actions[action,].status == "queued" and chance.random() < 0.5:
            other = world.timeline.wall + timedelta(minutes=chance.choice((0, 3, 45, 600)))
            patch = {"schedule": {"start_at": other.isoformat()}}
            _do(world, world.life.actions.edit(OPERATOR, action, patch, lambda revision: None))
        asked = _run_on(world, action, chance)
        batches = sorted(batch for batch in world.invariants.last.batches.values() if batch.action == action)
    finally:
        world.crash()
    told = [
        Told(
            at=at,
            said=[(batch.at, batch.quantity) for batch in forecast.batches],
            came=[(from_micros(batch.released_at), batch.quantity) for batch in batches if batch.number > last],
        )
        for at, last, forecast in asked
    ]
    return Compared(told=told, about=f"seed {seed}, from {start}, {world.conditions}: {schedule}")


def _run_on(world: World, action: ActionId, chance: random.Random) -> list[tuple[datetime, int, Forecast]]:
    """To shortly before each instant at which something is due, and from there by the loops' own timers for a while.

    The forecasts that were asked for, each with its instant and the last batch by then.
    """
    asked: list[tuple[datetime, int, Forecast]] = []
    sent, watched_until = 0, world.timeline.wall + WATCHED
    for _ in range(JUMPS_MAX):
        world.settle()
        if world.invariants.last.bulk_actions[action,].status in ("delegated", "completed", "partial", "failed"):
            return asked
        now = world.timeline.wall
        if not asked or (len(asked) < ASKED_MAX and chance.random() < ASKED_OFTEN):
            last = max((number for id, number in world.invariants.last.batches if id == action), default=0)
            asked.append((now, last, _do(world, world.life.actions.forecast(ORG.id, action, 1_000))))
        if sent != world.provider.left.total():
            sent, watched_until = world.provider.left.total(), now + WATCHED
        if now >= watched_until:
            due = _next_due(world, now)
            watched_until = due + WATCHED
            early = timedelta(seconds=1 + chance.random())  # the polls come between, out of step with it
            world.pass_by(max(timedelta(), due - early - now).total_seconds())
        else:
            world.pass_by(world.life.loop.next_timer or 0.0)
    raise AssertionError(f"It does not end: {world.invariants.last.bulk_actions[action,]}")


def _next_due(world: World, now: datetime) -> datetime:
    """When the rows say that an action is to be looked at, or the next midnight, when every cap begins anew."""
    ((due,),) = world.rows("SELECT min(look_at) FROM bulk_actions WHERE look_at > ?", to_micros(now))
    midnight = next_midnight(now, ZoneInfo(world.org.time_zone))
    return midnight if due is None else min(midnight, from_micros(due))


def _do(world: World, work: Any) -> Any:
    task = world.life.loop.spawn(work)
    world.settle()
    return task.result()


def _conditions(chance: random.Random) -> Conditions:
    return Conditions(
        lag=0.0,
        disorder=chance.choice((0.0, 0.5)),
        faults=0.0,
        trouble=0.0,
        limit=chance.choice((1, 4)),
        rate=chance.choice((1e6, 0.5, 0.7, 3.0)),
        daily_cap=chance.choice((None, None, 5)),
        receipts=False,
        lookup=False,
        on_unknown="resend",
        zone=chance.choice(ZONES),
    )


def _people(chance: random.Random, now: int) -> Any:
    people = [(n, f"c{n}", f"+1{n}", chance.choice((*ZONES, None)), now) for n in range(1, chance.randint(2, 25))]

    def operation(conn: Any) -> None:
        conn.executemany(
            "INSERT INTO contacts (id, org, public_id, phone, time_zone, created_at, updated_at, seen_at) "
            "VALUES (?1, 1, ?2, ?3, ?4, ?5, ?5, ?5)",
            people,
        )

    return operation


def _schedule(chance: random.Random, now: datetime) -> ScheduleRequest:
    start = now + timedelta(minutes=chance.choice((0, 7, 90, 1_500))) if chance.random() < 0.6 else None
    return ScheduleRequest(
        mode="drip",
        start_at=None if start is None else start.isoformat(),
        time_zone=chance.choice(ZONES),
        drip=DripRequest(
            batch_quantity=chance.randint(1, 6),
            repeat_after=chance.choice(("30s", "10m", "1h", "5h", "1d", "2d")),
            send_on=chance.choice((None, sorted(chance.sample(DAYS, chance.randint(1, 6))))),
            process_between=chance.choice(WINDOWS),
            time_zone_mode=chance.choice(("account", "contact")),
        ),
    )


def _request(schedule: ScheduleRequest) -> ActionRequest:
    return ActionRequest(
        operation="send_message",
        recipients=RecipientsRequest(all=True),
        message=MessageRequest(channel="sms", body="Hi"),
        schedule=schedule,
    )
