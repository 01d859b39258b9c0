"""What a selection comes to, read without storing anything: who would be reached, who would not, and why.

Reads the queries of which the snapshot is taken, chunk by chunk, and judges each row as the pass over the unreachable
and the gate will (`store/sweeps.py`, `engine/gatekeeper.py`), in the same order.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.contract import Channel
from gateway.core.ids import OrgId
from gateway.core.people import SCALARS
from gateway.core.selection import AddressList, ContactList, Selection
from gateway.store.addresses import address_sql, is_bad_sql
from gateway.store.candidates import values_of
from gateway.store.codec import from_json
from gateway.store.consent import opted_out_sql
from gateway.store.database import Database
from gateway.store.selections import CHUNK, source_of

SAMPLE_MAX: Final = 20  # recipients named for each reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """What to look at. `chunks`: the entries of a list, JSON arrays as they will be stored; () for other selections.

    `channel` None: an operation on contacts. `required`: the variables without which nobody can be written to.
    `rows_max`: look at no more than about this many, but go on until somebody is known; None: at all.
    """

    org: OrgId
    selection: Selection
    chunks: Sequence[str] = ()
    channel: Channel | None = None
    category: str = "general"
    skip_duplicates: bool = True
    reaches_deleted: bool = False
    required: frozenset[str] = frozenset()
    zone: str | None = None  # the action's time zone, where the recipients' own ones are asked for
    rows_max: int | None = None
    values_of: int = 0  # of how many of the reachable to return the values for a template, at most `SAMPLE_MAX`


@dataclass(slots=True)
class Sight:
    """What was seen. `codes` counts the unreachable, `samples` names some of them; `zones`: the places of the
    reachable in the selection, ascending, by time zone; `reached` has the values of some for a template.

    `complete` is false if only the first `total` recipients were looked at.
    """

    total: int = 0
    complete: bool = True
    codes: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    zones: dict[str, array[int]] = field(default_factory=dict)
    without_zone: int = 0
    reached: list[Mapping[str, Any]] = field(default_factory=list)

    def note(self, code: str, name: str, missing: str | None) -> None:
        """One more who cannot be reached."""
        self.codes[code] += 1
        if code == "missing_variable" and missing is not None:
            self.missing[missing] += 1
        sample = self.samples.setdefault(code, [])
        if len(sample) < SAMPLE_MAX:
            sample.append(name)

    @property
    def reachable(self) -> int:
        return self.total - self.codes.total()

    @property
    def known(self) -> int:
        """Those behind whose name there is somebody."""
        return self.total - self.codes["contact_not_found"]


class PreviewStore:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look_over(self, viewing: Viewing) -> Sight:
        """See `Sight`. One state of the database; about 2 s for a million recipients."""
        return await self._database.read(lambda conn: _look_over(conn, viewing))


def _look_over(conn: sqlite3.Connection, viewing: Viewing) -> Sight:
    sight = Sight()
    addresses: set[str] = set()
    for rows in _chunks(conn, viewing):
        for reason, name, address, zone, missing, contact, variables in rows:
            sight.total += 1
            again = viewing.skip_duplicates and address is not None and address in addresses
            code = reason or ("duplicate_address" if again else None) or ("missing_variable" if missing else None)
            if code is not None:
                sight.note(code, name, missing)
                continue
            addresses.add(address)
            if len(sight.reached) < viewing.values_of:
                sight.reached.append(_values(conn, contact, variables))
            if viewing.zone is not None:
                sight.without_zone += zone is None
                sight.zones.setdefault(zone or viewing.zone, array("Q")).append(sight.total)
        if viewing.rows_max is not None and sight.total >= viewing.rows_max and sight.known:
            sight.complete = False  # there may be more
            break
    return sight


def _chunks(conn: sqlite3.Connection, viewing: Viewing) -> Iterator[list[list[Any]]]:
    sends = viewing.channel is not None
    source = source_of(viewing.selection, sends=sends)
    (bound,) = conn.execute("SELECT COALESCE(max(id), 0) FROM contacts").fetchone()
    parameters: dict[str, Any] = {
        **source.parameters,
        **{f"required{number}": name for number, name in enumerate(sorted(viewing.required))},
        "org": viewing.org,
        "bound": bound,
        "channel": viewing.channel.name if viewing.channel else None,
        "category": viewing.category,
        "after": 0,
        "limit": CHUNK if viewing.rows_max is None else min(CHUNK, viewing.rows_max),
    }
    statement = _statement(source.rows, viewing)
    if isinstance(viewing.selection, ContactList | AddressList):
        for entries in viewing.chunks:
            parameters["entries"] = entries
            yield _rows(conn, statement, parameters)
        return
    while True:
        (upto,) = conn.execute(source.edge, parameters).fetchone()
        if upto is None:
            return
        parameters["upto"] = upto
        yield _rows(conn, statement, parameters)
        parameters["after"] = upto


def _rows(conn: sqlite3.Connection, statement: str, parameters: Mapping[str, Any]) -> list[list[Any]]:
    (rows,) = conn.execute(statement, parameters).fetchone()
    found: list[list[Any]] = from_json(rows)
    return found


def _statement(rows: str, viewing: Viewing) -> str:
    """Of each row: why it cannot be reached, its name, its address, its time zone, the first variable it lacks.

    One array of JSON: each row by itself would give up the interpreter and wait for it anew.
    """
    channel = viewing.channel
    reasons = ["WHEN r.code IS NOT NULL THEN r.code"]
    if not viewing.reaches_deleted:
        reasons.append("WHEN c.deleted_at IS NOT NULL THEN 'contact_deleted'")
    address = "NULL"
    if channel is not None:
        address = f"COALESCE({address_sql(channel)}, r.given)"
        left = opted_out_sql(":org", ":channel", address, "r.contact", ":category")
        reasons += [
            f"WHEN {address} IS NULL THEN 'no_address'",
            f"WHEN r.given IS NULL AND {is_bad_sql(channel)} THEN 'invalid_address'",
            f"WHEN {left} THEN 'opted_out'",
        ]
    lacking = " ".join(
        f"WHEN {_lacks(name, f':required{number}')} THEN :required{number}"
        for number, name in enumerate(sorted(viewing.required))
    )
    missing = f"CASE {lacking} END" if lacking else "NULL"
    return f"""
        SELECT json_group_array(json(found)) FROM (
            SELECT json_array(CASE {" ".join(reasons)} END, COALESCE(c.public_id, r.given), {address},
                COALESCE(r.zone, c.time_zone), {missing}, r.contact, r.variables) AS found
            FROM ({rows}) AS r LEFT JOIN contacts AS c ON c.id = r.contact ORDER BY r.position LIMIT -1)"""


def _lacks(name: str, parameter: str) -> str:
    """A SQL condition: neither the contact nor the recipient's own variables have a value of this name.

    A contact's own field hides an attribute of the same name, also where it is empty: see `values_of`.
    """
    having = f"SELECT 1 FROM json_each({{column}}) WHERE key = {parameter} AND type <> 'null'"
    conditions = [f"NOT EXISTS ({having.format(column='r.variables')})"]
    if name in SCALARS or name == "id":
        conditions.append(f"c.{name} IS NULL")
    else:
        conditions.append(f"NOT EXISTS ({having.format(column='c.attributes')})")
    return f"({' AND '.join(conditions)})"


def _values(conn: sqlite3.Connection, contact: int | None, variables: str | None) -> Mapping[str, Any]:
    row = conn.execute(
        f"SELECT public_id, attributes, {', '.join(SCALARS)} FROM contacts WHERE id = ?", (contact,)
    ).fetchone()
    if row is None:
        return values_of(None, [None] * len(SCALARS), None, variables)
    public_id, attributes, *fields = row
    return values_of(public_id, fields, attributes, variables)
