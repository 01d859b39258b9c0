"""Holding a sender, and letting it go on by itself when it is well again: hold, do not burn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gateway.clock import Clock
from gateway.contract import Adapter
from gateway.core.ids import MESSAGE, OrgId, format_id
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Sender
from gateway.engine.metrics import SendMetrics
from gateway.engine.singles import SingleDraft, SingleMessages
from gateway.engine.strangers import ask
from gateway.errors import StoreUnavailable
from gateway.store.senders import HoldState, SenderStore
from gateway.store.space import Space

MISCONFIGURED_PROBE: Final = timedelta(seconds=60)  # somebody has to repair it: no hurry, and no lock-outs
OUTAGE_PROBE_MIN: Final = timedelta(seconds=1)
OUTAGE_PROBE_MAX: Final = timedelta(seconds=30)  # a provider that came back is noticed within this
ASKED_WAIT_MAX: Final = timedelta(hours=1)  # a provider that asks for more is asked again after this
CHECK_SECONDS: Final = 30.0
STORE_RETRY: Final = timedelta(seconds=1)  # a full or locked disk is tried again this often


class Hold:
    """Whether one sender may send. The state is in its row; this object probes while it is held."""

    def __init__(
        self,
        sender: Sender,
        store: SenderStore,
        clock: Clock,
        metrics: SendMetrics,
        space: Space,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when the sender was held or released: the lane and the scheduler look again."""
        self._sender = sender
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._space = space
        self._shortage: str | None = None
        self._changed = changed
        self._state = HoldState()
        self._probe_at: datetime | None = None
        self._held_at = clock.now()  # when `_probe_at` was reckoned
        self._failures = 0
        self._nudge = asyncio.Event()
        self._log = structlog.get_logger("gateway.hold").bind(sender=sender.name)

    @property
    def held(self) -> bool:
        """No new intent may be written: for the sender's sake, or because the disk is nearly full."""
        return self._state.held is not None or self._shortage is not None

    async def refresh(self) -> None:
        """Look at the disk, and read the row: another process may have paused or resumed the sender."""
        before_shortage, self._shortage = self._shortage, self._space.shortage()
        if self._shortage and not before_shortage:
            self._log.error("disk_short", detail=self._shortage)
        states = await self._store.holds()
        before, self._state = self._state, states.get(self._sender.name, HoldState())
        if before.held != self._state.held:
            self._metrics.held(self._sender.name, self._state.held is not None)
            self._nudge.set()

    async def hold(self, kind: str, detail: str, now: datetime, after: timedelta | None) -> None:
        """Hold until a probe finds the sender well. `after`: how long the provider wants to be left alone."""
        if kind == "misconfigured":
            delay = MISCONFIGURED_PROBE
        else:
            delay = min(OUTAGE_PROBE_MIN * 2 ** min(self._failures, 5), OUTAGE_PROBE_MAX)
            if after is not None:
                delay = min(max(after, delay), ASKED_WAIT_MAX)
        self._held_at, self._probe_at = now, now + delay
        if await self._store.hold(self._sender.id, kind, detail, now):
            self._log.warning("sender_held", kind=kind, detail=detail)
        await self.refresh()
        self._changed()
        self._nudge.set()

    async def run(self) -> None:
        """Probe while held, until cancelled."""
        while True:
            try:
                await self.refresh()
                await self._next_step()
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
                await self._clock.wait(asyncio.Event(), self._clock.now() + STORE_RETRY)

    async def _next_step(self) -> None:
        """Wait until there is something to do, or probe."""
        if self._state.held in (None, "manual"):
            self._failures = 0
            await self._clock.wait(self._nudge, None)
            return
        now = self._clock.now()
        # A clock that was set back must not make the wait longer than it was meant.
        due = now if self._probe_at is None or now < self._held_at else self._probe_at
        if due > now:
            await self._clock.wait(self._nudge, due)
            return
        await self._probe(now)

    async def _probe(self, now: datetime) -> None:
        problem = await check(self._sender.adapter)
        if problem is None:
            if await self._store.release(self._sender.id, now, by_hand=False):
                self._log.info("sender_released")
            self._probe_at = None
            await self.refresh()
            self._changed()
            return
        self._failures += 1
        kind = self._state.held or "outage"
        self._log.info("sender_probed", healthy=False, detail=problem)
        await self.hold(kind, problem, now, None)


async def check(adapter: Adapter[Any]) -> str | None:
    """The adapter's own check, bounded in time. None: healthy; else a sentence."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await ask(adapter.check())
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    # The adapter is a stranger's code; whatever it raises means that the sender is not well.
    except Exception as exc:  # noqa: BLE001
        return f"{type(exc).__name__}: {exc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What `POST /v1/senders/{name}/test` answers."""

    healthy: bool
    detail: str | None
    message_id: str | None


class SenderControl:
    """Holding senders by hand, and testing them."""

    def __init__(self, store: SenderStore, singles: SingleMessages, clock: Clock, changed: Callable[[], None]) -> None:
        self._store = store
        self._singles = singles
        self._clock = clock
        self._changed = changed

    async def pause(self, sender: Sender, by: str) -> None:
        """Hold until `resume`: nothing is sent from the next turn on; what is in flight finishes."""
        await self._store.hold(sender.id, "manual", f"paused by {by}", self._clock.now())
        self._changed()

    async def resume(self, sender: Sender) -> None:
        """Lift any hold. A sender that is still unwell is held again by its next attempt."""
        await self._store.release(sender.id, self._clock.now(), by_hand=True)
        self._changed()

    async def test(self, sender: Sender, to: str | None) -> TestResult:
        """Ask the adapter whether it is well and, with an address, send it a test message."""
        problem = await check(sender.adapter)
        if problem is not None or to is None:
            return TestResult(healthy=problem is None, detail=problem, message_id=None)
        content = ContentRequest(
            channel=sender.channel.name,
            sender=sender.name,
            subject="A test of the messaging gateway" if "subject" in sender.channel.takes else None,
            body=f"This is a test message from sender {sender.name}.",
        )
        message = await self._singles.send(sender.org, SingleDraft(content=content, to=to, source="test", gated=False))
        return TestResult(healthy=True, detail=None, message_id=format_id(MESSAGE, message))

    async def states(self, org: OrgId) -> Mapping[str, HoldState]:
        """The holds of an org's senders, by name."""
        return await self._store.holds(org)
