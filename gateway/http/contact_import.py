"""`POST /v1/contacts/import`: a stream of any length, read line by line and written in chunks.

Good rows go in, each bad row is reported once with its line. Memory does not grow with the stream.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from gateway.core.people import SCALARS, ContactDraft, ContactReader
from gateway.engine.catalogue import Catalogue
from gateway.engine.people import bad_channels, reader_for
from gateway.errors import Invalid, Problem
from gateway.http.routing import Answer, Call, Route
from gateway.store.contacts import CHUNK, BadChannels, ContactStore

LINE_BYTES_MAX: Final = 64 * 1024
ERRORS_LISTED_MAX: Final = 1_000
IMPORT_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"


class ImportQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How rows without an id find their contact."""

    match: Annotated[Literal["id", "email", "phone"], Meta(description="For rows without an id.")] = "id"


class LineFault(msgspec.Struct, kw_only=True, frozen=True):
    """A row that was not taken."""

    line: int
    detail: str


class ImportReport(msgspec.Struct, kw_only=True, frozen=True):
    """What became of the rows. At most 1,000 errors are listed; `rejected` counts them all."""

    created: int
    updated: int
    unchanged: int
    restored: int
    rejected: int
    errors: list[LineFault]
    warnings: list[str]


class _Line(msgspec.Struct, frozen=True):
    number: int
    text: str | None  # None: it was too long
    fault: str | None = None


class _Import:
    """One stream: rows are gathered into chunks, faults are counted and the first ones kept."""

    def __init__(self, call: Call, store: ContactStore, reader: ContactReader, judge: BadChannels, match: Any) -> None:
        self._call = call
        self._store = store
        self._reader = reader
        self._judge = judge
        self._match = match
        self._drafts: list[ContactDraft] = []
        self.counts: Counter[str] = Counter()
        self.errors: list[LineFault] = []
        self.warnings: list[str] = []

    def reject(self, line: int, detail: str) -> None:
        self.counts["rejected"] += 1
        if len(self.errors) < ERRORS_LISTED_MAX:
            self.errors.append(LineFault(line=line, detail=detail))

    async def take(self, line: int, fields: Mapping[str, Any]) -> None:
        draft, faults = self._reader.read(fields)
        if faults:
            self.reject(line, "; ".join(f"{fault.pointer.lstrip('/')}: {fault.detail}" for fault in faults))
            return
        if draft.public_id is None and self._match != "id" and not draft.scalars.get(self._match):
            self.reject(line, f"Without an id the row needs its {self._match}.")
            return
        self._drafts.append(draft)
        if len(self._drafts) >= CHUNK:
            await self.flush()

    async def flush(self) -> None:
        drafts, self._drafts = self._drafts, []
        if drafts:
            written = await self._store.upsert(self._call.org, drafts, self._judge, match=self._match)
            self.counts.update(each.status for each in written)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[_Line]:
    """The stream's lines, decoded; what is too long or no UTF-8 is a line with a fault. Quoted line ends are not cut here."""
    rest = b""
    number = 0
    skipping = False
    async for chunk in chunks:
        parts = (rest + chunk).split(b"\n")
        rest = parts.pop()
        for part in parts:
            number += 1
            yield _Line(number, None, "skipped") if skipping else _decoded(number, part)
            skipping = False
        if len(rest) > LINE_BYTES_MAX:
            if not skipping:
                skipping = True
            rest = b""
    if rest or skipping:
        yield _Line(number + 1, None, "skipped") if skipping else _decoded(number + 1, rest)


def _decoded(number: int, raw: bytes) -> _Line:
    if len(raw) > LINE_BYTES_MAX:
        return _Line(number, None, f"The line has more than {LINE_BYTES_MAX} bytes.")
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
    except UnicodeDecodeError as exc:
        return _Line(number, None, f"The line is not UTF-8 (byte {exc.start}).")
    if "\x00" in text:
        return _Line(number, None, "The line has a NUL.")
    return _Line(number, text)


