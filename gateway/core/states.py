"""The three state machines, as tables: `{(state, event): next state}`. Whatever is not in a table cannot happen.

The diagrams in `docs/states.md` are drawn from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class ActionStatus(StrEnum):
    """Where a bulk action stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    DELEGATED = "delegated"
    PAUSED = "paused"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_ACTIONS: Final = frozenset(
    {ActionStatus.COMPLETED, ActionStatus.PARTIAL, ActionStatus.FAILED, ActionStatus.CANCELLED}
)


class ActionEvent(StrEnum):
    """What moves a bulk action."""

    RELEASE = "release"
    """The first batch is released, in the same transaction."""
    DRAIN = "drain"
    """`send_message` has nobody pending and nobody in flight; receipts are still to come."""
    SEND_AGAIN = "send_again"
    """An unknown recipient of a delegated action goes back to pending."""
    SETTLE_COMPLETED = "settle_completed"
    SETTLE_PARTIAL = "settle_partial"
    SETTLE_FAILED = "settle_failed"
    PAUSE = "pause"
    RESUME_QUEUED = "resume_queued"
    RESUME_PROCESSING = "resume_processing"
    CANCEL = "cancel"
    RETRY = "retry"


def _action_table() -> Mapping[tuple[ActionStatus, ActionEvent], ActionStatus]:
    status, event = ActionStatus, ActionEvent
    table = {
        (status.QUEUED, event.RELEASE): status.PROCESSING,
        (status.PROCESSING, event.DRAIN): status.DELEGATED,
        (status.DELEGATED, event.SEND_AGAIN): status.PROCESSING,
        (status.QUEUED, event.PAUSE): status.PAUSED,
        (status.PROCESSING, event.PAUSE): status.PAUSED,
        (status.PAUSED, event.RESUME_QUEUED): status.QUEUED,
        (status.PAUSED, event.RESUME_PROCESSING): status.PROCESSING,
        (status.QUEUED, event.CANCEL): status.CANCELLED,
        (status.PROCESSING, event.CANCEL): status.CANCELLED,
        (status.PAUSED, event.CANCEL): status.CANCELLED,
    }
    outcomes = {
        event.SETTLE_COMPLETED: status.COMPLETED,
        event.SETTLE_PARTIAL: status.PARTIAL,
        event.SETTLE_FAILED: status.FAILED,
    }
    recomputed = (status.COMPLETED, status.PARTIAL, status.FAILED)
    for settled, outcome in outcomes.items():
        table |= {(before, settled): outcome for before in (status.PROCESSING, status.DELEGATED, *recomputed)}
    table |= {(final, event.RETRY): status.PROCESSING for final in sorted(FINAL_ACTIONS)}
    return MappingProxyType(table)


ACTIONS: Final = _action_table()


class RecipientState(IntEnum):
    """Where one recipient stands: stored as this integer, shown as the lower-case name.

    The order matters to the store: everything from `FAILED` on is what its short partial index holds.
    """

    PENDING = 0
    IN_FLIGHT = 1
    HANDED_OVER = 2
    SUCCEEDED = 3
    FAILED = 4
    SKIPPED = 5
    UNKNOWN = 6
    CANCELLED = 7

    @property
    def label(self) -> str:
        """The name in JSON, logs and documentation: `handed_over`."""
        return self.name.lower()


class RecipientEvent(StrEnum):
    """What moves a recipient."""

    INTENT = "intent"
    """The message is on disk as `sending`; the provider may be asked from now on."""
    REFUSE = "refuse"
    """A rule says no: opted out, duplicate, already done, deleted."""
    FAIL = "fail"
    HAND_OVER = "hand_over"
    """The provider has it; a receipt is still to come. From pending where a receipt proves an earlier attempt."""
    SUCCEED = "succeed"
    RETURN = "return"
    """Certainly not sent; to be tried again."""
    LOSE_SIGHT = "lose_sight"
    """It may have been sent: nobody knows. From pending where it was to be sent again, and is cancelled."""
    CANCEL = "cancel"
    RETRY = "retry"
    """A person asks for it again, in the next round."""


