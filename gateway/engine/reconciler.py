"""The loop that finds out what became of attempts whose end nobody saw, and settles what no receipt will settle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from gateway.clock import Clock
from gateway.contract import Absent, Answer, CannotTell, Found, Outbound, Question
from gateway.core.content import MessageContent
from gateway.core.ids import MESSAGE, ActionId, MessageId, format_id
from gateway.core.retry import give_up
from gateway.core.states import MessageStatus, RecipientEvent
from gateway.core.template import MissingVariable, TemplateFault
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.composing import Composer, ContentPolicyFailed
from gateway.engine.rendering import verbatim
from gateway.engine.rulings import AGED
from gateway.engine.strangers import ask
from gateway.errors import StoreUnavailable
from gateway.store.codec import micros_of
from gateway.store.receipts import STATUSES, ReceiptContext
from gateway.store.recovery import UNCONFIRMED, DueMessage, Finding, Recovery

POLL: Final = timedelta(seconds=1)
ASK_AGAIN: Final = timedelta(minutes=5)  # a provider that could not tell is asked again after this
LOOKUP_SECONDS: Final = 30.0
ASKED_MAX: Final = 16  # questions to one provider before the others' messages are looked at again
ASKED_AT_ONCE: Final = 8  # of them; a provider's own limit holds for questions too
ASK_OTHERS: Final = timedelta(seconds=2)  # a message whose question had to stand back is looked at again after this
NOBODY_KNOWS: Final = "nobody knows whether it was sent"
LOST_SENDER: Final = timedelta(minutes=10)  # a sender that vanished from the file may come back


class Reconciler:
    """Runs until cancelled. `returned` is called with an action whose recipients went back to pending (None: singles),
    `look` when the books have moved.
    """

    def __init__(
        self,
        recovery: Recovery,
        catalogue: Catalogue,
        composer: Composer,
        clock: Clock,
        returned: Callable[[ActionId | None], None],
        look: Callable[[], None],
    ) -> None:
        self._recovery = recovery
        self._catalogue = catalogue
        self._composer = composer
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

    async def _settle(self, due: Sequence[DueMessage], now: datetime) -> None:
        answers = await self._owned(due, await self._ask_all(due, now))
        findings = [self._find(message, answers.get(message.id), now) for message in due]
        await self._recovery.resolve(findings, now)
        returned = {finding.message.action for finding in findings if finding.event is RecipientEvent.RETURN}
        for action in returned:
            self._returned(action)
        self._look()

    async def _ask_all(self, due: Sequence[DueMessage], now: datetime) -> Mapping[MessageId, Answer]:
        """What the providers say that can be asked: a few questions to each, and to all of them at once."""
        questions: dict[str, list[DueMessage]] = {}
        for message in due:
            sender = self._catalogue.sender_by_id(message.sender)
            if sender is not None and _askable(message, sender, now):
                questions.setdefault(sender.name, []).append(message)
        asked = [
            (message, self._catalogue.senders[name])
            for name, messages in questions.items()
            for message in messages[:ASKED_MAX]
        ]
        doors = {name: asyncio.Semaphore(ASKED_AT_ONCE) for name in questions}
        answers = await asyncio.gather(*(self._ask(message, sender, doors[sender.name]) for message, sender in asked))
        return {message.id: answer for (message, _), answer in zip(asked, answers, strict=True)}

    async def _owned(
        self, due: Sequence[DueMessage], answers: Mapping[MessageId, Answer]
    ) -> Mapping[MessageId, Answer]:
        """Without what is another message's: the same text to the same person looks the same at the provider."""
        found = [
            (message, (message.sender, id))
            for message in due
            if isinstance(answer := answers.get(message.id), Found)
            for id in answer.provider_ids
        ]
        owners = await self._recovery.owners([shown for _, shown in found]) if found else {}
        anothers = {
            message.id: CannotTell("the provider shows another message of ours")
            for message, shown in found
            if owners.setdefault(shown, message.id) != message.id
        }
        return {**answers, **anothers}

    async def _ask(self, message: DueMessage, sender: Sender, door: asyncio.Semaphore) -> Answer:
        question = Question(
            message=self._outbound(message), provider_ids=message.provider_ids, attempted_at=message.attempted_at
        )
        try:
            async with door, asyncio.timeout(LOOKUP_SECONDS):
                return await ask(sender.adapter.lookup(question))
        # A failed question leaves the message as it is; the adapter is a stranger's code and may raise anything.
        except Exception as exc:  # noqa: BLE001
            self._log.warning("lookup_failed", sender=sender.name, error=type(exc).__name__)
            return CannotTell(f"{type(exc).__name__}: {exc}")

    def _find(self, message: DueMessage, answer: Answer | None, now: datetime) -> Finding:
        sender = self._catalogue.sender_by_id(message.sender)
        if sender is None:
            return _stay(message, "its sender is not configured", now + LOST_SENDER)
        if answer is None and _askable(message, sender, now):
            return _stay(message, "the provider is asked about others first", now + ASK_OTHERS)
        if isinstance(answer, Found):
            return _found(message, answer, sender, now)
        if message.status is MessageStatus.UNKNOWN:
            return _find_unknown(message, sender, answer, now)
        deadline = message.attempted_at + sender.receipt_deadline
        if now < deadline:
            return _stay(message, "no receipt has come yet", _ask_next(message, deadline, now))
        return Finding(
            message=message,
            event=RecipientEvent.SUCCEED,
            status=message.status,
            detail=UNCONFIRMED,
            code="unconfirmed",
            unconfirmed=True,
        )

    def _outbound(self, message: DueMessage) -> Outbound:
        """The message as it was sent: from its frozen variables, or its stored texts."""
        if message.action_message is None:
            return verbatim(message.id, message.attempt, message.address, message.content or {})
        content = self._composer.compile(msgspec.convert(message.action_message, MessageContent))
        try:
            return content.render(message.id, message.attempt, message.address, message.variables)
        except (MissingVariable, TemplateFault, ContentPolicyFailed):
            return verbatim(message.id, message.attempt, message.address, {})


