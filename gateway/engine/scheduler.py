"""The loop that releases batches: it compares what a schedule asks for with what was released, and does the next step.

Level-triggered: an action is looked at when its `look_at` says so, and everything that could change the decision sets
that to 0 in its own transaction. 100,000 waiting actions cost one indexed query a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from gateway.clock import Clock
from gateway.core.drip import Exhausted, Missed, Previous, Release, Wait, WaitReason, claimable, closes_at, next_step
from gateway.core.ids import ACTION, ActionId, format_id
from gateway.core.progress import FAILURES_MAX
from gateway.core.schedule import Schedule
from gateway.core.states import ActionStatus
from gateway.engine.authority import Authority
from gateway.engine.crash import CrashPoints
from gateway.errors import StoreUnavailable
from gateway.store.looks import ActionLook
from gateway.store.releases import Releases

POLL: Final = timedelta(seconds=1)
_SAID_BY_LANES: Final = frozenset({WaitReason.RATE, WaitReason.DAILY_CAP})  # and taken back by them


class Scheduler:
    """Runs until cancelled. `released` is called after each batch: the dispatchers have something to do."""

    def __init__(
        self,
        releases: Releases,
        authority: Authority,
        clock: Clock,
        crash: CrashPoints,
        released: Callable[[], None],
        sweep: Callable[[], None],
    ) -> None:
        self._releases = releases
        self._authority = authority
        self._clock = clock
        self._crash = crash
        self._released = released
        self._sweep = sweep
        self._nudge = asyncio.Event()
        self._log = structlog.get_logger("gateway.scheduler")

    def wake(self) -> None:
        """An action may want to be looked at."""
        self._nudge.set()

    async def run(self) -> None:
        while True:
            now = self._clock.now()
            until = now + POLL
            try:
                upcoming = await self._releases.next_look()
                if upcoming is not None and upcoming <= now:
                    for look in await self._releases.due(now):
                        await self._attend(look, now)
                    continue
                until = min(until, upcoming) if upcoming is not None else until
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
            await self._clock.wait(self._nudge, until)

    async def _attend(self, look: ActionLook, now: datetime) -> None:
        if look.failing >= FAILURES_MAX:
            await self._pause(look.id, "failing", f"{look.failing} messages in a row failed", now)
            return
        status = await self._releases.conclude(look, now)
        if status is not None:
            self._log.info("bulk_action_moved", action=format_id(ACTION, look.id), status=status.value)
            return
        if look.status in (ActionStatus.QUEUED, ActionStatus.PROCESSING):
            await self._plan(look, msgspec.json.decode(look.schedule, type=Schedule), now)
        else:
            await self._releases.wait(look, None, None, None)

    async def _plan(self, look: ActionLook, schedule: Schedule, now: datetime) -> None:
        """Take back what a closed window left over; then do the schedule's next step."""
        left_over = look.last is not None and look.last.untried > 0 and _window_closed(schedule, now)
        # Who is in flight stays where he is: looking again and again would not change that.
        if left_over and await self._releases.take_back(look, now):
            await self._releases.wait(look, now, None, None)
            return
        # Who is tried again comes back chunk by chunk; a batch released meanwhile would have the wrong size.
        if look.work == "retry" or (schedule.mode != "now" and look.work == "snapshot"):
            await self._releases.wait(look, None, WaitReason.SNAPSHOT, look.next_batch_at)
            return
        if look.status is ActionStatus.PROCESSING and schedule.mode != "drip" and not look.unreleased:
            await self._wait_for_the_last(look)
            return
        since = max(filter(None, (look.created_at, look.resumed_at, schedule.start_at)))
        if _zones_are_wanted(look, schedule):
            await self._plan_settling(look, since, now)
            return
        remaining = await self._remaining(look, schedule, now)
        step = next_step(
            schedule,
            now=now,
            since=since,
            previous=_previous(look),
            remaining=remaining,
            last_number=0 if look.last is None else look.last.number,
        )
        await self._take(look, schedule, step, now)

    async def _wait_for_the_last(self, look: ActionLook) -> None:
        """Everybody is released. Where nobody is left but those whom a policy has deferred, the action says so."""
        why, until = (look.wait_reason, look.next_batch_at) if look.wait_reason in _SAID_BY_LANES else (None, None)
        look_at = None
        if look.deferred > 0 and look.counts.pending == look.deferred and not look.counts.in_flight:
            why, until = WaitReason.QUIET_HOURS, look.deferred_until
            look_at = until
        await self._releases.wait(look, look_at, _sender_down(look) or why, until)

    async def _plan_settling(self, look: ActionLook, since: datetime, now: datetime) -> None:
        """Zones are noted at the start. Until then nobody knows where it opens first: perhaps long before here."""
        if now < since:
            await self._releases.wait(look, since, WaitReason.SCHEDULED, since)
        else:
            await self._settle(look)

    async def _remaining(self, look: ActionLook, schedule: Schedule, now: datetime) -> dict[str, int]:
        """Who may be released, by time zone; `{"": n}` where zones do not matter. Unsettled, everybody counts."""
        if schedule.drip is not None and schedule.drip.time_zone_mode == "contact":
            return dict(await self._releases.remaining_by_zone(look.id, now))
        free = look.unreleased - (look.deferred if schedule.mode == "drip" else 0)
        return {"": max(free, 1) if schedule.mode == "now" and look.work == "snapshot" else free}

    async def _take(self, look: ActionLook, schedule: Schedule, step: object, now: datetime) -> None:
        match step:
            case Wait(until=until, reason=reason):
                shown = until if reason is not WaitReason.PREVIOUS_BATCH else None
                look_at = _earlier(until, _taken_back_at(look, schedule, now))
                await self._releases.wait(look, look_at, _sender_down(look) or reason, shown)
            case Exhausted() if look.status is ActionStatus.QUEUED and not look.counts.pending:
                await self._releases.start_with_nobody(look, now)
            case Exhausted():
                why = WaitReason.QUIET_HOURS if look.deferred else None
                until = _earlier(look.deferred_until, _taken_back_at(look, schedule, now))
                await self._releases.wait(look, until, _sender_down(look) or why, look.deferred_until)
            case Missed(planned_at=planned_at, late_by=late_by):
                when = f"It should have run at {planned_at.isoformat()}, {late_by} ago"
                detail = f"{when}. Resume it to run it now, or cancel it."
                await self._pause(look.id, "missed_schedule", detail, now)
            case Release():
                await self._release(look, schedule, step, now)

    async def _release(self, look: ActionLook, schedule: Schedule, step: Release, now: datetime) -> None:
        if look.sender_held is not None:
            await self._releases.wait(look, None, WaitReason.SENDER_DOWN, None)
            return
        objection = await self._authority.objection(look)
        if objection is not None:
            await self._pause(look.id, objection.reason, objection.detail, now)
            return
        if not look.settled and schedule.mode != "now" and look.operation == "send_message":
            await self._settle(look)
            return
        if schedule.mode == "drip":
            number = await self._releases.release(look, step.planned_at, now, step.quantity, step.zones)
        else:
            number = step.quantity if await self._releases.release_all(look, step.planned_at, now) else None
        if number is None:
            return
        self._crash.passed("batch_released")
        self._log.info("batch_released", action=format_id(ACTION, look.id), number=step.number, quantity=number)
        self._released()

    async def _settle(self, look: ActionLook) -> None:
        """The start is due: first those who cannot be reached are taken out, and time zones noted."""
        await self._releases.start_settling(look)
        self._sweep()

    async def _pause(self, action: ActionId, reason: str, detail: str, now: datetime) -> None:
        if await self._releases.pause(action, reason, detail, now):
            self._log.warning("bulk_action_paused", action=format_id(ACTION, action), reason=reason)
            self._released()


