"""The keys behind bulk actions, as callers."""

from __future__ import annotations

from gateway.contract import Caller
from gateway.store.codec import from_json
from gateway.store.database import Database


class CreatorStore:
    """Reads the key that created an action, whether or not anybody is using it now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def caller(self, key_id: str) -> Caller | None:
        """The key as a caller; None if it was revoked or never existed."""
        row = self._database.read_now(
            lambda conn: conn.execute(
                "SELECT o.name, k.permissions, k.roles FROM api_keys AS k JOIN orgs AS o ON o.id = k.org "
                "WHERE k.id = ? AND k.revoked_at IS NULL",
                (key_id,),
            ).fetchone()
        )
        if row is None:
            return None
        return Caller(
            key_id=key_id,
            org=row[0],
            permissions=frozenset(from_json(row[1])),
            roles=frozenset(from_json(row[2])),
            acting_for=None,
        )
