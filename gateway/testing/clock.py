"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time moves by `advance` only; whoever waits for an instant that has passed by then is woken."""

    def __init__(self, start: datetime = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._sleepers: dict[asyncio.Event, datetime] = {}  # by whom they wake

    def now(self) -> datetime:
        return self._now

    async def wait(self, nudge: asyncio.Event, until: datetime | None) -> None:
        if not nudge.is_set() and (until is None or until > self._now):
            await self._sleep(nudge, until)
        nudge.clear()

    async def _sleep(self, nudge: asyncio.Event, until: datetime | None) -> None:
        alarm = asyncio.Event()
        if until is not None:
            self._sleepers[alarm] = until
        waits = [asyncio.ensure_future(nudge.wait()), asyncio.ensure_future(alarm.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._sleepers.pop(alarm, None)

    def advance(self, by: timedelta) -> None:
        """Move time forward."""
        self.move_to(self._now + by)

    def step(self, by: timedelta) -> None:
        """Somebody sets the clock: it shows another time, and whoever waits waits on for as long as was left."""
        self._now += by
        self._sleepers = {alarm: until + by for alarm, until in self._sleepers.items()}

    def move_to(self, instant: datetime) -> None:
        """Move time to `instant`, waking everybody who waits for it or for something earlier."""
        self._now = instant
        for alarm, until in self._sleepers.items():
            if until <= instant:
                alarm.set()
