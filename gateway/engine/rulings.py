"""What an adapter's answer means for the message, its recipient and its sender: one table of decisions, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from gateway.contract import Accepted, Misconfigured, OptedOut, Outcome, Rejected, Retry, Unknown
from gateway.core.retry import backoff, give_up
from gateway.core.states import MessageStatus, RecipientEvent
from gateway.engine.catalogue import Sender
from gateway.store.codec import micros_of, to_micros
from gateway.store.turn import Ruling

AGED = timedelta(hours=1)  # a message without its last receipt is asked about after this, where it can be asked about
UNKNOWN_RESEND_AFTER = timedelta(seconds=60)  # an answer that was late by less may still be read in a receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """Our own word for `NotSent`: no byte can have arrived. The sender is at fault, not the message."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldWish:
    """The sender must not go on. `after`: the provider said when to come back."""

    kind: Literal["misconfigured", "outage"]
    detail: str
    after: timedelta | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`hold`: hold the sender. `pause`: pause the action, for this reason. `healthy`: the provider did answer us."""

    ruling: Ruling
    not_before: int | None = None
    provider_ids: tuple[str, ...] = ()
    hold: HoldWish | None = None
    pause: str | None = None
    healthy: bool = True


class Rulings:
    """The rulings of one sender. The common ones are made once and shared by all results."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        capabilities = sender.adapter.capabilities
        receipts = sender.awaits_receipts
        patience = min(sender.receipt_deadline, AGED) if capabilities.lookup else sender.receipt_deadline
        self._accepted = Ruling(
            status=MessageStatus.ACCEPTED,
            event=RecipientEvent.HAND_OVER if receipts else RecipientEvent.SUCCEED,
            due_after=micros_of(patience) if receipts else None,
        )
        self._lookup_after = capabilities.lookup_settle if capabilities.lookup else UNKNOWN_RESEND_AFTER

    def decide(
        self, outcome: Outcome | Unreached, attempt: int, first_attempt_at: datetime, now: datetime, random_unit: float
    ) -> Decision:
        """`attempt` counts from 1; `random_unit` is from [0, 1) and spreads the retries."""
        match outcome:
            case Accepted():
                return Decision(ruling=self._accepted, provider_ids=outcome.provider_ids)
            case Unreached():
                return Decision(ruling=_back(outcome.reason, counts=False), healthy=False)
            case Retry(scope="sender"):
                hold = HoldWish(kind="outage", detail=outcome.reason, after=outcome.after)
                return Decision(ruling=_back(outcome.reason, counts=False), hold=hold, healthy=False)
            case Retry():
                return self._retry(outcome, attempt, first_attempt_at, now, random_unit)
            case Rejected():
                return Decision(ruling=_rejected(outcome))
            case OptedOut():
                return Decision(ruling=_opted_out(outcome))
            case Misconfigured(scope="action"):
                return Decision(ruling=_back(outcome.reason, counts=False), pause=outcome.reason)
            case Misconfigured():
                hold = HoldWish(kind="misconfigured", detail=outcome.reason)
                return Decision(ruling=_back(outcome.reason, counts=False), hold=hold)
            case Unknown():
                return Decision(ruling=self._unknown(outcome.reason), healthy=False)

    def _unknown(self, reason: str) -> Ruling:
        return Ruling(
            status=MessageStatus.UNKNOWN,
            event=RecipientEvent.LOSE_SIGHT,
            reason=reason,
            due_after=micros_of(self._lookup_after),
        )

    def _retry(
        self, outcome: Retry, attempt: int, first_attempt_at: datetime, now: datetime, random_unit: float
    ) -> Decision:
        again_at = now + backoff(attempt, random_unit, outcome.after)
        if give_up(first_attempt_at, again_at, self._sender.retry_for):
            reason = f"Given up after {attempt} attempts; the last answer: {outcome.reason}"
            return Decision(
                ruling=Ruling(status=MessageStatus.FAILED, event=RecipientEvent.FAIL, code="gave_up", reason=reason)
            )
        return Decision(ruling=_back(outcome.reason, counts=True), not_before=to_micros(again_at))


def _back(reason: str, *, counts: bool) -> Ruling:
    return Ruling(status=MessageStatus.PENDING, event=RecipientEvent.RETURN, counts_as_attempt=counts, reason=reason)


def _rejected(outcome: Rejected) -> Ruling:
    return Ruling(
        status=MessageStatus.FAILED,
        event=RecipientEvent.FAIL,
        code=outcome.code.value,
        reason=outcome.reason,
        provider_code=outcome.provider_code,
        suppress="bounce" if outcome.address_dead else None,
    )


def _opted_out(outcome: OptedOut) -> Ruling:
    return Ruling(
        status=MessageStatus.FAILED,
        event=RecipientEvent.REFUSE,
        code="opted_out",
        reason=outcome.reason,
        suppress="provider",
        suppress_category=outcome.category or "all",
    )
