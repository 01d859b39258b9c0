"""What must hold after every operation that is written, whatever happened before: judged by the rows alone."""

from __future__ import annotations

import marshal
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from gateway.contract import Outbound
from gateway.core.ids import MESSAGE, format_id, parse_id
from gateway.core.schedule import Drip, Schedule
from gateway.core.states import ACTIONS, RECIPIENTS, ActionEvent, ActionStatus, RecipientEvent, RecipientState
from gateway.core.states import MessageStatus as Message
from gateway.core.window import zone_named
from gateway.store.codec import from_micros

S = TypeVar("S")

UNGATED: Final = frozenset(
    {4, 5, 6}
)  # sources that no opt-out stops: its own confirmation, a test, a word to the operator
ENDED: Final = frozenset({"completed", "partial", "failed"})


class ActionRow(NamedTuple):
    id: int
    status: str
    paused_from: str | None
    round: int
    revision: int
    work: str | None
    schedule: str
    counts: tuple[int, ...]
    unreleased: int


class RecipientRow(NamedTuple):
    action: int
    seq: int
    state: int
    batch: int | None
    round: int
    attempts: int
    contact: int | None
    message: int | None
    zone: str | None


class BatchRow(NamedTuple):
    action: int
    number: int
    round: int
    planned_at: int
    released_at: int
    quantity: int
    revision: int
    untried: int
    counts: tuple[int, ...]


