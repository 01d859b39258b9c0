"""Files for spreadsheets: no cell of any of them is run as a formula, and our own import reads all of them back."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.csv_cells import guarded, unguarded
from gateway.http.openapi import document
from tests.http.everything import VERSION, every_route
from tests.http.examples import operations
from tests.stories.conftest import Story, story_in

on_one_loop = pytest.mark.asyncio(loop_scope="module")

FORMULAS = (
    "=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1",
    '=HYPERLINK("http://x","y")',
    '"=1+1"', '","=1+1', '\n"=1+1', "'=1+1", "''=1+1", "＝1+1", "＋1", "－1", "＠x", "=\0", "a\n=1+1,b", "=", "+",
    "-",
)  # fmt: skip
RUNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document(every_route(), VERSION)))
EXPORTS = sorted(
    operation.path
    for operation in operations(DOCUMENT)
    if operation.method == "GET" and "text/csv" in str(operation.described["responses"])
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    """A gateway in which everything that can be called something is called a formula."""
    async with story_in(tmp_path_factory.mktemp("csv")) as story:
        people = [
            {
                "id": f"{formula[0]}{number}" if formula[0] in "=+-@" else f"={number}",
                "name": " ".join(formula.replace("\0", "0").split()),  # a name has no control characters
                "email": f"-{number}@example.org",
                "phone": f"+2348012345{number:03}",
                "tags": ["=tag"],
                "attributes": {"=attribute": formula.replace("\0", "0")},
            }
            for number, formula in enumerate(FORMULAS)
        ]
        reply = await story.call("POST", "/v1/contacts", {"contacts": people})
        assert [each for each in reply.json["results"] if each["status"] != "created"] == []
        for number, formula in enumerate(FORMULAS):
            body = {"channel": "email", "address": f"={number}@example.org", "reason": formula.replace("\0", "0")}
            assert (await story.call("POST", "/v1/opt-outs", body)).status == 201
        await story.mail_all(subject="=1+1", body="=1+1", category="newsletter")
        yield story


@on_one_loop
@pytest.mark.parametrize("path", EXPORTS)
async def test_no_cell_of_any_file_is_a_formula(house: Story, path: str) -> None:
    action = (await house.get("/v1/bulk-actions"))["items"][0]["id"]
    reply = await house.call("GET", path.replace("{id}", action), headers={"Accept": "text/csv"})
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/csv")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    rows = list(csv.reader(io.StringIO(reply.raw.decode(), newline="")))
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.startswith(RUNS)]
    assert len([cell for cell in cells if cell.startswith("'")]) >= len(FORMULAS) - 1, "they would be found"
    assert len({len(row) for row in rows}) == 1, "no text has begun a cell or a row of its own"


def test_all_files_are_known() -> None:
    assert len(EXPORTS) >= 3


@on_one_loop
async def test_what_was_exported_is_imported_as_it_was(house: Story) -> None:
    before = await house.everything("/v1/contacts")
    file = (await house.call("GET", "/v1/contacts/export", headers={"Accept": "text/csv"})).raw
    reply = await house.call("POST", "/v1/contacts/import", data=file, headers={"Content-Type": "text/csv"})
    assert reply.status == 200, reply.raw
    after = await house.everything("/v1/contacts")
    kept = ("id", "name", "email", "phone", "tags", "attributes")
    assert [[one[name] for name in kept] for one in after] == [[one[name] for name in kept] for one in before]


@given(st.text(alphabet="'=+-@\t\r\n＝a1 ") | st.text())
def test_a_guarded_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    cell = guarded(text)
    assert not cell.startswith(RUNS)
    assert unguarded(cell) == text
