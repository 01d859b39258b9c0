"""How schedules are written, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.schedule import (
    Drip,
    Every,
    Schedule,
    ScheduleLimits,
    Window,
    format_days,
    format_every,
    format_window,
    parse_days,
    parse_every,
    parse_window,
    schedule_problems,
)

NOW = datetime(2026, 6, 1, 8, tzinfo=UTC)
DRIP = Drip(batch_quantity=100, repeat_after=Every(3600, "seconds"))
SCHEDULE = Schedule(mode="drip", time_zone="Africa/Lagos", drip=DRIP)


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("30s", Every(30, "seconds")),
        ("15m", Every(900, "seconds")),
        ("24h", Every(86_400, "seconds")),
        ("1d", Every(1, "days")),
        ("7d", Every(7, "days")),
    ],
)
def test_durations_keep_days_apart_from_hours_and_are_written_back(text: str, every: Every) -> None:
    assert parse_every(text) == every
    assert format_every(every) == text


@pytest.mark.parametrize(
    "text", ["", "30", "h", "1 h", "-1h", "1.5h", "1w", "1H", "٣h", "1h30m", "9999999999s", "1h\n"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_every(text)


@given(st.integers(0, 10**9), st.sampled_from(["seconds", "days"]))
def test_every_interval_survives_being_written(amount: int, unit: str) -> None:
    every = Every(amount % (366 if unit == "days" else 10**9), "days" if unit == "days" else "seconds")
    assert parse_every(format_every(every)) == every


@pytest.mark.parametrize(
    ("ends", "window"),
    [
        (("09:00", "17:00"), Window(540, 1020)),
        (("22:00", "02:00"), Window(1320, 120)),
        (("00:00", "24:00"), Window(0, 1440)),
    ],
)
def test_windows_are_read_and_written_back(ends: tuple[str, str], window: Window) -> None:
    assert parse_window(ends) == window
    assert format_window(window) == ends


@pytest.mark.parametrize(
    "ends",
    [("09:00", "09:00"), ("24:00", "09:00"), ("9:00", "17:00"), ("09:00", "24:01"), ("09:60", "17:00"), ("09:00",), ()],
)
def test_windows_without_length_or_with_times_that_are_none_are_refused(ends: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"[.]$"):
        parse_window(ends)


def test_days_are_read_and_written_in_the_order_of_the_week() -> None:
    assert parse_days(["sun", "mon", "mon"]) == frozenset({0, 6})
    assert format_days({6, 0}) == ["mon", "sun"]
    with pytest.raises(ValueError, match=r"'funday', 'Mon'.*mon, tue"):
        parse_days(["mon", "funday", "Mon"])


def test_sound_schedules_have_no_problems() -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for schedule in (
        SCHEDULE,
        replace(SCHEDULE, start_at=past),
        Schedule(mode="now", time_zone="UTC"),
        Schedule(mode="at", start_at=past, time_zone="UTC"),
        replace(SCHEDULE, drip=replace(DRIP, process_between=Window(1320, 0), send_on=frozenset({6}))),
    ):
        assert schedule_problems(schedule, NOW) == []


@pytest.mark.parametrize(
    ("schedule", "pointer"),
    [
        (replace(SCHEDULE, drip=replace(DRIP, batch_quantity=0)), "/drip/batch_quantity"),
        (replace(SCHEDULE, drip=replace(DRIP, batch_quantity=-1)), "/drip/batch_quantity"),
        (replace(SCHEDULE, drip=replace(DRIP, batch_quantity=10_001)), "/drip/batch_quantity"),
        (replace(SCHEDULE, drip=replace(DRIP, repeat_after=Every(29, "seconds"))), "/drip/repeat_after"),
        (replace(SCHEDULE, drip=replace(DRIP, repeat_after=Every(0, "days"))), "/drip/repeat_after"),
        (replace(SCHEDULE, drip=replace(DRIP, repeat_after=Every(10**9, "days"))), "/drip/repeat_after"),
        (replace(SCHEDULE, drip=replace(DRIP, send_on=frozenset())), "/drip/send_on"),
        (replace(SCHEDULE, drip=replace(DRIP, send_on=frozenset({7}))), "/drip/send_on"),
        (replace(SCHEDULE, drip=replace(DRIP, process_between=Window(540, 540))), "/drip/process_between"),
        (replace(SCHEDULE, drip=replace(DRIP, process_between=Window(1440, 540))), "/drip/process_between"),
        (replace(SCHEDULE, time_zone="Mars/Olympus"), "/time_zone"),
        (replace(SCHEDULE, start_at=datetime(2026, 6, 1, 9)), "/start_at"),
        (replace(SCHEDULE, drip=None), "/drip"),
        (replace(SCHEDULE, mode="at", start_at=NOW), "/drip"),
        (Schedule(mode="at", time_zone="UTC"), "/start_at"),
        (Schedule(mode="now", start_at=NOW, time_zone="UTC"), "/start_at"),
    ],
)
def test_problem_points_at_the_field_that_is_wrong(schedule: Schedule, pointer: str) -> None:
    (problem,) = schedule_problems(schedule, NOW)
    assert (problem.pointer, problem.code) == (f"/schedule{pointer}", "invalid")
    assert problem.detail.endswith(".")


def test_all_problems_are_told_at_once() -> None:
    drip = Drip(batch_quantity=0, repeat_after=Every(1, "seconds"), send_on=frozenset())
    found = schedule_problems(Schedule(mode="drip", time_zone="x", drip=drip), NOW, at="")
    assert {problem.pointer for problem in found} == {
        "/time_zone",
        "/drip/batch_quantity",
        "/drip/repeat_after",
        "/drip/send_on",
    }


def test_limits_are_the_callers() -> None:
    quick = replace(SCHEDULE, drip=replace(DRIP, repeat_after=Every(3, "seconds")))
    assert schedule_problems(quick, NOW, ScheduleLimits(repeat_after_min_seconds=1)) == []


def test_schedule_that_can_never_run_is_refused_with_the_reason() -> None:
    (problem,) = schedule_problems(replace(SCHEDULE, start_at=datetime(9998, 1, 1, tzinfo=UTC)), NOW)
    assert (problem.code, problem.pointer) == ("never_runs", "/schedule/start_at")
