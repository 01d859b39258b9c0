"""What a schedule does next: one pure function, which the scheduler and the forecast both call.

The rules, each a property in `tests/core/test_drip.py`:

- Nothing piles up. What fell due while a day, a window, a pause or an outage kept the drip closed is dropped; when it
  opens, one batch runs, and the interval counts from that batch.
- The interval counts from the planned instant of the last batch if it was released within a minute of it, else from the
  release: a daily 09:00 does not creep, and a late batch is not followed by a hasty one.
- A slot that was missed by more than an hour is not made up: a drip takes its next one, a one-off is `Missed`.
- The next batch waits until everybody of the last one has had the first attempt or has left it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from gateway.core.schedule import Drip, Every, Schedule, Window
from gateway.core.window import instant_of, is_open, next_opening, open_until, zone_named

PUNCTUAL: Final = timedelta(seconds=60)  # released within this of its planned instant, a batch counts as on time
LATE: Final = timedelta(hours=1)  # what is later than this is not made up
_MICROSECOND: Final = timedelta(microseconds=1)


class WaitReason(StrEnum):
    """Why an action that runs does nothing at the moment."""

    SCHEDULED = "scheduled"
    SNAPSHOT = "snapshot"
    INTERVAL = "interval"
    DAY = "day"
    WINDOW = "window"
    PREVIOUS_BATCH = "previous_batch"
    RATE = "rate"
    DAILY_CAP = "daily_cap"
    QUIET_HOURS = "quiet_hours"
    SENDER_DOWN = "sender_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The last batch of this round. `untried`: how many are still in it without their first attempt."""

    number: int
    planned_at: datetime
    released_at: datetime
    untried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do until `until`, the exact instant; None: until the last batch has had its first attempts."""

    until: datetime | None
    reason: WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Release a batch of `quantity` contacts now. `zones`: only contacts of these time zones; None: anybody.

    The one batch of an undripped action is open-ended: whoever the snapshot still adds belongs to it.
    """

    number: int
    planned_at: datetime
    quantity: int
    zones: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nobody is left to release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A one-off whose time passed more than an hour ago with nothing released: a person has to decide."""

    planned_at: datetime
    late_by: timedelta


Step = Wait | Release | Exhausted | Missed


def next_step(
    schedule: Schedule,
    *,
    now: datetime,
    since: datetime,
    previous: Previous | None,
    remaining: Mapping[str, int],
    last_number: int,
) -> Step:
    """What to do at `now`. Total, and safe to ask again: once a release is recorded, the same instant gives no second.

    `since` is the latest of the action's start, creation and resumption. `previous` is the last batch of the present
    round, `last_number` the highest number of any round. `remaining` counts who may be released but is not: in time
    zone mode `contact` by zone (a missing or unknown zone under the action's own), else under the one key `""`.
    """
    total = sum(remaining.values())
    if total <= 0:
        return Exhausted()
    since = max(since, schedule.start_at or since)
    if schedule.drip is None:
        return _one_off(now, since, previous, total, last_number)
    return _drip(schedule, schedule.drip, now, since, previous, remaining, last_number)


def claimable(schedule: Schedule, instant: datetime, zone: str | None) -> bool:
    """The test before each message: whether a released recipient (whose own zone is `zone`) may be taken now."""
    drip = schedule.drip
    if drip is None:
        return True
    return is_open(drip.process_between, drip.send_on, instant, _zone_of(schedule, drip, zone))


def closes_at(schedule: Schedule, instant: datetime, zone: str | None) -> datetime | None:
    """Until when `claimable` stays true, given that it is; None: for ever. Then the unclaimed leave their batch."""
    drip = schedule.drip
    if drip is None:
        return None
    return open_until(drip.process_between, drip.send_on, instant, _zone_of(schedule, drip, zone))


def _zone_of(schedule: Schedule, drip: Drip, zone: str | None) -> tzinfo:
    """A recipient's zone where the mode asks for it and the name is known, else the action's."""
    own = zone_named(zone) if zone and drip.time_zone_mode == "contact" else None
    return own or zone_named(schedule.time_zone) or UTC


def _one_off(now: datetime, since: datetime, previous: Previous | None, total: int, last_number: int) -> Step:
    if previous is not None:
        return Exhausted()  # its batch is open-ended: everybody is in it
    if now < since:
        return Wait(until=since, reason=WaitReason.SCHEDULED)
    if now - since > LATE:
        return Missed(planned_at=since, late_by=now - since)
    return Release(number=last_number + 1, planned_at=since, quantity=total, zones=None)


@dataclass(frozen=True, slots=True)
class _Hours:
    """The opening hours of a drip, in all the zones in which somebody waits."""

    window: Window | None
    days: frozenset[int]
    zones: tuple[tuple[str, tzinfo], ...]

    def opening(self, instant: datetime) -> datetime | None:
        """The earliest instant from `instant` on at which it is open somewhere."""
        found = [next_opening(self.window, self.days, instant, zone) for _, zone in self.zones]
        return min((opening for opening in found if opening is not None), default=None)

    def open_for(self, instant: datetime) -> datetime | None:
        """Until when it surely stays open somewhere, given that it is; None: for ever."""
        latest = instant
        for _, zone in self.zones:
            if is_open(self.window, self.days, instant, zone):
                end = open_until(self.window, self.days, instant, zone)
                if end is None:
                    return None
                latest = max(latest, end)
        return latest

    def open_zones(self, instant: datetime) -> tuple[str, ...]:
        return tuple(name for name, zone in self.zones if is_open(self.window, self.days, instant, zone))


def _hours(schedule: Schedule, drip: Drip, remaining: Mapping[str, int]) -> _Hours:
    if drip.time_zone_mode == "account":
        zones: tuple[tuple[str, tzinfo], ...] = (("", _zone_of(schedule, drip, None)),)
    else:
        zones = tuple((name, _zone_of(schedule, drip, name)) for name, waiting in remaining.items() if waiting > 0)
    return _Hours(drip.process_between, drip.send_on, zones)


def _drip(
    schedule: Schedule,
    drip: Drip,
    now: datetime,
    since: datetime,
    previous: Previous | None,
    remaining: Mapping[str, int],
    last_number: int,
) -> Step:
    hours = _hours(schedule, drip, remaining)
    rhythm = _rhythm(schedule, drip, since)
    slot = since if previous is None else max(since, rhythm.after_batch(previous))
    planned = hours.opening(slot)
    if planned is not None and planned < now:
        planned = _last_due(hours, rhythm, planned, now)
        if now - planned > LATE or not hours.open_zones(now):
            slot = rhythm.first_after(planned, planned)
            planned = hours.opening(slot)
    if planned is None:  # creation refuses such a schedule
        return Wait(until=None, reason=WaitReason.WINDOW)
    if planned > now:
        return Wait(until=planned, reason=_why(schedule, drip, now, since, slot, planned))
    if previous is not None and previous.untried > 0:
        return Wait(until=None, reason=WaitReason.PREVIOUS_BATCH)
    return _release(drip, hours, now, planned, remaining, last_number + 1)


def _last_due(hours: _Hours, rhythm: _Rhythm, planned: datetime, now: datetime) -> datetime:
    """The last planned instant up to `now`, counting from `planned` as if each batch in between had run on time.

    Those in between are dropped. Because none of this depends on when the question is asked, an instant that a drip was
    told to wait for is still planned when it comes.
    """
    while True:
        if rhythm.every.unit == "seconds":
            end = hours.open_for(planned)
            last = now if end is None else min(now, end - _MICROSECOND)
            interval = timedelta(seconds=rhythm.every.amount)
            planned += (last - planned) // interval * interval
        following = hours.opening(rhythm.first_after(planned, planned))
        if following is None or following > now:
            return planned
        planned = following


def _release(
    drip: Drip, hours: _Hours, now: datetime, planned: datetime, remaining: Mapping[str, int], number: int
) -> Release:
    if drip.time_zone_mode == "account":
        zones, waiting = None, sum(remaining.values())
    else:
        zones = hours.open_zones(now)
        waiting = sum(remaining[name] for name in zones)
    return Release(number=number, planned_at=planned, quantity=min(drip.batch_quantity, waiting), zones=zones)


def _why(
    schedule: Schedule, drip: Drip, now: datetime, since: datetime, slot: datetime, planned: datetime
) -> WaitReason:
    """The rule that a drip waits for: its start, its interval, or the hours that keep it closed."""
    if now < since:
        return WaitReason.SCHEDULED
    if planned == slot:
        return WaitReason.INTERVAL
    local = max(now, slot).astimezone(_zone_of(schedule, drip, None))
    return WaitReason.WINDOW if local.weekday() in drip.send_on else WaitReason.DAY


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """The interval of a drip. `walls` are the local times of day that its planned instants may stand for."""

    every: Every
    zone: tzinfo
    walls: tuple[time, ...]

    def after_batch(self, previous: Previous) -> datetime:
        """The slot after a batch: later than its release, so that slots which passed meanwhile are dropped."""
        punctual = previous.released_at - previous.planned_at <= PUNCTUAL
        return self.first_after(previous.planned_at if punctual else previous.released_at, previous.released_at)

    def first_after(self, base: datetime, after: datetime) -> datetime:
        """The first of base + 1, 2, 3, ... intervals that is later than `after`, and later than `base`."""
        after = max(after, base)
        if self.every.unit == "seconds":
            interval = timedelta(seconds=self.every.amount)
            return base + interval * ((after - base) // interval + 1)
        nominal, days = self._nominal(base), timedelta(days=self.every.amount)
        # Clock changes move an instant by at most a day against its nominal local time, hence one interval less.
        count = max(1, (after - base) // days - 1)
        while (slot := instant_of(nominal + days * count, self.zone)) <= after:
            count += 1
        return slot

    def _nominal(self, base: datetime) -> datetime:
        """The naive local time that `base` stands for: its own, but right after a gap perhaps one inside the gap.

        Without this, a daily 02:30 would be a daily 03:00 from the day on which the clocks skip 02:30.
        """
        local = base.astimezone(self.zone).replace(tzinfo=None)
        skipped = (base - _MICROSECOND).astimezone(self.zone).replace(tzinfo=None) + _MICROSECOND
        if skipped < local:
            for wall in self.walls:
                for day in (skipped.date(), local.date()):
                    candidate = datetime.combine(day, wall)
                    if skipped <= candidate < local:
                        return candidate
        return local


def _rhythm(schedule: Schedule, drip: Drip, since: datetime) -> _Rhythm:
    zone = _zone_of(schedule, drip, None)
    if drip.repeat_after.unit == "seconds":
        return _Rhythm(drip.repeat_after, zone, ())
    walls = [(schedule.start_at or since).astimezone(zone).time()]
    if drip.process_between is not None:
        start = drip.process_between.start_minute
        walls.append(time(start // 60, start % 60))
    return _Rhythm(drip.repeat_after, zone, tuple(walls))
