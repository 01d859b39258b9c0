"""`/v1/opt-outs`: the suppression list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core.ids import OPT_OUT, OptOutId, format_id, parse_id
from gateway.engine.catalogue import Catalogue
from gateway.engine.opt_outs import read_wish
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.http.opt_out_files import opt_out_file_routes
from gateway.http.paging import CreatedQuery, Page, key_of
from gateway.http.paging import page as paged
from gateway.http.routing import Answer, Call, Route
from gateway.store.consent import ConsentStore, NewOptOut, OptOut, OptOutFilter
from gateway.store.ledger import Ledger

BATCH_MAX = 1_000


class OptOutDraft(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One wish. Give `address` or `contact`."""

    channel: str
    address: Annotated[str, Meta(max_length=500)] | None = None
    contact: Annotated[str, Meta(max_length=200)] | None = None
    category: Annotated[str, Meta(min_length=1, max_length=100)] = "all"
    reason: Annotated[str, Meta(max_length=1_000)] | None = None


class OptOutOrder(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One wish, or up to 1,000 in `opt_outs`."""

    channel: str | None = None
    address: Annotated[str, Meta(max_length=500)] | None = None
    contact: Annotated[str, Meta(max_length=200)] | None = None
    category: Annotated[str, Meta(min_length=1, max_length=100)] = "all"
    reason: Annotated[str, Meta(max_length=1_000)] | None = None
    opt_outs: Annotated[list[OptOutDraft], Meta(min_length=1, max_length=BATCH_MAX)] | None = None


class Removal(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Why an opt-out is taken off the list."""

    reason: Annotated[str, Meta(min_length=1, max_length=1_000)]


class OptOutView(msgspec.Struct, kw_only=True, frozen=True):
    """An opt-out as it is shown."""

    id: str
    channel: str
    address: str | None
    contact_id: str | None
    category: str
    reason: str | None
    source: str
    created_at: datetime
    created_by: str | None


class OptOutResults(msgspec.Struct, kw_only=True, frozen=True):
    """The opt-outs of a batch, in its order."""

    opt_outs: list[OptOutView]


class OptOutQuery(CreatedQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Filters of the list."""

    channel: str | None = None
    address: str | None = None
    contact: str | None = None


class OptOutResource:
    """Handlers over one store."""

    def __init__(self, store: ConsentStore, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    async def create(self, call: Call) -> Answer:
        order: OptOutOrder = call.body
        org = self._catalogue.org_by_id(call.org)
        drafts = _drafts(order)
        problems: list[Problem] = []
        wishes: list[NewOptOut] = []
        for number, draft in enumerate(drafts):
            read = read_wish(self._catalogue, org, msgspec.structs.asdict(draft))
            if isinstance(read, list):
                at = f"/opt_outs/{number}" if order.opt_outs else ""
                problems += [Problem(f"{at}{problem.pointer}", problem.detail) for problem in read]
            else:
                wishes.append(read)
        if problems:
            raise Invalid(problems)
        recording = await self._store.record(call.org, wishes, source="api", by=call.caller.key_id)
        if recording.unknown:
            raise _unknown_contacts(order, drafts, recording.unknown)
        views = [_view(each.opt_out) for each in recording.recorded]
        status = 201 if any(each.new for each in recording.recorded) else 200
        if order.opt_outs is not None:
            return Answer(body=OptOutResults(opt_outs=views), status=status)
        return Answer(body=views[0], status=status, headers={"Location": f"/v1/opt-outs/{views[0].id}"})

    async def page(self, call: Call) -> Answer:
        query: OptOutQuery = call.query
        before = key_of(query.cursor, tuple[int])
        wanted = OptOutFilter(
            channel=query.channel,
            addresses=self._spellings(call, query),
            contact=query.contact,
            created_after=query.created_after,
            created_before=query.created_before,
        )
        found = await self._store.list(call.org, wanted, OptOutId(before[0]) if before else None, query.limit + 1)
        return Answer(body=paged(found, query.limit, _view, lambda each: (each.id,)))

    def _spellings(self, call: Call, query: OptOutQuery) -> list[tuple[str, str]] | None:
        """The address asked for as each channel spells it; an address that a channel refuses is looked for as it is."""
        if query.address is None:
            return None
        region = self._catalogue.org_by_id(call.org).default_region
        pairs = []
        for channel in self._catalogue.channels.values():
            try:
                pairs.append((channel.name, channel.normalise(query.address, region)))
            except ValueError:
                pairs.append((channel.name, query.address))
        return pairs

    async def show(self, call: Call) -> Answer:
        found = await self._store.get(call.org, _id(call))
        if found is None:
            raise NotFound("opt-out", call.path["id"])
        return Answer(body=_view(found))

    async def remove(self, call: Call) -> Answer:
        removal: Removal = call.body
        if not await self._store.remove(call.org, _id(call), reason=removal.reason, by=call.caller.key_id):
            raise NotFound("opt-out", call.path["id"])
        return Answer(status=204)


def _drafts(order: OptOutOrder) -> list[OptOutDraft]:
    if order.opt_outs is not None:
        if order.channel is not None or order.address is not None or order.contact is not None:
            raise Invalid([Problem("/opt_outs", "Give one opt-out, or a list of them, not both.")])
        return order.opt_outs
    if order.channel is None:
        raise Invalid([Problem("/channel", "Missing.")])
    return [
        OptOutDraft(
            channel=order.channel,
            address=order.address,
            contact=order.contact,
            category=order.category,
            reason=order.reason,
        )
    ]


def _unknown_contacts(order: OptOutOrder, drafts: list[OptOutDraft], places: Sequence[int]) -> Refused:
    """Nothing was recorded: of one opt-out its contact is not found, of a list every unknown one is named."""
    named = [(place, drafts[place].contact or "") for place in places]
    if order.opt_outs is None:
        return NotFound("contact", named[0][1])
    return Invalid([Problem(f"/opt_outs/{place}/contact", f"There is no contact {name!r}.") for place, name in named])


def _id(call: Call) -> OptOutId:
    number = parse_id(OPT_OUT, call.path["id"])
    if number is None:
        raise NotFound("opt-out", call.path["id"])
    return OptOutId(number)


def _view(opt_out: OptOut) -> OptOutView:
    return OptOutView(
        id=format_id(OPT_OUT, opt_out.id),
        channel=opt_out.channel,
        address=opt_out.address,
        contact_id=opt_out.contact_id,
        category=opt_out.category,
        reason=opt_out.reason,
        source=opt_out.source,
        created_at=opt_out.created_at,
        created_by=opt_out.created_by,
    )


def opt_out_routes(store: ConsentStore, ledger: Ledger, catalogue: Catalogue) -> list[Route]:
    """Everything under `/v1/opt-outs`."""
    handlers = OptOutResource(store, catalogue)
    one, many, tag = "/v1/opt-outs/{id}", "/v1/opt-outs", "opt-outs"
    return [
        *opt_out_file_routes(store, ledger, catalogue),
        Route(
            method="POST", path=many, handler=handlers.create, summary="Record opt-outs",
            permissions=("messaging.send",), tag=tag, body=OptOutOrder, answer=OptOutView | OptOutResults, status=201,
            also=(200,), creates=True,
        ),
        Route(
            method="GET", path=many, handler=handlers.page, summary="List opt-outs, the newest first",
            permissions=("messaging.read",), tag=tag, query=OptOutQuery, answer=Page[OptOutView],
        ),
        Route(
            method="GET", path=one, handler=handlers.show, summary="Show an opt-out", permissions=("messaging.read",),
            tag=tag, answer=OptOutView,
        ),
        Route(
            method="DELETE", path=one, handler=handlers.remove, summary="Remove an opt-out, for a reason",
            permissions=("optouts.edit",), tag=tag, body=Removal, status=204,
        ),
    ]  # fmt: skip
