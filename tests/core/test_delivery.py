"""When a failed delivery is tried again, and when a webhook is held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.delivery import PROBE_AFTER, RETRY_AFTER, Health, Reply, retry_after

NOW = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DOWN = Reply(status=None, detail="nobody listens")


def after(failures: int, health: Health | None = None) -> Health:
    """The health after so many failures of an ordinary round."""
    health = health or Health()
    for _ in range(failures):
        health = health.failed(DOWN, NOW, 0.5, probe=False)
    return health


@pytest.mark.parametrize(
    ("status", "ok", "gone"),
    [
        (200, True, False),
        (204, True, False),
        (299, True, False),
        (None, False, False),
        (199, False, False),
        (302, False, False),
        (410, False, True),
        (500, False, False),
    ],
)
def test_any_2xx_is_a_success_and_410_an_end(status: int | None, ok: bool, gone: bool) -> None:
    reply = Reply(status=status)
    assert (reply.ok, reply.gone) == (ok, gone)


def test_an_event_is_tried_ten_times_over_three_days() -> None:
    waits = [retry_after(attempts, DOWN, 0.5) for attempts in range(1, 11)]
    assert waits == [*RETRY_AFTER, None]
    assert timedelta(days=3) < sum(RETRY_AFTER, timedelta()) < timedelta(days=4)


@pytest.mark.parametrize(("unit", "expected"), [(0.0, 4.5), (0.5, 5.0), (0.999, 5.5)])
def test_retries_are_spread_by_a_tenth(unit: float, expected: float) -> None:
    wait = retry_after(1, DOWN, unit)
    assert wait is not None
    assert wait.total_seconds() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (timedelta(seconds=1), timedelta(seconds=5)),
        (timedelta(minutes=10), timedelta(minutes=10)),
        (timedelta(days=100), timedelta(days=1)),
    ],
)
def test_a_receiver_can_ask_for_patience_but_not_for_ever(asked: timedelta, expected: timedelta) -> None:
    reply = Reply(status=503, retry_after=asked)
    assert retry_after(1, reply, 0.5) == expected
    assert after(4).failed(reply, NOW, 0.5, probe=False).probe_at == NOW + expected


def test_five_failures_in_a_row_hold() -> None:
    assert not after(4).held
    assert after(5).probe_at == NOW + PROBE_AFTER[0]


def test_what_was_still_under_way_when_the_hold_began_is_no_probe() -> None:
    assert after(9) == Health(failures=9, failing_since=NOW, probe_at=NOW + PROBE_AFTER[0], probes=1)


def test_probes_become_rare_and_go_on_for_ever() -> None:
    health, at, waits = after(5), NOW, []
    for _ in range(8):
        assert health.probe_at is not None
        waits.append(health.probe_at - at)
        at = health.probe_at
        health = health.failed(DOWN, at, 0.5, probe=True)
    assert waits == [*PROBE_AFTER, PROBE_AFTER[-1], PROBE_AFTER[-1], PROBE_AFTER[-1]]


def test_a_week_without_a_success_is_hopeless() -> None:
    health = after(1)
    assert health.failed(DOWN, NOW + timedelta(days=3), 0.5, probe=False).failing_since == NOW
    assert not health.hopeless(NOW + timedelta(days=6, hours=23))
    assert health.hopeless(NOW + timedelta(days=7))
    assert not Health().hopeless(NOW)
