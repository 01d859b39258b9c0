"""A person's word on recipients of whom nobody knows whether the message went."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from gateway.core.ids import ActionId, OrgId
from gateway.core.states import MessageStatus, RecipientEvent, RecipientState
from gateway.errors import NotFound
from gateway.store.codec import to_json, to_micros
from gateway.store.counters import Moves
from gateway.store.database import Database
from gateway.store.outbox import publish_statuses
from gateway.store.selections import CHUNK


class ResolutionStore:
    """Settles unknown recipients."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def resolve(
        self,
        org: OrgId,
        action: ActionId,
        seqs: Sequence[int] | None,
        verdict: Literal["sent", "failed"],
        now: datetime,
        by: str,
    ) -> int:
        """Settle unknown recipients by a person's word, at most `CHUNK` in this transaction; how many were settled.

        Recipient, message, books and history are moved together. `seqs` None: all of them. The caller goes on until the
        answer is 0.
        """

        def operation(conn: sqlite3.Connection) -> int:
            if conn.execute("SELECT 1 FROM bulk_actions WHERE id = ? AND org = ?", (action, org)).fetchone() is None:
                raise NotFound("bulk action", str(action))
            rows = conn.execute(
                "SELECT seq, batch, message FROM recipients INDEXED BY recipients_ended "
                "WHERE action = :action AND state = 6 AND state >= 4 "
                "AND (:seqs IS NULL OR seq IN (SELECT value FROM json_each(:seqs))) ORDER BY seq LIMIT :limit",
                {"action": action, "seqs": None if seqs is None else to_json(seqs), "limit": CHUNK},
            ).fetchall()
            if rows:
                _settle(conn, org, action, rows, verdict, to_micros(now), by)
            return len(rows)

        return await self._database.write(operation)


def _settle(
    conn: sqlite3.Connection,
    org: OrgId,
    action: ActionId,
    rows: Sequence[tuple[Any, ...]],
    verdict: str,
    now: int,
    by: str,
) -> None:
    sent = verdict == "sent"
    reason = None if sent else "A person found that it was not sent"
    moves = Moves()
    for _, batch, _ in rows:
        moves.move(action, batch, RecipientState.UNKNOWN, RecipientEvent.SUCCEED if sent else RecipientEvent.FAIL)
    conn.execute(
        "UPDATE recipients SET state = ?, code = 'resolved', reason = ? "
        "WHERE action = ? AND seq IN (SELECT value FROM json_each(?))",
        (
            RecipientState.SUCCEEDED if sent else RecipientState.FAILED,
            reason,
            action,
            to_json([seq for seq, _, _ in rows]),
        ),
    )
    settled = [message for _, _, message in rows if message is not None]
    messages = to_json(settled)
    status = MessageStatus.SENT if sent else MessageStatus.FAILED
    conn.execute(
        "UPDATE messages SET status = ?, code = 'resolved', reason = ?, due_at = NULL, sent_at = COALESCE(sent_at, ?) "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (status, reason, now if sent else None, messages),
    )
    conn.execute(
        "INSERT INTO message_history (message, at, kind, status, detail) "
        "SELECT value, ?, 'resolve', ?, ? FROM json_each(?)",
        (now, verdict, f"resolved by {by}", messages),
    )
    publish_statuses(conn, org, status, now, settled, action=action, code="resolved")
    moves.write(conn, now)
