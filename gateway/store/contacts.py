"""Contacts: the use cases. Merging and writing is in `contact_writes`, filtering and reading in `contact_reads`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from gateway.clock import Clock
from gateway.contract import Channel
from gateway.core.ids import IdSequence, OrgId
from gateway.core.people import ContactDraft, Match
from gateway.store.codec import to_micros
from gateway.store.contact_reads import ContactFilter, ContactRow, conditions, contact_rows
from gateway.store.contact_writes import BadChannels, Upsert, Written
from gateway.store.database import Database
from gateway.store.outbox import publish_each

RESTORABLE: Final = timedelta(days=30)
CHUNK: Final = 1_000  # contacts a transaction: some 25 ms of the writer's time


class ContactStore:
    """Use cases over contacts of one org at a time."""

    def __init__(self, database: Database, ids: IdSequence, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    async def upsert(
        self, org: OrgId, drafts: Sequence[ContactDraft], bad: BadChannels, *, match: Match = "id"
    ) -> list[Written]:
        """Create or change each; one transaction for a chunk, so that a crash leaves whole chunks.

        A draft without an id is matched by `match`; without a match it becomes a new contact with an id of ours. Of
        several drafts of one contact the later ones see what the earlier ones wrote. Whoever is deleted comes back.
        """
        now = self._clock.now()
        upsert = Upsert(
            org=org,
            now=to_micros(now),
            restorable_since=to_micros(now - RESTORABLE),
            ids=self._ids,
            bad=bad,
            match=match,
        )
        results: list[Written] = []
        for start in range(0, len(drafts), CHUNK):
            chunk = drafts[start : start + CHUNK]
            results += await self._database.write(partial(upsert.run, drafts=chunk))
        return results

    async def get(self, org: OrgId, public_id: str, channels: Sequence[Channel]) -> ContactRow | None:
        """One contact, also a deleted one, with its opt-outs on `channels`."""
        found = self._database.read_now(
            lambda conn: contact_rows(conn, "c.org = ? AND c.public_id = ?", (org, public_id), 1, channels)
        )
        return next(iter(found), None)

    async def list(
        self, org: OrgId, wanted: ContactFilter, after: str | None, limit: int, channels: Sequence[Channel]
    ) -> tuple[ContactRow, ...]:
        """In the order of their ids, from the one after `after`, with their opt-outs on `channels`."""
        where, parameters = conditions(org, wanted, after)
        return await self._database.read(lambda conn: contact_rows(conn, where, parameters, limit, channels))

    async def attribute_names(self, org: OrgId) -> tuple[str, ...]:
        """The names of all attributes that any contact has."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT DISTINCT j.key FROM contacts AS c CROSS JOIN json_each(c.attributes) AS j "
                "WHERE c.org = ? AND c.deleted_at IS NULL AND c.attributes IS NOT NULL ORDER BY j.key",
                (org,),
            ).fetchall()
        )
        return tuple(name for (name,) in rows)

    async def delete(self, org: OrgId, public_id: str) -> bool:
        """Delete softly: it can be restored for thirty days, and its opt-outs stay. False if there is none."""
        now = to_micros(self._clock.now())

        def operation(conn: sqlite3.Connection) -> bool:
            deleted = conn.execute(
                "UPDATE contacts SET deleted_at = ?1, updated_at = max(?1, updated_at + 1) "
                "WHERE org = ?2 AND public_id = ?3 AND deleted_at IS NULL",
                (now, org, public_id),
            ).rowcount
            if deleted:
                publish_each(conn, org, "contact.deleted", now, [public_id], {})
            return deleted > 0

        return await self._database.write(operation)

    async def restore(self, org: OrgId, public_id: str) -> bool:
        """Bring a deleted contact back. False if there is none that can be."""
        now = self._clock.now()

        def operation(conn: sqlite3.Connection) -> bool:
            restored = conn.execute(
                "UPDATE contacts SET deleted_at = NULL, updated_at = max(?1, updated_at + 1) "
                "WHERE org = ?2 AND public_id = ?3 AND deleted_at > ?4",
                (to_micros(now), org, public_id, to_micros(now - RESTORABLE)),
            ).rowcount
            if restored:
                publish_each(conn, org, "contact.updated", to_micros(now), [public_id], {})
            return restored > 0

        return await self._database.write(operation)
