"""Imports of any length: every good row goes in, every bad one is told once, and memory stays where it is."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterable

import pytest

from gateway.core.ids import IdSequence, OrgId
from gateway.core.people import Match
from gateway.engine.catalogue import Catalogue
from gateway.engine.contact_import import (
    REJECTIONS_LISTED_MAX,
    Form,
    ImportReport,
    Target,
    import_contacts,
)
from gateway.engine.lines import LINE_BYTES_MAX
from gateway.engine.people import bad_channels, reader_for
from gateway.errors import Invalid
from gateway.store.contact_reads import ContactFilter, ContactRow
from gateway.store.contacts import CHUNK, ContactStore
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from gateway_email.channel import EMAIL
from tests.http.conftest import DEFAULT, make_catalogue

MEGABYTE = 1024 * 1024


async def pieces(*bodies: bytes | str, size: int = 65_536) -> AsyncIterator[bytes]:
    for body in bodies:
        raw = body.encode() if isinstance(body, str) else body
        for start in range(0, len(raw), size):
            yield raw[start : start + size]


class Importing:
    """An org that imports."""

    def __init__(self, store: ContactStore, org: OrgId, catalogue: Catalogue) -> None:
        self.store = store
        self.org = org
        self.catalogue = catalogue

    async def stream(self, chunks: AsyncIterator[bytes], form: Form = "csv", match: Match = "id") -> ImportReport:
        target = Target(
            org=self.org,
            store=self.store,
            reader=reader_for(DEFAULT, self.catalogue),
            judge=bad_channels(DEFAULT, self.catalogue),
            match=match,
        )
        return await import_contacts(chunks, form, target)

    async def csv(self, body: bytes | str, match: Match = "id", size: int = 65_536) -> ImportReport:
        return await self.stream(pieces(body, size=size), "csv", match)

    async def ndjson(self, body: bytes | str, match: Match = "id") -> ImportReport:
        return await self.stream(pieces(body), "ndjson", match)

    async def get(self, public_id: str) -> ContactRow:
        row = await self.store.get(self.org, public_id, ())
        assert row is not None
        return row

    async def number(self) -> int:
        return len(await self.store.list(self.org, ContactFilter(), None, 1_000_000, ()))


@pytest.fixture
def importing(database: Database, ids: IdSequence, clock: FakeClock, org: OrgId) -> Importing:
    return Importing(ContactStore(database, ids, clock), org, make_catalogue(channels={"email": EMAIL}))


def lines_of(report: ImportReport) -> list[int]:
    return [rejection.line for rejection in report.errors]


@pytest.mark.parametrize("size", [1, 2, 7, 65_536])
async def test_it_does_not_matter_how_the_stream_is_cut(importing: Importing, size: int) -> None:
    body = '\ufeffid,name,tags,attributes.note\r\nm-1,"Ä, ""B""",x;;y ,"one\r\ntwo"\r\n\r\nm-2,C,,\r\nm-3,short\r\n'
    report = await importing.csv(body, size=size)
    assert (report.created, report.rejected, lines_of(report)) == (2, 1, [6])
    row = await importing.get("m-1")
    assert (row.scalars["name"], row.tags, row.attributes) == ('Ä, "B"', ("x", "y"), {"note": "one\ntwo"})
    assert (await importing.get("m-2")).tags == ()


async def test_an_empty_cell_clears_and_a_missing_column_leaves(importing: Importing) -> None:
    await importing.csv("id,name,email,tags,city\nm-1,Ada,a@b.example,x,Lagos\n")
    report = await importing.csv("id,name,tags\nm-1,,\n")
    assert report.updated == 1
    row = await importing.get("m-1")
    assert (row.scalars["name"], row.scalars["email"], row.tags) == (None, "a@b.example", ())
    assert row.attributes == {"city": "Lagos"}


async def test_a_cell_of_ten_megabytes_costs_its_row_and_no_memory(importing: Importing) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"id,name\nm-1,A\nm-2,"
        for _ in range(160):
            yield b"x" * 65_536
        yield b'\nm-3,C\nm-4,"'
        for _ in range(160):
            yield b"y," * 32_768
        yield b'"\nm-5,E\n'

    tracemalloc.start()
    try:
        report = await importing.stream(body())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.created, report.rejected, lines_of(report)) == (3, 2, [3, 5])
    assert peak < 8 * MEGABYTE


async def test_memory_does_not_grow_with_the_number_of_bad_rows(importing: Importing) -> None:
    bad = ("m-1," + "?" * 400 + "\n") * 150

    async def body() -> AsyncIterator[bytes]:
        yield b"id,email\n"
        for _ in range(100):
            yield bad.encode()

    tracemalloc.start()
    try:
        report = await importing.stream(body())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.created, report.rejected, len(report.errors)) == (0, 15_000, REJECTIONS_LISTED_MAX)
    assert lines_of(report) == list(range(2, REJECTIONS_LISTED_MAX + 2))
    assert report.warnings == ["Only the first 1,000 errors are listed."]
    assert peak < 8 * MEGABYTE


