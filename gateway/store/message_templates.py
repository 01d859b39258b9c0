"""Templates of an org's own: their versions, which of them is in use, and what was decided about each."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from gateway.core.ids import TEMPLATE, IdSequence, OrgId, TemplateId, format_id
from gateway.core.message_template import OUTCOMES, REVIEWS, Review, TemplateChecks, TemplateSource, TemplateStatus
from gateway.errors import NotFound, Refused
from gateway.store.codec import from_micros, instant_or_none, to_json, to_micros
from gateway.store.database import Database
from gateway.store.idempotency import Claim, remember
from gateway.store.outbox import publish

TEMPLATES_MAX: Final = 1_000  # of one org, deleted ones not counted
VERSIONS_MAX: Final = 50  # kept of one template: drafts that nobody approved go first
NAMES_MAX: Final = 20  # told to who asks for one that is not there

_VERSION: Final = (
    "number, status, reason, content, checks, created_at, created_by, requested_by, decided_at, decided_by"
)
_VERSION_WIDTH: Final = len(_VERSION.split(","))
_COLUMNS: Final = ", ".join(
    [
        "t.id, t.org, t.channel, t.name, t.description, t.revision, t.created_at, t.created_by, t.updated_at",
        "t.requested_by, t.deleted_at",
        *(f"v.{column}" for column in _VERSION.split(", ")),
        *(f"u.{column}" for column in _VERSION.split(", ")),
    ]
)
_FROM: Final = (
    "message_templates AS t JOIN template_versions AS v ON v.template = t.id AND v.number = t.latest "
    "LEFT JOIN template_versions AS u ON u.template = t.id AND u.number = t.in_use"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVersion:
    """One version. `reason`: why it was rejected or paused."""

    number: int
    status: TemplateStatus
    reason: str | None
    source: TemplateSource
    checks: TemplateChecks
    created_at: datetime
    created_by: str | None
    requested_by: str | None
    decided_at: datetime | None
    decided_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTemplate:
    """A template with its newest version and the one that messages are made from, if one was ever approved."""

    id: TemplateId
    org: OrgId
    channel: str
    name: str
    description: str | None
    revision: int
    created_at: datetime
    created_by: str | None
    updated_at: datetime
    requested_by: str | None
    deleted_at: datetime | None
    latest: TemplateVersion
    in_use: TemplateVersion | None

    @property
    def current(self) -> TemplateVersion:
        """The version whose status is the template's."""
        return self.in_use or self.latest

    def uses(self, version: int) -> bool:
        return self.in_use is not None and self.in_use.number == version


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A draft, checked."""

    source: TemplateSource
    checks: TemplateChecks
    by: str | None
    requested_by: str | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateEdit:
    """What a template is to be from now on. `version` None: its content stays as it is."""

    name: str
    description: str | None
    version: NewVersion | None
    requested_by: str | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody decides about one version. `checks`: found again while it was decided."""

    version: int
    review: Review
    by: str
    now: datetime
    reason: str | None = None
    checks: TemplateChecks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTemplateFilter:
    """Which templates to list."""

    channel: str | None = None
    status: tuple[str, ...] = ()
    language: str | None = None


