"""What time leaves behind, and a second look at the books."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from gateway.core.ids import ACTION, ActionId, format_id
from gateway.store.codec import from_micros, to_micros
from gateway.store.counters import COLUMNS, counted, look
from gateway.store.database import Database

IDEMPOTENCY_KEPT: Final = timedelta(hours=24)  # what the API promises
CREATIONS_KEPT: Final = timedelta(minutes=10)  # the limit looks back one minute
DELIVERIES_KEPT: Final = timedelta(days=30)  # attempts at webhooks; how many are kept is said in store/deliveries.py
DAYS_KEPT: Final = timedelta(days=400)  # daily totals, for a year's comparison


_QUEUES: Final = {
    "single_messages": "SELECT count(*), min(created_at) FROM messages INDEXED BY messages_waiting "
    "WHERE status = 0 AND action IS NULL AND COALESCE(not_before, 0) <= ?",
    "reconciliations": "SELECT count(*), min(due_at) FROM messages INDEXED BY messages_due WHERE due_at <= ?",
    "callbacks": "SELECT count(*), min(received_at) FROM callbacks INDEXED BY callbacks_waiting "
    "WHERE state = 0 AND received_at <= ?",
    "looks": "SELECT count(*), min(NULLIF(look_at, 0)) FROM bulk_actions INDEXED BY bulk_actions_look "
    "WHERE look_at <= ?",
    "sweeps": "SELECT count(*), min(created_at) FROM bulk_actions INDEXED BY bulk_actions_work "
    "WHERE work IS NOT NULL AND created_at <= ?",
}


class Housekeeping:
    """Transactions of the reconcile timetable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def purge(self, now: datetime) -> None:
        """Remove answers, creations, deliveries and daily totals that nobody may ask for any more."""

        def operation(conn: sqlite3.Connection) -> None:
            conn.execute("DELETE FROM idempotency WHERE created_at < ?", (to_micros(now - IDEMPOTENCY_KEPT),))
            conn.execute("DELETE FROM creations WHERE at < ?", (to_micros(now - CREATIONS_KEPT),))
            conn.execute("DELETE FROM webhook_deliveries WHERE at < ?", (to_micros(now - DELIVERIES_KEPT),))
            conn.execute("DELETE FROM sender_days WHERE day < ?", ((now - DAYS_KEPT).date().isoformat(),))

        await self._database.write(operation)

    async def beat(self, now: datetime) -> None:
        """Note that the daemon is running: what stood still for long asks before it goes on."""
        await self._database.write(
            lambda conn: conn.execute(
                "INSERT INTO meta VALUES ('heartbeat', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(to_micros(now)),),
            )
        )

    async def last_beat(self) -> datetime | None:
        """When the daemon last noted that it was running."""
        row = await self._database.read(
            lambda conn: conn.execute("SELECT value FROM meta WHERE name = 'heartbeat'").fetchone()
        )
        return None if row is None else from_micros(int(row[0]))

    async def queues(self, now: datetime) -> Mapping[str, tuple[int, timedelta]]:
        """What is due and not done yet: how many, and for how long the oldest has been due. Each is one short index."""
        micros = to_micros(now)
        rows = await self._database.read(
            lambda conn: [conn.execute(query, (micros,)).fetchone() for query in _QUEUES.values()]
        )
        return {
            name: (number, now - from_micros(oldest) if number and oldest else timedelta(0))
            for name, (number, oldest) in zip(_QUEUES, rows, strict=True)
        }

    async def one_offs_in_the_middle(self) -> tuple[ActionId, ...]:
        """Undripped messages that have begun and are not done."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT a.id FROM bulk_actions AS a JOIN action_counts AS n ON n.action = a.id "
                "WHERE a.status = 'processing' AND a.operation = 'send_message' AND n.pending > 0 "
                "AND a.schedule ->> 'mode' <> 'drip'"
            ).fetchall()
        )
        return tuple(ActionId(id) for (id,) in rows)

    async def recount(self) -> tuple[str, ...]:
        """Count the recipients of every action that is not ended, and set right what the counters say. The differences.

        A difference is a defect of ours. Only then does the writer count, which takes a third of a second a million.
        """
        drifted = await self._database.read(_drifted)
        if not drifted:
            return ()
        await self._database.write(_repair_all)
        return tuple(format_id(ACTION, action) for action in drifted)


def _drifted(conn: sqlite3.Connection) -> tuple[ActionId, ...]:
    open_actions = conn.execute(
        f"SELECT a.id, {', '.join(f'n.{column}' for column in COLUMNS)} FROM bulk_actions AS a "
        "JOIN action_counts AS n ON n.action = a.id WHERE a.status IN ('queued', 'processing', 'delegated', 'paused')"
    ).fetchall()
    return tuple(ActionId(id) for id, *kept in open_actions if counted(conn, id) != kept)


def _repair_all(conn: sqlite3.Connection) -> None:
    for action in _drifted(conn):
        _repair(conn, action)


def _repair(conn: sqlite3.Connection, action: ActionId) -> None:
    assignments = ", ".join(f"{column} = ?" for column in COLUMNS)
    conn.execute(f"UPDATE action_counts SET {assignments} WHERE action = ?", (*counted(conn, action), action))
    look(conn, action)  # what it waited for may have happened long ago, hidden by the wrong count
