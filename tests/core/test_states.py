"""The three machines: closed, merging in any order, and outcomes for all counts."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.progress import next_event
from gateway.core.states import (
    ACTIONS,
    FINAL_ACTIONS,
    MESSAGES,
    NEGATIVE,
    POSITIVE,
    RECIPIENTS,
    ActionEvent,
    ActionStatus,
    Counts,
    MessageStatus,
    RecipientState,
    merged,
    outcome,
)

REPORTED = [MessageStatus.ACCEPTED, MessageStatus.SENT, *sorted(NEGATIVE), *sorted(POSITIVE)]
number = st.integers(0, 5)
counts = st.builds(
    Counts,
    pending=number,
    in_flight=number,
    handed_over=number,
    succeeded=number,
    failed=number,
    skipped=number,
    unknown=number,
    cancelled=number,
)


@given(st.lists(st.sampled_from(REPORTED), max_size=8), st.randoms(use_true_random=False))
def test_receipts_merge_in_any_order_and_repetition_to_the_same_status(
    receipts: list[MessageStatus], chance: random.Random
) -> None:
    def played(order: list[MessageStatus]) -> MessageStatus:
        status = MessageStatus.SENDING
        for receipt in order:
            status = merged(status, receipt)
        return status

    shuffled = receipts + chance.sample(receipts, len(receipts) // 2)
    chance.shuffle(shuffled)
    assert played(shuffled) == played(receipts)


@given(st.sampled_from(sorted(POSITIVE)), st.sampled_from(sorted(NEGATIVE)))
def test_a_positive_receipt_beats_a_negative_whichever_comes_first(
    positive: MessageStatus, negative: MessageStatus
) -> None:
    assert merged(negative, positive) is positive
    assert merged(positive, negative) is positive


def test_the_message_table_never_lowers_a_status() -> None:
    assert all(after >= present for (present, _), after in MESSAGES.items())


def test_every_status_of_an_action_can_be_reached_from_queued() -> None:
    reached = {ActionStatus.QUEUED}
    while True:
        more = {after for (before, _), after in ACTIONS.items() if before in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(ActionStatus)


def test_an_ended_action_is_only_left_by_a_retry_or_by_counting_again() -> None:
    leaving = {event for (before, event) in ACTIONS if before in FINAL_ACTIONS}
    counting = {ActionEvent.SETTLE_COMPLETED, ActionEvent.SETTLE_PARTIAL, ActionEvent.SETTLE_FAILED}
    assert leaving == {ActionEvent.RETRY, *counting}
    assert {event for (before, event) in ACTIONS if before is ActionStatus.CANCELLED} == {ActionEvent.RETRY}


def test_every_state_of_a_recipient_can_be_reached_from_pending() -> None:
    reached = {RecipientState.PENDING}
    for _ in RecipientState:
        reached |= {after for (before, _), after in RECIPIENTS.items() if before in reached}
    assert reached == set(RecipientState)


@given(counts)
def test_the_outcome_is_one_of_three_for_all_counts(books: Counts) -> None:
    ended = outcome(books)
    if books.failed == books.unknown == 0:
        assert ended is ActionStatus.COMPLETED
    elif books.succeeded == books.unknown == 0:
        assert ended is ActionStatus.FAILED
    else:
        assert ended is ActionStatus.PARTIAL


@given(st.sampled_from(sorted(ActionStatus)), counts, st.booleans(), st.data())
def test_whatever_the_books_ask_for_is_in_the_table(
    status: ActionStatus, books: Counts, sends: bool, data: st.DataObject
) -> None:
    event = next_event(status, books, sends=sends, open_unknown=data.draw(st.integers(0, books.unknown)))
    assert event is None or (status, event) in ACTIONS


@given(counts)
def test_an_action_with_somebody_waiting_never_ends(books: Counts) -> None:
    for status in (ActionStatus.PROCESSING, ActionStatus.DELEGATED):
        event = next_event(status, books, sends=True, open_unknown=books.unknown)
        ends = event is not None and ACTIONS[status, event] in FINAL_ACTIONS
        assert not ends or books.pending + books.in_flight + books.handed_over + books.unknown == 0
