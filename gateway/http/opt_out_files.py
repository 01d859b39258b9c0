"""`/v1/opt-outs/import`, `/export` and `/history`: the suppression list as a file, and the ledger behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from gateway.core.csv_cells import csv_lines
from gateway.core.ids import MESSAGE, OptOutId, OrgId, format_id
from gateway.engine.catalogue import Catalogue
from gateway.engine.opt_outs import OptOutReport, import_opt_outs
from gateway.http.contact_import import CSV, IMPORT_BYTES_MAX, check_charset
from gateway.http.routing import Answer, Call, Route
from gateway.store.consent import ConsentStore, OptOut, OptOutFilter
from gateway.store.ledger import Ledger, LedgerEntry

PIECE_ROWS: Final = 2_000
PAGE_MAX: Final = 1_000
EXPORTED: Final = ("channel", "address", "contact_id", "category", "reason", "source", "created_at", "created_by")


class HistoryQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where to go on."""

    after: Annotated[int, Meta(ge=0, le=(1 << 62), description="`last_seq` of the page before.")] = 0
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 200


class LedgerView(msgspec.Struct, kw_only=True, frozen=True):
    """One wish, and what proves it. `callback_id` is the provider's own request, kept for some days."""

    seq: int
    wish: str
    channel: str
    address: str | None
    contact_id: str | None
    category: str
    source: str
    reason: str | None
    message_id: str | None
    callback_id: str | None
    by: str | None
    at: datetime


class LedgerPage(msgspec.Struct, kw_only=True, frozen=True):
    """Entries, oldest first. There may be more while `items` is full; go on behind `last_seq`."""

    items: list[LedgerView]
    last_seq: int


def opt_out_file_routes(store: ConsentStore, ledger: Ledger, catalogue: Catalogue) -> list[Route]:
    """To be registered before `/v1/opt-outs/{id}`, which would match them too."""

    async def bring_in(call: Call) -> Answer:
        assert call.chunks is not None
        check_charset(call.headers.get("content-type", ""))
        org = catalogue.org_by_id(call.org)
        return Answer(body=await import_opt_outs(call.chunks, catalogue, org, store, call.caller.key_id))

    async def export(call: Call) -> Answer:
        headers = {"Content-Disposition": 'attachment; filename="opt-outs.csv"'}
        return Answer(stream=opt_outs_csv(store, call.org), content_type=CSV, headers=headers)

    async def history(call: Call) -> Answer:
        query: HistoryQuery = call.query
        entries = await ledger.after(call.org, query.after, query.limit)
        last = entries[-1].seq if entries else query.after
        return Answer(body=LedgerPage(items=[_view(entry) for entry in entries], last_seq=last))

    many, tag = "/v1/opt-outs", "opt-outs"
    return [
        Route(
            method="POST", path=f"{many}/import", handler=bring_in, summary="Record opt-outs from CSV, of any length",
            permissions=("optouts.edit",), tag=tag, streams=(CSV,), body_bytes_max=IMPORT_BYTES_MAX,
            answer=OptOutReport,
        ),
        Route(
            method="GET", path=f"{many}/export", handler=export, summary="The whole list as CSV",
            permissions=("messaging.read",), tag=tag, answer=str, answers_also=(CSV,),
        ),
        Route(
            method="GET", path=f"{many}/history", handler=history, summary="The consent ledger, oldest first",
            permissions=("messaging.read",), tag=tag, query=HistoryQuery, answer=LedgerPage,
        ),
    ]  # fmt: skip


async def opt_outs_csv(store: ConsentStore, org: OrgId) -> AsyncIterator[bytes]:
    """The whole list, header first, newest first: what an import reads."""
    yield csv_lines([EXPORTED])
    before: OptOutId | None = None
    while found := await store.list(org, OptOutFilter(), before, PIECE_ROWS):
        yield csv_lines([_row(opt_out) for opt_out in found])
        before = found[-1].id


async def ledger_csv(ledger: Ledger, org: OrgId) -> AsyncIterator[bytes]:
    """The whole ledger, header first, oldest first."""
    yield csv_lines([LedgerView.__struct_fields__])
    after = 0
    while entries := await ledger.after(org, after, PIECE_ROWS):
        yield csv_lines([msgspec.structs.astuple(_view(entry)) for entry in entries])
        after = entries[-1].seq


def _row(opt_out: OptOut) -> Sequence[object]:
    return [getattr(opt_out, name) for name in EXPORTED]


def _view(entry: LedgerEntry) -> LedgerView:
    return LedgerView(
        seq=entry.seq,
        wish=entry.wish,
        channel=entry.channel,
        address=entry.address,
        contact_id=entry.contact_id,
        category=entry.category,
        source=entry.source,
        reason=entry.reason,
        message_id=None if entry.message is None else format_id(MESSAGE, entry.message),
        callback_id=None if entry.callback is None else str(entry.callback),
        by=entry.by,
        at=entry.at,
    )
