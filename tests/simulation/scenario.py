"""What happens in one run: a function of the seed, and of nothing else."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.ids import ActionId
from gateway.core.states import RecipientState
from gateway.core.window import next_opening, zone_named
from gateway.engine.pace import next_midnight
from gateway.store.codec import to_micros
from tests.simulation.disk import Disk
from tests.simulation.happenings import Happenings
from tests.simulation.intents import schedule_of
from tests.simulation.invariants import picture_of_end
from tests.simulation.world import KEY, OPERATOR, Broken, Conditions, World

EVENTS_MAX: Final = 40  # things that happen in one run
ROUNDS_TO_END_MAX: Final = 2_000  # jumps of the clock to what is due next, until everything must have ended
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Nowhere/At_All", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of one seed."""

    seed: int
    steps: int
    lives: int
    sent: int
    trace: int
    fault: str | None = None


def simulate(seed: int, disk: Disk) -> Run:
    """The whole run. A broken promise is told in `fault`, everything that is raised too."""
    scenario = Scenario(seed, disk)
    fault = None
    try:
        scenario.play()
    # Whatever a loop raises is found here, with the seed that leads to it.
    except Exception as exc:  # noqa: BLE001
        fault = str(exc) if isinstance(exc, Broken) else "".join(traceback.format_exception(exc))
    world = scenario.world
    world.crash()
    return Run(
        seed=seed,
        steps=world.steps,
        lives=world.lives,
        sent=world.provider.left.total(),
        trace=world.invariants.trace,
        fault=fault,
    )


