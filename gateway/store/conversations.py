"""The inbox: conversations as they are listed, read, assigned and carried on."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.core.ids import MessageId, OrgId, SenderId
from gateway.store.codec import from_json, from_micros, to_json
from gateway.store.database import Database

_COLUMNS = (
    "v.id, v.channel, v.sender, v.address, v.name, c.public_id, v.candidates, v.last_message, v.last_inbound_at, "
    "v.unread, v.assigned_to, v.created_at"
)
_JOINED = "conversations AS v LEFT JOIN contacts AS c ON c.id = v.contact"

MESSAGES_OF = """m.id IN (
    SELECT one.id FROM conversations AS v CROSS JOIN json_each(v.candidates) AS each
    CROSS JOIN messages AS one INDEXED BY messages_contact ON one.contact = each.value
    WHERE v.id = :conversation AND one.sender = v.sender AND one.address IN {addresses}
    UNION ALL
    SELECT one.id FROM conversations AS v CROSS JOIN messages AS one INDEXED BY messages_contact
    ON one.contact = v.contact WHERE v.id = :conversation AND one.sender = v.sender AND one.address IN {addresses}
    UNION ALL
    SELECT one.id FROM conversations AS v CROSS JOIN messages AS one INDEXED BY messages_stranger
    ON one.org = v.org AND one.address IN {addresses} AND one.contact IS NULL
    WHERE v.id = :conversation AND one.sender = v.sender)""".format(
    addresses="(SELECT v.address UNION ALL SELECT alias FROM address_aliases AS other "
    "WHERE other.org = v.org AND other.channel = v.channel AND other.address = v.address)"
)
"""A SQL condition on `m`: the messages of `:conversation`, of the contacts who share its address and of strangers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """All messages between one sender and one address. `candidates`: public ids of the contacts that share it."""

    id: int
    channel: str
    sender: SenderId
    address: str
    name: str | None
    contact_id: str | None
    candidates: tuple[str, ...]
    last_message: MessageId
    last_inbound_at: datetime
    unread: int
    assigned_to: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFilter:
    """Which conversations to list; `unmatched`: with nobody known behind the address."""

    unread: bool | None = None
    unmatched: bool | None = None
    channel: str | None = None
    contact: str | None = None
    assigned_to: str | None = None


class ConversationStore:
    """Use cases of the inbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, org: OrgId, wanted: ConversationFilter, *, before: MessageId | None, limit: int
    ) -> tuple[Conversation, ...]:
        """The one with the newest message first."""
        conditions = ["v.org = :org"]
        if before is not None:
            conditions.append("v.last_message < :before")
        if wanted.unread is not None:
            conditions.append("v.unread > 0" if wanted.unread else "v.unread = 0")
        if wanted.unmatched is not None:
            conditions.append("v.contact IS NULL" if wanted.unmatched else "v.contact IS NOT NULL")
        if wanted.channel is not None:
            conditions.append("v.channel = :channel")
        if wanted.contact is not None:
            conditions.append("v.contact = (SELECT id FROM contacts WHERE org = :org AND public_id = :contact)")
        if wanted.assigned_to is not None:
            conditions.append("v.assigned_to = :assigned_to")
        parameters = {
            "org": org,
            "before": before,
            "channel": wanted.channel,
            "contact": wanted.contact,
            "assigned_to": wanted.assigned_to,
            "limit": limit,
        }
        return await self._database.read(
            lambda conn: _read(
                conn, f"{' AND '.join(conditions)} ORDER BY v.last_message DESC LIMIT :limit", parameters
            )
        )

    async def get(self, org: OrgId, conversation: int) -> Conversation | None:
        """One of the org's."""
        parameters = {"org": org, "id": conversation}
        found = self._database.read_now(lambda conn: _read(conn, "v.org = :org AND v.id = :id", parameters))
        return found[0] if found else None

    async def last_inbound_id(self, conversation: int) -> tuple[MessageId, str | None] | None:
        """The newest message that came in, with its provider's id: what a reply answers."""
        row = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT m.id, m.provider_ids ->> 0 FROM messages AS m WHERE m.direction = 1 AND {MESSAGES_OF} "
                "ORDER BY m.id DESC LIMIT 1",
                {"conversation": conversation},
            ).fetchone()
        )
        return None if row is None else (MessageId(row[0]), row[1])

    async def mark_read(self, conversation: int, up_to: MessageId) -> None:
        """Everything up to this message has been read; what came in since then is counted anew."""

        def operation(conn: sqlite3.Connection) -> None:
            conn.execute("UPDATE conversations SET read_up_to = max(read_up_to, ?) WHERE id = ?", (up_to, conversation))
            conn.execute(
                f"""UPDATE conversations SET unread = (
                        SELECT count(*) FROM messages AS m WHERE m.direction = 1 AND m.id > read_up_to
                        AND m.content ->> '$.automatic' IS NULL AND {MESSAGES_OF}) WHERE id = :conversation""",
                {"conversation": conversation},
            )

        await self._database.write(operation)

    async def assign(self, conversation: int, to: str | None) -> None:
        """Somebody takes it (an opaque name of the caller's), or nobody."""
        await self._database.write(
            lambda conn: conn.execute("UPDATE conversations SET assigned_to = ? WHERE id = ?", (to, conversation))
        )


def _read(conn: sqlite3.Connection, where: str, parameters: dict[str, Any]) -> tuple[Conversation, ...]:
    rows = conn.execute(f"SELECT {_COLUMNS} FROM {_JOINED} WHERE {where}", parameters).fetchall()
    keys = sorted({key for row in rows for key in from_json(row[6])})
    names = dict(
        conn.execute(
            "SELECT id, public_id FROM contacts WHERE id IN (SELECT value FROM json_each(?))", (to_json(keys),)
        ).fetchall()
    )
    return tuple(_conversation(row, names) for row in rows)


def _conversation(row: Sequence[Any], names: dict[int, str]) -> Conversation:
    (id, channel, sender, address, name, contact_id, candidates, last_message, last_inbound_at, *rest) = row
    unread, assigned_to, created_at = rest
    return Conversation(
        id=id,
        channel=channel,
        sender=SenderId(sender),
        address=address,
        name=name,
        contact_id=contact_id,
        candidates=tuple(names[key] for key in from_json(candidates) if key in names),
        last_message=MessageId(last_message),
        last_inbound_at=from_micros(last_inbound_at),
        unread=unread,
        assigned_to=assigned_to,
        created_at=from_micros(created_at),
    )
