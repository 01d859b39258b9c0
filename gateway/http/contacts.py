"""`/v1/contacts`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.contract import Channel
from gateway.core.people import ContactDraft, Fault
from gateway.engine.catalogue import Catalogue
from gateway.engine.people import bad_channels, reader_for, unknown_fields
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.http.paging import CreatedQuery, Instant, Page, key_of
from gateway.http.paging import page as paged
from gateway.http.routing import Answer, Call, Route
from gateway.store.contact_reads import ContactFilter, ContactRow
from gateway.store.contact_writes import Written
from gateway.store.contacts import ContactStore

BATCH_MAX = 1_000
BATCH_BYTES_MAX = 16 * 1024 * 1024
SLICE = 100  # contacts read at once: some 4 ms of the event loop's time


class ContactFields(msgspec.Struct, kw_only=True, frozen=True):
    """A contact as it is given: null clears a field, blank texts count as null."""

    id: Annotated[str, Meta(max_length=200)] | None = None
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: Annotated[str, Meta(description="E.164, or a national number of the org's region.")] | None = None
    whatsapp: Annotated[str, Meta(description="Where it differs from the phone.")] | None = None
    addresses: dict[str, str | None] = {}
    time_zone: Annotated[str, Meta(description="An IANA name.")] | None = None
    language: str | None = None
    tags: list[str] | None = None
    attributes: dict[str, Any] = {}


class ContactBatch(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 contacts, each merged into what is there."""

    contacts: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=BATCH_MAX)]


class ContactView(msgspec.Struct, kw_only=True, frozen=True):
    """A contact as it is shown."""

    id: str
    name: str | None
    first_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    whatsapp: str | None
    addresses: dict[str, str]
    time_zone: str | None
    language: str | None
    tags: list[str]
    attributes: dict[str, Any]
    opt_outs: dict[str, datetime]
    created_at: datetime
    updated_at: datetime
    seen_at: datetime
    deleted_at: datetime | None


class FieldFault(msgspec.Struct, kw_only=True, frozen=True):
    """One fault of one contact."""

    pointer: str
    detail: str


