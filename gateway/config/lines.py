"""On which line of a TOML document each key stands: `tomllib` reads the values and forgets the places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Path = tuple[str, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
# Triple quotes first: """ would otherwise be read as an empty string and the start of another.
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'", re.DOTALL
)
_PLAIN: Final = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")  # numbers, booleans, instants (also with a space)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_SHORT_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def key_lines(text: str) -> Mapping[Path, int]:
    """The line, counted from 1, of every table and key of `text`, which `tomllib` has accepted.

    Elements of lists have their number in the path, also those of `[[tables]]`. What comes twice, as the prefix of a
    dotted key does, has its first line.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    """Walks once over a valid document. It never fails: at what it does not understand it stops."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._tables: dict[Path, int] = {}  # how many elements each [[table]] has so far

    def document(self) -> None:
        table: Path = ()
        while True:
            self._take(_BLANK)
            if self._at >= len(self._text):
                return
            before = self._at
            if self._peek() == "[":
                table = self._header()
            else:
                self._member(table)
            if self._at == before:
                return

    def _header(self) -> Path:
        line = self._line_here()
        self._at += 1
        several = self._peek() == "["
        self._at += several
        path = self._key(())
        self._at += 1 + several  # the closing brackets
        resolved = self._resolve(path, several)
        for length in range(1, len(resolved) + 1):
            self._note(resolved[:length], line)
        return resolved

    def _resolve(self, path: Path, several: bool) -> Path:
        """The path with the numbers of the `[[table]]` elements that it goes through."""
        resolved: Path = ()
        for position, name in enumerate(path):
            resolved = (*resolved, name)
            last = position == len(path) - 1
            if last and several:
                self._tables[resolved] = self._tables.get(resolved, -1) + 1
            if resolved in self._tables:
                resolved = (*resolved, str(self._tables[resolved]))
        return resolved

    def _member(self, table: Path) -> None:
        line = self._line_here()
        path = self._key(table)
        for length in range(len(table) + 1, len(path) + 1):
            self._note(path[:length], line)
        self._take(_SPACES)
        if self._peek() == "=":
            self._at += 1
            self._take(_SPACES)
            self._value(path)

    def _key(self, path: Path) -> Path:
        """A key, dotted or not, appended to `path`."""
        while True:
            self._take(_SPACES)
            quoted = self._take(_STRING)
            path = (*path, _unquote(quoted) if quoted else self._take(_BARE))
            self._take(_SPACES)
            if self._peek() != ".":
                return path
            self._at += 1

    def _value(self, path: Path) -> None:
        opening = self._peek()
        if opening == "[":
            self._inside("]", path, numbered=True)
        elif opening == "{":
            self._inside("}", path, numbered=False)
        elif not self._take(_STRING):
            self._take(_PLAIN)

    def _inside(self, closing: str, path: Path, *, numbered: bool) -> None:
        self._at += 1
        number = 0
        while True:
            self._take(_BLANK)
            before = self._at
            if self._peek() == closing:
                self._at += 1
                return
            if self._peek() == ",":
                self._at += 1
                number += 1
            elif numbered:
                self._note((*path, str(number)), self._line_here())
                self._value((*path, str(number)))
            else:
                self._member(path)
            if self._at == before:
                return

    def _note(self, path: Path, line: int) -> None:
        self.lines.setdefault(path, line)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        matched = pattern.match(self._text, self._at)
        if matched is None:
            return ""
        self._at = matched.end()
        return matched[0]

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line


def _unquote(quoted: str) -> str:
    inner = quoted[1:-1]
    if quoted.startswith("'"):
        return inner
    return _ESCAPE.sub(lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else _SHORT_ESCAPES.get(m[3], m[3]), inner)
