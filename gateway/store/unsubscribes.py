"""People who leave by a link: whose link it is, and the wish that a click records."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.contract import Channel
from gateway.core.ids import ContactKey, IdSequence, MessageId, OrgId
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.wishes import Wish, record_wish


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedMessage:
    """The message that a link stands in. `address` is None once it has been forgotten."""

    id: MessageId
    org: OrgId
    channel: str
    address: str | None
    contact: ContactKey | None
    category: str


class UnsubscribeStore:
    """Use cases of `/u/{token}`."""

    def __init__(self, database: Database, ids: IdSequence, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    async def linked(self, message: MessageId) -> LinkedMessage | None:
        """The outbound message; None if it is kept no more."""
        row = self._database.read_now(
            lambda conn: conn.execute(
                "SELECT org, channel, address, contact, COALESCE(category, 'general') FROM messages "
                "WHERE id = ? AND direction = 0",
                (message,),
            ).fetchone()
        )
        if row is None:
            return None
        org, channel, address, contact, category = row
        return LinkedMessage(
            id=message, org=org, channel=channel, address=address or None, contact=contact, category=category
        )

    async def leave(self, message: LinkedMessage, category: str, channels: Mapping[str, Channel]) -> bool:
        """Record that its reader does not want more of this category, or of `all`. False if that stood there already.

        KeyError: its channel is not installed any more. ValueError: nobody knows any more who its reader was.
        """
        channel = channels[message.channel]
        now = to_micros(self._clock.now())
        if message.address is None:
            raise ValueError("the address of this message has been forgotten")
        wish = Wish(
            org=message.org,
            channel=channel,
            address=message.address,
            out=True,
            category=category,
            source="one_click",
            message=message.id,
            contact=message.contact,
        )

        def operation(conn: sqlite3.Connection) -> bool:
            return record_wish(conn, wish, now, self._ids.take)

        return await self._database.write(operation)
