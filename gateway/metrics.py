"""Figures for Prometheus: how much is sent, how it ends, how long it takes, and what waits.

Each daemon has a registry of its own: two of them live in one process, in tests and in the demo.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

# Seconds of one attempt: a local relay answers in a millisecond, a slow provider within the deadline of 30 s.
SEND_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_INNER_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Metrics:
    """What one daemon counts. Called from its event loop; nothing here blocks or raises."""

    def __init__(self, *, version: str | None = None, started_at: datetime | None = None) -> None:
        registry = self.registry = CollectorRegistry()
        self._attempts = Counter(
            "gateway_attempts", "Calls of a provider, by how they ended.", ["sender", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "gateway_attempt_seconds", "How long a provider took.", ["sender"], buckets=SEND_BUCKETS, registry=registry
        )
        self._in_flight = Gauge(
            "gateway_in_flight", "Messages between intent and record; never above W.", ["sender"], registry=registry
        )
        self._held = Gauge("gateway_sender_held", "1 while a sender is held, else 0.", ["sender"], registry=registry)
        self._connections = Gauge(
            "gateway_http_connections",
            "Connections to a provider over HTTP, open or being made.",
            ["sender"],
            registry=registry,
        )
        self._waiting = Gauge("gateway_waiting", "What is due and not done yet.", ["queue"], registry=registry)
        self._oldest = Gauge(
            "gateway_waiting_oldest_seconds",
            "For how long the oldest of them has been due.",
            ["queue"],
            registry=registry,
        )
        self._callbacks = Counter(
            "gateway_callbacks",
            "Requests of providers, by what became of them.",
            ["sender", "outcome"],
            registry=registry,
        )
        self._receipts = Counter(
            "gateway_receipts", "Receipts that were merged, or parked for a message.", ["outcome"], registry=registry
        )
        self._inbound = Counter("gateway_inbound_messages", "Inbound messages that were new.", registry=registry)
        build = Gauge("gateway_build_info", "Always 1.", ["version", "python"], registry=registry)
        build.labels(version or metadata.version("dripgate"), platform.python_version()).set(1)
        # The process collector needs /proc/stat for this, which a hardened unit (ProcSubset=pid) hides.
        started = Gauge("gateway_start_time_seconds", "When the daemon started, in Unix time.", registry=registry)
        started.set((started_at or datetime.now(UTC)).timestamp())
        ProcessCollector(registry=registry)
        # Finding a child by its labels takes longer than counting with it, at every message.
        self._attempts_of: dict[tuple[str, type[object]], Counter] = {}
        self._seconds_of: dict[str, Histogram] = {}
        self._callbacks_of: dict[tuple[str, str], Counter] = {}
        self._in_flight_of: dict[str, Gauge] = {}

    def expect(self, sender: str, connections: Callable[[], int]) -> None:
        """Show a configured sender from the start, with zeros: an alarm on an absent series never rings.

        `connections`: how many to its provider its HTTP client has or is making; asked when the figures are.
        """
        self.in_flight(sender, 0)
        self.held(sender, False)
        self._connections.labels(sender).set_function(connections)

    def answered(self, sender: str, outcome: object, seconds: float) -> None:
        """An attempt ended after `seconds` with this outcome, a value of the contract: its class is counted."""
        kind = type(outcome)
        counter = self._attempts_of.get((sender, kind))
        if counter is None:
            counter = self._attempts_of[sender, kind] = self._attempts.labels(sender, outcome_name(kind))
        counter.inc()
        histogram = self._seconds_of.get(sender)
        if histogram is None:
            histogram = self._seconds_of[sender] = self._seconds.labels(sender)
        histogram.observe(seconds)

    def in_flight(self, sender: str, number: int) -> None:
        """So many messages of the sender are between intent and record."""
        gauge = self._in_flight_of.get(sender)
        if gauge is None:
            gauge = self._in_flight_of[sender] = self._in_flight.labels(sender)
        gauge.set(number)

    def held(self, sender: str, held: bool) -> None:
        """The sender was held, or released."""
        self._held.labels(sender).set(held)

    def called_back(self, sender: str, outcome: Literal["stored", "answered", "refused"], number: int = 1) -> None:
        """A provider called: its request was stored, or only answered (a handshake), or was not genuine."""
        counter = self._callbacks_of.get((sender, outcome))
        if counter is None:
            counter = self._callbacks_of[sender, outcome] = self._callbacks.labels(sender, outcome)
        counter.inc(number)

    def applied(self, merged: int, parked: int, inbound: int) -> None:
        """So many receipts were merged, or wait for their message; so many inbound messages are new."""
        self._receipts.labels("merged").inc(merged)
        self._receipts.labels("parked").inc(parked)
        self._inbound.inc(inbound)

    def waiting(self, queues: Mapping[str, tuple[int, timedelta]]) -> None:
        """How much waits in each queue and for how long its oldest has been due, as last looked at."""
        for name, (number, oldest) in queues.items():
            self._waiting.labels(name).set(number)
            self._oldest.labels(name).set(max(0.0, oldest.total_seconds()))

    def render(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self.registry)


def outcome_name(kind: type[object]) -> str:
    """`OptedOut` as a label: `opted_out`."""
    return _INNER_CAPITAL.sub("_", kind.__name__).lower()
