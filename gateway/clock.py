"""The clock that everything outside `core/` is given: real in the daemon, moved by hand in tests."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time, and waiting by it.

    Deadlines of network calls do not go through here: they are real time even where a test moves the days.
    """

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    async def wait(self, nudge: asyncio.Event, until: datetime | None) -> None:
        """Return when `nudge` is set (it is cleared) or at `until` (None: never by itself), whichever is first."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, nudge: asyncio.Event, until: datetime | None) -> None:
        seconds = None if until is None else max(0.0, (until - self.now()).total_seconds())
        try:
            async with asyncio.timeout(seconds):
                await nudge.wait()
        except TimeoutError:
            pass
        nudge.clear()
