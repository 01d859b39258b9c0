"""The batches that a schedule will produce: `next_step` in a loop, with the sender's rate and daily cap.

There is no second algorithm. What is added is only how long the sender takes for a batch: the next batch waits for it,
and whoever is not reached before the window closes goes back and is counted for a later batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from gateway.core.drip import Exhausted, Missed, Previous, Release, Wait, claimable, closes_at, next_step
from gateway.core.schedule import Schedule
from gateway.core.window import instant_of, zone_named

# Work that one forecast may cost, counted in time zones looked at and days crossed: about a second.
_WORK_MAX: Final = 200_000
_AHEAD_MAX: Final = timedelta(days=36_525)  # a hundred years: what lies behind is not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """A batch to come. `quantity`: contacts; `takes`: from its release to the last first attempt."""

    number: int
    at: datetime
    quantity: int
    takes: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The first batches, and the figures of all. `ends_at`: the last first attempt, also of the batch now running.

    `complete` is false if the end was not reached: the sender never sends, or the forecast would be too long (more than
    some 60,000 batches, or a hundred years); the figures then cover what was looked at.
    """

    batches: tuple[PlannedBatch, ...]
    batch_count: int
    first_at: datetime | None
    last_at: datetime | None
    ends_at: datetime | None
    complete: bool = True


def forecast(
    schedule: Schedule,
    *,
    now: datetime,
    since: datetime,
    previous: Previous | None,
    remaining: Mapping[str, int],
    last_number: int,
    rate: float | None,
    daily_cap: int | None,
    sent_today: int,
    limit: int,
    cap_zone: str | None = None,
) -> Forecast:
    """What is still to come from `now` on; the arguments as for `next_step`, a paused action with `since=now`.

    `rate`: messages a second, None for no limit. `daily_cap`: messages a day of `cap_zone` (None: the schedule's), None
    for no limit; `sent_today` counts against it. At most `limit` batches are listed, all are counted. A missed one-off
    has no batches. In time zone mode `contact` a batch is taken from the open zones in proportion to who waits there.
    """
    zone = zone_named(schedule.time_zone) or UTC
    days = zone_named(cap_zone or schedule.time_zone) or zone
    walk = _Walk(schedule, since, last_number, remaining, _Sender(rate, daily_cap, days, now, sent_today))
    listed: list[PlannedBatch] = []
    count, first_at, last_at = 0, None, None
    for batch in walk.batches(now, previous):
        count, first_at, last_at = count + 1, first_at or batch.at, batch.at
        if len(listed) < limit:
            listed.append(batch)
    return Forecast(
        batches=tuple(listed),
        batch_count=count,
        first_at=first_at,
        last_at=last_at,
        ends_at=walk.ends_at,
        complete=walk.complete,
    )


class _Sender:
    """A sender that sends at its rate, up to its cap in each day. `work` counts the steps of its calculations."""

    def __init__(self, rate: float | None, cap: int | None, zone: tzinfo, now: datetime, sent_today: int) -> None:
        self.work = 0
        self._rate = rate
        self._cap = cap
        self._zone = zone
        self._sent = sent_today
        self._day_end = self._midnight_after(now)
        self._horizon = now + _AHEAD_MAX

    @property
    def never_sends(self) -> bool:
        return (self._rate is not None and self._rate <= 0) or (self._cap is not None and self._cap <= 0)

    def free_at(self, at: datetime) -> datetime:
        """When the cap lets the next message go, from `at` on."""
        self._turn_day(at)
        return self._day_end if self._cap is not None and self._sent >= self._cap else at

    def send(self, start: datetime, count: int, until: datetime | None) -> tuple[int, datetime]:
        """Send up to `count` messages from `start` on, none from `until` on. How many went, and when the last did."""
        bound = self._horizon if until is None else min(until, self._horizon)
        cursor, sent = start, 0
        while sent < count and (cursor := self.free_at(cursor)) < bound:
            self._turn_day(cursor)
            number = min(count - sent, self._fitting(cursor, bound))
            cursor += self._duration(number)
            sent += number
            self._sent += number
            self.work += 1
        return sent, cursor if sent == count else min(cursor, bound)

    def _fitting(self, cursor: datetime, bound: datetime) -> int:
        """How many go without meeting the bound, the cap, or the midnight at which the cap begins anew; at least 1."""
        numbers: list[float] = [math.inf]
        if self._cap is not None:
            bound = min(bound, self._day_end)
            numbers.append(self._cap - self._sent)
        if self._rate is not None:
            numbers.append(math.ceil((bound - cursor).total_seconds() * self._rate))
        number = min(numbers)
        return max(1, int(number)) if math.isfinite(number) else 1 << 62

    def _duration(self, number: int) -> timedelta:
        if self._rate is None:
            return timedelta()
        return timedelta(seconds=min(number / self._rate, _AHEAD_MAX.total_seconds()))

    def _turn_day(self, at: datetime) -> None:
        if at >= self._day_end:
            self._sent = 0
            self._day_end = self._midnight_after(at)

    def _midnight_after(self, at: datetime) -> datetime:
        midnight = datetime.combine(at.astimezone(self._zone).date(), time())
        days = 1
        while (found := instant_of(midnight + timedelta(days=days), self._zone)) <= at:
            days += 1
        return found