async def test_a_line_at_the_limit_goes_in_and_one_beyond_it_does_not(importing: Importing) -> None:
    def row(name: str, length: int) -> str:
        start = f'{{"id":"{name}","attributes":{{"x":"a"}}'
        return f"{start}{' ' * (length - len(start) - 1)}}}"

    report = await importing.ndjson(f"{row('m-1', LINE_BYTES_MAX)}\n{row('m-2', LINE_BYTES_MAX + 1)}\n{row('m-3', 60)}")
    assert (report.created, lines_of(report)) == (2, [2])
    assert "65,536 bytes" in report.errors[0].detail


async def test_every_kind_of_bad_line_is_told_once_and_the_rest_goes_in(importing: Importing) -> None:
    lines: Iterable[bytes] = (
        b'{"id": "m-1", "name": "A"}',
        b'{"id": "m-2", "nmae": "A"}',
        b'{"id": "m-3", "name": "\\ud800"}',
        b'{"id": "m-4", "name": "\\u0000"}',
        b'{"id": "m-5", "name": "\xff"}',
        b'{"id": "m-6", "attributes": {"n": 99999999999999999999999}}',
        b"[" * 60_000,
        b'{"id": "m-7", "attributes": {"n": 1e999}}',
        b"null",
        b'{"name": "nobody"}',
        b'{"id": null}',
        b'{"id": "m-8", "tags": ["", "", "", "", "", ""]}',
        b"",
        b'  {"id": "m-9", "name": "Z"}  \r',
        b'{"id": "m-10"',
    )
    report = await importing.ndjson(b"\n".join(lines))
    assert (report.created, report.rejected) == (2, 12)
    assert lines_of(report) == [*range(2, 13), 15]
    told = {rejection.line: rejection.detail for rejection in report.errors}
    assert told[2] == 'nmae: There is no such field; did you mean "name"?'
    assert told[10] == "The row has no id."
    assert told[12].endswith("And 1 more.")
    assert await importing.number() == 2


async def test_rows_are_matched_by_phone_in_whatever_spelling(importing: Importing) -> None:
    await importing.csv("id,phone\nm-1,+2348031234567\n")
    report = await importing.csv("phone,name\n0803 123 4567,Ada\n,Nobody\n", match="phone")
    assert (report.updated, report.created, lines_of(report)) == (1, 0, [3])
    assert (await importing.get("m-1")).scalars["name"] == "Ada"


async def test_rows_that_several_contacts_match_are_counted(importing: Importing) -> None:
    await importing.csv("id,email\nm-1,a@b.example\nm-2,a@b.example\nm-3,c@b.example\n")
    report = await importing.csv("email,name\na@b.example,Ada\nc@b.example,Cy\n", match="email")
    assert report.updated == 2
    assert report.warnings == [
        "Rows whose email several contacts have: 1. Each went to the contact that was changed last."
    ]


async def test_what_grows_too_large_by_merging_is_told_with_its_line(importing: Importing) -> None:
    first = ",".join(f"a{number}" for number in range(100))
    await importing.csv(f"id,{first}\nm-1{',x' * 100}\n")
    report = await importing.csv("id,more\nm-0,x\nm-1,x\nm-2,x\n")
    assert (report.created, lines_of(report)) == (2, [3])
    assert "at most 100" in report.errors[0].detail


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("", "no header row"),
        ("\n\n", "no header row"),
        ("name,city", "no id column"),
        ("id;name;email", "semicolons"),
        ("id,name,name", "'name' more than once"),
        ("id,city,attributes.city", "'attributes.city' more than once"),
        ("id,", "Column 2 cannot be an attribute"),
        ("id,addresses.pigeon", "no channel 'pigeon'"),
        ("id," + ",".join(f"a{number}" for number in range(101)), "101 columns of attributes"),
        ("id," + "x" * 70_000, "no header row"),
        ('id,"name', "no header row"),
        ('id,"na"me', "The header cannot be read"),
        ("id,na\x00me", "no header row"),
    ],
)
async def test_a_header_that_cannot_be_used_is_refused_before_anything_is_written(
    importing: Importing, header: str, told: str
) -> None:
    with pytest.raises(Invalid) as raised:
        await importing.csv(f"{header}\nm-1,x\n" if header.strip() else header)
    assert any(told in problem.detail for problem in raised.value.problems)
    assert await importing.number() == 0


async def test_columns_that_are_no_fields_are_kept_and_told(importing: Importing) -> None:
    report = await importing.csv("id,City,E-Mail,First Name\nm-1,Lagos,a@b.example,Ada\n")
    assert report.warnings == [
        "Columns kept as attributes: City, E-Mail (did you mean email?), First Name (did you mean first_name?)."
    ]
    attributes = (await importing.get("m-1")).attributes
    assert attributes == {"City": "Lagos", "E-Mail": "a@b.example", "First Name": "Ada"}


async def test_what_was_written_before_the_stream_broke_off_stays(importing: Importing) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"id,name\n" + b"".join(b"m-%d,A\n" % number for number in range(CHUNK + 500))
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await importing.stream(body())
    assert await importing.number() >= CHUNK
    report = await importing.csv("id,name\n" + "".join(f"m-{number},A\n" for number in range(CHUNK + 500)))
    assert report.created + report.unchanged == CHUNK + 500
    assert report.unchanged >= CHUNK
