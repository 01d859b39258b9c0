"""Answers that are kept for a repeated request, and the rule that nothing is created twice.

There is no "begun" record that a crash could leave behind. A key is written down at one of two moments:

1. by `remember`, in the transaction that creates the thing: from then on the key names what was created;
2. by `keep`, once the answer is known (any 2xx).

A process that dies before 1 has created nothing: the repeated request simply runs. One that dies between 1 and 2 has
created the thing and lost the answer: the repeat is answered with the thing as it stands now. That a request is still
running is known to the process that runs it (`gateway.http.idempotency`); should two processes ever create under one
key at the same time, the primary key lets one of the two transactions through and the other is refused, undone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from gateway.clock import Clock
from gateway.core.ids import OrgId
from gateway.errors import Refused
from gateway.store.codec import from_json, micros_of, to_json, to_micros
from gateway.store.database import Database

KEPT: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An Idempotency-Key of an org, with the SHA-256 of what was asked under it."""

    org: OrgId
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What a key stands for. `status` is None while only the creation is known; `made` is the public id it created."""

    fingerprint: bytes
    made: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def remember(conn: sqlite3.Connection, claim: Claim, made: str, now: int) -> None:
    """Write down what `claim` created, in the transaction that creates it. `now` in microseconds.

    Refused `in_progress` if another process was faster: raising undoes the creation.
    """
    stale = now - micros_of(KEPT)
    written = conn.execute(
        "INSERT INTO idempotency (org, key, fingerprint, made, created_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (org, key) DO UPDATE SET fingerprint = excluded.fingerprint, made = excluded.made, status = NULL, "
        "headers = NULL, body = NULL, created_at = excluded.created_at WHERE idempotency.created_at < ?",
        (claim.org, claim.key, claim.fingerprint, made, now, stale),
    ).rowcount
    if written != 1:
        raise Refused("in_progress", f"Another request with the Idempotency-Key {claim.key!r} is being carried out.")


class IdempotencyStore:
    """Rows of `idempotency`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find(self, org: OrgId, key: str) -> KeptAnswer | None:
        """What the key stands for; None if it is unknown or older than 24 hours."""
        since = to_micros(self._clock.now() - KEPT)
        row = self._database.read_now(
            lambda conn: conn.execute(
                "SELECT fingerprint, made, status, headers, body FROM idempotency "
                "WHERE org = ? AND key = ? AND created_at >= ?",
                (org, key, since),
            ).fetchone()
        )
        if row is None:
            return None
        fingerprint, made, status, headers, body = row
        return KeptAnswer(
            fingerprint=fingerprint, made=made, status=status, headers=from_json(headers) or {}, body=body
        )

    async def keep(self, claim: Claim, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        """Keep an answer for repeats. `body` None: it must not be stored. Old ones go with the housekeeping."""
        now = to_micros(self._clock.now())
        stale = now - micros_of(KEPT)

        def operation(conn: sqlite3.Connection) -> None:
            conn.execute(
                "DELETE FROM idempotency WHERE org = ? AND key = ? AND created_at < ?", (claim.org, claim.key, stale)
            )
            conn.execute(
                "INSERT INTO idempotency (org, key, fingerprint, status, headers, body, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org, key) DO UPDATE SET "
                "status = excluded.status, headers = excluded.headers, body = excluded.body WHERE status IS NULL",
                (claim.org, claim.key, claim.fingerprint, status, to_json(headers), body, now),
            )

        await self._database.write(operation)
