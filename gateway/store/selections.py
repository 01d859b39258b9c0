"""From a selection to recipients: the SQL behind each kind, and the snapshot taken from it chunk by chunk.

Every kind is a query with the same columns, in the order of the snapshot, over the part (:after, :upto] of what it
reads:

    position    what the next chunk starts after: a contact's key, the place in a list, a seq of another action
    contact     the contact's key, or NULL
    given       a bare address, or the public id of a contact that does not exist
    variables   JSON of the recipient's own variables, or NULL
    zone        the time zone given with an address, or NULL
    code        why the recipient has failed before it began, or NULL

The snapshot and the preview read the same queries, so they cannot disagree about who is meant.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.core.ids import ActionId
from gateway.core.selection import (
    AddressList,
    AllContacts,
    ContactFilter,
    ContactList,
    OtherAction,
    Reachable,
    Selection,
)
from gateway.core.states import RecipientState
from gateway.store.addresses import address_sql
from gateway.store.codec import from_json, from_micros, micros_or_none, to_json
from gateway.store.counters import Moves

CHUNK: Final = 5_000  # rows looked at per transaction: some 10 to 15 ms of the writer's time

DEAD_ON_ARRIVAL: Final = ("contact_not_found", "invalid_address")
"""Codes of recipients that failed because of what was given: there is nothing behind them that could be tried again."""

BEYOND_HELP: Final = (
    "({row}.contact IS NULL AND {row}.message IS NULL AND {row}.code IN ('contact_not_found', 'invalid_address'))"
)
"""A SQL condition for such a recipient; `.format(row=alias)`."""


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What one chunk of a snapshot did."""

    inserted: int
    next_position: int
    done: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A query over part of a selection. `edge` gives where a chunk of :limit after :after ends, or NULL."""

    rows: str
    edge: str
    parameters: Mapping[str, Any]


def selection_json(selection: Selection) -> str:
    """How a selection is written into its column."""
    match selection:
        case AllContacts():
            return to_json({"kind": "all", "deleted": selection.deleted})
        case ContactFilter():
            return to_json(
                {
                    "kind": "where",
                    "any": selection.tags_any,
                    "all": selection.tags_all,
                    "none": selection.tags_none,
                    "attributes": selection.attributes,
                    "seen_before": micros_or_none(selection.seen_before),
                    "reachable": selection.reachable,
                    "deleted": selection.deleted,
                }
            )
        case ContactList():
            return to_json({"kind": "contacts", "total": selection.total})
        case AddressList():
            return to_json({"kind": "addresses", "total": selection.total})
        case OtherAction():
            return to_json({"kind": "action", "action": selection.action, "states": [int(s) for s in selection.states]})


def selection_from_json(text: str) -> Selection:
    """The inverse of `selection_json`."""
    stored = from_json(text)
    match stored["kind"]:
        case "all":
            return AllContacts(deleted=stored["deleted"])
        case "where":
            seen = stored["seen_before"]
            return ContactFilter(
                tags_any=tuple(stored["any"]),
                tags_all=tuple(stored["all"]),
                tags_none=tuple(stored["none"]),
                attributes=stored["attributes"],
                seen_before=None if seen is None else from_micros(seen),
                reachable=msgspec.convert(stored.get("reachable"), Reachable | None),
                deleted=stored["deleted"],
            )
        case "contacts":
            return ContactList(total=stored["total"])
        case "addresses":
            return AddressList(total=stored["total"])
        case _:
            states = tuple(RecipientState(state) for state in stored["states"])
            return OtherAction(action=ActionId(stored["action"]), states=states)


def source_of(selection: Selection, *, sends: bool) -> Source:
    """The query behind a selection. `sends`: the operation sends messages, so that a bare address is enough.

    Parameters that the caller adds: :org, :bound (highest contact key), :after, :upto, :limit; :entries for lists;
    :channel (of the new action, NULL for an operation on contacts) for another action's recipients.
    """
    match selection:
        case AllContacts():
            return _contacts_source(ContactFilter(deleted=selection.deleted))
        case ContactFilter():
            return _contacts_source(selection)
        case ContactList():
            return Source(_LISTED_CONTACTS, _LIST_EDGE, {})
        case AddressList():
            return Source(_LISTED_ADDRESSES, _LIST_EDGE, {})
        case OtherAction():
            parameters = {
                "source": selection.action,
                "states": to_json([int(s) for s in selection.states]),
                "sends": sends,
            }
            return Source(_OTHER_ACTION, _OTHER_ACTION_EDGE, parameters)


_LIST_EDGE: Final = "SELECT :after + json_array_length(:entries)"

_LISTED_CONTACTS: Final = """
    SELECT :after + j.key + 1 AS position, c.id AS contact, CASE WHEN c.id IS NULL THEN j.value END AS given,
        NULL AS variables, NULL AS zone, CASE WHEN c.id IS NULL THEN 'contact_not_found' END AS code
    FROM json_each(:entries) AS j
    LEFT JOIN contacts AS c ON c.org = :org AND c.public_id = j.value AND c.id <= :bound"""

_LISTED_ADDRESSES: Final = """
    SELECT :after + j.key + 1 AS position, NULL AS contact, j.value ->> 'to' AS given,
        j.value -> 'variables' AS variables, j.value ->> 'time_zone' AS zone,
        CASE WHEN j.value ->> 'valid' = 0 THEN 'invalid_address' END AS code
    FROM json_each(:entries) AS j"""

# Who still waits in an action that was cancelled is cancelled; the sweeper only has not come to its row yet.
_OTHER_ACTION: Final = f"""
    SELECT r.seq AS position, r.contact AS contact, r.given AS given, r.variables AS variables, r.zone AS zone,
        CASE WHEN r.contact IS NOT NULL THEN NULL WHEN {BEYOND_HELP.format(row="r")} THEN r.code
            WHEN NOT :sends THEN 'contact_not_found'
            WHEN :channel IS NOT (SELECT channel FROM bulk_actions WHERE id = :source) THEN 'no_address' END AS code
    FROM recipients AS r
    WHERE r.action = :source AND r.seq > :after AND r.seq <= :upto
        AND CASE WHEN r.state = 0 AND (SELECT status FROM bulk_actions WHERE id = :source) = 'cancelled' THEN 7
            ELSE r.state END IN (SELECT value FROM json_each(:states))"""

_OTHER_ACTION_EDGE: Final = """
    SELECT max(seq) FROM
        (SELECT seq FROM recipients WHERE action = :source AND seq > :after ORDER BY seq LIMIT :limit)"""


def _contacts_source(wanted: ContactFilter) -> Source:
    """Over the contacts in the order of their keys; by the tag index where the filter asks for a tag."""
    parameters: dict[str, Any] = {"attributes": to_json(wanted.attributes), "none": to_json(wanted.tags_none)}
    parameters["all"] = to_json(wanted.tags_all)
    parameters["seen_before"] = micros_or_none(wanted.seen_before)
    near, edge = _nearest(wanted, parameters)
    # The plus keeps the planner off the index that begins with the org: it would read all of it for each chunk.
    conditions = ["+c.org = :org"]
    if not wanted.deleted:
        conditions.append("c.deleted_at IS NULL")
    if wanted.seen_before is not None:
        conditions.append("c.seen_at < :seen_before")
    if wanted.reachable is not None:
        conditions.append(f"{address_sql(wanted.reachable)} IS NOT NULL")
    if wanted.tags_all:
        conditions.append(
            "NOT EXISTS (SELECT 1 FROM json_each(:all) AS t WHERE NOT EXISTS "
            "(SELECT 1 FROM contact_tags WHERE contact = c.id AND tag = t.value))"
        )
    if wanted.tags_none:
        conditions.append(
            "NOT EXISTS (SELECT 1 FROM contact_tags WHERE contact = c.id "
            "AND tag IN (SELECT value FROM json_each(:none)))"
        )
    if wanted.attributes:
        conditions.append(_HAS_ATTRIBUTES)
    rows = f"""
        SELECT c.id AS position, c.id AS contact, NULL AS given, NULL AS variables, NULL AS zone, NULL AS code
        FROM {near} WHERE {" AND ".join(conditions)}"""
    return Source(rows, edge, parameters)


# A wanted null is fulfilled by an attribute that is missing or null. SQLite shows JSON's true as 1: types are compared.
_HAS_ATTRIBUTES: Final = """
    NOT EXISTS (SELECT 1 FROM json_each(:attributes) AS w WHERE NOT CASE w.type
        WHEN 'null' THEN NOT EXISTS (
            SELECT 1 FROM json_each(c.attributes) AS a WHERE a.key = w.key AND a.type <> 'null')
        ELSE EXISTS (SELECT 1 FROM json_each(c.attributes) AS a WHERE a.key = w.key AND a.value = w.value
            AND (a.type IN ('true', 'false')) = (w.type IN ('true', 'false'))
            AND (a.type = 'text') = (w.type = 'text')) END)"""


def _nearest(wanted: ContactFilter, parameters: dict[str, Any]) -> tuple[str, str]:
    """FROM clause of the contacts in (:after, :upto], and the query for the edge of a chunk."""
    tags = wanted.tags_any or wanted.tags_all[:1]
    if not tags:
        edge = """SELECT max(id) FROM
            (SELECT id FROM contacts WHERE id > :after AND id <= :bound ORDER BY id LIMIT :limit)"""
        return "(SELECT * FROM contacts WHERE id > :after AND id <= :upto) AS c", edge
    parameters |= {f"tag{number}": tag for number, tag in enumerate(tags)}
    tagged = " UNION ".join(
        f"SELECT contact FROM (SELECT contact FROM contact_tags WHERE org = :org AND tag = :tag{number} "
        "AND contact > :after AND contact <= :bound ORDER BY contact LIMIT :limit)"
        for number in range(len(tags))
    )
    edge = f"SELECT max(contact) FROM (SELECT contact FROM ({tagged}) ORDER BY contact LIMIT :limit)"
    parts = " UNION ".join(
        f"SELECT contact FROM contact_tags WHERE org = :org AND tag = :tag{number} "
        "AND contact > :after AND contact <= :upto"
        for number in range(len(tags))
    )
    return f"({parts}) AS near JOIN contacts AS c ON c.id = near.contact", edge


_INSERT: Final = """
    INSERT INTO recipients (action, seq, contact, given, variables, zone, state, code)
    SELECT :action, {seq}, contact, given, variables, zone, CASE WHEN code IS NULL THEN 0 ELSE 4 END, code
    FROM ({rows}) ORDER BY position"""


def snapshot_chunk(conn: sqlite3.Connection, action: ActionId, size: int = CHUNK) -> ChunkResult:
    """Insert the next recipients of an action from its selection, and move its books and its position with them.

    Looks at up to `size` rows of what the selection reads; a list comes in its own chunks. It belongs into the caller's
    transaction: a killed process goes on behind the last chunk that was committed. Recipients of an action that is
    already being sent come into its one batch; those that cannot exist come as failed, in no batch. Another action
    still being swept is waited for.
    """
    org, channel, operation, text, position, bound, schedule = conn.execute(
        "SELECT org, channel, operation, selection, work_position, contact_bound, schedule "
        "FROM bulk_actions WHERE id = ?",
        (action,),
    ).fetchone()
    selection = selection_from_json(text)
    if isinstance(selection, OtherAction) and _is_swept(conn, selection.action):
        return ChunkResult(0, position, False)
    source = source_of(selection, sends=operation == "send_message")
    parameters = {
        **source.parameters,
        "action": action,
        "org": org,
        "channel": channel,
        "bound": bound,
        "after": position,
        "limit": size,
    }
    listed = isinstance(selection, ContactList | AddressList)
    if listed:
        parameters["entries"] = _entries(conn, action, position)
        if parameters["entries"] is None:
            return ChunkResult(0, position, True)
    (upto,) = conn.execute(source.edge, parameters).fetchone()
    if upto is None:
        return ChunkResult(0, position, True)
    parameters["upto"] = upto
    parameters["base"] = position if listed else _last_seq(conn, action)
    # In a list the place is the seq; elsewhere the rows that a condition lets through are counted.
    seq = "position" if listed else ":base + row_number() OVER (ORDER BY position)"
    inserted = conn.execute(_INSERT.format(seq=seq, rows=source.rows), parameters).rowcount
    _count(conn, action, parameters["base"], inserted, dripped=from_json(schedule)["mode"] == "drip")
    conn.execute("UPDATE bulk_actions SET work_position = ? WHERE id = ?", (upto, action))
    conn.execute("DELETE FROM selection_chunks WHERE action = ? AND position = ?", (action, position))
    return ChunkResult(inserted, upto, _is_done(selection, upto, bound))


def _is_done(selection: Selection, upto: int, bound: int) -> bool:
    """Whether there is certainly nothing behind this chunk; if not, the next one finds out."""
    match selection:
        case ContactList(total=total) | AddressList(total=total):
            return upto >= total
        case OtherAction():
            return False
        case _:
            return upto >= bound


def _is_swept(conn: sqlite3.Connection, action: ActionId) -> bool:
    """The other action's rows are still being moved: a cancelled one becomes `cancelled` row by row."""
    row = conn.execute("SELECT work IS NOT NULL FROM bulk_actions WHERE id = ?", (action,)).fetchone()
    return row is not None and bool(row[0])


