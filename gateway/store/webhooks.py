"""Webhooks as their owners see them: made, shown, edited, rotated, sent back to an earlier event."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.core.delivery import Health
from gateway.core.ids import LAST_ID, WEBHOOK, IdSequence, OrgId, WebhookId, format_id
from gateway.core.webhook_signing import SECRET_BYTES, secret_text
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.store.codec import from_json, from_micros, instant_or_none, micros_of, to_json, to_micros
from gateway.store.database import Database
from gateway.store.events import oldest
from gateway.store.idempotency import Claim, remember
from gateway.store.outbox import publish

WEBHOOKS_MAX: Final = 20  # of one org: every one of them is told every event

BY_HAND: Final = "by_hand"
GONE: Final = "gone"
FAILING: Final = "failing"

_COLUMNS: Final = (
    "w.id, w.org, w.url, w.types, w.description, w.disabled, w.disabled_at, w.position, w.failures, w.failing_since, "
    "w.probe_at, w.probes, w.last_success_at, w.last_failure_at, w.old_until, w.revision, w.created_at, w.created_by, "
    "o.last_event - w.position, (SELECT count(*) FROM webhook_retries AS r WHERE r.webhook = w.id)"
)
_FROM: Final = "webhooks AS w JOIN orgs AS o ON o.id = w.org"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """What its owner says. `types`: patterns of `gateway.core.event_types`."""

    url: str
    types: tuple[str, ...]
    description: str | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook without its secret.

    `waiting`: the events behind its position, of whatever type. `old_until`: until when the secret before the last
    rotation signs too.
    """

    id: WebhookId
    org: OrgId
    settings: WebhookSettings
    disabled: str | None  # BY_HAND, GONE or FAILING
    disabled_at: datetime | None
    position: int
    waiting: int
    retries: int
    health: Health
    last_success_at: datetime | None
    last_failure_at: datetime | None
    old_until: datetime | None
    revision: int
    created_at: datetime
    created_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedWebhook:
    """A webhook just made or rotated. `secret` is what its owner checks signatures with; it is shown once."""

    webhook: Webhook
    secret: str

    def __repr__(self) -> str:
        return f"IssuedWebhook({format_id(WEBHOOK, self.webhook.id)}, secret=***)"


