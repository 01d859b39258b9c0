"""When a bulk action goes on by itself: one total function of its books."""

from __future__ import annotations

from typing import Final

from gateway.core.states import SETTLING, ActionEvent, ActionStatus, Counts, outcome

FAILURES_MAX: Final = 20  # in a row, with no success between, and not the recipients' own: then the action pauses
_RECOMPUTED: Final = (ActionStatus.COMPLETED, ActionStatus.PARTIAL, ActionStatus.FAILED)


def next_event(status: ActionStatus, counts: Counts, *, sends: bool, open_unknown: int) -> ActionEvent | None:
    """What the books ask of the action now; None if it stays as it is.

    `sends`: the operation sends messages, so that receipts may follow. `open_unknown` is the part of `counts.unknown`
    whose deadline has not passed. The caller has made sure that the snapshot is complete.
    """
    if status is ActionStatus.DELEGATED and counts.pending + counts.in_flight > 0:
        return ActionEvent.SEND_AGAIN
    if status is ActionStatus.PROCESSING and counts.pending + counts.in_flight == 0:
        if sends and counts.handed_over + open_unknown > 0:
            return ActionEvent.DRAIN
        return SETTLING[outcome(counts)]
    if status is ActionStatus.DELEGATED and counts.handed_over + open_unknown == 0:
        return SETTLING[outcome(counts)]
    if status in _RECOMPUTED and outcome(counts) is not status:
        return SETTLING[outcome(counts)]
    return None
