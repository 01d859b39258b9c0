"""Contacts from a stream of any length, CSV or NDJSON: read line by line and written in chunks.

Good rows go in, each bad row is reported once with its line. Memory does not grow with the stream. It is read in slices
of a few milliseconds: whoever else needs the event loop waits no longer than that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import msgspec

from gateway.core.csv_rows import BadRow, CsvRows
from gateway.core.ids import OrgId
from gateway.core.people import ContactDraft, ContactReader, Fault, Match
from gateway.engine.contact_columns import Columns, columns_of
from gateway.engine.lines import LINE_BYTES_MAX, BadLine, Lines, decoded
from gateway.engine.people import unknown_fields
from gateway.errors import Invalid, Problem
from gateway.store.contact_writes import BadChannels
from gateway.store.contacts import CHUNK, ContactStore

REJECTIONS_LISTED_MAX: Final = 1_000  # of an import; all are counted
FAULTS_TOLD_MAX: Final = 5  # of one row; more would only make the report long
SLICE: Final = 100  # lines read at once: some 4 ms of the event loop's time

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


Parsed = Mapping[str, Any] | str
"""A row's fields, or what is wrong with it."""


class _Form(Protocol):
    def read(self, line: int, text: str) -> Iterator[tuple[int, Parsed]]:
        """The rows that end with this line."""
        ...

    def close(self) -> Iterator[tuple[int, Parsed]]:
        """The rows that are left."""
        ...


async def import_contacts(chunks: AsyncIterator[bytes], form: Form, target: Target) -> ImportReport:
    """Read the whole stream. Invalid if a CSV file has no usable header; then nothing was written.

    After a crash, or when the stream breaks off, what was written before stays: the import may simply be repeated.
    """
    rows = _Rows(target)
    reading: _Form = _Csv(target, rows.warnings) if form == "csv" else _Ndjson()
    lines = Lines()
    async for chunk in chunks:
        await rows.take(reading, lines.feed(chunk))
    await rows.take(reading, lines.end())
    rows.add(reading.close())
    await rows.flush()
    return rows.report()


class _Rows:
    """Gathers rows into chunks; counts faults and keeps the first ones."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.warnings: list[str] = []
        self._drafts: list[ContactDraft] = []
        self._lines: list[int] = []  # where each draft came from
        self._counts: Counter[str] = Counter()
        self._rejections: list[Rejection] = []

    async def take(self, form: _Form, lines: Sequence[tuple[int, bytes | None]]) -> None:
        """Read some lines, and write whenever there is a chunk."""
        for start in range(0, len(lines), SLICE):
            for number, raw in lines[start : start + SLICE]:
                text = decoded(number, raw)
                if isinstance(text, BadLine):
                    self.add(form.close())
                    self._reject(number, text.detail)
                else:
                    self.add(form.read(number, text))
            if len(self._drafts) >= CHUNK:
                await self.flush()
            else:
                await asyncio.sleep(0)

    def add(self, rows: Iterable[tuple[int, Parsed]]) -> None:
        """Read rows, each into a draft or a rejection."""
        for line, parsed in rows:
            fault = parsed if isinstance(parsed, str) else self._draft(line, parsed)
            if fault is not None:
                self._reject(line, fault)

    async def flush(self) -> None:
        """Write what was gathered."""
        drafts, lines = self._drafts, self._lines
        self._drafts, self._lines = [], []
        target = self._target
        for line, written in zip(
            lines, await target.store.upsert(target.org, drafts, target.judge, match=target.match), strict=True
        ):
            if written.fault is not None:
                self._reject(line, _told([written.fault]))
            else:
                self._counts[written.status] += 1
                self._counts["ambiguous"] += written.ambiguous

    def report(self) -> ImportReport:
        """What became of all rows."""
        counts = {name: self._counts[name] for name in ("created", "updated", "unchanged", "restored", "rejected")}
        warnings = [*self.warnings]
        if self._counts["ambiguous"]:
            warnings.append(
                f"Rows whose {self._target.match} several contacts have: {self._counts['ambiguous']}. "
                "Each went to the contact that was changed last."
            )
        if self._counts["rejected"] > REJECTIONS_LISTED_MAX:
            warnings.append(f"Only the first {REJECTIONS_LISTED_MAX:,} errors are listed.")
        errors = sorted(self._rejections, key=lambda rejection: rejection.line)
        return ImportReport(**counts, errors=errors, warnings=warnings)

    def _reject(self, line: int, detail: str) -> None:
        self._counts["rejected"] += 1
        if len(self._rejections) < REJECTIONS_LISTED_MAX:
            self._rejections.append(Rejection(line=line, detail=detail))

    def _draft(self, line: int, fields: Mapping[str, Any]) -> str | None:
        """Keep the row's draft, or say what is wrong with it."""
        draft, faults = self._target.reader.read(fields)
        faults += unknown_fields(fields)
        if faults:
            return _told(faults)
        match = self._target.match
        if draft.public_id is None and (match == "id" or draft.scalars.get(match) is None):
            return "The row has no id." if match == "id" else f"Without an id the row needs its {match}."
        self._drafts.append(draft)
        self._lines.append(line)
        return None


def _told(faults: Sequence[Fault]) -> str:
    told = [f"{fault.pointer.lstrip('/')}: {fault.detail}" for fault in faults[:FAULTS_TOLD_MAX]]
    if len(faults) > FAULTS_TOLD_MAX:
        told.append(f"And {len(faults) - FAULTS_TOLD_MAX} more.")
    return " ".join(told)


class _Ndjson:
    """One JSON object a line."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(dict[str, Any])

    def read(self, line: int, text: str) -> Iterator[tuple[int, Parsed]]:
        if text and not text.isspace():
            try:
                yield line, self._decoder.decode(text)
            except (msgspec.MsgspecError, UnicodeError) as exc:
                yield line, f"The line is not a JSON object: {exc}."
            except RecursionError:
                yield line, "The line is nested too deeply."

    def close(self) -> Iterator[tuple[int, Parsed]]:
        yield from ()


class _Csv:
    """Rows under a header. A header that cannot be used is an Invalid."""

    def __init__(self, target: Target, warnings: list[str]) -> None:
        self._target = target
        self._warnings = warnings
        self._rows = CsvRows(LINE_BYTES_MAX)
        self._columns: Columns | None = None

    def read(self, line: int, text: str) -> Iterator[tuple[int, Parsed]]:
        for row in self._rows.take(line, text):
            if self._columns is None:
                if isinstance(row, BadRow):
                    raise Invalid([Problem("", f"The header cannot be read. {row.detail}")])
                self._columns = columns_of(row.cells, self._target.match, self._target.reader.channels)
                self._rows.width = len(row.cells)
                self._warnings += self._columns.warnings
            else:
                yield row.line, row.detail if isinstance(row, BadRow) else self._columns.fields(row.cells)

    def close(self) -> Iterator[tuple[int, Parsed]]:
        if self._columns is None:
            raise Invalid([Problem("", "The file has no header row that can be read.")])
        for row in self._rows.close():
            yield row.line, row.detail if isinstance(row, BadRow) else self._columns.fields(row.cells)
