"""What the engine counts. The daemon gives it Prometheus, tests a list."""

from __future__ import annotations

from typing import Protocol


class SendMetrics(Protocol):
    """Called from the event loop; must not block and must not raise."""

    def answered(self, sender: str, outcome: object, seconds: float) -> None:
        """An attempt ended after `seconds`, with this outcome (a value of the contract, or `Unreached`)."""
        ...

    def in_flight(self, sender: str, number: int) -> None:
        """So many messages of the sender are between intent and record."""
        ...

    def held(self, sender: str, held: bool) -> None:
        """The sender was held, or released."""
        ...
