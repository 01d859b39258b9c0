"""Contacts as a file of any length, in the form that the import reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal

import msgspec

from gateway.contract import Channel
from gateway.core.csv_cells import csv_lines
from gateway.core.ids import OrgId
from gateway.core.people import SCALARS
from gateway.engine.people import addressed
from gateway.store.contact_reads import ContactFilter, ContactRow
from gateway.store.contacts import ContactStore

Form = Literal["csv", "ndjson"]

PIECE_ROWS: Final = 1_000


async def export_contacts(
    store: ContactStore, org: OrgId, channels: Sequence[Channel], form: Form
) -> AsyncIterator[bytes]:
    """All contacts that are not deleted, in the order of their ids.

    CSV has a column for every attribute that anybody has; a value that is no text is JSON. NDJSON has everything as it
    is.
    """
    names = await store.attribute_names(org) if form == "csv" else ()
    others = [channel.name for channel in addressed(channels)]
    if form == "csv":
        columns = ["id", *SCALARS, "tags", *(f"addresses.{one}" for one in others), *(f"attributes.{n}" for n in names)]
        yield csv_lines([columns])
    after: str | None = None
    while rows := await store.list(org, ContactFilter(), after, PIECE_ROWS, ()):
        if form == "csv":
            yield csv_lines([_cells(row, others, names) for row in rows])
        else:
            yield b"".join(msgspec.json.encode(_object(row)) + b"\n" for row in rows)
        after = rows[-1].public_id


def _cells(row: ContactRow, channels: Sequence[str], names: Sequence[str]) -> list[Any]:
    return [
        row.public_id,
        *(row.scalars[name] for name in SCALARS),
        ";".join(sorted(row.tags)),
        *(row.addresses.get(channel) for channel in channels),
        *(_text(row.attributes.get(name)) for name in names),
    ]


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _object(row: ContactRow) -> dict[str, Any]:
    return {
        "id": row.public_id,
        **{name: row.scalars[name] for name in SCALARS},
        "tags": sorted(row.tags),
        "addresses": row.addresses,
        "attributes": row.attributes,
    }
