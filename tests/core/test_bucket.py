"""A token bucket never gives more than its rate allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.bucket import Bucket

START = datetime(2026, 6, 1, tzinfo=UTC)


@given(
    st.floats(0.1, 1_000),
    st.floats(1, 100),
    st.lists(st.tuples(st.floats(0, 60), st.integers(1, 5)), max_size=40),
)
def test_no_sequence_spends_more_than_the_burst_and_the_rate_together(
    rate: float, burst: float, asked: list[tuple[float, int]]
) -> None:
    bucket = Bucket(rate=rate, burst=burst, tokens=burst, at=START)
    now, spent, largest = START, 0, 0
    for seconds, cost in asked:
        now += timedelta(seconds=seconds)
        bucket = bucket.refilled(now)
        if bucket.affords(cost):
            bucket = bucket.spent(cost)
            spent += cost
            largest = max(largest, cost)
    allowed = burst + rate * (now - START).total_seconds()
    assert spent <= allowed + largest + 1e-6


@given(st.floats(0.1, 1_000), st.floats(1, 100), st.integers(1, 200))
def test_a_message_may_go_when_the_bucket_says_it_may(rate: float, burst: float, cost: int) -> None:
    bucket = Bucket(rate=rate, burst=burst, tokens=0, at=START)
    ready = bucket.ready_at(cost)
    assert bucket.refilled(ready).affords(min(cost, burst))


@given(st.floats(0.1, 1_000), st.integers(1, 200), st.integers(0, 10**9))
def test_instants_at_which_single_messages_may_go_are_those_that_many_at_once_are_told(
    rate: float, number: int, wait: int
) -> None:
    """Roundings do not add up: what comes is what was forecast."""
    bucket = Bucket(rate=rate, burst=max(1, rate), tokens=0, at=START).refilled(START + timedelta(microseconds=wait))
    at, told = bucket.at, bucket.holds_at(number)
    for _ in range(number):
        bucket = bucket.refilled(max(at, bucket.ready_at(1)))
        assert bucket.affords(1)
        bucket = bucket.spent(1)
    assert bucket.at == told


@given(st.floats(0.1, 1_000), st.integers(1, 60_000_000))
def test_those_who_come_before_a_bound_are_ready_before_it(rate: float, micros: int) -> None:
    bucket = Bucket(rate=rate, burst=max(1, rate), tokens=0, at=START)
    bound = START + timedelta(microseconds=micros)
    number = bucket.coming_before(bound)
    assert number == 0 or bucket.holds_at(number) < bound
    assert bucket.holds_at(number + 1) >= bound


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    bucket = Bucket(rate=1, burst=10, tokens=4, at=START)
    assert bucket.refilled(START - timedelta(hours=1)).tokens == 4
