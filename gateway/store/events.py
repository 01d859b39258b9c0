"""Reading events: one sequence for each org, in the order of commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.core.ids import EVENT, MESSAGE, OrgId, format_id
from gateway.store.codec import from_json, from_micros, to_json, to_micros
from gateway.store.database import Database

ROWS_AT_ONCE: Final = 100  # of one statement: a row is up to a thousand events
PURGE_STEP: Final = 5_000  # rows removed in one transaction

_SUBJECT: Final = {"message": "message_id", "contact": "contact_id"}
_ORG_SHIFT: Final = 44  # 17 billion events of each org before two ids could be alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact. `id` is unique in the installation, `seq` within the org."""

    seq: int
    id: str
    type: str
    time: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Some events, and `position`: everything up to this number was looked through."""

    events: tuple[Event, ...]
    position: int


class EventStore:
    """Reads of the outbox, and its purge."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, org: OrgId, seq: int, types: Sequence[str], limit: int) -> EventPage:
        """The next events of these types behind `seq`, at most `limit`.

        `types`: as `message.read`, or `bulk_action.*` for all that begin so; none for every type.
        """
        return await self._database.read(lambda conn: _page(conn, org, seq, types, limit))

    async def last(self, org: OrgId) -> int:
        """The number of the newest event; 0 if there is none."""
        row = await self._database.read(
            lambda conn: conn.execute("SELECT last_event FROM orgs WHERE id = ?", (org,)).fetchone()
        )
        return int(row[0])

    async def purge(self, before: datetime) -> int:
        """Forget what is older; how many rows. A reader that was away for longer misses these."""
        total = 0
        removed = PURGE_STEP
        while removed == PURGE_STEP:
            removed = await self._database.write(lambda conn: _purge(conn, to_micros(before)))
            total += removed
        return total


def _page(conn: sqlite3.Connection, org: OrgId, seq: int, types: Sequence[str], limit: int) -> EventPage:
    (newest,) = conn.execute("SELECT last_event FROM orgs WHERE id = ?", (org,)).fetchone()
    found: list[Event] = []
    position = seq
    while len(found) < limit and position < newest:
        rows = _rows(conn, org, position, types)
        for row in rows:
            for event in _events(org, row):
                if event.seq > position and len(found) < limit:
                    found.append(event)
                    position = event.seq
        if len(rows) < ROWS_AT_ONCE and len(found) < limit:
            position = newest
    return EventPage(events=tuple(found), position=position)


def _rows(conn: sqlite3.Connection, org: OrgId, position: int, types: Sequence[str]) -> list[tuple[Any, ...]]:
    wanted = "AND EXISTS (SELECT 1 FROM json_each(?) WHERE events.type GLOB value)" if types else ""
    return conn.execute(
        f"SELECT last, number, type, at, data, subjects FROM events WHERE org = ? AND last > ? {wanted} "
        f"ORDER BY last LIMIT {ROWS_AT_ONCE}",
        (org, position, *([to_json(list(types))] if types else [])),
    ).fetchall()


def _events(org: OrgId, row: tuple[Any, ...]) -> Iterator[Event]:
    last, number, kind, at, data, subjects = row
    shared: dict[str, Any] = from_json(data)
    keys: Sequence[int | str | None] = from_json(subjects) or [None]
    for seq, key in enumerate(keys, last - number + 1):
        yield Event(
            seq=seq,
            id=format_id(EVENT, org << _ORG_SHIFT | seq),
            type=kind,
            time=from_micros(at),
            data=shared if key is None else {_SUBJECT[kind.partition(".")[0]]: _public(key), **shared},
        )


def _public(key: int | str) -> str:
    return key if isinstance(key, str) else format_id(MESSAGE, key)


def _purge(conn: sqlite3.Connection, before: int) -> int:
    return conn.execute(
        "DELETE FROM events WHERE (org, last) IN (SELECT org, last FROM events INDEXED BY events_age "
        "WHERE at < ? LIMIT ?)",
        (before, PURGE_STEP),
    ).rowcount
