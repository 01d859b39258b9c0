"""An inbound message is stored: who wrote, what it answers, and the conversation it belongs to. One transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.contract import Channel, Inbound
from gateway.core.content import MediaContent
from gateway.core.ids import ACTION, CONVERSATION, MESSAGE, ContactKey, MessageId, OrgId, SenderId, format_id
from gateway.core.states import MessageStatus
from gateway.store.addresses import holders_sql
from gateway.store.codec import to_json, to_micros
from gateway.store.outbox import public_id_of, publish
from gateway.store.receipts import message_by_provider_id
from gateway.store.turn import SOURCES

CANDIDATES_MAX: Final = 20  # contacts that share an address; a list of more helps nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundContext:
    """Where it came in. `link_within`: microseconds before it in which a message may have prompted it."""

    sender: SenderId
    org: OrgId
    channel: Channel
    link_within: int


@dataclass(frozen=True, slots=True)
class _Writer:
    """Who wrote: the address under which they are known here, and the contacts who have it."""

    address: str
    contact: ContactKey | None
    candidates: Sequence[ContactKey]


@dataclass(frozen=True, slots=True)
class _Link:
    """Which of our messages this answers, and how that is known."""

    reason: str  # quoted, last_prompt, none
    message: MessageId | None = None
    action: int | None = None
    round: int = 0


def store_inbound(
    conn: sqlite3.Connection, context: InboundContext, inbound: Inbound, now: int, take_id: Callable[[], int]
) -> MessageId | None:
    """Store it with its conversation; None if this sender has stored a message of that provider id already.

    `inbound.address` is in its one spelling, and so are its aliases.
    """
    message = MessageId(take_id())
    new = conn.execute(
        "INSERT OR IGNORE INTO provider_ids (sender, provider_id, message) VALUES (?, ?, ?)",
        (context.sender, inbound.provider_id, message),
    ).rowcount
    if not new:
        return None
    writer = _writer(conn, context, inbound)
    link = _link(conn, context, inbound, writer, now)
    written_at = now if inbound.at is None else min(now, to_micros(inbound.at))
    _insert(conn, context, inbound, message, writer, link, written_at)
    conversation = _converse(conn, context, inbound, message, writer, written_at, now, take_id)
    _tell(conn, context, message, conversation, writer, link, now)
    return message


def _writer(conn: sqlite3.Connection, context: InboundContext, inbound: Inbound) -> _Writer:
    address = _remembered_address(conn, context, inbound)
    holders = conn.execute(
        f"SELECT DISTINCT id FROM ({holders_sql(context.channel, '?1', '?2')}) LIMIT ?3",
        (context.org, address, CANDIDATES_MAX),
    ).fetchall()
    candidates = [ContactKey(id) for (id,) in holders]
    return _Writer(address, _last_written_to(conn, context, candidates), candidates)


def _remembered_address(conn: sqlite3.Connection, context: InboundContext, inbound: Inbound) -> str:
    """The address under which this person is known; all their ids lead to it from now on."""
    ids = [inbound.address, *inbound.aliases]
    address = known_address(conn, context, ids)
    others = [alias for alias in ids if alias != address]
    if others:
        _keep_aliases(conn, context, address, others)
    return address


def known_address(conn: sqlite3.Connection, context: InboundContext, ids: Sequence[str]) -> str:
    """The address under which the person with these ids is known; the first of them if none of them was ever joined."""
    row = conn.execute(
        "SELECT address FROM address_aliases "
        "WHERE org = ? AND channel = ? AND alias IN (SELECT value FROM json_each(?))",
        (context.org, context.channel.name, to_json(ids)),
    ).fetchone()
    address: str = ids[0] if row is None else row[0]
    return address


def _keep_aliases(conn: sqlite3.Connection, context: InboundContext, address: str, others: Sequence[str]) -> None:
    """What was known under another id, a conversation or an opt-out, goes on under this address."""
    conn.executemany(
        "INSERT INTO address_aliases (org, channel, alias, address) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (org, channel, alias) DO UPDATE SET address = excluded.address WHERE address <> excluded.address",
        [(context.org, context.channel.name, alias, address) for alias in others],
    )
    conn.execute(
        "UPDATE OR IGNORE conversations SET address = ? "
        "WHERE sender = ? AND address IN (SELECT value FROM json_each(?))",
        (address, context.sender, to_json(others)),
    )
    conn.execute(
        "UPDATE OR IGNORE opt_outs SET address = ? "
        "WHERE org = ? AND channel = ? AND address IN (SELECT value FROM json_each(?))",
        (address, context.org, context.channel.name, to_json(others)),
    )


def _last_written_to(
    conn: sqlite3.Connection, context: InboundContext, candidates: Sequence[ContactKey]
) -> ContactKey | None:
    """Of several who share an address the one that this channel was last used for; else the one changed last."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    row = conn.execute(
        """SELECT c.id FROM contacts AS c WHERE c.id IN (SELECT value FROM json_each(?1))
           ORDER BY (SELECT max(m.id) FROM messages AS m INDEXED BY messages_contact
                     WHERE m.contact = c.id AND m.direction = 0 AND m.channel = ?2) DESC NULLS LAST,
               c.deleted_at IS NULL DESC, c.updated_at DESC LIMIT 1""",
        (to_json(candidates), context.channel.name),
    ).fetchone()
    return ContactKey(row[0])