class MessageTemplateStore:
    """Rows of `message_templates` and `template_versions`."""

    def __init__(self, database: Database, ids: IdSequence) -> None:
        self._database = database
        self._ids = ids

    async def create(
        self,
        org: OrgId,
        channel: str,
        name: str,
        description: str | None,
        version: NewVersion,
        *,
        claim: Claim | None = None,
    ) -> MessageTemplate:
        """A template with its first version, a draft. Refused `name_taken`, `too_many_templates`."""
        id, micros = TemplateId(self._ids.take()), to_micros(version.now)

        def operation(conn: sqlite3.Connection) -> MessageTemplate:
            _check_number(conn, org)
            _check_name(conn, org, channel, name)
            conn.execute(
                "INSERT INTO message_templates (id, org, channel, name, description, latest, created_at, created_by, "
                "updated_at, requested_by) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
                (id, org, channel, name, description, micros, version.by, micros, version.requested_by),
            )
            _add_version(conn, id, 1, version)
            if claim is not None:
                remember(conn, claim, format_id(TEMPLATE, id), micros)
            return _get(conn, org, id)

        return await self._database.write(operation)

    async def list(
        self, org: OrgId, wanted: MessageTemplateFilter, *, after: int = 0, limit: int = 200
    ) -> tuple[MessageTemplate, ...]:
        """At most `limit`, oldest first, behind the id `after`; without the deleted ones."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM {_FROM} WHERE t.org = :org AND t.id > :after AND t.deleted_at IS NULL "
                "AND t.channel = COALESCE(:channel, t.channel) "
                "AND (:language IS NULL OR v.content ->> '$.language' = :language) "
                "AND (:status IS NULL OR COALESCE(u.status, v.status) IN (SELECT value FROM json_each(:status))) "
                "ORDER BY t.id LIMIT :limit",
                {
                    "org": org,
                    "after": after,
                    "channel": wanted.channel,
                    "language": wanted.language,
                    "status": to_json(wanted.status) if wanted.status else None,
                    "limit": limit,
                },
            ).fetchall()
        )
        return tuple(map(_template, rows))

    async def find(self, org: OrgId, id: int) -> MessageTemplate | None:
        """One of the org's, also one that was deleted; None if there is none."""
        return self._database.read_now(lambda conn: _find(conn, org, id))

    async def named(self, org: OrgId, channel: str, name: str) -> MessageTemplate | None:
        """The channel's template of that name, not deleted."""
        row = self._database.read_now(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM {_FROM} WHERE t.org = ? AND t.channel = ? AND t.name = ? "
                "AND t.deleted_at IS NULL",
                (org, channel, name),
            ).fetchone()
        )
        return None if row is None else _template(row)

    async def names(self, org: OrgId, channel: str) -> tuple[str, ...]:
        """Some of the names on a channel."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT name FROM message_templates WHERE org = ? AND channel = ? AND deleted_at IS NULL "
                "ORDER BY name LIMIT ?",
                (org, channel, NAMES_MAX),
            ).fetchall()
        )
        return tuple(name for (name,) in rows)

    async def versions(
        self, template: TemplateId, *, before: int | None = None, limit: int = VERSIONS_MAX
    ) -> tuple[TemplateVersion, ...]:
        """Newest first."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_VERSION} FROM template_versions WHERE template = ? AND number < ? "
                "ORDER BY number DESC LIMIT ?",
                (template, before or 1 << 62, limit),
            ).fetchall()
        )
        return tuple(map(_version, rows))

    async def edit(self, org: OrgId, id: TemplateId, revision: int, edit: TemplateEdit) -> MessageTemplate:
        """Change a template of revision `revision`. NotFound; Refused `revision_mismatch`, `name_taken`."""

        def operation(conn: sqlite3.Connection) -> MessageTemplate:
            present = _get(conn, org, id)
            if present.revision != revision:
                detail = f"The revision is {present.revision} by now: read the template again, then edit what is there."
                raise Refused("revision_mismatch", detail, more={"revision": present.revision})
            if edit.name != present.name:
                _check_name(conn, org, present.channel, edit.name)
            number = present.latest.number + (edit.version is not None)
            conn.execute(
                "UPDATE message_templates SET name = ?, description = ?, latest = ?, revision = revision + 1, "
                "updated_at = ?, requested_by = COALESCE(?, requested_by) WHERE id = ?",
                (edit.name, edit.description, number, to_micros(edit.now), edit.requested_by, id),
            )
            if edit.version is not None:
                _add_version(conn, id, number, edit.version)
                _forget_versions(conn, id)
            return _get(conn, org, id)

        return await self._database.write(operation)

    async def decide(self, org: OrgId, id: TemplateId, decision: Decision) -> MessageTemplate:
        """Move a version on. NotFound; Refused `not_reviewable`. Nothing changes where it stands there already."""

        def operation(conn: sqlite3.Connection) -> MessageTemplate:
            present = _get(conn, org, id)
            version = _one_version(conn, present, decision.version)
            status = _next_status(present, version, decision.review)
            uses = decision.review is Review.APPROVE and not present.uses(version.number)
            if status is version.status and not uses:
                return present
            micros = to_micros(decision.now)
            checks = to_json(decision.checks or version.checks)
            conn.execute(
                "UPDATE template_versions SET status = ?, reason = ?, checks = ?, decided_at = ?, decided_by = ? "
                "WHERE template = ? AND number = ?",
                (status, decision.reason, checks, micros, decision.by, id, version.number),
            )
            if uses:
                conn.execute("UPDATE message_templates SET in_use = ? WHERE id = ?", (version.number, id))
            data = {"template_id": format_id(TEMPLATE, id), "status": status, "version": version.number}
            publish(conn, org, "template.status_changed", micros, data)
            return _get(conn, org, id)

        return await self._database.write(operation)

    async def delete(self, org: OrgId, id: TemplateId, now: datetime) -> None:
        """Nothing new is made from it; its name is free. NotFound."""

        def operation(conn: sqlite3.Connection) -> None:
            _get(conn, org, id)
            conn.execute("UPDATE message_templates SET deleted_at = ? WHERE id = ?", (to_micros(now), id))

        await self._database.write(operation)


