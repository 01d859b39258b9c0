"""API keys: found by id, proved by the SHA-256 of a secret of 256 random bits, which is stored nowhere.

The text that a caller presents is `gwk_<id>_<secret>`; `gwk_<id>` is public and is what the rest of the gateway calls
the key. A slow hash would protect a guessable secret; 256 random bits need none.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.clock import Clock
from gateway.core.ids import OrgId
from gateway.errors import Invalid, Problem
from gateway.store.codec import from_json, from_micros, instant_or_none, micros_of, to_json, to_micros
from gateway.store.database import Database
from gateway.store.idempotency import Claim, remember

PREFIX: Final = "gwk"
SECRET_BYTES: Final = 32
ID_BYTES: Final = 5  # 40 bits: an id is public and only has to be unique
TOKEN_CHARACTERS_MAX: Final = 200
USED_EVERY: Final = timedelta(minutes=1)  # how exact `last_used_at` is: a write per key and minute, not per request

PERMISSIONS: Final = (
    "admin",
    "members.edit",
    "members.read",
    "messaging.read",
    "messaging.send",
    "messaging.template_override",
    "optouts.edit",
    "templates.approve",
    "templates.edit",
)
"""Everything that a key can be allowed to do."""

_COLUMNS: Final = "id, org, name, permissions, roles, created_at, last_used_at, revoked_at, old_until"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key without its secret. `old_until`: until when the secret before the last rotation still works."""

    id: str
    org: OrgId
    name: str
    permissions: tuple[str, ...]
    roles: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    old_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key just made or rotated. `token` is the whole text to present; it cannot be read again."""

    key: Key
    token: str

    def __repr__(self) -> str:
        return f"IssuedKey({self.key.id}, token=***)"


class KeyStore:
    """Rows of `api_keys`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        org: OrgId,
        name: str,
        permissions: Sequence[str],
        roles: Sequence[str] = (),
        *,
        claim: Claim | None = None,
    ) -> IssuedKey:
        """Make a key. After a crash it exists or not; its secret was told to nobody then: revoke it.

        Invalid if a permission does not exist: the pointer is `/permissions/<position>`.
        """
        _check_permissions(permissions)
        now = to_micros(self._clock.now())
        identifier = f"{PREFIX}_{secrets.token_hex(ID_BYTES)}"
        secret = secrets.token_hex(SECRET_BYTES)

        def operation(conn: sqlite3.Connection) -> Key:
            row = conn.execute(
                "INSERT INTO api_keys (id, org, name, secret_hash, permissions, roles, created_at) "
                f"VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
                (
                    identifier,
                    org,
                    name,
                    _hash(secret),
                    to_json(sorted(set(permissions))),
                    to_json(sorted(set(roles))),
                    now,
                ),
            ).fetchone()
            if claim is not None:
                remember(conn, claim, identifier, now)
            return _key(row)

        return IssuedKey(key=await self._database.write(operation), token=f"{identifier}_{secret}")

    async def prove(self, token: str) -> Key | None:
        """The key behind a presented token; None if there is none, it is revoked, or the secret is wrong."""
        identifier, secret = _split(token)
        now = to_micros(self._clock.now())
        row = self._database.read_now(
            lambda conn: conn.execute(
                f"SELECT secret_hash, iif(old_until > ?, old_hash, NULL), {_COLUMNS} FROM api_keys "
                "WHERE id = ? AND revoked_at IS NULL",
                (now, identifier),
            ).fetchone()
        )
        # An unknown id costs the same comparisons as a wrong secret.
        present, old, *columns = row if row is not None else (b"", None)
        presented = _hash(secret)
        matches = hmac.compare_digest(presented, present)
        matches_old = hmac.compare_digest(presented, old or b"")
        return _key(columns) if row is not None and (matches or matches_old) else None

    async def get(self, org: OrgId, identifier: str) -> Key | None:
        """One key that is not revoked; None for another org's."""
        row = self._database.read_now(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM api_keys WHERE org = ? AND id = ? AND revoked_at IS NULL", (org, identifier)
            ).fetchone()
        )
        return None if row is None else _key(row)

    async def list(
        self, org: OrgId | None, *, limit: int, before: tuple[int, str] | None = None, revoked: bool = False
    ) -> list[Key]:
        """Keys, newest first, at most `limit`; only revoked ones with `revoked`, else only the others.

        `org` None: of every org (the command line). `before` is (`created_at` in microseconds, id) of the last seen.
        """
        at, identifier = before or (1 << 62, "")
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_COLUMNS} FROM api_keys WHERE (org = ?1 OR ?1 IS NULL) AND (revoked_at IS NOT NULL) = ?2 "
                "AND (created_at, id) < (?3, ?4) ORDER BY created_at DESC, id DESC LIMIT ?5",
                (org, revoked, at, identifier, limit),
            ).fetchall()
        )
        return [_key(row) for row in rows]

    async def revoke(self, org: OrgId, identifier: str) -> bool:
        """End a key, its old secret too. It works no more once this returns. False if there is none to revoke."""
        now = to_micros(self._clock.now())
        changed = await self._database.write(
            lambda conn: (
                conn.execute(
                    "UPDATE api_keys SET revoked_at = ?, old_hash = NULL, old_until = NULL "
                    "WHERE org = ? AND id = ? AND revoked_at IS NULL",
                    (now, org, identifier),
                ).rowcount
            )
        )
        return changed == 1

    async def rotate(self, org: OrgId, identifier: str, overlap: timedelta) -> IssuedKey | None:
        """Give a key a new secret; the present one works for `overlap` more, an older one no longer.

        None if there is no such key.
        """
        now = to_micros(self._clock.now())
        secret = secrets.token_hex(SECRET_BYTES)
        row = await self._database.write(
            lambda conn: conn.execute(
                "UPDATE api_keys SET old_hash = secret_hash, old_until = ?, secret_hash = ? "
                f"WHERE org = ? AND id = ? AND revoked_at IS NULL RETURNING {_COLUMNS}",
                (now + micros_of(overlap), _hash(secret), org, identifier),
            ).fetchone()
        )
        return None if row is None else IssuedKey(key=_key(row), token=f"{identifier}_{secret}")

    async def change(
        self,
        org: OrgId,
        identifier: str,
        *,
        name: str | None = None,
        permissions: Sequence[str] | None = None,
        roles: Sequence[str] | None = None,
    ) -> Key | None:
        """Give a key other permissions, roles or another name; None leaves what is there. It holds from the next
        request on, and from the next batch of each action that the key created. None if there is no such key.

        Invalid if a permission does not exist: the pointer is `/permissions/<position>`.
        """
        _check_permissions(permissions or ())
        lists = [None if given is None else to_json(sorted(set(given))) for given in (permissions, roles)]
        row = await self._database.write(
            lambda conn: conn.execute(
                "UPDATE api_keys SET name = COALESCE(?, name), permissions = COALESCE(?, permissions), "
                f"roles = COALESCE(?, roles) WHERE org = ? AND id = ? AND revoked_at IS NULL RETURNING {_COLUMNS}",
                (name, *lists, org, identifier),
            ).fetchone()
        )
        return None if row is None else _key(row)

    async def used(self, identifier: str, at: datetime) -> None:
        """Note when a key was last used. Never moves back."""
        micros = to_micros(at)
        await self._database.write(
            lambda conn: conn.execute(
                "UPDATE api_keys SET last_used_at = ?1 WHERE id = ?2 AND (last_used_at IS NULL OR last_used_at < ?1)",
                (micros, identifier),
            )
        )

    async def any(self) -> bool:
        """Whether a key that is not revoked exists: without one the daemon listens on loopback only."""
        row = await self._database.read(
            lambda conn: conn.execute("SELECT EXISTS (SELECT 1 FROM api_keys WHERE revoked_at IS NULL)").fetchone()
        )
        return bool(row[0])


