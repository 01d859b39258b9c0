"""The batches that a schedule will produce: `next_step` in a loop, with the sender's rate and daily cap.

There is no second algorithm. What is added is only how long the sender takes for a batch: the next batch waits for it,
and whoever is not reached before the window closes goes back and is counted for a later batch. The rate and the cap
delay what is sent, never a release: a batch that is released into a spent cap may come to nothing (`quantity` 0).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from types import MappingProxyType
from typing import Final

from gateway.core.bucket import Bucket
from gateway.core.drip import Exhausted, Missed, Previous, Release, Wait, claimable, closes_at, next_step
from gateway.core.places import Places
from gateway.core.schedule import Schedule
from gateway.core.window import instant_of, zone_named

# Work that one forecast may cost, counted in time zones looked at and days crossed: about two seconds of a core (2.2 s
# measured for one that is cut).
_WORK_MAX: Final = 200_000
_AHEAD_MAX: Final = timedelta(days=36_525)  # a hundred years: what lies behind is not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """A batch to come. `quantity`: contacts; `takes`: from its release until everybody was tried or has left it."""

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
    waiting: Mapping[str, Sequence[int]],
    last_number: int,
    rate: float | None,
    daily_cap: int | None,
    sent_today: int,
    limit: int,
    burst: float = 1,
    tokens: float | None = None,
    cap_zone: str | None = None,
    running: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Forecast:
    """What is still to come from `now` on; the arguments as for `next_step`, a paused action with `since=now`.

    `waiting` are those whom `next_step` only counts: their places in the snapshot, ascending, by time zone. `running`:
    in time zone mode `contact`, those of the last batch who were not tried yet.
    `rate`: messages a second, None for no limit; so many as `burst` may go at once after a rest, and so many as
    `tokens` (None: `burst`) now. `daily_cap`: messages a day of `cap_zone` (None: the schedule's), None for no limit;
    `sent_today` counts against it. At most `limit`
    batches are listed, all are counted. A missed one-off has no batches.
    """
    zone = zone_named(schedule.time_zone) or UTC
    days = zone_named(cap_zone or schedule.time_zone) or zone
    left = burst if tokens is None else tokens
    bucket = None if rate is None else Bucket(rate=rate, burst=burst, tokens=left, at=now)
    sender = _Sender(bucket, daily_cap, days, now, sent_today)
    walk = _Walk(schedule, since, last_number, Places(waiting), sender)
    listed: list[PlannedBatch] = []
    count, first_at, last_at = 0, None, None
    for batch in walk.batches(now, previous, running):
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

    def __init__(self, bucket: Bucket | None, cap: int | None, zone: tzinfo, now: datetime, sent_today: int) -> None:
        self.work = 0
        self._bucket = bucket
        self._cap = cap
        self._zone = zone
        self._sent = sent_today
        self._day_end = self._midnight_after(now)
        self.horizon = now + _AHEAD_MAX

    @property
    def never_sends(self) -> bool:
        without_rate = self._bucket is not None and self._bucket.rate <= 0
        return without_rate or (self._cap is not None and self._cap <= 0)

    def free_at(self, at: datetime) -> datetime:
        """When the rate and the cap let the next message go, from `at` on."""
        at = self._ready(1, at)
        self._turn_day(at)
        return self._day_end if self._spent else at

    @property
    def _spent(self) -> bool:
        """The cap of the day that was last looked at."""
        return self._cap is not None and self._sent >= self._cap

    def send(self, start: datetime, count: int, until: datetime | None) -> tuple[int, datetime]:
        """Send up to `count` messages from `start` on, none from `until` on. How many went, and when the last did."""
        bound = self.horizon if until is None else min(until, self.horizon)
        cursor, sent = start, 0
        while sent < count and (cursor := self.free_at(cursor)) < bound:
            number = min(count - sent, self.fitting(cursor, bound))
            cursor = self.send_at_once(cursor, number)
            sent += number
        return sent, cursor if sent == count else min(cursor, bound)

    def would_send(self, start: datetime, count: int, until: datetime | None) -> bool:
        """Whether that many go from `start` on in one go, before `until` and within the day's cap."""
        bound = self.horizon if until is None else min(until, self.horizon)
        start = self.free_at(start)
        return start < bound and not self._spent and self.fitting(start, bound) >= count

    def send_at_once(self, cursor: datetime, number: int) -> datetime:
        """Send as many as `fitting` has allowed. When the last one went."""
        self._sent += number
        self.work += 1
        end = self._ready(number, cursor)
        if self._bucket is not None:
            self._bucket = self._bucket.refilled(cursor).spent(number).refilled(end)
        return end

    def fitting(self, cursor: datetime, bound: datetime) -> int:
        """How many go without meeting the bound, the cap, or the midnight at which the cap begins anew; at least 1.

        `cursor` is an instant of `free_at`.
        """
        self._turn_day(cursor)
        numbers: list[float] = [math.inf]
        if self._cap is not None:
            bound = min(bound, self._day_end)
            numbers.append(self._cap - self._sent)
        if self._bucket is not None:
            numbers.append(self._bucket.refilled(cursor).coming_before(bound))
        number = min(numbers)
        return max(1, int(number)) if math.isfinite(number) else 1 << 62

    def _ready(self, number: int, at: datetime) -> datetime:
        """When the last of so many may go, from `at` on."""
        if self._bucket is None:
            return at
        bucket = self._bucket.refilled(at)
        if number - bucket.tokens > bucket.rate * _AHEAD_MAX.total_seconds():
            return at + _AHEAD_MAX
        return bucket.holds_at(number)

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

    def __init__(self, schedule: Schedule, since: datetime, number: int, waiting: Places, sender: _Sender) -> None:
        self.complete = True
        self.ends_at: datetime | None = None
        self._schedule = schedule
        self._since = since
        self._number = number
        self._waiting = waiting
        self._sender = sender
        self._work = 0

    @property
    def _own_zones(self) -> bool:
        return self._schedule.drip is not None and self._schedule.drip.time_zone_mode == "contact"

    @property
    def _tired(self) -> bool:
        return self._work + self._sender.work > _WORK_MAX

    def batches(
        self, now: datetime, previous: Previous | None, running: Mapping[str, Sequence[int]]
    ) -> Iterator[PlannedBatch]:
        """The batches in order. `complete` and `ends_at` are right once they are exhausted."""
        at = now
        if self._sender.never_sends:
            self.complete = False
            return
        if previous is not None and previous.untried > 0:
            at = self._finish_present(now, previous.untried, running)
            previous = replace(previous, untried=0)
        while self.complete:
            remaining = self._waiting.counts
            self._work += max(1, len(remaining))
            step = next_step(
                self._schedule,
                now=at,
                since=self._since,
                previous=previous,
                remaining=remaining,
                last_number=self._number,
            )
            if isinstance(step, Exhausted | Missed):
                return
            ready = step.until if isinstance(step, Wait) else at
            if ready is None or ready > self._sender.horizon or self._tired:
                self.complete = False
                return
            if isinstance(step, Wait):
                at = ready
                continue
            batch = self._run(step, at)
            yield batch
            previous = Previous(number=step.number, planned_at=step.planned_at, released_at=at, untried=0)
            at += batch.takes
            if at >= self._sender.horizon:
                self.complete = False

    def _finish_present(self, now: datetime, untried: int, running: Mapping[str, Sequence[int]]) -> datetime:
        """Let the batch that is running come to its end, or to the close of its window."""
        if self._own_zones:
            line = sorted((place, zone) for zone, places in running.items() for place in places)
            return self._send_in_order(now, line)[1]
        sent, end = 0, now
        if claimable(self._schedule, now, None):
            sent, end = self._sender.send(now, untried, closes_at(self._schedule, now, None))
        if sent:
            self.ends_at = end
        if sent < untried:
            # Their places do not matter, where there is one zone for all; they only must not be anybody else's.
            first = self._waiting.end
            self._waiting.give_back("", range(first, first + untried - sent))
        return end

    def _run(self, release: Release, at: datetime) -> PlannedBatch:
        """Send a batch. Who is not reached waits again."""
        shares = self._waiting.take(release.quantity, release.zones)
        self._work += len(shares)
        total = sum(shares.values())
        ends = [end for zone in shares if (end := closes_at(self._schedule, at, zone)) is not None]
        closing = min(ends, default=None)
        if not self._own_zones:
            sent, end = self._sender.send(at, total, closing)
            left = self._waiting.just_taken(shares)[sent:] if sent < total else []
            self._waiting.give_back("", [place for place, _ in left])
            self._note_end(sent, end)
        elif self._sender.would_send(at, total, closing):
            sent, end = self._sender.send(at, total, closing)
            self._note_end(sent, end)
        else:
            sent, end = self._send_in_order(at, self._waiting.just_taken(shares))
        self._number = release.number
        return PlannedBatch(number=release.number, at=at, quantity=sent, takes=end - at)

    def _send_in_order(self, at: datetime, line: Sequence[tuple[int, str]]) -> tuple[int, datetime]:
        """Send to each in turn whose own zone is open when it comes to the front; the others wait again.

        How many were sent to, and when the last one left. As in the lane, nobody comes to the front while the cap is
        spent.
        """
        zones = {zone for _, zone in line}
        back: dict[str, list[int]] = {}
        place, sent = 0, 0
        while place < len(line):
            at = self._sender.free_at(at)
            if at >= self._sender.horizon or self._tired:
                self.complete = False
                break
            ends = {zone: closes_at(self._schedule, at, zone) for zone in zones if claimable(self._schedule, at, zone)}
            bound = min((end for end in ends.values() if end is not None), default=self._sender.horizon)
            fitting, number = self._sender.fitting(at, bound), 0
            while place < len(line) and number < fitting:
                own, zone = line[place]
                place += 1
                if zone in ends:
                    number += 1
                else:
                    back.setdefault(zone, []).append(own)
            self._work += len(zones)
            if number:
                at = self._sender.send_at_once(at, number)
                sent += number
                self._note_end(number, at)
        self._work += len(line) // 16
        for zone, places in back.items():
            self._waiting.give_back(zone, places)
        return sent, at

    def _note_end(self, sent: int, end: datetime) -> None:
        if sent:
            self.ends_at = end if self.ends_at is None else max(self.ends_at, end)
