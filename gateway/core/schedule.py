"""What a schedule is, how its parts are written, and which schedules are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gateway.core.window import EVERY_DAY, MINUTES_OF_DAY, Window, next_opening, zone_named

__all__ = [
    "DAY_NAMES",
    "Drip",
    "Every",
    "Schedule",
    "ScheduleLimits",
    "ScheduleProblem",
    "Window",
    "format_days",
    "format_every",
    "format_window",
    "parse_days",
    "parse_every",
    "parse_window",
    "schedule_problems",
]

DAY_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_TIME_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")
_START_YEARS_MAX: Final = 100  # further ahead is a mistyped year, and would leave the range of dates
_SECONDS_OF_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Every:
    """An interval: elapsed seconds, or calendar days at the same wall time."""

    amount: int
    unit: Literal["seconds", "days"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """Release `batch_quantity` contacts, then again after `repeat_after`, while the window is open on the chosen days.

    In time zone mode `contact`, day and window are those of each recipient's own zone.
    """

    batch_quantity: int
    repeat_after: Every
    send_on: frozenset[int] = EVERY_DAY  # 0 is Monday
    process_between: Window | None = None  # None: the whole day
    time_zone_mode: Literal["account", "contact"] = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an action runs. `start_at` is aware; None means as soon as the action exists."""

    mode: Literal["now", "at", "drip"]
    start_at: datetime | None = None
    time_zone: str  # an IANA name
    drip: Drip | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleLimits:
    """What users may ask for. The demo allows itself a shorter interval."""

    batch_quantity_max: int = 10_000  # contacts
    repeat_after_min_seconds: int = 30
    repeat_after_max_days: int = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleProblem:
    """One reason to refuse a schedule. `code` is `invalid` or `never_runs`; `pointer` is a JSON pointer."""

    pointer: str
    detail: str
    code: Literal["invalid", "never_runs"] = "invalid"


