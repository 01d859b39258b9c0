"""Contacts: writing them in chunks, each chunk one transaction, whatever part of it is new, changed or as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from gateway.clock import Clock
from gateway.core.ids import CONTACT, ContactKey, IdSequence, OrgId, format_id
from gateway.core.people import SCALARS, ContactDraft, Match
from gateway.store.codec import from_json, from_micros, instant_or_none, to_json, to_micros
from gateway.store.database import Database

RESTORABLE: Final = timedelta(days=30)
CHUNK: Final = 2_000  # contacts a transaction: some 40 ms of the writer's time

Status = Literal["created", "updated", "unchanged", "restored", "error"]
BadChannels = Callable[[Mapping[str, Any]], list[str]]
"""From a contact's columns to the channels whose spelling rules refuse its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one draft. `problem` only with `error`."""

    public_id: str | None
    status: Status
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A contact as it is shown. `opt_outs`: by channel, since when."""

    key: ContactKey
    public_id: str
    scalars: Mapping[str, str | None]
    addresses: Mapping[str, str]
    tags: tuple[str, ...]
    attributes: Mapping[str, Any]
    opt_outs: Mapping[str, datetime]
    created_at: datetime
    updated_at: datetime
    seen_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFilter:
    """Which contacts to list."""

    tag: str | None = None
    text: str | None = None
    channel_address: str | None = None  # SQL of the address on the channel asked for
    deleted: bool = False
    seen_before: datetime | None = None


class ContactStore:
    """Use cases over contacts of one org at a time."""

    def __init__(self, database: Database, ids: IdSequence, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    async def upsert(
        self,
        org: OrgId,
        drafts: Sequence[ContactDraft],
        bad: BadChannels,
        *,
        match: Match = "id",
        replace: bool = False,
    ) -> list[Written]:
        """Create or change each; one transaction for a chunk. `replace`: what is not given is cleared.

        A draft without an id is matched by `match`; without a match it becomes a new contact with an id of ours. Of
        drafts with the same id the later ones see what the earlier ones wrote.
        """
        now = to_micros(self._clock.now())
        results: list[Written] = []
        for start in range(0, len(drafts), CHUNK):
            chunk = drafts[start : start + CHUNK]
            write = _Upsert(org, now, self._ids, bad, match, replace)
            results += await self._database.write(lambda conn, w=write, c=chunk: w.run(conn, c))  # type: ignore[misc]
        return results

    async def get(self, org: OrgId, public_id: str) -> ContactRow | None:
        """One contact, also a deleted one."""
        return await self._database.read(
            lambda conn: next(iter(_rows(conn, "c.org = ? AND c.public_id = ?", (org, public_id), 1)), None)
        )

    async def list(self, org: OrgId, wanted: ContactFilter, after: str | None, limit: int) -> tuple[ContactRow, ...]:
        """In the order of their ids, from the one after `after`."""
        where, parameters = _conditions(org, wanted, after)
        return await self._database.read(lambda conn: tuple(_rows(conn, where, parameters, limit)))

    async def delete(self, org: OrgId, public_id: str) -> bool:
        """Delete softly: it can be restored for thirty days, and its opt-outs stay. False if there is none."""
        return await self._mark(org, public_id, "deleted_at = ?1", "deleted_at IS NULL", 0)

    async def restore(self, org: OrgId, public_id: str) -> bool:
        """Bring a deleted contact back. False if there is none that can be."""
        oldest = to_micros(self._clock.now() - RESTORABLE)
        return await self._mark(org, public_id, "deleted_at = NULL", "deleted_at > ?4", oldest)

    async def _mark(self, org: OrgId, public_id: str, change: str, condition: str, oldest: int) -> bool:
        now = to_micros(self._clock.now())
        count = await self._database.write(
            lambda conn: (
                conn.execute(
                    f"UPDATE contacts SET {change}, updated_at = max(?1, updated_at + 1) "
                    f"WHERE org = ?2 AND public_id = ?3 AND {condition} AND ?4 = ?4",
                    (now, org, public_id, oldest),
                ).rowcount
            )
        )
        return count > 0


_LOADED: Final = "id, public_id, addresses, attributes, deleted_at, updated_at, bad, " + ", ".join(SCALARS)


class _Upsert:
    """One chunk: read what is there, merge in memory, write what differs."""

    def __init__(self, org: OrgId, now: int, ids: IdSequence, bad: BadChannels, match: Match, replace: bool) -> None:
        self._org = org
        self._now = now
        self._ids = ids
        self._bad = bad
        self._match = match
        self._replace = replace
        self._known: dict[str, dict[str, Any]] = {}

    def run(self, conn: sqlite3.Connection, drafts: Sequence[ContactDraft]) -> list[Written]:
        self._load(conn, drafts)
        touched: dict[int, dict[str, Any]] = {}
        results = []
        for draft in drafts:
            record = self._known.get(self._key(draft) or "")
            if record is None:
                record, status = self._new(draft), "created"
            else:
                status = self._change(record, draft)
            touched[record["id"]] = record
            results.append(Written(public_id=record["public_id"], status=status))  # type: ignore[arg-type]
        self._write(conn, touched)
        return results

    def _key(self, draft: ContactDraft) -> str | None:
        if draft.public_id is not None or self._match == "id":
            return draft.public_id
        return draft.scalars.get(self._match)

    def _load(self, conn: sqlite3.Connection, drafts: Sequence[ContactDraft]) -> None:
        by_id = [draft.public_id for draft in drafts if draft.public_id is not None]
        self._load_by(conn, "public_id", by_id)
        if self._match != "id":
            column = self._match
            self._load_by(conn, column, [self._key(draft) for draft in drafts if draft.public_id is None])

    def _load_by(self, conn: sqlite3.Connection, column: str, keys: Sequence[str | None]) -> None:
        rows = conn.execute(
            f"SELECT {_LOADED} FROM contacts WHERE org = ? AND {column} IN (SELECT value FROM json_each(?)) "
            "ORDER BY updated_at",  # of several with one address the one changed last is meant
            (self._org, to_json(keys)),
        ).fetchall()
        for row in rows:
            record = dict(zip(_LOADED.split(", "), row, strict=True))
            record |= {"tags": set(), "state": "old", "old_tags": set()}
            record["attributes"] = from_json(record["attributes"]) or {}
            record["addresses"] = from_json(record["addresses"]) or {}
            self._known[record[column]] = record
        own = {record["id"]: record for record in self._known.values()}
        for contact, tag in conn.execute(
            "SELECT contact, tag FROM contact_tags WHERE contact IN (SELECT value FROM json_each(?))",
            (to_json(list(own)),),
        ):
            own[contact]["tags"].add(tag)
            own[contact]["old_tags"].add(tag)

    def _new(self, draft: ContactDraft) -> dict[str, Any]:
        key = self._ids.take()
        record: dict[str, Any] = dict.fromkeys(SCALARS)
        record |= {
            "id": key,
            "public_id": draft.public_id or format_id(CONTACT, key),
            "addresses": {},
            "attributes": {},
            "tags": set(),
            "old_tags": set(),
            "deleted_at": None,
            "updated_at": self._now,
            "bad": None,
            "state": "new",
        }
        _merge(record, draft)
        self._known[record["public_id"]] = record
        if self._match != "id" and record[self._match]:
            self._known[record[self._match]] = record
        return record

    def _change(self, record: dict[str, Any], draft: ContactDraft) -> str:
        restored = record["deleted_at"] is not None
        if self._replace:
            draft = _completed(draft, record)
        changed = _merge(record, draft) or restored
        if not changed:
            return "unchanged"
        record["deleted_at"] = None
        if record["state"] == "old":
            record["state"] = "changed"
        # Strictly later than before: what was prepared from the contact as it was is prepared anew.
        record["updated_at"] = max(self._now, record["updated_at"] + 1)
        return "restored" if restored else "updated"

    def _write(self, conn: sqlite3.Connection, touched: Mapping[int, dict[str, Any]]) -> None:
        records = list(touched.values())
        for record in records:
            if record["state"] != "old":
                record["bad"] = to_json(found) if (found := self._bad(record)) else None
        self._insert(conn, [record for record in records if record["state"] == "new"])
        self._update(conn, [record for record in records if record["state"] == "changed"])
        seen = [record["id"] for record in records if record["state"] == "old"]
        conn.execute(
            "UPDATE contacts SET seen_at = ? WHERE id IN (SELECT value FROM json_each(?))", (self._now, to_json(seen))
        )
        self._write_tags(conn, records)
        self._write_addresses(conn, [record for record in records if record["state"] != "old"])

    def _insert(self, conn: sqlite3.Connection, records: Sequence[Mapping[str, Any]]) -> None:
        columns = ("id", "public_id", *SCALARS, "addresses", "attributes", "bad")
        conn.executemany(
            f"INSERT INTO contacts ({', '.join(columns)}, org, created_at, updated_at, seen_at) "
            f"VALUES ({', '.join('?' * len(columns))}, ?, ?, ?, ?)",
            [(*_stored(record, columns), self._org, self._now, record["updated_at"], self._now) for record in records],
        )

    def _update(self, conn: sqlite3.Connection, records: Sequence[Mapping[str, Any]]) -> None:
        columns = (*SCALARS, "addresses", "attributes", "bad")
        conn.executemany(
            f"UPDATE contacts SET {', '.join(f'{column} = ?' for column in columns)}, deleted_at = NULL, "
            "updated_at = ?, seen_at = ? WHERE id = ?",
            [(*_stored(record, columns), record["updated_at"], self._now, record["id"]) for record in records],
        )

    def _write_tags(self, conn: sqlite3.Connection, records: Sequence[Mapping[str, Any]]) -> None:
        gone = [(record["id"], tag) for record in records for tag in record["old_tags"] - record["tags"]]
        come = [(record["id"], tag, self._org) for record in records for tag in record["tags"] - record["old_tags"]]
        conn.executemany("DELETE FROM contact_tags WHERE contact = ? AND tag = ?", gone)
        conn.executemany("INSERT INTO contact_tags (contact, tag, org) VALUES (?, ?, ?)", come)

    def _write_addresses(self, conn: sqlite3.Connection, records: Sequence[Mapping[str, Any]]) -> None:
        changed = [(record["id"],) for record in records if record["state"] == "changed"]
        conn.executemany("DELETE FROM contact_addresses WHERE contact = ?", changed)
        conn.executemany(
            "INSERT INTO contact_addresses (org, channel, address, contact) VALUES (?, ?, ?, ?)",
            [
                (self._org, channel, address, record["id"])
                for record in records
                for channel, address in record["addresses"].items()
            ],
        )


def _merge(record: dict[str, Any], draft: ContactDraft) -> bool:
    """Write the draft over the record; True if anything differs."""
    changed = False
    for name, value in draft.scalars.items():
        if record[name] != value:
            record[name] = value
            changed = True
    for part in ("addresses", "attributes"):
        before = record[part]
        merged = {**before, **(getattr(draft, part) or {})}
        merged = {name: value for name, value in merged.items() if value is not None}
        if merged != before:
            record[part] = merged
            changed = True
    if draft.tags is not None and record["tags"] != draft.tags:
        record["tags"] = set(draft.tags)
        changed = True
    return changed


def _completed(draft: ContactDraft, record: Mapping[str, Any]) -> ContactDraft:
    """A draft that replaces: every field that it does not give is cleared."""
    gone = dict.fromkeys(record["attributes"])
    return ContactDraft(
        public_id=draft.public_id,
        scalars={**dict.fromkeys(SCALARS), **draft.scalars},
        addresses={**dict.fromkeys(record["addresses"]), **draft.addresses},
        tags=draft.tags or frozenset(),
        attributes={**gone, **(draft.attributes or {})},
    )


def _stored(record: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """The values of these columns; empty objects are NULL."""
    return [
        (to_json(record[column]) if record[column] else None)
        if column in ("addresses", "attributes")
        else record[column]
        for column in columns
    ]


def _conditions(org: OrgId, wanted: ContactFilter, after: str | None) -> tuple[str, tuple[Any, ...]]:
    where = ["c.org = ?", "c.deleted_at IS NOT NULL" if wanted.deleted else "c.deleted_at IS NULL"]
    parameters: list[Any] = [org]
    if after is not None:
        where.append("c.public_id > ?")
        parameters.append(after)
    if wanted.tag is not None:
        where.append("c.id IN (SELECT contact FROM contact_tags WHERE org = ? AND tag = ?)")
        parameters += [org, wanted.tag]
    if wanted.text is not None:
        columns = ("public_id", "name", "first_name", "last_name", "email", "phone")
        where.append(f"({' OR '.join(f'instr(lower(c.{column}), lower(?)) > 0' for column in columns)})")
        parameters += [wanted.text] * len(columns)
    if wanted.channel_address is not None:
        where.append(f"{wanted.channel_address} IS NOT NULL")
    if wanted.seen_before is not None:
        where.append("c.seen_at < ?")
        parameters.append(to_micros(wanted.seen_before))
    return " AND ".join(where), tuple(parameters)


def _rows(conn: sqlite3.Connection, where: str, parameters: tuple[Any, ...], limit: int) -> list[ContactRow]:
    rows = conn.execute(
        f"""SELECT c.id, c.public_id, c.addresses, c.attributes, c.created_at, c.updated_at, c.seen_at, c.deleted_at,
                (SELECT json_group_array(tag) FROM contact_tags WHERE contact = c.id),
                (SELECT json_group_array(json_array(o.channel, o.created_at)) FROM opt_outs AS o
                 WHERE o.org = c.org AND o.category = 'all' AND (o.contact = c.id OR o.address IN (
                     c.email, c.phone, c.whatsapp,
                     (SELECT a.address FROM contact_addresses AS a WHERE a.contact = c.id AND a.channel = o.channel)))),
                {", ".join(f"c.{name}" for name in SCALARS)}
            FROM contacts AS c WHERE {where} ORDER BY c.public_id LIMIT ?""",
        (*parameters, limit),
    ).fetchall()
    return [_row(row) for row in rows]


def _row(row: tuple[Any, ...]) -> ContactRow:
    key, public_id, addresses, attributes, created_at, updated_at, seen_at, deleted_at, tags, opt_outs, *scalars = row
    since: dict[str, datetime] = {}
    for channel, at in from_json(opt_outs):
        since[channel] = min(from_micros(at), since.get(channel, from_micros(at)))
    return ContactRow(
        key=key,
        public_id=public_id,
        scalars=dict(zip(SCALARS, scalars, strict=True)),
        addresses=from_json(addresses) or {},
        tags=tuple(sorted(from_json(tags))),
        attributes=from_json(attributes) or {},
        opt_outs=since,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        seen_at=from_micros(seen_at),
        deleted_at=instant_or_none(deleted_at),
    )
