"""What may be done to a bulk action in each of its states, as tables; and the words of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from gateway.core.states import FINAL_ACTIONS, ActionStatus

BATCH_QUANTITY: Final = "schedule.drip.batch_quantity"
_NEVER: Final = frozenset({"recipients", "operation", "parameters"})


class Refusal(NamedTuple):
    """A code of the API and its sentence."""

    code: str
    detail: str


_COMPLETED: Final = Refusal("completed_not_editable", "Completed bulk actions cannot be edited")
_BATCH_ONLY: Final = Refusal("only_batch_quantity_editable", "Only batch quantity is editable once processing begins")
_NOTHING_LEFT: Final = Refusal("nothing_left_to_send", "Everything has been handed over: nothing is left to send")
_RECIPIENTS: Final = Refusal(
    "recipients_not_editable",
    "Recipients and operation are fixed when a bulk action is created; cancel it and create another",
)

_ALLOWED: Final[Mapping[ActionStatus, tuple[str, ...]]] = MappingProxyType(
    {
        ActionStatus.QUEUED: ("edit", "pause", "cancel"),
        ActionStatus.PROCESSING: ("pause", "cancel"),
        ActionStatus.DELEGATED: (),
        ActionStatus.PAUSED: ("resume", "cancel"),
        ActionStatus.COMPLETED: ("retry",),
        ActionStatus.PARTIAL: ("retry", "resolve"),
        ActionStatus.FAILED: ("retry", "resolve"),
        ActionStatus.CANCELLED: ("retry", "resolve"),
    }
)


def allowed(status: ActionStatus, paused_from: ActionStatus | None, operation: str, mode: str) -> tuple[str, ...]:
    """What a person may do now. `mode` is the schedule's; only a drip has a batch quantity."""
    actions = _ALLOWED[status]
    editing = paused_from if status is ActionStatus.PAUSED else status
    if status is ActionStatus.PAUSED and editing is ActionStatus.QUEUED:
        actions = ("edit", *actions)
    if editing is ActionStatus.PROCESSING and mode == "drip":
        actions = ("edit_batch_quantity", *actions)
    if status is ActionStatus.DELEGATED and operation == "send_message":
        actions = (*actions, "resolve")
    return actions


def edit_refusal(
    status: ActionStatus, paused_from: ActionStatus | None, changed: frozenset[str]
) -> tuple[str, str] | None:
    """Why these fields cannot be changed now, as (code, sentence); None if they can.

    `changed` holds dotted names (`"schedule.drip.batch_quantity"`, `"label"`, `"message"`) of the fields whose value
    would differ; an edit that changes nothing is never refused.
    """
    if not changed:
        return None
    if status in FINAL_ACTIONS:
        return _COMPLETED
    if changed & _NEVER:
        return _RECIPIENTS
    if status is ActionStatus.DELEGATED:
        return _NOTHING_LEFT
    editing = paused_from if status is ActionStatus.PAUSED else status
    if editing is ActionStatus.PROCESSING and changed != {BATCH_QUANTITY}:
        return _BATCH_ONLY
    return None
