"""What the delivery loop reads before a round and writes after it: events, retries, positions, and the log of attempts.

A round is one read and one write. Killed in between, its events are delivered again, under the same ids.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from gateway.core.delivery import Health, Reply
from gateway.core.event_types import TEST, named_by
from gateway.core.ids import LAST_ID, WEBHOOK, OrgId, WebhookId, format_id
from gateway.errors import NotFound
from gateway.store.codec import from_json, from_micros, instant_or_none, micros_or_none, to_micros
from gateway.store.database import Database
from gateway.store.events import Event, event_id, read_one, read_page
from gateway.store.outbox import publish
from gateway.store.webhooks import disable

EVENTS_AT_ONCE: Final = 100  # of one round: what a crash may deliver twice, for one write to the disk
RETRIES_AT_ONCE: Final = 50
LOGGED_MAX: Final = 1_000  # attempts of one webhook and result; the housekeeping removes old ones

Result = Literal["delivered", "failed", "given_up"]

_DELIVERIES: Final = (
    "SELECT id, seq, type, at, attempt, result, status, milliseconds, detail, again_at FROM webhook_deliveries "
    "WHERE webhook = ?"
)
_DUE: Final = """
    SELECT w.id FROM webhooks AS w JOIN orgs AS o ON o.id = w.org WHERE w.disabled IS NULL AND CASE
        WHEN w.probe_at IS NULL THEN w.position < o.last_event
            OR EXISTS (SELECT 1 FROM webhook_retries AS r WHERE r.webhook = w.id AND r.due_at <= :now)
        WHEN w.probe_at <= :now THEN w.position < o.last_event
            OR EXISTS (SELECT 1 FROM webhook_retries AS r WHERE r.webhook = w.id)
    END"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A webhook as one round sees it."""

    id: WebhookId
    org: OrgId
    url: str
    types: tuple[str, ...]
    secrets: tuple[str, ...]  # the present one first
    revision: int
    position: int
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An event to be delivered. `attempts`: failed ones that count; `new`: it stands behind the position."""

    event: Event
    attempts: int = 0
    new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What there is to do for one webhook, in the order in which it is started.

    `position`: where the webhook stands once every job was started. `missed`: how many events behind its old position
    were no longer kept.
    """

    target: Target
    jobs: tuple[Job, ...]
    position: int
    lost: tuple[int, ...] = ()  # retries whose events are no longer kept
    missed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt and what follows from it. `attempts`: failed ones that count, this one included."""

    job: Job
    at: datetime
    reply: Reply
    milliseconds: int
    result: Result
    attempts: int = 0
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a round. `position`: everything up to it was started. `disabled`: why nothing more goes there."""

    round: Round
    attempts: Sequence[Attempt]
    position: int
    health: Health
    disabled: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A line of the log."""

    id: int
    event_id: str
    seq: int
    type: str
    at: datetime
    attempt: int
    result: Result
    status: int | None
    milliseconds: int
    detail: str
    again_at: datetime | None


class DeliveryStore:
    """Transactions of the delivery loop, and its log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, now: datetime) -> tuple[WebhookId, ...]:
        """The webhooks for which there is something to do."""
        rows = await self._database.read(lambda conn: conn.execute(_DUE, {"now": to_micros(now)}).fetchall())
        return tuple(WebhookId(id) for (id,) in rows)

    async def plan(self, id: WebhookId, now: datetime) -> Round | None:
        """The next round of a webhook: one event if it is held. None if it is gone or disabled."""
        return await self._database.read(lambda conn: _plan(conn, id, to_micros(now)))

    async def record(self, outcome: Outcome, now: datetime) -> None:
        """Write a round down. A webhook that was edited or sent back meanwhile keeps what it was given then."""
        await self._database.write(lambda conn: _record(conn, outcome, to_micros(now)))

    async def begin_test(self, org: OrgId, id: WebhookId, now: datetime) -> tuple[Target, Event]:
        """Publish a `webhook.test` for one webhook, also one that is held or disabled. NotFound."""

        def operation(conn: sqlite3.Connection) -> tuple[Target, Event]:
            target = _target(conn, id, to_micros(now))
            if target is None or target.org != org:
                raise NotFound("webhook", format_id(WEBHOOK, id))
            seq = publish(conn, org, TEST, to_micros(now), {"webhook_id": format_id(WEBHOOK, id)})
            event = read_one(conn, org, seq)
            assert event is not None
            return target, event

        return await self._database.write(operation)

    async def end_test(self, target: Target, attempt: Attempt) -> Delivery:
        """Log a test. A webhook that is held and took it is tried again at once."""

        def operation(conn: sqlite3.Connection) -> Delivery:
            _log(conn, target, [attempt])
            if attempt.reply.ok:
                conn.execute(
                    "UPDATE webhooks SET probe_at = ? WHERE id = ? AND probe_at IS NOT NULL",
                    (to_micros(attempt.at), target.id),
                )
            row = conn.execute(f"{_DELIVERIES} ORDER BY id DESC LIMIT 1", (target.id,)).fetchone()
            return _delivery(target.org, row)

        return await self._database.write(operation)

    async def log(
        self, org: OrgId, id: WebhookId, *, result: Result | None, limit: int, before: int | None = None
    ) -> list[Delivery]:
        """The last attempts, newest first, at most `limit`."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"{_DELIVERIES} AND id < ? AND result = COALESCE(?, result) ORDER BY id DESC LIMIT ?",
                (id, before or LAST_ID, result, limit),
            ).fetchall()
        )
        return [_delivery(org, row) for row in rows]


def _target(conn: sqlite3.Connection, id: WebhookId, now: int) -> Target | None:
    row = conn.execute(
        "SELECT org, url, types, secret, iif(old_until > ?, old_secret, NULL), revision, position, failures, "
        "failing_since, probe_at, probes FROM webhooks WHERE id = ?",
        (now, id),
    ).fetchone()
    if row is None:
        return None
    org, url, types, secret, old, revision, position, failures, failing_since, probe_at, probes = row
    return Target(
        id=id,
        org=OrgId(org),
        url=url,
        types=tuple(name for name in named_by(from_json(types)) if name != TEST),
        secrets=(secret,) if old is None else (secret, old),
        revision=revision,
        position=position,
        health=Health(
            failures=failures,
            failing_since=instant_or_none(failing_since),
            probe_at=instant_or_none(probe_at),
            probes=probes,
        ),
    )


def _plan(conn: sqlite3.Connection, id: WebhookId, now: int) -> Round | None:
    target = _target(conn, id, now)
    if target is None or conn.execute("SELECT disabled FROM webhooks WHERE id = ?", (id,)).fetchone() != (None,):
        return None
    page = read_page(
        conn, target.org, target.position, target.types or (TEST,), 1 if target.health.held else EVENTS_AT_ONCE
    )
    jobs = [Job(event=event) for event in page.events if event.type in target.types]
    retries: list[tuple[int, int]] = []
    if not target.health.held:
        retries = conn.execute(
            "SELECT seq, attempts FROM webhook_retries WHERE webhook = ? AND due_at <= ? ORDER BY due_at, seq LIMIT ?",
            (id, now, RETRIES_AT_ONCE),
        ).fetchall()
    elif not jobs:
        # A probe prefers what is new: an event that the receiver never takes must not keep the others waiting.
        retries = conn.execute(
            "SELECT seq, attempts FROM webhook_retries WHERE webhook = ? ORDER BY tried_at, seq LIMIT 1", (id,)
        ).fetchall()
    found = [(seq, attempts, read_one(conn, target.org, seq)) for seq, attempts in retries]
    again = [Job(event=event, attempts=attempts, new=False) for _, attempts, event in found if event is not None]
    return Round(
        target=target,
        jobs=(*sorted(again, key=lambda job: job.event.seq), *jobs),
        position=page.position,
        lost=tuple(seq for seq, _, event in found if event is None),
        missed=max(0, page.first - 1 - target.position),
    )


def _record(conn: sqlite3.Connection, outcome: Outcome, now: int) -> None:
    target, attempts = outcome.round.target, outcome.attempts
    row = conn.execute("SELECT revision, position, disabled FROM webhooks WHERE id = ?", (target.id,)).fetchone()
    if row is None:
        return
    revision, stands_at, disabled = row
    _log(conn, target, attempts)
    stayed = stands_at == target.position
    _keep_retries(conn, target, [one for one in attempts if stayed or not one.job.new], outcome.round.lost)
    if stayed:
        conn.execute("UPDATE webhooks SET position = ? WHERE id = ?", (outcome.position, target.id))
    for column, ok in (("last_success_at", True), ("last_failure_at", False)):
        last = max((to_micros(one.at) for one in attempts if one.reply.ok is ok), default=None)
        conn.execute(f"UPDATE webhooks SET {column} = COALESCE(?, {column}) WHERE id = ?", (last, target.id))
    if revision == target.revision and disabled is None:
        _judge(conn, outcome, now)


def _judge(conn: sqlite3.Connection, outcome: Outcome, now: int) -> None:
    target, health = outcome.round.target, outcome.health
    conn.execute(
        "UPDATE webhooks SET failures = ?, failing_since = ?, probe_at = ?, probes = ? WHERE id = ?",
        (
            health.failures,
            micros_or_none(health.failing_since),
            micros_or_none(health.probe_at),
            health.probes,
            target.id,
        ),
    )
    if target.health.held and not health.held:
        conn.execute("UPDATE webhook_retries SET due_at = min(due_at, ?) WHERE webhook = ?", (now, target.id))
    if outcome.disabled is not None:
        disable(conn, target.org, target.id, outcome.disabled, now)


def _keep_retries(conn: sqlite3.Connection, target: Target, attempts: Sequence[Attempt], lost: Sequence[int]) -> None:
    over = [one.job.event.seq for one in attempts if not one.job.new and one.result != "failed"]
    conn.executemany(
        "DELETE FROM webhook_retries WHERE webhook = ? AND seq = ?", [(target.id, seq) for seq in (*over, *lost)]
    )
    again = [
        (one.attempts, to_micros(one.at), to_micros(one.again_at or one.at), target.id, one.job.event.seq, one.job.new)
        for one in attempts
        if one.result == "failed"
    ]
    conn.executemany(
        "UPDATE webhook_retries SET attempts = ?, tried_at = ?, due_at = ? WHERE webhook = ? AND seq = ? AND NOT ?",
        again,
    )
    conn.executemany(
        "INSERT INTO webhook_retries (attempts, tried_at, due_at, webhook, seq) SELECT ?1, ?2, ?3, ?4, ?5 WHERE ?6",
        again,
    )


def _log(conn: sqlite3.Connection, target: Target, attempts: Sequence[Attempt]) -> None:
    conn.executemany(
        "INSERT INTO webhook_deliveries (webhook, seq, type, at, attempt, result, status, milliseconds, detail, "
        "again_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                target.id,
                one.job.event.seq,
                one.job.event.type,
                to_micros(one.at),
                one.job.attempts + 1,
                one.result,
                one.reply.status,
                one.milliseconds,
                one.reply.detail,
                micros_or_none(one.again_at),
            )
            for one in attempts
        ],
    )
    for result in {one.result for one in attempts}:
        conn.execute(
            "DELETE FROM webhook_deliveries WHERE webhook = ?1 AND result = ?2 AND id <= (SELECT id FROM "
            "webhook_deliveries WHERE webhook = ?1 AND result = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
            (target.id, result, LOGGED_MAX),
        )


def _delivery(org: OrgId, row: Sequence[Any]) -> Delivery:
    id, seq, type_, at, attempt, result, status, milliseconds, detail, again_at = row
    return Delivery(
        id=id,
        event_id=event_id(org, seq),
        seq=seq,
        type=type_,
        at=from_micros(at),
        attempt=attempt,
        result=result,
        status=status,
        milliseconds=milliseconds,
        detail=detail,
        again_at=instant_or_none(again_at),
    )
