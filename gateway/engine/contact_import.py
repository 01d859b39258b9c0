"""Contacts from a stream of any length, CSV or NDJSON: read line by line and written in chunks.

Good rows go in, each bad row is reported once with its line. Memory does not grow with the stream.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from gateway.core.ids import OrgId
from gateway.core.people import SCALARS, ContactDraft, ContactReader, Match
from gateway.errors import Invalid, Problem
from gateway.store.contact_writes import BadChannels
from gateway.store.contacts import CHUNK, ContactStore

LINE_BYTES_MAX: Final = 64 * 1024
REJECTIONS_LISTED_MAX: Final = 1_000
KNOWN_COLUMNS: Final = frozenset({"id", "tags", *SCALARS})

Form = Literal["csv", "ndjson"]


class Rejection(msgspec.Struct, kw_only=True, frozen=True):
    """A row that was not taken. Lines count from 1; of a row over several lines it is the first."""

    line: int
    detail: str


class ImportReport(msgspec.Struct, kw_only=True, frozen=True):
    """What became of the rows. At most 1,000 errors are listed; `rejected` counts them all."""

    created: int
    updated: int
    unchanged: int
    restored: int
    rejected: int
    errors: list[Rejection]
    warnings: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the rows go, and by which rules they are read."""

    org: OrgId
    store: ContactStore
    reader: ContactReader
    judge: BadChannels
    match: Match


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str = ""
    fault: str | None = None


async def import_contacts(chunks: AsyncIterator[bytes], form: Form, target: Target) -> ImportReport:
    """Read the whole stream. Invalid if a CSV file has no usable header; then nothing was written."""
    rows = _Rows(target)
    if form == "ndjson":
        await _read_ndjson(rows, _lines(chunks))
    else:
        await _CsvRows(rows).read(_lines(chunks))
    await rows.flush()
    return rows.report()


class _Rows:
    """Gathers rows into chunks; counts faults and keeps the first ones."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.warnings: list[str] = []
        self._drafts: list[ContactDraft] = []
        self._counts: Counter[str] = Counter()
        self._rejections: list[Rejection] = []

    def reject(self, line: int, detail: str) -> None:
        self._counts["rejected"] += 1
        if len(self._rejections) < REJECTIONS_LISTED_MAX:
            self._rejections.append(Rejection(line=line, detail=detail))

    async def take(self, line: int, fields: Mapping[str, Any]) -> None:
        draft, faults = self.target.reader.read(fields)
        match = self.target.match
        if faults:
            self.reject(line, " ".join(f"{fault.pointer.lstrip('/')}: {fault.detail}" for fault in faults))
        elif draft.public_id is None and match != "id" and not draft.scalars.get(match):
            self.reject(line, f"Without an id the row needs its {match}.")
        else:
            self._drafts.append(draft)
            if len(self._drafts) >= CHUNK:
                await self.flush()

    async def flush(self) -> None:
        drafts, self._drafts = self._drafts, []
        if drafts:
            target = self.target
            written = await target.store.upsert(target.org, drafts, target.judge, match=target.match)
            self._counts.update(each.status for each in written)

    def report(self) -> ImportReport:
        names = ("created", "updated", "unchanged", "restored", "rejected")
        counts = {name: self._counts[name] for name in names}
        return ImportReport(**counts, errors=self._rejections, warnings=self.warnings)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[_Line]:
    """The stream's lines, decoded; one that is too long or no UTF-8 has a fault. Quotes are not looked at."""
    rest = b""
    number = 0
    too_long = False
    async for chunk in chunks:
        parts = (rest + chunk).split(b"\n")
        rest = parts.pop()
        for part in parts:
            number += 1
            yield _too_long(number) if too_long else _decoded(number, part)
            too_long = False
        if len(rest) > LINE_BYTES_MAX:  # the rest of the line is passed over without being kept
            too_long, rest = True, b""
    if rest or too_long:
        yield _too_long(number + 1) if too_long else _decoded(number + 1, rest)


def _too_long(number: int) -> _Line:
    return _Line(number, fault=f"The line has more than {LINE_BYTES_MAX:,} bytes.")