def _entries(conn: sqlite3.Connection, action: ActionId, position: int) -> str | None:
    row = conn.execute(
        "SELECT entries FROM selection_chunks WHERE action = ? AND position = ?", (action, position)
    ).fetchone()
    return None if row is None else str(row[0])


def _last_seq(conn: sqlite3.Connection, action: ActionId) -> int:
    (seq,) = conn.execute("SELECT COALESCE(max(seq), 0) FROM recipients WHERE action = ?", (action,)).fetchone()
    found: int = seq
    return found


def _count(conn: sqlite3.Connection, action: ActionId, base: int, inserted: int, *, dripped: bool) -> None:
    (failed,) = conn.execute(
        "SELECT count(*) FROM recipients INDEXED BY recipients_ended WHERE action = ? AND state = 4 AND state >= 4 "
        "AND seq > ? AND seq <= ?",
        (action, base, base + inserted),
    ).fetchone()
    waiting = inserted - failed
    batch = None if dripped else _present_batch(conn, action)
    moves = Moves()
    moves.add(action, None, RecipientState.FAILED, failed)
    moves.add(action, batch, RecipientState.PENDING, waiting)
    if batch is not None:
        conn.execute(
            "UPDATE batches SET quantity = quantity + ? WHERE action = ? AND number = ?", (waiting, action, batch)
        )
        moves.tried(action, batch, -waiting)
    # The instant would only be used for a batch that comes to its end, which new recipients never bring about.
    moves.write(conn, 0)


def _present_batch(conn: sqlite3.Connection, action: ActionId) -> int | None:
    """The one batch of an undripped action, if it has been released already."""
    (batch,) = conn.execute("SELECT max(number) FROM batches WHERE action = ?", (action,)).fetchone()
    found: int | None = batch
    return found
