"""From a schedule as it was asked for to one that runs, with everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from gateway.core.schedule import (
    Drip,
    Every,
    Schedule,
    ScheduleLimits,
    Window,
    parse_days,
    parse_every,
    parse_window,
    schedule_problems,
)
from gateway.core.window import EVERY_DAY, instant_of, zone_named
from gateway.engine.action_requests import DripRequest, ScheduleRequest
from gateway.engine.findings import Findings

S = TypeVar("S")
T = TypeVar("T")


def read_schedule(
    asked: ScheduleRequest, time_zone: str, now: datetime, limits: ScheduleLimits, found: Findings
) -> Schedule | None:
    """The schedule, or None with the reasons in `found`. `time_zone` stands for one that is not given."""
    before = len(found.problems)
    zone_name = asked.time_zone if asked.time_zone is not None else time_zone
    start_at = _start(asked.start_at, zone_name, found)
    drip = None if asked.drip is None else _drip(asked.drip, found)
    if len(found.problems) > before:
        return None
    schedule = Schedule(mode=asked.mode, start_at=start_at, time_zone=zone_name, drip=drip)
    for problem in schedule_problems(schedule, now, limits):
        found.problem(problem.pointer, problem.detail, problem.code)
    return schedule if len(found.problems) == before else None


def warn_of_past_start(schedule: Schedule, now: datetime, found: Findings) -> None:
    """A start in the past runs now; it is worth a word."""
    if schedule.start_at is not None and schedule.start_at < now:
        found.warn("start_in_past", f"The start, {schedule.start_at.isoformat()}, has passed: it runs now.")


def _start(text: str | None, zone_name: str, found: Findings) -> datetime | None:
    if text is None:
        return None
    try:
        start = datetime.fromisoformat(text)
        if "T" not in text.upper() and " " not in text:
            raise ValueError(text)
    except ValueError:
        found.problem("/schedule/start_at", f"{text!r} is not a time: write it as '2026-12-01T09:00:00+01:00'.")
        return None
    zone = zone_named(zone_name)
    if zone is None:
        found.problem("/schedule/time_zone", f"There is no time zone {zone_name!r}: write one like 'Europe/Berlin'.")
        return None
    try:
        return start.astimezone(UTC) if start.tzinfo is not None else instant_of(start, zone)
    except OverflowError:
        found.problem("/schedule/start_at", "The start lies outside the years 1 to 9999.")
        return None


def _drip(asked: DripRequest, found: Findings) -> Drip | None:
    every: Every | None = _parsed("/repeat_after", parse_every, asked.repeat_after, found)
    days: frozenset[int] | None = EVERY_DAY
    if asked.send_on is not None:
        days = _parsed("/send_on", parse_days, asked.send_on, found)
    window: Window | None = None
    if asked.process_between is not None:
        window = _parsed("/process_between", parse_window, asked.process_between, found)
    if every is None or days is None or (window is None and asked.process_between is not None):
        return None
    return Drip(
        batch_quantity=asked.batch_quantity,
        repeat_after=every,
        send_on=days,
        process_between=window,
        time_zone_mode=asked.time_zone_mode,
    )


def _parsed(field: str, parse: Callable[[S], T], given: S, found: Findings) -> T | None:
    try:
        return parse(given)
    except ValueError as exc:
        found.problem(f"/schedule/drip{field}", str(exc))
        return None
