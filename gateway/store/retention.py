"""What time takes away: texts and addresses of old messages, old events, old callbacks, people who were deleted."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.core.ids import first_id
from gateway.store.callbacks import CallbackStore
from gateway.store.contacts import RESTORABLE
from gateway.store.database import Database
from gateway.store.erasure import FORGOTTEN, Erasure
from gateway.store.events import EventStore

STEP: Final = 1_000  # messages in one transaction
_POSITION: Final = "messages_forgotten_to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`[retention]`: how long what is kept. `messages` None: for ever."""

    messages: timedelta | None = None
    events: timedelta = timedelta(days=30)
    callbacks: timedelta = timedelta(days=7)


class Retention:
    """Run by the timetable, in steps that hold nobody up."""

    def __init__(
        self, database: Database, kept: Kept, events: EventStore, callbacks: CallbackStore, erasure: Erasure
    ) -> None:
        self._database = database
        self._kept = kept
        self._events = events
        self._callbacks = callbacks
        self._erasure = erasure

    async def purge(self, now: datetime) -> None:
        """Let go what is older than it shall be kept."""
        await self._callbacks.purge(now, self._kept.callbacks)
        await self._events.purge(now - self._kept.events)
        await self._erasure.purge(now - RESTORABLE)
        if self._kept.messages is not None:
            await self._forget_messages(now - self._kept.messages)

    async def _forget_messages(self, before: datetime) -> None:
        """Texts, variables and addresses go, books stay. Ids grow with time, so a position says how far it has come."""
        limit = first_id(before)

        def operation(conn: sqlite3.Connection) -> int:
            row = conn.execute("SELECT value FROM meta WHERE name = ?", (_POSITION,)).fetchone()
            position = 0 if row is None else int(row[0])
            ids = [
                id
                for (id,) in conn.execute(
                    "SELECT id FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?", (position, limit, STEP)
                ).fetchall()
            ]
            if ids:
                between = (ids[0], ids[-1])
                conn.execute(f"UPDATE messages SET {FORGOTTEN}, due_at = NULL WHERE id BETWEEN ? AND ?", between)
                conn.execute("UPDATE message_history SET detail = NULL WHERE message BETWEEN ? AND ?", between)
                conn.execute(
                    "INSERT INTO meta (name, value) VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (_POSITION, str(ids[-1])),
                )
            return len(ids)

        done = STEP
        while done == STEP:
            done = await self._database.write(operation)
