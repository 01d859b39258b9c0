"""Wishes that came from outside: who does not want to be written to any more, and who does again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway.contract import Channel
from gateway.core.ids import ContactKey, MessageId, OrgId
from gateway.store.addresses import holders_sql
from gateway.store.outbox import publish_wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants. `address` in its one spelling. `message` is the one that proves it, or that it is about.

    `contact`: who it was that the message went to, if that is known; they may have another address by now.
    """

    org: OrgId
    channel: Channel
    address: str
    out: bool
    category: str
    source: str
    reason: str | None = None
    message: MessageId | None = None
    contact: ContactKey | None = None
    callback: int | None = None  # the provider's callback that said so


def record_wish(conn: sqlite3.Connection, wish: Wish, now: int, take_id: Callable[[], int]) -> bool:
    """Write a wish into the suppression list and the ledger. False if it stood there already.

    It holds for the address, and for the contact too if exactly one has that address: a shared number must not
    silence somebody else, and a new number must not bring back somebody who left.
    """
    contact = _only_holder(conn, wish)
    return _leave(conn, wish, contact, now, take_id) if wish.out else _come_back(conn, wish, contact, now)


def _only_holder(conn: sqlite3.Connection, wish: Wish) -> ContactKey | None:
    query = f"SELECT DISTINCT id FROM ({holders_sql(wish.channel, '?1', '?2')}) LIMIT 2"
    rows = conn.execute(query, (wish.org, wish.address)).fetchall()
    if not rows:
        return wish.contact
    return ContactKey(rows[0][0]) if len(rows) == 1 else None


def _leave(
    conn: sqlite3.Connection, wish: Wish, contact: ContactKey | None, now: int, take_id: Callable[[], int]
) -> bool:
    held: list[tuple[str | None, ContactKey | None]] = [(wish.address, None)]
    if contact is not None:
        held.append((None, contact))
    new = False
    for address, key in held:
        inserted = conn.execute(
            "INSERT INTO opt_outs "
            "(id, org, channel, address, contact, category, reason, source, message, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                take_id(),
                wish.org,
                wish.channel.name,
                address,
                key,
                wish.category,
                wish.reason,
                wish.source,
                wish.message,
                now,
            ),
        ).rowcount
        new = new or inserted > 0
    if new:
        _note(conn, wish, contact, "out", now)
    return new


def _come_back(conn: sqlite3.Connection, wish: Wish, contact: ContactKey | None, now: int) -> bool:
    removed = conn.execute(
        "DELETE FROM opt_outs WHERE org = ?1 AND channel = ?2 AND (category = ?3 OR ?3 = 'all') "
        "AND (address = ?4 OR contact = ?5)",
        (wish.org, wish.channel.name, wish.category, wish.address, contact),
    ).rowcount
    if removed:
        _note(conn, wish, contact, "in", now)
    return removed > 0


def _note(
    conn: sqlite3.Connection, wish: Wish, contact: ContactKey | None, word: Literal["out", "in"], now: int
) -> None:
    publish_wish(
        conn,
        wish.org,
        word,
        now,
        channel=wish.channel.name,
        category=wish.category,
        source=wish.source,
        contact=contact,
        message=wish.message,
    )
    conn.execute(
        "INSERT INTO consent_ledger "
        "(org, wish, channel, address, contact, category, source, reason, message, callback, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            wish.org,
            word,
            wish.channel.name,
            wish.address,
            contact,
            wish.category,
            wish.source,
            wish.reason,
            wish.message,
            wish.callback,
            now,
        ),
    )
