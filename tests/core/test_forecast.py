"""What is shown is what will run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.drip import Exhausted, Previous, Release, Wait, claimable, next_step
from gateway.core.forecast import Forecast, PlannedBatch, forecast
from gateway.core.schedule import Drip, Every, Schedule, Window, parse_every, parse_window
from gateway.core.window import EVERY_DAY

MONDAY = datetime(2026, 6, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
OFFICE = parse_window(("09:00", "17:00"))
HOUR = timedelta(hours=1)


def drip(
    every: str, quantity: int, window: Window | None = None, days: frozenset[int] = EVERY_DAY, *, contact: bool = False
) -> Schedule:
    settings_ = Drip(
        batch_quantity=quantity,
        repeat_after=parse_every(every),
        send_on=days,
        process_between=window,
        time_zone_mode="contact" if contact else "account",
    )
    return Schedule(mode="drip", time_zone="Europe/Berlin", drip=settings_)


def foresee(
    schedule: Schedule,
    people: int | dict[str, Sequence[int]],
    *,
    rate: float | None = None,
    burst: float = 1,
    tokens: float | None = None,
    cap: int | None = None,
    sent_today: int = 0,
    previous: Previous | None = None,
    running: dict[str, Sequence[int]] | None = None,
    limit: int = 100,
    now: datetime = MONDAY,
) -> Forecast:
    return forecast(
        schedule,
        now=now,
        since=MONDAY,
        previous=previous,
        waiting={"": range(people)} if isinstance(people, int) else people,
        last_number=previous.number if previous else 0,
        rate=rate,
        burst=burst,
        tokens=tokens,
        daily_cap=cap,
        sent_today=sent_today,
        limit=limit,
        running=running or {},
    )


def test_thousand_in_hundreds_over_office_hours_take_ten_batches_and_two_days() -> None:
    found = foresee(drip("1h", 100, OFFICE), 1000, limit=3)
    assert [batch.at for batch in found.batches] == [MONDAY, MONDAY + HOUR, MONDAY + 2 * HOUR]
    assert [batch.number for batch in found.batches] == [1, 2, 3]
    assert (found.batch_count, found.complete) == (10, True)
    assert found.first_at == MONDAY
    assert found.last_at == found.ends_at == MONDAY + timedelta(days=1, hours=1)


def test_rate_says_how_long_a_batch_takes_and_delays_the_next() -> None:
    found = foresee(drip("1m", 100), 250, rate=1.0)
    assert [(batch.at - MONDAY, batch.quantity, batch.takes) for batch in found.batches] == [
        (timedelta(seconds=0), 100, timedelta(seconds=99)),
        (timedelta(seconds=99), 100, timedelta(seconds=100)),
        (timedelta(seconds=199), 50, timedelta(seconds=50)),
    ]
    assert found.ends_at == MONDAY + timedelta(seconds=249)


def test_burst_goes_at_once_and_is_there_again_after_a_rest() -> None:
    found = foresee(drip("1m", 100), 300, rate=1.0, burst=60)
    assert [(batch.at - MONDAY, batch.takes) for batch in found.batches] == [
        (timedelta(seconds=0), timedelta(seconds=40)),
        (timedelta(seconds=60), timedelta(seconds=80)),
        (timedelta(seconds=140), timedelta(seconds=100)),
    ]


def test_batch_that_meets_the_end_of_its_window_leaves_the_rest_to_a_later_one() -> None:
    found = foresee(drip("1h", 1000, parse_window(("09:00", "09:10"))), 1000, rate=1.0)
    assert [(batch.at - MONDAY, batch.quantity) for batch in found.batches] == [
        (timedelta(days=0), 600),
        (timedelta(days=1), 400),
    ]


def test_daily_cap_holds_the_rest_until_the_next_day_of_the_schedules_zone() -> None:
    found = foresee(Schedule(mode="now", time_zone="Europe/Berlin"), 250, cap=100, sent_today=40)
    midnight = datetime(2026, 6, 3, tzinfo=ZoneInfo("Europe/Berlin"))
    assert found.batches == (PlannedBatch(number=1, at=MONDAY, quantity=250, takes=midnight - MONDAY),)


def test_a_cap_may_count_days_of_another_zone_than_the_schedules() -> None:
    found = forecast(
        Schedule(mode="now", time_zone="Europe/Berlin"),
        now=MONDAY,
        since=MONDAY,
        previous=None,
        waiting={"": range(250)},
        last_number=0,
        rate=None,
        daily_cap=100,
        sent_today=40,
        limit=10,
        cap_zone="Pacific/Auckland",
    )
    midnight = datetime(2026, 6, 3, tzinfo=ZoneInfo("Pacific/Auckland"))
    assert found.ends_at == midnight


def test_batch_that_is_released_into_a_spent_cap_comes_to_nothing() -> None:
    found = foresee(drip("1h", 10, OFFICE), 20, cap=15, sent_today=15)
    tomorrow = MONDAY + timedelta(days=1)
    assert [(batch.at, batch.quantity) for batch in found.batches] == [
        (MONDAY, 0),
        (tomorrow, 10),
        (tomorrow + HOUR, 5),
        (tomorrow + timedelta(days=1), 5),
    ]


def test_cap_of_a_day_holds_when_the_window_opens_again_on_the_same_day() -> None:
    night = datetime(2026, 6, 2, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    found = foresee(drip("30s", 2, parse_window(("00:02", "00:01"))), 4, cap=1, sent_today=1)
    assert [(batch.at, batch.quantity) for batch in found.batches] == [
        (MONDAY, 1),  # one of two, at midnight; a minute later the other one goes back
        *((night + timedelta(days=day, minutes=2), 1) for day in range(3)),
    ]


def test_running_batch_is_waited_for() -> None:
    last = Previous(number=4, planned_at=MONDAY, released_at=MONDAY, untried=7200)
    found = foresee(drip("1h", 10), 10, rate=2.0, previous=last)
    assert [(batch.number, batch.at) for batch in found.batches] == [(5, MONDAY + HOUR)]
    done = foresee(drip("1h", 10), 0, rate=2.0, previous=last)
    assert (done.batch_count, done.first_at, done.ends_at) == (0, None, MONDAY + HOUR - timedelta(seconds=0.5))


def test_the_rest_of_a_running_batch_goes_back_beside_those_who_wait() -> None:
    """They are three more people, not the first three of those who are in no batch yet."""
    last = Previous(number=4, planned_at=MONDAY, released_at=MONDAY, untried=3)
    closed = MONDAY + 8 * HOUR
    found = foresee(drip("1h", 2, OFFICE), 4, previous=last, now=closed)
    assert [batch.quantity for batch in found.batches] == [2, 2, 2, 1]
    assert found.batches[0].at == MONDAY + timedelta(days=1)


def test_tokens_that_are_missing_now_delay_the_first_batch() -> None:
    (found,) = foresee(drip("1h", 2), 2, rate=0.5, tokens=0).batches
    assert (found.at, found.takes) == (MONDAY, timedelta(seconds=4))


def test_missed_one_off_has_no_batches() -> None:
    late = MONDAY + 2 * HOUR
    assert foresee(Schedule(mode="at", start_at=MONDAY, time_zone="UTC"), 5, now=late).batch_count == 0


@pytest.mark.parametrize(("rate", "cap"), [(0.0, None), (None, 0), (-1.0, 5)])
def test_sender_that_never_sends_gives_an_incomplete_forecast(rate: float | None, cap: int | None) -> None:
    found = foresee(drip("1h", 10), 100, rate=rate, cap=cap)
    assert (found.batch_count, found.ends_at, found.complete) == (0, None, False)


@pytest.mark.parametrize(
    ("schedule", "rate", "cap"),
    [
        (drip("366d", 1), None, None),
        (drip("1h", 1), 1e-12, None),
        (Schedule(mode="now", time_zone="UTC"), 1e-300, None),
        (Schedule(mode="now", time_zone="UTC"), None, 1),
    ],
)
def test_forecast_without_end_in_sight_is_bounded_and_says_so(
    schedule: Schedule, rate: float | None, cap: int | None
) -> None:
    found = foresee(schedule, 1_000_000, rate=rate, cap=cap, limit=1)
    assert not found.complete
    assert found.batch_count >= 1
    assert len(found.batches) == 1


def test_ten_thousand_batches_are_all_counted() -> None:
    found = foresee(drip("1h", 100, OFFICE, frozenset({0, 1, 2})), 1_000_000, rate=50.0, limit=2)
    assert (found.batch_count, len(found.batches), found.complete) == (10_000, 2, True)
    assert found.last_at is not None
    assert found.ends_at == found.last_at + timedelta(seconds=1.98)


def test_contact_mode_takes_from_the_open_zones_in_the_order_of_the_snapshot() -> None:
    found = foresee(
        drip("1h", 10, OFFICE, contact=True), {"Europe/Berlin": range(0, 60, 2), "Africa/Johannesburg": range(1, 20, 2)}
    )
    assert [batch.quantity for batch in found.batches] == [10, 10, 10, 10]
    apart = foresee(drip("1h", 10, OFFICE, contact=True), {"Europe/Berlin": range(5), "America/New_York": range(5, 10)})
    assert [(batch.at - MONDAY, batch.quantity) for batch in apart.batches] == [(0 * HOUR, 5), (6 * HOUR, 5)]


def test_whoever_stands_behind_a_zone_that_stays_open_misses_the_end_of_his_own_day() -> None:
    """New York stands first and takes the hours in which Berlin is open too."""
    evening = MONDAY + 7 * HOUR
    first: dict[str, Sequence[int]] = {"America/New_York": range(10), "Europe/Berlin": range(10, 20)}
    found = foresee(drip("1h", 10, OFFICE, contact=True), first, now=evening)
    assert [(batch.at - evening, batch.quantity) for batch in found.batches] == [(0 * HOUR, 10), (17 * HOUR, 10)]
    last: dict[str, Sequence[int]] = {"America/New_York": range(10, 20), "Europe/Berlin": range(10)}
    found = foresee(drip("1h", 10, OFFICE, contact=True), last, now=evening)
    assert [(batch.at - evening, batch.quantity) for batch in found.batches] == [(0 * HOUR, 10), (1 * HOUR, 10)]


def test_who_comes_to_the_front_after_his_own_window_waits_again_and_the_others_go_on() -> None:
    evening = MONDAY + 7 * HOUR + timedelta(minutes=59)
    mixed: dict[str, Sequence[int]] = {"Europe/Berlin": range(0, 400, 2), "America/New_York": range(1, 400, 2)}
    found = foresee(drip("1h", 400, OFFICE, contact=True), mixed, now=evening, rate=1.0)
    assert [(batch.at - evening, batch.quantity) for batch in found.batches] == [
        (0 * HOUR, 230),  # of the first minute each half, then only New York
        (timedelta(hours=16, minutes=1), 170),
    ]


def test_who_is_left_in_a_running_batch_is_followed_by_zone() -> None:
    evening = MONDAY + 7 * HOUR + timedelta(minutes=59)
    last = Previous(number=1, planned_at=evening, released_at=evening, untried=200)
    left: dict[str, Sequence[int]] = {"Europe/Berlin": range(200)}
    found = foresee(drip("1h", 200, OFFICE, contact=True), {}, running=left, previous=last, now=evening, rate=1.0)
    assert [(batch.at - evening, batch.quantity) for batch in found.batches] == [(timedelta(hours=16, minutes=1), 140)]


def test_a_million_people_in_twenty_zones_are_foreseen_within_bounds() -> None:
    zones = sorted(zone for zone in available_timezones() if zone.startswith("Pacific/"))[:20]
    people: dict[str, Sequence[int]] = {zone: range(n, 1_000_000, 20) for n, zone in enumerate(zones)}
    found = foresee(drip("1h", 10_000, OFFICE, contact=True), people, rate=100.0, limit=2)
    assert found.complete
    assert len(found.batches) == 2
    small = foresee(drip("30s", 10, OFFICE, contact=True), people, rate=100.0, limit=2)
    assert not small.complete
    assert len(small.batches) == 2


windows = st.one_of(
    st.none(),
    st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(lambda w: w[0] != w[1]).map(lambda w: Window(*w)),
)
schedules = st.builds(
    Schedule,
    mode=st.just("drip"),
    time_zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    start_at=st.one_of(st.none(), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))),
    drip=st.builds(
        Drip,
        batch_quantity=st.integers(1, 40),
        repeat_after=st.one_of(
            st.integers(30, 200_000).map(lambda seconds: Every(seconds, "seconds")),
            st.integers(1, 8).map(lambda days: Every(days, "days")),
        ),
        send_on=st.frozensets(st.integers(0, 6), min_size=1),
        process_between=windows,
    ),
)
nows = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


def executed(schedule: Schedule, now: datetime, people: int) -> list[tuple[int, datetime, int]]:
    """What a scheduler does whose sender sends instantly."""
    done: list[tuple[int, datetime, int]] = []
    previous: Previous | None = None
    since = now
    while True:
        answer = next_step(
            schedule, now=now, since=since, previous=previous, remaining={"": people}, last_number=len(done)
        )
        if isinstance(answer, Exhausted):
            return done
        if isinstance(answer, Wait):
            assert answer.until is not None
            now = answer.until
            continue
        assert isinstance(answer, Release)
        done.append((answer.number, now, answer.quantity))
        people -= answer.quantity
        previous = Previous(number=answer.number, planned_at=answer.planned_at, released_at=now, untried=0)


@given(schedule=schedules, now=nows, people=st.integers(0, 300))
@settings(max_examples=120, deadline=None)
def test_forecast_is_what_a_scheduler_with_an_instant_sender_does(
    schedule: Schedule, now: datetime, people: int
) -> None:
    found = forecast(
        schedule,
        now=now,
        since=now,
        previous=None,
        waiting={"": range(people)},
        last_number=0,
        rate=None,
        daily_cap=None,
        sent_today=0,
        limit=1000,
    )
    assert [(batch.number, batch.at, batch.quantity) for batch in found.batches] == executed(schedule, now, people)
    assert found.complete


@given(
    schedule=schedules,
    now=nows,
    people=st.integers(0, 300),
    rate=st.one_of(st.none(), st.floats(0.001, 100)),
    cap=st.one_of(st.none(), st.integers(1, 100)),
)
@settings(max_examples=120, deadline=None)
def test_forecast_reaches_everybody_once_within_rate_cap_and_hours(
    schedule: Schedule, now: datetime, people: int, rate: float | None, cap: int | None
) -> None:
    found = forecast(
        schedule,
        now=now,
        since=now,
        previous=None,
        waiting={"": range(people)},
        last_number=0,
        rate=rate,
        daily_cap=cap,
        sent_today=0,
        limit=1000,
    )
    assert found.complete
    assert sum(batch.quantity for batch in found.batches) == people
    assert found.batch_count == len(found.batches)
    end = now
    for batch in found.batches:
        assert batch.at >= end, "a batch starts before the last one is through"
        assert batch.quantity >= 1 or cap is not None
        assert claimable(schedule, batch.at, None)
        assert rate is None or batch.takes >= timedelta(seconds=(batch.quantity - 1) / rate - 0.001)
        end = batch.at + batch.takes
    assert found.ends_at == (end if people else None)
    if cap is not None and people:
        assert end - now >= timedelta(days=(people - 1) // cap - 1) - HOUR