def parse_every(text: str) -> Every:
    """`"30s"`, `"15m"`, `"24h"` are elapsed time, `"1d"`, `"7d"` calendar days. ValueError with a sentence."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a duration: write a whole number and a unit, such as '30s', '15m', '1h', '1d'."
        )
    amount, unit = int(match[1]), match[2]
    return Every(amount, "days") if unit == "d" else Every(amount * _SECONDS[unit], "seconds")


def format_every(every: Every) -> str:
    """The text of an interval in its largest whole unit: 3,600 seconds are `"1h"`, but 24 hours are never `"1d"`."""
    if every.unit == "days":
        return f"{every.amount}d"
    for unit in ("h", "m"):
        if every.amount and every.amount % _SECONDS[unit] == 0:
            return f"{every.amount // _SECONDS[unit]}{unit}"
    return f"{every.amount}s"


def parse_window(ends: Sequence[str]) -> Window:
    """`("09:00", "17:00")`, the end exclusive; `"24:00"` is allowed at the end. ValueError with a sentence."""
    if len(ends) != 2:
        raise ValueError("A window has two ends, such as ['09:00', '17:00'].")
    start, end = _minute(ends[0]), _minute(ends[1])
    if start == MINUTES_OF_DAY:
        raise ValueError("A window cannot open at '24:00': write '00:00'.")
    if start == end:
        raise ValueError(f"A window from {ends[0]!r} to {ends[1]!r} has no length: leave it out for the whole day.")
    return Window(start, end)


def _minute(text: str) -> int:
    match = _TIME_OF_DAY.fullmatch(text)
    minute = -1 if match is None else int(match[1]) * 60 + int(match[2])
    if not 0 <= minute <= MINUTES_OF_DAY:
        raise ValueError(f"{text!r} is not a time of day: write it as '09:00', from '00:00' to '24:00'.")
    return minute


def format_window(window: Window) -> tuple[str, str]:
    """The ends of a window as texts: `("22:00", "02:00")`."""
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (window.start_minute, window.end_minute))
    return start, end


def parse_days(names: Iterable[str]) -> frozenset[int]:
    """`["mon", "sun"]` is `{0, 6}`. ValueError with a sentence that names every unknown day."""
    given = list(names)
    unknown = [name for name in given if name not in DAY_NAMES]
    if unknown:
        raise ValueError(f"There is no day {', '.join(map(repr, unknown))}: the days are {', '.join(DAY_NAMES)}.")
    return frozenset(DAY_NAMES.index(name) for name in given)


def format_days(days: Iterable[int]) -> list[str]:
    """The names of days, Monday first."""
    return [DAY_NAMES[day] for day in sorted(days)]


def schedule_problems(
    schedule: Schedule, now: datetime, limits: ScheduleLimits | None = None, *, at: str = "/schedule"
) -> list[ScheduleProblem]:
    """Everything that speaks against a schedule; empty if it may run. A start in the past is no problem.

    `at` is the pointer of the schedule inside the request.
    """
    problems = [*_mode_problems(schedule), *_start_problems(schedule, now)]
    if zone_named(schedule.time_zone) is None:
        detail = f"There is no time zone {schedule.time_zone!r}: write an IANA name such as 'Europe/Berlin'."
        problems.append(ScheduleProblem(pointer="/time_zone", detail=detail))
    if schedule.drip is not None:
        problems += _drip_problems(schedule.drip, limits or ScheduleLimits())
    if not problems:
        problems += _never_runs(schedule, now)
    return [ScheduleProblem(pointer=at + found.pointer, detail=found.detail, code=found.code) for found in problems]


def _mode_problems(schedule: Schedule) -> Iterator[ScheduleProblem]:
    mode, start_at, drip = schedule.mode, schedule.start_at, schedule.drip
    if mode == "now" and start_at is not None:
        yield ScheduleProblem(pointer="/start_at", detail="Mode 'now' takes no start: use mode 'at'.")
    if mode == "at" and start_at is None:
        yield ScheduleProblem(pointer="/start_at", detail="Mode 'at' needs a start.")
    if mode == "drip" and drip is None:
        yield ScheduleProblem(pointer="/drip", detail="Mode 'drip' needs the settings of the drip.")
    if mode != "drip" and drip is not None:
        yield ScheduleProblem(pointer="/drip", detail=f"Mode {mode!r} takes no drip: use mode 'drip'.")


def _start_problems(schedule: Schedule, now: datetime) -> Iterator[ScheduleProblem]:
    start_at = schedule.start_at
    if start_at is None:
        return
    if start_at.utcoffset() is None:
        yield ScheduleProblem(pointer="/start_at", detail="The start needs an offset from UTC.")
    elif start_at.year > now.year + _START_YEARS_MAX:
        detail = f"The start lies more than {_START_YEARS_MAX} years ahead, so this would never run."
        yield ScheduleProblem(pointer="/start_at", detail=detail, code="never_runs")


def _drip_problems(drip: Drip, limits: ScheduleLimits) -> Iterator[ScheduleProblem]:
    if not 1 <= drip.batch_quantity <= limits.batch_quantity_max:
        detail = f"{drip.batch_quantity} is not between 1 and {limits.batch_quantity_max:,}."
        yield ScheduleProblem(pointer="/drip/batch_quantity", detail=detail)
    yield from _interval_problems(drip.repeat_after, limits)
    if not drip.send_on:
        yield ScheduleProblem(pointer="/drip/send_on", detail="Choose at least one day.")
    elif not drip.send_on <= EVERY_DAY:
        yield ScheduleProblem(pointer="/drip/send_on", detail="Days are numbered from 0, Monday, to 6, Sunday.")
    window = drip.process_between
    if window is None:
        return
    if not (0 <= window.start_minute < MINUTES_OF_DAY and 0 <= window.end_minute <= MINUTES_OF_DAY):
        detail = "A window lies between '00:00' and '24:00'."
        yield ScheduleProblem(pointer="/drip/process_between", detail=detail)
    elif window.start_minute == window.end_minute:
        detail = "A window with equal ends has no length: leave it out for the whole day."
        yield ScheduleProblem(pointer="/drip/process_between", detail=detail)


def _interval_problems(every: Every, limits: ScheduleLimits) -> Iterator[ScheduleProblem]:
    seconds = every.amount * (_SECONDS_OF_DAY if every.unit == "days" else 1)
    shortest = Every(limits.repeat_after_min_seconds, "seconds")
    if seconds < limits.repeat_after_min_seconds:
        detail = f"{format_every(every)!r} is too short: the shortest interval is {format_every(shortest)!r}."
    elif seconds > limits.repeat_after_max_days * _SECONDS_OF_DAY:
        detail = f"{format_every(every)!r} is too long: the longest interval is '{limits.repeat_after_max_days}d'."
    else:
        return
    yield ScheduleProblem(pointer="/drip/repeat_after", detail=detail)


def _never_runs(schedule: Schedule, now: datetime) -> Iterator[ScheduleProblem]:
    """Of an otherwise sound schedule: whether its window ever opens on one of its days."""
    zone = zone_named(schedule.time_zone)
    drip = schedule.drip
    if drip is None or zone is None:
        return
    start = max(now, schedule.start_at or now)
    if next_opening(drip.process_between, drip.send_on, start, zone) is None:
        days = ", ".join(format_days(drip.send_on))
        detail = f"This window never opens on {days} in {schedule.time_zone}, so this would never run."
        yield ScheduleProblem(pointer="/drip/process_between", detail=detail, code="never_runs")
