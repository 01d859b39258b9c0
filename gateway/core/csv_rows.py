"""Rows of a CSV text by RFC 4180, given line by line. Pure; the work is linear in the text, whatever the quotes say.

A quote that is never closed must not swallow the good rows behind it. When joined lines make no row, the first of them
is the bad row; those behind it are read again, each as a row of its own, and the last one as the beginning of what
follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

_QUOTED: Final = re.compile(r'[^"]*+(?:""[^"]*+)*+')
_NEVER_CLOSED: Final = "A quote is opened and not closed."
_TEXT_BEHIND: Final = "The row is badly quoted: there is text behind a closing quote."


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row. `line` is the number of its first line."""

    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is none."""

    line: int
    detail: str


class _End(Enum):
    ROW = auto()
    INSIDE_QUOTES = auto()
    BROKEN = auto()


class CsvRows:
    """Joins lines to rows, since a quoted cell may hold line ends. A row has at most `characters_max` characters.

    `width` is the number of cells that a row must have; it may be set after the header has been read.
    """

    def __init__(self, characters_max: int) -> None:
        self.width: int | None = None
        self._characters_max = characters_max
        self._lines: list[tuple[int, str]] = []  # of the row whose quote is still open
        self._characters = 0
        self._cells: list[str] = []
        self._inside: list[str] | None = None  # the lines of the open cell; None outside of quotes

    def take(self, line: int, text: str) -> Iterator[Row | BadRow]:
        """The rows that end with this line, which comes without its line end. Empty lines are no rows."""
        if self._inside is not None or '"' in text:
            yield from self._quoted(line, text)
        elif text and not text.isspace():
            yield self._judged(Row(line, text.split(",")))

    def close(self) -> Iterator[Row | BadRow]:
        """The rows that are left, at the end or before a line that cannot be read: an open quote stays open."""
        while self._lines:
            yield from self._give_up(_NEVER_CLOSED)

    def _quoted(self, line: int, text: str) -> Iterator[Row | BadRow]:
        self._lines.append((line, text))
        self._characters += len(text)
        end = self._scan(text)
        if end is _End.INSIDE_QUOTES:
            if self._characters > self._characters_max:
                yield from self._give_up(_NEVER_CLOSED)
            return
        row = self._judged(Row(self._lines[0][0], self._cells)) if end is _End.ROW else BadRow(line, _TEXT_BEHIND)
        if isinstance(row, BadRow):
            yield from self._give_up(row.detail)
        else:
            self._forget()
            yield row

    def _give_up(self, detail: str) -> Iterator[Row | BadRow]:
        (first, _), *rest = self._lines
        self._forget()
        yield BadRow(first, detail)
        for number, text in rest[:-1]:
            yield from self._alone(number, text)
        for number, text in rest[-1:]:
            yield from self.take(number, text)

    def _alone(self, line: int, text: str) -> Iterator[Row | BadRow]:
        """The one row that this line is, if it is not empty."""
        yield from self.take(line, text)
        if self._lines:
            self._forget()
            yield BadRow(line, _NEVER_CLOSED)

    def _judged(self, row: Row) -> Row | BadRow:
        if self.width is None or len(row.cells) == self.width:
            return row
        return BadRow(row.line, f"The row has {len(row.cells)} cells, the header {self.width}.")

    def _forget(self) -> None:
        self._lines = []
        self._characters = 0
        self._cells = []
        self._inside = None

    def _scan(self, text: str) -> _End:
        """Cut one more line into cells."""
        place = 0
        while True:
            if self._inside is not None:
                found = _QUOTED.match(text, place)
                assert found is not None  # it matches nothing as well
                self._inside.append(found.group().replace('""', '"'))
                place = found.end()
                if place == len(text):
                    return _End.INSIDE_QUOTES
                self._cells.append("\n".join(self._inside))
                self._inside = None
                place += 1
                if place < len(text) and text[place] != ",":
                    return _End.BROKEN
            elif text.startswith('"', place):
                self._inside = []
                place += 1
                continue
            else:
                comma = text.find(",", place)
                end = len(text) if comma < 0 else comma
                self._cells.append(text[place:end])
                place = end
            if place == len(text):
                return _End.ROW
            place += 1
