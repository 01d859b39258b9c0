"""What answers ask for beyond their own message: that the sender is held, that an action pauses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from gateway.engine.gatekeeper import Prepared
from gateway.engine.holds import Hold
from gateway.engine.rulings import Decision
from gateway.store.releases import Releases

UNREACHED_MAX: Final = 5  # attempts in a row that reached nobody; then the sender is held and probed


class Consequences:
    """One sender's. A wish that the database cannot take now is kept, and nothing is sent before it is carried out."""

    def __init__(self, hold: Hold, releases: Releases) -> None:
        self._hold = hold
        self._releases = releases
        self._waiting: deque[tuple[Prepared, Decision]] = deque()
        self._unreached = 0

    @property
    def over(self) -> bool:
        """Nothing is left to be carried out."""
        return not self._waiting

    def add(self, decisions: Iterable[tuple[Prepared, Decision]]) -> None:
        """The results of these are recorded."""
        self._waiting.extend(decisions)

    async def carry_out(self, now: datetime) -> bool:
        """Do what they ask for, in their order. True if an action was paused. StoreUnavailable: not all was done yet;
        the rest is still here.
        """
        paused = False
        while self._waiting:
            prepared, decision = self._waiting[0]
            if decision.hold is not None:
                await self._hold.hold(decision.hold.kind, decision.hold.detail, now, decision.hold.after)
            if decision.pause is not None and prepared.action is not None:
                await self._releases.pause(prepared.action, "template_unavailable", decision.pause, now)
                paused = True
            if decision.healthy:
                self._unreached = 0
            else:
                await self._count_unreached(decision.ruling.reason, now)
            self._waiting.popleft()
        return paused

    async def _count_unreached(self, reason: str | None, now: datetime) -> None:
        """Attempts that reach nobody, one after the other, mean that the sender is down."""
        unreached = self._unreached + 1
        if unreached >= UNREACHED_MAX and not self._hold.held:
            await self._hold.hold("outage", reason or "the provider cannot be reached", now, None)
            unreached = 0
        self._unreached = unreached
