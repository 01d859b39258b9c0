"""The reconcile loop's own timetable: a cron setting, run through the same door as every recurring thing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.core.recur import next_run
from gateway.engine.metrics import SendMetrics
from gateway.errors import StoreUnavailable
from gateway.store.housekeeping import Housekeeping
from gateway.store.recovery import Recovery
from gateway.store.releases import Releases
from gateway.store.retention import Retention

BEAT: Final = timedelta(seconds=30)
STOOD_STILL: Final = timedelta(hours=1)  # what is later than this asks before it goes on


class Timetable:
    """Runs until cancelled: a heartbeat twice a minute, housekeeping by `cron`."""

    def __init__(
        self,
        cron: str,
        housekeeping: Housekeeping,
        retention: Retention,
        recovery: Recovery,
        releases: Releases,
        clock: Clock,
        metrics: SendMetrics,
        look: Callable[[], None],
    ) -> None:
        self._cron = cron
        self._housekeeping = housekeeping
        self._retention = retention
        self._recovery = recovery
        self._releases = releases
        self._clock = clock
        self._metrics = metrics
        self._look = look
        self._log = structlog.get_logger("gateway.timetable")

    async def pause_what_stood_still(self) -> None:
        """At start: a one-off that stopped in its middle more than an hour ago asks whether it is still wanted."""
        now = self._clock.now()
        last = await self._housekeeping.last_beat()
        if last is not None and now - last > STOOD_STILL:
            detail = f"The gateway stood still since {last.isoformat()}. Resume it to send to the rest, or cancel it."
            for action in await self._housekeeping.one_offs_in_the_middle():
                await self._releases.pause(action, "missed_schedule", detail, now)
        await self._housekeeping.beat(now)

    async def run(self) -> None:
        never = asyncio.Event()
        reconcile_at = next_run(self._cron, self._clock.now())
        while True:
            now = self._clock.now()
            try:
                await self._housekeeping.beat(now)
                self._metrics.waiting(await self._housekeeping.queues(now))
                if now >= reconcile_at:
                    await self._reconcile(now)
                    reconcile_at = next_run(self._cron, now)
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
                await self._clock.wait(never, now + BEAT)  # what was due still is
                continue
            await self._clock.wait(never, min(now + BEAT, reconcile_at))

    async def _reconcile(self, now: datetime) -> None:
        lapsed = await self._recovery.lose_sight(now, everything=False)
        await self._housekeeping.purge(now)
        await self._retention.purge(now)
        drifted = await self._housekeeping.recount()
        for action in drifted:
            self._log.error("books_repaired", action=action)
        if lapsed or drifted:
            self._look()
