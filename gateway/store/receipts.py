"""Receipts are merged into messages, recipients and books: part of whatever transaction brings them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.contract import Receipt, Status
from gateway.core.ids import MESSAGE, MessageId, OrgId, SenderId, parse_id
from gateway.core.receipts import after_receipt, recipient_event
from gateway.core.states import NEGATIVE, POSITIVE, MessageStatus, RecipientEvent, RecipientState
from gateway.store.codec import to_json, to_micros
from gateway.store.consent import suppress
from gateway.store.counters import Moves

STATUSES: Final[Mapping[Status, MessageStatus]] = {status: MessageStatus[status.name] for status in Status}
_SAID_AT: Final = {
    MessageStatus.ACCEPTED: "accepted_at",
    MessageStatus.SENT: "sent_at",
    MessageStatus.DELIVERED: "delivered_at",
    MessageStatus.READ: "read_at",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptContext:
    """What of a sender matters to its receipts. `receipt_deadline`: microseconds."""

    sender: SenderId
    org: OrgId
    awaits_receipts: bool
    receipt_deadline: int


@dataclass(frozen=True, slots=True)
class _Known:
    """A message as it stands before a receipt."""

    id: MessageId
    status: MessageStatus
    action: int | None
    seq: int | None
    attempted_at: int | None
    due_at: int | None
    named: bool  # the provider's ids of it are known
    said: Mapping[str, int | None]


def merge_receipt(conn: sqlite3.Connection, context: ReceiptContext, receipt: Receipt, now: int, moves: Moves) -> bool:
    """Merge one receipt, or park it where its message is not known by that id yet. True if it was merged.

    A receipt that says nothing new changes nothing: repeating it is harmless.
    """
    known = _find(conn, context.sender, receipt)
    if known is None:
        _park(conn, context.sender, receipt, now)
        return False
    _merge(conn, context, known, receipt, now, moves)
    return True


def name_messages(
    conn: sqlite3.Connection,
    context: ReceiptContext,
    named: Sequence[tuple[MessageId, Sequence[str]]],
    now: int,
    moves: Moves,
) -> None:
    """Messages got ids at their provider: write them down, and merge the receipts that were quicker than this."""
    rows = [(context.sender, provider_id, message) for message, ids in named for provider_id in ids]
    conn.executemany("INSERT OR IGNORE INTO provider_ids (sender, provider_id, message) VALUES (?, ?, ?)", rows)
    parked = conn.execute(
        "DELETE FROM parked_receipts WHERE sender = ? AND provider_id IN (SELECT value FROM json_each(?)) "
        "RETURNING receipt",
        (context.sender, to_json([provider_id for _, provider_id, _ in rows])),
    ).fetchall()
    for (text,) in parked:
        merge_receipt(conn, context, msgspec.json.decode(text, type=Receipt), now, moves)


def message_by_provider_id(conn: sqlite3.Connection, sender: int, provider_ids: Iterable[str]) -> MessageId | None:
    """The message that the provider knows by the first known of these ids."""
    for provider_id in provider_ids:
        row = conn.execute(
            "SELECT message FROM provider_ids WHERE sender = ? AND provider_id = ?", (sender, provider_id)
        ).fetchone()
        if row is not None:
            return MessageId(row[0])
    return None


def message_meant(
    conn: sqlite3.Connection, sender: int, ref: str | None, provider_ids: Iterable[str]
) -> MessageId | None:
    """The outbound message of this sender that a provider speaks of: by our `ref`, else by its own ids."""
    number = None if ref is None else parse_id(MESSAGE, ref)
    if number is not None:
        row = conn.execute("SELECT 1 FROM messages WHERE id = ? AND sender = ? AND direction = 0", (number, sender))
        if row.fetchone() is not None:
            return MessageId(number)
    return message_by_provider_id(conn, sender, provider_ids)


_FIND: Final = (
    "SELECT id, status, action, seq, attempted_at, due_at, provider_ids IS NOT NULL, "
    "accepted_at, sent_at, delivered_at, read_at FROM messages WHERE id = ? AND sender = ?"
)


def _find(conn: sqlite3.Connection, sender: int, receipt: Receipt) -> _Known | None:
    number = None if receipt.ref is None else parse_id(MESSAGE, receipt.ref)
    row = None if number is None else conn.execute(_FIND, (number, sender)).fetchone()
    if row is None:
        by_id = message_by_provider_id(conn, sender, receipt.provider_ids)
        row = None if by_id is None else conn.execute(_FIND, (by_id, sender)).fetchone()
    if row is None:
        return None
    id, status, action, seq, attempted_at, due_at, named, *said = row
    return _Known(
        MessageId(id),
        MessageStatus(status),
        action,
        seq,
        attempted_at,
        due_at,
        bool(named),
        dict(zip(_SAID_AT.values(), said, strict=True)),
    )


def _park(conn: sqlite3.Connection, sender: int, receipt: Receipt, now: int) -> None:
    """Only one with the provider's own id can find its message later: a `ref` is on our disk before the hand-over."""
    if receipt.provider_ids:
        conn.execute(
            "INSERT INTO parked_receipts (sender, provider_id, receipt, received_at) VALUES (?, ?, ?, ?)",
            (sender, receipt.provider_ids[0], to_json(receipt), now),
        )