def _check_number(conn: sqlite3.Connection, org: OrgId) -> None:
    (number,) = conn.execute(
        "SELECT count(*) FROM message_templates WHERE org = ? AND deleted_at IS NULL", (org,)
    ).fetchone()
    if number >= TEMPLATES_MAX:
        raise Refused("too_many_templates", f"The org has {number} templates already; delete one first.")


def _check_name(conn: sqlite3.Connection, org: OrgId, channel: str, name: str) -> None:
    row = conn.execute(
        "SELECT id FROM message_templates WHERE org = ? AND channel = ? AND name = ? AND deleted_at IS NULL",
        (org, channel, name),
    ).fetchone()
    if row is not None:
        detail = f"Channel {channel!r} has a template {name!r} already: {format_id(TEMPLATE, row[0])}."
        raise Refused("name_taken", detail)


def _add_version(conn: sqlite3.Connection, template: TemplateId, number: int, version: NewVersion) -> None:
    conn.execute(
        "INSERT INTO template_versions (template, number, status, content, checks, created_at, created_by, "
        "requested_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            template,
            number,
            TemplateStatus.DRAFT,
            to_json(version.source),
            to_json(version.checks),
            to_micros(version.now),
            version.by,
            version.requested_by,
        ),
    )


def _forget_versions(conn: sqlite3.Connection, template: TemplateId) -> None:
    """Keep `VERSIONS_MAX`, the newest and the one in use among them; what was never approved is forgotten first."""
    conn.execute(
        "DELETE FROM template_versions WHERE template = ?1 AND number IN (SELECT v.number FROM template_versions AS v "
        "JOIN message_templates AS t ON t.id = v.template WHERE v.template = ?1 "
        "ORDER BY v.number IN (t.latest, COALESCE(t.in_use, 0)) DESC, v.status IN ('approved', 'paused') DESC, "
        "v.number DESC LIMIT -1 OFFSET ?2)",
        (template, VERSIONS_MAX),
    )


def _one_version(conn: sqlite3.Connection, template: MessageTemplate, number: int) -> TemplateVersion:
    row = conn.execute(
        f"SELECT {_VERSION} FROM template_versions WHERE template = ? AND number = ?", (template.id, number)
    ).fetchone()
    if row is None:
        raise NotFound("version", f"{number} of {format_id(TEMPLATE, template.id)}")
    return _version(row)


def _next_status(template: MessageTemplate, version: TemplateVersion, review: Review) -> TemplateStatus:
    """Refused `not_reviewable`."""
    status = REVIEWS.get((version.status, review))
    if status is None and version.status is OUTCOMES[review]:
        return version.status
    if status is not None and (review is not Review.PAUSE or template.uses(version.number)):
        return status
    used = " but not in use" if status is not None else ""
    detail = f"Version {version.number} is {version.status}{used}: {review} does not apply to it."
    raise Refused("not_reviewable", detail, more={"status": version.status, "version": version.number})


def _find(conn: sqlite3.Connection, org: OrgId, id: int) -> MessageTemplate | None:
    row = conn.execute(f"SELECT {_COLUMNS} FROM {_FROM} WHERE t.org = ? AND t.id = ?", (org, id)).fetchone()
    return None if row is None else _template(row)


def _get(conn: sqlite3.Connection, org: OrgId, id: TemplateId) -> MessageTemplate:
    """One that was not deleted. NotFound."""
    template = _find(conn, org, id)
    if template is None or template.deleted_at is not None:
        raise NotFound("template", format_id(TEMPLATE, id))
    return template


def _template(row: Sequence[Any]) -> MessageTemplate:
    (id, org, channel, name, description, revision, created_at, created_by, updated_at, requested_by, *row) = row
    (deleted_at, *row) = row
    latest, in_use = row[:_VERSION_WIDTH], row[_VERSION_WIDTH:]
    return MessageTemplate(
        id=TemplateId(id),
        org=OrgId(org),
        channel=channel,
        name=name,
        description=description,
        revision=revision,
        created_at=from_micros(created_at),
        created_by=created_by,
        updated_at=from_micros(updated_at),
        requested_by=requested_by,
        deleted_at=instant_or_none(deleted_at),
        latest=_version(latest),
        in_use=None if in_use[0] is None else _version(in_use),
    )


def _version(row: Sequence[Any]) -> TemplateVersion:
    (number, status, reason, content, checks, created_at, created_by, requested_by, decided_at, decided_by) = row
    return TemplateVersion(
        number=number,
        status=TemplateStatus(status),
        reason=reason,
        source=msgspec.json.decode(content, type=TemplateSource),
        checks=msgspec.json.decode(checks, type=TemplateChecks),
        created_at=from_micros(created_at),
        created_by=created_by,
        requested_by=requested_by,
        decided_at=instant_or_none(decided_at),
        decided_by=decided_by,
    )
