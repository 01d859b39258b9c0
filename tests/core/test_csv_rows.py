"""CSV rows: what RFC 4180 says, and what becomes of the good rows beside bad ones."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.csv_rows import BadRow, CsvRows, Row


def rows_of(text: str, width: int | None = None, characters_max: int = 65_536) -> list[Row | BadRow]:
    rows = CsvRows(characters_max)
    rows.width = width
    found = [row for number, line in enumerate(text.split("\n"), 1) for row in rows.take(number, line)]
    return [*found, *rows.close()]


def cells_of(text: str) -> list[list[str]]:
    rows = rows_of(text)
    assert all(isinstance(row, Row) for row in rows)
    return [row.cells for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("a,b,c", [["a", "b", "c"]]),
        (",,", [["", "", ""]]),
        ('"a,b",c', [["a,b", "c"]]),
        ('"say ""hi""",x', [['say "hi"', "x"]]),
        ('"",""', [["", ""]]),
        ('a,""', [["a", ""]]),
        ('"one\ntwo\n\nfour",x\ny,z', [["one\ntwo\n\nfour", "x"], ["y", "z"]]),
        ('5" pipe,6" pipe', [['5" pipe', '6" pipe']]),
        (' "a",b', [[' "a"', "b"]]),
        ("\n\na\n  \nb\n", [["a"], ["b"]]),
    ],
)
def test_a_row_is_cut_into_cells(text: str, cells: list[list[str]]) -> None:
    assert cells_of(text) == cells


@given(st.lists(st.lists(st.text(alphabet='ab,"\n ', max_size=6), min_size=2, max_size=4), max_size=6))
def test_whatever_a_csv_writer_writes_is_read_back(table: list[list[str]]) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(table)
    assert cells_of(written.getvalue()) == table


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ('1,"never closed\n2,b\n3,c\n', [2, 3], [1]),
        ('1,"x"y\n2,b', [2], [1]),
        ('1,"open\n2,"b"\n3,c', [2, 3], [1]),
        ('1,"open\n2,b\n3,"y', [2], [1, 3]),
        ("1,a\n2,b,too many\n3,c", [1, 3], [2]),
        ('1,"a\n2,b\n3,c",too,many\n4,d', [2, 4], [1, 3]),
        ('1,a\n2,"many\nlines"\n4,"open', [1, 2], [4]),
        ('"', [], [1]),
    ],
)
def test_a_bad_row_costs_no_good_one(text: str, good: list[int], bad: list[int]) -> None:
    rows = rows_of(text, width=2)
    assert [row.line for row in rows if isinstance(row, Row)] == good
    assert [row.line for row in rows if isinstance(row, BadRow)] == bad


def test_a_row_over_many_lines_is_bounded() -> None:
    text = '1,"' + "\n".join(f"{number},x" for number in range(2, 60))
    rows = rows_of(text, width=2, characters_max=100)
    assert isinstance(rows[0], BadRow)
    assert [row.line for row in rows[1:]] == list(range(2, 59))
    assert all(isinstance(row, Row) for row in rows[1:])


@given(st.lists(st.text(alphabet='a,"', max_size=5), max_size=12))
def test_every_line_is_part_of_one_row_that_is_told(lines: list[str]) -> None:
    rows = rows_of("\n".join(lines), characters_max=30)
    told = [row.line for row in rows]
    assert len(set(told)) == len(told)
    assert told == sorted(told)
    spoken = {number for number, line in enumerate(lines, 1) if line and not line.isspace()}
    assert set(told) <= spoken
    if not any('"' in line for line in lines):
        assert set(told) == spoken


class Counting(CsvRows):
    """Counts the characters that are looked at."""

    looked_at = 0

    def _scan(self, text: str) -> object:  # type: ignore[override]
        self.looked_at += len(text)
        return super()._scan(text)


@pytest.mark.parametrize("line", ['a","', 'a,"', '",', '"",', 'a,"""', '"a","b', '""'])
def test_the_work_grows_with_the_text_and_not_with_its_square(line: str) -> None:
    rows = Counting(1_000)
    number = 20_000
    for place in range(1, number + 1):
        for _ in rows.take(place, line):
            pass
    for _ in rows.close():
        pass
    assert rows.looked_at <= 4 * number * len(line)
