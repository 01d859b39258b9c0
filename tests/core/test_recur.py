"""Cron expressions, held against another implementation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.recur import cron_problem, next_run

ZONES = ("Europe/Berlin", "America/New_York", "Africa/Lagos", "Australia/Sydney", "America/Sao_Paulo")


def runs(cron: str, after: datetime, count: int) -> list[datetime]:
    found = []
    for _ in range(count):
        after = next_run(cron, after)
        found.append(after)
    return found


def test_fixed_time_in_the_repeated_hour_runs_once() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = runs("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=berlin), 2)
    assert found == [datetime(2026, 10, 25, 2, 30, tzinfo=berlin), datetime(2026, 10, 26, 2, 30, tzinfo=berlin)]
    assert found[0].utcoffset() == timedelta(hours=2)


def test_fixed_time_in_the_repeated_hour_is_over_when_the_first_one_is() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    second = datetime(2026, 10, 25, 2, 10, tzinfo=berlin, fold=1)
    assert next_run("30 2 * * *", second) == datetime(2026, 10, 26, 2, 30, tzinfo=berlin)


def test_fixed_time_in_the_gap_runs_after_it() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = next_run("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=berlin))
    assert found.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize("cron", ["0 * * * *", "@hourly", "*/20 * * * *"])
def test_wildcards_run_through_the_repeated_hour(cron: str) -> None:
    start = datetime(2026, 10, 24, 23, 30, tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
    found = [run.astimezone(UTC) for run in runs(cron, start, 9)]
    step = timedelta(minutes=20 if "20" in cron else 60)
    assert {after - before for before, after in pairwise(found)} == {step}


@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    day=st.sampled_from(["* * *", "1 * *", "* * 1-5", "29 2 *"]),
    start=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),
    zone=st.sampled_from(ZONES),
)
@settings(max_examples=150, deadline=None)
def test_fixed_times_agree_with_cronsim(minute: int, hour: int, day: str, start: datetime, zone: str) -> None:
    cron, after = f"{minute} {hour} {day}", start.replace(microsecond=0, tzinfo=ZoneInfo(zone))
    oracle = CronSim(cron, after)
    assert [run.astimezone(UTC) for run in runs(cron, after, 4)] == [next(oracle).astimezone(UTC) for _ in range(4)]


@given(
    seconds=st.integers(-90_000, 90_000), minute=st.integers(0, 59), hour=st.integers(0, 4), zone=st.sampled_from(ZONES)
)
@settings(max_examples=150, deadline=None)
def test_around_a_clock_change_a_fixed_time_runs_once_on_each_day(
    seconds: int, minute: int, hour: int, zone: str
) -> None:
    change = {"Europe/Berlin": datetime(2026, 10, 25, 1), "America/New_York": datetime(2026, 11, 1, 6)}
    middle = change.get(zone, datetime(2026, 4, 4, 16)).replace(tzinfo=UTC)
    after = (middle + timedelta(seconds=seconds)).astimezone(ZoneInfo(zone))
    found = runs(f"{minute} {hour} * * *", after, 5)
    assert all(run.timestamp() > after.timestamp() for run in found)
    assert [later.date() - earlier.date() for earlier, later in pairwise(found)] == [timedelta(days=1)] * 4


@pytest.mark.parametrize("cron", ["* * * * *", "0 9 * * mon-fri", "@daily", "0 0 29 2 *", "30 2 l * *"])
def test_good_expressions_have_no_problem(cron: str) -> None:
    assert cron_problem(cron) is None
    assert next_run(cron, datetime(2026, 1, 1, tzinfo=UTC)) > datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "word"),
    [
        ("", "5 fields"),
        ("* * * *", "5 fields"),
        ("*/10 * * * * *", "5 fields"),
        ("@reboot", "not known"),
        ("61 * * * *", "not a cron expression"),
        ("0 0 31 2 *", "ever runs"),
        ("H * * * *", "random"),
        ("R * * * *", "random"),
        ("0 R(1-5) * * *", "random"),
        ("a b c d e", "not a cron expression"),
    ],
)
def test_bad_expressions_are_refused_with_a_sentence(cron: str, word: str) -> None:
    problem = cron_problem(cron)
    assert problem is not None
    assert word in problem
    with pytest.raises(ValueError, match=r"[.]$"):
        next_run(cron, datetime(2026, 1, 1, tzinfo=UTC))
