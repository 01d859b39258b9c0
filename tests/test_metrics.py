"""The figures that a daemon shows, one registry for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.contract import Accepted, OptedOut, Retry
from gateway.engine.metrics import SendMetrics
from gateway.metrics import Metrics

STARTED = datetime(2026, 12, 1, tzinfo=UTC)


def metrics() -> Metrics:
    return Metrics(version="1.2.3", started_at=STARTED)


def test_attempts_are_counted_by_sender_and_outcome() -> None:
    counted: Metrics = metrics()
    given: SendMetrics = counted
    given.answered("mail", Accepted(), 0.004)
    given.answered("mail", Accepted(), 0.006)
    given.answered("mail", Retry("busy"), 1.5)
    given.answered("sms", OptedOut("STOP"), 0.1)
    text = counted.render().decode()
    assert 'gateway_attempts_total{outcome="accepted",sender="mail"} 2.0' in text
    assert 'gateway_attempts_total{outcome="retry",sender="mail"} 1.0' in text
    assert 'gateway_attempts_total{outcome="opted_out",sender="sms"} 1.0' in text
    assert 'gateway_attempt_seconds_bucket{le="0.005",sender="mail"} 1.0' in text
    assert 'gateway_attempt_seconds_count{sender="mail"} 3.0' in text


def test_a_configured_sender_is_shown_before_it_sends() -> None:
    counted = metrics()
    counted.expect("mail", lambda: 0)
    text = counted.render().decode()
    assert 'gateway_http_connections{sender="mail"} 0.0' in text
    assert 'gateway_in_flight{sender="mail"} 0.0' in text
    assert 'gateway_sender_held{sender="mail"} 0.0' in text


def test_gauges_follow_what_they_are_told() -> None:
    counted = metrics()
    counted.in_flight("mail", 20)
    counted.in_flight("mail", 3)
    counted.held("mail", True)
    counted.waiting({"pending": (7, timedelta(seconds=90)), "receipts": (0, timedelta(seconds=-1))})
    text = counted.render().decode()
    assert 'gateway_in_flight{sender="mail"} 3.0' in text
    assert 'gateway_sender_held{sender="mail"} 1.0' in text
    assert 'gateway_waiting{queue="pending"} 7.0' in text
    assert 'gateway_waiting_oldest_seconds{queue="pending"} 90.0' in text
    assert 'gateway_waiting_oldest_seconds{queue="receipts"} 0.0' in text


def test_connections_are_counted_when_the_figures_are_asked_for() -> None:
    counted, connections = metrics(), [1]
    counted.expect("sms", lambda: len(connections))
    connections.append(2)
    assert 'gateway_http_connections{sender="sms"} 2.0' in counted.render().decode()


def test_the_build_and_the_start_are_shown() -> None:
    text = metrics().render().decode()
    assert 'version="1.2.3"' in text
    (start,) = [line for line in text.splitlines() if line.startswith("gateway_start_time_seconds ")]
    assert float(start.split()[1]) == STARTED.timestamp()


def test_two_daemons_in_one_process_count_apart() -> None:
    one, other = metrics(), metrics()
    one.answered("mail", Accepted(), 0.1)
    assert "gateway_attempts_total{" not in other.render().decode()
