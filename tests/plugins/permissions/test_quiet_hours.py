"""Quiet hours: for whom they hold, which of them, and what they answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway import Allow, Defer, Known, Verdict
from gateway.errors import Invalid
from gateway.validation import convert
from gateway_permissions.quiet_hours import QuietHours, QuietHoursSettings
from tests.plugins.permissions.facts import make_facts

NIGHT = ["21:00", "08:00"]
KNOWN = Known(orgs=frozenset({"default", "acme"}), channels=frozenset({"sms", "email"}), permissions=frozenset())


def policy(**table: Any) -> QuietHours:
    return QuietHours(convert(table, QuietHoursSettings))


def judged(table: dict[str, Any], **facts: Any) -> Verdict:
    return policy(**table).judge(make_facts(**facts))


def test_at_night_a_message_waits_for_the_morning() -> None:
    verdict = judged({"between": NIGHT})
    assert verdict == Defer(
        until=datetime(2026, 6, 2, 7, 0, tzinfo=UTC),
        reason="Quiet hours are from 21:00 to 08:00 where the recipient is (Africa/Lagos)",
    )


def test_by_day_it_leaves() -> None:
    assert judged({"between": NIGHT}, now=datetime(2026, 6, 1, 12, 0, tzinfo=UTC)) == Allow()


def test_replies_are_never_held() -> None:
    assert judged({"between": NIGHT}, source="reply") == Allow()


def test_exempt_categories_and_sources_are_not_held() -> None:
    assert judged({"between": NIGHT}, category="transactional") == Allow()
    assert isinstance(judged({"between": NIGHT, "exempt_categories": []}, category="transactional"), Defer)
    assert judged({"between": NIGHT, "exempt_sources": ["api"]}, source="api") == Allow()
    assert isinstance(judged({"between": NIGHT, "exempt_sources": ["api"]}), Defer)


@pytest.mark.parametrize(
    ("org", "channel", "expected"),
    [
        ("default", "sms", "21:00 to 08:00"),
        ("default", "email", None),
        ("acme", "email", "20:00 to 09:00"),
        ("acme", "sms", "19:00 to 10:00"),
    ],
)
def test_the_most_particular_hours_are_taken(org: str, channel: str, expected: str | None) -> None:
    settings = convert(
        {
            "between": NIGHT,
            "channels": {"email": []},
            "orgs": {"acme": {"between": ["20:00", "09:00"], "channels": {"sms": ["19:00", "10:00"]}}},
        },
        QuietHoursSettings,
    )
    found = settings.hours_for(org, channel)
    assert (found.text if found else None) == expected


def test_it_waits_until_every_zone_of_the_region_is_awake() -> None:
    verdict = judged(
        {"between": NIGHT},
        now=datetime.fromisoformat("2026-06-01T08:30+10:00"),
        time_zone="UTC",
        time_zones=("Australia/Perth", "Australia/Sydney"),
    )
    assert isinstance(verdict, Defer)
    assert verdict.until == datetime.fromisoformat("2026-06-01T08:00+08:00")
    assert "Australia/Perth" in verdict.reason


def test_a_region_that_is_never_awake_at_once_is_judged_by_the_zone_of_the_org() -> None:
    everywhere = ("Pacific/Auckland", "Europe/London", "America/Los_Angeles")
    verdict = judged({"between": NIGHT}, time_zones=everywhere, time_zone="Africa/Lagos")
    assert isinstance(verdict, Defer)
    assert verdict.until == datetime(2026, 6, 2, 7, 0, tzinfo=UTC)
    noon = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
    assert judged({"between": NIGHT}, now=noon, time_zones=everywhere) == Allow()


@pytest.mark.parametrize("table", [{}, {"between": []}, {"channels": {"sms": []}}, {"orgs": {"acme": {}}}])
def test_without_hours_it_is_never_asked(table: dict[str, Any]) -> None:
    assert not policy(**table).active


@pytest.mark.parametrize(
    "table", [{"between": NIGHT}, {"channels": {"sms": NIGHT}}, {"orgs": {"acme": {"channels": {"sms": NIGHT}}}}]
)
def test_hours_anywhere_make_it_act(table: dict[str, Any]) -> None:
    assert policy(**table).active


def test_orgs_and_channels_that_do_not_exist_are_all_named() -> None:
    table = {
        "channels": {"pigeon": NIGHT, "sms": NIGHT},
        "orgs": {"acne": {"between": NIGHT}, "acme": {"channels": {"fax": []}}},
    }
    faults = policy(**table).faults(KNOWN)
    assert [fault.keys for fault in faults] == [
        ("channels", "pigeon"),
        ("orgs", "acne"),
        ("orgs", "acme", "channels", "fax"),
    ]
    assert faults[1].detail == "There is no org 'acne'; configured: ['acme', 'default']."


def test_hours_that_are_none_are_told_with_their_place() -> None:
    with pytest.raises(Invalid) as caught:
        policy(between=["9pm", "08:00"], orgs={"acme": {"between": ["08:00", "08:00"]}})
    assert [problem.pointer for problem in caught.value.problems] == ["/between", "/orgs/acme/between"]
    assert 'Must be two times of the day such as ["21:00", "08:00"]' in caught.value.problems[0].detail
