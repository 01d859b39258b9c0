"""What the reconciler does: attempts whose end nobody saw, receipts that never came."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.contract import Receipt
from gateway.core.ids import ActionId, ContactKey, MessageId, SenderId
from gateway.core.states import RECIPIENTS, MessageStatus, RecipientEvent, RecipientState
from gateway.store.codec import from_json, from_micros, micros_or_none, to_json, to_micros
from gateway.store.counters import Moves
from gateway.store.database import Database
from gateway.store.outbox import publish_statuses
from gateway.store.receipts import ReceiptContext, merge_receipts

UNCONFIRMED = "no receipt came by the deadline"
STEP = 500  # messages per transaction: a crash leaves at most W a sender, a receipt deadline may bring many at once


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMessage:
    """A message that the reconciler has to look at: `unknown`, or handed over and past its receipt deadline."""

    id: MessageId
    sender: SenderId
    status: MessageStatus
    action: ActionId | None
    seq: int | None
    address: str
    contact: ContactKey | None
    attempt: int
    attempted_at: datetime
    created_at: datetime
    provider_ids: tuple[str, ...]
    content: Mapping[str, Any] | None  # of a single message
    action_message: Mapping[str, Any] | None  # of a bulk one
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is to become of a due message.

    `receipt`: it was found, and this is merged like any receipt. `event` RETURN: certainly not sent, or to be sent
    again although it may have been (`perhaps_sent`). SUCCEED: no receipt came in time. None: it stays as it is, and is
    looked at again at `look_at` (None: never; a person decides).
    """

    message: DueMessage
    event: RecipientEvent | None
    status: MessageStatus
    detail: str
    code: str | None = None
    look_at: datetime | None = None
    unconfirmed: bool = False
    perhaps_sent: bool = False
    receipt: Receipt | None = None  # what the provider says when asked; `context` comes with it
    context: ReceiptContext | None = None


class Recovery:
    """The reconciler's transactions. `node` names this process: what it has in flight itself is left alone."""

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self._node = node

    async def lose_sight(self, now: datetime, *, everything: bool) -> int:
        """Attempts of dead processes become `unknown`, due at once. How many.

        `everything`: at start, when the lock on the file proves that no other process sends; else only those whose
        lease has lapsed.
        """
        micros = to_micros(now)

        def operation(conn: sqlite3.Connection) -> int:
            rows = conn.execute(
                "UPDATE messages SET status = ?, due_at = ?, lease_until = NULL, reason = 'the process ended' "
                "WHERE status = 1 AND node IS NOT ? AND (? OR lease_until < ?) RETURNING id, org, action, seq",
                (MessageStatus.UNKNOWN, micros, self._node, everything, micros),
            ).fetchall()
            moves = Moves()
            for message, org, action, seq in rows:
                publish_statuses(conn, org, MessageStatus.UNKNOWN, micros, [message], action=action)
                _note(conn, message, micros, "attempt", "unknown", "the process ended before the answer was recorded")
                if action is not None:
                    _recipient_lost(conn, action, seq, moves)
            moves.write(conn, micros)
            return len(rows)

        return await self._database.write(operation)

    async def due(self, now: datetime) -> tuple[DueMessage, ...]:
        """The next messages to look at."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT m.id, m.sender, m.status, m.action, m.seq, m.address, m.contact, m.attempt, m.attempted_at, "
                "m.created_at, m.provider_ids, m.content, a.message, m.variables "
                "FROM messages AS m INDEXED BY messages_due LEFT JOIN bulk_actions AS a ON a.id = m.action "
                "WHERE m.due_at <= ? ORDER BY m.due_at LIMIT ?",
                (to_micros(now), STEP),
            ).fetchall()
        )
        return tuple(_due(row) for row in rows)

    async def next_due(self) -> datetime | None:
        """When the next message is to be looked at."""
        row = await self._database.read(
            lambda conn: conn.execute("SELECT min(due_at) FROM messages WHERE due_at IS NOT NULL").fetchone()
        )
        return None if row[0] is None else from_micros(row[0])

    async def owners(self, shown: Sequence[tuple[SenderId, str]]) -> dict[tuple[SenderId, str], MessageId]:
        """Whose the providers' ids are, as far as that is known."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT p.sender, p.provider_id, p.message FROM json_each(?) AS j CROSS JOIN provider_ids AS p "
                "ON p.sender = j.value ->> 0 AND p.provider_id = j.value ->> 1",
                (to_json(shown),),
            ).fetchall()
        )
        return {(sender, provider_id): message for sender, provider_id, message in rows}

    async def resolve(self, findings: list[Finding], now: datetime) -> None:
        """Write what was found, if the message still is as it was read."""
        micros = to_micros(now)

        def operation(conn: sqlite3.Connection) -> None:
            moves = Moves()
            for finding in findings:
                _resolve(conn, finding, micros, moves)
            moves.write(conn, micros)

        await self._database.write(operation)


