"""The rules of a drip, each as examples with dates and as a property over random schedules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.drip import (
    LATE,
    PUNCTUAL,
    Exhausted,
    Missed,
    Previous,
    Release,
    Step,
    Wait,
    WaitReason,
    claimable,
    closes_at,
    next_step,
)
from gateway.core.schedule import Drip, Every, Schedule, Window, parse_every, parse_window
from gateway.core.window import EVERY_DAY, is_open, next_opening

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "UTC")
OFFICE = parse_window(("09:00", "17:00"))
WEEKDAYS = frozenset(range(5))


def berlin(*parts: int, fold: int = 0) -> datetime:
    return local("Europe/Berlin", *parts, fold=fold)


def local(zone: str, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[misc, arg-type]


def drip(
    every: str,
    window: Window | None = None,
    days: frozenset[int] = EVERY_DAY,
    *,
    quantity: int = 10,
    zone: str = "Europe/Berlin",
    start_at: datetime | None = None,
    contact: bool = False,
) -> Schedule:
    settings_ = Drip(
        batch_quantity=quantity,
        repeat_after=parse_every(every),
        send_on=days,
        process_between=window,
        time_zone_mode="contact" if contact else "account",
    )
    return Schedule(mode="drip", start_at=start_at, time_zone=zone, drip=settings_)


def step(
    schedule: Schedule, now: datetime, since: datetime, previous: Previous | None = None, people: int = 1000
) -> Step:
    return next_step(
        schedule,
        now=now,
        since=since,
        previous=previous,
        remaining={"": people},
        last_number=previous.number if previous else 0,
    )


def released(planned: datetime, late: timedelta = timedelta(), untried: int = 0, number: int = 1) -> Previous:
    return Previous(number=number, planned_at=planned, released_at=planned + late, untried=untried)


def first_slot(schedule: Schedule, previous: Previous) -> datetime:
    answer = step(schedule, previous.released_at, previous.planned_at, previous)
    assert isinstance(answer, Wait)
    assert answer.until is not None
    return answer.until


class Executor:
    """What the scheduler does with the answers: sleeps until it is told, is late or away now and then, and records."""

    def __init__(self, schedule: Schedule, since: datetime, remaining: dict[str, int]) -> None:
        self.schedule, self.since, self.remaining = schedule, since, remaining
        self.previous: Previous | None = None
        self.done: list[tuple[datetime, Release]] = []

    def ask(self, now: datetime) -> Step:
        number = self.previous.number if self.previous else 0
        return next_step(
            self.schedule,
            now=now,
            since=self.since,
            previous=self.previous,
            remaining=self.remaining,
            last_number=number,
        )

    def run(self, now: datetime, naps: Iterator[timedelta], steps: int = 400) -> None:
        for _ in range(steps):
            answer = self.ask(now)
            if isinstance(answer, Exhausted):
                return
            if isinstance(answer, Release):
                self.record(now, answer)
                assert not isinstance(self.ask(now), Release), "released twice at one instant"
                continue
            assert isinstance(answer, Wait)
            assert answer.until is not None
            assert answer.until > now
            now = answer.until + next(naps)
        raise AssertionError("the drip does not come to its end")

    def record(self, now: datetime, release: Release) -> None:
        left = release.quantity
        for zone in release.zones if release.zones is not None else tuple(self.remaining):
            taken = min(left, self.remaining[zone])
            self.remaining[zone] -= taken
            left -= taken
        assert left == 0, "released more than there are"
        self.done.append((now, release))
        self.previous = Previous(number=release.number, planned_at=release.planned_at, released_at=now, untried=0)


def naps(*lengths: timedelta) -> Iterator[timedelta]:
    yield from lengths
    while True:
        yield timedelta()


# Interval and hours


def test_queue_is_built_at_the_start_and_not_before() -> None:
    start = berlin(2026, 6, 1, 9)
    schedule = drip("1h", start_at=start)
    created = start - timedelta(days=2)
    assert step(schedule, created, created) == Wait(until=start, reason=WaitReason.SCHEDULED)
    assert step(schedule, start, created) == Release(number=1, planned_at=start, quantity=10, zones=None)


def test_interval_counts_from_the_planned_instant_within_a_minute_and_else_from_the_release() -> None:
    schedule, planned = drip("1h"), berlin(2026, 6, 1, 9)
    assert first_slot(schedule, released(planned, timedelta(seconds=60))) == planned + timedelta(hours=1)
    late = timedelta(seconds=61)
    assert first_slot(schedule, released(planned, late)) == planned + late + timedelta(hours=1)


def test_slots_that_passed_before_a_punctual_release_are_dropped() -> None:
    schedule, planned = drip("20s"), berlin(2026, 6, 1, 9)
    assert first_slot(schedule, released(planned, timedelta(seconds=45))) == planned + timedelta(seconds=60)


def test_closed_day_and_closed_window_freeze_the_drip_and_opening_runs_one_batch() -> None:
    schedule = drip("1h", OFFICE, WEEKDAYS)
    friday = released(berlin(2026, 6, 5, 16, 30))
    monday = berlin(2026, 6, 8, 9)
    assert step(schedule, berlin(2026, 6, 5, 16, 40), friday.planned_at, friday) == Wait(
        until=monday, reason=WaitReason.WINDOW
    )
    assert step(schedule, berlin(2026, 6, 6, 10), friday.planned_at, friday) == Wait(
        until=monday, reason=WaitReason.DAY
    )
    assert step(schedule, monday, friday.planned_at, friday) == Release(
        number=2, planned_at=monday, quantity=10, zones=None
    )
    after = released(monday, number=2)
    assert first_slot(schedule, after) == berlin(2026, 6, 8, 10)


def test_window_that_closed_on_a_late_batch_opens_with_it() -> None:
    schedule = drip("1h", OFFICE)
    before = released(berlin(2026, 6, 1, 15, 55))
    opening = berlin(2026, 6, 2, 9)
    assert step(schedule, berlin(2026, 6, 1, 17, 5), before.planned_at, before) == Wait(
        until=opening, reason=WaitReason.WINDOW
    )
    answer = step(schedule, opening + timedelta(minutes=5), before.planned_at, before)
    assert answer == Release(number=2, planned_at=opening, quantity=10, zones=None)


def test_overnight_window_runs_past_midnight_of_its_day_only() -> None:
    schedule = drip("1h", parse_window(("22:00", "02:00")), frozenset({4}))
    last = released(berlin(2026, 6, 6, 1))
    assert step(schedule, berlin(2026, 6, 6, 1), last.planned_at, last) == Wait(
        until=berlin(2026, 6, 12, 22), reason=WaitReason.DAY
    )


def test_resumed_drip_runs_one_batch_and_makes_up_for_none() -> None:
    schedule, last = drip("1h"), released(berlin(2026, 6, 1, 9))
    resumed = berlin(2026, 6, 3, 14, 20)
    assert step(schedule, resumed, resumed, last) == Release(number=2, planned_at=resumed, quantity=10, zones=None)
    assert first_slot(schedule, released(resumed, number=2)) == resumed + timedelta(hours=1)


def test_pause_shorter_than_the_interval_does_not_shorten_it() -> None:
    schedule, last = drip("1h"), released(berlin(2026, 6, 1, 9))
    resumed = berlin(2026, 6, 1, 9, 10)
    assert step(schedule, resumed, resumed, last) == Wait(until=berlin(2026, 6, 1, 10), reason=WaitReason.INTERVAL)


def test_next_batch_waits_for_the_first_attempts_of_the_last_one() -> None:
    schedule, planned = drip("1h"), berlin(2026, 6, 1, 9)
    due = planned + timedelta(hours=1)
    assert step(schedule, due, planned, released(planned, untried=3)) == Wait(
        until=None, reason=WaitReason.PREVIOUS_BATCH
    )
    assert isinstance(step(schedule, due, planned, released(planned)), Release)


def test_last_batch_is_what_is_left_and_then_nothing() -> None:
    now = berlin(2026, 6, 1, 9)
    answer = step(drip("1h"), now, now, people=3)
    assert isinstance(answer, Release)
    assert answer.quantity == 3
    assert step(drip("1h"), now, now, people=0) == Exhausted()


# Late


def test_drip_that_is_at_most_an_hour_late_runs_at_once() -> None:
    schedule, last = drip("1d"), released(berlin(2026, 6, 1, 9))
    answer = step(schedule, berlin(2026, 6, 2, 10), last.planned_at, last)
    assert answer == Release(number=2, planned_at=berlin(2026, 6, 2, 9), quantity=10, zones=None)


def test_drip_that_is_later_than_an_hour_takes_its_next_slot() -> None:
    schedule, last = drip("1d"), released(berlin(2026, 6, 1, 9))
    answer = step(schedule, berlin(2026, 6, 4, 10, 1), last.planned_at, last)
    assert answer == Wait(until=berlin(2026, 6, 5, 9), reason=WaitReason.INTERVAL)
    assert step(schedule, berlin(2026, 6, 5, 9), last.planned_at, last) == Release(
        number=2, planned_at=berlin(2026, 6, 5, 9), quantity=10, zones=None
    )


def test_hourly_drip_sends_one_batch_after_an_outage() -> None:
    schedule, last = drip("1h"), released(berlin(2026, 6, 1, 9))
    back = berlin(2026, 6, 1, 13, 20)
    assert step(schedule, back, last.planned_at, last) == Release(
        number=2, planned_at=berlin(2026, 6, 1, 13), quantity=10, zones=None
    )
    sent = Previous(number=2, planned_at=berlin(2026, 6, 1, 13), released_at=back, untried=0)
    assert first_slot(schedule, sent) == back + timedelta(hours=1)


def test_slot_of_a_later_opening_is_kept_when_it_comes() -> None:
    schedule, start = drip("30h", OFFICE), berlin(2026, 6, 1, 9)
    slot = berlin(2026, 6, 2, 15)
    assert step(schedule, start + timedelta(hours=2), start) == Wait(until=slot, reason=WaitReason.INTERVAL)
    assert step(schedule, slot, start) == Release(number=1, planned_at=slot, quantity=10, zones=None)


def test_outage_of_years_is_jumped_over() -> None:
    schedule, last = drip("30s", OFFICE), released(berlin(2006, 6, 1, 9))
    now = berlin(2026, 6, 1, 12, 0, 10)
    assert step(schedule, now, last.planned_at, last) == Release(
        number=2, planned_at=berlin(2026, 6, 1, 12), quantity=10, zones=None
    )


@pytest.mark.parametrize("mode", ["now", "at"])
def test_one_off_releases_everybody_at_its_instant_and_once(mode: str) -> None:
    start = berlin(2026, 6, 1, 9)
    schedule = Schedule(mode="at" if mode == "at" else "now", start_at=start, time_zone="UTC")
    early = start - timedelta(hours=1)
    assert step(schedule, early, early) == Wait(until=start, reason=WaitReason.SCHEDULED)
    assert step(schedule, start, early) == Release(number=1, planned_at=start, quantity=1000, zones=None)
    assert step(schedule, start, early, released(start, untried=5)) == Exhausted()


def test_one_off_that_is_late_by_more_than_an_hour_is_missed() -> None:
    start = berlin(2026, 6, 1, 9)
    schedule = Schedule(mode="at", start_at=start, time_zone="UTC")
    assert isinstance(step(schedule, start + LATE, start), Release)
    late = LATE + timedelta(seconds=1)
    assert step(schedule, start + late, start) == Missed(planned_at=start, late_by=late)
    assert isinstance(step(schedule, start + late, start + late), Release), "lateness counts from the resumption"


def test_batch_numbers_go_on_over_rounds() -> None:
    now = berlin(2026, 6, 1, 9)
    schedule = Schedule(mode="now", time_zone="UTC")
    answer = next_step(schedule, now=now, since=now, previous=None, remaining={"": 2}, last_number=7)
    assert answer == Release(number=8, planned_at=now, quantity=2, zones=None)


# Days and clock changes


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", (2026, 3, 25)),
        ("Europe/Berlin", (2026, 10, 20)),
        ("America/New_York", (2026, 3, 5)),
        ("America/New_York", (2026, 10, 29)),
        ("Australia/Lord_Howe", (2026, 4, 1)),
        ("Australia/Lord_Howe", (2026, 10, 1)),
        ("America/Sao_Paulo", (2018, 11, 1)),
        ("Pacific/Apia", (2011, 12, 27)),
    ],
)
@pytest.mark.parametrize("late", [0, 59])
def test_daily_nine_in_the_morning_stays_there_over_clock_changes(
    zone: str, day: tuple[int, int, int], late: int
) -> None:
    start = local(zone, *day, 9)
    executor = Executor(drip("1d", OFFICE, zone=zone, start_at=start), start, {"": 100})
    executor.run(start, iter(lambda: timedelta(seconds=late), None))
    times = [release.planned_at.astimezone(ZoneInfo(zone)) for _, release in executor.done]
    assert len(times) == 10
    assert {(time.hour, time.minute, time.second) for time in times} == {(9, 0, 0)}
    assert len({time.date() for time in times}) == 10


@pytest.mark.parametrize("window", [None, parse_window(("02:30", "05:00"))])
def test_daily_time_that_is_skipped_runs_at_the_end_of_the_gap_and_returns_to_its_time(window: Window | None) -> None:
    start = berlin(2026, 3, 28, 2, 30)
    executor = Executor(drip("1d", window, start_at=start), start, {"": 30})
    executor.run(start, naps())
    assert [at for at, _ in executor.done] == [start, berlin(2026, 3, 29, 3), berlin(2026, 3, 30, 2, 30)]


def test_daily_time_that_is_repeated_runs_once() -> None:
    start = berlin(2026, 10, 24, 2, 30)
    executor = Executor(drip("1d", start_at=start), start, {"": 30})
    executor.run(start, naps())
    assert [at for at, _ in executor.done] == [start, berlin(2026, 10, 25, 2, 30), berlin(2026, 10, 26, 2, 30)]


def test_hours_are_elapsed_time_over_a_clock_change() -> None:
    schedule, last = drip("24h"), released(berlin(2026, 3, 28, 9))
    assert first_slot(schedule, last) == berlin(2026, 3, 29, 10)


# The recipients' own zones


def test_contact_mode_releases_only_who_is_inside_their_own_hours() -> None:
    start = berlin(2026, 6, 1, 9)
    schedule = drip("1h", OFFICE, start_at=start, contact=True)
    people = {"Europe/Berlin": 4, "America/New_York": 50, "Asia/Tokyo": 3}
    answer = next_step(schedule, now=start, since=start, previous=None, remaining=people, last_number=0)
    assert answer == Release(number=1, planned_at=start, quantity=7, zones=("Europe/Berlin", "Asia/Tokyo"))


def test_contact_mode_jumps_to_the_earliest_opening_when_nobody_is_eligible() -> None:
    start = berlin(2026, 6, 1, 9)
    schedule = drip("1h", OFFICE, start_at=start, contact=True, quantity=20)
    executor = Executor(schedule, start, {"Europe/Berlin": 10, "America/New_York": 30})
    executor.run(start, naps())
    morning = local("America/New_York", 2026, 6, 1, 9)
    assert [(at, release.quantity) for at, release in executor.done] == [
        (start, 10),
        (morning, 20),
        (morning + timedelta(hours=1), 10),
    ]


def test_contact_mode_ticks_keep_the_rhythm_of_the_start() -> None:
    start = berlin(2026, 6, 1, 9, 40)
    schedule = drip("1h", OFFICE, start_at=start, contact=True)
    executor = Executor(schedule, start, {"Europe/Berlin": 40})
    executor.run(start, iter(lambda: timedelta(seconds=20), None))
    assert [release.planned_at for _, release in executor.done] == [start + timedelta(hours=hour) for hour in range(4)]


def test_unknown_zone_is_the_actions_zone() -> None:
    start = berlin(2026, 6, 1, 8, 59)
    schedule = drip("1h", OFFICE, start_at=start, contact=True)
    answer = next_step(schedule, now=start, since=start, previous=None, remaining={"Mars": 1}, last_number=0)
    assert answer == Wait(until=berlin(2026, 6, 1, 9), reason=WaitReason.WINDOW)


# Claims


def test_claims_end_with_the_window_of_the_zone_that_counts() -> None:
    seven_in_new_york = local("America/New_York", 2026, 6, 1, 11)
    account, contact = drip("1h", OFFICE), drip("1h", OFFICE, contact=True)
    assert not claimable(account, seven_in_new_york, "America/New_York")
    assert claimable(contact, seven_in_new_york, "America/New_York")
    assert not claimable(contact, seven_in_new_york, None)
    assert closes_at(contact, seven_in_new_york, "America/New_York") == local("America/New_York", 2026, 6, 1, 17)
    one_off = Schedule(mode="now", time_zone="UTC")
    assert claimable(one_off, seven_in_new_york, None)
    assert closes_at(one_off, seven_in_new_york, None) is None


# Properties

starts = st.one_of(
    st.sampled_from(
        [
            datetime(2011, 12, 28, 20, tzinfo=UTC),
            datetime(2018, 11, 2, 3, tzinfo=UTC),
            datetime(2026, 3, 27, 1, tzinfo=UTC),
            datetime(2026, 10, 24, 0, tzinfo=UTC),
            datetime(2026, 4, 3, 15, tzinfo=UTC),
        ]
    ),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
intervals = st.one_of(
    st.integers(30, 200_000).map(lambda seconds: Every(seconds, "seconds")),
    st.integers(1, 9).map(lambda days: Every(days, "days")),
)
windows = st.one_of(
    st.none(),
    st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(lambda w: w[0] != w[1]).map(lambda w: Window(*w)),
)
small_delays = st.integers(0, 59).map(lambda seconds: timedelta(seconds=seconds))
absences = st.one_of(
    st.just(timedelta()), small_delays, st.integers(0, 500_000).map(lambda seconds: timedelta(seconds=seconds))
)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    return Schedule(
        mode="drip",
        start_at=draw(st.one_of(st.none(), starts)),
        time_zone=draw(st.sampled_from(ZONES)),
        drip=Drip(
            batch_quantity=draw(st.integers(1, 40)),
            repeat_after=draw(intervals),
            send_on=draw(st.frozensets(st.integers(0, 6), min_size=1)),
            process_between=draw(windows),
            time_zone_mode=draw(st.sampled_from(["account", "contact"])),
        ),
    )


@given(
    schedule=schedules(),
    created=starts,
    people=st.lists(st.integers(0, 60), min_size=3, max_size=3),
    away=st.lists(absences, max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_every_run_keeps_the_rules(
    schedule: Schedule, created: datetime, people: list[int], away: list[timedelta]
) -> None:
    assert schedule.drip is not None
    own = schedule.drip.time_zone_mode == "contact"
    remaining = dict(zip(ZONES, people, strict=False)) if own else {"": sum(people)}
    since = max(created, schedule.start_at or created)
    executor = Executor(schedule, created, remaining)
    executor.run(created, naps(*away))
    assert sum(release.quantity for _, release in executor.done) == sum(people)
    assert [release.number for _, release in executor.done] == list(range(1, len(executor.done) + 1))
    for at, release in executor.done:
        assert at >= release.planned_at >= since
        assert at - release.planned_at <= LATE
        assert 1 <= release.quantity <= schedule.drip.batch_quantity
        for zone in release.zones if release.zones is not None else (None,):
            assert claimable(schedule, at, zone)
    interval = schedule.drip.repeat_after
    if interval.unit == "seconds":
        for (at, release), (after, following) in pairwise(executor.done):
            base = release.planned_at if at - release.planned_at <= PUNCTUAL else at
            assert following.planned_at - base >= timedelta(seconds=interval.amount)
            assert following.planned_at > at
            assert after >= following.planned_at


@given(schedule=schedules(), since=starts, away=st.integers(0, 3_000_000))
@settings(max_examples=200, deadline=None)
def test_freeze_of_any_length_is_followed_by_exactly_one_batch(schedule: Schedule, since: datetime, away: int) -> None:
    assert schedule.drip is not None
    schedule = replace(schedule, start_at=None, drip=replace(schedule.drip, time_zone_mode="account"))
    assert schedule.drip is not None
    opening = next_opening(schedule.drip.process_between, schedule.drip.send_on, since, ZoneInfo(schedule.time_zone))
    assert opening is not None
    last = released(opening)
    now = resumed = opening + timedelta(seconds=away)
    answer = step(schedule, now, resumed, last)
    if isinstance(answer, Wait):
        assert answer.until is not None
        now = answer.until
        answer = step(schedule, now, resumed, last)
    assert isinstance(answer, Release)
    following = step(schedule, now, resumed, released(now, number=2))
    assert isinstance(following, Wait)
    assert following.until is not None
    if schedule.drip.repeat_after.unit == "seconds":
        assert following.until - now >= timedelta(seconds=schedule.drip.repeat_after.amount)
    else:
        assert following.until - now >= timedelta(days=schedule.drip.repeat_after.amount) - timedelta(days=1, hours=1)


@given(schedule=schedules(), since=starts, later=st.integers(0, 2_000_000), share=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_wait_ends_at_the_exact_instant_at_which_something_happens(
    schedule: Schedule, since: datetime, later: int, share: float
) -> None:
    last = released(since)
    now = since + timedelta(seconds=later)
    answer = step(schedule, now, since, last)
    if not isinstance(answer, Wait):
        return
    assert answer.until is not None
    assert answer.until > now
    between = now + (answer.until - now) * share
    if between < answer.until:
        meanwhile = step(schedule, between, since, last)
        assert isinstance(meanwhile, Wait)
        assert meanwhile.until == answer.until
    assert isinstance(step(schedule, answer.until, since, last), Release)


@given(schedule=schedules(), since=starts, later=st.integers(0, 2_000_000))
@settings(max_examples=100, deadline=None)
def test_nobody_is_released_outside_the_hours_of_the_schedule(schedule: Schedule, since: datetime, later: int) -> None:
    schedule = replace(schedule, start_at=None)
    assert schedule.drip is not None
    now = since + timedelta(seconds=later)
    hours = (schedule.drip.process_between, schedule.drip.send_on)
    answer = step(schedule, now, since, released(since))
    assert not isinstance(answer, Release) or is_open(*hours, now, ZoneInfo(schedule.time_zone))
