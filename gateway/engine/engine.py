"""All loops over one database, joined: who wakes whom, the order of starting and stopping."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

import structlog

from gateway.clock import Clock
from gateway.core.ids import ActionId, IdSequence
from gateway.engine.authority import Authority
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.composing import Composer
from gateway.engine.crash import CrashPoints
from gateway.engine.gatekeeper import Gatekeeper
from gateway.engine.holds import Hold
from gateway.engine.intake import Intake
from gateway.engine.lane import Lane, LaneTools
from gateway.engine.metrics import EngineMetrics
from gateway.engine.operations import Operations
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.reconciler import Reconciler
from gateway.engine.scheduler import Scheduler
from gateway.engine.singles import SingleFeed
from gateway.engine.strangers import ask
from gateway.engine.sweeper import Sweeper
from gateway.engine.timetable import Timetable
from gateway.engine.webhooks import Webhooks
from gateway.errors import StoreUnavailable
from gateway.store.callbacks import CallbackStore
from gateway.store.candidates import Candidates
from gateway.store.creators import CreatorStore
from gateway.store.database import Database
from gateway.store.erasure import Erasure
from gateway.store.events import EventStore
from gateway.store.facts import FactStore
from gateway.store.housekeeping import Housekeeping
from gateway.store.operations import OperationStore
from gateway.store.recovery import Recovery
from gateway.store.releases import Notice, Releases
from gateway.store.retention import Kept, Retention
from gateway.store.senders import SenderStore
from gateway.store.space import Space
from gateway.store.sweeps import Sweep, Sweeps
from gateway.store.turns import TurnStore

LINK_WITHIN: Final = timedelta(days=7)
RECONCILE_CRON: Final = "*/5 * * * *"
OPEN_RETRY: Final = timedelta(seconds=30)  # an adapter that could not open is tried again this often
RUN_RETRY: Final = timedelta(seconds=5)  # an adapter whose `run` raised is started again after this
CLOSE_SECONDS: Final = 5.0  # what the contract gives an adapter to close


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the operator says of the loops."""

    link_within: timedelta = LINK_WITHIN
    notice: Notice | None = None
    reconcile_cron: str = RECONCILE_CRON
    kept: Kept = field(default_factory=Kept)


