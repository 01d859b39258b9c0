"""One transaction's worth of contacts: read what is there, merge in memory, write what differs.

Every statement takes all its rows at once, as one JSON text: a statement for each row would let go of the interpreter
for each row, and wait for it again beside whatever else is busy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.core.contact_merge import NOTHING, ContactContent, merge, size_fault
from gateway.core.ids import CONTACT, IdSequence, OrgId, format_id
from gateway.core.people import SCALARS, ContactDraft, Fault, Match
from gateway.store.codec import from_json, to_json
from gateway.store.outbox import publish_each

Status = Literal["created", "updated", "unchanged", "restored", "error"]
BadChannels = Callable[[ContactContent], Sequence[str]]
"""From what a contact says to the channels whose own spelling rules refuse its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one draft. `fault` only with `error`: then the draft has changed nothing.

    `ambiguous`: several contacts have the address that it was matched by; the one changed last was taken.
    """

    public_id: str | None
    status: Status
    fault: Fault | None = None
    ambiguous: bool = False


@dataclass(slots=True, kw_only=True)
class _Record:
    """A contact while its chunk is being merged. `stored` is what the database says; None: not there yet."""

    key: int
    public_id: str
    stored: ContactContent | None
    content: ContactContent
    created_at: int
    updated_at: int
    deleted_at: int | None
    changed: bool = False

    @property
    def rank(self) -> tuple[bool, int]:
        """Of several contacts with one address the one with the highest rank is meant."""
        return self.deleted_at is None, self.updated_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """What is the same for every draft of a call. Instants are microseconds.

    Whoever was deleted before `restorable_since` cannot be restored: the same id begins anew, with nothing of what was
    there. The key stays, so that the opt-outs go on to hold.
    """

    org: OrgId
    now: int
    restorable_since: int
    ids: IdSequence
    bad: BadChannels
    match: Match

    def run(self, conn: sqlite3.Connection, drafts: Sequence[ContactDraft]) -> list[Written]:
        """Merge and write the drafts, in their order."""
        people = _People(conn, self, drafts)
        results = [people.take(draft) for draft in drafts]
        _write(conn, self, people.touched.values())
        _tell(conn, self, results)
        return results


class _People:
    """The contacts that a chunk's drafts mean, found by id or by address."""

    def __init__(self, conn: sqlite3.Connection, upsert: Upsert, drafts: Sequence[ContactDraft]) -> None:
        self._upsert = upsert
        self._by_id: dict[str, _Record] = {}
        self._by_address: dict[str, list[_Record]] = {}
        self.touched: dict[int, _Record] = {}
        found = _load(
            conn, upsert.org, "public_id", [draft.public_id for draft in drafts if draft.public_id is not None]
        )
        if upsert.match != "id":
            addresses = [address for draft in drafts if (address := draft.scalars.get(upsert.match)) is not None]
            # One contact found in both ways is one record.
            found = {**_load(conn, upsert.org, upsert.match, addresses), **found}
        for record in found.values():
            self._by_id[record.public_id] = record
            self._index(record)

    def take(self, draft: ContactDraft) -> Written:
        """Merge one draft."""
        record, ambiguous = self._find(draft)
        if record is None:
            key = self._upsert.ids.take()
            record = self._blank(key, draft.public_id or format_id(CONTACT, key))
        status = self._merge(record, draft)
        if isinstance(status, Fault):
            return Written(public_id=draft.public_id, status="error", fault=status)
        self.touched[record.key] = record
        return Written(public_id=record.public_id, status=status, ambiguous=ambiguous)

    def _find(self, draft: ContactDraft) -> tuple[_Record | None, bool]:
        if draft.public_id is not None or self._upsert.match == "id":
            return self._by_id.get(draft.public_id or ""), False
        holders = self._by_address.get(draft.scalars.get(self._upsert.match) or "")
        if not holders:
            return None, False
        alive = sum(holder.deleted_at is None for holder in holders)
        return max(holders, key=lambda holder: holder.rank), alive > 1

    def _blank(self, key: int, public_id: str) -> _Record:
        now = self._upsert.now
        return _Record(
            key=key, public_id=public_id, stored=None, content=NOTHING, created_at=now, updated_at=now, deleted_at=None,
        )  # fmt: skip

    def _merge(self, record: _Record, draft: ContactDraft) -> Status | Fault:
        lapsed = record.deleted_at is not None and record.deleted_at <= self._upsert.restorable_since
        before = NOTHING if lapsed else record.content
        after = merge(before, draft)
        if after is not before and (fault := size_fault(after)) is not None:
            return fault
        new = record.stored is None and record.key not in self.touched
        status: Status = "unchanged"
        if new or lapsed:
            status = "created"
        elif record.deleted_at is not None:
            status = "restored"
        elif after is not before:
            status = "updated"
        if status != "unchanged":
            self._change(record, after, lapsed=lapsed, new=new)
        return status

    def _change(self, record: _Record, after: ContactContent, *, lapsed: bool, new: bool) -> None:
        self._unindex(record)
        record.content = after
        record.deleted_at = None
        record.changed = True
        if lapsed:
            record.created_at = self._upsert.now
        if not new:
            # Strictly later than before: what was prepared from the contact as it was is prepared anew.
            record.updated_at = max(self._upsert.now, record.updated_at + 1)
        self._by_id[record.public_id] = record
        self._index(record)

    def _index(self, record: _Record) -> None:
        if self._upsert.match != "id" and (address := record.content.scalars[self._upsert.match]) is not None:
            self._by_address.setdefault(address, []).append(record)

    def _unindex(self, record: _Record) -> None:
        if self._upsert.match != "id" and (address := record.content.scalars[self._upsert.match]) is not None:
            holders = self._by_address.get(address, [])
            self._by_address[address] = [holder for holder in holders if holder is not record]


