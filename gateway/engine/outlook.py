"""What is still to come: forecasts of an action, or of one that is only being previewed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypedDict

import msgspec

from gateway.core.drip import Previous
from gateway.core.forecast import Forecast, forecast
from gateway.core.schedule import Schedule
from gateway.core.states import FINAL_ACTIONS, ActionStatus
from gateway.engine.caps import DailyCaps
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.pace import Pace
from gateway.store.action_reads import ActionReads, ActionView, Places
from gateway.store.senders import SenderStore

BATCHES_DEFAULT: Final = 50
BATCHES_MAX: Final = 1_000

NOTHING: Final = Forecast(batches=(), batch_count=0, first_at=None, last_at=None, ends_at=None)


class _PaceArguments(TypedDict):
    """How fast a sender may send, as arguments of `forecast`."""

    rate: float | None
    burst: float
    tokens: float | None
    daily_cap: int | None
    sent_today: int
    cap_zone: str | None


class Outlook:
    """Forecasts. One for the life of the daemon; it keeps nothing."""

    def __init__(self, reads: ActionReads, catalogue: Catalogue, caps: DailyCaps, senders: SenderStore) -> None:
        self._reads = reads
        self._senders = senders
        self._catalogue = catalogue
        self._caps = caps

    async def of_action(self, action: ActionView, now: datetime, limit: int) -> Forecast:
        """The batches still to come; a paused action as if it were resumed now."""
        if action.status in FINAL_ACTIONS or action.status is ActionStatus.DELEGATED:
            return NOTHING
        schedule = msgspec.json.decode(action.schedule, type=Schedule)
        sender = None if action.sender_id is None else self._catalogue.sender_by_id(action.sender_id)
        waiting, running = await self._waiting(action, schedule)
        if not waiting and not (action.last and action.last.untried):
            return NOTHING
        since = max(filter(None, (action.created_at, action.resumed_at, schedule.start_at)))
        if action.status is ActionStatus.PAUSED:
            since = max(now, schedule.start_at or now)
        return forecast(
            schedule,
            now=now,
            since=since,
            previous=_previous(action),
            waiting=waiting,
            running=running,
            last_number=0 if action.last is None else action.last.number,
            limit=limit,
            **await self._pace(sender, now),
        )

    async def of_new(
        self,
        schedule: Schedule,
        waiting: Mapping[str, Sequence[int]],
        sender: Sender | None,
        now: datetime,
        limit: int,
    ) -> Forecast:
        """The batches of an action that would be created now."""
        return forecast(
            schedule,
            now=now,
            since=max(now, schedule.start_at or now),
            previous=None,
            waiting=waiting,
            last_number=0,
            limit=limit,
            **await self._pace(sender, now),
        )

    async def _waiting(self, action: ActionView, schedule: Schedule) -> tuple[Places, Places]:
        """Who is in no batch yet, with the part of a list that the snapshot has not come to; who is left in a batch.

        The zones of that part are not known before the snapshot has come to it: it counts as being in the action's.
        """
        if schedule.drip is None or schedule.drip.time_zone_mode == "account":
            number = action.unreleased + action.not_yet_taken
            return ({"": range(number)} if number else {}), {}
        found, running = await self._reads.waiting_by_zone(action.id, schedule.time_zone)
        if not action.not_yet_taken:
            return found, running
        last = max((places[-1] for places in found.values()), default=0)
        coming = range(last + 1, last + 1 + action.not_yet_taken)
        return {**found, schedule.time_zone: [*found.get(schedule.time_zone, ()), *coming]}, running

    async def _pace(self, sender: Sender | None, now: datetime) -> _PaceArguments:
        if sender is None:
            return {"rate": None, "burst": 1, "tokens": None, "daily_cap": None, "sent_today": 0, "cap_zone": None}
        cap = (await self._caps.of(sender.org)).tightest(sender)
        bucket = await Pace(sender, now, self._senders.pace).begin(now)
        return {
            "rate": sender.rate,
            "burst": sender.burst,
            "tokens": bucket.tokens,
            "daily_cap": cap.most,
            "sent_today": cap.sent,
            "cap_zone": sender.org.time_zone,
        }


def _previous(action: ActionView) -> Previous | None:
    """The batch that the interval counts from; a new round starts anew."""
    last = action.last
    if last is None or last.round != action.round:
        return None
    untried = min(last.untried, last.counts.pending)  # who is in flight counts against the cap already
    return Previous(number=last.number, planned_at=last.planned_at, released_at=last.started_at, untried=untried)