def _askable(message: DueMessage, sender: Sender, now: datetime) -> bool:
    """Whether the provider can be asked about this message, and has had the time to know."""
    capabilities = sender.adapter.capabilities
    return capabilities.lookup and now >= message.attempted_at + capabilities.lookup_settle


def _find_unknown(message: DueMessage, sender: Sender, answer: Answer | None, now: datetime) -> Finding:
    """By the provider's answer; else repeat where a repeat is one message; else the sender's `on_unknown`."""
    capabilities = sender.adapter.capabilities
    if capabilities.lookup and answer is None:
        settled_at = message.attempted_at + capabilities.lookup_settle
        return _stay(message, "the provider is asked when it has had time to know", settled_at)
    if isinstance(answer, Absent):
        return _again(message, "the provider does not have it", perhaps_sent=False)
    age = now - message.attempted_at
    if capabilities.idempotent_for is not None and age < capabilities.idempotent_for:
        return _again(message, "sent again under the same idempotency key", perhaps_sent=True)
    if sender.on_unknown == "resend" and not give_up(message.created_at, now, sender.retry_for):
        return _again(message, "sent again, it may arrive twice (on_unknown = resend)", perhaps_sent=True)
    deadline = message.attempted_at + sender.receipt_deadline
    if now >= deadline:
        return _stay(message, NOBODY_KNOWS, None)
    return _stay(message, NOBODY_KNOWS, min(deadline, now + ASK_AGAIN) if capabilities.lookup else deadline)


def _found(message: DueMessage, answer: Found, sender: Sender, now: datetime) -> Finding:
    """The provider has it: what it says is a receipt like any other."""
    deadline = message.attempted_at + sender.receipt_deadline
    receipt = msgspec.structs.replace(
        answer.receipt,
        ref=format_id(MESSAGE, message.id),
        provider_ids=answer.provider_ids or answer.receipt.provider_ids,
    )
    status = STATUSES[receipt.status]
    unfinished = sender.awaits_receipts and status in (MessageStatus.ACCEPTED, MessageStatus.SENT)
    return Finding(
        message=message,
        event=None,
        status=status,
        detail="found at the provider",
        receipt=receipt,
        context=ReceiptContext(
            sender=sender.id,
            org=sender.org.id,
            awaits_receipts=sender.awaits_receipts,
            receipt_deadline=micros_of(sender.receipt_deadline),
        ),
        look_at=_ask_next(message, deadline, now) if unfinished and now < deadline else None,
        unconfirmed=unfinished and now >= deadline,
    )


def _ask_next(message: DueMessage, deadline: datetime, now: datetime) -> datetime:
    """When a message without its last receipt is asked about again: at twice its age, and at its deadline."""
    return min(deadline, now + max(AGED, now - message.attempted_at))


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
