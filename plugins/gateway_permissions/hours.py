"""Hours of the day as people's clocks show them, and when they are over in several time zones at once.

Quiet is what the clock on the wall says: an hour that clocks repeat in autumn is quiet twice, one that they skip in
spring is quiet never.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import ClassVar, Final
from zoneinfo import ZoneInfo

from gateway import instant_of

_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_MINUTES_OF_DAY: Final = 1_440
_ZONES_KEPT: Final = 700  # there are about 600 names
# After this, zones that are never open together will not be: clocks show the same on every day but that of a change.
_AHEAD: Final = timedelta(days=2)


class Hours:
    """From inclusive to exclusive, over midnight where the end is the earlier; `[]` in gateway.toml is none at all."""

    __slots__ = ("_end", "_start", "text")
    expected: ClassVar[str] = 'two times of the day such as ["21:00", "08:00"], or [] for none'

    def __init__(self, start: int, end: int) -> None:
        """In minutes of the day, less than 1440; equal ones are no hours at all."""
        self._start = start
        self._end = end
        self.text = f"{start // 60:02}:{start % 60:02} to {end // 60:02}:{end % 60:02}"

    @classmethod
    def parse(cls, value: object) -> Hours:
        if value == []:
            return cls(0, 0)
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(f"Must be {cls.expected}, not {value!r}.")
        start, end = (_minute(each) for each in value)
        if start is None or end is None:
            raise ValueError(f"Must be {cls.expected}, not {value!r}.")
        if start == end:
            raise ValueError(f"Must be {cls.expected}; {value!r} would be the whole day, and nothing could ever leave.")
        return cls(start, end)

    def __bool__(self) -> bool:
        return self._start != self._end

    def __repr__(self) -> str:
        return f"Hours({self.text})"

    def over_at(self, at: datetime, zone: str) -> datetime | None:
        """When the hours that contain `at` are over on the clocks of `zone`; None if they do not contain it."""
        clocks = _zone(zone)
        local = at.astimezone(clocks)
        minute = local.hour * 60 + local.minute
        late = minute >= self._start
        inside = self._start <= minute < self._end if self._start < self._end else late or minute < self._end
        if not inside:
            return None
        days = 1 if late and self._end < self._start else 0
        end = datetime.combine(local.date(), time()) + timedelta(days=days, minutes=self._end)
        first = instant_of(end, clocks)
        return first if first > at else end.replace(tzinfo=clocks, fold=1).astimezone(UTC)

    def free_at(self, at: datetime, zones: Sequence[str]) -> datetime | None:
        """The first instant from `at` on that lies in these hours in none of `zones`; None if there is no such."""
        free = at
        while free <= at + _AHEAD:
            ends = [end for zone in zones if (end := self.over_at(free, zone)) is not None]
            if not ends:
                return free
            free = max(ends)
        return None


def _minute(text: object) -> int | None:
    if not isinstance(text, str) or _CLOCK.fullmatch(text) is None:
        return None
    return (int(text[:2]) * 60 + int(text[3:])) % _MINUTES_OF_DAY


@lru_cache(maxsize=_ZONES_KEPT)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