class Scenario(Happenings):
    """Draws what happens next, and lets it happen."""

    def __init__(self, seed: int, disk: Disk) -> None:
        chance = random.Random(seed)
        super().__init__(World(disk, chance, _conditions(chance)), chance)
        self.world.timeline.jump(timedelta(hours=chance.randrange(24 * 365)))
        self._paces = [chance.randrange(7) for _ in range(chance.randint(1, 6))]

    def play(self) -> None:
        """Trouble first; then all is well, and everything must end."""
        world, chance = self.world, self._chance
        self._populate()
        self._create()
        happenings = [happening for happening, _ in self._happenings]
        # Each seed leaves much out and does some of it often: what is rare in a medley is common somewhere.
        weights = [weight * chance.choice((0, 0, 1, 1, 6)) for _, weight in self._happenings]
        if not any(weights):
            weights = [weight for _, weight in self._happenings]
        prompt = chance.choice((0.0, 0.0, 0.8))  # how often the provider reports without being asked to
        for _ in range(chance.randint(5, EVENTS_MAX)):
            self._go_on()
            if chance.random() < prompt:
                self._report()
            for happening in chance.choices(happenings, weights, k=chance.choice((1, 1, 1, 3))):  # some at once
                happening()
        self._end_well()
        world.invariants.compare()
        world.invariants.check_reports()
        faults = picture_of_end(world.invariants.last) + self._lost_events() + world.invariants.faults
        if faults:
            raise Broken("\n".join(faults[:5]))

    def _go_on(self) -> None:
        """A few callbacks, or all that are ready; time goes on a little, or to what is due next, or beyond it."""
        world, chance = self.world, self._chance
        match chance.choice(self._paces):
            case 0:
                world.step(chance.randint(1, 60))
            case 1 | 2:
                world.settle()
            case 3:
                world.settle()
                self._pass_timer()
            case 4:
                world.settle()
                self._pass_to_due()
                world.settle()
            case 5:
                world.settle()
                self._pass_to_due()
                world.step(chance.randint(0, 40))  # what comes now comes in the middle of what is due
            case _:
                world.settle()
                world.pass_by(chance.choice((1.0, 45.0, 200.0, 4_000.0, 90_000.0)))

    def _pass_timer(self) -> None:
        wait = self.world.life.loop.next_timer
        if wait is not None:
            self.world.pass_by(wait)

    def _pass_to_due(self) -> None:
        """To the instant at which the rows say that something is to be done."""
        now = to_micros(self.world.timeline.wall)
        ((due,),) = self.world.rows(
            "SELECT min(at) FROM (SELECT look_at AS at FROM bulk_actions UNION ALL SELECT not_before FROM recipients "
            "UNION ALL SELECT due_at FROM messages UNION ALL SELECT not_before FROM messages "
            "UNION ALL SELECT due_at FROM webhook_retries UNION ALL SELECT probe_at FROM webhooks) WHERE at > ?",
            now,
        )
        found = [] if due is None else [due]
        if self._busy():
            found += [to_micros(instant) for instant in self._unwritten(self.world.timeline.wall)]
        self.world.pass_by((min(found) - now) / 1_000_000 if found else 3_600.0)

    def _unwritten(self, now: datetime) -> Iterator[datetime]:
        """What those who were released wait for without a row that says so: a cap's next day, or a window to open."""
        if self.world.conditions.daily_cap is not None:
            yield next_midnight(now, ZoneInfo(self.world.org.time_zone))
        last = self.world.invariants.last
        for row in last.recipients.values():
            schedule = schedule_of(last.bulk_actions[row.action,])
            if schedule.drip is not None and row.state == RecipientState.PENDING and row.batch is not None:
                own = schedule.drip.time_zone_mode == "contact"
                zone = (zone_named(row.zone or "") if own else None) or zone_named(schedule.time_zone) or UTC
                opening = next_opening(schedule.drip.process_between, schedule.drip.send_on, now, zone)
                if opening is not None and opening > now:
                    yield opening

    def _end_well(self) -> None:
        """The provider is well, nobody touches anything, held senders recover, paused actions are resumed."""
        world = self.world
        world.settle()  # or somebody's hold of a sender might come after it is released
        world.provider.trouble = world.receiver.trouble = 0.0
        world.receiver.down = False
        world.well = True
        self._heal()
        self._reconfigure()
        self._release()
        seen, still = 0, 0
        for _ in range(ROUNDS_TO_END_MAX):
            world.settle()
            if self._rests():
                return
            for paused, reason in world.rows("SELECT id, pause_reason FROM bulk_actions WHERE status = 'paused'"):
                # What a key created that was revoked cannot go on.
                end = world.life.actions.cancel if reason == "permission_revoked" else world.life.actions.resume
                world.ask(end(OPERATOR, ActionId(paused)))
            still = still + 1 if seen == world.invariants.trace else 0
            seen = world.invariants.trace
            if still == 0 and self._busy():
                world.pass_by(2.0)  # something has moved: what it left is a token, a poll or a time-out away
            elif still % 2 == 0:
                self._pass_to_due()
            else:
                world.pass_by(61.0)

    def _reconfigure(self) -> None:
        """The daemon is started again with hours that leave room for every window, and mostly without a cap."""
        drawn = self.world.conditions
        lifted = drawn.daily_cap is not None and self._chance.random() < 0.9  # else it may take weeks until all is sent
        if lifted or drawn.quiet:
            self.world.crash()
            self.world.conditions = replace(drawn, quiet=False, daily_cap=None if lifted else drawn.daily_cap)
            self.world.start()

    def _busy(self) -> bool:
        """Somebody was released, and is not settled yet."""
        counts = self.world.invariants.last.action_counts.values()
        return any(row.pending > row.unreleased or row.in_flight for row in counts)

    def _rests(self) -> bool:
        ((open_actions, waiting),) = self.world.rows(
            "SELECT (SELECT count(*) FROM bulk_actions JOIN action_counts ON action = id WHERE work IS NOT NULL "
            "OR status IN ('queued', 'processing', 'delegated', 'paused') OR pending + in_flight > 0), "
            "(SELECT count(*) FROM messages WHERE status IN (0, 1) AND action IS NULL) "
            "+ (SELECT count(*) FROM callbacks WHERE state = 0) + (SELECT count(*) FROM webhooks AS w "
            "JOIN orgs AS o ON o.id = w.org WHERE w.disabled IS NULL AND (w.position < o.last_event "
            "OR EXISTS (SELECT 1 FROM webhook_retries WHERE webhook = w.id)))"
        )
        return bool(open_actions == 0 and waiting == 0)

    def _populate(self) -> None:
        world, chance = self.world, self._chance
        now = to_micros(world.timeline.wall)
        people = [
            (n, f"c{n}", chance.choice((f"+1{n}", f"+1{n}", f"+1{n}", "+10", None)), chance.choice(ZONES), now)
            for n in range(1, self._people + 1)
        ]

        async def insert() -> None:
            await world.life.database.write(
                lambda conn: conn.executemany(
                    "INSERT INTO contacts (id, org, public_id, phone, time_zone, created_at, updated_at, seen_at) "
                    "VALUES (?1, 1, ?2, ?3, ?4, ?5, ?5, ?5)",
                    people,
                )
            )
            await world.life.database.write(
                lambda conn: conn.execute(
                    "INSERT INTO api_keys (id, org, name, secret_hash, permissions, roles, created_at) "
                    "VALUES (?, 1, 'k', x'00', '[]', '[]', ?)",
                    (KEY, now),
                )
            )

        world.well = True
        world.ask(insert())
        if chance.random() < 0.4:
            self._listen()
        world.settle()
        world.well = False

    def _lost_events(self) -> list[str]:
        """Each event since the receiver asked for them was taken, unless it refused for too long."""
        world = self.world
        if not world.receiver.posts:
            return []
        found = world.rows("SELECT position, disabled FROM webhooks")
        return [
            f"event {seq} was never delivered"
            for position, disabled in found
            for seq in range(min(world.receiver.posts), position + 1)
            if disabled is None and world.receiver.owed(seq)
        ]


def _conditions(chance: random.Random) -> Conditions:
    return Conditions(
        disorder=chance.choice((0.0, 0.1, 0.5, 1.0)),
        lag=chance.choice((0.0, 0.0, 0.1, 0.5)),
        faults=chance.choice((0.0, 0.0, 0.02)),
        trouble=chance.choice((0.0, 0.1, 0.4)),
        limit=chance.randint(1, 4),
        rate=chance.choice((1e6, 1e6, 0.5, 0.02)),
        daily_cap=chance.choice((None, None, None, 4)),
        zone=chance.choice(("UTC", "UTC", "America/New_York")),
        spare=chance.random() < 0.3,
        quiet=chance.random() < 0.3,
        per_day=chance.choice((None, None, None, 1, 2)),
        receipts=chance.random() < 0.7,
        lookup=chance.random() < 0.4,
        on_unknown=chance.choice(("hold", "resend")),
    )