class _Walk:
    """One run through the future, from the present state of an action."""

    def __init__(
        self, schedule: Schedule, since: datetime, number: int, remaining: Mapping[str, int], sender: _Sender
    ) -> None:
        self.complete = True
        self.ends_at: datetime | None = None
        self._schedule = schedule
        self._since = since
        self._number = number
        self._remaining = dict(remaining)
        self._sender = sender

    def batches(self, now: datetime, previous: Previous | None) -> Iterator[PlannedBatch]:
        """The batches in order. `complete` and `ends_at` are right once they are exhausted."""
        at, horizon, work = now, now + _AHEAD_MAX, 0
        if self._sender.never_sends:
            self.complete = False
            return
        if previous is not None and previous.untried > 0:
            at = self._finish_present(now, previous.untried)
            previous = replace(previous, untried=0)
        while True:
            work += max(1, len(self._remaining))
            step = next_step(
                self._schedule,
                now=at,
                since=self._since,
                previous=previous,
                remaining=self._remaining,
                last_number=self._number,
            )
            if isinstance(step, Exhausted | Missed):
                return
            ready = self._ready(step, at)
            if ready is None or ready > horizon or work + self._sender.work > _WORK_MAX:
                self.complete = False
                return
            if isinstance(step, Wait) or ready > at:
                at = ready
                continue
            batch = self._run(step, at)
            yield batch
            if at + batch.takes >= horizon:
                self.complete = False
                return
            previous = Previous(number=step.number, planned_at=step.planned_at, released_at=at, untried=0)
            at += batch.takes

    def _ready(self, step: Wait | Release, at: datetime) -> datetime | None:
        return step.until if isinstance(step, Wait) else self._sender.free_at(at)

    def _finish_present(self, now: datetime, untried: int) -> datetime:
        """Let the batch that is running come to its end, or to the close of its window.

        In the recipients' own zones nobody knows here who is left in it: it is taken to come to its end.
        """
        drip = self._schedule.drip
        own_zones = drip is not None and drip.time_zone_mode == "contact"
        sent, end = 0, now
        if own_zones:
            sent, end = self._sender.send(now, untried, None)
        elif claimable(self._schedule, now, None):
            sent, end = self._sender.send(now, untried, closes_at(self._schedule, now, None))
        if sent:
            self.ends_at = end
        if sent < untried:
            self._remaining[""] = self._remaining.get("", 0) + untried - sent
        return end

    def _run(self, release: Release, at: datetime) -> PlannedBatch:
        """Send a batch zone by zone, those first that close first; who is not reached stays in `_remaining`."""
        zones = tuple(self._remaining) if release.zones is None else release.zones
        shares = _shares({zone: self._remaining[zone] for zone in zones}, release.quantity)
        closing = {zone: closes_at(self._schedule, at, zone) for zone in shares}
        cursor, quantity = at, 0
        for zone in sorted(shares, key=lambda name: closing[name] or datetime.max.replace(tzinfo=UTC)):
            sent, cursor = self._sender.send(cursor, shares[zone], closing[zone])
            quantity += sent
            self._remaining[zone] -= sent
            if self._remaining[zone] == 0:
                del self._remaining[zone]
        self._number = release.number
        self.ends_at = cursor if self.ends_at is None else max(self.ends_at, cursor)
        return PlannedBatch(number=release.number, at=at, quantity=quantity, takes=cursor - at)


def _shares(waiting: Mapping[str, int], quantity: int) -> dict[str, int]:
    """Divide a batch over zones in proportion to who waits in each; the shares add up to `quantity`."""
    total, shares, given = sum(waiting.values()), dict[str, int](), 0
    seen = 0
    for zone, number in waiting.items():
        seen += number
        upto = quantity * seen // total
        if upto > given:
            shares[zone] = upto - given
        given = upto
    return shares
