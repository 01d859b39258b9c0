"""Back-off: bounded, jittered, and honouring what the provider asks for within reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.retry import ASKED_CAP, CAP, backoff, give_up, parse_retry_after

NOW = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
unit = st.floats(0, 1, exclude_max=True)


@given(st.integers(-5, 10**9), unit)
def test_a_wait_is_never_shorter_than_a_second_nor_longer_than_the_cap(attempt: int, chance: float) -> None:
    assert timedelta(seconds=1) <= backoff(attempt, chance) <= CAP


@given(unit)
def test_the_ceiling_doubles_with_each_attempt(chance: float) -> None:
    assert backoff(2, 0.999) > backoff(1, 0.999) * 1.9
    assert backoff(1, chance) <= timedelta(seconds=30)


@given(st.integers(1, 10**7), unit)
def test_what_the_provider_asks_for_is_honoured_and_capped(seconds: int, chance: float) -> None:
    asked = timedelta(seconds=seconds)
    waited = backoff(1, chance, asked)
    assert min(asked, ASKED_CAP) <= waited <= min(asked, ASKED_CAP) * 1.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("-5", None),
        ("9" * 40, timedelta(seconds=10**9)),
        ("Mon, 01 Jun 2026 08:02:00 GMT", timedelta(minutes=2)),
        ("Mon, 01 Jun 2026 07:00:00 GMT", timedelta(0)),
        ("soon", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 2026 23:59:59 +99999999999999999999", None),
        ("", None),
        ("१२", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, expected: timedelta | None) -> None:
    assert parse_retry_after(text, NOW) == expected


def test_giving_up_counts_from_the_first_attempt() -> None:
    assert not give_up(NOW, NOW + timedelta(hours=12), timedelta(hours=12))
    assert give_up(NOW, NOW + timedelta(hours=12, seconds=1), timedelta(hours=12))
