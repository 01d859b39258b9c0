"""The loop that does long work on recipients in short chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.engine.crash import CrashPoints
from gateway.errors import StoreUnavailable
from gateway.store.space import Space
from gateway.store.sweeps import Sweep, Sweeps

POLL: Final = timedelta(seconds=1)
REST_SECONDS_MAX: Final = 0.05


class Sweeper:
    """Runs until cancelled. `progressed` is called after each chunk: new recipients, or a finished sweep."""

    def __init__(
        self, sweeps: Sweeps, clock: Clock, crash: CrashPoints, space: Space, progressed: Callable[[Sweep], None]
    ) -> None:
        self._sweeps = sweeps
        self._clock = clock
        self._crash = crash
        self._space = space
        self._progressed = progressed
        self._nudge = asyncio.Event()
        self._log = structlog.get_logger("gateway.sweeper")

    def wake(self) -> None:
        """There may be work."""
        self._nudge.set()

    async def run(self) -> None:
        """One chunk after the other, the actions taking turns; asleep when there is none.

        Between two it rests for as long as one took: whoever sends has to write in turn with it, and sends at a
        twentieth of the rate at which a snapshot is taken.
        """
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                sweep = None if self._space.shortage() else await self._sweeps.step(self._clock.now())
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
                sweep = None
            if sweep is None:
                await self._clock.wait(self._nudge, self._clock.now() + POLL)
                continue
            if sweep.work == "snapshot":
                self._crash.passed("snapshot_chunk")
            self._progressed(sweep)
            if not sweep.done:
                await asyncio.sleep(min(loop.time() - began, REST_SECONDS_MAX))