class ContactResult(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What became of one contact of a batch, in the order of the batch."""

    id: str | None
    status: str
    errors: list[FieldFault] = []


class ContactResults(msgspec.Struct, kw_only=True, frozen=True):
    """The results of a batch."""

    results: list[ContactResult]


class ContactQuery(CreatedQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Filters of the list."""

    tag: str | None = None
    q: (
        Annotated[str, Meta(min_length=1, max_length=200, description="Part of a name, id, address or number.")] | None
    ) = None
    channel: Annotated[str, Meta(description="Only who has an address on this channel.")] | None = None
    deleted: bool = False
    seen_before: Annotated[Instant | None, Meta(description="Only who was in no sync since then.")] = None


class ContactResource:
    """Handlers over one store."""

    def __init__(self, store: ContactStore, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    async def put(self, call: Call) -> Answer:
        written = await self._write(call, replace=True)
        return Answer(body=await self._view(call), status=201 if written.status == "created" else 200)

    async def patch(self, call: Call) -> Answer:
        row = await self._existing(call)
        if row.deleted_at is not None:
            raise Refused("not_found", f"The contact {row.public_id!r} is deleted; restore it first.")
        await self._write(call, replace=False)
        return Answer(body=await self._view(call))

    async def post(self, call: Call) -> Answer:
        batch: ContactBatch = call.body
        reader = reader_for(self._catalogue.org_by_id(call.org), self._catalogue)
        drafts: list[ContactDraft] = []
        results: list[ContactResult | None] = []
        for number, fields in enumerate(batch.contacts):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)  # others are waiting for this thread
            draft, faults = reader.read(fields)
            faults += unknown_fields(fields)
            if faults:
                results.append(ContactResult(id=draft.public_id, status="error", errors=_shown(faults)))
            else:
                results.append(None)
                drafts.append(draft)
        written = iter(await self._upsert(call, drafts))
        return Answer(body=ContactResults(results=[each or _result(next(written)) for each in results]))

    async def page(self, call: Call) -> Answer:
        query: ContactQuery = call.query
        after = key_of(query.cursor, tuple[str])
        wanted = ContactFilter(
            tag=query.tag,
            text=query.q,
            channel=self._channel(query.channel),
            deleted=query.deleted,
            seen_before=query.seen_before,
            created_after=query.created_after,
            created_before=query.created_before,
        )
        rows = await self._store.list(
            call.org, wanted, after[0] if after else None, query.limit + 1, tuple(self._catalogue.channels.values())
        )
        return Answer(body=paged(rows, query.limit, view_of, lambda row: (row.public_id,)))

    async def show(self, call: Call) -> Answer:
        return Answer(body=await self._view(call))

    async def delete(self, call: Call) -> Answer:
        if not await self._store.delete(call.org, call.path["id"]):
            raise NotFound("contact", call.path["id"])
        return Answer(status=204)

    async def restore(self, call: Call) -> Answer:
        if not await self._store.restore(call.org, call.path["id"]):
            raise NotFound("deleted contact", call.path["id"])
        return Answer(body=await self._view(call))

    def _channel(self, name: str | None) -> Channel | None:
        if name is None:
            return None
        channel = self._catalogue.channels.get(name)
        if channel is None:
            raise Invalid(
                [Problem("?channel", f"There is no channel {name!r}; there are: {sorted(self._catalogue.channels)}.")]
            )
        return channel

    async def _write(self, call: Call, *, replace: bool) -> Written:
        reader = reader_for(self._catalogue.org_by_id(call.org), self._catalogue)
        draft, faults = reader.read({**call.fields, "id": call.path["id"]})
        faults += unknown_fields(call.fields)
        if call.fields.get("id", call.path["id"]) != call.path["id"]:
            faults.append(Fault(pointer="/id", detail="The id in the body is another one than the id in the path."))
        if not faults:
            (written,) = await self._upsert(call, [draft.replacing() if replace else draft])
            if written.fault is None:
                return written
            faults.append(written.fault)
        raise Invalid([Problem(fault.pointer, fault.detail) for fault in faults])

    async def _upsert(self, call: Call, drafts: Sequence[ContactDraft]) -> list[Written]:
        judge = bad_channels(self._catalogue.org_by_id(call.org), self._catalogue)
        return await self._store.upsert(call.org, drafts, judge)

    async def _existing(self, call: Call) -> ContactRow:
        row = await self._store.get(call.org, call.path["id"], tuple(self._catalogue.channels.values()))
        if row is None:
            raise NotFound("contact", call.path["id"])
        return row

    async def _view(self, call: Call) -> ContactView:
        return view_of(await self._existing(call))


def view_of(row: ContactRow) -> ContactView:
    """A stored contact as it is shown."""
    return ContactView(
        id=row.public_id,
        addresses=dict(row.addresses),
        tags=list(row.tags),
        attributes=dict(row.attributes),
        opt_outs=dict(row.opt_outs),
        created_at=row.created_at,
        updated_at=row.updated_at,
        seen_at=row.seen_at,
        deleted_at=row.deleted_at,
        **row.scalars,
    )


def _shown(faults: Sequence[Fault]) -> list[FieldFault]:
    return [FieldFault(pointer=fault.pointer, detail=fault.detail) for fault in faults]


def _result(written: Written) -> ContactResult:
    errors = _shown([written.fault]) if written.fault else []
    return ContactResult(id=written.public_id, status=written.status, errors=errors)


def contact_routes(store: ContactStore, catalogue: Catalogue) -> list[Route]:
    """Everything under `/v1/contacts` but the import and the timeline."""
    handlers = ContactResource(store, catalogue)
    read, edit = ("members.read",), ("members.edit",)
    one, tag = "/v1/contacts/{id}", "contacts"
    return [
        Route(
            method="PUT", path=one, handler=handlers.put, summary="Create or replace a contact", permissions=edit,
            tag=tag, body=ContactFields, merge_patch=True, answer=ContactView, also=(201,),
        ),
        Route(
            method="PATCH", path=one, handler=handlers.patch, summary="Change some fields of a contact",
            permissions=edit, tag=tag, body=ContactFields, merge_patch=True, answer=ContactView,
        ),
        Route(
            method="POST", path="/v1/contacts", handler=handlers.post, summary="Create or merge up to 1,000 contacts",
            permissions=edit, tag=tag, body=ContactBatch, body_bytes_max=BATCH_BYTES_MAX, answer=ContactResults,
            creates=True, grows=True,
        ),
        Route(
            method="GET", path="/v1/contacts", handler=handlers.page, summary="List contacts by id", permissions=read,
            tag=tag, query=ContactQuery, answer=Page[ContactView],
        ),
        Route(
            method="GET", path=one, handler=handlers.show, summary="Show a contact", permissions=read, tag=tag,
            answer=ContactView,
        ),
        Route(
            method="DELETE", path=one, handler=handlers.delete, summary="Delete a contact; restorable for 30 days",
            permissions=edit, tag=tag, status=204,
        ),
        Route(
            method="POST", path=f"{one}/restore", handler=handlers.restore, summary="Restore a deleted contact",
            permissions=edit, tag=tag, body=None, body_required=False, answer=ContactView,
        ),
    ]  # fmt: skip
