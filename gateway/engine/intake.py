"""What providers call back with: authenticated, stored raw, answered, then read and applied.

A callback is on disk before it is answered. It is read afterwards, many in one transaction; one that the process did
not come to read is found by its row at the next start.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.contract import CallbackAnswer, CallbackRequest, Deliver, Event, Inbound, TemplateChange
from gateway.core.ids import SenderId
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.cleaning import Cleaner
from gateway.engine.crash import CrashPoints
from gateway.engine.metrics import IntakeMetrics
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.reactions import InboundPolicyFailed, Reader
from gateway.engine.strangers import ask
from gateway.errors import StoreUnavailable
from gateway.store.callbacks import Applied, Callback, CallbackStore, Reading, SenderContext
from gateway.store.reactions import InboundReaction
from gateway.store.releases import Releases

POLL: Final = timedelta(seconds=1)  # callbacks that another process wants to be read again are noticed within this
BATCH_MAX: Final = 256  # callbacks read and applied in one transaction
REMEMBERED_MAX: Final = 5_000  # stored and not applied yet, in memory; beyond that they are read back from the store
GATHER_SECONDS: Final = 0.01  # while they keep coming, wait for company: a transaction costs as much as many receipts
STORE_RETRY: Final = timedelta(seconds=1)
TELL_REFUSED_EVERY: Final = timedelta(minutes=1)
RUN_METHOD: Final = "RUN"  # of a callback that an adapter's `run` delivered


class Inbox:
    """Stores callbacks, as many at once as came in while the last commit was on its way."""

    def __init__(
        self,
        store: CallbackStore,
        clock: Clock,
        read: Callable[[Callback], Reading],
        stored: Callable[[Sequence[Callback], Sequence[Reading]], None],
    ) -> None:
        """`stored` hears of callbacks that are on disk, and what `read` made of them, before they are answered."""
        self._store = store
        self._clock = clock
        self._read = read
        self._stored = stored
        self._waiting: list[tuple[SenderId, CallbackRequest, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def put(self, sender: SenderId, request: CallbackRequest) -> asyncio.Future[None]:
        """Done when it is on disk. StoreUnavailable: it is not; whoever sent it must send it again."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((sender, request, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return future

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._store_all(batch)
        finally:
            self._flushing = None

    async def _store_all(self, batch: list[tuple[SenderId, CallbackRequest, asyncio.Future[None]]]) -> None:
        try:
            callbacks = self._store.number([(sender, request) for sender, request, _ in batch])
            storing = asyncio.create_task(self._store.add(callbacks, self._clock.now()))
            await asyncio.sleep(0)
            # Meanwhile: all in a row, which takes half as long as each between two answers.
            readings = [self._read(callback) for callback in callbacks]
            await storing
            self._stored(callbacks, readings)
        # Whatever it is, those who wait for the commit must hear of it.
        except Exception as exc:  # noqa: BLE001
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(exc)
            return
        for _, _, future in batch:
            if not future.done():
                future.set_result(None)


