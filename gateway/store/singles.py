"""Single messages on their way in: who is meant, may they be written to, and the waiting row."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.contract import Channel
from gateway.core.ids import MESSAGE, ContactKey, MessageId, OrgId, SenderId, format_id
from gateway.core.people import SCALARS
from gateway.store.addresses import address_sql, holders_sql
from gateway.store.candidates import values_of
from gateway.store.codec import from_json, from_micros, to_json, to_micros
from gateway.store.consent import opted_out_sql
from gateway.store.database import Database
from gateway.store.idempotency import Claim, remember
from gateway.store.turn import SOURCES


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom a single message is for. A bare address that nobody is known by has no contact."""

    address: str
    contact: ContactKey | None = None
    contact_id: str | None = None
    time_zone: str | None = None
    phone: str | None = None
    tags: frozenset[str] = frozenset()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSingle:
    """A single message that passed the gate, with its texts rendered."""

    id: MessageId
    org: OrgId
    sender: SenderId
    channel: str
    address: str
    contact: ContactKey | None
    source: str
    category: str
    content: Mapping[str, Any]
    template: str | None = None
    in_reply_to: MessageId | None = None
    segments: int | None = None
    requested_by: str | None
    dry_run: bool
    now: datetime
    claim: Claim | None = None


class SingleStore:
    """Use cases of `POST /v1/messages` and `gateway send`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def person(self, org: OrgId, channel: Channel, public_id: str) -> Person | None:
        """A contact by its public id, with its address on the channel (\"\" if it has none); None if there is none."""
        return self._database.read_now(
            lambda conn: _person(
                conn, channel, "c.org = ? AND c.public_id = ? AND c.deleted_at IS NULL", (org, public_id)
            )
        )

    async def holder(self, org: OrgId, channel: Channel, address: str) -> Person:
        """The contact that is reached at `address`; of several, the one changed last. Else the bare address."""
        where = (
            f"c.id IN ({holders_sql(channel, '?1', '?2')}) AND c.deleted_at IS NULL ORDER BY c.updated_at DESC LIMIT 1"
        )
        found = self._database.read_now(lambda conn: _person(conn, channel, where, (org, address)))
        return found if found is not None else Person(address=address)

    async def opted_out(self, org: OrgId, channel: str, person: Person, category: str) -> bool:
        """Whether this person, or this address, has opted out."""
        row = self._database.read_now(
            lambda conn: conn.execute(
                f"SELECT {opted_out_sql('?1', '?2', '?3', '?4', '?5')}",
                (org, channel, person.address, person.contact, category),
            ).fetchone()
        )
        return bool(row[0])

    async def last_inbound(self, sender: SenderId, address: str) -> datetime | None:
        """When this address last wrote to this sender."""
        row = self._database.read_now(
            lambda conn: conn.execute(
                "SELECT last_inbound_at FROM conversations WHERE sender = ? AND address = ?", (sender, address)
            ).fetchone()
        )
        return None if row is None else from_micros(row[0])

    async def add(self, single: NewSingle) -> None:
        """Store it as waiting; its sender's dispatcher takes it from there."""
        now = to_micros(single.now)
        row = (
            single.id,
            single.org,
            single.channel,
            single.sender,
            single.address,
            single.contact,
            SOURCES.index(single.source),
            single.category,
            to_json(single.content),
            single.template,
            single.in_reply_to,
            single.segments,
            single.requested_by,
            single.dry_run,
            now,
        )

        def operation(conn: sqlite3.Connection) -> None:
            conn.execute(
                "INSERT INTO messages (id, org, channel, sender, address, contact, source, status, category, content, "
                "template, in_reply_to, segments, requested_by, dry_run, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            conn.execute(
                "UPDATE conversations SET last_message = ? WHERE sender = ? AND address = ?",
                (single.id, single.sender, single.address),
            )
            if single.claim is not None:
                remember(conn, single.claim, format_id(MESSAGE, single.id), now)

        await self._database.write(operation)


def _person(conn: sqlite3.Connection, channel: Channel, where: str, parameters: tuple[Any, ...]) -> Person | None:
    row = conn.execute(
        f"SELECT c.id, c.public_id, {address_sql(channel)}, c.attributes, "
        "(SELECT json_group_array(tag) FROM contact_tags WHERE contact = c.id), "
        f"{', '.join(f'c.{field}' for field in SCALARS)} "
        f"FROM contacts AS c WHERE {where}",
        parameters,
    ).fetchone()
    if row is None:
        return None
    key, public_id, address, attributes, tags, *fields = row
    return Person(
        address=address or "",
        contact=key,
        contact_id=public_id,
        time_zone=fields[SCALARS.index("time_zone")],
        phone=fields[SCALARS.index("phone")],
        tags=frozenset(from_json(tags)),
        values=values_of(public_id, fields, attributes, None),
    )