class Engine:
    """Built once by the daemon. `run` takes over what the last process left, then works until cancelled.

    `chance`: random numbers from [0, 1).
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        *,
        callbacks: CallbackStore,
        templates: ProviderTemplates,
        webhooks: Webhooks,
        ids: IdSequence,
        clock: Clock,
        composer: Composer,
        metrics: EngineMetrics,
        crash: CrashPoints,
        node: str,
        space: Space,
        chance: Callable[[], float] = random.random,
        settings: EngineSettings | None = None,
    ) -> None:
        chosen = settings or EngineSettings()
        self._catalogue = catalogue
        self._clock = clock
        self._log = structlog.get_logger("gateway.engine")
        releases = Releases(database, ids, chosen.notice)
        tools = LaneTools(
            clock=clock,
            candidates=Candidates(database),
            turns=TurnStore(database),
            releases=releases,
            composer=composer,
            crash=crash,
            metrics=metrics,
            chance=chance,
            look=self._look,
            node=node,
        )
        self.gatekeepers: Mapping[str, Gatekeeper] = {
            sender.name: Gatekeeper(sender, catalogue.send_policies, FactStore(database), ids)
            for sender in catalogue.senders.values()
        }
        self._holds = {
            sender.name: Hold(sender, SenderStore(database), clock, metrics, space, self.nudge)
            for sender in catalogue.senders.values()
        }
        self._lanes = {sender.name: self._lane(sender, tools) for sender in catalogue.senders.values()}
        authority = Authority(catalogue, CreatorStore(database))
        self._sweeper = Sweeper(Sweeps(database, catalogue.channels), clock, crash, space, self._progressed)
        self._scheduler = Scheduler(releases, authority, clock, crash, self._released, self._sweeper.wake)
        self._templates = templates
        self._webhooks = webhooks
        self.intake = Intake(
            callbacks,
            templates,
            releases,
            catalogue,
            clock,
            crash,
            metrics,
            link_within=chosen.link_within,
            look=self._look,
            released=self._released,
        )
        self._operations = Operations(OperationStore(database), catalogue, clock, self._look)
        recovery = Recovery(database, node)
        self._reconciler = Reconciler(recovery, catalogue, composer, clock, self._returned, self._look)
        erasure = Erasure(database, clock, catalogue.channels)
        retention = Retention(database, chosen.kept, EventStore(database), callbacks, erasure)
        self._timetable = Timetable(
            chosen.reconcile_cron, Housekeeping(database), retention, recovery, releases, clock, metrics, self._look
        )
        self._running = asyncio.Event()

    def _lane(self, sender: Sender, tools: LaneTools) -> Lane:
        gatekeeper = self.gatekeepers[sender.name]
        singles = SingleFeed(sender, gatekeeper, tools.candidates)
        return Lane(sender, tools, gatekeeper, singles, self._holds[sender.name])

    @property
    def running(self) -> bool:
        """All loops were started: for readiness."""
        return self._running.is_set()

    async def probe(self) -> str | None:
        """For readiness: None, or what is wrong."""
        if not self.running:
            return "the loops are not running"
        return (
            "; ".join([*(fault for lane in self._lanes.values() for fault in lane.faults), *self._webhooks.faults])
            or None
        )

    def nudge(self) -> None:
        """Rows were written: every loop looks now instead of at its next poll."""
        self._sweeper.wake()
        self._scheduler.wake()
        self._released()

    def nudge_sender(self, sender: str) -> None:
        """A single message was accepted for this sender."""
        self._lanes[sender].wake_for_single()

    async def run(self) -> None:
        """Work until cancelled. Raises what a loop raises: a loop that fails is a bug, and the daemon restarts."""
        await self._reconciler.take_over()
        await self._timetable.pause_what_stood_still()
        loops: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "sweeper": self._sweeper.run,
            "scheduler": self._scheduler.run,
            "operations": self._operations.run,
            "intake": self.intake.run,
            "templates": self._templates.run,
            "webhooks": self._webhooks.run,
            "reconciler": self._reconciler.run,
            "timetable": self._timetable.run,
        }
        for sender in self._catalogue.senders.values():
            loops[f"sender {sender.name}"] = partial(self._run_sender, sender)
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            for name, loop in loops.items():
                group.create_task(self._heard(name, loop), name=name)
            self._running.set()

    async def _heard(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a loop so that it cannot end unheard: its log line says which one it was before everything ends."""
        try:
            await ask(loop())
        except Exception as exc:
            self._log.error("loop_failed", loop=name, exc_info=exc, may_quote=True)
            raise

    async def drain(self, seconds: float) -> None:
        """No new intents; wait for what is in flight, at most this long. Then `run` may be cancelled."""
        self._running.clear()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(lane.drain() for lane in self._lanes.values()), self._webhooks.drain())
        except TimeoutError:
            self._log.warning("drain_timed_out", seconds=seconds)

    async def _run_sender(self, sender: Sender) -> None:
        await self._open(sender)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._holds[sender.name].run())
                group.create_task(self._receive(sender))
                group.create_task(self._lanes[sender.name].run())
        finally:
            await self._close(sender)

    async def _open(self, sender: Sender) -> None:
        """An adapter that cannot open holds its own sender, never the daemon."""
        while True:
            try:
                await ask(sender.adapter.open())
                return
            # A stranger's code: whatever it raises, the other senders go on.
            except Exception as exc:  # noqa: BLE001
                self._log.error("sender_not_opened", sender=sender.name, error=f"{type(exc).__name__}: {exc}")
                detail = f"cannot be opened: {exc}"
            try:
                await self._holds[sender.name].hold("outage", detail, self._clock.now(), None)
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
            await self._clock.wait(asyncio.Event(), self._clock.now() + OPEN_RETRY)

    async def _receive(self, sender: Sender) -> None:
        """What the adapter does to hear from its provider by itself; one that breaks down is started again."""
        while True:
            try:
                await ask(sender.adapter.run(self.intake.deliverer(sender)))
                return
            # A stranger's code: whatever it raises, this sender still sends, and the others do too.
            except Exception as exc:  # noqa: BLE001
                self._log.error("receiver_failed", sender=sender.name, exc_info=exc, may_quote=True)
                await self._clock.wait(asyncio.Event(), self._clock.now() + RUN_RETRY)

    async def _close(self, sender: Sender) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await sender.adapter.close()
        # The daemon is stopping; an adapter that cannot close must not keep it.
        except Exception as exc:  # noqa: BLE001
            self._log.warning("sender_not_closed", sender=sender.name, error=type(exc).__name__)

    def _look(self) -> None:
        self._scheduler.wake()

    def _released(self) -> None:
        self._operations.wake()
        for lane in self._lanes.values():
            lane.wake()

    def _progressed(self, sweep: Sweep) -> None:
        if sweep.work in ("snapshot", "retry"):
            self._released()
        if sweep.done or sweep.work == "snapshot":
            self._scheduler.wake()

    def _returned(self, action: ActionId | None) -> None:
        self._scheduler.wake()
        for lane in self._lanes.values():
            if action is None:
                lane.wake()
            else:
                lane.rewind(action)
