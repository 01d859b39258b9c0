"""What must hold of every intent: whatever forbids it and was committed before is seen by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

import msgspec

from gateway.core.content import MessageContent
from gateway.core.ids import MESSAGE, format_id
from gateway.core.schedule import Drip, Schedule
from gateway.core.states import ActionStatus, RecipientState
from gateway.core.window import zone_named
from gateway.store.codec import from_micros
from tests.simulation.picture import ActionRow, MessageRow, Picture, RecipientRow

# Sources that no opt-out stops: its own confirmation, a test, a word to the operator.
UNGATED: Final = frozenset({4, 5, 6})
NIGHT: Final = (21 * 60, 8 * 60)  # minutes of the day
JUDGED_BEFORE: Final = timedelta(seconds=10)  # what a policy has said holds for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is not in the rows."""

    latest: int  # the latest instant that the clock has shown, in microseconds
    quiet: bool  # nobody is written to in the night
    held: frozenset[int]  # senders that are held for longer than this instant
    per_day: int | None  # messages to one person in 24 hours
    counted: frozenset[int]  # messages that were accepted before anybody was judged for this intent


def faults_of_intent(before: Picture, row: MessageRow, found: Circumstances) -> list[str]:
    """`row` is about to be sent, and `before` was committed earlier."""
    about = f"{format_id(MESSAGE, row.id)} to {row.address} is sent"
    faults = [*_of_any(before, row, found)]
    if row.action is not None and row.seq is not None:
        action, recipient = before.bulk_actions[row.action,], before.recipients[row.action, row.seq]
        faults += [*_of_bulk(action, recipient, row, found), *_of_contact(before, action, row, found)]
    return [f"{about} {fault}" for fault in faults]


def _of_any(before: Picture, row: MessageRow, found: Circumstances) -> Iterator[str]:
    if row.sender in found.held:
        yield "though its sender is held"
    wishes = [
        wish
        for wish in before.opt_outs.values()
        if (wish.address or "").lower() == row.address.lower() or (row.contact and wish.contact == row.contact)
    ]
    if row.source not in UNGATED and any(wish.category in ("all", row.category or "general") for wish in wishes):
        yield "after an opt-out"


def _of_bulk(action: ActionRow, recipient: RecipientRow, row: MessageRow, found: Circumstances) -> Iterator[str]:
    if action.status != ActionStatus.PROCESSING:
        yield f"while its action is {action.status}"
    if recipient.state != RecipientState.PENDING:
        yield f"while its recipient is {recipient}"
    if recipient.not_before is not None and recipient.not_before > found.latest:
        yield f"before its time: {recipient}"
    schedule = schedule_of(action)
    assert row.attempted_at is not None
    if not is_open(schedule, from_micros(row.attempted_at), recipient.zone):
        yield "outside of its window"


def _of_contact(before: Picture, action: ActionRow, row: MessageRow, found: Circumstances) -> Iterator[str]:
    if row.contact is None:
        return
    contact = before.contacts[row.contact,]
    if contact.deleted_at is not None:
        yield "to a deleted contact"
    if (row.id,) not in before.messages and row.address != contact.phone:
        yield f"to an address that is not theirs any more: {contact}"
    assert row.attempted_at is not None
    at, zone = from_micros(row.attempted_at), zone_named(contact.time_zone or "")
    if found.quiet and zone is not None and _is_night(at, zone) and _is_night(at - JUDGED_BEFORE, zone):
        yield f"in the night of {zone}"
    if found.per_day is not None:
        since = row.attempted_at + (JUDGED_BEFORE - timedelta(days=1)) // timedelta(microseconds=1)
        had = [
            other
            for other in before.messages.values()
            if other.contact == row.contact and other.id in found.counted and (other.accepted_at or 0) > since
        ]
        if len(had) >= found.per_day:
            yield f"though they have had {len(had)} in the last day"
    if msgspec.json.decode(action.message or "", type=MessageContent).on_duplicate_address == "skip":
        for other in before.messages.values():
            same = (other.action, other.round, other.address) == (row.action, row.round, row.address)
            if same and other.contact != row.contact and _is_held(before, other):
                yield f"though somebody else has had it at the same address: {other}"


def _is_held(before: Picture, row: MessageRow) -> bool:
    """Duplicates are found through the contacts that have the address now."""
    contact = before.contacts.get((row.contact,))
    return contact is not None and contact.phone == row.address


def _is_night(at: datetime, zone: tzinfo) -> bool:
    local = at.astimezone(zone)
    minute, (start, end) = local.hour * 60 + local.minute, NIGHT
    return minute >= start or minute < end


_SCHEDULES: dict[str, Schedule] = {}


def schedule_of(action: ActionRow) -> Schedule:
    """Read once for each text."""
    if action.schedule not in _SCHEDULES:
        _SCHEDULES[action.schedule] = msgspec.json.decode(action.schedule, type=Schedule)
    return _SCHEDULES[action.schedule]


def is_open(schedule: Schedule, at: datetime, own: str | None) -> bool:
    """By the clock on the recipient's wall, worked out anew: minutes of the day, and the day on which it opened."""
    drip = schedule.drip
    if drip is None:
        return True
    zone = (zone_named(own or "") if drip.time_zone_mode == "contact" else None) or zone_named(schedule.time_zone)
    assert zone is not None
    local = at.astimezone(zone)
    # Where clocks are set back, a window that has opened stays open though they show the time before it again.
    again = (local.replace(fold=0).utcoffset() or timedelta()) - (local.utcoffset() or timedelta())
    minutes = {local.hour * 60 + local.minute, local.hour * 60 + local.minute + again // timedelta(minutes=1)}
    return any(_shows_open(drip, minute, local.weekday()) for minute in minutes)


def _shows_open(drip: Drip, minute: int, day: int) -> bool:
    window = drip.process_between
    if window is None:
        return day in drip.send_on
    start, end = window.start_minute, window.end_minute
    if start < end:
        return day in drip.send_on and start <= minute < end
    return (minute >= start and day in drip.send_on) or (minute < end and (day - 1) % 7 in drip.send_on)
