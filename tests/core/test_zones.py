"""Where a person may be: by the own time zone, by the telephone number, or nobody knows."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.zones import zones_of_number, zones_of_person


@pytest.mark.parametrize(
    ("own", "number", "expected"),
    [
        ("Asia/Tokyo", "+12125551234", ("Asia/Tokyo",)),
        (None, "+12125551234", ("America/New_York",)),
        ("Nowhere/Land", "+12125551234", ("America/New_York",)),
        ("", "+2348012345678", ("Africa/Lagos",)),
        (None, "+15551230000", ("UTC",)),  # a number that nobody can have
        (None, "+870773111632", ("UTC",)),  # a satellite
        (None, "ada@example.org", ("UTC",)),
        (None, None, ("UTC",)),
        ("Asia/Tokyo", None, ("Asia/Tokyo",)),
    ],
)
def test_the_own_zone_wins_then_the_number_then_the_fallback(
    own: str | None, number: str | None, expected: tuple[str, ...]
) -> None:
    assert zones_of_person(own, number, "UTC") == expected


def test_a_mobile_number_of_a_wide_country_may_be_anywhere_in_it() -> None:
    zones = zones_of_number("+61412345678")
    assert {"Australia/Perth", "Australia/Sydney", "Indian/Cocos"} <= set(zones)
    assert list(zones) == sorted(zones)


@given(st.text(max_size=20) | st.from_regex(r"\+[0-9]{1,18}", fullmatch=True))
def test_whatever_a_number_is_the_zones_it_gives_exist(number: str) -> None:
    for zone in zones_of_person(None, number, "UTC"):
        assert ZoneInfo(zone).key == zone