def _resolve(conn: sqlite3.Connection, finding: Finding, now: int, moves: Moves) -> None:
    message = finding.message
    if finding.receipt is not None:
        _merge(conn, finding, now, moves)
        return
    if finding.perhaps_sent and message.action is not None and _is_cancelled(conn, message.action):
        # To call it cancelled would say that it was not sent, and whoever then sends the rest would send it twice.
        detail = "nobody knows whether it was sent; its bulk action was cancelled, so it is not sent again"
        finding = Finding(message=message, event=None, status=message.status, detail=detail)
    row = conn.execute(
        "UPDATE messages SET status = ?, code = ?, reason = ?, due_at = ?, accepted_at = COALESCE(accepted_at, ?) "
        "WHERE id = ? AND status = ? RETURNING org",
        (
            finding.status,
            finding.code,
            finding.detail if finding.status in (MessageStatus.UNKNOWN, MessageStatus.PENDING) else None,
            micros_or_none(finding.look_at),
            now if finding.status in (MessageStatus.ACCEPTED, MessageStatus.SENT) else None,
            message.id,
            message.status,
        ),
    ).fetchone()
    if row is None:
        return
    if finding.status is not message.status:
        publish_statuses(conn, row[0], finding.status, now, [message.id], action=message.action, code=finding.code)
    if finding.look_at is None:
        _note(conn, message.id, now, "reconcile", finding.status.label, finding.detail)
    if message.action is None or message.seq is None:
        return
    if finding.event is None:
        if finding.look_at is None:
            conn.execute("UPDATE bulk_actions SET look_at = 0 WHERE id = ? AND status = 'delegated'", (message.action,))
        return
    _recipient_found(conn, message.action, message.seq, finding, moves)


def _merge(conn: sqlite3.Connection, finding: Finding, now: int, moves: Moves) -> None:
    """A receipt that was asked for; until it is the last one, the message is asked about again."""
    assert finding.receipt is not None
    assert finding.context is not None
    merge_receipts(conn, finding.context, [finding.receipt], now, moves)
    row = conn.execute(
        "SELECT status FROM messages WHERE id = ? AND due_at IS NOT NULL", (finding.message.id,)
    ).fetchone()
    if row is None:
        return
    conn.execute("UPDATE messages SET due_at = ? WHERE id = ?", (micros_or_none(finding.look_at), finding.message.id))
    if finding.unconfirmed and finding.message.action is not None and finding.message.seq is not None:
        settled = replace(finding, event=RecipientEvent.SUCCEED, code="unconfirmed", detail=UNCONFIRMED)
        _recipient_found(conn, finding.message.action, finding.message.seq, settled, moves)


def _recipient_found(conn: sqlite3.Connection, action: ActionId, seq: int, finding: Finding, moves: Moves) -> None:
    row = conn.execute(
        "SELECT state, batch FROM recipients WHERE action = ? AND seq = ? AND message = ?",
        (action, seq, finding.message.id),
    ).fetchone()
    if row is None or finding.event is None:
        return
    returns = finding.event is RecipientEvent.RETURN
    event = RecipientEvent.CANCEL if returns and _is_cancelled(conn, action) else finding.event
    state = RecipientState(row[0])
    if (state, event) not in RECIPIENTS:
        return  # it was settled otherwise, while only its message was still waited for
    after = moves.move(action, row[1], state, event)
    conn.execute(
        "UPDATE recipients SET state = ?, code = ?, reason = ? WHERE action = ? AND seq = ?",
        (after, finding.code, finding.detail if finding.code else None, action, seq),
    )
    if event is RecipientEvent.CANCEL:
        conn.execute("UPDATE messages SET status = ? WHERE id = ?", (MessageStatus.CANCELLED, finding.message.id))
    if finding.unconfirmed:
        moves.unconfirmed(action, 1)
    if event is RecipientEvent.RETURN:
        conn.execute("UPDATE bulk_actions SET look_at = 0 WHERE id = ? AND status = 'delegated'", (action,))


def _is_cancelled(conn: sqlite3.Connection, action: ActionId) -> bool:
    (status,) = conn.execute("SELECT status FROM bulk_actions WHERE id = ?", (action,)).fetchone()
    return bool(status == "cancelled")


def _recipient_lost(conn: sqlite3.Connection, action: int, seq: int, moves: Moves) -> None:
    row = conn.execute(
        "UPDATE recipients SET state = ?, attempts = attempts + 1, reason = 'the process ended' "
        "WHERE action = ? AND seq = ? AND state = ? RETURNING batch, attempts",
        (RecipientState.UNKNOWN, action, seq, RecipientState.IN_FLIGHT),
    ).fetchone()
    if row is not None:
        moves.move(action, row[0], RecipientState.IN_FLIGHT, RecipientEvent.LOSE_SIGHT)
        if row[1] == 1:
            moves.tried(action, row[0])


def _note(conn: sqlite3.Connection, message: int, at: int, kind: str, status: str, detail: str) -> None:
    conn.execute(
        "INSERT INTO message_history (message, at, kind, status, detail) VALUES (?, ?, ?, ?, ?)",
        (message, at, kind, status, detail),
    )


def _due(row: tuple[Any, ...]) -> DueMessage:
    (id, sender, status, action, seq, address, contact, attempt, attempted_at, created_at, *rest) = row
    provider_ids, content, action_message, variables = rest
    return DueMessage(
        id=id,
        sender=sender,
        status=MessageStatus(status),
        action=action,
        seq=seq,
        address=address,
        contact=contact,
        attempt=attempt,
        attempted_at=from_micros(attempted_at or created_at),
        created_at=from_micros(created_at),
        provider_ids=tuple(from_json(provider_ids) or ()),
        content=from_json(content),
        action_message=from_json(action_message),
        variables=from_json(variables) or {},
    )
