"""Opening hours in local time: midnight, chosen days, and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.window import (
    EVERY_DAY,
    Window,
    instant_of,
    is_open,
    next_opening,
    open_until,
    zone_named,
)

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Pacific/Apia",  # had no 30 December 2011
    "America/Sao_Paulo",  # changed its clocks at midnight
    "America/Goose_Bay",  # changed them at 00:01, back into the day before
    "America/Havana",
    "Africa/Lagos",
)
MON, TUE, WED, THU, FRI, SAT, SUN = range(7)

# Around the changes of all these zones, 2009 to 2018, and freely.
CHANGES = [
    datetime(2011, 12, 30, 10, tzinfo=UTC),
    datetime(2010, 11, 7, 3, 1, tzinfo=UTC),
    datetime(2016, 10, 16, 3, tzinfo=UTC),
    datetime(2017, 2, 19, 2, tzinfo=UTC),
    datetime(2015, 3, 29, 1, tzinfo=UTC),
    datetime(2015, 10, 25, 1, tzinfo=UTC),
    datetime(2015, 4, 4, 15, tzinfo=UTC),
    datetime(2015, 11, 1, 5, tzinfo=UTC),
]
instants = st.one_of(
    st.builds(
        lambda change, seconds: change + timedelta(seconds=seconds),
        st.sampled_from(CHANGES),
        st.integers(-200_000, 200_000),
    ),
    st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
)
windows = st.one_of(
    st.none(),
    st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(lambda w: w[0] != w[1]).map(lambda w: Window(*w)),
)
day_sets = st.frozensets(st.integers(0, 6), min_size=1)
zones = st.sampled_from(ZONES).map(ZoneInfo)


def at(zone: str, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 1, 0)),
        ("Europe/Berlin", datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 0, 30)),
        ("America/New_York", datetime(2026, 3, 8, 2, 0), datetime(2026, 3, 8, 7, 0)),
        ("America/New_York", datetime(2026, 11, 1, 1, 59), datetime(2026, 11, 1, 5, 59)),
        ("Australia/Lord_Howe", datetime(2026, 10, 4, 2, 15), datetime(2026, 10, 3, 15, 30)),
        ("America/Sao_Paulo", datetime(2016, 10, 16, 0, 0), datetime(2016, 10, 16, 3, 0)),
        ("Pacific/Apia", datetime(2011, 12, 30, 9, 0), datetime(2011, 12, 30, 10, 0)),
        ("Africa/Lagos", datetime(2026, 7, 1, 9, 0), datetime(2026, 7, 1, 8, 0)),
    ],
)
def test_skipped_local_time_moves_to_the_end_of_the_gap_and_a_repeated_one_is_the_first(
    zone: str, local: datetime, expected: datetime
) -> None:
    assert instant_of(local, ZoneInfo(zone)) == expected.replace(tzinfo=UTC)


@given(instant=instants, zone=zones)
@settings(max_examples=150)
def test_local_time_that_exists_is_shown_by_the_clocks_at_its_instant(instant: datetime, zone: ZoneInfo) -> None:
    local = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    found = instant_of(local, zone)
    assert found.astimezone(zone).replace(tzinfo=None, fold=0) == local
    assert found <= instant


def test_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    friday_night, zone = Window(22 * 60, 2 * 60), ZoneInfo("Europe/Berlin")
    days = frozenset({FRI})
    assert is_open(friday_night, days, at("Europe/Berlin", 2026, 6, 5, 22), zone)
    assert is_open(friday_night, days, at("Europe/Berlin", 2026, 6, 6, 1, 59), zone)
    assert not is_open(friday_night, days, at("Europe/Berlin", 2026, 6, 6, 2), zone)
    assert not is_open(friday_night, days, at("Europe/Berlin", 2026, 6, 5, 1), zone)
    assert not is_open(friday_night, days, at("Europe/Berlin", 2026, 6, 6, 22), zone)


def test_window_ends_before_its_last_minute_and_may_end_at_24() -> None:
    zone = ZoneInfo("Africa/Lagos")
    assert not is_open(Window(540, 1020), EVERY_DAY, at("Africa/Lagos", 2026, 6, 5, 17), zone)
    assert is_open(Window(540, 1440), EVERY_DAY, at("Africa/Lagos", 2026, 6, 5, 23, 59, 59), zone)
    assert not is_open(Window(540, 1440), EVERY_DAY, at("Africa/Lagos", 2026, 6, 6, 0), zone)


def test_window_inside_the_repeated_hour_opens_once() -> None:
    zone, window = ZoneInfo("Europe/Berlin"), Window(130, 150)
    first = at("Europe/Berlin", 2026, 10, 25, 2, 10)
    assert next_opening(window, EVERY_DAY, first, zone) == first
    again = at("Europe/Berlin", 2026, 10, 25, 2, 15, fold=1)
    assert not is_open(window, EVERY_DAY, again, zone)
    assert next_opening(window, EVERY_DAY, again, zone) == at("Europe/Berlin", 2026, 10, 26, 2, 10)


def test_window_inside_a_gap_does_not_open_on_that_day() -> None:
    zone, window = ZoneInfo("Europe/Berlin"), Window(130, 150)
    opening = next_opening(window, frozenset({SUN}), at("Europe/Berlin", 2026, 3, 28, 12), zone)
    assert opening == at("Europe/Berlin", 2026, 4, 5, 2, 10)


def test_window_that_starts_in_a_gap_opens_at_its_end() -> None:
    zone, window = ZoneInfo("Europe/Berlin"), Window(150, 300)
    opening = next_opening(window, frozenset({SUN}), at("Europe/Berlin", 2026, 3, 28, 12), zone)
    assert opening == at("Europe/Berlin", 2026, 3, 29, 3, 0)


def test_day_that_does_not_exist_is_passed_over() -> None:
    zone = ZoneInfo("Pacific/Apia")  # Thursday 29 December 2011 was followed by Saturday the 31st
    opening = next_opening(Window(540, 600), frozenset({FRI}), at("Pacific/Apia", 2011, 12, 29, 12), zone)
    assert opening == at("Pacific/Apia", 2012, 1, 6, 9)


def test_no_day_at_all_never_opens() -> None:
    assert next_opening(None, frozenset(), datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo("UTC")) is None


@given(window=windows, days=day_sets, instant=instants, zone=zones)
@settings(max_examples=250)
def test_next_opening_is_open_and_nothing_before_it_is(
    window: Window | None, days: frozenset[int], instant: datetime, zone: ZoneInfo
) -> None:
    opening = next_opening(window, days, instant, zone)
    assert opening is not None
    assert opening >= instant
    assert is_open(window, days, opening, zone)
    assert is_open(window, days, instant, zone) == (opening == instant)
    if opening > instant:
        assert not is_open(window, days, opening - timedelta(microseconds=1), zone)
        assert not is_open(window, days, instant + (opening - instant) / 2, zone)


@given(window=windows, days=day_sets, instant=instants, zone=zones)
@settings(max_examples=250)
def test_away_from_clock_changes_open_means_what_the_clock_on_the_wall_says(
    window: Window | None, days: frozenset[int], instant: datetime, zone: ZoneInfo
) -> None:
    offsets = {(instant + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in range(-50, 51)}
    local = instant.astimezone(zone)
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if window is None:
        expected = day in days
    elif window.start_minute < window.end_minute:
        expected = day in days and window.start_minute <= minute < window.end_minute
    else:
        evening = day in days and minute >= window.start_minute
        expected = evening or ((day - 1) % 7 in days and minute < window.end_minute)
    if len(offsets) == 1:
        assert is_open(window, days, instant, zone) == expected


@given(window=windows, days=day_sets, instant=instants, zone=zones)
@settings(max_examples=250)
def test_it_stays_open_until_open_until(
    window: Window | None, days: frozenset[int], instant: datetime, zone: ZoneInfo
) -> None:
    opening = next_opening(window, days, instant, zone)
    assert opening is not None
    end = open_until(window, days, opening, zone)
    if end is None:
        assert window is None or window == Window(0, 1440)
        assert days == EVERY_DAY
    else:
        assert not is_open(window, days, end, zone)
        assert is_open(window, days, end - timedelta(microseconds=1), zone)
        assert is_open(window, days, opening + (end - opening) / 2, zone)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "Europe", "/etc/passwd", "../UTC", "a\0b", "\ud800", "x" * 5000])
def test_name_of_no_zone_is_no_zone(name: str) -> None:
    assert zone_named(name) is None
