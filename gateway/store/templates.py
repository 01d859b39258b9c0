"""Templates that providers keep, as they were when they were last asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.contract import ProviderTemplate, TemplateChange
from gateway.core.ids import TEMPLATE, ActionId, IdSequence, OrgId, SenderId, format_id
from gateway.store.codec import from_json, from_micros, to_json, to_micros
from gateway.store.database import Database
from gateway.store.outbox import publish

_COLUMNS = "id, channel, sender, name, language, status, category, text, parameters, media, reason, details, synced_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTemplate:
    """One template in one language. `details` are the adapter's own."""

    id: int
    channel: str
    sender: SenderId
    name: str
    language: str
    status: str
    category: str | None
    text: str
    parameters: tuple[str, ...]
    media: str | None
    reason: str | None
    details: Mapping[str, Any]
    synced_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFilter:
    """Which templates to list."""

    channel: str | None = None
    sender: SenderId | None = None
    status: tuple[str, ...] = ()
    language: str | None = None


class TemplateStore:
    """Use cases of templates."""

    def __init__(self, database: Database, ids: IdSequence) -> None:
        self._database = database
        self._ids = ids

    async def sync(
        self, org: OrgId, sender: SenderId, channel: str, found: Sequence[ProviderTemplate], now: datetime
    ) -> int:
        """Keep exactly what the provider has now; a template keeps its id. How many there are."""
        micros = to_micros(now)
        rows = [
            (
                self._ids.take(),
                org,
                channel,
                sender,
                one.name,
                one.language,
                one.status,
                one.category,
                one.text,
                to_json(one.parameters),
                one.media,
                one.reason,
                to_json(one.details),
                micros,
            )
            for one in found
        ]

        def operation(conn: sqlite3.Connection) -> int:
            before = _statuses(conn, sender)
            conn.executemany(
                "INSERT INTO templates (id, org, channel, sender, name, language, status, category, text, parameters, "
                "media, reason, details, synced_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (sender, name, language) DO UPDATE SET status = excluded.status, "
                "category = excluded.category, text = excluded.text, parameters = excluded.parameters, "
                "media = excluded.media, reason = excluded.reason, details = excluded.details, "
                "synced_at = excluded.synced_at",
                rows,
            )
            conn.execute(
                "DELETE FROM templates WHERE sender = ? AND NOT EXISTS (SELECT 1 FROM json_each(?) "
                "WHERE value ->> 0 = templates.name AND value ->> 1 = templates.language)",
                (sender, to_json([(one.name, one.language) for one in found])),
            )
            after = _statuses(conn, sender)
            for id, status in after.items():
                if before.get(id, status) != status:
                    _tell(conn, org, id, status, micros)
            return len(rows)

        return await self._database.write(operation)

    async def list(
        self, org: OrgId, wanted: TemplateFilter, *, after: int = 0, limit: int = 200
    ) -> tuple[StoredTemplate, ...]:
        """At most `limit`, oldest id first, behind the id `after`."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM templates WHERE org = :org AND id > :after "
                "AND channel = COALESCE(:channel, channel) AND sender = COALESCE(:sender, sender) "
                "AND language = COALESCE(:language, language) "
                "AND (:status IS NULL OR status IN (SELECT value FROM json_each(:status))) ORDER BY id LIMIT :limit",
                {
                    "org": org,
                    "after": after,
                    "channel": wanted.channel,
                    "sender": wanted.sender,
                    "language": wanted.language,
                    "status": to_json(wanted.status) if wanted.status else None,
                    "limit": limit,
                },
            ).fetchall()
        )
        return tuple(map(_template, rows))

    async def get(self, org: OrgId, template: int) -> StoredTemplate | None:
        """One template of the org."""
        row = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM templates WHERE org = ? AND id = ?", (org, template)
            ).fetchone()
        )
        return None if row is None else _template(row)

    async def named(self, sender: SenderId, name: str) -> tuple[StoredTemplate, ...]:
        """A sender's template in all its languages."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM templates WHERE sender = ? AND name = ? ORDER BY language", (sender, name)
            ).fetchall()
        )
        return tuple(map(_template, rows))

    async def names(self, sender: SenderId) -> tuple[str, ...]:
        """The names of a sender's templates."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT DISTINCT name FROM templates WHERE sender = ? ORDER BY name", (sender,)
            ).fetchall()
        )
        return tuple(name for (name,) in rows)

    async def users_of(self, sender: SenderId, name: str, language: str) -> tuple[ActionId, ...]:
        """The bulk actions that would still send with this template."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT id FROM bulk_actions WHERE sender = ? AND status IN ('queued', 'processing') "
                "AND message ->> '$.template.name' = ? AND message ->> '$.template.language' = ?",
                (sender, name, language),
            ).fetchall()
        )
        return tuple(ActionId(id) for (id,) in rows)


def change_template(conn: sqlite3.Connection, sender: SenderId, change: TemplateChange, now: int) -> bool:
    """The provider says that a template's status has changed. False if it is not known or stood there already."""
    row = conn.execute(
        "UPDATE templates SET status = ?, reason = ? WHERE sender = ? AND name = ? AND language = ? AND status <> ? "
        "RETURNING org, id",
        (change.status, change.reason, sender, change.name, change.language, change.status),
    ).fetchone()
    if row is None:
        return False
    _tell(conn, row[0], row[1], change.status, now)
    return True


def _statuses(conn: sqlite3.Connection, sender: SenderId) -> dict[int, str]:
    return dict(conn.execute("SELECT id, status FROM templates WHERE sender = ?", (sender,)).fetchall())


def _tell(conn: sqlite3.Connection, org: int, template: int, status: str, now: int) -> None:
    publish(conn, org, "template.status_changed", now, {"template_id": format_id(TEMPLATE, template), "status": status})


def _template(row: Sequence[Any]) -> StoredTemplate:
    (id, channel, sender, name, language, status, category, text, parameters, media, reason, details, synced_at) = row
    return StoredTemplate(
        id=id,
        channel=channel,
        sender=SenderId(sender),
        name=name,
        language=language,
        status=status,
        category=category,
        text=text,
        parameters=tuple(from_json(parameters)),
        media=media,
        reason=reason,
        details=from_json(details),
        synced_at=from_micros(synced_at),
    )
