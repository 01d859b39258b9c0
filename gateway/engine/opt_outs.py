"""Wishes as callers and files give them: one spelling, and everything that is wrong with one at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gateway.core.csv_cells import unguarded
from gateway.core.csv_rows import BadRow, CsvRows, Row
from gateway.engine.catalogue import Catalogue, Org
from gateway.engine.content_checks import category_fault
from gateway.engine.lines import LINE_BYTES_MAX, BadLine, Lines, decoded
from gateway.errors import Invalid, Problem
from gateway.store.consent import ConsentStore, NewOptOut

CHUNK: Final = 500  # wishes recorded in one transaction
REJECTIONS_LISTED_MAX: Final = 1_000
COLUMNS: Final = ("channel", "address", "contact", "category", "reason")
"""What an import reads; `contact_id`, as an export calls it, is a contact too. Other columns are ignored."""

_CELL_MAX: Final[Mapping[str, int]] = {"address": 500, "contact": 200, "category": 100, "reason": 1_000}


def read_wish(catalogue: Catalogue, org: Org, given: Mapping[str, str | None]) -> NewOptOut | list[Problem]:
    """A wish by its `COLUMNS`, its address in the channel's spelling; else what is wrong, by pointer."""
    problems: list[Problem] = []
    name, address, contact = given.get("channel"), given.get("address"), given.get("contact")
    channel = catalogue.channels.get(name or "")
    if channel is None:
        detail = f"There is no channel {name!r}; there are: {sorted(catalogue.channels)}." if name else "Missing."
        problems.append(Problem("/channel", detail))
    elif address is not None:
        try:
            address = channel.normalise(address, org.default_region)
        except ValueError as exc:
            problems.append(Problem("/address", f"{exc}."))
    if (address is None) == (contact is None):
        problems.append(Problem("", "Give either `address` or `contact`."))
    category = given.get("category") or "all"
    if (fault := category_fault(category)) is not None:
        problems.append(Problem("/category", f"No message is of such a category. {fault}"))
    if problems or channel is None:
        return problems
    return NewOptOut(
        channel=channel.name, address=address, contact=contact, category=category, reason=given.get("reason")
    )


class OptOutRejection(msgspec.Struct, kw_only=True, frozen=True):
    """A row that was not taken. Lines count from 1."""

    line: int
    detail: str


class OptOutReport(msgspec.Struct, kw_only=True, frozen=True):
    """What became of the rows. `standing` were on the list. At most 1,000 errors are listed, all are counted."""

    recorded: int
    standing: int
    rejected: int
    errors: list[OptOutRejection]


async def import_opt_outs(
    chunks: AsyncIterator[bytes], catalogue: Catalogue, org: Org, store: ConsentStore, by: str | None
) -> OptOutReport:
    """Record the wishes of a CSV file of any length. An import only adds: nobody comes back by a file.

    Good rows go in, each bad one is reported once. Invalid: the file has no usable header; then nothing was written.
    """
    rows = _Rows(catalogue, org, store, by)
    lines = Lines()
    async for chunk in chunks:
        await rows.take(lines.feed(chunk))
    await rows.take(lines.end())
    await rows.close()
    return rows.report()


class _Rows:
    """Gathers wishes into chunks; counts what became of them."""

    def __init__(self, catalogue: Catalogue, org: Org, store: ConsentStore, by: str | None) -> None:
        self._catalogue = catalogue
        self._org = org
        self._store = store
        self._by = by
        self._csv = CsvRows(LINE_BYTES_MAX)
        self._header: tuple[str, ...] | None = None
        self._wishes: list[tuple[int, NewOptOut]] = []
        self._counts: Counter[str] = Counter()
        self._errors: list[OptOutRejection] = []

    async def take(self, lines: Sequence[tuple[int, bytes | None]]) -> None:
        """Read some lines, and write whenever there is a chunk."""
        for number, raw in lines:
            text = decoded(number, raw)
            if isinstance(text, BadLine):
                self._reject(number, text.detail)
                continue
            self._add(self._csv.take(number, text))
            if len(self._wishes) >= CHUNK:
                await self._flush()

    async def close(self) -> None:
        """The rows that are left. Invalid: there was no header."""
        self._add(self._csv.close())
        if self._header is None:
            raise Invalid([Problem("", "The file has no header row that can be read.")])
        await self._flush()

    def report(self) -> OptOutReport:
        """What became of all rows."""
        return OptOutReport(
            recorded=self._counts["recorded"],
            standing=self._counts["standing"],
            rejected=self._counts["rejected"],
            errors=sorted(self._errors, key=lambda error: error.line),
        )

    def _add(self, rows: Iterator[Row | BadRow]) -> None:
        for row in rows:
            if isinstance(row, BadRow):
                self._reject(row.line, row.detail)
            elif self._header is None:
                self._header = _header(row.cells)
                self._csv.width = len(row.cells)
            else:
                self._read(row, self._header)

    def _read(self, row: Row, header: tuple[str, ...]) -> None:
        cells = {name: unguarded(cell.strip()) or None for name, cell in zip(header, row.cells, strict=True)}
        long = [name for name, most in _CELL_MAX.items() if len(cells.get(name) or "") > most]
        read = read_wish(self._catalogue, self._org, cells)
        if long:
            self._reject(row.line, f"{', '.join(long)}: too long.")
        elif isinstance(read, list):
            self._reject(row.line, " ".join(f"{one.pointer.lstrip('/')}: {one.detail}".lstrip(": ") for one in read))
        else:
            self._wishes.append((row.line, read))

    async def _flush(self) -> None:
        wishes, self._wishes = self._wishes, []
        recording = await self._store.record(self._org.id, [wish for _, wish in wishes], source="import", by=self._by)
        if recording.unknown:
            unknown = set(recording.unknown)
            for place in recording.unknown:
                self._reject(wishes[place][0], f"contact: There is no contact {wishes[place][1].contact!r}.")
            known = [wish for place, (_, wish) in enumerate(wishes) if place not in unknown]
            recording = await self._store.record(self._org.id, known, source="import", by=self._by)
        for each in recording.recorded:
            self._counts["recorded" if each.new else "standing"] += 1

    def _reject(self, line: int, detail: str) -> None:
        self._counts["rejected"] += 1
        if len(self._errors) < REJECTIONS_LISTED_MAX:
            self._errors.append(OptOutRejection(line=line, detail=detail))


def _header(cells: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns. Invalid: one is missing, or stands there twice."""
    names = tuple({"contact_id": "contact"}.get(cell.strip(), cell.strip()) for cell in cells)
    problems = []
    if "channel" not in names or not {"address", "contact"} & set(names):
        problems.append(Problem("", f"A header has `channel`, and `address` or `contact`; here: {', '.join(names)}."))
    doubled = sorted(name for name, times in Counter(names).items() if times > 1 and name in COLUMNS)
    if doubled:
        problems.append(Problem("", f"A column stands there twice: {', '.join(doubled)}."))
    if problems:
        raise Invalid(problems)
    return names