class Intake:
    """Built once. `receive` and the adapters' `run` put callbacks in; `run` reads them until cancelled."""

    def __init__(
        self,
        store: CallbackStore,
        templates: ProviderTemplates,
        releases: Releases,
        catalogue: Catalogue,
        clock: Clock,
        crash: CrashPoints,
        metrics: IntakeMetrics,
        *,
        link_within: timedelta,
        look: Callable[[], None],
        released: Callable[[], None],
    ) -> None:
        """`link_within`: how long after a message an inbound one is taken for its answer. `released`: there is
        something to send.
        """
        self._store = store
        self._templates = templates
        self._releases = releases
        self._inbox = Inbox(store, clock, self._read, self._remember)
        self._clock = clock
        self._crash = crash
        self._metrics = metrics
        self._look = look
        self._released = released
        self._remembered: deque[Reading] = deque(maxlen=REMEMBERED_MAX)
        self._stopped: deque[tuple[SenderId, TemplateChange]] = deque()  # templates whose users are not all paused yet
        self._refused: dict[SenderId, tuple[datetime, int]] = {}  # when it was last told of, and how many since then
        self._look_back = True  # rows of an earlier process, or more than are remembered
        self._nudge = asyncio.Event()
        self._senders = {sender.id: sender for sender in catalogue.senders.values()}
        self._cleaners = {
            id: Cleaner(sender.channel, sender.org.default_region, clock.now) for id, sender in self._senders.items()
        }
        self._readers = {id: Reader(sender, catalogue.inbound_policies) for id, sender in self._senders.items()}
        self._contexts = {
            id: SenderContext(
                sender=id,
                org=sender.org.id,
                channel=sender.channel,
                awaits_receipts=sender.awaits_receipts,
                receipt_deadline=sender.receipt_deadline,
                link_within=link_within,
            )
            for id, sender in self._senders.items()
        }
        self._log = structlog.get_logger("gateway.intake")

    async def receive(self, sender: Sender, request: CallbackRequest) -> CallbackAnswer | None:
        """What to answer the provider; None: it is not genuine, and nothing of it was kept.

        StoreUnavailable: it could not be stored, the provider must send it again.
        """
        genuine = await self._authenticate(sender, request)
        if isinstance(genuine, CallbackAnswer):
            self._metrics.called_back(sender.name, "answered")
            return genuine
        if not genuine:
            self._metrics.called_back(sender.name, "refused")
            self._tell_refused(sender)
            return None
        await self._inbox.put(sender.id, request)
        return self._answer(sender, request)

    def _tell_refused(self, sender: Sender) -> None:
        """Once in a while, with their number: anybody can send forged ones, and would fill the log by them."""
        now = self._clock.now()
        told_at, untold = self._refused.get(sender.id, (None, 0))
        if told_at is not None and abs(now - told_at) < TELL_REFUSED_EVERY:
            self._refused[sender.id] = (told_at, untold + 1)
            return
        self._refused[sender.id] = (now, 0)
        self._log.warning("callback_refused", sender=sender.name, refused=untold + 1)

    def deliverer(self, sender: Sender) -> Deliver:
        """What an adapter's `run` delivers through."""

        async def deliver(raw: bytes) -> None:
            request = CallbackRequest(method=RUN_METHOD, url="", tail="", query=(), headers={}, body=raw)
            await self._inbox.put(sender.id, request)

        return deliver

    async def run(self) -> None:
        """Read what is stored, until cancelled."""
        while True:
            now = self._clock.now()
            try:
                await self._pause_users()
                readings = await self._next()
                if readings:
                    await self._apply(readings)
                    if 0 < len(self._remembered) < BATCH_MAX:
                        await asyncio.sleep(GATHER_SECONDS)
                    continue
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
                self._look_back = True
                await self._clock.wait(asyncio.Event(), now + STORE_RETRY)
                continue
            await self._clock.wait(self._nudge, now + POLL)
            self._look_back = self._look_back or self._clock.now() >= now + POLL

    async def _authenticate(self, sender: Sender, request: CallbackRequest) -> bool | CallbackAnswer:
        try:
            return await ask(sender.adapter.authenticate(request))
        # A stranger's code, given a stranger's bytes: what it cannot judge is not genuine.
        except Exception as exc:  # noqa: BLE001
            self._log.error(
                "authenticate_raised", sender=sender.name, error=type(exc).__name__, exc_info=exc, may_quote=True
            )
            return False

    def _answer(self, sender: Sender, request: CallbackRequest) -> CallbackAnswer:
        try:
            return sender.adapter.answer(request)
        # It is stored: whatever the adapter's answer would have been, the provider must not send it again.
        except Exception as exc:  # noqa: BLE001
            self._log.error("answer_raised", sender=sender.name, error=type(exc).__name__, exc_info=exc, may_quote=True)
            return CallbackAnswer()

    def _remember(self, callbacks: Sequence[Callback], readings: Sequence[Reading]) -> None:
        for sender, number in Counter([callback.sender for callback in callbacks]).items():
            self._metrics.called_back(self._senders[sender].name, "stored", number)
        for reading in readings:
            self._crash.passed("receipt_stored")
            if len(self._remembered) == REMEMBERED_MAX:
                self._look_back = True
            else:
                self._remembered.append(reading)
        self._nudge.set()

    async def _next(self) -> Sequence[Reading]:
        if self._remembered:
            return [self._remembered.popleft() for _ in range(min(BATCH_MAX, len(self._remembered)))]
        if not self._look_back:
            return ()
        self._look_back = False
        found = await self._store.waiting(BATCH_MAX)
        self._look_back = self._look_back or len(found) == BATCH_MAX
        return [self._read(callback) for callback in found]

    async def _apply(self, readings: Sequence[Reading]) -> None:
        """All in one transaction; if one of them cannot be applied, each in its own."""
        try:
            applied = await self._store.apply(readings, self._clock.now())
        except StoreUnavailable:
            raise
        # An event that breaks a statement is a defect; it must not keep the others out, nor come again for ever.
        except Exception as exc:  # noqa: BLE001
            if len(readings) > 1:
                for reading in readings:
                    await self._apply([reading])
                return
            self._log.error("callback_not_applied", callback=readings[0].callback, exc_info=exc, may_quote=True)
            problem = f"{type(exc).__name__} when it was applied"
            failed = Reading(callback=readings[0].callback, context=readings[0].context, problem=problem)
            applied = await self._store.apply([failed], self._clock.now())
        await self._after(applied)

    async def _after(self, applied: Applied) -> None:
        self._crash.passed("receipt_merged")
        self._metrics.applied(applied.merged, applied.parked, applied.inbound)
        self._stopped += applied.stopped_templates
        if applied.looks:
            self._look()
        if applied.replies:
            self._released()
        await self._pause_users()

    async def _pause_users(self) -> None:
        """The callbacks that stopped these templates count as applied: nobody else remembers what is not done yet."""
        while self._stopped:
            sender, change = self._stopped[0]
            detail = f"Template {change.name!r} ({change.language}) is {change.status}: {change.reason or 'no reason'}"
            for action in await self._templates.users_of(sender, change):
                await self._releases.pause(action, "template_unavailable", detail, self._clock.now())
            self._stopped.popleft()

    def _read(self, callback: Callback) -> Reading:
        sender = self._senders.get(callback.sender)
        if sender is None:
            return Reading(callback=callback.id, context=None, problem="its sender is not configured")
        context = self._contexts[sender.id]
        try:
            events: Sequence[Event] = self._cleaners[sender.id].clean(sender.adapter.parse(callback.request))
        # The contract says that `parse` raises nothing; the bytes are kept, and can be read again by a better one.
        except Exception as exc:  # noqa: BLE001
            self._log.error(
                "callback_unreadable", sender=sender.name, callback=callback.id, exc_info=exc, may_quote=True
            )
            return Reading(callback=callback.id, context=context, problem=f"parse raised {type(exc).__name__}")
        return self._understand(callback, context, events, self._readers[sender.id])

    def _understand(
        self, callback: Callback, context: SenderContext, events: Sequence[Event], reader: Reader
    ) -> Reading:
        """What the texts ask for. One that a policy cannot read is left out, and read again with its callback."""
        understood: list[Event] = []
        reactions: dict[str, InboundReaction] = {}
        problem: str | None = None
        for event in events:
            if isinstance(event, Inbound):
                try:
                    reaction = reader.read(event)
                except InboundPolicyFailed as exc:
                    self._log.error("inbound_policy_failed", callback=callback.id, exc_info=exc, may_quote=True)
                    problem = str(exc)
                    continue
                if reaction is not None:
                    reactions[event.provider_id] = reaction
            understood.append(event)
        return Reading(
            callback=callback.id, context=context, events=tuple(understood), reactions=reactions, problem=problem
        )
