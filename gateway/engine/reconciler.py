"""The loop that finds out what became of attempts whose end nobody saw, and settles what no receipt will settle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from gateway.clock import Clock
from gateway.contract import Absent, Answer, CannotTell, Found, Outbound, Question, Status
from gateway.core.content import MessageContent
from gateway.core.ids import ActionId
from gateway.core.retry import give_up
from gateway.core.states import NEGATIVE, MessageStatus, RecipientEvent
from gateway.core.template import MissingVariable, Renderer, TemplateFault
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.rendering import compile_content, verbatim
from gateway.errors import StoreUnavailable
from gateway.store.recovery import DueMessage, Finding, Recovery

POLL: Final = timedelta(seconds=1)
ASK_AGAIN: Final = timedelta(minutes=5)  # a provider that could not tell is asked again after this
LOOKUP_SECONDS: Final = 30.0
LOST_SENDER: Final = timedelta(minutes=10)  # a sender that vanished from the file may come back


class Reconciler:
    """Runs until cancelled. `returned` is called with an action whose recipients went back to pending (None: singles),
    `look` when the books have moved.
    """

    def __init__(
        self,
        recovery: Recovery,
        catalogue: Catalogue,
        renderer: Renderer,
        clock: Clock,
        returned: Callable[[ActionId | None], None],
        look: Callable[[], None],
    ) -> None:
        self._recovery = recovery
        self._catalogue = catalogue
        self._renderer = renderer
        self._clock = clock
        self._returned = returned
        self._look = look
        self._nudge = asyncio.Event()
        self._log = structlog.get_logger("gateway.reconciler")

    async def take_over(self) -> int:
        """At start: what the last process left between intent and record becomes unknown, and due at once."""
        lost = await self._recovery.lose_sight(self._clock.now(), everything=True)
        if lost:
            self._log.warning("messages_unknown", number=lost)
        return lost

    async def run(self) -> None:
        while True:
            now = self._clock.now()
            until = now + POLL
            try:
                due = await self._recovery.due(now)
                if due:
                    await self._settle(due, now)
                    continue
                upcoming = await self._recovery.next_due()
                until = min(until, upcoming) if upcoming is not None else until
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
            await self._clock.wait(self._nudge, until)

    async def _settle(self, due: tuple[DueMessage, ...], now: datetime) -> None:
        findings = [await self._find(message, now) for message in due]
        await self._recovery.resolve(findings, now)
        returned = {finding.message.action for finding in findings if finding.event is RecipientEvent.RETURN}
        for action in returned:
            self._returned(action)
        self._look()

    async def _find(self, message: DueMessage, now: datetime) -> Finding:
        sender = self._catalogue.sender_by_id(message.sender)
        if sender is None:
            return _stay(message, "its sender is not configured", now + LOST_SENDER)
        if message.status in (MessageStatus.ACCEPTED, MessageStatus.SENT):
            return Finding(
                message=message,
                event=RecipientEvent.SUCCEED,
                status=message.status,
                detail="no receipt came by the deadline",
                code="unconfirmed",
                unconfirmed=True,
            )
        return await self._find_unknown(message, sender, now)

    async def _find_unknown(self, message: DueMessage, sender: Sender, now: datetime) -> Finding:
        """Ask; else repeat where a repeat is one message; else the sender's `on_unknown`."""
        capabilities = sender.adapter.capabilities
        if capabilities.lookup:
            settled_at = message.attempted_at + capabilities.lookup_settle
            if now < settled_at:
                return _stay(message, "the provider is asked when it has had time to know", settled_at)
            answer = await self._ask(message, sender)
            if not isinstance(answer, CannotTell):
                return _answered(message, answer, sender)
        age = now - message.attempted_at
        if capabilities.idempotent_for is not None and age < capabilities.idempotent_for:
            return _again(message, "sent again under the same idempotency key", perhaps_sent=True)
        if sender.on_unknown == "resend" and not give_up(message.created_at, now, sender.retry_for):
            return _again(message, "sent again, it may arrive twice (on_unknown = resend)", perhaps_sent=True)
        deadline = message.attempted_at + sender.receipt_deadline
        if now >= deadline:
            return _stay(message, "nobody knows whether it was sent", None)
        return _stay(
            message,
            "nobody knows whether it was sent",
            min(deadline, now + ASK_AGAIN) if capabilities.lookup else deadline,
        )

    async def _ask(self, message: DueMessage, sender: Sender) -> Answer:
        try:
            question = Question(
                message=self._outbound(message), provider_ids=message.provider_ids, attempted_at=message.attempted_at
            )
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await sender.adapter.lookup(question)
        # A failed question leaves the message unknown; the adapter is a stranger's code and may raise anything.
        except Exception as exc:  # noqa: BLE001
            self._log.warning("lookup_failed", sender=sender.name, error=type(exc).__name__)
            return CannotTell(f"{type(exc).__name__}: {exc}")

    def _outbound(self, message: DueMessage) -> Outbound:
        """The message as it was sent: from its frozen variables, or its stored texts."""
        if message.action_message is None:
            return verbatim(message.id, message.attempt, message.address, message.content or {})
        content = compile_content(self._renderer, msgspec.convert(message.action_message, MessageContent))
        try:
            return content.render(message.id, message.attempt, message.address, message.variables)
        except (MissingVariable, TemplateFault):
            return verbatim(message.id, message.attempt, message.address, {})


def _stay(message: DueMessage, detail: str, look_at: datetime | None) -> Finding:
    return Finding(message=message, event=None, status=message.status, detail=detail, look_at=look_at)


def _again(message: DueMessage, detail: str, *, perhaps_sent: bool) -> Finding:
    return Finding(
        message=message,
        event=RecipientEvent.RETURN,
        status=MessageStatus.PENDING,
        detail=detail,
        perhaps_sent=perhaps_sent,
    )


_STATUS: Final[Mapping[Status, MessageStatus]] = {status: MessageStatus[status.name] for status in Status}


def _answered(message: DueMessage, answer: Found | Absent, sender: Sender) -> Finding:
    if isinstance(answer, Absent):
        return _again(message, "the provider does not have it", perhaps_sent=False)
    status = _STATUS[answer.receipt.status]
    receipts = sender.adapter.capabilities.receipts
    if status in NEGATIVE:
        event = RecipientEvent.FAIL
    elif status in (MessageStatus.DELIVERED, MessageStatus.READ) or not receipts:
        event = RecipientEvent.SUCCEED
    else:
        event = RecipientEvent.HAND_OVER
    return Finding(
        message=message,
        event=event,
        status=status,
        detail="found at the provider",
        code=None if answer.receipt.code is None else answer.receipt.code.value,
        look_at=message.attempted_at + sender.receipt_deadline if event is RecipientEvent.HAND_OVER else None,
    )