def _merge(
    conn: sqlite3.Connection, context: ReceiptContext, known: _Known, receipt: Receipt, now: int, moves: Moves
) -> None:
    reported = STATUSES[receipt.status]
    after = after_receipt(known.status, reported)
    if not _is_news(known, reported, after):
        return
    at = now if receipt.at is None else to_micros(receipt.at)
    _write_message(conn, context, known, receipt, after, at)
    conn.execute(
        "INSERT INTO message_history (message, at, kind, status, detail) VALUES (?, ?, 'receipt', ?, ?)",
        (known.id, at, reported.label, receipt.reason),
    )
    if after is not known.status and known.action is not None and known.seq is not None:
        _move_recipient(conn, context, known, receipt, after, moves)
    if receipt.address_dead and after in NEGATIVE:
        suppress(conn, [known.id], category="all", reason=receipt.reason, source="bounce", now=now)


def _is_news(known: _Known, reported: MessageStatus, after: MessageStatus) -> bool:
    """Whether the receipt raises the status, or tells when a lower one was reached for the first time."""
    said = _SAID_AT.get(reported)
    return after is not known.status or (said is not None and known.said[said] is None)


def _write_message(
    conn: sqlite3.Connection, context: ReceiptContext, known: _Known, receipt: Receipt, after: MessageStatus, at: int
) -> None:
    changes: dict[str, object] = {}
    said = _SAID_AT.get(STATUSES[receipt.status])
    if said is not None and known.said[said] is None:
        changes[said] = at
    if after is not known.status:
        negative = after in NEGATIVE
        changes |= {
            "status": after,
            "code": _code(receipt) if negative else None,
            "reason": receipt.reason if negative else None,
            "provider_code": receipt.provider_code if negative else None,
            "due_at": _due_at(context, known, after),
            "lease_until": None,
            "not_before": None,
        }
        if not negative and known.said["accepted_at"] is None:
            changes.setdefault("accepted_at", at)
    if changes:
        assignments = ", ".join(f"{column} = ?" for column in changes)
        conn.execute(f"UPDATE messages SET {assignments} WHERE id = ?", (*changes.values(), known.id))
    if receipt.provider_ids and not known.named:
        ids = to_json(receipt.provider_ids)
        conn.execute("UPDATE messages SET provider_ids = ? WHERE id = ?", (ids, known.id))
        conn.executemany(
            "INSERT OR IGNORE INTO provider_ids (sender, provider_id, message) VALUES (?, ?, ?)",
            [(context.sender, provider_id, known.id) for provider_id in receipt.provider_ids],
        )


def _due_at(context: ReceiptContext, known: _Known, after: MessageStatus) -> int | None:
    """When the reconciler must look at it again: a message that is at its end never."""
    if after in POSITIVE or after in NEGATIVE or not context.awaits_receipts:
        return None
    if known.status in (MessageStatus.ACCEPTED, MessageStatus.SENT) and known.due_at is not None:
        return known.due_at
    return (known.attempted_at or 0) + context.receipt_deadline


def _move_recipient(
    conn: sqlite3.Connection,
    context: ReceiptContext,
    known: _Known,
    receipt: Receipt,
    after: MessageStatus,
    moves: Moves,
) -> None:
    row = conn.execute(
        "SELECT state, batch, attempts, code FROM recipients WHERE action = ? AND seq = ? AND message = ?",
        (known.action, known.seq, known.id),
    ).fetchone()
    if row is None or known.action is None:
        return  # the recipient is in a later round, with a message of its own
    state, batch, attempts, code = RecipientState(row[0]), row[1], row[2], row[3]
    if code == "unconfirmed" and after in POSITIVE | NEGATIVE:
        moves.unconfirmed(known.action, -1)
    event = recipient_event(state, after, awaits_receipts=context.awaits_receipts)
    if event is None:
        if code == "unconfirmed" and after in POSITIVE:
            _clear_code(conn, known)
        return
    failed = event is RecipientEvent.FAIL
    tried_now = state is RecipientState.IN_FLIGHT
    conn.execute(
        "UPDATE recipients SET state = ?, code = ?, reason = ?, not_before = NULL, attempts = attempts + ? "
        "WHERE action = ? AND seq = ?",
        (
            moves.move(known.action, batch, state, event),
            _code(receipt) if failed else None,
            receipt.reason if failed else None,
            tried_now,
            known.action,
            known.seq,
        ),
    )
    if batch is not None and attempts == 0 and state in (RecipientState.IN_FLIGHT, RecipientState.PENDING):
        moves.tried(known.action, batch)


def _clear_code(conn: sqlite3.Connection, known: _Known) -> None:
    conn.execute(
        "UPDATE recipients SET code = NULL, reason = NULL WHERE action = ? AND seq = ?", (known.action, known.seq)
    )


def _code(receipt: Receipt) -> str:
    """Why it failed: what the adapter says, else what became of it."""
    return receipt.status.value if receipt.code is None else receipt.code.value


def purge_parked(conn: sqlite3.Connection, before: int) -> int:
    """Forget parked receipts that came before this instant (microseconds); how many."""
    return conn.execute("DELETE FROM parked_receipts WHERE received_at < ?", (before,)).rowcount
