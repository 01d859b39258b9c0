"""Contacts as they are shown: one, or a page of those that a filter leaves, each with its opt-outs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.contract import Channel
from gateway.core.ids import ContactKey, OrgId
from gateway.core.people import SCALARS
from gateway.store.addresses import address_sql
from gateway.store.codec import from_json, from_micros, instant_or_none, to_micros
from gateway.store.consent import opt_outs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A contact as it is shown. `opt_outs`: by channel, since when; those from everything, not from one category."""

    key: ContactKey
    public_id: str
    scalars: Mapping[str, str | None]
    addresses: Mapping[str, str]
    tags: tuple[str, ...]
    attributes: Mapping[str, Any]
    opt_outs: Mapping[str, datetime] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    seen_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFilter:
    """Which contacts to list."""

    tag: str | None = None
    text: str | None = None
    channel: Channel | None = None  # only who has an address there
    deleted: bool = False
    seen_before: datetime | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


_SEARCHED = ("public_id", "name", "first_name", "last_name", "email", "phone", "whatsapp")


def conditions(org: OrgId, wanted: ContactFilter, after: str | None) -> tuple[str, tuple[object, ...]]:
    """A SQL condition on `contacts AS c`, and its parameters."""
    where = ["c.org = ?", "c.deleted_at > 0" if wanted.deleted else "c.deleted_at IS NULL"]
    parameters: list[object] = [org]
    if after is not None:
        where.append("c.public_id > ?")
        parameters.append(after)
    if wanted.tag is not None:
        where.append("c.id IN (SELECT contact FROM contact_tags WHERE org = ? AND tag = ?)")
        parameters += [org, wanted.tag]
    if wanted.text is not None:
        where.append(f"({' OR '.join(f'instr(lower(c.{column}), lower(?)) > 0' for column in _SEARCHED)})")
        parameters += [wanted.text] * len(_SEARCHED)
    if wanted.channel is not None:
        where.append(f"{address_sql(wanted.channel)} IS NOT NULL")
    instants = (
        ("c.seen_at < ?", wanted.seen_before),
        ("c.created_at >= ?", wanted.created_after),
        ("c.created_at < ?", wanted.created_before),
    )
    for condition, instant in instants:
        if instant is not None:
            where.append(condition)
            parameters.append(to_micros(instant))
    return " AND ".join(where), tuple(parameters)


def contact_rows(
    conn: sqlite3.Connection, where: str, parameters: Sequence[object], limit: int, channels: Sequence[Channel]
) -> tuple[ContactRow, ...]:
    """The contacts that `where` leaves, in the order of their ids."""
    rows = conn.execute(
        f"""SELECT c.id, c.public_id, c.addresses, c.attributes, c.created_at, c.updated_at, c.seen_at, c.deleted_at,
                (SELECT json_group_array(tag) FROM contact_tags WHERE contact = c.id),
                {", ".join(f"c.{name}" for name in SCALARS)}
            FROM contacts AS c WHERE {where} ORDER BY c.public_id LIMIT ?""",
        (*parameters, limit),
    ).fetchall()
    opt_outs = opt_outs_of(conn, [row[0] for row in rows], channels)
    return tuple(_row(row, opt_outs.get(row[0], {})) for row in rows)


def _row(row: tuple[Any, ...], opt_outs: Mapping[str, datetime]) -> ContactRow:
    key, public_id, addresses, attributes, created_at, updated_at, seen_at, deleted_at, tags, *scalars = row
    return ContactRow(
        key=key,
        public_id=public_id,
        scalars=dict(zip(SCALARS, scalars, strict=True)),
        addresses=from_json(addresses) or {},
        tags=tuple(sorted(from_json(tags))),
        attributes=from_json(attributes) or {},
        opt_outs=opt_outs,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        seen_at=from_micros(seen_at),
        deleted_at=instant_or_none(deleted_at),
    )