class MessageRow(NamedTuple):
    id: int
    status: int
    attempt: int
    action: int | None
    seq: int | None
    address: str
    contact: int | None
    sender: int
    source: int
    category: str | None
    attempted_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything that the promises are about, in one state of the database."""

    actions: Mapping[int, ActionRow] = field(default_factory=dict)
    recipients: Mapping[tuple[int, int], RecipientRow] = field(default_factory=dict)
    batches: Mapping[tuple[int, int], BatchRow] = field(default_factory=dict)
    messages: Mapping[int, MessageRow] = field(default_factory=dict)
    left: tuple[tuple[str, str | None, int | None, str], ...] = ()
    deleted: frozenset[int] = frozenset()


_COUNTS: Final = "pending, in_flight, handed_over, succeeded, failed, skipped, unknown, cancelled"


_QUERIES: Final = (
    "SELECT id, status, paused_from, round, revision, work, schedule, unreleased, "
    f"{_COUNTS} FROM bulk_actions JOIN action_counts ON action = id",
    "SELECT action, seq, state, batch, round, attempts, contact, message, zone FROM recipients",
    f"SELECT action, number, round, planned_at, released_at, quantity, revision, untried, {_COUNTS} FROM batches",
    "SELECT id, status, attempt, action, seq, address, contact, sender, source, category, attempted_at "
    "FROM messages WHERE direction = 0",
    "SELECT channel, lower(address), contact, category FROM opt_outs ORDER BY id",
    "SELECT id FROM contacts WHERE deleted_at IS NOT NULL ORDER BY id",
)

Rows = tuple[list[tuple[Any, ...]], ...]


def read_rows(conn: sqlite3.Connection) -> Rows:
    """The rows that the promises are about, as they are."""
    return tuple(conn.execute(query).fetchall() for query in _QUERIES)


def take_picture(rows: Rows) -> Picture:
    """The rows, to be asked about."""
    actions, recipients, batches, messages, left, deleted = rows
    return Picture(
        actions={row[0]: ActionRow._make((*row[:7], row[8:], row[7])) for row in actions},
        recipients={row[:2]: RecipientRow._make(row) for row in recipients},
        batches={row[:2]: BatchRow._make((*row[:8], row[8:])) for row in batches},
        messages={row[0]: MessageRow._make(row) for row in messages},
        left=tuple(left),
        deleted=frozenset(id for (id,) in deleted),
    )


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

    def __init__(self, limit: int) -> None:
        """`limit`: W of the only sender."""
        self.faults: list[str] = []
        self.trace = 0  # of every state that there was: two runs of one seed have the same
        self.last = Picture()
        self._limit = limit
        self._called: set[tuple[int, int]] = set()
        self._changes = -1
        self._rows: Rows = ()

    def look(self, conn: sqlite3.Connection) -> None:
        """After an operation, inside its transaction."""
        if conn.total_changes == self._changes:
            return
        self._changes = conn.total_changes
        rows = read_rows(conn)
        self.trace = zlib.crc32(marshal.dumps(rows, 2), self.trace)  # the version whose bytes depend on values alone
        if rows == self._rows:
            return
        before, now = self.last, take_picture(rows)
        self._rows, self.last = rows, now
        self._check_books(now)
        self._check_actions(before, now)
        self._check_recipients(before, now)
        self._check_messages(before, now)
        for key, batch in now.batches.items():
            if key not in before.batches:
                self._check_batch(before, now, batch)

    def reopened(self) -> None:
        """The next look is through another connection, which counts its changes anew."""
        self._changes = -1

    def called(self, message: Outbound) -> None:
        """The provider is asked to send: the intent must be on disk, and each attempt is made once."""
        id = parse_id(MESSAGE, message.ref) or 0
        row = self.last.messages.get(id)
        # A receipt of an earlier attempt, or of this one, may have been quicker than the call.
        if row is None or row.attempt != message.attempt or row.status in (Message.PENDING, Message.UNKNOWN):
            self._fault(f"{message.ref} is sent (attempt {message.attempt}), its row says {row}")
        if (id, message.attempt) in self._called:
            self._fault(f"attempt {message.attempt} of {message.ref} is made twice")
        self._called.add((id, message.attempt))

    def _fault(self, text: str) -> None:
        self.faults.append(text)

    def _check_books(self, now: Picture) -> None:
        counted: dict[int, list[int]] = {id: [0] * 8 for id in now.actions}
        batched: Counter[tuple[int, int, int]] = Counter()
        unreleased: Counter[int] = Counter()
        for row in now.recipients.values():
            counted[row.action][row.state] += 1
            if row.batch is not None:
                batched[row.action, row.batch, row.state] += 1
            elif row.state == RecipientState.PENDING:
                unreleased[row.action] += 1
        for id, action in now.actions.items():
            whole = _in_one_batch(action)
            released = sum(batch.counts[0] for batch in now.batches.values() if batch.action == id)
            waiting = action.counts[0] - released if whole else unreleased[id]
            if tuple(counted[id]) != action.counts or action.unreleased != waiting:
                self._fault(f"action {id}: counted {counted[id]}, {waiting} unreleased; kept {action}")
        for (id, number), batch in now.batches.items():
            if now.actions[id].round == batch.round:
                rows = tuple(batched[id, number, state] for state in range(8))
                if rows != batch.counts and not (_in_one_batch(now.actions[id]) and _all_within(rows, batch.counts)):
                    self._fault(f"batch {number}: counted {rows}, kept {batch}")
        sending = sum(1 for row in now.messages.values() if row.status == Message.SENDING)
        if sending > self._limit:
            self._fault(f"{sending} messages are in flight, W is {self._limit}")

    def _check_actions(self, before: Picture, now: Picture) -> None:
        for id, row in now.actions.items():
            old = before.actions.get(id)
            if old is None:
                continue
            if row.status != old.status and row.round == old.round and (old.status, row.status) not in _ACTION_MOVES:
                self._fault(f"action {id} went from {old.status} to {row.status}")
            if row.round == old.round and sum(row.counts) < sum(old.counts):
                self._fault(f"action {id} lost recipients: {old.counts}, then {row.counts}")
            if row.status in ENDED and (row.counts[0] or row.counts[1]):
                self._fault(f"action {id} is {row.status} with people pending or in flight: {row.counts}")

    def _check_recipients(self, before: Picture, now: Picture) -> None:
        for key, row in now.recipients.items():
            old = before.recipients.get(key)
            if old is None or row.state == old.state:
                continue
            if row.round > old.round and old.state >= RecipientState.FAILED:
                continue
            if (old.state, row.state) not in _RECIPIENT_MOVES:
                self._fault(f"recipient {key} went from {old} to {row}")

    def _check_messages(self, before: Picture, now: Picture) -> None:
        for id, row in now.messages.items():
            old = before.messages.get(id)
            if old is not None and old.status >= Message.ACCEPTED and row.status < old.status:
                self._fault(f"{format_id(MESSAGE, id)} went from {old} to {row}")
            if row.status >= Message.SENDING and (row.attempt > (old.attempt if old else 0)):
                self._check_intent(before, now, row)

    def _check_intent(self, before: Picture, now: Picture, row: MessageRow) -> None:
        """An intent was written. Everything that forbids it and was committed earlier is seen by it."""
        about = f"{format_id(MESSAGE, row.id)} to {row.address} is sent"
        wishes = [wish for wish in before.left if wish[1] == row.address or (row.contact and wish[2] == row.contact)]
        if row.source not in UNGATED and any(wish[3] in ("all", row.category or "general") for wish in wishes):
            self._fault(f"{about} after an opt-out")
        if row.action is None or row.seq is None:
            return
        action, recipient = before.actions[row.action], before.recipients[row.action, row.seq]
        if action.status != ActionStatus.PROCESSING:
            self._fault(f"{about} while its action is {action.status}")
        if recipient.state != RecipientState.PENDING:
            self._fault(f"{about} while its recipient is {recipient}")
        if row.contact in before.deleted:
            self._fault(f"{about} to a deleted contact")
        schedule = schedule_of(action)
        if schedule.drip is not None and not _open_at(schedule, schedule.drip, row, recipient.zone):
            self._fault(f"{about} outside of its window")

    def _check_batch(self, before: Picture, now: Picture, batch: BatchRow) -> None:
        action = before.actions[batch.action]
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
    for id, action in picture.actions.items():
        if action.status not in ENDED | {"cancelled"}:
            faults.append(f"action {id} does not end: {action}")
        if any(action.counts[:2]):
            faults.append(f"action {id} has ended, and people wait: {action}")
    faults += [
        f"{format_id(MESSAGE, row.id)} waits for ever: {row}"
        for row in picture.messages.values()
        if row.status in (Message.PENDING, Message.SENDING) and row.action is None
    ]
    return faults