class WebhookStore:
    """Rows of `webhooks`."""

    def __init__(self, database: Database, ids: IdSequence) -> None:
        self._database = database
        self._ids = ids

    async def create(
        self, org: OrgId, wanted: WebhookSettings, now: datetime, *, by: str, claim: Claim | None = None
    ) -> IssuedWebhook:
        """Make a webhook that is told what happens from now on. Refused `too_many_webhooks`."""
        secret = _new_secret()
        id, micros = WebhookId(self._ids.take()), to_micros(now)

        def operation(conn: sqlite3.Connection) -> Webhook:
            _check_number(conn, org)
            conn.execute(
                "INSERT INTO webhooks (id, org, url, types, description, secret, disabled, disabled_at, position, "
                "created_at, created_by) SELECT ?, id, ?, ?, ?, ?, ?, ?, last_event, ?, ? FROM orgs WHERE id = ?",
                (
                    id,
                    wanted.url,
                    to_json(wanted.types),
                    wanted.description,
                    secret,
                    None if wanted.enabled else BY_HAND,
                    None if wanted.enabled else micros,
                    micros,
                    by,
                    org,
                ),
            )
            if claim is not None:
                remember(conn, claim, format_id(WEBHOOK, id), micros)
            return _get(conn, org, id)

        return IssuedWebhook(webhook=await self._database.write(operation), secret=secret)

    async def list(self, org: OrgId, *, limit: int, before: WebhookId | None = None) -> list[Webhook]:
        """The org's webhooks, newest first."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM {_FROM} WHERE w.org = ? AND w.id < ? ORDER BY w.id DESC LIMIT ?",
                (org, before or LAST_ID, limit),
            ).fetchall()
        )
        return [_webhook(row) for row in rows]

    async def get(self, org: OrgId, id: WebhookId) -> Webhook:
        """One webhook. NotFound."""
        return await self._database.read(lambda conn: _get(conn, org, id))

    async def edit(self, org: OrgId, id: WebhookId, revision: int, wanted: WebhookSettings, now: datetime) -> Webhook:
        """Replace the settings of revision `revision`. NotFound; Refused `revision_mismatch` if there is a newer one.

        A webhook that is enabled again, or is given another URL, starts afresh where it stood.
        """
        micros = to_micros(now)

        def operation(conn: sqlite3.Connection) -> Webhook:
            before = _get(conn, org, id)
            if before.revision != revision:
                detail = f"The revision is {before.revision} by now: read the webhook again, then edit what is there."
                raise Refused("revision_mismatch", detail, more={"revision": before.revision})
            conn.execute(
                "UPDATE webhooks SET url = ?, types = ?, description = ?, revision = revision + 1 WHERE id = ?",
                (wanted.url, to_json(wanted.types), wanted.description, id),
            )
            if before.settings.enabled and not wanted.enabled:
                disable(conn, org, id, BY_HAND, micros)
            elif wanted.enabled and (not before.settings.enabled or wanted.url != before.settings.url):
                _start_afresh(conn, id, micros)
            return _get(conn, org, id)

        return await self._database.write(operation)

    async def delete(self, org: OrgId, id: WebhookId) -> None:
        """Remove a webhook and all that is kept for it. NotFound."""

        def operation(conn: sqlite3.Connection) -> None:
            if conn.execute("DELETE FROM webhooks WHERE org = ? AND id = ?", (org, id)).rowcount == 0:
                raise _unknown(id)

        await self._database.write(operation)

    async def rotate(self, org: OrgId, id: WebhookId, overlap: timedelta, now: datetime) -> IssuedWebhook:
        """Give a webhook a new secret; the present one signs beside it for `overlap`, an older one no longer."""
        secret = _new_secret()
        until = to_micros(now) + micros_of(overlap)

        def operation(conn: sqlite3.Connection) -> Webhook:
            conn.execute(
                "UPDATE webhooks SET old_secret = secret, old_until = ?, secret = ? WHERE org = ? AND id = ?",
                (until, secret, org, id),
            )
            return _get(conn, org, id)

        return IssuedWebhook(webhook=await self._database.write(operation), secret=secret)

    async def replay_after(self, org: OrgId, id: WebhookId, seq: int) -> Webhook:
        """Send a webhook back: everything behind number `seq` is delivered to it, again where it was before.

        NotFound; Invalid if that is not kept any more, or ahead of where the webhook stands.
        """

        def operation(conn: sqlite3.Connection) -> Webhook:
            webhook = _get(conn, org, id)
            first = oldest(conn, org)
            if not first - 1 <= seq <= webhook.position:
                detail = (
                    f"Must be from {first - 1} (the oldest event kept is {first}) to {webhook.position} (where it is)."
                )
                raise Invalid([Problem("/after", detail)])
            return _send_back(conn, webhook, seq)

        return await self._database.write(operation)

    async def replay_from(self, org: OrgId, id: WebhookId, instant: datetime) -> Webhook:
        """The same for everything that happened at `instant` or later; nothing changes if the webhook is not there yet.

        NotFound; Invalid if events of that time are not kept any more.
        """
        micros = to_micros(instant)
        first, oldest_at, position = await self._database.read(lambda conn: _places(conn, org, micros))
        if first > 1 and (oldest_at is None or micros < oldest_at):
            kept = "no event is kept" if oldest_at is None else f"the oldest event kept is of {from_micros(oldest_at)}"
            raise Invalid([Problem("/from", f"Events of that time are not kept any more; {kept}.")])

        def operation(conn: sqlite3.Connection) -> Webhook:
            webhook = _get(conn, org, id)
            return webhook if position > webhook.position else _send_back(conn, webhook, position)

        return await self._database.write(operation)


def disable(conn: sqlite3.Connection, org: OrgId, id: WebhookId, reason: str, now: int) -> None:
    """Deliver nothing any more, and tell so. Its position, and what it owes, stay."""
    conn.execute("UPDATE webhooks SET disabled = ?, disabled_at = ? WHERE id = ?", (reason, now, id))
    publish(conn, org, "webhook.disabled", now, {"webhook_id": format_id(WEBHOOK, id), "reason": reason})


def _places(conn: sqlite3.Connection, org: OrgId, since: int) -> tuple[int, int | None, int]:
    """The oldest number kept and its instant, and the number behind which everything is of `since` or later."""
    row = conn.execute("SELECT at FROM events WHERE org = ? ORDER BY last LIMIT 1", (org,)).fetchone()
    (position,) = conn.execute(
        "SELECT COALESCE((SELECT last - number FROM events WHERE org = ?1 AND at >= ?2 ORDER BY last LIMIT 1), "
        "(SELECT last_event FROM orgs WHERE id = ?1))",
        (org, since),
    ).fetchone()
    return oldest(conn, org), None if row is None else row[0], position


def _send_back(conn: sqlite3.Connection, webhook: Webhook, position: int) -> Webhook:
    """What stood among the retries is read again with everything else."""
    conn.execute("UPDATE webhooks SET position = ? WHERE id = ?", (position, webhook.id))
    conn.execute("DELETE FROM webhook_retries WHERE webhook = ? AND seq > ?", (webhook.id, position))
    return _get(conn, webhook.org, webhook.id)


def _start_afresh(conn: sqlite3.Connection, id: WebhookId, now: int) -> None:
    conn.execute(
        "UPDATE webhooks SET disabled = NULL, disabled_at = NULL, failures = 0, failing_since = NULL, probe_at = NULL, "
        "probes = 0 WHERE id = ?",
        (id,),
    )
    conn.execute("UPDATE webhook_retries SET due_at = ? WHERE webhook = ?", (now, id))


def _check_number(conn: sqlite3.Connection, org: OrgId) -> None:
    (number,) = conn.execute("SELECT count(*) FROM webhooks WHERE org = ?", (org,)).fetchone()
    if number >= WEBHOOKS_MAX:
        raise Refused("too_many_webhooks", f"The org has {number} webhooks already; delete one first.")


def _new_secret() -> str:
    return secret_text(secrets.token_bytes(SECRET_BYTES))


def _unknown(id: WebhookId) -> NotFound:
    return NotFound("webhook", format_id(WEBHOOK, id))


def _get(conn: sqlite3.Connection, org: OrgId, id: WebhookId) -> Webhook:
    row = conn.execute(f"SELECT {_COLUMNS} FROM {_FROM} WHERE w.org = ? AND w.id = ?", (org, id)).fetchone()
    if row is None:
        raise _unknown(id)
    return _webhook(row)


def _webhook(row: Sequence[Any]) -> Webhook:
    (id, org, url, types, description, disabled, disabled_at, position, *row) = row
    failures, failing_since, probe_at, probes, last_success_at, last_failure_at, old_until, revision, *row = row
    created_at, created_by, waiting, retries = row
    return Webhook(
        id=WebhookId(id),
        org=OrgId(org),
        settings=WebhookSettings(
            url=url, types=tuple(from_json(types)), description=description, enabled=disabled is None
        ),
        disabled=disabled,
        disabled_at=instant_or_none(disabled_at),
        position=position,
        waiting=waiting,
        retries=retries,
        health=Health(
            failures=failures,
            failing_since=instant_or_none(failing_since),
            probe_at=instant_or_none(probe_at),
            probes=probes,
        ),
        last_success_at=instant_or_none(last_success_at),
        last_failure_at=instant_or_none(last_failure_at),
        old_until=instant_or_none(old_until),
        revision=revision,
        created_at=from_micros(created_at),
        created_by=created_by,
    )