def _sender_down(look: ActionLook) -> WaitReason | None:
    """The reason for those who were released and cannot be sent to: it goes before whatever the schedule waits for."""
    waiting = look.counts.pending > look.unreleased
    return WaitReason.SENDER_DOWN if look.sender_held is not None and waiting else None


def _zones_are_wanted(look: ActionLook, schedule: Schedule) -> bool:
    """A drip in the recipients' own zones cannot be planned before they are noted."""
    return schedule.drip is not None and schedule.drip.time_zone_mode == "contact" and not look.settled


def _taken_back_at(look: ActionLook, schedule: Schedule, now: datetime) -> datetime | None:
    """When those of the last batch who were not tried by then go back."""
    if look.last is None or not look.last.untried or schedule.drip is None or schedule.drip.time_zone_mode == "contact":
        return None
    return closes_at(schedule, now, None) if claimable(schedule, now, None) else None


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(filter(None, (one, other)), default=None)


def _window_closed(schedule: Schedule, now: datetime) -> bool:
    drip = schedule.drip
    return drip is not None and drip.time_zone_mode == "account" and not claimable(schedule, now, None)


def _previous(look: ActionLook) -> Previous | None:
    """The batch that the interval counts from; a new round starts anew."""
    if look.last is None or look.last.round != look.round:
        return None
    return Previous(
        number=look.last.number,
        planned_at=look.last.planned_at,
        released_at=look.last.released_at,
        untried=look.last.untried,
    )
