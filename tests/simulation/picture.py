"""The rows that the promises are about, kept by their keys and read anew only where they were touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from tests.simulation.disk import WATCHED, Disk, Key


class ActionRow(NamedTuple):
    id: int
    status: str
    paused_from: str | None
    round: int
    revision: int
    work: str | None
    schedule: str
    message: str | None
    created_by: str | None


class CountsRow(NamedTuple):
    action: int
    unreleased: int
    pending: int
    in_flight: int
    handed_over: int
    succeeded: int
    failed: int
    skipped: int
    unknown: int
    cancelled: int

    @property
    def states(self) -> tuple[int, ...]:
        """How many are in each state, in the states' order."""
        return self[2:]


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
    not_before: int | None


class BatchRow(NamedTuple):
    action: int
    number: int
    round: int
    planned_at: int
    released_at: int
    quantity: int
    revision: int
    untried: int
    pending: int
    in_flight: int
    handed_over: int
    succeeded: int
    failed: int
    skipped: int
    unknown: int
    cancelled: int

    @property
    def states(self) -> tuple[int, ...]:
        """How many are in each state, in the states' order."""
        return self[8:]


class MessageRow(NamedTuple):
    id: int
    direction: int
    status: int
    attempt: int
    action: int | None
    seq: int | None
    round: int
    address: str
    contact: int | None
    sender: int
    source: int
    category: str | None
    attempted_at: int | None
    provider_ids: str | None
    accepted_at: int | None


class WishRow(NamedTuple):
    id: int
    channel: str
    address: str | None
    contact: int | None
    category: str


class ContactRow(NamedTuple):
    id: int
    deleted_at: int | None
    phone: str | None
    time_zone: str | None


class SenderRow(NamedTuple):
    id: int
    held: str | None


class DayRow(NamedTuple):
    sender: int
    day: str
    sent: int


class KeyRow(NamedTuple):
    id: str
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that the promises are about, in one state of the database; rows by their keys."""

    bulk_actions: Mapping[Key, ActionRow] = field(default_factory=dict)
    action_counts: Mapping[Key, CountsRow] = field(default_factory=dict)
    recipients: Mapping[Key, RecipientRow] = field(default_factory=dict)
    batches: Mapping[Key, BatchRow] = field(default_factory=dict)
    messages: Mapping[Key, MessageRow] = field(default_factory=dict)
    opt_outs: Mapping[Key, WishRow] = field(default_factory=dict)
    contacts: Mapping[Key, ContactRow] = field(default_factory=dict)
    senders: Mapping[Key, SenderRow] = field(default_factory=dict)
    sender_days: Mapping[Key, DayRow] = field(default_factory=dict)
    api_keys: Mapping[Key, KeyRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One row that is another one now; None: it is not there."""

    table: str
    key: Key
    old: Any
    new: Any


ROWS: Final[Mapping[str, type[Any]]] = {
    "bulk_actions": ActionRow,
    "action_counts": CountsRow,
    "recipients": RecipientRow,
    "batches": BatchRow,
    "messages": MessageRow,
    "opt_outs": WishRow,
    "contacts": ContactRow,
    "senders": SenderRow,
    "sender_days": DayRow,
    "api_keys": KeyRow,
}


def read_changes(disk: Disk, before: Picture) -> list[Change]:
    """What is not as in `before`, of the rows that were touched since the disk was last asked."""
    changes = []
    for table, key in disk.take_changed():
        found = disk.row(table, key)
        new = None if found is None else ROWS[table]._make(found)
        old = getattr(before, table).get(key)
        if new != old:
            changes.append(Change(table, key, old, new))
    return changes


def changed(before: Picture, changes: Sequence[Change]) -> Picture:
    """The picture after them; `before` stays as it is."""
    tables: dict[str, dict[Key, Any]] = {}
    for change in changes:
        rows = tables.setdefault(change.table, dict(getattr(before, change.table)))
        if change.new is None:
            del rows[change.key]
        else:
            rows[change.key] = change.new
    return replace(before, **tables)


def read_whole(disk: Disk) -> Picture:
    """The same from all rows: what was kept must be equal to it."""
    tables = {}
    for table in WATCHED:
        width = WATCHED[table][0].count(",") + 1
        tables[table] = {row[:width]: ROWS[table]._make(row) for row in disk.rows(table)}
    return Picture(**tables)
