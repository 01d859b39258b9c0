"""Bulk operations on contacts: reading a chunk of waiting recipients, and writing what the operation made of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.contract import ContactEdit, ContactView
from gateway.core.ids import ACTION, ActionId, ContactKey, OrgId, format_id
from gateway.core.people import SCALARS
from gateway.core.states import RecipientEvent, RecipientState
from gateway.store.codec import from_json, to_json, to_micros
from gateway.store.counters import Moves
from gateway.store.database import Database
from gateway.store.outbox import publish_each
from gateway.store.sweeps import current_batch

CHUNK: Final = 500  # contacts a transaction: some 10 ms of the writer's time


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingAction:
    """A bulk action on contacts that is running."""

    id: ActionId
    org: OrgId
    operation: str
    parameters: Mapping[str, Any]
    schedule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A waiting recipient. `contact` is None if there is no such contact any more."""

    seq: int
    batch: int | None
    zone: str | None  # as noted when it was released, where each has a window of its own
    key: ContactKey | None
    revision: int | None  # contacts.updated_at
    contact: ContactView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one recipient: `edit` is applied if the contact still is as it was read."""

    subject: Subject
    event: RecipientEvent  # SUCCEED, REFUSE or FAIL
    code: str | None = None
    reason: str | None = None
    edit: ContactEdit | None = None


class OperationStore:
    """Transactions of the loop that runs operations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def running(self) -> tuple[OperatingAction, ...]:
        """The actions that have somebody to work on."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT a.id, a.org, a.operation, a.parameters, a.schedule "
                "FROM action_counts AS n INDEXED BY action_counts_ready "
                "CROSS JOIN bulk_actions AS a ON a.id = n.action "
                "WHERE n.pending > n.unreleased AND a.status = 'processing' AND a.sender IS NULL ORDER BY a.id"
            ).fetchall()
        )
        return tuple(
            OperatingAction(id=id, org=org, operation=operation, parameters=from_json(parameters), schedule=schedule)
            for id, org, operation, parameters, schedule in rows
        )

    async def subjects(self, action: ActionId, floor: int, *, dripped: bool) -> tuple[Subject, ...]:
        """The next released recipients after `floor`, in the order of the snapshot."""
        released = "AND r.batch IS NOT NULL" if dripped else ""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"""SELECT r.seq, r.batch, r.zone, c.id, c.updated_at, c.public_id, c.addresses, c.attributes,
                        c.deleted_at, (SELECT json_group_array(tag) FROM contact_tags WHERE contact = c.id),
                        {", ".join(f"c.{field}" for field in SCALARS)}
                    FROM recipients AS r LEFT JOIN contacts AS c ON c.id = r.contact
                    WHERE r.action = ? AND r.seq > ? AND r.state = 0 {released} ORDER BY r.seq LIMIT ?""",
                (action, floor, CHUNK),
            ).fetchall()
        )
        return tuple(_subject(row) for row in rows)

    async def record(self, action: ActionId, done: Sequence[Done], now: datetime) -> int:
        """Apply the edits and settle the recipients, in one transaction. How many; the others have changed."""
        micros = to_micros(now)

        def operation(conn: sqlite3.Connection) -> int:
            (status,) = conn.execute("SELECT status FROM bulk_actions WHERE id = ?", (action,)).fetchone()
            if status != "processing":
                return 0
            released = current_batch(conn, action)
            moves = Moves()
            written = [each for each in done if _record_one(conn, action, each, released, micros, moves)]
            _tell(conn, action, written, micros)
            moves.write(conn, micros)
            return len(written)

        return await self._database.write(operation)


def _record_one(
    conn: sqlite3.Connection, action: ActionId, done: Done, released: int | None, now: int, moves: Moves
) -> bool:
    subject = done.subject
    if subject.key is not None:
        row = conn.execute("SELECT updated_at FROM contacts WHERE id = ?", (subject.key,)).fetchone()
        if row is None or row[0] != subject.revision:
            return False
    batch = subject.batch if subject.batch is not None else released
    state = {
        RecipientEvent.SUCCEED: RecipientState.SUCCEEDED,
        RecipientEvent.REFUSE: RecipientState.SKIPPED,
        RecipientEvent.FAIL: RecipientState.FAILED,
    }[done.event]
    changed = conn.execute(
        "UPDATE recipients SET state = ?, code = ?, reason = ?, batch = ?, attempts = 1 "
        "WHERE action = ? AND seq = ? AND state = 0 AND batch IS ?",
        (state, done.code, done.reason, batch, action, subject.seq, subject.batch),
    ).rowcount
    if not changed or batch is None:
        return False
    if done.edit is not None and subject.key is not None:
        _apply(conn, subject.key, done.edit, now)
    moves.move(action, batch, RecipientState.PENDING, done.event)
    moves.tried(action, batch)
    return True


def _tell(conn: sqlite3.Connection, action: ActionId, written: Sequence[Done], now: int) -> None:
    edited = [each for each in written if each.edit is not None and each.subject.contact is not None]
    gone = [each.subject.contact.id for each in edited if each.subject.contact and each.edit and each.edit.deleted]
    kept = [each.subject.contact.id for each in edited if each.subject.contact and each.edit and not each.edit.deleted]
    (org,) = conn.execute("SELECT org FROM bulk_actions WHERE id = ?", (action,)).fetchone()
    data = {"bulk_action_id": format_id(ACTION, action)}
    publish_each(conn, org, "contact.deleted", now, gone, data)
    publish_each(conn, org, "contact.updated", now, kept, data)


def _apply(conn: sqlite3.Connection, contact: ContactKey, edit: ContactEdit, now: int) -> None:
    conn.executemany(
        "INSERT INTO contact_tags (contact, tag, org) SELECT id, ?, org FROM contacts WHERE id = ? "
        "ON CONFLICT DO NOTHING",
        [(tag, contact) for tag in edit.add_tags],
    )
    conn.executemany(
        "DELETE FROM contact_tags WHERE contact = ? AND tag = ?", [(contact, tag) for tag in edit.remove_tags]
    )
    if edit.attributes:
        conn.execute(
            "UPDATE contacts SET attributes = json_patch(COALESCE(attributes, '{}'), ?) WHERE id = ?",
            (to_json(edit.attributes), contact),
        )
    if edit.deleted is not None:
        conn.execute("UPDATE contacts SET deleted_at = ? WHERE id = ?", (now if edit.deleted else None, contact))
    conn.execute("UPDATE contacts SET updated_at = max(?, updated_at + 1) WHERE id = ?", (now, contact))


def _subject(row: tuple[Any, ...]) -> Subject:
    seq, batch, zone, key, revision, public_id, addresses, attributes, deleted_at, tags, *fields = row
    contact = None
    if key is not None:
        contact = ContactView(
            id=public_id,
            addresses=from_json(addresses) or {},
            tags=frozenset(from_json(tags)),
            attributes=from_json(attributes) or {},
            deleted=deleted_at is not None,
            **dict(zip(SCALARS, fields, strict=True)),
        )
    return Subject(seq=seq, batch=batch, zone=zone, key=key, revision=revision, contact=contact)
