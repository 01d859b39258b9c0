"""Reading events: one sequence for each org, in the order of commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.core.event_types import named_by
from gateway.core.ids import EVENT, MESSAGE, OrgId, format_id
from gateway.store.codec import from_json, from_micros, to_json, to_micros
from gateway.store.database import Database

ROWS_AT_ONCE: Final = 5_000  # looked through for one page, a few milliseconds; a row is up to a thousand events
PURGE_STEP: Final = 5_000  # rows removed in one transaction

_COLUMNS: Final = "last, number, type, at, data, subjects"
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
    """Some events. `position`: everything up to this number was looked through, also where nothing was found.

    `first` is the oldest number that is kept, or would be the next one's, and `newest` the last that was given.
    """

    events: tuple[Event, ...]
    position: int
    first: int
    newest: int


class EventStore:
    """Reads of the outbox, and its purge."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, org: OrgId, seq: int, types: Sequence[str], limit: int) -> EventPage:
        """The next events of these types behind `seq`, at most `limit`.

        `types`: patterns of `gateway.core.event_types`; none for every type. A page may be short, or empty, before the
        end is reached: go on from its `position`.
        """
        return await self._database.read(lambda conn: read_page(conn, org, seq, types, limit))

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


def event_id(org: OrgId, seq: int) -> str:
    """What an event is called wherever it goes: the same at every reading."""
    return format_id(EVENT, org << _ORG_SHIFT | seq)


def read_page(conn: sqlite3.Connection, org: OrgId, seq: int, types: Sequence[str], limit: int) -> EventPage:
    """`EventStore.after`, inside somebody else's transaction."""
    (newest,) = conn.execute("SELECT last_event FROM orgs WHERE id = ?", (org,)).fetchone()
    first = oldest(conn, org)
    found: list[Event] = []
    end = _end(conn, org, seq, newest)
    for row in _rows(conn, org, seq, end, types):
        for event in _events(org, row, seq):
            found.append(event)
            if len(found) == limit:
                return EventPage(events=tuple(found), position=event.seq, newest=newest, first=first)
    return EventPage(events=tuple(found), position=max(seq, end), newest=newest, first=first)


def read_one(conn: sqlite3.Connection, org: OrgId, seq: int) -> Event | None:
    """The event of a number; None if it is not kept any more."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM events WHERE org = ? AND last >= ? ORDER BY last LIMIT 1", (org, seq)
    ).fetchone()
    return None if row is None else next((event for event in _events(org, row, seq - 1) if event.seq == seq), None)


def oldest(conn: sqlite3.Connection, org: OrgId) -> int:
    """The number of the oldest event that is kept; that of the next one if none is."""
    (number,) = conn.execute(
        "SELECT COALESCE((SELECT last - number FROM events WHERE org = ?1 ORDER BY last LIMIT 1), last_event) + 1 "
        "FROM orgs WHERE id = ?1",
        (org,),
    ).fetchone()
    return int(number)


def _end(conn: sqlite3.Connection, org: OrgId, seq: int, newest: int) -> int:
    """How far one look goes: `ROWS_AT_ONCE` rows, however few of them are of the types asked for."""
    row = conn.execute(
        "SELECT last FROM events WHERE org = ? AND last > ? ORDER BY last LIMIT 1 OFFSET ?",
        (org, seq, ROWS_AT_ONCE - 1),
    ).fetchone()
    return newest if row is None else int(row[0])


def _rows(conn: sqlite3.Connection, org: OrgId, seq: int, end: int, types: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows up to `end`, one by one: whoever has enough reads no further."""
    wanted = "AND type IN (SELECT value FROM json_each(?))" if types else ""
    return conn.execute(
        f"SELECT {_COLUMNS} FROM events WHERE org = ? AND last > ? AND last <= ? {wanted} ORDER BY last",
        (org, seq, end, *([to_json(named_by(types))] if types else [])),
    )


def _events(org: OrgId, row: tuple[Any, ...], behind: int) -> Iterator[Event]:
    """The events of a row whose numbers are larger than `behind`."""
    last, number, kind, at, data, subjects = row
    shared: dict[str, Any] = from_json(data)
    keys: Sequence[int | str | None] = from_json(subjects) or [None]
    start = max(0, behind - (last - number))
    for seq, key in enumerate(keys[start:], last - number + 1 + start):
        yield Event(
            seq=seq,
            id=event_id(org, seq),
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
