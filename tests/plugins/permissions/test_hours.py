"""Hours of the day, in one time zone and in several, on days when clocks are changed too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_permissions.hours import Hours

NIGHT = Hours.parse(["21:00", "08:00"])

# Five zones that change their clocks: by an hour in the north and in the south, at midnight, by half an hour, and one
# whose rules have changed several times.
CHANGING = ("America/New_York", "Europe/London", "America/Asuncion", "Australia/Lord_Howe", "Africa/Casablanca")
STEADY = ("UTC", "Africa/Lagos", "Asia/Kolkata", "Pacific/Kiritimati")

clocks = st.integers(0, 1_439)
zones = st.lists(st.sampled_from((*CHANGING, *STEADY)), min_size=1, max_size=4, unique=True)
YEARS = st.integers(2015, 2035)


def hours(start: int, end: int) -> Hours:
    return Hours.parse([f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}"])


def quiet(start: int, end: int, at: datetime, zone: str) -> bool:
    """Another way to the same answer: turn the clock back by the start, and see how much of the day has passed."""
    local = at.astimezone(ZoneInfo(zone))
    passed = (local.hour * 60 + local.minute - start) % 1_440
    return passed < (end - start) % 1_440


@st.composite
def changes_of_clocks(draw: st.DrawFn) -> datetime:
    """An instant within two days of a change of clocks in one of the five zones."""
    zone = ZoneInfo(draw(st.sampled_from(CHANGING)))
    at = datetime(draw(YEARS), 1, 1, tzinfo=UTC)
    days = [at + timedelta(days=day) for day in range(366)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    changed = [day for day, one, other in zip(days, offsets, offsets[1:], strict=False) if one != other]
    around = draw(st.sampled_from(changed)) if changed else draw(st.sampled_from(days))
    return around + timedelta(minutes=draw(st.integers(-2_880, 2_880)), seconds=draw(st.integers(0, 59)))


@given(at=changes_of_clocks(), start=clocks, end=clocks, zones=zones)
def test_nobody_is_free_inside_the_hours_of_any_zone(at: datetime, start: int, end: int, zones: list[str]) -> None:
    if start == end:
        return
    free = hours(start, end).free_at(at, zones)
    if free is None:
        every = [at + timedelta(minutes=15 * quarter) for quarter in range(96)]
        awake = [each for each in every if not any(quiet(start, end, each, zone) for zone in zones)]
        assert len(awake) <= 4, "nothing but an hour that clocks show a second time is left out"
        return
    assert free >= at
    assert not any(quiet(start, end, free, zone) for zone in zones)
    assert (free == at) == (not any(quiet(start, end, at, zone) for zone in zones))


@given(at=changes_of_clocks(), start=clocks, end=clocks, zone=st.sampled_from((*CHANGING, *STEADY)))
def test_in_one_zone_somebody_waits_until_the_hours_are_over_and_no_longer(
    at: datetime, start: int, end: int, zone: str
) -> None:
    if start == end:
        return
    free = hours(start, end).free_at(at, [zone])
    assert free is not None
    length = timedelta(minutes=(end - start) % 1_440)
    assert free - at <= length + timedelta(hours=1), "an hour more on the day when clocks are put back"
    if free > at:
        minute_before = free - timedelta(minutes=1)
        assert quiet(start, end, minute_before, zone) or minute_before < at


@pytest.mark.parametrize(
    ("between", "zone", "at", "free"),
    [
        (["21:00", "08:00"], "Africa/Lagos", "2026-06-01T22:30+01:00", "2026-06-02T08:00+01:00"),
        (["21:00", "08:00"], "Africa/Lagos", "2026-06-01T07:59+01:00", "2026-06-01T08:00+01:00"),
        (["21:00", "08:00"], "Africa/Lagos", "2026-06-01T08:00+01:00", "2026-06-01T08:00+01:00"),
        (["21:00", "08:00"], "Africa/Lagos", "2026-06-01T20:59+01:00", "2026-06-01T20:59+01:00"),
        (["12:00", "14:00"], "Africa/Lagos", "2026-06-01T12:00+01:00", "2026-06-01T14:00+01:00"),
        (["20:00", "24:00"], "Africa/Lagos", "2026-06-01T23:00+01:00", "2026-06-02T00:00+01:00"),
        # Clocks skip 02:00 to 03:00: a night that would end at 02:30 ends when they do.
        (["21:00", "02:30"], "America/New_York", "2026-03-08T00:00-05:00", "2026-03-08T03:00-04:00"),
        # They show 01:00 to 02:00 twice: what ends at 01:30 ends twice.
        (["21:00", "01:30"], "America/New_York", "2026-11-01T00:10-04:00", "2026-11-01T01:30-04:00"),
        (["21:00", "01:30"], "America/New_York", "2026-11-01T01:10-05:00", "2026-11-01T01:30-05:00"),
        (["21:00", "01:30"], "America/New_York", "2026-11-01T01:45-04:00", "2026-11-01T01:45-04:00"),
        # A night is an hour longer when clocks are put back in it.
        (["21:00", "08:00"], "Europe/London", "2026-10-24T21:00+01:00", "2026-10-25T08:00+00:00"),
        # The day that Samoa left out: the night of the 29th goes on in that of the 31st.
        (["21:00", "08:00"], "Pacific/Apia", "2011-12-29T23:00-10:00", "2011-12-31T08:00+14:00"),
    ],
)
def test_the_hours_are_over(between: list[str], zone: str, at: str, free: str) -> None:
    assert Hours.parse(between).free_at(datetime.fromisoformat(at), [zone]) == datetime.fromisoformat(free)


def test_of_several_zones_all_must_be_awake() -> None:
    australia = ["Australia/Perth", "Australia/Sydney"]
    late_in_sydney = datetime.fromisoformat("2026-06-01T21:30+10:00")  # 19:30 in Perth
    free = NIGHT.free_at(late_in_sydney, australia)
    assert free == datetime.fromisoformat("2026-06-02T08:00+08:00")  # 10:00 in Sydney


def test_zones_that_are_never_awake_together_have_no_such_instant() -> None:
    around_the_world = ["Pacific/Auckland", "Europe/London", "America/Los_Angeles"]
    assert NIGHT.free_at(datetime(2026, 6, 1, tzinfo=UTC), around_the_world) is None


@pytest.mark.parametrize(
    "wrong",
    [None, "21:00", ["21:00"], ["21:00", "08:00", "09:00"], ["9:00", "10:00"], ["25:00", "08:00"], [21, 8], {}, True],
)
def test_hours_that_are_none_are_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match=r'\["21:00", "08:00"\]'):
        Hours.parse(wrong)


@pytest.mark.parametrize("whole", [["00:00", "24:00"], ["08:00", "08:00"]])
def test_a_whole_day_is_refused(whole: list[str]) -> None:
    with pytest.raises(ValueError, match="nothing could ever leave"):
        Hours.parse(whole)


def test_an_empty_list_is_no_hours() -> None:
    assert not Hours.parse([])
    assert NIGHT