def _decoded(number: int, raw: bytes) -> _Line:
    if len(raw) > LINE_BYTES_MAX:
        return _too_long(number)
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
    except UnicodeDecodeError as exc:
        return _Line(number, fault=f"The line is not UTF-8, from its byte {exc.start + 1} on.")
    return _Line(number, fault="The line has a NUL.") if "\x00" in text else _Line(number, text)


async def _read_ndjson(rows: _Rows, lines: AsyncIterator[_Line]) -> None:
    async for line in lines:
        if line.fault is not None:
            rows.reject(line.number, line.fault)
        elif line.text.strip():
            try:
                fields = msgspec.json.decode(line.text, type=dict[str, Any])
            except msgspec.MsgspecError as exc:
                rows.reject(line.number, f"The line is not a JSON object: {exc}.")
                continue
            await rows.take(line.number, fields)


class _CsvRows:
    """Joins lines to rows, since a quoted cell may hold line ends, and gives the cells their columns' names.

    A quote that is never closed must not swallow the good rows behind it: when lines joined make no row, the first of
    them is rejected and the others are read anew.
    """

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self._header: list[str] | None = None
        self._open: list[_Line] = []  # lines of a row whose quote is not closed yet

    async def read(self, lines: AsyncIterator[_Line]) -> None:
        async for line in lines:
            if line.fault is None:
                await self._line(line)
            else:
                await self._give_up()
                self._rows.reject(line.number, line.fault)
        await self._give_up()
        if self._header is None:
            raise Invalid([Problem("", "The file has no header row.")])

    async def _line(self, line: _Line) -> None:
        self._open.append(line)
        text = "\n".join(each.text for each in self._open)
        if text.count('"') % 2 == 0:
            joined, self._open = self._open, []
            fault = await self._row(joined[0].number, text)
            if fault is not None:
                await self._again(joined, fault)
        elif len(text) > LINE_BYTES_MAX:
            await self._give_up()

    async def _give_up(self) -> None:
        """The open quote is not closed any more."""
        while self._open:
            joined, self._open = self._open, []
            await self._again(joined, "A quote is opened and not closed.")

    async def _again(self, joined: list[_Line], fault: str) -> None:
        """The first line is at fault; those behind it are read without it."""
        self._rows.reject(joined[0].number, fault)
        for line in joined[1:]:
            await self._line(line)

    async def _row(self, number: int, text: str) -> str | None:
        """Take one row; what is wrong with its form, if anything."""
        if not text.strip():
            return None
        try:
            cells = next(csv.reader(io.StringIO(text, newline=""), strict=True))
        except csv.Error as exc:
            return f"The row is badly quoted: {exc}."
        if self._header is None:
            self._header = self._read_header(cells)
        elif len(cells) != len(self._header):
            return f"The row has {len(cells)} cells, the header {len(self._header)}."
        else:
            await self._rows.take(number, _fields(self._header, cells))
        return None

    def _read_header(self, cells: list[str]) -> list[str]:
        """The columns' names; what is no field of a contact becomes an attribute."""
        names = [cell.strip() for cell in cells]
        doubled = [name for name, number in Counter(names).items() if number > 1]
        if doubled:
            raise Invalid([Problem("", f"The header names {', '.join(map(repr, doubled))} more than once.")])
        if "id" not in names and self._rows.target.match not in names:
            raise Invalid(
                [Problem("", "The header has no id column. To match by another one: match=email or match=phone.")]
            )
        others = [
            name for name in names if name not in KNOWN_COLUMNS and not name.startswith(("attributes.", "addresses."))
        ]
        if others:
            self._rows.warnings.append(f"Columns kept as attributes: {', '.join(others)}.")
        return names


def _fields(header: list[str], cells: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if name == "tags":
            fields["tags"] = [tag for tag in (part.strip() for part in cell.split(";")) if tag]
        elif name in KNOWN_COLUMNS:
            fields[name] = cell or None
        elif name.startswith("addresses."):
            fields.setdefault("addresses", {})[name.removeprefix("addresses.")] = cell or None
        else:
            fields.setdefault("attributes", {})[name.removeprefix("attributes.")] = cell or None
    return fields