def _recipient_table() -> Mapping[tuple[RecipientState, RecipientEvent], RecipientState]:
    state, event = RecipientState, RecipientEvent
    table = {
        (state.PENDING, event.INTENT): state.IN_FLIGHT,
        (state.PENDING, event.REFUSE): state.SKIPPED,
        (state.PENDING, event.FAIL): state.FAILED,
        (state.PENDING, event.SUCCEED): state.SUCCEEDED,
        (state.PENDING, event.CANCEL): state.CANCELLED,
        (state.PENDING, event.LOSE_SIGHT): state.UNKNOWN,
        (state.PENDING, event.HAND_OVER): state.HANDED_OVER,
        (state.IN_FLIGHT, event.HAND_OVER): state.HANDED_OVER,
        (state.IN_FLIGHT, event.SUCCEED): state.SUCCEEDED,
        (state.IN_FLIGHT, event.FAIL): state.FAILED,
        (state.IN_FLIGHT, event.REFUSE): state.SKIPPED,
        (state.IN_FLIGHT, event.RETURN): state.PENDING,
        (state.IN_FLIGHT, event.LOSE_SIGHT): state.UNKNOWN,
        (state.IN_FLIGHT, event.CANCEL): state.CANCELLED,
        (state.HANDED_OVER, event.SUCCEED): state.SUCCEEDED,
        (state.HANDED_OVER, event.FAIL): state.FAILED,
        (state.SUCCEEDED, event.FAIL): state.FAILED,
        (state.FAILED, event.SUCCEED): state.SUCCEEDED,
        (state.UNKNOWN, event.HAND_OVER): state.HANDED_OVER,
        (state.UNKNOWN, event.SUCCEED): state.SUCCEEDED,
        (state.UNKNOWN, event.FAIL): state.FAILED,
        (state.UNKNOWN, event.RETURN): state.PENDING,
        (state.UNKNOWN, event.CANCEL): state.CANCELLED,
    }
    retryable = (state.FAILED, state.SKIPPED, state.UNKNOWN, state.CANCELLED)
    table |= {(before, event.RETRY): state.PENDING for before in retryable}
    return MappingProxyType(table)


RECIPIENTS: Final = _recipient_table()


class MessageStatus(IntEnum):
    """Where a message stands: stored as this integer, shown as the lower-case name.

    The value is also its rank when receipts merge: a receipt may only raise it (`merged`).
    """

    PENDING = 0
    SENDING = 1
    UNKNOWN = 2
    ACCEPTED = 3
    SENT = 4
    CANCELLED = 5
    FAILED = 6
    EXPIRED = 7
    UNDELIVERED = 8
    BOUNCED = 9
    DELIVERED = 10
    READ = 11
    RECEIVED = 12
    """Inbound; it has no further life."""

    @property
    def label(self) -> str:
        """The name in JSON, logs and documentation: `undelivered`."""
        return self.name.lower()


NEGATIVE: Final = frozenset(
    {
        MessageStatus.FAILED,
        MessageStatus.UNDELIVERED,
        MessageStatus.BOUNCED,
        MessageStatus.EXPIRED,
        MessageStatus.CANCELLED,
    }
)
POSITIVE: Final = frozenset({MessageStatus.DELIVERED, MessageStatus.READ})


def merged(present: MessageStatus, receipt: MessageStatus) -> MessageStatus:
    """The status after a receipt: the higher rank wins, so order and repetition of receipts do not matter.

    Positives rank above negatives: a late `delivered` mends a `failed`, and `delivered` never turns negative. Among
    negatives the more telling one stays (`bounced` says more than `failed`).
    """
    return max(present, receipt)


def _message_table() -> Mapping[tuple[MessageStatus, MessageStatus], MessageStatus]:
    """Every (present, receipt) pair: the event of this machine is the status that a provider reports."""
    reported = [MessageStatus.ACCEPTED, MessageStatus.SENT, *sorted(NEGATIVE), *sorted(POSITIVE)]
    live = [status for status in MessageStatus if status not in (MessageStatus.PENDING, MessageStatus.RECEIVED)]
    return MappingProxyType({(present, receipt): merged(present, receipt) for present in live for receipt in reported})


MESSAGES: Final = _message_table()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many recipients of an action, or of a batch, are in each state. They always add up to `total`.

    `unconfirmed` is the part of `succeeded` whose receipt never came; it is not added to the sum.
    """

    pending: int = 0
    in_flight: int = 0
    handed_over: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    cancelled: int = 0
    unconfirmed: int = 0

    @property
    def total(self) -> int:
        return (
            self.pending
            + self.in_flight
            + self.handed_over
            + self.succeeded
            + self.failed
            + self.skipped
            + self.unknown
            + self.cancelled
        )


def outcome(counts: Counts) -> ActionStatus:
    """How an action ended: total over all counts, called when nobody is pending, in flight or handed over.

    Nobody failed and nobody is unknown: completed, also when everybody was skipped. Nobody succeeded and nobody is
    unknown: failed. Everything else: partial.
    """
    if counts.failed == 0 and counts.unknown == 0:
        return ActionStatus.COMPLETED
    if counts.succeeded == 0 and counts.unknown == 0:
        return ActionStatus.FAILED
    return ActionStatus.PARTIAL


SETTLING: Final[Mapping[ActionStatus, ActionEvent]] = MappingProxyType(
    {
        ActionStatus.COMPLETED: ActionEvent.SETTLE_COMPLETED,
        ActionStatus.PARTIAL: ActionEvent.SETTLE_PARTIAL,
        ActionStatus.FAILED: ActionEvent.SETTLE_FAILED,
    }
)