def _check_permissions(permissions: Sequence[str]) -> None:
    problems = []
    for position, permission in enumerate(permissions):
        if permission not in PERMISSIONS:
            near = difflib.get_close_matches(permission, PERMISSIONS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(PERMISSIONS)}."
            problems.append(Problem(f"/permissions/{position}", f"There is no permission {permission!r}; {hint}"))
    if problems:
        raise Invalid(problems)


def _split(token: str) -> tuple[str, str]:
    """The public id and the secret of a token; two empty texts if it has no such form."""
    prefix, _, rest = token.partition("_")
    identifier, _, secret = rest.partition("_")
    if prefix != PREFIX or not identifier or not secret or len(token) > TOKEN_CHARACTERS_MAX:
        return "", ""
    return f"{PREFIX}_{identifier}", secret


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).digest()


def _key(row: Sequence[Any]) -> Key:
    identifier, org, name, permissions, roles, created_at, last_used_at, revoked_at, old_until = row
    return Key(
        id=identifier,
        org=OrgId(org),
        name=name,
        permissions=tuple(from_json(permissions)),
        roles=tuple(from_json(roles)),
        created_at=from_micros(created_at),
        last_used_at=instant_or_none(last_used_at),
        revoked_at=instant_or_none(revoked_at),
        old_until=instant_or_none(old_until),
    )
