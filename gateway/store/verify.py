"""Do the books balance: the recipients' rows counted against what the counters say."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from gateway.core.ids import ACTION, format_id
from gateway.store.counters import COLUMNS, counted
from gateway.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `gateway verify` found. `faults` is empty if the books balance."""

    actions: int
    recipients: int
    messages: int
    sending: dict[str, int]  # by sender
    unknown: int
    faults: tuple[str, ...]


async def verify(database: Database) -> Verification:
    """Count everything in one state of the database; about a third of a second for a million recipients."""
    return await database.read(_verify)


def _verify(conn: sqlite3.Connection) -> Verification:
    faults: list[str] = []
    actions = [id for (id,) in conn.execute("SELECT id FROM bulk_actions").fetchall()]
    recipients = 0
    for action in actions:
        recipients += _verify_action(conn, action, faults)
    sending = conn.execute(
        "SELECT s.name, s.in_flight_limit, (SELECT count(*) FROM messages WHERE sender = s.id AND status = 1) "
        "FROM senders AS s"
    ).fetchall()
    for name, limit, number in sending:
        if number > limit:
            faults.append(f"sender {name}: {number} messages are in flight, the limit is {limit}")
    faults += _stray_messages(conn)
    (messages,) = conn.execute("SELECT count(*) FROM messages").fetchone()
    (unknown,) = conn.execute("SELECT COALESCE(sum(unknown), 0) FROM action_counts").fetchone()
    return Verification(
        actions=len(actions),
        recipients=recipients,
        messages=messages,
        sending={name: number for name, _, number in sending},
        unknown=unknown,
        faults=tuple(faults),
    )


def _verify_action(conn: sqlite3.Connection, action: int, faults: list[str]) -> int:
    name = format_id(ACTION, action)
    present = dict(zip(COLUMNS, counted(conn, action), strict=True))
    kept = _counters(conn, "action_counts WHERE action = ?", (action,))
    faults += _differences(name, present, kept)
    (unreleased,) = conn.execute("SELECT unreleased FROM action_counts WHERE action = ?", (action,)).fetchone()
    released = conn.execute(
        "SELECT COALESCE(sum(pending), 0) FROM batches WHERE action = ?",
        (action,),
    ).fetchone()[0]
    if unreleased + released != present["pending"]:
        faults.append(
            f"{name}: {unreleased} unreleased and {released} released recipients wait, "
            f"but {present['pending']} are pending"
        )
    below = " OR ".join(f"{column} < 0" for column in COLUMNS)
    for (number,) in conn.execute(f"SELECT number FROM batches WHERE action = ? AND ({below})", (action,)):
        faults.append(f"{name}: batch {number} counts less than nobody in a state")
    batches = conn.execute(
        f"SELECT {', '.join(f'sum({column})' for column in COLUMNS)} FROM batches WHERE action = ?", (action,)
    ).fetchone()
    for column, number in zip(COLUMNS, batches, strict=True):
        if (number or 0) > present[column]:
            faults.append(f"{name}: its batches count {number} {column}, the action has {present[column]}")
    return sum(present.values())


def _counters(conn: sqlite3.Connection, source: str, parameters: tuple[Any, ...]) -> dict[str, int]:
    row = conn.execute(f"SELECT {', '.join(COLUMNS)} FROM {source}", parameters).fetchone()
    return dict(zip(COLUMNS, row, strict=True))


def _differences(name: str, present: dict[str, int], kept: dict[str, int]) -> list[str]:
    return [
        f"{name}: {present[column]} recipients are {column}, the counter says {kept[column]}"
        for column in COLUMNS
        if present[column] != kept[column]
    ]


def _stray_messages(conn: sqlite3.Connection) -> list[str]:
    """A message in flight and its recipient tell one story."""
    rows = conn.execute(
        "SELECT m.id FROM messages AS m LEFT JOIN recipients AS r ON r.action = m.action AND r.seq = m.seq "
        "WHERE m.status = 1 AND m.action IS NOT NULL AND (r.state IS NOT 1 OR r.message IS NOT m.id)"
    ).fetchall()
    return [f"message {format_id('msg', id)} is in flight, its recipient is not" for (id,) in rows]