def _load(conn: sqlite3.Connection, org: OrgId, column: str, values: Sequence[str]) -> dict[int, _Record]:
    rows = conn.execute(
        f"""SELECT id, public_id, created_at, updated_at, deleted_at, addresses, attributes,
                (SELECT json_group_array(tag) FROM contact_tags WHERE contact = contacts.id),
                {", ".join(SCALARS)}
            FROM contacts WHERE org = ? AND {column} IN (SELECT value FROM json_each(?))""",
        (org, to_json(values)),
    ).fetchall()
    return {row[0]: _record(row) for row in rows}


def _record(row: tuple[Any, ...]) -> _Record:
    key, public_id, created_at, updated_at, deleted_at, addresses, attributes, tags, *scalars = row
    content = ContactContent(
        scalars=dict(zip(SCALARS, scalars, strict=True)),
        addresses=from_json(addresses) or {},
        tags=frozenset(from_json(tags)) if tags != "[]" else NOTHING.tags,
        attributes=from_json(attributes) or {},
    )
    return _Record(
        key=key, public_id=public_id, stored=content, content=content, created_at=created_at, updated_at=updated_at,
        deleted_at=deleted_at,
    )  # fmt: skip


_COLUMNS: Final = (
    "id", "public_id", *SCALARS, "addresses", "attributes", "bad", "created_at", "updated_at", "seen_at", "org",
)  # fmt: skip
_VALUES: Final = ", ".join(f"value ->> {place} AS {column}" for place, column in enumerate(_COLUMNS))
_INSERT: Final = f"INSERT INTO contacts ({', '.join(_COLUMNS)}) SELECT {_VALUES} FROM json_each(?)"
_UPDATE: Final = (
    f"UPDATE contacts SET deleted_at = NULL, {', '.join(f'{name} = new.{name}' for name in _COLUMNS[2:-1])} "
    f"FROM (SELECT {_VALUES} FROM json_each(?)) AS new WHERE contacts.id = new.id"
)


def _write(conn: sqlite3.Connection, upsert: Upsert, records: Iterable[_Record]) -> None:
    touched = list(records)
    changed = [record for record in touched if record.changed]
    seen = [record.key for record in touched if not record.changed]
    for statement, some in (
        (_INSERT, [record for record in changed if record.stored is None]),
        (_UPDATE, [record for record in changed if record.stored is not None]),
    ):
        if some:
            conn.execute(statement, (to_json([_columns(upsert, record) for record in some]),))
    if seen:
        conn.execute(
            "UPDATE contacts SET seen_at = ? WHERE id IN (SELECT value FROM json_each(?))", (upsert.now, to_json(seen))
        )
    _write_tags(conn, upsert.org, changed)
    _write_addresses(conn, upsert.org, changed)


def _tell(conn: sqlite3.Connection, upsert: Upsert, results: Sequence[Written]) -> None:
    """One event for each contact; who is created and changed in one chunk was created."""
    created = {each.public_id for each in results if each.status == "created"}
    changed = {each.public_id for each in results if each.status in ("updated", "restored")} - created
    for kind, some in (("contact.created", created), ("contact.updated", changed)):
        publish_each(conn, upsert.org, kind, upsert.now, sorted(id for id in some if id is not None), {})


def _columns(upsert: Upsert, record: _Record) -> list[object]:
    """The values of _COLUMNS. Empty objects and lists are NULL."""
    content = record.content
    return [
        record.key,
        record.public_id,
        *[content.scalars[name] for name in SCALARS],
        _json_or_none(content.addresses),
        _json_or_none(content.attributes),
        _json_or_none(upsert.bad(content)),
        record.created_at,
        record.updated_at,
        upsert.now,
        upsert.org,
    ]


def _json_or_none(value: Mapping[str, object] | Sequence[str]) -> str | None:
    return to_json(value) if value else None


def _write_tags(conn: sqlite3.Connection, org: OrgId, changed: Sequence[_Record]) -> None:
    gone = [(record.key, tag) for record in changed for tag in _stored(record).tags - record.content.tags]
    come = [(record.key, tag) for record in changed for tag in record.content.tags - _stored(record).tags]
    if gone:
        conn.execute(
            "DELETE FROM contact_tags WHERE (contact, tag) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
            (to_json(gone),),
        )
    if come:
        conn.execute(
            "INSERT INTO contact_tags (contact, tag, org) SELECT value ->> 0, value ->> 1, ? FROM json_each(?)",
            (org, to_json(come)),
        )


def _write_addresses(conn: sqlite3.Connection, org: OrgId, changed: Sequence[_Record]) -> None:
    moved = [record for record in changed if _stored(record).addresses != record.content.addresses]
    if not moved:
        return
    conn.execute(
        "DELETE FROM contact_addresses WHERE contact IN (SELECT value FROM json_each(?))",
        (to_json([record.key for record in moved]),),
    )
    held = [(channel, address, record.key) for record in moved for channel, address in record.content.addresses.items()]
    conn.execute(
        "INSERT INTO contact_addresses (org, channel, address, contact) "
        "SELECT ?, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
        (org, to_json(held)),
    )


def _stored(record: _Record) -> ContactContent:
    return record.stored or NOTHING
