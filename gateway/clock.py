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
        alarm = None
        if until is not None:
            seconds = max(0.0, (until - self.now()).total_seconds())
            alarm = asyncio.get_running_loop().call_later(seconds, nudge.set)
        try:
            await nudge.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        nudge.clear()
