"""What a receipt does to a message and to its recipient. Pure; order and repetition of receipts do not matter."""

from __future__ import annotations

from typing import Final

from gateway.core.states import NEGATIVE, POSITIVE, RECIPIENTS, MessageStatus, RecipientEvent, RecipientState, merged

REPORTABLE: Final = frozenset({MessageStatus.ACCEPTED, MessageStatus.SENT}) | NEGATIVE | POSITIVE
"""What a provider may say of a message."""


def after_receipt(present: MessageStatus, reported: MessageStatus) -> MessageStatus:
    """The status of a message after a receipt.

    A message that waits for another attempt is not ended by bad news of an earlier one (`is_too_early`), but good news
    spares it the attempt: somebody has it. Inbound messages have no receipts. ValueError: no provider reports such a
    status.
    """
    if reported not in REPORTABLE:
        raise ValueError(f"{reported.label} is nothing that a receipt can say")
    if present is MessageStatus.RECEIVED or is_too_early(present, reported):
        return present
    return merged(present, reported)


def is_too_early(present: MessageStatus, reported: MessageStatus) -> bool:
    """Whether a receipt says nothing yet: it counts if good news of the same attempt spare the message another one."""
    return present is MessageStatus.PENDING and reported in NEGATIVE


def recipient_event(state: RecipientState, message: MessageStatus, *, awaits_receipts: bool) -> RecipientEvent | None:
    """What the message's new status means for the recipient in `state`; None: nothing, or nothing any more.

    `awaits_receipts`: the sender's adapter promises receipts, so `accepted` and `sent` are not the end.
    """
    if message in POSITIVE:
        event = RecipientEvent.SUCCEED
    elif message in NEGATIVE:
        event = RecipientEvent.FAIL
    elif message in (MessageStatus.ACCEPTED, MessageStatus.SENT):
        event = RecipientEvent.HAND_OVER if awaits_receipts else RecipientEvent.SUCCEED
    else:
        return None
    return event if (state, event) in RECIPIENTS else None