class ContactImport:
    """Handler over one store."""

    def __init__(self, store: ContactStore, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    async def run(self, call: Call) -> Answer:
        assert call.chunks is not None
        query: ImportQuery = call.query
        org = self._catalogue.org_by_id(call.org)
        reading = _Import(
            call, self._store, reader_for(org, self._catalogue), bad_channels(org, self._catalogue), query.match
        )
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == NDJSON:
            await _read_ndjson(reading, _lines(call.chunks))
        else:
            await _read_csv(reading, _lines(call.chunks), query.match)
        await reading.flush()
        counts = {name: reading.counts[name] for name in ("created", "updated", "unchanged", "restored", "rejected")}
        return Answer(body=ImportReport(**counts, errors=reading.errors, warnings=reading.warnings))


async def _read_ndjson(reading: _Import, lines: AsyncIterator[_Line]) -> None:
    async for line in lines:
        if line.text is None:
            reading.reject(line.number, _too_long_or(line.fault))
        elif line.text.strip():
            try:
                fields = msgspec.json.decode(line.text, type=dict[str, Any])
            except msgspec.MsgspecError as exc:
                reading.reject(line.number, f"The line is not a JSON object: {exc}.")
                continue
            await reading.take(line.number, fields)


def _too_long_or(fault: str | None) -> str:
    return f"The line has more than {LINE_BYTES_MAX} bytes." if fault in (None, "skipped") else fault or ""


async def _read_csv(reading: _Import, lines: AsyncIterator[_Line], match: str) -> None:
    header: list[str] | None = None
    pending = ""  # a quoted cell may hold line ends
    first = 0
    async for line in lines:
        if line.text is None:
            reading.reject(line.number, _too_long_or(line.fault))
            pending = ""
            continue
        first = first if pending else line.number
        pending = f"{pending}\n{line.text}" if pending else line.text
        if pending.count('"') % 2 and len(pending) <= LINE_BYTES_MAX:
            continue
        text, pending = pending, ""
        if text.count('"') % 2:
            reading.reject(first, "A quote is opened and not closed.")
            continue
        if not text.strip():
            continue
        cells = _cells(text)
        if cells is None:
            reading.reject(first, "The row is badly quoted.")
        elif header is None:
            header = _header(cells, match, reading)
        elif len(cells) != len(header):
            reading.reject(first, f"The row has {len(cells)} cells, the header {len(header)}.")
        else:
            await reading.take(first, _fields(header, cells))
    if pending:
        reading.reject(first, "A quote is opened and not closed.")
    if header is None:
        raise Invalid([Problem("", "The file has no header row.")])


def _cells(text: str) -> list[str] | None:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return None


def _header(cells: list[str], match: str, reading: _Import) -> list[str]:
    """The columns' names; what is no field of a contact becomes an attribute."""
    names = [cell.strip() for cell in cells]
    doubled = [name for name, number in Counter(names).items() if number > 1]
    if doubled:
        raise Invalid([Problem("", f"The header names {', '.join(map(repr, doubled))} more than once.")])
    if "id" not in names and match not in names:
        raise Invalid(
            [Problem("", "The header has no id column; to match by another one, say ?match=email or ?match=phone.")]
        )
    others = [name for name in names if name not in _KNOWN and not name.startswith(("attributes.", "addresses."))]
    if others:
        reading.warnings.append(f"Columns kept as attributes: {', '.join(others)}.")
    return names


_KNOWN: Final = frozenset({"id", "tags", *SCALARS})


def _fields(header: list[str], cells: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if name == "tags":
            fields["tags"] = [tag for tag in (part.strip() for part in cell.split(";")) if tag]
        elif name in _KNOWN:
            fields[name] = cell or None
        elif name.startswith("addresses."):
            fields.setdefault("addresses", {})[name.removeprefix("addresses.")] = cell or None
        else:
            fields.setdefault("attributes", {})[name.removeprefix("attributes.")] = cell or None
    return fields


def import_routes(store: ContactStore, catalogue: Catalogue) -> list[Route]:
    """The one route."""
    return [
        Route(
            method="POST",
            path="/v1/contacts/import",
            handler=ContactImport(store, catalogue).run,
            summary="Import contacts from CSV or NDJSON, of any length",
            permissions=("members.edit",),
            tag="contacts",
            query=ImportQuery,
            streams=(CSV, NDJSON),
            body_bytes_max=IMPORT_BYTES_MAX,
            answer=ImportReport,
        )
    ]