def _link(conn: sqlite3.Connection, context: InboundContext, inbound: Inbound, writer: _Writer, now: int) -> _Link:
    if inbound.automatic:
        return _Link("none")
    quoted = message_by_provider_id(conn, context.sender, inbound.quotes)
    if quoted is not None:
        return _linked(conn, "quoted", quoted)
    prompt = _last_prompt(conn, context, writer, now - context.link_within)
    return _Link("none") if prompt is None else _linked(conn, "last_prompt", prompt)


def _linked(conn: sqlite3.Connection, reason: str, message: MessageId) -> _Link:
    row = conn.execute("SELECT action, round FROM messages WHERE id = ?", (message,)).fetchone()
    return _Link("none") if row is None else _Link(reason, message, row[0], row[1])


def _last_prompt(conn: sqlite3.Connection, context: InboundContext, writer: _Writer, since: int) -> MessageId | None:
    """The latest message to this address on this sender that may have arrived. By index: contacts, then strangers."""
    where = (
        "sender = :sender AND address = :address AND direction = 0 AND created_at >= :since "
        "AND status NOT IN (0, 5, 6, 7, 8, 9)"
    )
    row = conn.execute(
        f"""SELECT max(id) FROM (
                SELECT m.id FROM json_each(:contacts) AS c CROSS JOIN messages AS m INDEXED BY messages_contact
                ON m.contact = c.value WHERE {where}
                UNION ALL
                SELECT id FROM messages INDEXED BY messages_stranger
                WHERE org = :org AND contact IS NULL AND {where})""",
        {
            "contacts": to_json(writer.candidates),
            "org": context.org,
            "sender": context.sender,
            "address": writer.address,
            "since": since,
        },
    ).fetchone()
    return None if row[0] is None else MessageId(row[0])


def _insert(
    conn: sqlite3.Connection,
    context: InboundContext,
    inbound: Inbound,
    message: MessageId,
    writer: _Writer,
    link: _Link,
    written_at: int,
) -> None:
    conn.execute(
        "INSERT INTO messages (id, org, direction, channel, sender, address, contact, source, status, action, round, "
        "content, provider_ids, in_reply_to, link_reason, created_at) "
        "VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message,
            context.org,
            context.channel.name,
            context.sender,
            writer.address,
            writer.contact,
            SOURCES.index("inbound"),
            MessageStatus.RECEIVED,
            link.action,
            link.round,
            to_json(_content(inbound)),
            to_json([inbound.provider_id]),
            link.message,
            link.reason,
            written_at,
        ),
    )


def _content(inbound: Inbound) -> dict[str, Any]:
    media = [
        MediaContent(url=one.url, content_type=one.content_type, size=one.size, filename=one.filename)
        for one in inbound.media
    ]
    given = {"body": inbound.text, "button": inbound.button, "media": media, "automatic": inbound.automatic}
    return {name: value for name, value in given.items() if value}


def _converse(
    conn: sqlite3.Connection,
    context: InboundContext,
    inbound: Inbound,
    message: MessageId,
    writer: _Writer,
    written_at: int,
    now: int,
    take_id: Callable[[], int],
) -> int:
    """Open the conversation or carry it on. What a machine wrote is nothing to be read, and prolongs no window."""
    (conversation,) = conn.execute(
        """INSERT INTO conversations (id, org, channel, sender, address, name, contact, candidates, last_message,
               last_inbound_at, unread, created_at)
           VALUES (:id, :org, :channel, :sender, :address, :name, :contact, :candidates, :message, :at, :unread, :now)
           ON CONFLICT (sender, address) DO UPDATE SET
               name = COALESCE(excluded.name, name), contact = COALESCE(excluded.contact, contact),
               candidates = excluded.candidates, last_message = max(last_message, excluded.last_message),
               last_inbound_at = CASE WHEN :automatic THEN last_inbound_at
                   ELSE max(last_inbound_at, excluded.last_inbound_at) END,
               unread = unread + excluded.unread
           RETURNING id""",
        {
            "id": take_id(),
            "org": context.org,
            "channel": context.channel.name,
            "sender": context.sender,
            "address": writer.address,
            "name": inbound.name,
            "contact": writer.contact,
            "candidates": to_json(writer.candidates),
            "message": message,
            "at": written_at,
            "automatic": inbound.automatic,
            "unread": 0 if inbound.automatic else 1,
            "now": now,
        },
    ).fetchone()
    found: int = conversation
    return found


def _tell(
    conn: sqlite3.Connection,
    context: InboundContext,
    message: MessageId,
    conversation: int,
    writer: _Writer,
    link: _Link,
    now: int,
) -> None:
    data = {
        "message_id": format_id(MESSAGE, message),
        "conversation_id": format_id(CONVERSATION, conversation),
        "channel": context.channel.name,
        "contact_id": public_id_of(conn, writer.contact),
        "in_reply_to": None if link.message is None else format_id(MESSAGE, link.message),
        "bulk_action_id": None if link.action is None else format_id(ACTION, link.action),
    }
    publish(conn, context.org, "message.received", now, data)
