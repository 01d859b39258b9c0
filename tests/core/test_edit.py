"""What may be changed when, in the words of the API."""

from __future__ import annotations

import pytest

from gateway.core.edit import BATCH_QUANTITY, allowed, edit_refusal
from gateway.core.states import FINAL_ACTIONS, ActionStatus

EVERYTHING = frozenset({"label", "schedule.start_at", "message.body", BATCH_QUANTITY})


@pytest.mark.parametrize(
    ("status", "paused_from", "changed", "code"),
    [
        (ActionStatus.QUEUED, None, EVERYTHING, None),
        (ActionStatus.QUEUED, None, {"recipients"}, "recipients_not_editable"),
        (ActionStatus.QUEUED, None, {"operation"}, "recipients_not_editable"),
        (ActionStatus.PROCESSING, None, {BATCH_QUANTITY}, None),
        (ActionStatus.PROCESSING, None, {"label"}, "only_batch_quantity_editable"),
        (ActionStatus.PROCESSING, None, {BATCH_QUANTITY, "label"}, "only_batch_quantity_editable"),
        (ActionStatus.PAUSED, ActionStatus.QUEUED, EVERYTHING, None),
        (ActionStatus.PAUSED, ActionStatus.PROCESSING, {"label"}, "only_batch_quantity_editable"),
        (ActionStatus.PAUSED, ActionStatus.PROCESSING, {BATCH_QUANTITY}, None),
        (ActionStatus.DELEGATED, None, {BATCH_QUANTITY}, "nothing_left_to_send"),
        *((status, None, {"label"}, "completed_not_editable") for status in sorted(FINAL_ACTIONS)),
    ],
)
def test_an_edit_is_judged_by_the_state(
    status: ActionStatus, paused_from: ActionStatus | None, changed: set[str], code: str | None
) -> None:
    refusal = edit_refusal(status, paused_from, frozenset(changed))
    assert (None if refusal is None else refusal[0]) == code


@pytest.mark.parametrize("status", list(ActionStatus))
def test_an_edit_that_changes_nothing_is_never_refused(status: ActionStatus) -> None:
    assert edit_refusal(status, ActionStatus.QUEUED, frozenset()) is None


def test_the_sentences_are_those_that_programs_know() -> None:
    completed = edit_refusal(ActionStatus.COMPLETED, None, frozenset({"label"}))
    processing = edit_refusal(ActionStatus.PROCESSING, None, frozenset({"label"}))
    assert completed is not None
    assert processing is not None
    assert completed[1] == "Completed bulk actions cannot be edited"
    assert processing[1] == "Only batch quantity is editable once processing begins"


def test_what_is_allowed_is_never_refused() -> None:
    for status in ActionStatus:
        can = allowed(status, ActionStatus.QUEUED, "send_message", "drip")
        if "edit" in can:
            assert edit_refusal(status, ActionStatus.QUEUED, EVERYTHING) is None
        if "edit_batch_quantity" in can:
            assert edit_refusal(status, ActionStatus.PROCESSING, frozenset({BATCH_QUANTITY})) is None


def test_only_a_drip_has_a_batch_quantity_to_edit() -> None:
    assert "edit_batch_quantity" in allowed(ActionStatus.PROCESSING, None, "send_message", "drip")
    assert "edit_batch_quantity" not in allowed(ActionStatus.PROCESSING, None, "send_message", "now")
