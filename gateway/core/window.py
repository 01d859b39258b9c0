"""When a schedule is open: a time window on chosen days, as people in one time zone read their clocks.

Local times become instants by two rules. A local time that a clock change skips is the first instant after the gap; one
that it repeats is the first of the two. A window over midnight belongs to the day on which it opens, so that Friday's
22:00 to 02:00 needs Friday only. So everything here is an interval between two instants: nothing is scanned minute by
minute, and nothing can be open twice.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

MINUTES_OF_DAY: Final = 1440
EVERY_DAY: Final = frozenset(range(7))
# A chosen weekday comes back within 7 days, and a clock change can swallow a whole window, or once a whole day.
_DAYS_AHEAD: Final = 30
_SPANS_KEPT: Final = 4096  # a forecast asks for the same opening about five times in each zone
_ZONES_KEPT: Final = 700  # there are about 600 names; ZoneInfo itself keeps only 8 and reads the others again


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the local day, from inclusive to exclusive. The end may be 1440; start > end runs over midnight."""

    start_minute: int
    end_minute: int

    @property
    def over_midnight(self) -> bool:
        return self.start_minute > self.end_minute


@dataclass(frozen=True, slots=True)
class Span:
    """One opening, as instants in UTC; `end` is exclusive."""

    start: datetime
    end: datetime


@lru_cache(maxsize=_ZONES_KEPT)
def zone_named(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name such as `Africa/Lagos`, or None if there is none by that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all; the name of a folder of names
        return None


def instant_of(local: datetime, zone: tzinfo) -> datetime:
    """The instant in UTC at which clocks in `zone` show the naive time `local`.

    The first one that exists if clocks skip that time, the first of the two if they show it twice.
    """
    first = local.replace(tzinfo=zone, fold=0)
    before, after = first.utcoffset(), first.replace(fold=1).utcoffset()
    assert before is not None
    assert after is not None
    if before >= after:
        return first.astimezone(UTC)
    return _end_of_gap(local - after, local - before, zone)


def _end_of_gap(earlier: datetime, later: datetime, zone: tzinfo) -> datetime:
    """The clock change between two naive instants of UTC, to the second: changes happen on whole seconds."""
    low, high = earlier.replace(microsecond=0, tzinfo=UTC), later.replace(tzinfo=UTC)
    offset = low.astimezone(zone).utcoffset()
    seconds = int((high - low).total_seconds()) + 1
    while seconds > 1:
        half = seconds // 2
        if (low + timedelta(seconds=half)).astimezone(zone).utcoffset() == offset:
            low += timedelta(seconds=half)
            seconds -= half
        else:
            seconds = half
    return low + timedelta(seconds=1)


def is_open(window: Window | None, days: AbstractSet[int], instant: datetime, zone: tzinfo) -> bool:
    """Whether `instant` is inside the window on one of `days` (0 is Monday). No window: the whole day."""
    span = next_span(window, days, instant, zone)
    return span is not None and span.start <= instant


def next_opening(window: Window | None, days: AbstractSet[int], instant: datetime, zone: tzinfo) -> datetime | None:
    """The first open instant that is not before `instant`: itself if it is open. None if it never opens."""
    span = next_span(window, days, instant, zone)
    return None if span is None else max(span.start, instant)


def open_until(window: Window | None, days: AbstractSet[int], instant: datetime, zone: tzinfo) -> datetime | None:
    """When it closes next, given that it is open at `instant`. None if it never closes."""
    if _never_closes(window, days):
        return None
    end = instant
    span = next_span(window, days, instant, zone)
    while span is not None and span.start <= end:
        end = span.end
        span = next_span(window, days, end, zone)
    return end


def next_span(window: Window | None, days: AbstractSet[int], instant: datetime, zone: tzinfo) -> Span | None:
    """The opening that contains `instant`, else the next one. None if there is none within a month, so never."""
    if _never_closes(window, days):
        return Span(instant, instant + timedelta(days=1))
    today = instant.astimezone(zone).date()
    first = -1 if window is not None and window.over_midnight else 0
    for ahead in range(first, _DAYS_AHEAD):
        day = today + timedelta(days=ahead)
        if day.weekday() in days:
            span = _span(window, day, zone)
            if span.end > instant and span.start < span.end:
                return span
    return None


def _never_closes(window: Window | None, days: AbstractSet[int]) -> bool:
    whole = window is None or (window.start_minute == 0 and window.end_minute == MINUTES_OF_DAY)
    return whole and len(days) == len(EVERY_DAY)


@lru_cache(maxsize=_SPANS_KEPT)
def _span(window: Window | None, day: date, zone: tzinfo) -> Span:
    midnight = datetime.combine(day, time())
    if window is None:
        return Span(instant_of(midnight, zone), instant_of(midnight + timedelta(days=1), zone))
    end = window.end_minute + (MINUTES_OF_DAY if window.over_midnight else 0)
    start_local = midnight + timedelta(minutes=window.start_minute)
    return Span(instant_of(start_local, zone), instant_of(midnight + timedelta(minutes=end), zone))
