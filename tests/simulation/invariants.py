"""What must hold after every operation that is written, whatever happened before: judged by the rows alone."""

from __future__ import annotations

import marshal
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import msgspec

from gateway.contract import Outbound
from gateway.core.ids import MESSAGE, format_id, parse_id
from gateway.core.schedule import Drip, Schedule
from gateway.core.states import ACTIONS, RECIPIENTS, ActionEvent, ActionStatus, RecipientEvent, RecipientState
from gateway.core.states import MessageStatus as Message
from gateway.core.window import zone_named
from gateway.store.codec import from_micros
from tests.simulation.disk import Disk
from tests.simulation.picture import (
    ActionRow,
    BatchRow,
    Change,
    MessageRow,
    Picture,
    changed,
    read_changes,
    read_whole,
)

S = TypeVar("S")

OUTBOUND: Final = 0
# Sources that no opt-out stops: its own confirmation, a test, a word to the operator.
UNGATED: Final = frozenset({4, 5, 6})
ENDED: Final = frozenset({"completed", "partial", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one sender must keep to."""

    limit: int  # W
    daily_cap: int | None


def _within_two(table: Iterable[tuple[S, S]]) -> frozenset[tuple[S, S]]:
    """The moves of a table, and two of them in a row: one operation may record two things about one row."""
    once = frozenset(table)
    return once | {(one, other) for one, between in once for start, other in once if between == start}


_RECIPIENT_MOVES: Final = _within_two(
    (int(before), int(after)) for (before, event), after in RECIPIENTS.items() if event is not RecipientEvent.RETRY
)
_ACTION_MOVES: Final = _within_two(
    (before.value, after.value) for (before, event), after in ACTIONS.items() if event is not ActionEvent.RETRY
)


class Invariants:
    """Compares each state of the database with the one before it. `faults` stays empty as long as all promises hold."""

    def __init__(self, disk: Disk) -> None:
        self.faults: list[str] = []
        self.trace = 0  # of every state that there was: two runs of one seed have the same
        self.last = Picture()
        self.bounds: Mapping[int, Bounds] = {}  # of each sender, by its id
        self._disk = disk
        self._called: set[tuple[int, int]] = set()
        self._checks: Mapping[str, Callable[[Picture, Picture, Change], None]] = {
            "bulk_actions": self._check_action,
            "action_counts": self._check_counts,
            "recipients": self._check_recipient,
            "batches": self._check_batch,
            "messages": self._check_message,
            "sender_days": self._check_day,
        }

    def look(self) -> None:
        """After an operation, inside its transaction."""
        changes = read_changes(self._disk, self.last)
        if not changes:
            return
        before, now = self.last, changed(self.last, changes)
        self.last = now
        for change in changes:
            # The version of marshal whose bytes depend on values alone.
            seen = marshal.dumps((change.table, change.key, None if change.new is None else tuple(change.new)), 2)
            self.trace = zlib.crc32(seen, self.trace)
            if change.new is not None and change.table in self._checks:
                self._checks[change.table](before, now, change)
        self._check_books(now, {change.key[0] for change in changes if change.table in _OF_ACTIONS})
        if any(change.table == "messages" for change in changes):
            self._check_limits(now)

    def compare(self) -> None:
        """What was kept row by row is what all rows say."""
        if self.last != read_whole(self._disk):
            self._fault("rows were changed unseen")

    def called(self, message: Outbound) -> None:
        """The provider is asked to send: the intent must be on disk, and each attempt is made once."""
        id = parse_id(MESSAGE, message.ref) or 0
        row = self.last.messages.get((id,))
        # A receipt of an earlier attempt, or of this one, may have been quicker than the call.
        if row is None or row.attempt != message.attempt or row.status in (Message.PENDING, Message.UNKNOWN):
            self._fault(f"{message.ref} is sent (attempt {message.attempt}), its row says {row}")
        if (id, message.attempt) in self._called:
            self._fault(f"attempt {message.attempt} of {message.ref} is made twice")
        self._called.add((id, message.attempt))

    def _fault(self, text: str) -> None:
        self.faults.append(text)

    def _check_books(self, now: Picture, actions: set[int]) -> None:
        """The states of the recipients add up to what is kept of their action and of their batches."""
        if not actions:
            return
        counted: Counter[tuple[int, int]] = Counter()
        batched: Counter[tuple[int, int, int]] = Counter()
        unreleased: Counter[int] = Counter()
        for row in now.recipients.values():
            if row.action in actions:
                counted[row.action, row.state] += 1
                if row.batch is not None:
                    batched[row.action, row.batch, row.state] += 1
                elif row.state == RecipientState.PENDING:
                    unreleased[row.action] += 1
        for id in sorted(actions):
            action, kept = now.bulk_actions[id,], now.action_counts[id,]
            batches = [batch for batch in now.batches.values() if batch.action == id]
            whole = kept.pending - sum(batch.pending for batch in batches)
            waiting = whole if _in_one_batch(action) else unreleased[id]
            states = tuple(counted[id, state] for state in range(8))
            if states != kept.states or kept.unreleased != waiting:
                self._fault(f"action {id}: counted {states}, {waiting} unreleased; kept {kept}")
            for batch in batches:
                if action.round == batch.round:
                    rows = tuple(batched[id, batch.number, state] for state in range(8))
                    self._check_batch_books(action, batch, rows)

    def _check_batch_books(self, action: ActionRow, batch: BatchRow, rows: tuple[int, ...]) -> None:
        if rows != batch.states and not (_in_one_batch(action) and _all_within(rows, batch.states)):
            self._fault(f"batch {batch.number}: counted {rows}, kept {batch}")

    def _check_limits(self, now: Picture) -> None:
        sending = Counter(row.sender for row in now.messages.values() if row.status == Message.SENDING)
        for sender, number in sending.items():
            if number > self.bounds[sender].limit:
                self._fault(f"{number} messages of sender {sender} are in flight, W is {self.bounds[sender].limit}")

    def _check_day(self, before: Picture, now: Picture, change: Change) -> None:
        cap = self.bounds[change.new.sender].daily_cap
        if cap is not None and change.new.sent > cap:
            self._fault(f"more than {cap} in {change.new}")

    def _check_action(self, before: Picture, now: Picture, change: Change) -> None:
        row, old = change.new, change.old
        if old is None:
            return
        if row.status != old.status and row.round == old.round and (old.status, row.status) not in _ACTION_MOVES:
            self._fault(f"action {row.id} went from {old.status} to {row.status}")
        counts = now.action_counts[change.key]
        if row.status in ENDED and (counts.pending or counts.in_flight):
            self._fault(f"action {row.id} is {row.status} with people pending or in flight: {counts}")

    def _check_counts(self, before: Picture, now: Picture, change: Change) -> None:
        row, old, action = change.new, change.old, now.bulk_actions[change.key]
        if old is None:
            return
        if before.bulk_actions[change.key].round == action.round and sum(row.states) < sum(old.states):
            self._fault(f"action {action.id} lost recipients: {old}, then {row}")
        if action.status in ENDED and (row.pending or row.in_flight):
            self._fault(f"action {action.id} is {action.status} with people pending or in flight: {row}")

    def _check_recipient(self, before: Picture, now: Picture, change: Change) -> None:
        row, old = change.new, change.old
        if old is None or row.state == old.state or (row.round > old.round and old.state >= RecipientState.FAILED):
            return
        if (old.state, row.state) not in _RECIPIENT_MOVES:
            self._fault(f"recipient {change.key} went from {old} to {row}")

    def _check_message(self, before: Picture, now: Picture, change: Change) -> None:
        row, old = change.new, change.old
        if row.direction != OUTBOUND:
            return
        if old is not None and old.status >= Message.ACCEPTED and row.status < old.status:
            self._fault(f"{format_id(MESSAGE, row.id)} went from {old} to {row}")
        if row.status >= Message.SENDING and (row.attempt > (old.attempt if old else 0)):
            self._check_intent(before, now, row)

    def _check_intent(self, before: Picture, now: Picture, row: MessageRow) -> None:
        """An intent was written. Everything that forbids it and was committed earlier is seen by it."""
        about = f"{format_id(MESSAGE, row.id)} to {row.address} is sent"
        wishes = [
            wish
            for wish in before.opt_outs.values()
            if (wish.address or "").lower() == row.address.lower() or (row.contact and wish.contact == row.contact)
        ]
        if row.source not in UNGATED and any(wish.category in ("all", row.category or "general") for wish in wishes):
            self._fault(f"{about} after an opt-out")
        if row.action is None or row.seq is None:
            return
        action, recipient = before.bulk_actions[row.action,], before.recipients[row.action, row.seq]
        if action.status != ActionStatus.PROCESSING:
            self._fault(f"{about} while its action is {action.status}")
        if recipient.state != RecipientState.PENDING:
            self._fault(f"{about} while its recipient is {recipient}")
        if row.contact is not None and before.contacts[row.contact,].deleted_at is not None:
            self._fault(f"{about} to a deleted contact")
        schedule = schedule_of(action)
        if schedule.drip is not None and not _open_at(schedule, schedule.drip, row, recipient.zone):
            self._fault(f"{about} outside of its window")

    def _check_batch(self, before: Picture, now: Picture, change: Change) -> None:
        if change.old is not None:
            return
        batch: BatchRow = change.new
        action = before.bulk_actions[batch.action,]
        drip = schedule_of(action).drip
        if batch.revision != action.revision:
            self._fault(f"{batch} was released under revision {action.revision}")
        if action.status not in (ActionStatus.QUEUED, ActionStatus.PROCESSING):
            self._fault(f"{batch} was released while its action was {action.status}")
        if drip is None:
            return
        if not 1 <= batch.quantity <= drip.batch_quantity:
            self._fault(f"{batch} is larger than {drip.batch_quantity}")
        if batch.released_at < batch.planned_at:
            self._fault(f"{batch} was released before its time")
        last = before.batches.get((batch.action, batch.number - 1))
        if last is None or last.round != batch.round:
            return
        if last.untried:
            self._fault(f"{batch} was released while {last} had people who were not tried")
        late = last.released_at - last.planned_at > 60_000_000
        earliest = (last.released_at if late else last.planned_at) + _interval(drip) // timedelta(microseconds=1)
        if drip.time_zone_mode == "account" and batch.planned_at < earliest:
            self._fault(f"{batch} came before the interval was over: {last}")


_OF_ACTIONS: Final = frozenset({"bulk_actions", "action_counts", "recipients", "batches"})


def _in_one_batch(action: ActionRow) -> bool:
    """Where everybody is in one batch, only the intent writes its number into a row."""
    return schedule_of(action).drip is None


def _all_within(rows: tuple[int, ...], kept: tuple[int, ...]) -> bool:
    return all(counted <= number for counted, number in zip(rows, kept, strict=True))


_SCHEDULES: dict[str, Schedule] = {}


def schedule_of(action: ActionRow) -> Schedule:
    """Read once for each text."""
    if action.schedule not in _SCHEDULES:
        _SCHEDULES[action.schedule] = msgspec.json.decode(action.schedule, type=Schedule)
    return _SCHEDULES[action.schedule]


def _interval(drip: Drip) -> timedelta:
    """At least; a day of 23 hours is one too, and the time of day may be an hour that a spring night left out."""
    if drip.repeat_after.unit == "seconds":
        return timedelta(seconds=drip.repeat_after.amount)
    return timedelta(days=drip.repeat_after.amount) - timedelta(hours=2)


def _open_at(schedule: Schedule, drip: Drip, row: MessageRow, own: str | None) -> bool:
    """By the clock on the recipient's wall, worked out anew: minutes of the day, and the day on which it opened."""
    zone = (zone_named(own or "") if drip.time_zone_mode == "contact" else None) or zone_named(schedule.time_zone)
    assert zone is not None
    assert row.attempted_at is not None
    local = from_micros(row.attempted_at).astimezone(zone)
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


def picture_of_end(picture: Picture) -> list[str]:
    """What is still open once everything had all the time in the world."""
    faults = []
    for key, action in picture.bulk_actions.items():
        if action.status not in ENDED | {"cancelled"}:
            faults.append(f"action {action.id} does not end: {action}")
        if picture.action_counts[key].pending or picture.action_counts[key].in_flight:
            faults.append(f"action {action.id} has ended, and people wait: {picture.action_counts[key]}")
    faults += [
        f"{format_id(MESSAGE, row.id)} waits for ever: {row}"
        for row in picture.messages.values()
        if row.direction == OUTBOUND and row.status in (Message.PENDING, Message.SENDING) and row.action is None
    ]
    return faults
