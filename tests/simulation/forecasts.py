"""What a forecast says at the start, held against the batches that the loops then really release."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from gateway.core.forecast import Forecast
from gateway.core.ids import ActionId
from gateway.engine.action_requests import (
    ActionRequest,
    DripRequest,
    MessageRequest,
    RecipientsRequest,
    ScheduleRequest,
)
from gateway.store.codec import from_micros, to_micros
from tests.simulation.world import OPERATOR, ORG, Conditions, World

ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo")
WINDOWS: Final = (None, ["09:00", "17:00"], ["22:00", "02:00"], ["01:30", "03:30"], ["00:00", "06:00"])
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Nights on which clocks are changed, on both halves of the earth, and days on which nothing happens.
STARTS: Final = ("2026-03-06", "2026-03-27", "2026-04-03", "2026-06-12", "2026-10-02", "2026-10-23", "2026-10-30")
JUMPS_MAX: Final = 2_000
DAY_SECONDS: Final = 86_400
STILL_MAX: Final = 10  # seconds without a message, though somebody waits: the day's messages are spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One random schedule: what was said, what came, and what it was."""

    said: list[tuple[datetime, int]]
    came: list[tuple[datetime, int]]
    capped: bool
    about: str


def compare(seed: int, folder: Path, template: Path) -> Compared:
    """Create a drip, take its forecast, let everything run."""
    chance = random.Random(f"forecast {seed}")
    world = World(folder, template, chance, _conditions(chance))
    try:
        start = datetime.fromisoformat(f"{chance.choice(STARTS)}T00:00:00+00:00")
        world.timeline.jump(start + timedelta(minutes=chance.randrange(48 * 60)) - world.timeline.wall)
        _do(world, world.life.database.write(_people(chance, to_micros(world.timeline.wall))))
        schedule = _schedule(chance, world.timeline.wall)
        action = _do(world, world.life.actions.create(OPERATOR, _request(schedule))).id
        world.settle()
        forecast: Forecast = _do(world, world.life.actions.forecast(ORG.id, action, 1_000))
        ran = {batch.number for batch in world.invariants.last.batches.values() if batch.action == action}
        said = [(batch.at, batch.quantity) for batch in forecast.batches]
        _run_on(world, action)
        came = sorted(
            (from_micros(batch.released_at), batch.quantity)
            for batch in world.invariants.last.batches.values()
            if batch.action == action and batch.number not in ran
        )
    finally:
        world.crash()
    return Compared(
        said=said,
        came=came,
        capped=world.conditions.daily_cap is not None,
        about=f"seed {seed}, from {start}: {schedule}",
    )


def _run_on(world: World, action: ActionId) -> None:
    """From one instant that the rows name to the next, so that no batch is late; seconds while somebody is sent to."""
    sent, still = 0, 0
    for _ in range(JUMPS_MAX):
        world.settle()
        if world.invariants.last.actions[action].status in ("completed", "partial", "failed"):
            return
        now = to_micros(world.timeline.wall)
        ((due,),) = world.rows("SELECT min(look_at) FROM bulk_actions WHERE look_at > ?", now)
        busy = world.rows("SELECT 1 FROM action_counts WHERE pending > unreleased OR in_flight > 0 LIMIT 1")
        still = still + 1 if busy and sent == world.provider.left.total() else 0
        sent = world.provider.left.total()
        midnight = DAY_SECONDS - now // 1_000_000 % DAY_SECONDS  # when the sender's day begins
        waits = [midnight, *([] if still > STILL_MAX or not busy else [1.0])]
        waits += [] if due is None else [(due - now) / 1_000_000]
        world.pass_by(min(waits))
    raise AssertionError(f"It does not end: {world.invariants.last.actions[action]}")


def _do(world: World, work: Any) -> Any:
    task = world.life.loop.spawn(work)
    world.settle()
    return task.result()


def _conditions(chance: random.Random) -> Conditions:
    return Conditions(
        disorder=chance.choice((0.0, 0.5)),
        faults=0.0,
        trouble=0.0,
        limit=4,
        rate=chance.choice((1e6, 1e6, 0.5)),
        daily_cap=chance.choice((None, None, 5)),
        receipts=False,
        lookup=False,
        on_unknown="resend",
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
