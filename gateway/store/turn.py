"""What one turn of a sender writes, as values: results, refusals, deferrals and intents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.contract import Channel
from gateway.core.ids import ActionId, ContactKey, MessageId, OrgId, SenderId
from gateway.core.states import MessageStatus, RecipientEvent
from gateway.store.receipts import ReceiptContext

SOURCES: Final = ("bulk_action", "api", "reply", "campaign", "opt_out_reply", "test", "notice", "inbound")
"""Why a message exists; the column holds the position. `notice` is a word to the operator."""


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a message and its recipient after one attempt. Many results share one ruling."""

    status: MessageStatus
    event: RecipientEvent
    counts_as_attempt: bool = True  # false where the sender, not the message, was at fault
    code: str | None = None
    reason: str | None = None
    provider_code: str | None = None
    due_after: int | None = None  # microseconds until the reconciler must look at the message
    suppress: str | None = None  # record an opt-out of this address: where the wish comes from
    suppress_category: str = "all"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that ended. `not_before` (microseconds) only where the message itself must wait."""

    message: MessageId
    action: ActionId | None
    seq: int | None
    ruling: Ruling
    not_before: int | None = None
    provider_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecipient:
    """A recipient that the gate will not send to. `round` and `seen_batch`: as an intent's, see there."""

    action: ActionId
    round: int
    seq: int
    seen_batch: int | None
    batch: int
    event: RecipientEvent  # REFUSE or FAIL
    code: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredRecipient:
    """A recipient that must wait. `leaves`: in a drip, who was never tried leaves the batch, and later takes a place
    like anybody; else it stays where it is. `returns`: who leaves need not wait, its own window says when it may go.
    """

    action: ActionId
    seq: int
    batch: int | None  # as it was seen
    leaves: bool
    not_before: int
    returns: bool = False


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One message about to be handed over. `seen_*`: what it was prepared from; if that changed, it is not granted."""

    message: MessageId
    seq: int
    again: bool  # the message exists already: a further attempt
    address: str
    contact: ContactKey | None
    seen_contact: int | None  # contacts.updated_at
    seen_batch: int | None
    batch: int
    variables: str | None
    segments: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionIntents:
    """The intents of one bulk action in one turn."""

    action: ActionId
    round: int  # in which they were prepared
    category: str
    skip_duplicates: bool
    intents: Sequence[Intent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One transaction of one sender."""

    sender: SenderId
    org: OrgId
    channel: Channel
    receipts: ReceiptContext
    now: int
    day: str  # of the org's time zone, for the daily totals
    org_cap: int | None = None  # messages a day over all senders of the org
    node: str
    lease_until: int
    results: Sequence[Result] = ()
    refused: Sequence[RefusedRecipient] = ()
    deferred: Sequence[DeferredRecipient] = ()
    bulk: Sequence[ActionIntents] = ()
    singles: Sequence[MessageId] = ()
    tokens: float
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The messages that may now be handed to the provider."""

    messages: frozenset[MessageId]
    look: bool = False  # the scheduler was asked to look
    changed: frozenset[tuple[ActionId, int]] = frozenset()  # neither refused nor deferred: not as they were seen
    org_sent: int = 0  # today over all senders of the org, these included; counted only where there is a cap
