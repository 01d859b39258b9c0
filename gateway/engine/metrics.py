"""What the engine counts. The daemon gives it Prometheus, tests a list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, Protocol


class IntakeMetrics(Protocol):
    """What comes in. Called from the event loop; must not block and must not raise."""

    def called_back(self, sender: str, outcome: Literal["stored", "answered", "refused"], number: int = 1) -> None:
        """A provider called, so many times: its request was stored, or only answered (a handshake), or not genuine."""
        ...

    def applied(self, merged: int, parked: int, inbound: int) -> None:
        """So many receipts were merged, or wait for their message; so many inbound messages are new."""
        ...


class SendMetrics(Protocol):
    """Called from the event loop; must not block and must not raise."""

    def answered(self, sender: str, outcome: object, seconds: float) -> None:
        """An attempt ended after `seconds`, with this outcome (a value of the contract, or `Unreached`)."""
        ...

    def in_flight(self, sender: str, number: int) -> None:
        """So many messages of the sender are between intent and record."""
        ...

    def waiting(self, queues: Mapping[str, tuple[int, timedelta]]) -> None:
        """By queue: how many are due and not done, and for how long the oldest has been due."""
        ...

    def held(self, sender: str, held: bool) -> None:
        """The sender was held, or released."""
        ...


class EngineMetrics(SendMetrics, IntakeMetrics, Protocol):
    """Everything that the engine counts."""
