"""The dispatcher's door to the database."""

from __future__ import annotations

from gateway.core.ids import SenderId
from gateway.store.database import Database
from gateway.store.senders import Pace, SenderStore
from gateway.store.sending import take_turn
from gateway.store.turn import Granted, Turn


class TurnStore:
    """One transaction a turn."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._senders = SenderStore(database)

    async def take(self, turn: Turn) -> Granted:
        """Record, settle and grant. After it returns, all of it is on disk; StoreUnavailable: nothing is."""
        return await self._database.write(lambda conn: take_turn(conn, turn))

    async def pace(self, sender: SenderId, day: str) -> Pace:
        """The stored token bucket and the day's total."""
        return await self._senders.pace(sender, day)
