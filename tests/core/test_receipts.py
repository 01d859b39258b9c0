"""What receipts do to messages and recipients: any order and any repetition ends in the same state."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.receipts import REPORTABLE, after_receipt, recipient_event
from gateway.core.states import NEGATIVE, POSITIVE, RECIPIENTS, MessageStatus, RecipientEvent, RecipientState

LIVE = [status for status in MessageStatus if status is not MessageStatus.RECEIVED]
reported = st.sampled_from(sorted(REPORTABLE))


def after_all(present: MessageStatus, receipts: list[MessageStatus]) -> MessageStatus:
    for receipt in receipts:
        present = after_receipt(present, receipt)
    return present


@given(st.sampled_from([s for s in LIVE if s is not MessageStatus.PENDING]), st.lists(reported, max_size=6), st.data())
def test_order_and_repetition_of_receipts_do_not_matter(
    present: MessageStatus, receipts: list[MessageStatus], data: st.DataObject
) -> None:
    repeated = data.draw(st.permutations([*receipts, *receipts]))
    assert after_all(present, receipts) is after_all(present, repeated)


@given(st.sampled_from(LIVE), st.lists(reported, max_size=6))
def test_a_status_never_goes_back(present: MessageStatus, receipts: list[MessageStatus]) -> None:
    assert after_all(present, receipts) >= present


def test_a_late_delivery_mends_a_failure_and_nothing_mends_a_delivery() -> None:
    for negative, positive in itertools.product(NEGATIVE, POSITIVE):
        assert after_receipt(negative, positive) is positive
        assert after_receipt(positive, negative) is positive


def test_bad_news_of_an_earlier_attempt_does_not_end_a_message_that_is_to_be_tried_again() -> None:
    for negative in NEGATIVE:
        assert after_receipt(MessageStatus.PENDING, negative) is MessageStatus.PENDING
    assert after_receipt(MessageStatus.PENDING, MessageStatus.SENT) is MessageStatus.SENT


def test_an_inbound_message_has_no_receipts() -> None:
    for receipt in REPORTABLE:
        assert after_receipt(MessageStatus.RECEIVED, receipt) is MessageStatus.RECEIVED


@pytest.mark.parametrize("status", sorted(set(MessageStatus) - REPORTABLE))
def test_no_provider_reports_our_own_statuses(status: MessageStatus) -> None:
    with pytest.raises(ValueError, match="nothing that a receipt can say"):
        after_receipt(MessageStatus.ACCEPTED, status)


@given(st.sampled_from(list(RecipientState)), st.sampled_from(LIVE), st.booleans())
def test_a_recipient_moves_only_where_the_table_has_a_way(
    state: RecipientState, message: MessageStatus, awaits: bool
) -> None:
    event = recipient_event(state, message, awaits_receipts=awaits)
    assert event is None or (state, event) in RECIPIENTS


@pytest.mark.parametrize(
    ("state", "message", "awaits", "event"),
    [
        (RecipientState.IN_FLIGHT, MessageStatus.SENT, True, RecipientEvent.HAND_OVER),
        (RecipientState.IN_FLIGHT, MessageStatus.SENT, False, RecipientEvent.SUCCEED),
        (RecipientState.HANDED_OVER, MessageStatus.SENT, True, None),
        (RecipientState.HANDED_OVER, MessageStatus.DELIVERED, True, RecipientEvent.SUCCEED),
        (RecipientState.HANDED_OVER, MessageStatus.EXPIRED, True, RecipientEvent.FAIL),
        (RecipientState.SUCCEEDED, MessageStatus.BOUNCED, False, RecipientEvent.FAIL),
        (RecipientState.FAILED, MessageStatus.READ, True, RecipientEvent.SUCCEED),
        (RecipientState.UNKNOWN, MessageStatus.ACCEPTED, True, RecipientEvent.HAND_OVER),
        (RecipientState.PENDING, MessageStatus.FAILED, True, RecipientEvent.FAIL),  # after good news that spared it
        (RecipientState.PENDING, MessageStatus.DELIVERED, True, RecipientEvent.SUCCEED),
        (RecipientState.CANCELLED, MessageStatus.DELIVERED, True, None),
        (RecipientState.SKIPPED, MessageStatus.DELIVERED, True, None),
    ],
)
def test_what_a_status_means_for_a_recipient(
    state: RecipientState, message: MessageStatus, awaits: bool, event: RecipientEvent | None
) -> None:
    assert recipient_event(state, message, awaits_receipts=awaits) is event
