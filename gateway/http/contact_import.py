"""`POST /v1/contacts/import`."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gateway.engine.catalogue import Catalogue
from gateway.engine.contact_import import ImportReport, Target, import_contacts
from gateway.engine.people import bad_channels, reader_for
from gateway.errors import Refused
from gateway.http.routing import Answer, Call, Route
from gateway.store.contacts import ContactStore

IMPORT_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"

_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]*)", re.IGNORECASE)


class ImportQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How rows without an id find their contact."""

    match: Annotated[Literal["id", "email", "phone"], Meta(description="For rows without an id.")] = "id"


def check_charset(content_type: str) -> None:
    """Refused `unsupported_media_type` for a text that says that it is not UTF-8.

    Names in another charset that happen to be UTF-8 would go in garbled: who says another one is believed.
    """
    named = _CHARSET.search(content_type)
    if named is not None and named[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Refused("unsupported_media_type", f"The charset is {named[1][:40]!r}; imports are read as UTF-8.")


def import_routes(store: ContactStore, catalogue: Catalogue) -> list[Route]:
    """The one route."""

    async def run(call: Call) -> Answer:
        assert call.chunks is not None
        query: ImportQuery = call.query
        org = catalogue.org_by_id(call.org)
        target = Target(
            org=org.id,
            store=store,
            reader=reader_for(org, catalogue),
            judge=bad_channels(org, catalogue),
            match=query.match,
        )
        content_type = call.headers.get("content-type", "")
        check_charset(content_type)
        kind = content_type.partition(";")[0].strip().lower()
        return Answer(body=await import_contacts(call.chunks, "ndjson" if kind == NDJSON else "csv", target))

    return [
        Route(
            method="POST",
            path="/v1/contacts/import",
            handler=run,
            summary="Import contacts from CSV or NDJSON, of any length",
            permissions=("members.edit",),
            tag="contacts",
            query=ImportQuery,
            streams=(CSV, NDJSON),
            grows=True,
            body_bytes_max=IMPORT_BYTES_MAX,
            answer=ImportReport,
        )
    ]
