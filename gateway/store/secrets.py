"""The installation's own secret: it signs what people carry away from here."""

from __future__ import annotations

from gateway.store.database import Database


class Secrets:
    """Made with the database, and lost with it: then links to unsubscribe that were sent before open nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def own(self) -> bytes:
        """32 bytes."""
        row = await self._database.read(
            lambda conn: conn.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
        )
        return bytes.fromhex(row[0])
