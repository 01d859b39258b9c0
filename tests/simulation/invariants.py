"""What must hold after every operation that is written, whatever happened before: judged by the rows alone."""

from __future__ import annotations

import marshal
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from gateway.contract import Event, Outbound, Receipt, Status
from gateway.core.ids import MESSAGE, format_id, parse_id
from gateway.core.schedule import Drip
from gateway.core.states import ACTIONS, RECIPIENTS, ActionEvent, ActionStatus, RecipientEvent, RecipientState
from gateway.core.states import MessageStatus as Message
from gateway.store.codec import to_micros
from tests.simulation.disk import Disk
from tests.simulation.intents import JUDGED_BEFORE, Circumstances, faults_of_intent, is_open, schedule_of
from tests.simulation.loop import Timeline
from tests.simulation.picture import (
    ActionRow,
    BatchRow,
    Change,
    Picture,
    changed,
    read_changes,
    read_whole,
)

S = TypeVar("S")

OUTBOUND: Final = 0
PARKED: Final = 23 * 3_600_000_000  # microseconds for which receipts surely wait for their messages
COUNTING_AGAIN: Final = 2 * 3_600_000_000  # microseconds after the clock was set, at most by an hour back
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

    def __init__(self, disk: Disk, timeline: Timeline) -> None:
        self.faults: list[str] = []
        self.trace = 0  # of every state that there was: two runs of one seed have the same
        self.last = Picture()
        self.bounds: Mapping[int, Bounds] = {}  # of each sender, by its id
        self.quiet = False  # nobody is written to in the night
        self.per_day: int | None = None  # messages to one person in 24 hours
        self._disk = disk
        self._timeline = timeline
        self._held_since: dict[int, int] = {}  # microseconds of the machine, by sender
        self._revoked_since: dict[str, int] = {}  # the same, by key
        self._accepted_since: dict[int, int] = {}  # the same, by message
        self._named_at: dict[int, int] = {}  # that instant, for messages that got an id at the provider
        self._reports: list[tuple[Receipt, int]] = []  # that were answered, and when
        self._called: set[tuple[int, int]] = set()
        self._checks: Mapping[str, Callable[[Picture, Picture, Change], None]] = {
            "bulk_actions": self._check_action,
            "action_counts": self._check_counts,
            "recipients": self._check_recipient,
            "batches": self._check_batch,
            "messages": self._check_message,
            "senders": self._note_hold,
            "sender_days": self._check_day,
            "api_keys": self._note_key,
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

    def reported(self, events: Sequence[Event]) -> None:
        """The provider was answered: what it said must not be lost from now on."""
        now = to_micros(self._timeline.wall)
        self._reports += [(event, now) for event in events if isinstance(event, Receipt)]

    def check_reports(self) -> None:
        """At the end: whose delivery was reported is delivered, also if the report was quicker than our record."""
        for receipt, at in self._reports:
            if receipt.status not in (Status.DELIVERED, Status.READ):
                continue
            id = parse_id(MESSAGE, receipt.ref or receipt.provider_ids[0].removeprefix("p-")) or 0
            named_at = self._named_at.get(id)
            unknown = receipt.ref is None and (named_at is None or named_at - at > PARKED)
            row = self.last.messages[id,]
            if not unknown and row.status not in (Message.DELIVERED, Message.READ):
                self._fault(f"{receipt} is lost: {row}")

    def _circumstances(self) -> Circumstances:
        now = self._timeline.micros
        held = frozenset(sender for sender, since in self._held_since.items() if since < now)
        return Circumstances(
            latest=to_micros(self._timeline.latest),
            quiet=self.quiet,
            held=held,
            per_day=self.per_day,
            counted=self._counted(now),
        )

    def _counted(self, now: int) -> frozenset[int]:
        """A clock that was set back makes old judgements young: for as long as that may be, nobody counts."""
        if self.per_day is None or 0 < self._timeline.jumped_at > now - COUNTING_AGAIN:
            return frozenset()
        judged = now - JUDGED_BEFORE // timedelta(microseconds=1)
        return frozenset(id for id, since in self._accepted_since.items() if since < judged)

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
        settled = (old.state, row.state) == (RecipientState.PENDING, RecipientState.SUCCEEDED)
        if settled and row.message is None and self._timeline.jumped_at != self._timeline.micros:
            schedule = schedule_of(before.bulk_actions[row.action,])
            if not is_open(schedule, self._timeline.wall, row.zone):
                self._fault(f"{row} was worked on outside of its window")

    def _note_hold(self, before: Picture, now: Picture, change: Change) -> None:
        if change.new.held is None:
            self._held_since.pop(change.new.id, None)
        else:
            self._held_since.setdefault(change.new.id, self._timeline.micros)

    def _note_key(self, before: Picture, now: Picture, change: Change) -> None:
        if change.new.revoked_at is not None:
            self._revoked_since.setdefault(change.new.id, self._timeline.micros)

    def _check_message(self, before: Picture, now: Picture, change: Change) -> None:
        row, old = change.new, change.old
        if row.direction != OUTBOUND:
            return
        if row.accepted_at is not None:
            self._accepted_since.setdefault(row.id, self._timeline.micros)
        if row.provider_ids is not None:
            self._named_at.setdefault(row.id, to_micros(self._timeline.latest))
        if old is not None and old.status >= Message.ACCEPTED and row.status < old.status:
            self._fault(f"{format_id(MESSAGE, row.id)} went from {old} to {row}")
        if row.status >= Message.SENDING and (row.attempt > (old.attempt if old else 0)):
            self.faults += faults_of_intent(before, row, self._circumstances())

    def _check_batch(self, before: Picture, now: Picture, change: Change) -> None:
        if change.old is not None:
            return
        batch: BatchRow = change.new
        action = before.bulk_actions[batch.action,]
        drip = schedule_of(action).drip
        self._check_release(batch, action)
        if drip is None:
            return
        self._check_drip(before, batch, drip)

    def _check_release(self, batch: BatchRow, action: ActionRow) -> None:
        if batch.revision != action.revision:
            self._fault(f"{batch} was released under revision {action.revision}")
        if action.status not in (ActionStatus.QUEUED, ActionStatus.PROCESSING):
            self._fault(f"{batch} was released while its action was {action.status}")
        if self._revoked_since.get(action.created_by or "", self._timeline.micros) < self._timeline.micros:
            self._fault(f"{batch} was released after the key of its action's creator was revoked")

    def _check_drip(self, before: Picture, batch: BatchRow, drip: Drip) -> None:
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


def _interval(drip: Drip) -> timedelta:
    """At least; a day of 23 hours is one too, and the time of day may be an hour that a spring night left out."""
    if drip.repeat_after.unit == "seconds":
        return timedelta(seconds=drip.repeat_after.amount)
    return timedelta(days=drip.repeat_after.amount) - timedelta(hours=2)


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
